"""Export: the gradebook as CSV files for a school's own books."""

from __future__ import annotations

import csv
from pathlib import Path

from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import CsvExportPlugin

from autograder.build import nbgrader_log
from autograder.course import Episode, load_config
from autograder.errors import CourseError
from autograder.grade import read_class_marks
from autograder.runlog import event

COLUMNS = ("episode", "student", "exercise", "kind", "state", "score", "max_score")


def export(root: Path, chosen: list[Episode], folder: Path | None = None) -> list[Path]:
    """Write `grades.csv` (nbgrader's own columns, a row for each student and episode) and `exercises.csv`.

    Args:
        root: The course folder.
        chosen: The episodes to write about.
        folder: Where to; `export/` in the course folder when None.

    Returns:
        The two files.

    Raises:
        CourseError: There is no gradebook, or none of these episodes was ever graded.
    """
    config = load_config(root)
    course = CourseDirectory(config=config)
    if course.db_url.startswith("sqlite:///") and not Path(course.db_url.removeprefix("sqlite:///")).is_file():
        raise CourseError("There are no marks yet: the course folder holds no gradebook.db. Run `autograder grade`.")
    folder = folder or root / "export"
    rows = []
    with Gradebook(course.db_url) as gradebook:
        known = {assignment.name for assignment in gradebook.assignments}
        chosen = [episode for episode in chosen if episode.name in known]
        if not chosen:
            raise CourseError("There are no marks of that episode in the gradebook. Run `autograder grade` first.")
        folder.mkdir(parents=True, exist_ok=True)
        with nbgrader_log(root):
            plugin = CsvExportPlugin()
            plugin.to = str(folder / "grades.csv")
            plugin.assignment = [episode.name for episode in chosen]
            plugin.export(gradebook)
    for episode in chosen:
        for student, marks in read_class_marks(episode, config).items():
            for mark in marks:
                kind = "written" if mark.written else "machine"
                score = "" if mark.score is None else f"{mark.score:g}"
                rows.append((episode.name, student, mark.exercise, kind, mark.state, score, f"{mark.max_score:g}"))
    with (folder / "exercises.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    event("exported", root=root, episodes=[episode.name for episode in chosen], rows=len(rows))
    return [folder / "grades.csv", folder / "exercises.csv"]
