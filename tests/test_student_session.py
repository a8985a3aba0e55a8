"""A student's whole way in a real browser: from the zip file to the mark on the feedback page.

The environment is new, and filled without a network: `fresh_environment` says what that leaves untried.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
from fresh_environment import make_environment
from jupyter_browser import TOKEN, NotebookPage, browser_page, clean_environment, lab, picture
from playwright.sync_api import expect

from autograder.bundle import FOLDER

NAME = "01-introduction"
CODE = ("show-nine-images", "compile-and-fit", "predict-one-image", "save-model")
WRITTEN = ("inspect-dataset", "is-it-doing-well", "interpret-prediction")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def autograder(repository, data_folder):
    """Run a command of the graders' in a course folder; what it printed."""

    def run(folder: Path, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "autograder", *map(str, arguments)],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def unpacked(repository, autograder, tmp_path_factory) -> Path:
    """The bundle of episode 1 with its images, unpacked where a student might, with its environment made."""
    folder = tmp_path_factory.mktemp("session") / "Größere Übung (1)"
    folder.mkdir()
    autograder(repository, "bundle", "1", "--with-data", "--to", folder / "cnn-course.zip")
    with zipfile.ZipFile(folder / "cnn-course.zip") as archive:
        archive.extractall(folder)
    make_environment(folder / FOLDER / ".venv", folder / FOLDER / "requirements.txt")
    return folder / FOLDER


@pytest.fixture(scope="module")
def answers(repository) -> dict[str, str]:
    """Right answers to all exercises, as the samples of the demo have them."""
    sample = repository / "autograder" / "samples" / NAME / "01-all-right.toml"
    return {key: text.strip() for key, text in tomllib.loads(sample.read_text())["answers"].items()}


@pytest.fixture(scope="module")
def handed_in(unpacked, answers, needs_chromium) -> Path:
    """The file that a student's session in JupyterLab ends with."""
    page_text = (unpacked / "START-HERE.html").read_text(encoding="utf-8")
    assert f"cd {FOLDER}\npython start.py" in page_text, "the two commands that are run here"
    environment = clean_environment(
        unpacked.parent / "home", PIP_NO_INDEX="1", PIP_NO_BUILD_ISOLATION="0", TF_NUM_INTRAOP_THREADS="1"
    )
    with (
        lab([sys.executable, "start.py"], unpacked, environment) as address,
        browser_page(needs_chromium) as page,
    ):
        page.goto(f"{address}?token={TOKEN}")
        session(NotebookPage(page), answers)
    return unpacked / "notebooks" / NAME / f"{NAME}.ipynb"


def session(notebook: NotebookPage, answers: dict[str, str]) -> None:
    """What a student does and sees, in order."""
    page = notebook.page
    notebook.ready()
    expect(page.get_by_role("heading", name="A first classifier, end to end")).to_be_visible()
    assert page.locator(".lm-MenuBar-itemLabel", has_text="Nbgrader").count() == 0, "the instructor's menu is not shown"
    assert page.locator(".Toastify__toast").count() == 0, "no question comes between"
    notebook.seen("opened")

    # All above an exercise that is still blank, then its test.
    notebook.click("show-nine-images-test")
    notebook.menu("Run", "Run All Above Selected Cell")
    notebook.at_rest()
    blank = notebook.run("show-nine-images-test")
    notebook.seen("blank")
    assert blank.strip() == "not attempted yet: nothing is drawn in fig"

    # Validate says the same, of every exercise.
    said = notebook.validate()
    assert "not attempted yet: nothing is drawn in fig" in said
    assert "not attempted yet: history_intro is still a blank (...)" in said
    assert "Traceback" not in said and said.count("The following cell failed") == len(CODE) + len(WRITTEN)

    # A hint, in a cell of one's own.
    notebook.click("show-nine-images")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    page.keyboard.press("Enter")
    page.keyboard.type('helpers.hint("show-nine-images")')
    notebook.press_run()
    hint = page.locator(".jp-Cell", has_text="Hint 1 of").locator(".jp-Cell-outputArea")
    expect(hint).to_contain_text("Image number i is images[i]")
    notebook.seen("hint")

    # Nonsense, then the answer.
    notebook.click("show-nine-images")
    page.keyboard.press("Control+a")
    page.keyboard.type("plt.show(((")
    notebook.press_run()
    assert "SyntaxError: incomplete input. A bracket" in notebook.output("show-nine-images")
    notebook.seen("nonsense")
    for exercise in (*CODE, *WRITTEN):
        notebook.write(exercise, answers[exercise])
        if exercise in WRITTEN:
            notebook.press_run()
    notebook.run("show-nine-images")
    notebook.run("show-nine-images-probe")
    assert notebook.run("show-nine-images-test").strip() == "Nine images, nine titles."
    notebook.seen("right")

    # Away and back: nothing is lost.
    notebook.save()
    page.reload()
    notebook.ready()
    for exercise in CODE:
        expect(notebook.cell(exercise).locator(".cm-content")).to_contain_text(
            answers[exercise].splitlines()[-1].strip()
        )
    for exercise in WRITTEN:
        expect(notebook.cell(exercise)).to_contain_text(answers[exercise].split("\n")[0])
    assert notebook.output("show-nine-images-test").strip() == "Nine images, nine titles."

    # A test before what it needs, after a restart.
    notebook.menu("Kernel", "Restart Kernel…")
    page.locator(".jp-Dialog").get_by_role("button", name="Confirm Kernel Restart").click()
    page.locator(".jp-Dialog").wait_for(state="detached")
    notebook.ready()
    early = notebook.run("show-nine-images-test")
    notebook.seen("too-early")
    assert "NameError: name 'nine_images_facts' is not defined" in early
    assert "'nine_images_facts' has no value yet." in early and "choose Run > Run All Above" in early

    # The last look before it is handed in.
    assert "Success! Your notebook passes all the tests." in notebook.validate()
    notebook.save()


def test_what_was_saved_is_a_notebook_with_the_answers(handed_in, answers):
    notebook = nbformat.read(handed_in, as_version=4)
    nbformat.validate(notebook)
    sources = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell.source.strip() for cell in notebook.cells}
    assert {exercise: sources[exercise] for exercise in answers} == answers


def test_the_programs_that_ran_were_those_of_the_bundle(handed_in, unpacked):
    python = unpacked / ".venv" / "bin" / "python"
    found = subprocess.run(
        [python, "-c", "import helpers, os; print(os.path.dirname(helpers.__file__))"],
        capture_output=True, text=True, check=True, cwd=unpacked.parent,
    )  # fmt: skip
    assert Path(found.stdout.strip()).is_relative_to(unpacked / ".venv")
    again = subprocess.run(
        [sys.executable, "start.py", "--version"], cwd=unpacked, capture_output=True, text=True, check=True
    )
    assert "Setting up" not in again.stdout, "the second start installs nothing"


def test_handed_in_and_graded_the_student_sees_the_mark_and_what_each_test_said(
    handed_in, repository, autograder, needs_bubblewrap, needs_chromium, tmp_path
):
    root = tmp_path / "course"
    for kind in ("course", "source", "release"):
        shutil.copytree(repository / kind / NAME, root / kind / NAME)
    shutil.copy(repository / "nbgrader_config.py", root)
    download = tmp_path / "download.zip"
    with zipfile.ZipFile(download, "w") as archive:
        archive.write(handed_in, f"Ada Lovelace_4711_assignsubmission_file/{NAME}.ipynb")
    roster = tmp_path / "roster.csv"
    roster.write_text("Identifier,Full name,Email address\nParticipant 4711,Ada Lovelace,ada@example.org\n")
    autograder(root, "collect", download, "--roster", roster)
    autograder(root, "grade", "1", "--jobs", "1", "--feedback")
    [feedback] = root.glob(f"feedback/*/{NAME}/{NAME}.html")
    with browser_page(needs_chromium, offline=True) as page:
        page.goto(feedback.as_uri())
        picture(page, "feedback", full_page=True)
        text = page.inner_text("body")
        assert re.search(r"Score: 14(\.0)? / 20(\.0)?", text), "the written answers wait for a person"
        assert text.count("Not graded yet: a person reads this answer.") == len(WRITTEN)
        assert "Nine images, nine titles." in text
        assert "A new Python could load your model" in text
        assert "BEGIN HIDDEN TESTS" not in text and "above_chance" not in text
