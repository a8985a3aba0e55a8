"""The class report: what it says of a class, and that it opens from disk, for everybody, on any screen."""

from __future__ import annotations

import base64
import re
from dataclasses import replace
from pathlib import Path

import pytest
from jupyter_browser import picture

from autograder.grade import Mark, StudentResult
from autograder.likeness import Pair
from autograder.report import accuracies, common_failures, histogram, write_report
from helpers.measurements import Measurement


def marks(
    score: float | None, state: str = "marked", message: str = "", accuracy: float | None = None
) -> tuple[Mark, ...]:
    measured = () if accuracy is None else (Measurement("model_intro", accuracy, 0.2, 0.258, 500),)
    return (
        Mark("add-up-test", state, score, 2, written=False, message=message, measurements=measured),
        Mark("say-why", "needs manual grading", None, 3, written=True),
    )


def a_class() -> list[StudentResult]:
    found = [
        StudentResult(
            f"student-{n}",
            "01-small",
            marks(2 if n % 3 else 0, message=f"found {n}", accuracy=0.22 + n / 50),
            seconds=1.5,
            ran=1 + n / 10,
        )
        for n in range(12)
    ]
    found.append(StudentResult("ada", "01-small", marks(None, "grader failed", "the judge gave no answer")))
    found.append(StudentResult("bob", "01-small", problem="There is no notebook in the folder."))
    found.append(StudentResult("eve", "01-small", marks(1), repairs=("The test cell was put back.",)))
    found.append(StudentResult("late", "01-small", marks(2), penalty=0.5))
    found.append(StudentResult("zoe", "01-small", marks(0, message="not attempted yet: give total a value")))
    return found


@pytest.fixture
def page(tmp_path) -> Path:
    alike = [Pair("student-1", "student-2", 0.93, 17, ("add-up",))]
    return write_report(tmp_path / "report.html", "01-small", a_class(), alike=lambda: alike)


def test_who_has_more_than_all_points_by_extra_credit_is_in_the_chart_too():
    drawn = histogram([StudentResult("ada", "01-small", marks(7.5)), StudentResult("bob", "01-small", marks(1))])
    assert drawn.alt == "Bar chart of points. Students: 1 from 0.75 to 1.5, 1 from 6.75 to 7.5."


def test_a_grader_failure_is_listed_as_such_and_not_as_a_zero(page):
    text = page.read_text()
    assert '<td class="fail">grader failed</td>' in text
    assert "the judge gave no answer. No points were taken off" in text


def test_who_could_not_be_graded_and_who_did_nothing_are_named_with_the_reason(page):
    text = page.read_text()
    assert "<strong>bob</strong>: not graded. There is no notebook in the folder." in text
    assert "<strong>zoe</strong>: no points yet: nothing was attempted" in text


def test_failed_checks_that_differ_in_numbers_alone_count_as_one(page):
    found = common_failures(a_class())
    assert [(one.exercise, len(one.students)) for one in found] == [("add-up-test", 4), ("add-up-test", 1)]
    assert "found 0" in page.read_text()


def test_difficulty_repairs_and_pairs_are_shown(page):
    text = page.read_text()
    assert re.search(r"<td>\d+%</td>", text) and "The test cell was put back." in text
    assert "<strong>student-1</strong> and <strong>student-2</strong>: 93%" in text


def test_the_picture_says_in_words_what_it_shows(page):
    text = page.read_text()
    picture = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"[^>]*alt="([^"]+)"', text)
    assert picture and b"<svg" in base64.b64decode(picture[1])
    assert re.search(r"\d+ from 0 to 0.5", picture[2])


def test_accuracies_stand_beside_chance_and_beside_what_was_needed(page):
    text = page.read_text()
    (one,) = accuracies(a_class())
    assert (one.name, one.exercise, len(one.accuracies)) == ("model_intro", "add-up-test", 12)
    assert one.below == ("student-0", "student-1") and one.spread == pytest.approx((0.22, 0.33, 0.44))
    row = re.search(r'<th scope="row">model_intro</th>.*?</tr>', text, re.S)[0]
    assert re.findall(r"<td>([\d.]+)</td>", row) == ["12", "0.22", "0.33", "0.44", "0.20", "0.258"]
    assert "student-0, student-1</td>" in row
    assert "model_intro: 12 from 0.22 to 0.44, 0.26 needed" in text


def test_a_class_whose_tests_measure_nothing_has_no_part_about_accuracies(tmp_path):
    page = write_report(tmp_path / "r.html", "01-small", [StudentResult("ada", "01-small", marks(2))]).read_text()
    assert 'id="accuracies"' not in page and "#accuracies" not in page and 'id="time"' not in page


def test_points_taken_off_for_being_late_are_off_and_said(page):
    text = page.read_text()
    assert re.search(r"<strong>1\.5</strong><br>\(late: 0\.5 off\)", text)
    assert "<dt>points off for being late</dt><dd>1</dd>" in text


def test_the_slowest_notebooks_are_named(page):
    assert re.search(r"<strong>student-11</strong> 2\.1 s,\s+<strong>student-10</strong> 2\.0 s", page.read_text())


def test_a_page_that_says_all_already_stays_and_a_new_mark_makes_a_new_one(tmp_path, page):
    before = page.stat().st_ino
    faster = [replace(result, fresh=False, seconds=0.1) for result in a_class()]
    write_report(page, "01-small", faster, alike=lambda: pytest.fail("nobody needs the pairs"))
    assert page.stat().st_ino == before
    write_report(page, "01-small", [*faster[:-1], replace(faster[-1], marks=marks(2))])
    assert page.stat().st_ino != before


def test_what_students_wrote_cannot_act_in_the_page(tmp_path):
    evil = "<script>alert(1)</script>"
    results = [StudentResult(evil, "01-small", marks(0, message=evil), repairs=(evil,))]
    assert "<script" not in write_report(tmp_path / "r.html", "01-small", results).read_text()


def test_a_class_where_nobody_could_be_graded_and_an_empty_one_have_a_page(tmp_path):
    page = write_report(tmp_path / "r.html", "01-small", [StudentResult("ada", "01-small", problem="no notebook")])
    assert "no notebook" in page.read_text()
    assert "0 submissions" in write_report(tmp_path / "e.html", "01-small", []).read_text()


def test_grading_without_the_sandbox_is_told(tmp_path, page):
    assert "without the sandbox" not in page.read_text()
    assert "without the sandbox" in write_report(tmp_path / "r.html", "01", a_class(), sandbox=False).read_text()


@pytest.fixture(scope="module")
def browser(needs_chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=needs_chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, page):
    """Open the report from disk, where whatever it asks the network for is refused and written down."""
    contexts, asked, complaints = [], [], []

    def open_it(width: int = 1280, scheme: str = "light"):
        context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 900})
        contexts.append(context)
        context.route(lambda url: not url.startswith(("file:", "data:")), lambda route: route.abort())
        tab = context.new_page()
        tab.on("request", lambda request: asked.append(request.url))
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.goto(page.as_uri())
        return tab

    yield open_it
    for context in contexts:
        context.close()
    assert asked and complaints == []
    assert {url for url in asked if not url.startswith("data:")} == {page.as_uri()}, "one file, and nothing else"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_opens_from_disk_without_a_network_and_axe_finds_nothing_serious(open_page, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    tab = open_page(width, scheme)
    picture(tab, f"report-{scheme}-{width}", full_page=True)
    found = Axe().run(tab).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], found
    assert tab.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "no sideways scrolling"
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


def test_the_keyboard_alone_reaches_every_part_and_shows_where_it_is(open_page):
    tab = open_page(390)  # where the tables are wider than the screen
    wanted = tab.locator("a[href], [tabindex='0']").count()
    reached = []
    for _ in range(wanted):
        tab.keyboard.press("Tab")
        name, seen = tab.evaluate(
            """() => {
                const one = document.activeElement, style = getComputedStyle(one);
                const visible = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
                return [one.getAttribute('href') ?? one.getAttribute('aria-label'), visible];
            }"""
        )
        assert seen, f"{name} has the focus, and one can't see it"
        reached.append(name)
    assert len(set(reached)) == wanted and "Table of marks" in reached
    tab.locator("nav a").last.focus()
    tab.keyboard.press("Enter")
    target = reached[tab.locator("nav a").count() - 1]
    tab.wait_for_function("id => document.querySelector(id).getBoundingClientRect().top < innerHeight", arg=target)
    tab.get_by_role("region", name="Table of marks").focus()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(
        "() => { const table = document.activeElement;"
        " return table.scrollWidth <= table.clientWidth || table.scrollLeft > 0; }"
    )
