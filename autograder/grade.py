"""Grading: each student's notebook on its own through nbgrader's Autograde, so that one never stops the others."""

from __future__ import annotations

import contextlib
import copy
import difflib
import glob
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from autograder.build import build, nbgrader_log, read_notebook, register_assignment
from autograder.course import Episode, load_config, submitting_students
from autograder.errors import CourseError
from autograder.runlog import event
from autograder.sandbox import require_sandbox
from autograder.staging import survey

State = Literal["marked", "needs manual grading", "grader failed"]


@dataclass(frozen=True)
class Mark:
    """What one graded question of one student is worth so far.

    Attributes:
        exercise: The grade id of the cell that carries the points.
        state: `marked`, `needs manual grading` (a written answer waits for a person) or `grader failed`.
        score: Points; None while there is no mark.
        max_score: Points that the question is worth.
        written: Whether it is a written answer.
        message: Why points are missing, as far as the grader knows.
    """

    exercise: str
    state: State
    score: float | None
    max_score: float
    written: bool
    message: str = ""


@dataclass(frozen=True)
class StudentResult:
    """What came of one student's submission.

    Attributes:
        student: The student's id, which is the name of the folder in `submitted/`.
        episode: The name of the episode.
        marks: One for each graded question, in the order of the notebook; empty if it could not be graded.
        problem: Why it could not be graded, and what to do about it; empty if it was.
        repairs: What had to be repaired in the notebook before it could be graded.
        fresh: Whether it was graded just now, rather than in an earlier run.
        seconds: How long that took.
    """

    student: str
    episode: str
    marks: tuple[Mark, ...] = ()
    problem: str = ""
    repairs: tuple[str, ...] = ()
    fresh: bool = True
    seconds: float = 0.0

    @property
    def score(self) -> float:
        """Points so far; a question without a mark counts nothing yet."""
        return sum(mark.score or 0.0 for mark in self.marks)

    @property
    def max_score(self) -> float:
        """Points that the episode is worth."""
        return sum(mark.max_score for mark in self.marks)

    @property
    def waiting(self) -> float:
        """Points of the written answers that wait for a person."""
        return sum(mark.max_score for mark in self.marks if mark.state == "needs manual grading")

    @property
    def failures(self) -> list[Mark]:
        """The questions in which the grader itself failed."""
        return [mark for mark in self.marks if mark.state == "grader failed"]

    @property
    def needs_a_person(self) -> bool:
        """Whether the run cannot be called complete: not gradable, or the grader failed somewhere."""
        return bool(self.problem or self.failures)

    def mark(self, exercise: str) -> Mark:
        """The mark of one question.

        Raises:
            KeyError: There is no such question.
        """
        for mark in self.marks:
            if mark.exercise == exercise:
                return mark
        raise KeyError(exercise)


@dataclass
class Grading:
    """One run of the grader over one episode.

    Attributes:
        episode: The episode.
        students: Whom to grade, in order.
        force: Grade again what was graded before.
        sandbox: Run students' code in the sandbox.
    """

    episode: Episode
    students: list[str]
    force: bool = False
    sandbox: bool = True
    _config: Config | None = field(default=None, repr=False)

    def __iter__(self) -> Iterator[StudentResult]:
        """Grade student after student; a submission that cannot be graded is a result like any other."""
        for student in self.students:
            result = self.grade(student)
            event(
                "graded",
                root=self.episode.root,
                episode=self.episode.name,
                student=student,
                fresh=result.fresh,
                score=result.score,
                max_score=result.max_score,
                problem=result.problem,
                grader_failed=[mark.exercise for mark in result.failures],
                repairs=list(result.repairs),
                seconds=round(result.seconds, 2),
                sandbox=self.sandbox,
            )
            yield result

    def grade(self, student: str) -> StudentResult:
        """Grade one student's submission, or read the marks of an earlier run when nothing has changed since."""
        if not self.force and self._is_current(student):
            marks = read_marks(self.episode, student)
            if marks and not any(mark.state == "grader failed" for mark in marks):
                return StudentResult(student, self.episode.name, marks, fresh=False)
        start = time.monotonic()
        converter = self._converter(student)
        try:
            with nbgrader_log(self.episode.root, self.episode.root / "logs" / "nbgrader.log"):
                converter.start()
        except Exception as problem:
            cause = converter.failure or problem
            reason = str(cause) if isinstance(cause, CourseError) else f"{type(cause).__name__}: {cause}"
            return StudentResult(student, self.episode.name, problem=reason.strip(), seconds=time.monotonic() - start)
        return StudentResult(
            student,
            self.episode.name,
            read_marks(self.episode, student, converter.messages),
            repairs=tuple(converter.repairs),
            seconds=time.monotonic() - start,
        )

    def _is_current(self, student: str) -> bool:
        """Whether the graded notebook is newer than what was handed in and what was released."""
        graded = self.episode.autograded(student)
        if not graded.is_file():
            return False
        origins = [*survey(self.episode.submitted(student)).files, self.episode.release]
        return all(path.lstat().st_mtime <= graded.stat().st_mtime for path in origins)

    def _converter(self, student: str) -> RecordingAutograde:
        if self._config is None:
            self._config = load_config(self.episode.root)
            self._config.CourseDirectory.assignment_id = self.episode.name
            if not self.sandbox:
                self._config.JudgedExecute.sandbox = False
        config = copy.deepcopy(self._config)  # traitlets' own copy shares its sections
        config.CourseDirectory.student_id = glob.escape(student)
        converter = RecordingAutograde(student, coursedir=CourseDirectory(config=config), config=config)
        converter.force = True
        return converter


class RecordingAutograde(Autograde):
    """nbgrader's Autograde for one submission, which remembers what nbgrader would only log."""

    def __init__(self, student: str, **options: Any) -> None:
        super().__init__(**options)
        self.student = student
        self.failure: Exception | None = None
        self.messages: dict[str, str] = {}
        self.repairs: list[str] = []

    def init_notebooks(self) -> None:
        """Expect the released name in the student's folder; the exporter looks further when it is not there."""
        folder = self._format_source(self.coursedir.assignment_id, self.student)
        self.assignments = {folder: [str(Path(folder) / f"{self.coursedir.assignment_id}.ipynb")]}

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        """Copy the files beside the notebook, and keep the error that `convert_notebooks` is about to swallow."""
        with self._remembering():
            super().init_assignment(assignment_id, student_id)

    def convert_single_notebook(self, notebook_filename: str) -> None:
        """Convert, and keep the error that `convert_notebooks` is about to swallow."""
        with self._remembering():
            super().convert_single_notebook(notebook_filename)

    @contextlib.contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except Exception as problem:
            self.failure = problem
            raise

    def write_single_notebook(self, output: str, resources: Any) -> None:
        """Keep the judge's messages and the list of repairs on their way through."""
        for grade_id, verdict in resources.get("autograder_verdicts", {}).items():
            self.messages[grade_id] = verdict.message
        for repair in resources.get("autograder_repairs", ()):
            if repair not in self.repairs:
                self.repairs.append(repair)
        super().write_single_notebook(output, resources)


def prepare(episode: Episode, students: Sequence[str] = (), *, force: bool = False, sandbox: bool = True) -> Grading:
    """Get ready to grade an episode: notebooks built, gradebook up to date, students known.

    Args:
        episode: The episode.
        students: Whom to grade; everyone who handed in when empty.
        force: Grade again what was graded before.
        sandbox: Run students' code in the sandbox, unless the course's configuration says not to.

    Raises:
        CourseError: Nobody has handed in, a student named has not, or there is no sandbox on this machine.
    """
    settings = load_config(episode.root).JudgedExecute
    sandbox = sandbox and not ("sandbox" in settings and settings.sandbox is False)
    if sandbox:
        require_sandbox()
    handed_in = submitting_students(episode)
    if not handed_in:
        raise CourseError(
            f"Nobody has handed in {episode.name} yet: there is no folder submitted/STUDENT/{episode.name}/. "
            f"Put each student's notebook at submitted/STUDENT/{episode.name}/{episode.name}.ipynb."
        )
    for student in students:
        if student not in handed_in:
            near = difflib.get_close_matches(student, handed_in, n=1)
            guess = f" Did you mean '{near[0]}'?" if near else ""
            raise CourseError(
                f"Student '{student}' has not handed in {episode.name}: there is no folder "
                f"submitted/{student}/{episode.name}/.{guess}"
            )
    chosen = [student for student in handed_in if not students or student in students]
    build(episode)
    register_assignment(episode)
    return Grading(episode, chosen, force=force, sandbox=sandbox)


def read_marks(episode: Episode, student: str, messages: dict[str, str] | None = None) -> tuple[Mark, ...]:
    """Read a student's marks of one episode from nbgrader's gradebook, in the order of the notebook.

    Returns:
        The marks; empty if the student was never graded.
    """
    config = load_config(episode.root)
    with Gradebook(CourseDirectory(config=config).db_url) as gradebook:
        try:
            notebook = gradebook.find_submission_notebook(episode.name, episode.name, student)
        except MissingEntry:
            return ()
        written = {cell.name for cell in notebook.notebook.solution_cells}
        marks = {}
        for grade in notebook.grades:
            manual = grade.name in written
            open_ = grade.manual_score is None and grade.auto_score is None
            state: State = "marked"
            if open_:
                state = "needs manual grading" if manual else "grader failed"
            marks[grade.name] = Mark(
                exercise=grade.name,
                state=state,
                score=None if open_ else grade.score,
                max_score=grade.max_score,
                written=manual,
                message=(messages or {}).get(grade.name, ""),
            )
    place = {name: at for at, name in enumerate(exercise_order(episode))}
    return tuple(marks[name] for name in sorted(marks, key=lambda name: (place.get(name, len(place)), name)))


def exercise_order(episode: Episode) -> list[str]:
    """The grade ids of an episode's graded cells, in the order of the notebook."""
    notebook = read_notebook(episode.source)
    return [
        cell.metadata.nbgrader.grade_id for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade")
    ]
