"""Grade one notebook: the student's cells in the student kernel, the test cells before the judge, a verdict for each.

Works on a notebook alone, without nbgrader's database: `grade_notebook` is what the preprocessors, and anything else
that wants a mark with its evidence, call.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from nbformat.v4 import new_output

from autograder import collect
from autograder.crossing import plain_text
from autograder.judge import Answer, GraderFailed, Judge, Question
from autograder.sandbox import SandboxUnavailable
from autograder.student import StudentClient, is_test_cell
from helpers.measurements import Measurement, read_measurements

State = Literal["passed", "failed", "partial", "grader failed"]

_COLLECT_SOURCE = Path(inspect.getsourcefile(collect) or "").read_text(encoding="utf-8")
_NOT_RUN = (
    "This test could not be run, through no fault of yours. It has not been marked yet; "
    "your instructor will look at it."
)


@dataclass(frozen=True)
class Verdict:
    """What a test cell is worth, and why.

    Attributes:
        grade_id: The cell's nbgrader id.
        state: 'passed', 'failed', 'partial' or 'grader failed'.
        score: Points; None if the grader failed.
        max_score: Points that the cell is worth.
        message: Why points are missing, or why the grader failed; empty if passed.
        seconds: Time that judging took, collecting included.
        measurements: What the checks of the cell measured, whatever came of it; for the instructor alone.
    """

    grade_id: str
    state: State
    score: float | None
    max_score: float
    message: str = ""
    seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The verdict as plain data, for a log or a cache."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Verdict:
        """The inverse of `to_dict`."""
        return cls(**{**record, "measurements": read_measurements(record.get("measurements", ()))})


@dataclass
class GradedNotebook:
    """An executed notebook with a verdict for every test cell in it.

    Attributes:
        notebook: The notebook with its outputs.
        verdicts: By grade id, in the order of the cells.
        attempts: How often it was run: 1, or 2 if the grader failed the first time.
        seconds: Wall time of everything.
        phases: Seconds by phase, of all attempts together: 'start' (the kernels), 'run' (the student's cells),
            'collect' (copies of the student's values) and 'judge' (the test cells). No second counts to two of them.
    """

    notebook: NotebookNode
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    attempts: int = 1
    seconds: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)

    @property
    def grader_failures(self) -> list[Verdict]:
        """Verdicts that a person has to see to."""
        return [v for v in self.verdicts.values() if v.state == "grader failed"]

    @property
    def score(self) -> float:
        """Points of the test cells together; a cell where the grader failed counts nothing yet."""
        return sum(v.score or 0.0 for v in self.verdicts.values())


class ValuesUnreadable(Exception):
    """The student kernel did not hand over its values; the message ends 'could not be read: ...'."""


class GradingClient(StudentClient):
    """Runs a student's notebook and lets a judge run its test cells.

    Args:
        nb: The notebook; outputs are written into it.
        judge: Answers for the test cells. Its sitting is renewed at the first test cell of the notebook.
        collect_seconds: How long the student kernel may take to hand over the values of one test cell.
        **options: Traits of `StudentClient`.
    """

    def __init__(self, nb: NotebookNode, *, judge: Judge, collect_seconds: float = 60, **options: Any) -> None:
        super().__init__(nb, **options)
        self.judge = judge
        self.collect_seconds = collect_seconds
        self.verdicts: dict[str, Verdict] = {}
        self._sitting = False

    async def _start(self) -> None:
        """Start a kernel whose random numbers are the same every time."""
        await super()._start()
        with self.phase("start"):
            await self.run_hidden(seeding_code(self.judge.limits.seed), timeout=60)

    async def judge_cell(self, cell: NotebookNode, index: int) -> None:
        """Judge one test cell and write the outcome into it.

        Never raises for anything that a student can cause: a value that cannot be read fails this test, a judge that
        does not answer makes it 'grader failed', and in both cases the notebook goes on.
        """
        started = time.monotonic()
        grade_id = cell.metadata["nbgrader"]["grade_id"]
        cell["outputs"], answer = [], None
        try:
            points = float(cell.metadata["nbgrader"]["points"])
            if grade_id in self.verdicts:
                raise GraderFailed(f"the notebook has two test cells with the id `{grade_id}`")
            answer = await self._answer(cell.source)
            verdict = weigh(grade_id, answer, points)
        except GraderFailed as error:
            points = float(cell.metadata["nbgrader"].get("points") or 0.0)
            verdict = Verdict(grade_id, "grader failed", None, points, str(error))
        measured = answer.measurements if answer is not None else ()
        verdict = replace(verdict, seconds=round(time.monotonic() - started, 3), measurements=measured)
        self.verdicts[grade_id] = verdict
        write_outcome(cell, verdict, answer)

    async def _answer(self, source: str) -> Answer:
        try:
            question = Question.about(source)
        except (SyntaxError, ValueError) as error:
            raise GraderFailed(f"the test cell is not plain Python: {error}") from None
        bundle = _empty_bundle(question.nonce)
        if question.names or question.files:
            try:
                with self.phase("collect"):
                    bundle = await self.collect(question)
            except ValuesUnreadable as error:
                return Answer("failed", ename="ValuesUnreadable", message=f"Your values could not be read: {error}.")
        try:
            with self.phase("judge"):
                if not self._sitting:
                    await asyncio.to_thread(self.judge.begin)
                    self._sitting = True
                return await asyncio.to_thread(self.judge.ask, question, bundle)
        except GraderFailed:
            self._sitting = False
            raise

    async def collect(self, question: Question) -> bytes:
        """Copies of the values that a test cell reads, as bytes that nobody has looked into yet.

        A kernel that dies or hangs here does so over the student's own objects or patches, for the collector does
        nothing but copy them: so that is the student's failure, of this test, and not the grader's.

        Raises:
            ValuesUnreadable: The kernel died, took too long or wrote nothing.
        """
        request = {
            "names": question.names,
            "files": question.files,
            "nonce": question.nonce,
            "bounds": self.judge.limits.bounds.to_dict(),
            "outbox": self.outbox_inside,
        }
        outbox, most = self.outbox, self.judge.limits.bounds.bundle_bytes
        with outbox.open("r+b") as file:
            file.truncate(0)
        reply: Mapping[str, Any] = {}
        try:
            reply = await self.run_hidden(collecting_code(request), timeout=self.collect_seconds)
        except TimeoutError:
            raise ValuesUnreadable(f"copying them took more than {self.collect_seconds:g} s") from None
        except DeadKernelError as error:
            raise ValuesUnreadable(f"{plain_text(error, 300)}".rstrip(".")) from None
        with outbox.open("rb") as file:
            bundle = file.read(most + 1)
        if not bundle:
            what = plain_text(f"{reply.get('ename')}: {reply.get('evalue')}", 200)
            raise ValuesUnreadable(f"copying them failed ({what})" if reply.get("ename") else "nothing arrived")
        if len(bundle) > most:
            raise ValuesUnreadable(f"together they are larger than {most >> 20} MB")
        return bundle


def _empty_bundle(nonce: str) -> bytes:
    header = {"nonce": nonce, "values": {}, "files": {}, "refused": {}, "missing": [], "blobs": []}
    text = json.dumps(header).encode()
    return collect.MAGIC + len(text).to_bytes(8, "big") + text


def collecting_code(request: Mapping[str, Any]) -> str:
    """One expression that runs `collect.py` in a student kernel and leaves no name behind.

    It reaches for builtins by import, because a student's notebook may have a variable named `exec` or `compile`.
    """
    b = "__import__('builtins')"
    space = f"{{'REQUEST': {dict(request)!r}, 'NAMESPACE': {b}.globals(), '__name__': 'collect'}}"
    return f"{b}.exec({b}.compile({_COLLECT_SOURCE!r}, '<collect>', 'exec'), {space})"


_SEEDING = """
import importlib.util, random, sys

def seed_numpy(module): module.random.seed(SEED)
def seed_tensorflow(module): module.random.set_seed(SEED)
waiting = {"numpy": seed_numpy, "tensorflow": seed_tensorflow}

class Seeding:
    def find_spec(self, name, path=None, target=None):
        seed = waiting.pop(name, None)
        spec = seed and importlib.util.find_spec(name)
        if not spec or not spec.loader: return None
        run = spec.loader.exec_module
        def exec_module(module):
            # TensorFlow draws from Python's random numbers while it is imported; a forked kernel has it already.
            state = random.getstate()
            run(module)
            random.setstate(state)
            seed(module)
        spec.loader.exec_module = exec_module
        return spec

random.seed(SEED)
for name in [name for name in waiting if name in sys.modules]:
    waiting.pop(name)(sys.modules[name])
sys.meta_path.insert(0, Seeding())
"""


def seeding_code(seed: int) -> str:
    """Code that seeds Python's random numbers, and NumPy's and TensorFlow's as soon as a notebook imports them.

    A notebook that sets its own seed is not touched by it. Importing TensorFlow here would cost seconds, also where no
    cell needs it.
    """
    return f"exec({_SEEDING!r}, {{'SEED': {seed}}})"


def weigh(grade_id: str, answer: Answer, points: float) -> Verdict:
    """The verdict that follows from the judge's answer.

    Raises:
        GraderFailed: Partial credit outside of 0 to `points`, which only a defect of the test cell can give.
    """
    if answer.kind == "passed":
        return Verdict(grade_id, "passed", points, points)
    if answer.kind == "partial" and answer.score is not None:
        slack = 1e-9 * max(1.0, points)
        if not math.isfinite(answer.score) or not -slack <= answer.score <= points + slack:
            raise GraderFailed(f"the test cell ends with {answer.score:g}, but gives between 0 and {points:g} points")
        score = min(max(answer.score, 0.0), points)
        return Verdict(grade_id, "partial", score, points, f"{score:g} of {points:g} points")
    if answer.kind == "failed":
        return Verdict(grade_id, "failed", 0.0, points, answer.message)
    raise GraderFailed(f"the judge gave an answer of an unknown kind, {answer.kind!r}")


def write_outcome(cell: NotebookNode, verdict: Verdict, answer: Answer | None) -> None:
    """Put the outcome into the test cell, as a kernel would have left it there.

    nbgrader's gradebook, Formgrader and feedback read a cell's outputs. There is never a stderr stream among them, for
    nbgrader takes that for a failure.
    """
    outputs = []
    if answer is not None and answer.stdout:
        outputs.append(new_output("stream", name="stdout", text=answer.stdout))
    if verdict.state == "failed":
        name = answer.ename if answer is not None and answer.ename else "AssertionError"
        outputs.append(
            new_output("error", ename=name, evalue=verdict.message, traceback=[f"{name}: {verdict.message}"])
        )
    elif verdict.state == "partial":
        text = repr(float(verdict.score or 0.0))
        outputs.append(new_output("execute_result", data={"text/plain": text}, execution_count=1))
    elif verdict.state == "grader failed":
        outputs = [new_output("display_data", data={"text/plain": _NOT_RUN})]
    cell["outputs"] = outputs
    cell["execution_count"] = 1


def grade_notebook(
    notebook: NotebookNode,
    judge: Judge,
    *,
    attempts: int = 2,
    make_client: Callable[..., GradingClient] = GradingClient,
    **options: Any,
) -> GradedNotebook:
    """Run a notebook and judge its test cells.

    If the grader failed anywhere, everything is done once more in a fresh pair of kernels; a verdict that either run
    reached counts, for each of them has its own evidence.

    Args:
        notebook: What the student handed in, already repaired; it is not changed.
        judge: Marks the test cells; restarted before the second attempt.
        attempts: How often to try.
        make_client: Makes the client for one attempt.
        **options: Traits of `GradingClient`.

    Raises:
        CourseError: Nothing can be graded at all, for example because there is no sandbox.
    """
    started = time.monotonic()
    best: GradedNotebook | None = None
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            judge.restart()
        graded = _run_once(copy.deepcopy(notebook), judge, make_client, options)
        if best is not None:
            for phase, seconds in best.phases.items():
                graded.phases[phase] = graded.phases.get(phase, 0.0) + seconds
        best = graded if best is None else _merge(best, graded)
        best.attempts = attempt
        if not best.grader_failures:
            break
    assert best is not None
    best.seconds = round(time.monotonic() - started, 3)
    return best


def _run_once(
    notebook: NotebookNode, judge: Judge, make_client: Callable[..., GradingClient], options: Mapping[str, Any]
) -> GradedNotebook:
    client, reason = None, "the notebook was not run to this cell"
    try:
        client = make_client(notebook, judge=judge, **options)
        client.execute()
    except SandboxUnavailable:
        raise
    except Exception as error:  # one bad notebook never stops a batch
        reason = f"the notebook could not be run: {type(error).__name__}: {plain_text(error, 300)}"
    found, phases = (client.verdicts, client.phases) if client is not None else ({}, {})
    verdicts = {}
    for cell in notebook.cells:
        if not is_test_cell(cell):
            continue
        grade_id = cell.metadata["nbgrader"]["grade_id"]
        verdict = found.get(grade_id)
        if verdict is None:
            points = float(cell.metadata["nbgrader"].get("points") or 0.0)
            verdict = Verdict(grade_id, "grader failed", None, points, reason)
            write_outcome(cell, verdict, None)
        verdicts[grade_id] = verdict
    return GradedNotebook(notebook, verdicts, phases={phase: round(s, 4) for phase, s in phases.items()})


def _merge(first: GradedNotebook, second: GradedNotebook) -> GradedNotebook:
    """The second run, with the first one's verdicts where only the first one has them."""
    before = {c.metadata["nbgrader"]["grade_id"]: c for c in first.notebook.cells if is_test_cell(c)}
    for cell in second.notebook.cells:
        if not is_test_cell(cell):
            continue
        grade_id = cell.metadata["nbgrader"]["grade_id"]
        old = first.verdicts.get(grade_id)
        if second.verdicts[grade_id].state == "grader failed" and old is not None and old.state != "grader failed":
            second.verdicts[grade_id] = old
            cell["outputs"] = before[grade_id]["outputs"]
    return second
