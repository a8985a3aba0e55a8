"""The grader's side of the judge: start it, ask it, believe only what it signed.

`Judge` owns one judge process (`judge_process.py`). It knows nothing of notebooks; `engine.py` does.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
import re
import secrets
import selectors
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from autograder.crossing import Bounds, file_names, free_names, plain_text
from autograder.images import CourseImages
from autograder.judge_process import FRAME, KEY_BYTES, MAC_BYTES, MOST_HEADER, pack, sign
from autograder.limits import Limits
from autograder.sandbox import LAUNCHER, Sandbox
from helpers.measurements import MOST, Measurement

if TYPE_CHECKING:
    from autograder.zygote import ForkedJudge

# Modules that the judge imports before it forks its first sitting, so that no notebook waits for them.
LIGHT_MODULES: tuple[str, ...] = ()
KERAS_MODULES: tuple[str, ...] = ("tensorflow", "keras", "helpers", "helpers.checks")
_NEEDS_KERAS = re.compile(r"\b(tensorflow|keras|helpers|checks|model|dataset|ds)\b|_ds\b|model_")


class GraderFailed(Exception):
    """The judge gave no answer that counts; the message says why. Never the student's fault, never a mark."""


@dataclass(frozen=True)
class JudgeLimits:
    """How long and how large a judge may be.

    Attributes:
        start_seconds: Until the judge has imported everything.
        cell_seconds: For one test cell.
        grace_seconds: What the grader waits beyond that before it kills the whole judge.
        memory_bytes: Data of a sitting (`RLIMIT_DATA`).
        stdout_characters: Of what a test cell prints.
        bounds: What may cross.
        seed: Set before every cell.
    """

    start_seconds: float = 120
    cell_seconds: float = 120
    grace_seconds: float = 60
    memory_bytes: int = 6 << 30
    stdout_characters: int = 20_000
    bounds: Bounds = field(default_factory=Bounds)
    seed: int = 32


@dataclass(frozen=True)
class Question:
    """What a test cell needs to be judged.

    Attributes:
        source: The cell's source.
        names: Values that it reads.
        files: Files that it reads.
        nonce: Ties the collected values and the answer to this question.
    """

    source: str
    names: tuple[str, ...]
    files: tuple[str, ...]
    nonce: str

    @classmethod
    def about(cls, source: str) -> Question:
        """The question about a test cell.

        Raises:
            SyntaxError: The cell is not plain Python.
        """
        return cls(source, free_names(source), file_names(source), secrets.token_hex(16))


@dataclass(frozen=True)
class Answer:
    """What came of a test cell.

    Attributes:
        kind: 'passed', 'failed' or 'partial'.
        score: Points, if 'partial'.
        ename: Type of the error, if 'failed'.
        message: What a student reads, if 'failed'.
        stdout: What the cell printed.
        seconds: How long it took in the judge.
        measurements: What its checks measured, for the instructor.
    """

    kind: str
    score: float | None = None
    ename: str = ""
    message: str = ""
    stdout: str = ""
    seconds: float = 0.0
    measurements: tuple[Measurement, ...] = ()


def modules_for(sources: Iterable[str]) -> tuple[str, ...]:
    """What a judge should import at its start for these test cells.

    Keras takes seconds to import. A wrong guess costs these seconds later, and nothing else.
    """
    return KERAS_MODULES if any(_NEEDS_KERAS.search(source) for source in sources) else LIGHT_MODULES


class Judge:
    """One judge process. Use it as a context manager, or call `close`.

    It is started at once and imports while the student's cells run; the first question waits until it is ready.

    Args:
        command: Wraps the command line, for example into a sandbox; `Sandbox.command` fits. None runs it bare.
        environment: The judge's whole environment.
        modules: What it imports at its start.
        limits: Its limits.
        cwd: Where it may make its work folders; a temporary folder if None.
        launch: Starts a command line; `subprocess.Popen` fits.
        fork: Forks a judge from a warm process, when the first question comes and not before; where it returns None,
            the command line is started.

    Example:
        >>> with Judge() as judge:  # doctest: +SKIP
        ...     judge.begin()
        ...     answer = judge.ask(question, bundle)
    """

    def __init__(
        self,
        command: Callable[[list[str]], list[str]] | None = None,
        environment: dict[str, str] | None = None,
        modules: Sequence[str] = KERAS_MODULES,
        limits: JudgeLimits | None = None,
        cwd: Path | None = None,
        launch: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen,
        fork: Callable[[], ForkedJudge | None] | None = None,
    ) -> None:
        self.command = command or (lambda argv: argv)
        self.environment = environment if environment is not None else bare_environment()
        self.modules = tuple(modules)
        self.limits = limits or JudgeLimits()
        self.cwd = cwd
        self.launch, self.fork = launch, fork
        self._process: subprocess.Popen[bytes] | ForkedJudge | None = None
        self._lock = threading.Lock()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        if fork is None:
            self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the judge, or of the sandbox around it."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process and return without waiting for it.

        Raises:
            GraderFailed: It could not be forked.
        """
        forked = self.fork() if self.fork is not None else None
        self._key = secrets.token_bytes(KEY_BYTES)
        self._ready = False
        self._nonce = secrets.token_hex(16)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed in `close`)
        if self.cwd is None and forked is None:
            self._folder = tempfile.TemporaryDirectory(prefix="judge-")
        self._process = forked or self._start_command()
        assert self._process.stdin is not None and self._process.stdout is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        os.set_blocking(self._process.stdout.fileno(), False)
        self._began = time.monotonic()
        frame = pack({"modules": self.modules, "nonce": self._nonce})
        self._unsent = self._key + frame

    def _start_command(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-I", "-m", "autograder.judge_process"]
        return LAUNCHER.submit(
            self.launch,
            self.command(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=self.cwd or (self._folder.name if self._folder else None),
            env=self.environment,
            start_new_session=True,
        ).result()

    def restart(self) -> None:
        """Replace the process by a fresh one; a forked one when it is needed."""
        self.close()
        if self.fork is None:
            self.start()

    def close(self) -> None:
        """Kill the process and all that it started. May be called twice."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()  # an idle judge ends by itself then, and takes its sitting along
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.3)
        process.kill()
        process.wait()
        self._errors.close()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def begin(self) -> None:
        """Begin a notebook: whatever the judge held of an earlier one is gone.

        Raises:
            GraderFailed: The judge did not come up; it is restarted for the next attempt.
        """
        self._ask({"do": "sit"}, b"", self.limits.grace_seconds)

    def ask(self, question: Question, bundle: bytes) -> Answer:
        """Let the judge run a test cell.

        Args:
            question: The cell.
            bundle: What the collector wrote, unread.

        Raises:
            GraderFailed: It died, hung, gave an answer that is not signed, or says itself that the test is at fault.
        """
        limits = self.limits
        header = {
            "do": "judge",
            "source": question.source,
            "names": question.names,
            "files": question.files,
            "nonce": question.nonce,
            "bounds": limits.bounds.to_dict(),
            "timeout": limits.cell_seconds,
            "memory": limits.memory_bytes,
            "stdout": limits.stdout_characters,
            "seed": limits.seed,
        }
        said = self._ask(header, bundle, limits.cell_seconds + limits.grace_seconds)
        try:
            kind = said["kind"]
            score = float(said["score"]) if kind == "partial" else None
            if kind not in ("passed", "failed", "partial"):
                raise KeyError(kind)
            return Answer(
                kind,
                score,
                plain_text(said.get("ename", ""), 100),
                plain_text(said.get("message", ""), limits.bounds.text),
                plain_text(said.get("stdout", ""), limits.stdout_characters + 100),
                float(said.get("seconds", 0.0)),
                tuple(_measurement(one) for one in said.get("measurements", ())[:MOST]),
            )
        except (KeyError, TypeError, ValueError):
            raise GraderFailed("the judge gave an answer that makes no sense") from None

    # the wire

    def _ask(self, header: dict[str, Any], payload: bytes, seconds: float) -> dict[str, Any]:
        with self._lock:
            if self._process is None:
                self.start()
            try:
                if not self._ready:
                    left = self.limits.start_seconds - (time.monotonic() - self._began)
                    _accept(self._exchange(self._unsent, max(left, 1.0), self._nonce))
                    self._ready = True
                nonce = header.setdefault("nonce", secrets.token_hex(16))
                said = self._exchange(pack(header, payload), seconds, nonce)
            except GraderFailed:
                self.restart()
                raise
        return _accept(said)

    def _exchange(self, frame: bytes, seconds: float, nonce: str) -> dict[str, Any]:
        """Send a frame and read the answer to it, both before the deadline."""
        deadline = time.monotonic() + seconds
        self._send(frame, deadline)
        prefix = self._receive(FRAME.size, deadline)
        length, rest = FRAME.unpack(prefix)
        if length > MOST_HEADER or rest:
            raise GraderFailed("the judge gave an answer that is too long")
        body = self._receive(length, deadline)
        signature = self._receive(MAC_BYTES, deadline)
        if not hmac.compare_digest(sign(self._key, prefix + body), signature):
            raise GraderFailed("an answer was not signed by the judge")
        try:
            said = json.loads(body)
        except ValueError:
            raise GraderFailed("the judge gave a damaged answer") from None
        if not isinstance(said, dict) or said.get("nonce") != nonce:
            raise GraderFailed("an answer belongs to another question")
        return said

    def _send(self, data: bytes, deadline: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        descriptor, view = self._process.stdin.fileno(), memoryview(data)
        while view:
            self._wait(descriptor, selectors.EVENT_WRITE, deadline)
            try:
                view = view[os.write(descriptor, view[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except OSError:
                raise self._died() from None

    def _receive(self, size: int, deadline: float) -> bytes:
        assert self._process is not None and self._process.stdout is not None
        descriptor, data = self._process.stdout.fileno(), bytearray()
        while len(data) < size:
            self._wait(descriptor, selectors.EVENT_READ, deadline)
            try:
                part = os.read(descriptor, size - len(data))
            except BlockingIOError:
                continue
            if not part:
                raise self._died()
            data += part
        return bytes(data)

    def _wait(self, descriptor: int, event: int, deadline: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, event)
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise GraderFailed("the judge did not answer in time")

    def _died(self) -> GraderFailed:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return GraderFailed("the judge closed its pipe")
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - 600))
        last = plain_text(self._errors.read().decode("utf-8", "replace").strip().splitlines()[-1:], 300)
        return GraderFailed(f"the judge died with exit code {code}: {last}")


def _accept(said: dict[str, Any]) -> dict[str, Any]:
    if said.get("kind") == "grader failed":
        raise GraderFailed(plain_text(said.get("message", "the judge does not say why"), 600))
    return said


def _measurement(said: dict[str, Any]) -> Measurement:
    shares = [float(said[name]) for name in ("accuracy", "chance", "needed")]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError
    return Measurement(plain_text(said["name"], 100), *shares, int(said["n"]))


def bare_environment() -> dict[str, str]:
    """The environment of a judge that runs without a sandbox: what it needs and nothing more."""
    kept = ("PATH", "LANG", "LC_ALL", "TMPDIR")
    return {"HOME": "/nonexistent", **{name: os.environ[name] for name in kept if name in os.environ}}


def judge_policy(images: CourseImages, limits: JudgeLimits) -> Sandbox:
    """The sandbox of a judge: it alone sees the held-out images."""
    return Sandbox(
        limits=Limits(
            memory_bytes=limits.memory_bytes,
            cpu_seconds=24 * 3600,  # one judge may serve a whole class; a test has a limit in wall time
            file_bytes=max(limits.bounds.value_bytes, 256 << 20),
            work_bytes=1 << 30,
        ),
        data=images.data,
        holdout=images.holdout,
        packages=("autograder", "helpers"),
    )


def open_judge(*, sandbox: bool = True, images: CourseImages | None = None, **options: Any) -> Judge:
    """Start a judge.

    Args:
        sandbox: Whether it runs in a sandbox of its own.
        images: Where the images of the course are; found if None.
        **options: Arguments of `Judge`.

    Raises:
        CourseError: There is no sandbox on this machine.
    """
    images = images or CourseImages.find()
    limits: JudgeLimits = options.setdefault("limits", JudgeLimits())
    if sandbox:
        return Judge(command=judge_policy(images, limits).command, **options)
    environment = bare_environment()
    if images.data is not None:
        environment["CNN_COURSE_DATA"] = str(images.data.parent)
    if images.holdout is not None:
        environment["CNN_COURSE_HOLDOUT"] = str(images.holdout)
    return Judge(environment=environment, **options)
