"""A JupyterLab server and a person in front of its pages: mouse, keys, and waiting for what is to be seen."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect, sync_playwright

TOKEN = "for-tests"
#: Seconds. A loaded machine is many times slower than a quiet one; nothing is measured here.
PATIENCE = 240
#: Variables of the tests' own process that no student's or instructor's program should see.
OWN = ("PYTHONPATH", "CNN_COURSE_DATA", "CNN_COURSE_HOLDOUT", "MPLBACKEND", "JUPYTER_PATH", "JUPYTER_CONFIG_PATH")


def free_port() -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return end.getsockname()[1]


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """The variables of a person with a home of their own and no settings."""
    home.mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in OWN}
    return {**kept, "HOME": str(home), "PYTHONNOUSERSITE": "1", **more}


@contextlib.contextmanager
def lab(command: Sequence[str | Path], folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a server with a command that takes JupyterLab's options; its address, and its end at the end."""
    port = free_port()
    options = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    options += ["--LabApp.expose_app_in_browser=True"]  # to find a cell by its id, not to press its buttons
    if os.geteuid() == 0:
        options.append("--allow-root")
    said = folder.parent / "server.log"
    with said.open("w") as log:
        server = subprocess.Popen(
            [*command, *options], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + PATIENCE
        while not _answers(address):
            assert server.poll() is None and time.monotonic() < end, said.read_text()
            time.sleep(0.2)
        yield address
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}api?token={TOKEN}", timeout=5):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def browser_page(program: str, **options: Any) -> Iterator[Page]:
    """A page of a headless browser."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()
        page.set_default_timeout(PATIENCE * 1000)
        expect.set_options(timeout=PATIENCE * 1000)
        try:
            yield page
        finally:
            browser.close()


class NotebookPage:
    """A notebook that is open in JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def ready(self) -> None:
        """Wait until the notebook is there and its kernel at rest."""
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        self._wait("nb => nb.context.isReady && nb.sessionContext.session?.kernel?.status === 'idle'")

    def _wait(self, condition: str, argument: Any = None) -> None:
        self.page.wait_for_function(
            f"argument => {{ const nb = window.jupyterapp.shell.currentWidget; return ({condition})(nb, argument); }}",
            arg=argument,
        )

    def cell(self, grade_id: str) -> Locator:
        """The cell of this id, scrolled to."""
        self.page.evaluate(
            """async id => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                const at = notebook.widgets.findIndex(one => one.model.getMetadata('nbgrader')?.grade_id === id);
                await notebook.scrollToItem(at, 'center');
                for (const old of document.querySelectorAll(`[data-test="${id}"]`)) old.removeAttribute('data-test');
                notebook.widgets[at].node.setAttribute('data-test', id);
            }""",
            grade_id,
        )
        cell = self.page.locator(f'[data-test="{grade_id}"]')
        cell.wait_for()
        return cell

    def click(self, grade_id: str) -> None:
        """Put the cursor into a cell of code, or choose one of text."""
        cell = self.cell(grade_id)
        cell.locator(".cm-content, .jp-MarkdownOutput").first.click()

    def write(self, grade_id: str, text: str) -> None:
        """Replace what stands in a cell, as by pasting."""
        cell = self.cell(grade_id)
        if "jp-MarkdownCell" in (cell.get_attribute("class") or ""):
            cell.locator(".jp-MarkdownOutput").dblclick()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(text)

    def press_run(self) -> None:
        """Run the cell that the cursor is in, with Shift + Enter, and wait for its end."""
        self.page.keyboard.press("Shift+Enter")
        self.at_rest()

    def run(self, grade_id: str) -> str:
        """Run a cell as a student does; what then stands below it."""
        self.click(grade_id)
        self.press_run()
        return self.output(grade_id)

    def at_rest(self) -> None:
        """Wait until no cell waits or runs."""
        self._wait(
            """nb => nb.sessionContext.session?.kernel?.status === 'idle' && nb.content.widgets.every(
                one => one.model.type !== 'code' || (one.model.executionState ?? 'idle') === 'idle')"""
        )

    def output(self, grade_id: str) -> str:
        """What stands below a cell, once all of it is drawn."""
        cell = self.cell(grade_id)
        self._wait(
            """(nb, id) => {
                const marked = nb.content.widgets.find(one => one.node.dataset.test === id);  // by `cell`
                const drawn = marked.node.querySelectorAll('.jp-OutputArea-output:not(:empty)');
                return drawn.length >= (marked.model.outputs?.length ?? 0);
            }""",
            grade_id,
        )
        return cell.locator(".jp-Cell-outputArea").inner_text()

    def menu(self, menu: str, entry: str) -> None:
        """Choose from the menu above."""
        self.page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{menu}$")).click()
        # Menus are drawn as they open, and an entry that is not enabled yet takes no click.
        self.page.locator(
            ".lm-Menu-item:not(.lm-mod-disabled) .lm-Menu-itemLabel", has_text=re.compile(f"^{entry}$")
        ).click()

    def validate(self) -> str:
        """Press Validate; what the window then says, which is closed again."""
        self.page.get_by_role("button", name="Validate", exact=True).click()
        window = self.page.locator(".jp-Dialog")
        window.locator("#validation-message").wait_for()
        self.seen("validate")
        text = window.inner_text()
        window.get_by_role("button", name="Ok").click()
        window.wait_for(state="detached")
        return text

    def save(self) -> None:
        """Press Ctrl + S and wait until all is on disk."""
        self.page.keyboard.press("Control+s")
        self._wait("nb => !nb.context.model.dirty")

    def seen(self, name: str) -> None:
        """Keep a picture of the page for people to look at, where CNN_COURSE_PICTURES names a folder."""
        picture(self.page, name)


def picture(page: Page, name: str, **options: Any) -> None:
    """Keep a picture of the page, numbered, where the variable CNN_COURSE_PICTURES names a folder."""
    if folder := os.environ.get("CNN_COURSE_PICTURES"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        number = len(list(Path(folder).glob("*.png"))) + 1
        page.screenshot(path=Path(folder) / f"{number:02}-{name}.png", **options)
