"""Grading a class: look at what changed, have it run, record it. One submission never stops the others.

The story of one run is `Grading.__iter__`. An unchanged submission costs a look at the dates of its files; a changed
one goes through `recording` (nbgrader's steps), `executors` (who runs it) and `results` (what is kept, and why).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from traitlets.config import Config

from autograder.course import Episode, load_config, submitting_students
from autograder.errors import CourseError, CourseFault, did_you_mean
from autograder.gradebook import ClassMarks, Row, database_url, knows, marks_url, read_class
from autograder.images import CourseImages
from autograder.jobs import PHASES, Options, Result, digest
from autograder.late import settle
from autograder.results import (
    FOLDER,
    Entry,
    Ledger,
    ResultStore,
    environment_digest,
    folder_stamp,
    images_digest,
    submission_stamp,
)
from autograder.runlog import event
from autograder.schedule import Outcome, schedule
from autograder.whole import write_whole
from helpers.measurements import Measurement, read_measurements

if TYPE_CHECKING:
    from concurrent.futures import Future

    from autograder.executors import LazyPool, Pool
    from autograder.recording import Recorder, Sanitised, Written

State = Literal["marked", "needs manual grading", "grader failed"]
#: So many submissions are recorded together at most.
LARGEST_BATCH = 16


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
        measurements: What the test measured, for the instructor.
    """

    exercise: str
    state: State
    score: float | None
    max_score: float
    written: bool
    message: str = ""
    measurements: tuple[Measurement, ...] = ()


@dataclass(frozen=True)
class StudentResult:
    """What came of one student's submission.

    Attributes:
        student: The student's id, which is the name of the folder in `submitted/`.
        episode: The name of the episode.
        marks: One for each graded question, in the order of the notebook; empty if it could not be graded.
        problem: Why it could not be graded, and what to do about it; empty if it was.
        repairs: What had to be repaired in the notebook before it could be graded.
        fresh: Whether its notebook was run just now, rather than in an earlier run.
        seconds: How long everything took together.
        phases: Seconds by phase: sanitise, start, run, collect, judge, record.
        ran: How long a worker took over the notebook when it was last run, in seconds.
        penalty: Points taken off for handing in late.
        sandbox: Whether the student's code ran in the sandbox.
    """

    student: str
    episode: str
    marks: tuple[Mark, ...] = ()
    problem: str = ""
    repairs: tuple[str, ...] = ()
    fresh: bool = True
    seconds: float = 0.0
    phases: Mapping[str, float] = field(default_factory=dict)
    ran: float = 0.0
    penalty: float = 0.0
    sandbox: bool = True

    @property
    def score(self) -> float:
        """Points earned so far; a question without a mark counts nothing yet."""
        return sum(mark.score or 0.0 for mark in self.marks)

    @property
    def total(self) -> float:
        """Points so far, a late penalty taken off."""
        return max(0.0, self.score - self.penalty)

    @property
    def max_score(self) -> float:
        """Points that the episode is worth."""
        return sum(mark.max_score for mark in self.marks)

    @property
    def waiting(self) -> float:
        """Points of the written answers that wait for a person."""
        return sum(mark.max_score for mark in self.marks if mark.state == "needs manual grading")

    @property
    def unread(self) -> int:
        """How many written answers wait for a person."""
        return sum(mark.state == "needs manual grading" for mark in self.marks)

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


class Stopped(Exception):
    """Somebody pressed Ctrl-C; what was done is recorded.

    Attributes:
        done: How many submissions were graded before.
        left: How many were not.
    """

    def __init__(self, done: int, left: int) -> None:
        super().__init__(f"stopped after {done} submissions, {left} are left")
        self.done, self.left = done, left


@dataclass(frozen=True)
class Task:
    """One submission on its way.

    Attributes:
        student: Whose.
        stamp: What its marks will depend on, by the dates of files.
        sanitised: What goes to a worker; None if it cannot be graded.
        problem: Why not.
        final: Whether the student has to mend it, so that there is no use in trying again.
    """

    student: str
    stamp: str
    sanitised: Sanitised | None = None
    problem: str = ""
    final: bool = False


@dataclass
class Grading:
    """One run of the grader over one episode.

    Attributes:
        episode: The episode.
        students: Whom to grade, in order.
        force: Grade again what was graded before.
        sandbox: Run students' code in the sandbox.
        share_identical: Students with the same answers share a result.
        pool: Who runs the notebooks; threads of this machine if None.
    """

    episode: Episode
    students: list[str]
    force: bool = False
    sandbox: bool = True
    share_identical: bool = False
    pool: LazyPool | None = None
    _config: Config | None = field(default=None, repr=False)
    _warm: bool = field(default=False, init=False, repr=False)

    def __iter__(self) -> Iterator[StudentResult]:
        """Grade the class; a submission that cannot be graded is a result like any other.

        Yields:
            First what is unchanged since an earlier run, then one result after the other as they are recorded.

        Raises:
            Stopped: Somebody pressed Ctrl-C, or the system asked for an end.
            CourseError: Nothing can be graded here at all.
        """
        now = self.look()
        for result in now.unchanged:
            self._log(result)
            yield result
        if now.changed:
            yield from self._grade(now)

    def look(self) -> Look:
        """Tell what has to be graded from what has not changed since it was recorded, without opening a notebook."""
        root, name = self.episode.root, self.episode.name
        book = read_class(self._url, name, self.students if len(self.students) <= 100 else None)
        entries = Ledger(root, name).read()
        common = self._stamp()
        look = Look(Ledger(root, name))
        for student in self.students:
            stamp = digest(common, submission_stamp(self.episode.submitted(student)))
            entry = entries.get(student)
            if not self.force and entry is not None and self._holds(entry, stamp, book):
                look.unchanged.append(_known(self.episode, student, entry, book))
            else:
                look.changed[student] = stamp
                if entry is not None and entry.key:
                    look.kept[student] = entry.key
        return look

    @property
    def config(self) -> Config:
        """The course's configuration."""
        if self._config is None:
            self._config = load_config(self.episode.root)
        return self._config

    @property
    def _url(self) -> str:
        return database_url(self.config, self.episode.root)

    def _stamp(self) -> str:
        """What the marks of everybody depend on."""
        episode = self.episode
        release = episode.release.stat() if episode.release.is_file() else None
        return digest(
            folder_stamp(episode.source.parent),
            release and (release.st_size, release.st_mtime_ns, release.st_ctime_ns),
            self.config,
            self.sandbox,
            environment_digest(),
            images_digest(episode.root),
        )

    def _holds(self, entry: Entry, stamp: str, book: ClassMarks) -> bool:
        """Whether the gradebook and `autograded/` are as they were left, and nothing they depend on has changed."""
        if entry.stamp != stamp or entry.again:
            return False
        if entry.problem:
            return entry.student in book.due
        try:
            status = self.episode.autograded(entry.student).stat()
        except OSError:
            return False
        return (
            entry.autograded == (status.st_size, status.st_mtime_ns)
            and entry.student in book.rows
            and entry.due == book.due.get(entry.student)
        )

    # --- what has to be graded ---------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Let kernels start for everybody, before it is known who has changed; nobody waits for them."""
        if self.pool is not None and self.episode.release.is_file():
            root = self.episode.root
            self._warm_up(self.pool.get(CourseImages.find(root), images_digest(root)), len(self.students))

    def _warm_up(self, pool: Pool, submissions: int) -> None:
        notebook = self.episode.release.read_text(encoding="utf-8")
        pool.warm_up(submissions, notebook, likely_options(self.config, sandbox=self.sandbox))
        self._warm = True

    def _grade(self, look: Look) -> Iterator[StudentResult]:
        from autograder.executors import LazyPool

        root = self.episode.root
        images = images_digest(root)
        store, done = ResultStore(root), 0
        with contextlib.ExitStack() as stack:
            stop = stack.enter_context(stopping())
            lazy = self.pool
            if lazy is None:
                lazy = LazyPool(None, None, root)
                stack.callback(lazy.close)
            pool = lazy.get(CourseImages.find(root), images)
            # Kernels start while nbgrader is loaded: each takes some seconds.
            new = sum(self.force or not store.has(look.kept.get(student, "-")) for student in look.changed)
            if new and not self._warm:
                self._warm_up(pool, new)
            from autograder.recording import Recorder

            recorder = stack.enter_context(
                Recorder(
                    self.episode,
                    load_config(root),  # of its own: the recorder says in it whose submission is at hand
                    sandbox=self.sandbox,
                    images=images,
                    environment=environment_digest(),
                    share_identical=self.share_identical,
                )
            )
            batches = schedule(
                self._tasks(look, recorder),
                lambda task: submit(pool, store, task),
                in_flight=pool.in_flight,
                # A batch of more than what is in flight would let the workers run dry while it is recorded.
                batch=max(1, min(LARGEST_BATCH, pool.in_flight, len(look.changed) // LARGEST_BATCH)),
                known=lambda task: self._known(store, task),
                key=lambda task: task.sanitised.job.key,
                lost=pool.lost,
                stop=stop.is_set,
            )
            for batch in batches:
                for result in self._record(batch, look.ledger, store, recorder):
                    done += 1
                    self._log(result)
                    yield result
            if done < len(look.changed):
                pool.close()
                raise Stopped(done + len(look.unchanged), len(look.changed) - done)

    def _tasks(self, look: Look, recorder: Recorder) -> Iterator[Task]:
        """Sanitise one submission after the other, each when there is a worker for it.

        Raises:
            CourseFault: A file of the instructor's is not as it should be; that is no student's mark.
        """
        for student, stamp in look.changed.items():
            try:
                yield Task(student, stamp, recorder.sanitise(student))
            except CourseFault:
                raise
            except CourseError as problem:
                yield Task(student, stamp, problem=str(problem).strip(), final=True)
            except Exception as problem:
                yield Task(student, stamp, problem=f"{type(problem).__name__}: {problem}".strip())

    def _known(self, store: ResultStore, task: Task) -> Result | Task | None:
        """What needs no worker: a result of an earlier run, or a submission that cannot be graded."""
        if task.sanitised is None:
            return task
        return None if self.force else store.get(task.sanitised.job.key)

    def _record(
        self,
        batch: Sequence[Outcome[Task, Result | Task]],
        ledger: Ledger,
        store: ResultStore,
        recorder: Recorder,
    ) -> Iterator[StudentResult]:
        """Put what came of some submissions into the gradebook, in an order that a crash at any point does no harm to.

        First the results are on disk. Then the ledger says that the marks of these students are about to change. Then
        the gradebook changes, in one transaction. Then the ledger says so.
        """
        graded = [one for one in batch if isinstance(one.found, Result)]
        for one in graded:
            if not store.has(one.found.key):
                store.put(one.found)
        ledger.add(Entry(one.item.student) for one in batch)
        written = {each.student: each for each in recorder.record([(one.item.student, one.found) for one in graded])}
        entered = recorder.enter([one.item.student for one in batch if isinstance(one.found, Task) and one.item.final])
        book = read_class(self._url, self.episode.name, list(written))
        entries, results = [], []
        for one in batch:
            if isinstance(one.found, Result):
                result, entry = self._graded(one, written[one.item.student], book)
            else:
                result, entry = self._refused(one, entered=one.item.student in entered)
            results.append(result)
            entries.append(entry)
        ledger.add(entry for entry in entries if entry is not None)
        yield from results

    def _graded(
        self, one: Outcome[Task, Result], written: Written, book: ClassMarks
    ) -> tuple[StudentResult, Entry | None]:
        student, found, sanitised = one.item.student, one.found, one.item.sanitised
        ran = one.tries > 0 and not one.shared
        phases = {"sanitise": sanitised.seconds, **(found.phases if ran else {}), "record": written.seconds}
        common = {
            "repairs": sanitised.repairs,
            "fresh": one.tries > 0,
            "seconds": sanitised.seconds + (found.seconds if ran else 0.0) + written.seconds,
            "phases": {phase: round(phases[phase], 4) for phase in PHASES if phase in phases},
            "ran": round(found.seconds, 3),
            "penalty": book.penalty.get(student, 0.0),
            "sandbox": self.sandbox,
        }
        if written.problem:
            return StudentResult(student, self.episode.name, problem=written.problem, **common), None
        entry = Entry(
            student,
            one.item.stamp,
            found.key,
            written.autograded,
            book.due.get(student, ""),
            {verdict["grade_id"]: verdict["message"] for verdict in found.verdicts if verdict["message"]},
            {one["grade_id"]: one["measurements"] for one in found.verdicts if one.get("measurements")},
            common["ran"],
            sanitised.repairs,
            sandbox=self.sandbox,
            again=found.grader_failed,
        )
        marks = in_order(self.episode, book.rows.get(student, []), entry)
        return StudentResult(student, self.episode.name, marks, **common), entry

    def _refused(self, one: Outcome[Task, Task], *, entered: bool) -> tuple[StudentResult, Entry | None]:
        """A submission that could not be graded, by its own fault or that of something here.

        By its own, it is remembered, unless the gradebook could not be told of it: then the next run tries again.
        """
        task, problem = one.item, one.item.problem
        if one.error is not None:
            kind = "" if isinstance(one.error, CourseError) else f"{type(one.error).__name__}: "
            problem = f"It could not be run: {kind}{one.error} (Grade it again.)"
        entry = None
        if task.final:
            # What an earlier version of it gave is no answer to this one.
            shutil.rmtree(self.episode.autograded(task.student).parent, ignore_errors=True)
            self.episode.feedback(task.student).unlink(missing_ok=True)
            entry = Entry(task.student, task.stamp, problem=problem) if entered else None
        return StudentResult(task.student, self.episode.name, problem=problem), entry

    def _log(self, result: StudentResult) -> None:
        event(
            "graded",
            root=self.episode.root,
            episode=self.episode.name,
            student=result.student,
            fresh=result.fresh,
            score=result.score,
            max_score=result.max_score,
            late_penalty=result.penalty,
            problem=result.problem,
            grader_failed=[mark.exercise for mark in result.failures],
            repairs=list(result.repairs),
            seconds=round(result.seconds, 3),
            phases=dict(result.phases),
            sandbox=self.sandbox,
        )


@dataclass
class Look:
    """What a look at a class gave.

    Attributes:
        ledger: What was recorded before.
        unchanged: The results that still hold.
        changed: Who has to be graded, with what the marks will depend on.
        kept: The keys of their last results, which may still hold.
    """

    ledger: Ledger
    unchanged: list[StudentResult] = field(default_factory=list)
    changed: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)


def submit(pool: Pool, store: ResultStore, task: Task) -> Future[Result]:
    """Hand a submission to a worker; its result is on disk as soon as it is there, whatever happens to this process."""
    assert task.sanitised is not None
    future = pool.executor.submit(pool.work, task.sanitised.job)

    def keep(done: Future[Result]) -> None:
        if not done.cancelled() and done.exception() is None:
            with contextlib.suppress(OSError):  # `Grading` tries again, and then says so
                store.put(done.result())

    future.add_done_callback(keep)
    return future


def likely_options(config: Config, *, sandbox: bool) -> Options:
    """How the configuration wants notebooks to be run, as far as can be told without loading nbgrader."""
    from autograder.limits import Limits

    names = {"test_timeout": "cell_seconds", "judge_memory": "memory_bytes", "seed": "seed"}
    section = config.JudgedExecute
    judge = {names[name]: section[name] for name in names if name in section}
    return Options(sandbox=sandbox, judge=judge, limits=asdict(Limits.from_config(config)))


@contextlib.contextmanager
def stopping() -> Iterator[threading.Event]:
    """Let Ctrl-C, and the system's request to end, set an event; a second one interrupts as usual."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, _: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ---------------------------------------------------------------------------------------------------------------------
# Before a run


def prepare(
    episode: Episode,
    students: Sequence[str] = (),
    *,
    force: bool = False,
    sandbox: bool = True,
    share_identical: bool = False,
    pool: LazyPool | None = None,
) -> Grading:
    """Get ready to grade an episode: notebooks built, gradebook up to date, students known.

    Args:
        episode: The episode.
        students: Whom to grade; everyone who handed in when empty.
        force: Grade again what was graded before.
        sandbox: Run students' code in the sandbox, unless the course's configuration says not to.
        share_identical: Run the notebooks of students with the same answers once.
        pool: Who runs the notebooks; threads of this machine if None.

    Raises:
        CourseError: Nobody has handed in, a student named has not, or there is no sandbox on this machine.
    """
    config = load_config(episode.root)
    settings = config.JudgedExecute
    sandbox = sandbox and not ("sandbox" in settings and settings.sandbox is False)
    handed_in = submitting_students(episode)
    if not handed_in:
        raise CourseError(
            f"Nobody has handed in {episode.name} yet: there is no folder submitted/STUDENT/{episode.name}/. "
            f"Put each student's notebook at submitted/STUDENT/{episode.name}/{episode.name}.ipynb."
        )
    for student in students:
        if student not in handed_in:
            raise CourseError(
                f"Student '{student}' has not handed in {episode.name}: there is no folder "
                f"submitted/{student}/{episode.name}/.{did_you_mean(student, handed_in)}"
            )
    chosen = [student for student in handed_in if not students or student in students]
    grading = Grading(episode, chosen, force, sandbox, share_identical, pool, config)
    if not is_ready(episode, config):
        # What was graded before was another text or other programs, most likely: kernels start meanwhile.
        grading.warm_up()
        make_ready(episode, config)
    settle(episode, config)
    if sandbox and grading.look().changed:
        from autograder.sandbox import require_sandbox

        require_sandbox()
    return grading


def is_ready(episode: Episode, config: Config) -> bool:
    """Whether an episode was built and the gradebook knows it, and nothing has changed since."""
    with contextlib.suppress(OSError, ValueError):
        if knows(database_url(config, episode.root), episode.name):
            return bool(json.loads(_built_note(episode).read_text()) == _built_stamp(episode, config))
    return False


def make_ready(episode: Episode, config: Config) -> None:
    """Build an episode and tell the gradebook about it, unless both were done and nothing has changed since.

    Raises:
        CourseError: The text or a cell in it is not as nbgrader needs it.
    """
    if is_ready(episode, config):
        return
    from autograder.build import build, register_assignment

    build(episode)
    register_assignment(episode)
    write_whole(_built_note(episode), json.dumps(_built_stamp(episode, config)).encode())


def _built_note(episode: Episode) -> Path:
    return episode.root / FOLDER / "built" / f"{episode.name}.json"


def _built_stamp(episode: Episode, config: Config) -> str:
    folders = (episode.text.parent, episode.source.parent, episode.release.parent)
    return digest([folder_stamp(folder) for folder in folders], config, environment_digest())


# ---------------------------------------------------------------------------------------------------------------------
# Marks


def _known(episode: Episode, student: str, entry: Entry, book: ClassMarks) -> StudentResult:
    """What ledger and gradebook tell of somebody who was graded before."""
    return StudentResult(
        student,
        episode.name,
        () if entry.problem else in_order(episode, book.rows.get(student, []), entry),
        entry.problem,
        entry.repairs,
        fresh=False,
        ran=entry.ran,
        penalty=book.penalty.get(student, 0.0),
        sandbox=entry.sandbox,
    )


def recorded(episode: Episode, config: Config, fresh: Sequence[StudentResult] = ()) -> list[StudentResult]:
    """What is known about everybody who was graded in an episode, with marks as they are now.

    Args:
        episode: The episode.
        config: The course's configuration.
        fresh: What a run has just found, which counts before what was recorded.

    Raises:
        CourseError: Nobody was graded.
    """
    book = read_class(marks_url(config, episode.root, [episode]), episode.name)
    entries = Ledger(episode.root, episode.name).read()
    found = {one.student: one for one in fresh}
    for student in {*book.rows, *entries} - found.keys():
        known = _known(episode, student, entries.get(student, Entry(student)), book)
        if known.marks or known.problem:
            found[student] = known
    if not found:
        raise CourseError(f"Nobody was graded in {episode.name} yet. Run `autograder grade {episode.name}` first.")
    return [found[student] for student in sorted(found)]


def read_class_marks(episode: Episode, config: Config | None = None) -> dict[str, tuple[Mark, ...]]:
    """The marks of everybody who was graded in an episode, with what is known about lost points."""
    url = database_url(config or load_config(episode.root), episode.root)
    entries = Ledger(episode.root, episode.name).read()
    return {
        student: in_order(episode, rows, entries.get(student))
        for student, rows in sorted(read_class(url, episode.name).rows.items())
    }


def in_order(episode: Episode, rows: Sequence[Row], entry: Entry | None = None) -> tuple[Mark, ...]:
    """Marks from a gradebook's rows, in the order of the notebook, with what the ledger knows about them."""
    entry = entry or Entry("")
    marks = {}
    for row in rows:
        state: State = "marked"
        if row.score is None:
            state = "needs manual grading" if row.written else "grader failed"
        elif entry.problem and row.flagged:  # points by hand for an earlier version of what cannot be graded now
            state = "needs manual grading"
        name = row.exercise
        measured = read_measurements(entry.measurements.get(name, ()))
        marks[name] = Mark(name, state, row.score, row.max_score, row.written, entry.messages.get(name, ""), measured)
    place = {name: at for at, name in enumerate(exercise_order(episode))}
    return tuple(marks[name] for name in sorted(marks, key=lambda name: (place.get(name, len(place)), name)))


def exercise_order(episode: Episode) -> tuple[str, ...]:
    """The grade ids of an episode's graded cells, in the order of the notebook.

    Raises:
        CourseError: There is no instructor notebook.
    """
    try:
        return _exercise_order(episode.source, episode.source.stat().st_mtime_ns)
    except (OSError, ValueError, KeyError) as problem:
        raise CourseError(
            f"{episode.source} cannot be read: {problem}. Build it: autograder build {episode.name}"
        ) from problem


@lru_cache(maxsize=64)
def _exercise_order(source: Path, _changed: int) -> tuple[str, ...]:
    marks = [cell["metadata"].get("nbgrader", {}) for cell in json.loads(source.read_text(encoding="utf-8"))["cells"]]
    return tuple(mark["grade_id"] for mark in marks if mark.get("grade"))
