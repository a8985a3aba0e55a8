"""Feedback: the page that each student gets back, made by nbgrader's GenerateFeedback."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory

from autograder.build import nbgrader_log
from autograder.course import Episode, load_config
from autograder.errors import CourseError
from autograder.runlog import event


@dataclass(frozen=True)
class Page:
    """One student's feedback.

    Attributes:
        student: The student's id.
        path: Where the page stands.
        problem: Why there is none; empty if there is.
    """

    student: str
    path: Path
    problem: str = ""


def graded_students(episode: Episode) -> list[str]:
    """The students whose graded notebook is there, in order."""
    found = episode.root.glob(f"autograded/*/{episode.name}/{episode.name}.ipynb")
    return sorted(path.parent.parent.name for path in found)


def write_feedback(episode: Episode, students: Sequence[str] = ()) -> Iterator[Page]:
    """Write the feedback pages of an episode, each student on their own; pages of an earlier run are replaced.

    Args:
        episode: The episode.
        students: For whom; everyone who was graded when empty.

    Raises:
        CourseError: Nobody was graded, or a student named was not.
    """
    graded = graded_students(episode)
    if not graded:
        raise CourseError(f"Nobody was graded in {episode.name} yet. Run `autograder grade {episode.name}` first.")
    for student in students:
        if student not in graded:
            raise CourseError(
                f"Student '{student}' was not graded in {episode.name}: there is no "
                f"{episode.autograded(student).relative_to(episode.root)}. Run `autograder grade {episode.name}` first."
            )
    config = load_config(episode.root)
    config.CourseDirectory.assignment_id = episode.name
    for student in graded:
        if students and student not in students:
            continue
        config.CourseDirectory.student_id = glob.escape(student)
        converter = GenerateFeedback(coursedir=CourseDirectory(config=config), config=config)
        converter.force = True
        problem = ""
        with nbgrader_log(episode.root, episode.root / "logs" / "nbgrader.log"):
            try:
                converter.start()
            except Exception as error:
                problem = f"{error} (the whole story is in logs/nbgrader.log)"
        path = episode.feedback(student)
        event("feedback", root=episode.root, episode=episode.name, student=student, problem=problem)
        yield Page(student, path, problem)
