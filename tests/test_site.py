"""The documents as a site: it builds without a warning, links lead somewhere, and nothing is asked of any network."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

import helpers
from autograder.reference import command_group
from helpers import checks

pytestmark = pytest.mark.slow

#: Attributes by which a page asks for something when it is opened.
LOADS = {"src", "srcset", "poster", "data", "background"}
LOADING_RELATIONS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}


def build_site(source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does."""
    options = ["--quiet", "--fail-on-warning", "--keep-going", "-d", str(folder / "doctrees")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def site(repository, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build_site(repository / "docs", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, BeautifulSoup]:
    return {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser") for path in sorted(site.rglob("*.html"))
    }


def links(path: Path, page: BeautifulSoup) -> Iterator[tuple[str, Path | None, str]]:
    """The links of a page: as they stand, the file that they lead to (None: elsewhere), the place in it."""
    for link in page.find_all("a", href=True):
        parts = urlsplit(link["href"])
        there = None if parts.scheme or parts.netloc else (path.parent / unquote(parts.path)).resolve()
        yield link["href"], path if not parts.path and there else there, unquote(parts.fragment)


def test_every_link_leads_to_a_page_and_a_place_that_are_there(pages):
    places = {path: {tag["id"] for tag in page.find_all(id=True)} | {""} for path, page in pages.items()}
    for path, page in pages.items():
        for href, there, place in links(path, page):
            if there is None:
                parts = urlsplit(href)
                assert parts.scheme in ("https", "http", "mailto"), f"{path.name}: {href}"
                assert parts.scheme == "mailto" or re.fullmatch(r"[\w-]+(\.[\w-]+)+(:\d+)?", parts.netloc), href
            else:
                assert there.is_file(), f"{path.name}: {href}"
                assert there not in places or place in places[there], f"{path.name}: {href}"


def test_every_page_can_be_reached_from_the_first(site, pages):
    found, left = set(), [site / "index.html"]
    while left:
        path = left.pop()
        if path in found or path not in pages:
            continue
        found.add(path)
        left += [there for _, there, _ in links(path, pages[path]) if there]
    # Sphinx makes an index of names, which nothing here uses.
    unreached = {path.name for path in set(pages) - found} - {"genindex.html", "search.html"}
    assert not unreached and len(found) > 20


def test_no_page_asks_anything_of_another_host(site, pages):
    for path, page in pages.items():
        for tag in page.find_all(True):
            asked = [tag[name] for name in LOADS if tag.has_attr(name)]
            if tag.name == "link" and LOADING_RELATIONS & set(tag.get("rel", ())):
                asked.append(tag["href"])
            for address in asked:
                assert not re.match(r"(\w+:)?//", address), f"{path.name}: {address}"
    for path in site.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", text), path.name


def test_every_picture_has_a_text_in_its_place(pages):
    for path, page in pages.items():
        for picture in page.find_all("img"):
            assert picture.get("alt", "").strip() or picture.get("role") == "presentation", f"{path.name}: {picture}"


def test_the_reference_has_every_command_option_helper_and_check(site, pages):
    text = pages[site / "reference" / "commands.html"].get_text()
    for name, command in command_group().commands.items():
        assert f"Example:\nautograder {name}" in re.sub(r"\n+", "\n", text), name
        for parameter in command.params:
            assert all(option in text for option in parameter.opts if option.startswith("-")), (name, parameter.name)
    text = pages[site / "reference" / "helpers.html"].get_text()
    assert not [name for name in helpers.__all__ if f"helpers.{name}" not in text and name != "checks"]
    text = pages[site / "reference" / "checks.html"].get_text()
    assert not [name for name in checks.__all__ if f"checks.{name}" not in text]


def test_a_link_that_leads_nowhere_stops_the_build(repository, tmp_path):
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text(
        (repository / "docs" / "conf.py").read_text().replace('html_static_path = ["static"]', "")
    )
    (source / "index.md").write_text("# A page\n\n[Nowhere](other.md) and [no place](#nothing)\n")
    done = build_site(source, tmp_path)
    assert done.returncode and "other.md" in done.stderr and "nothing" in done.stderr


def test_pages_open_from_disk_are_accessible_and_can_be_searched_with_the_keyboard(site, needs_chromium):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=needs_chromium, args=["--no-sandbox"])
        for scheme, width in (("light", 390), ("dark", 1280)):
            context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
            tab = context.new_page()
            asked = []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            for name in ("index", "tutorial/first-class", "reference/commands"):
                tab.goto((site / f"{name}.html").as_uri())
                found = [
                    one for one in Axe().run(tab).response["violations"] if one["impact"] in ("serious", "critical")
                ]
                assert not found, (name, scheme, [(one["id"], one["nodes"][0]["html"]) for one in found])
                assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            if width == 1280:
                tab.focus("input[name=q]")
                tab.keyboard.type("winnowing")
                tab.keyboard.press("Enter")
                tab.wait_for_selector("#search-results a[href*='statistics']")
                color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
                assert sum(map(int, re.findall(r"\d+", color)[:3])) < 200, color
            assert not [url for url in asked if not url.startswith(("file:", "data:"))]
            context.close()
        browser.close()
