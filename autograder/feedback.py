"""Feedback: the page that each student gets back, made by nbgrader's GenerateFeedback."""

from __future__ import annotations

import glob
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from autograder.course import Episode, load_config
from autograder.errors import CourseError
from autograder.late import settle
from autograder.runlog import event

#: Below so many pages for each process, starting it costs more than it saves.
PAGES_WORTH_A_PROCESS = 12


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


def write_feedback(episode: Episode, students: Sequence[str] = (), *, jobs: int | None = None) -> Iterator[Page]:
    """Write the feedback pages of an episode, each student on their own; pages of an earlier run are replaced.

    Args:
        episode: The episode.
        students: For whom; everyone who was graded when empty.
        jobs: How many processes; as many as there are cores, as far as they have enough to do, if None.

    Yields:
        One page after the other, as they are done.

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
    chosen = [student for student in graded if not students or student in students]
    settle(episode, load_config(episode.root))
    return _pages(episode, chosen, jobs or _worthwhile(len(chosen)))


def _worthwhile(pages: int) -> int:
    from autograder.executors import cores

    return max(1, min(cores(), pages // PAGES_WORTH_A_PROCESS))


def _pages(episode: Episode, students: list[str], jobs: int) -> Iterator[Page]:
    for page in _in_processes(episode, students, jobs) if jobs > 1 else write_pages(episode, students):
        event("feedback", root=episode.root, episode=episode.name, student=page.student, problem=page.problem)
        yield page


def _in_processes(episode: Episode, students: list[str], jobs: int) -> Iterator[Page]:
    """Making a page is Python from end to end, so threads would wait for each other."""
    size = max(1, -(-len(students) // (4 * jobs)))
    parts = [students[at : at + size] for at in range(0, len(students), size)]
    # Spawned, for a fork of a process with threads may hang.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as processes:
        futures = [processes.submit(_list_pages, episode, part) for part in parts]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()


def _list_pages(episode: Episode, students: list[str]) -> list[Page]:
    return list(write_pages(episode, students))


def write_pages(episode: Episode, students: Sequence[str]) -> Iterator[Page]:
    """Write the pages of these students, one after the other."""
    from nbgrader.converters import GenerateFeedback
    from nbgrader.coursedir import CourseDirectory

    from autograder.build import nbgrader_log

    config = load_config(episode.root)
    config.CourseDirectory.assignment_id = episode.name
    for student in students:
        config.CourseDirectory.student_id = glob.escape(student)
        converter = GenerateFeedback(coursedir=CourseDirectory(config=config), config=config)
        converter.force = True
        problem = ""
        with nbgrader_log(episode.root, episode.root / "logs" / "nbgrader.log"):
            try:
                converter.start()
            except Exception as error:
                problem = f"{error} (the whole story is in logs/nbgrader.log)"
        yield Page(student, episode.feedback(student), problem)
