"""What can go wrong before anything is exported, and what a report says of a class; marks: see test_grade."""

from __future__ import annotations

import pytest

from autograder.build import build, register_assignment
from autograder.course import find_episode
from autograder.errors import CourseError
from autograder.export import export
from autograder.grade import Mark, StudentResult
from autograder.report import write_report


def test_a_course_without_a_gradebook_has_nothing_to_export_and_gets_none(course_factory):
    root = course_factory()
    with pytest.raises(CourseError, match="no gradebook"):
        export(root, [find_episode(root, "1")])
    assert not (root / "gradebook.db").exists() and not (root / "export").exists()


def test_an_episode_that_nobody_was_graded_in_gives_files_with_headings_alone(course_factory, tmp_path):
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    register_assignment(episode)
    grades, exercises = export(root, [episode], tmp_path / "marks")
    assert grades.parent == tmp_path / "marks"
    assert len(grades.read_text().splitlines()) == len(exercises.read_text().splitlines()) == 1


def marks(score: float | None, state: str = "marked", message: str = "") -> tuple[Mark, ...]:
    return (
        Mark("add-up-test", state, score, 2, written=False, message=message),
        Mark("say-why", "needs manual grading", None, 3, written=True),
    )


def test_the_report_lists_a_grader_failure_as_such_and_not_as_a_zero(tmp_path):
    results = [
        StudentResult("ada", "01-small", marks(2)),
        StudentResult("bob", "01-small", marks(None, "grader failed", "the judge gave no answer")),
    ]
    page = write_report(tmp_path / "report.html", "01-small", results).read_text()
    assert page.count('class="fail"') == 1
    assert "the judge gave no answer" in page and "No points were taken off" in page
    # the mean is of the marks that are there
    assert "<td>2.0</td>" in page
    assert "without the sandbox" not in page


def test_the_report_says_why_points_are_missing_and_what_was_repaired(tmp_path):
    result = StudentResult(
        "ada", "01-small", marks(0, message="total should be 6"), repairs=("The test cell was put back.",)
    )
    page = write_report(tmp_path / "report.html", "01-small", [result]).read_text()
    assert "total should be 6" in page and "The test cell was put back." in page


def test_a_report_on_a_class_where_nobody_could_be_graded_can_be_written(tmp_path):
    page = write_report(tmp_path / "r.html", "01-small", [StudentResult("ada", "01-small", problem="no notebook")])
    assert "no notebook" in page.read_text()
