"""The engine inside nbgrader: marks in the gradebook, from evidence alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    Execute,
    IgnorePattern,
    LimitOutput,
    SaveAutoGrades,
)
from traitlets.config import Config

from autograder import worker as workers
from autograder.preprocessors import JudgedExecute, RecordMarks
from autograder.worker import WORKERS

AROUND = [IgnorePattern, ClearMetadataPreprocessor, LimitOutput]


def cell(grade_id: str, source: str, points: float | None = None, solution: bool = False, kind: str = "code") -> Any:
    made = new_code_cell(source) if kind == "code" else new_markdown_cell(source)
    made.metadata["nbgrader"] = {
        "grade": points is not None, "solution": solution, "locked": not solution, "task": False,
        "grade_id": grade_id, "schema_version": 3,
    }  # fmt: skip
    if points is not None:
        made.metadata["nbgrader"]["points"] = points
    return made


def solution(text: str) -> str:
    return f"### BEGIN SOLUTION\n{text}\n### END SOLUTION"


SOURCE = [
    cell("sum", solution("total = 6"), solution=True),
    cell("sum-test", "assert total == 6, f'total should be 6; yours is {total}'\n### BEGIN HIDDEN TESTS\nsecret = 6\n"
         "assert total == secret, 'the hidden one'\n### END HIDDEN TESTS", 2),
    cell("half", solution("half = 0.5"), solution=True),
    cell("half-test", "2 * half", 2),
    cell("noisy-test", "import sys\nprint('noise', file=sys.stderr)\nassert total", 1),
    cell("why", "Because.", 3, solution=True, kind="markdown"),
]  # fmt: skip


class Course:
    """A small nbgrader course in a folder of its own."""

    def __init__(self, root: Path, execute: type = JudgedExecute, record: type = RecordMarks) -> None:
        self.root = root
        self.config = Config()
        self.config.CourseDirectory.root = str(root)
        self.config.CourseDirectory.db_url = f"sqlite:///{root}/gradebook.db"
        self.config.Autograde.autograde_preprocessors = [
            execute, *AROUND, record, AssignLatePenalties, CheckCellMetadata,
        ]  # fmt: skip
        self.config.JudgedExecute.sandbox = False
        source = root / "source" / "ps"
        source.mkdir(parents=True)
        nb = new_notebook(cells=SOURCE, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
        nbformat.write(nb, source / "ps.ipynb")
        assert NbGraderAPI(config=self.config).generate_assignment("ps")["success"]

    def submit(self, answers: dict[str, str], student: str = "ada") -> None:
        folder = self.root / "submitted" / student / "ps"
        folder.mkdir(parents=True, exist_ok=True)
        nb = nbformat.read(self.root / "release" / "ps" / "ps.ipynb", as_version=4)
        for each in nb.cells:
            grade_id = each.metadata["nbgrader"]["grade_id"]
            each.source = answers.get(grade_id, each.source)
        nbformat.write(nb, folder / "ps.ipynb")

    def grade(self, student: str = "ada") -> dict[str, Any]:
        result = NbGraderAPI(config=self.config).autograde("ps", student, force=True)
        assert result["success"], result.get("log", result)
        return result

    def gradebook(self) -> Gradebook:
        return Gradebook(self.config.CourseDirectory.db_url)

    def marks(self, student: str = "ada") -> dict[str, tuple[float | None, bool]]:
        """Automatic score and 'needs a person' by grade id."""
        with self.gradebook() as book:
            grades = book.find_submission_notebook("ps", "ps", student).grades
            return {g.name: (g.auto_score, bool(g.needs_manual_grade)) for g in grades}

    def outputs(self, grade_id: str, student: str = "ada") -> list[Any]:
        nb = nbformat.read(self.root / "autograded" / student / "ps" / "ps.ipynb", as_version=4)
        return next(c for c in nb.cells if c.metadata["nbgrader"]["grade_id"] == grade_id).outputs


@pytest.fixture(autouse=True)
def _workers_of_its_own():
    """Each test starts its own workers; their judges need no Keras."""
    yield
    WORKERS.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    return Course(tmp_path_factory.mktemp("template")).root


@pytest.fixture
def course(template, tmp_path) -> Callable[..., Course]:
    def make(execute: type = JudgedExecute, record: type = RecordMarks) -> Course:
        made = Course.__new__(Course)
        root = tmp_path / "course"
        shutil.copytree(template, root)
        made.root, made.config = root, Config()
        made.config.CourseDirectory.root = str(root)
        made.config.CourseDirectory.db_url = f"sqlite:///{root}/gradebook.db"
        made.config.Autograde.autograde_preprocessors = [
            execute,
            *AROUND,
            record,
            AssignLatePenalties,
            CheckCellMetadata,
        ]
        made.config.JudgedExecute.sandbox = False
        return made

    return make


ANSWERS = {"sum": "total = 6", "half": "half = 0.5", "why": "My own words."}


def test_marks_come_from_the_verdicts_and_written_answers_wait_for_a_person(course):
    here = course()
    here.submit(ANSWERS)
    here.grade()
    assert here.marks() == {
        "sum-test": (2, False), "half-test": (1, False), "noisy-test": (1, False), "why": (None, True),
    }  # fmt: skip
    assert here.outputs("half-test")[0]["data"]["text/plain"] == "1.0"


def test_an_untouched_notebook_gets_nothing_and_an_unanswered_question_needs_nobody(course):
    here = course()
    here.submit({})
    here.grade()
    assert here.marks() == {
        "sum-test": (0, False), "half-test": (0, False), "noisy-test": (0, False), "why": (0, False),
    }  # fmt: skip
    with here.gradebook() as book:
        assert book.find_comment("why", "ps", "ps", "ada").comment == "No response."


def test_a_failed_hidden_test_shows_its_message_and_not_its_code(course):
    here = course()
    here.submit(
        {
            **ANSWERS,
            "sum": "class Six(int):\n    __eq__ = lambda s, o: o == 6\n    __hash__ = int.__hash__\ntotal = Six(5)",
        }
    )
    here.grade()
    (error,) = here.outputs("sum-test")
    assert error.evalue == "total should be 6; yours is 5"
    assert error.traceback == ["AssertionError: total should be 6; yours is 5"]
    assert here.marks()["sum-test"] == (0, False)


def test_without_the_judge_there_are_no_points(course):
    """Even if an instructor's configuration puts nbgrader's own execution back."""
    here = course(execute=Execute)
    here.submit(ANSWERS)
    here.grade()
    assert here.marks()["sum-test"] == (None, True)
    with here.gradebook() as book:
        assert "no judge has seen it" in book.find_comment("sum", "ps", "ps", "ada").auto_comment


def test_nbgraders_own_record_of_marks_reads_the_same_from_the_cells(course):
    here = course(record=SaveAutoGrades)
    here.submit(ANSWERS)
    here.grade()
    assert [here.marks()[name][0] for name in ("sum-test", "half-test", "noisy-test")] == [2, 1, 1]


def test_a_grader_that_failed_gives_no_mark_and_says_so(course, monkeypatch):
    here = course()
    here.submit(ANSWERS)
    monkeypatch.setattr(workers, "open_judge", lambda **options: _dead_judge())
    here.grade()
    assert here.marks()["sum-test"] == (None, True)
    with here.gradebook() as book:
        comment = book.find_comment("sum", "ps", "ps", "ada").auto_comment
        assert comment.startswith("The test `sum-test` could not be run and is not marked yet: the judge died")
        assert book.find_submission("ps", "ada").needs_manual_grade
    assert "through no fault of yours" in here.outputs("sum-test")[0]["data"]["text/plain"]


def _dead_judge():
    from autograder.judge import Judge

    return Judge(command=lambda argv: ["true"])


def test_a_mark_by_hand_outlives_another_grading(course):
    here = course()
    here.submit(ANSWERS)
    here.grade()
    with here.gradebook() as book:
        book.find_grade("sum-test", "ps", "ps", "ada").manual_score = 1.5
        book.find_grade("sum-test", "ps", "ps", "ada").extra_credit = 0.5
        book.db.commit()
    here.submit({**ANSWERS, "sum": "total = 7"})
    here.grade()
    with here.gradebook() as book:
        grade = book.find_grade("sum-test", "ps", "ps", "ada")
        assert (grade.auto_score, grade.manual_score, grade.score, grade.needs_manual_grade) == (0, 1.5, 2.0, True)


def test_a_comment_on_a_failure_is_gone_when_the_next_grading_works(course, monkeypatch):
    here = course()
    here.submit(ANSWERS)
    with monkeypatch.context() as patched:
        patched.setattr(workers, "open_judge", lambda **options: _dead_judge())
        here.grade()
    WORKERS.close()
    here.grade()
    assert here.marks()["sum-test"] == (2, False)
    with here.gradebook() as book:
        assert book.find_comment("sum", "ps", "ps", "ada").auto_comment is None


def test_late_penalties_are_nbgraders(course):
    here = course()
    here.config.LateSubmissionPlugin.penalty_method = "zero"
    here.submit(ANSWERS)
    (here.root / "submitted" / "ada" / "ps" / "timestamp.txt").write_text("2030-01-02 00:00:00 UTC")
    with here.gradebook() as book:
        book.update_or_create_assignment("ps", duedate="2030-01-01 00:00:00 UTC")
    here.grade()
    with here.gradebook() as book:
        submission = book.find_submission("ps", "ada")
        assert submission.total_seconds_late == 24 * 3600
        assert submission.notebooks[0].late_submission_penalty == submission.score == 4
