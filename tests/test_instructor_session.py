"""An instructor's way through Formgrader in a real browser: generate, autograde, grade by hand, hand back feedback."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jupyter_browser import TOKEN, browser_page, clean_environment, lab, picture
from nbgrader.api import Gradebook
from playwright.sync_api import FrameLocator, Page, expect
from quick_class import hand_in, make_class

COMMENT = "Yes: addition is commutative. Give an example next time."
# Equal to everything, for a test that runs where this does; and a look at whether the walls hold.
CHEAT = """\
class Six(int):
    __eq__ = lambda self, other: True
    __hash__ = int.__hash__

total = Six(7)
try:
    open({marker!r}, "w").close()
except OSError:
    pass
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Formgrader:
    """Formgrader in its tab of JupyterLab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Nbgrader$")).click()
        page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Formgrader$")).click()
        self.frame: FrameLocator = page.frame_locator("iframe")

    def go(self, place: str) -> None:
        """Choose one of the places on the left."""
        self.frame.get_by_role("link", name=place, exact=True).click()

    def press(self, row: str, column: str, succeeded: str) -> None:
        """Press the button in a row of the table, and close the window that tells of its success."""
        self.frame.locator("tr", has_text=row).locator(f"td.{column} a").click()
        window = self.frame.locator(".modal-dialog")
        expect(window).to_contain_text(re.compile("Success|Error"))
        expect(window).to_contain_text(succeeded, timeout=1000)
        window.get_by_role("button", name="Close").last.click()
        expect(window).to_have_count(0)

    def submissions(self) -> None:
        """Open the table of an episode's submissions, as it is now."""
        self.go("Manage Assignments")
        self.frame.locator("tr", has_text="01-small").locator("td.num-submissions a").click()
        expect(self.frame.locator("tr", has_text="ada")).to_be_visible()

    def cell(self, student: str, column: str):
        """What the table says of a student."""
        return self.frame.locator("tr", has_text=student).locator(f"td.{column}")


def grade_of(root: Path, student: str, cell: str) -> tuple[float | None, float | None]:
    """The automatic and the manual score in the gradebook."""
    with Gradebook(f"sqlite:///{root / 'gradebook.db'}", "default_course") as gradebook:
        grade = gradebook.find_grade(cell, "01-small", "01-small", student)
        return grade.auto_score, grade.manual_score


def test_from_source_to_feedback(needs_bubblewrap, needs_chromium, tmp_path):
    root = tmp_path / "course of 2026"
    episode = make_class(root, {})
    shutil.rmtree(root / "release")
    marker = root / "written-by-a-student"
    with (
        lab([sys.executable, "-m", "jupyterlab"], root, clean_environment(tmp_path / "home")) as address,
        browser_page(needs_chromium) as page,
    ):
        page.goto(f"{address}lab?token={TOKEN}")
        page.get_by_role("button", name="No", exact=True).click()  # JupyterLab asks everyone once, whether to send news
        expect(page.locator(".Toastify__toast")).to_have_count(0)
        formgrader = Formgrader(page)

        # Generate, and the class hands in.
        formgrader.press("01-small", "assign", "Successfully created the student version of '01-small'")
        assert "commutative" not in episode.release.read_text() and "BEGIN HIDDEN" not in episode.release.read_text()
        hand_in(episode, "ada", "total = 1 + 2 + 3", "Because <b>it</b> commutes.")
        hand_in(episode, "bob", CHEAT.format(marker=str(marker)), "Dunno.")

        # Autograde: the judge's marks, from behind the walls.
        formgrader.submissions()
        picture(page, "submissions")
        expect(formgrader.cell("ada", "status")).to_have_text("needs autograding")
        formgrader.press("ada", "autograde", "Successfully autograded '01-small' for student 'ada'")
        expect(formgrader.cell("ada", "status")).to_have_text("needs manual grading")
        expect(formgrader.cell("ada", "score")).to_have_text("2 / 5")
        picture(page, "autograded")

        # By hand: points and a comment.
        formgrader.go("Manual Grading")
        formgrader.frame.get_by_role("link", name="01-small").click()
        formgrader.frame.get_by_role("link", name="01-small").last.click()
        formgrader.frame.get_by_role("link", name=re.compile("Submission #1")).click()
        expect(formgrader.frame.get_by_text("Because it commutes.")).to_be_visible()
        with page.expect_response(lambda response: "/api/grade/" in response.url and response.request.method == "PUT"):
            formgrader.frame.locator("#say-why").fill("2.5")
            page.keyboard.press("Tab")
        with page.expect_response(lambda reply: "/api/comment/" in reply.url and reply.request.method == "PUT"):
            formgrader.frame.locator("#say-why-comment").fill(COMMENT)
            page.keyboard.press("Tab")
        picture(page, "by-hand")
        assert grade_of(root, "ada", "say-why") == (None, 2.5)

        # Bob cheats, in Formgrader as elsewhere for nothing.
        formgrader.frame.get_by_role("link", name="Manual Grading").first.click()
        formgrader.submissions()
        formgrader.press("bob", "autograde", "Successfully autograded '01-small' for student 'bob'")
        expect(formgrader.cell("bob", "score")).to_have_text("0 / 5")
        assert not marker.exists(), "the student's code saw the course folder"

        # Everyone again, on the command line: what a person gave stays.
        again = subprocess.run(
            [sys.executable, "-m", "autograder", "grade", "1", "--force", "--jobs", "1"],
            cwd=root, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert again.returncode == 0, again.stdout + again.stderr
        assert grade_of(root, "ada", "say-why")[1] == 2.5 and grade_of(root, "ada", "add-up-test")[0] == 2
        assert grade_of(root, "bob", "add-up-test")[0] == 0

        # nbgrader asks to look again at what a person graded before the notebook was graded anew.
        formgrader.submissions()
        expect(formgrader.cell("ada", "score")).to_have_text("4.5 / 5")
        expect(formgrader.cell("ada", "status")).to_have_text("needs manual grading")
        formgrader.cell("ada", "student-name").locator("a").click()
        formgrader.frame.locator("td a", has_text="01-small").click()
        answer = formgrader.frame.locator(".nbgrader_cell:has(#say-why)")
        expect(answer.locator("#say-why")).to_have_value("2.5")
        expect(answer.locator("#say-why-comment")).to_have_value(COMMENT)
        picture(page, "look-again")
        with page.expect_response(lambda reply: "/api/grade/" in reply.url and reply.request.method == "PUT"):
            answer.get_by_role("button", name="Resolve").click()
        formgrader.frame.get_by_role("link", name="Manual Grading").first.click()

        # Feedback.
        formgrader.submissions()
        expect(formgrader.cell("ada", "status")).to_have_text("graded")
        formgrader.press("ada", "generate-feedback", "Successfully generated feedback for '01-small' for student 'ada'")
        picture(page, "feedback-made")

        page.goto(episode.feedback("ada").as_uri())
        text = page.inner_text("body")
        picture(page, "feedback-ada", full_page=True)
        assert "Not graded yet" not in text
        assert COMMENT in text and "Score: 4.5 / 5.0" in text
        assert "the total must be a whole number" not in text
