"""Read the marks of a whole class from nbgrader's gradebook in one query, without loading nbgrader.

nbgrader's own interface takes several queries a mark, and seconds to load: longer than to look through a class in
which nothing changed.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets.config import Config

from autograder.course import Episode
from autograder.errors import CourseError

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

SQLITE = "sqlite:///"

_MARKS = """
SELECT submission.student_id, cell.name, grade.auto_score, grade.manual_score, grade.extra_credit,
       COALESCE(graded.max_score, task.max_score),
       grade.needs_manual_grade,
       (task.id IS NOT NULL OR EXISTS (
            SELECT 1 FROM base_cell AS answer JOIN solution_cells ON solution_cells.id = answer.id
            WHERE answer.notebook_id = cell.notebook_id AND answer.name = cell.name))
FROM grade
JOIN base_cell AS cell ON cell.id = grade.cell_id
LEFT JOIN grade_cells AS graded ON graded.id = cell.id
LEFT JOIN task_cells AS task ON task.id = cell.id
JOIN submitted_notebook AS notebook ON notebook.id = grade.notebook_id
JOIN submitted_assignment AS submission ON submission.id = notebook.assignment_id
JOIN assignment ON assignment.id = submission.assignment_id
WHERE assignment.name = :episode
"""
_DATES = """
SELECT submission.student_id, assignment.duedate, submission.extension,
       (SELECT COALESCE(SUM(notebook.late_submission_penalty), 0) FROM submitted_notebook AS notebook
        WHERE notebook.assignment_id = submission.id)
FROM submitted_assignment AS submission JOIN assignment ON submission.assignment_id = assignment.id
WHERE assignment.name = :episode
"""
_LATE = """
SELECT 1 FROM submitted_assignment AS submission JOIN assignment ON submission.assignment_id = assignment.id
WHERE assignment.name = :episode AND (submission.timestamp > assignment.duedate OR EXISTS (
    SELECT 1 FROM submitted_notebook AS notebook
    WHERE notebook.assignment_id = submission.id AND notebook.late_submission_penalty > 0))
"""


@dataclass(frozen=True)
class Row:
    """One grade as it stands in the gradebook.

    Attributes:
        exercise: The grade id of its cell.
        auto_score: Points by the grader; None if it gave none.
        manual_score: Points by a person; None if nobody gave any.
        extra_credit: Points on top, by a person.
        max_score: What the cell is worth.
        written: Whether a person has to grade it: a written answer or a task.
        flagged: Whether the gradebook asks a person to look at it.
    """

    exercise: str
    auto_score: float | None
    manual_score: float | None
    extra_credit: float | None
    max_score: float
    written: bool
    flagged: bool = False

    @property
    def score(self) -> float | None:
        """Points as nbgrader counts them; None while there is no mark."""
        mark = self.manual_score if self.manual_score is not None else self.auto_score
        return None if mark is None else mark + (self.extra_credit or 0.0)


@dataclass(frozen=True)
class ClassMarks:
    """What the gradebook holds about one episode.

    Attributes:
        rows: The grades of each student, in no order.
        due: The due date with each student's extension, as text.
        penalty: The points taken off each student for handing in late.
    """

    rows: Mapping[str, list[Row]] = field(default_factory=dict)
    due: Mapping[str, str] = field(default_factory=dict)
    penalty: Mapping[str, float] = field(default_factory=dict)


def database_url(config: Config, root: Path) -> str:
    """Where the gradebook of a course is, as nbgrader finds it."""
    set_by_hand = config.CourseDirectory.get("db_url") if "db_url" in config.CourseDirectory else None
    return str(set_by_hand or f"{SQLITE}{root / 'gradebook.db'}")


def open_gradebook(config: Config, root: Path) -> Gradebook:
    """The gradebook of a course through nbgrader's own interface; use it as a context manager.

    Raises:
        CourseError: It is damaged, or cannot be opened.
    """
    from nbgrader.api import Gradebook
    from nbgrader.coursedir import CourseDirectory

    url = database_url(config, root)
    if url.startswith(SQLITE):
        _ask(url, ("SELECT COUNT(*) FROM sqlite_master", {}))
    return Gradebook(url, CourseDirectory(config=config).course_id)


def marks_url(config: Config, root: Path, chosen: Sequence[Episode]) -> str:
    """Where the gradebook is, if it holds any of these episodes.

    Raises:
        CourseError: There is no gradebook, or it knows none of them.
    """
    url = database_url(config, root)
    if url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).is_file():
        raise CourseError("There are no marks yet: the course folder holds no gradebook.db. Run `autograder grade`.")
    if not any(knows(url, episode.name) for episode in chosen):
        names = ", ".join(episode.name for episode in chosen)
        raise CourseError(f"There are no marks of {names} in the gradebook. Run `autograder grade` first.")
    return url


def knows(url: str, episode: str) -> bool:
    """Whether a gradebook was told about an episode."""
    (found,) = _ask(url, ("SELECT name FROM assignment WHERE name = :episode", {"episode": episode}))
    return bool(found)


def read_class(url: str, episode: str, students: Sequence[str] | None = None) -> ClassMarks:
    """The marks of everybody in an episode.

    Args:
        url: The gradebook's URL, as SQLAlchemy understands it.
        episode: The episode's name.
        students: Whose marks, a few; everybody's if None.

    Returns:
        The marks; nothing if there is no gradebook yet.
    """
    about: dict[str, str] = {"episode": episode}
    only = ""
    if students is not None:
        if not students:
            return ClassMarks()
        about.update((f"student_{at}", student) for at, student in enumerate(students))
        only = f"AND submission.student_id IN ({', '.join(f':{name}' for name in about if name != 'episode')})"
    dates, marks = _ask(url, (_DATES + only, about), (_MARKS + only, about))
    rows: dict[str, list[Row]] = defaultdict(list)
    for student, name, auto, manual, extra, most, flagged, written in marks:
        rows[student].append(Row(name, auto, manual, extra, float(most or 0.0), bool(written), bool(flagged)))
    due = {student: f"{date} {extension}" for student, date, extension, _ in dates}
    return ClassMarks(dict(rows), due, {student: float(points) for student, _, _, points in dates if points})


def may_be_late(url: str, episode: str, extended: bool) -> bool:
    """Whether a late penalty of somebody may have to be looked at: handed in after the due date, or penalised.

    Args:
        url: The gradebook's URL.
        episode: The episode's name.
        extended: Whether anybody has an extension; then it is enough that the episode is known.
    """
    if extended:
        return knows(url, episode)
    (found,) = _ask(url, (_LATE, {"episode": episode}))
    return bool(found)


def _ask(url: str, *questions: tuple[str, Mapping[str, str]]) -> list[list[Any]]:
    """The rows that answer each question; none if there is no gradebook yet.

    Raises:
        CourseError: The gradebook is a file that is damaged, or cannot be opened.
    """
    nothing: list[list[Any]] = [[] for _ in questions]
    if url.startswith(SQLITE):
        path = Path(url.removeprefix(SQLITE))
        if not path.is_file():
            return nothing
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
                return [connection.execute(text, about).fetchall() for text, about in questions]
        except sqlite3.OperationalError as problem:
            if "no such table" in str(problem):  # a file that nbgrader has not yet filled
                return nothing
            raise CourseError(
                f"The gradebook {path} cannot be read: {problem}. See that you may read and write it, close what else "
                "has it open, and try again."
            ) from problem
        except sqlite3.DatabaseError as problem:
            raise CourseError(
                f"The gradebook {path} is damaged: {problem}. Put it back from a backup: autograder restore ARCHIVE "
                "--force. Without one, move the file away and grade again; marks by hand are lost then."
            ) from problem
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    try:
        if not sqlalchemy.inspect(engine).has_table("assignment"):
            return nothing
        with engine.connect() as session:
            return [list(session.execute(sqlalchemy.text(text), about)) for text, about in questions]
    finally:
        engine.dispose()
