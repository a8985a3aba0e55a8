"""Export: the gradebook as CSV files for a school's own books."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.course import Episode, load_config
from autograder.errors import CourseError
from autograder.grade import read_class_marks
from autograder.gradebook import knows, marks_url, open_gradebook
from autograder.late import settle
from autograder.runlog import event
from autograder.whole import write_csv_whole

if TYPE_CHECKING:
    from nbgrader.api import Gradebook

COLUMNS = ("episode", "student", "exercise", "kind", "state", "score", "max_score")
#: As nbgrader's own export names them.
TOTALS = (
    "assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
    "raw_score", "late_submission_penalty", "score", "max_score",
)  # fmt: skip


def export(root: Path, chosen: list[Episode], folder: Path | None = None) -> list[Path]:
    """Write `grades.csv` (nbgrader's own columns, a row for each student and episode) and `exercises.csv`.

    nbgrader's own export puts no quotes around a name with a comma in it, so the rows are written here.

    Args:
        root: The course folder.
        chosen: The episodes to write about.
        folder: Where to; `export/` in the course folder when None.

    Returns:
        The two files.

    Raises:
        CourseError: There is no gradebook, none of these episodes was ever graded, or `folder` cannot be made.
    """
    config = load_config(root)
    url = marks_url(config, root, chosen)
    chosen = [episode for episode in chosen if knows(url, episode.name)]
    folder = made_folder(folder or root / "export")
    rows = []
    for episode in chosen:
        settle(episode, config)
        for student, marks in read_class_marks(episode, config).items():
            for mark in marks:
                kind = "written" if mark.written else "machine"
                score = "" if mark.score is None else f"{mark.score:g}"
                rows.append((episode.name, student, mark.exercise, kind, mark.state, score, f"{mark.max_score:g}"))
    with open_gradebook(config, root) as gradebook:
        paths = [
            write_csv_whole(folder / "grades.csv", [TOTALS, *_totals(gradebook, [episode.name for episode in chosen])]),
            write_csv_whole(folder / "exercises.csv", [COLUMNS, *rows]),
        ]
    event("exported", root=root, episodes=[episode.name for episode in chosen], rows=len(rows))
    return paths


def made_folder(folder: Path) -> Path:
    """The folder that marks are written to, made if it is not there.

    Raises:
        CourseError: Something else has its name, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as problem:
        raise CourseError(f"{problem.filename} is no folder. Name one to write to, with --to.") from problem
    return folder


def _totals(gradebook: Gradebook, names: list[str]) -> Iterator[list[object]]:
    """A row for each student of the class and episode; who has not handed in has no points."""
    for name in names:
        assignment = gradebook.find_assignment(name)
        handed_in = {one.student_id: one for one in assignment.submissions}
        for student in gradebook.students:
            one = handed_in.get(student.id)
            raw, penalty = (one.score, one.late_submission_penalty or 0.0) if one else (0.0, 0.0)
            yield [
                name, assignment.duedate, one.timestamp if one else None, student.id, student.last_name,
                student.first_name, student.email, raw, penalty, max(0.0, raw - penalty), assignment.max_score,
            ]  # fmt: skip
