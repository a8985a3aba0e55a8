"""The one writer: takes submissions into nbgrader's pipeline, and puts what the workers found into the gradebook.

Both are nbgrader's own steps, as `nbgrader_config.py` names them; only the execution between them happens elsewhere. So
manual marks, late penalties and comments are what nbgrader says they are. What nbgrader does anew for each step of each
submission, such as opening its database, is done once here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.writers import FilesWriter
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Comment, Grade, Gradebook, GradeCell, MissingEntry, SourceCell, SubmittedNotebook
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory
from sqlalchemy.event import listen
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from traitlets import import_item
from traitlets.config import Config

from autograder.build import nbgrader_log
from autograder.course import Episode
from autograder.engine import GradedNotebook, Verdict
from autograder.errors import CourseError, CourseFault
from autograder.exporter import guard
from autograder.jobs import Job, Options, Result
from autograder.limits import Limits
from autograder.preprocessors import GRADED, JudgedExecute
from autograder.results import submission_key
from autograder.settings import made
from autograder.staging import MAX_FILE_BYTES, read_regular_file

#: A file of nbgrader's that says when a submission was handed in. It does not concern the notebook.
TIMESTAMP = "timestamp.txt"


@dataclass(frozen=True)
class Sanitised:
    """A submission as it goes to a worker.

    Attributes:
        job: The job.
        repairs: What had to be repaired in the notebook.
        seconds: How long this took.
    """

    job: Job
    repairs: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Written:
    """What `Recorder.record` did for one submission.

    Attributes:
        student: The student.
        problem: Why it could not be recorded; empty if it was.
        autograded: Size in bytes and time of the last change, in nanoseconds, of the graded notebook.
        seconds: How long it took.
    """

    student: str
    problem: str = ""
    autograded: tuple[int, int] = (0, 0)
    seconds: float = 0.0


class Recorder:
    """Sanitises submissions of one episode and records their results. Use it from one thread, as a context manager.

    Args:
        episode: The episode, built and known to the gradebook.
        config: The course's configuration.
        sandbox: Whether students' code runs in sandboxes.
        images: Digest of the images.
        environment: Digest of the programs.
        share_identical: Whether students with the same answers share a result.
    """

    def __init__(
        self,
        episode: Episode,
        config: Config,
        *,
        sandbox: bool = True,
        images: str = "",
        environment: str = "",
        share_identical: bool = False,
    ) -> None:
        self.episode = episode
        self.images, self.environment, self.share_identical = images, environment, share_identical
        config.CourseDirectory.assignment_id = episode.name
        config.CourseDirectory.student_id = glob.escape(episode.name)  # nobody's, until `_take` says whose
        self.options = options_from(config, sandbox=sandbox)
        self.coursedir = CourseDirectory(config=config)
        self.gradebook = SharedGradebook(self.coursedir.db_url, self.coursedir.course_id)
        self._ignore = list(self.coursedir.ignore)
        with self._quietly():
            self.converter = SplitAutograde(coursedir=self.coursedir, config=config)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.gradebook.end()

    def sanitise(self, student: str) -> Sanitised:
        """Read, repair and sanitise one submission; nothing is written.

        Raises:
            CourseError: It cannot be graded; the message says what to ask the student.
            CourseFault: Nobody's can, for a file of the instructor's is not as it should be.
        """
        started = time.monotonic()
        with self._quietly(), self.gradebook.in_use():
            folder = self._take(student)
            text, repairs = self.converter.sanitise(folder)
            files = tuple(self._files(folder))
        self.gradebook.rest()
        notebook = nbformat.v4.reads(text)
        key = submission_key(
            notebook,
            files,
            self.options,
            images=self.images,
            environment=self.environment,
            student=None if self.share_identical else student,
        )
        whole = json.dumps(notebook, ensure_ascii=False)
        job = Job(key, student, self.episode.name, whole, files, self.images, self.environment, self.options)
        return Sanitised(job, tuple(repairs), time.monotonic() - started)

    def record(self, batch: Sequence[tuple[str, Result]]) -> list[Written]:
        """Put results into the gradebook and `autograded/`, all in one transaction; when this returns, they are there.

        If something is wrong with one of them, the others are recorded all the same.

        Args:
            batch: Students and their results.
        """
        try:
            with self._quietly(), self.gradebook.in_use(), self.gradebook.transaction():
                return [self._record(student, result) for student, result in batch]
        except Exception as problem:
            if len(batch) > 1:
                return [written for one in batch for written in self.record([one])]
            cause = self.converter.failure or problem
            reason = str(cause) if isinstance(cause, CourseError) else f"{type(cause).__name__}: {cause}"
            return [Written(batch[0][0], problem=reason.strip())]

    def enter(self, students: Sequence[str]) -> set[str]:
        """Enter submissions that cannot be graded, without a mark by the grader; others stay out.

        What the grader gave an earlier version is taken back. Points that a person gave stay, and wait for a look.

        Args:
            students: Who handed in something that cannot be graded.

        Returns:
            Those who were entered.
        """
        entered = set()
        with self._quietly(), self.gradebook.in_use():
            for student in students:
                # Why it cannot be graded is told; why nbgrader does not want it either would add nothing.
                with contextlib.suppress(Exception):
                    with self.gradebook.transaction():
                        self._take(student)
                        self.converter.enter(self.episode.name, student)
                        for notebook in self.gradebook.find_submission(self.episode.name, student).notebooks:
                            for grade in notebook.grades:
                                grade.auto_score, grade.needs_manual_grade = None, True
                    entered.add(student)
        return entered

    def _record(self, student: str, result: Result) -> Written:
        started = time.monotonic()
        folder = self._take(student)
        notebook = nbformat.from_dict(json.loads(result.notebook))
        verdicts = {verdict["grade_id"]: Verdict.from_dict(verdict) for verdict in result.verdicts}
        self.converter.record(folder, GradedNotebook(notebook, verdicts, result.attempts, result.seconds))
        status = self.episode.autograded(student).stat()
        return Written(student, "", (status.st_size, status.st_mtime_ns), time.monotonic() - started)

    def _take(self, student: str) -> Path:
        """Point nbgrader's converter at one submission."""
        self.coursedir.student_id = glob.escape(student)
        self.coursedir.ignore = list(self._ignore)
        folder = Path(self.coursedir.format_path(self.coursedir.submitted_directory, student, self.episode.name))
        self.converter.take(student, folder, self.episode.name)
        return folder

    def _files(self, folder: Path) -> Iterator[tuple[str, bytes]]:
        """What stands beside the notebook: handed in by the student, or given with the episode, which wins.

        Raises:
            CourseError: A file that was handed in cannot be used.
            CourseFault: A file that is given with the episode cannot be.
        """
        given = self.episode.source.parent
        ignore = [*self.coursedir.ignore, "*.ipynb"]
        found: dict[str, Path] = {}
        for origin in (folder, given):
            for name in nbgrader_utils.find_all_files(str(origin), ignore):
                path = Path(name)
                found[str(path.relative_to(origin))] = path
        for name in sorted(found):
            if name == TIMESTAMP:
                continue
            try:
                yield name, read_regular_file(found[name], MAX_FILE_BYTES)
            except CourseError as problem:
                if not found[name].is_relative_to(given):
                    raise
                size = found[name].lstat().st_size
                what = f"{size / 2**20:.0f} MB" if size > MAX_FILE_BYTES else "a link, or one that cannot be read"
                raise CourseFault(
                    f"{found[name]} goes with every submission of {self.episode.name}, and cannot: expected a file of "
                    f"{MAX_FILE_BYTES / 2**20:.0f} MB at most, found {what}. Put such a file in its place, or take it "
                    "away; then grade again."
                ) from problem

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        root = self.episode.root
        with contextlib.chdir(root), nbgrader_log(root, root / "logs" / "nbgrader.log"):
            yield


def options_from(config: Config, *, sandbox: bool) -> Options:
    """How the course's configuration wants a submission to be run.

    Raises:
        CourseError: It sets something that is no option, or to a value of a wrong kind.
    """
    execute = made(JudgedExecute, config)
    judge = dataclasses.asdict(execute.limits())
    return Options(
        sandbox=sandbox,
        attempts=execute.attempts,
        collect_seconds=execute.collect_timeout,
        judge=judge,
        limits=dataclasses.asdict(Limits.from_config(config)),
        client=dict(execute.client_options),
    )


class SplitAutograde(Autograde):
    """nbgrader's Autograde in two halves, with the execution left out between them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.force = True
        self.failure: Exception | None = None
        self._graded: GradedNotebook | None = None
        self.writer = FilesWriter(parent=self, config=self.config)
        self.exporter = self.exporter_class(parent=self, config=self.config)
        steps = list(self.autograde_preprocessors)
        at = next((at for at, step in enumerate(steps) if _is_execution(step)), 0)
        self.before, self.after = [*self.sanitize_preprocessors, *steps[:at]], steps[at:]
        self._made: dict[bool, list[Callable[..., Any]]] = {}

    def take(self, student: str, folder: Path, notebook: str) -> None:
        """Point at one submission; links, pipes and the like in its folder are left out from here on."""
        self.student = student
        self.failure = self._graded = None
        self.assignments = {str(folder): [str(folder / f"{notebook}.ipynb")]}
        guard(self)

    def sanitise(self, folder: Path) -> tuple[str, list[str]]:
        """The first half: the repaired and sanitised notebook as JSON, and what was repaired."""
        (path,) = self.assignments[str(folder)]
        self._sanitizing = True
        self._init_preprocessors()
        resources = self.init_single_notebook_resources(path)
        text, resources = self.exporter.from_filename(path, resources=resources)
        return text, list(resources.get("autograder_repairs", ()))

    def record(self, folder: Path, graded: GradedNotebook) -> None:
        """The second half, for a notebook that was executed elsewhere.

        Raises:
            NbGraderException: nbgrader could not; the cause is in `failure`.
        """
        self._graded = graded
        self._sanitizing = True  # `submitted/` is the source of the files beside the notebook
        self.convert_notebooks()

    def enter(self, assignment_id: str, student_id: str) -> None:
        """What nbgrader does before it opens the notebooks of a submission: the gradebook knows of it afterwards."""
        self.notebooks = [notebook for notebooks in self.assignments.values() for notebook in notebooks]
        super().init_assignment(assignment_id, student_id)

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        """Copy the files beside the notebook, and keep the error that `convert_notebooks` is about to swallow."""
        with self._remembering():
            super().init_assignment(assignment_id, student_id)

    def convert_single_notebook(self, notebook_filename: str) -> None:
        """Convert from the executed notebook, and keep the error that `convert_notebooks` is about to swallow."""
        graded = self._graded
        assert graded is not None
        self._sanitizing = False
        with self._remembering():
            try:
                self._init_preprocessors()
                here = self._format_dest(self.coursedir.assignment_id, self.student)
                resources = self.init_single_notebook_resources(str(Path(here) / Path(notebook_filename).name))
                resources["metadata"] = {"name": Path(notebook_filename).stem, "path": here}
                resources[GRADED] = graded
                output, resources = self.exporter.from_notebook_node(graded.notebook, resources)
                # nbconvert's writer makes a folder only when it is another one than the last.
                Path(here).mkdir(parents=True, exist_ok=True)
                self.write_single_notebook(output, resources)
            finally:
                self._sanitizing = True

    def _init_preprocessors(self) -> None:
        if self._sanitizing not in self._made:
            self.exporter._preprocessors = []
            for step in self.before if self._sanitizing else self.after:
                self.exporter.register_preprocessor(step)
            self._made[self._sanitizing] = self.exporter._preprocessors
        self.exporter._preprocessors = self._made[self._sanitizing]

    @contextlib.contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except Exception as problem:
            self.failure = problem
            raise


def _is_execution(step: Any) -> bool:
    made = import_item(step) if isinstance(step, str) else step
    return isinstance(made, type) and issubclass(made, JudgedExecute)


# ---------------------------------------------------------------------------------------------------------------------
# The gradebook


class _HeldSession(Session):
    """A session in which nbgrader's many commits wait for one at the end of a transaction."""

    held = False

    def commit(self) -> None:
        """Commit, or only send what there is to the database while a transaction is held."""
        if self.held:
            self.flush()
        else:
            super().commit()


class SharedGradebook(Gradebook):
    """One gradebook for all steps of all submissions: nbgrader opens its own in each of them.

    What an instructor's notebook says about an episode's cells is read once, and a student's grades together.
    """

    def __init__(self, url: str, course: str) -> None:
        super().__init__(url, course)
        self.db.remove()
        if self.engine.dialect.name == "sqlite":
            # Formgrader may be writing: wait for it, rather than fail.
            self.engine.dispose()
            listen(self.engine, "connect", lambda connection, _: connection.execute("PRAGMA busy_timeout = 30000"))
        self.db = scoped_session(
            sessionmaker(class_=_HeldSession, autoflush=True, expire_on_commit=False, bind=self.engine, future=True)
        )
        self._source: dict[tuple[str, ...], Any] = {}
        self._names: dict[str, str] = {}
        self._student: tuple[str, str, str] | None = None
        self._grades: dict[str, Grade] = {}
        self._comments: dict[str, Comment] = {}

    def close(self) -> None:
        """Stay open: the step that is done with it is not the last one."""

    def end(self) -> None:
        """Close for good."""
        super().close()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Whoever opens a gradebook within this block gets this one."""
        here = sys.modules[__name__]
        users = [
            module
            for module in list(sys.modules.values())
            if module is not here and getattr(module, "__dict__", {}).get("Gradebook") is Gradebook
        ]

        def opened(url: str, *_: object, **__: object) -> Gradebook:
            return self if url == self.url else Gradebook(url)

        for module in users:
            module.Gradebook = opened
        try:
            yield
        finally:
            for module in users:
                module.Gradebook = Gradebook

    @property
    def url(self) -> str:
        """Where it is, password included."""
        return self.engine.url.render_as_string(hide_password=False)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what the block does is in the database afterwards."""
        session = self.db()
        session.held = True
        try:
            yield
            session.held = False
            session.commit()
        except BaseException:
            session.held = False
            session.rollback()
            raise
        finally:
            self.rest()

    def rest(self) -> None:
        """Forget what may change while nothing is read here, and hold no lock."""
        self._student, self._grades, self._comments = None, {}, {}
        self.db.expunge_all()  # first, for a rollback would make what stays in use unreadable
        self.db.rollback()

    def find_source_cell(self, name: str, notebook: str, assignment: str) -> SourceCell:
        """A cell of the instructor's notebook."""
        return self._once(super().find_source_cell, name, notebook, assignment)

    def find_graded_cell(self, name: str, notebook: str, assignment: str) -> GradeCell:
        """A graded cell of the instructor's notebook."""
        return self._once(super().find_graded_cell, name, notebook, assignment)

    def _once(self, find: Callable[..., Any], *names: str) -> Any:
        found = self._source.get((find.__name__, *names))
        if found is None:
            found = self._source[(find.__name__, *names)] = find(*names)
        return found

    def find_submission_notebook(self, notebook: str, assignment: str, student: str) -> SubmittedNotebook:
        """A student's notebook, with the sum of what its grades are now."""
        found = super().find_submission_notebook(notebook, assignment, student)
        self.db.flush()
        self.db.refresh(found)
        return found

    def find_grade(self, grade_cell: str, notebook: str, assignment: str, student: str) -> Grade:
        """The grade of one cell."""
        self._load(notebook, assignment, student)
        if grade_cell not in self._grades:
            raise MissingEntry(f"No such grade: {assignment}/{notebook}/{grade_cell} for {student}")
        return self._grades[grade_cell]

    def find_comment(self, solution_cell: str, notebook: str, assignment: str, student: str) -> Comment:
        """The comment on one cell."""
        self._load(notebook, assignment, student)
        if solution_cell not in self._comments:
            raise MissingEntry(f"No such comment: {assignment}/{notebook}/{solution_cell} for {student}")
        return self._comments[solution_cell]

    def _load(self, notebook: str, assignment: str, student: str) -> None:
        if self._student == (notebook, assignment, student):
            return
        found = super().find_submission_notebook(notebook, assignment, student)
        grades = self.db.query(Grade).filter(Grade.notebook_id == found.id).all()
        comments = self.db.query(Comment).filter(Comment.notebook_id == found.id).all()
        for one in (*grades, *comments):
            if one.cell_id not in self._names:
                self._names[one.cell_id] = one.cell.name
        self._grades = {self._names[grade.cell_id]: grade for grade in grades}
        self._comments = {self._names[comment.cell_id]: comment for comment in comments}
        self._student = (notebook, assignment, student)
