"""A worker: one warm pair of kernels, the student's and the judge's, that grades one notebook after the other."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nbformat import NotebookNode

from autograder.engine import GradedNotebook, GradingClient, grade_notebook
from autograder.images import CourseImages
from autograder.judge import KERAS_MODULES, GraderFailed, Judge, JudgeLimits, judge_policy, open_judge
from autograder.limits import Limits
from autograder.sandbox import Sandbox
from autograder.student import hidden_folders
from autograder.zygote import MODULES, ForkedJudge, KernelLost, Zygote, Zygotes


class Worker:
    """Grades notebooks, one at a time. Use it as a context manager, or call `close`.

    Its zygotes, one for kernels and one for judges, and its judge start with the first notebook that needs them and
    stay for those that follow. A zygote that died or has grown too large is replaced.

    Args:
        sandbox: Whether both kernels run in sandboxes. Without, each student kernel is started anew.
        limits: Limits of the student kernel.
        judge_limits: Limits of the judge.
        images: Where the images of the course are; found if None.
        modules: What the judge imports at its start.
        hidden: Folders that a student's code must not see; the course folder if None.
        imports: What the zygote imports at its start.
        zygotes: Where its zygotes come from, if it shares them with other workers; then whoever made them closes them.

    Example:
        >>> with Worker(limits=Limits(), judge_limits=JudgeLimits()) as worker:  # doctest: +SKIP
        ...     graded = worker.grade(notebook, folder)
    """

    def __init__(
        self,
        *,
        sandbox: bool = True,
        limits: Limits | None = None,
        judge_limits: JudgeLimits | None = None,
        images: CourseImages | None = None,
        modules: Sequence[str] = KERAS_MODULES,
        hidden: Sequence[Path] | None = None,
        imports: Sequence[str] = MODULES,
        zygotes: Zygotes | None = None,
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits or Limits()
        self.judge_limits = judge_limits or JudgeLimits()
        self.images = images or CourseImages.find()
        self.modules, self.imports = tuple(modules), tuple(imports)
        self.hidden = tuple(hidden_folders() if hidden is None else hidden)
        self.judge: Judge | None = None
        self.zygotes, self._own_zygotes = zygotes or Zygotes(), zygotes is None
        self.idle_since = 0.0  # kept by whoever lends workers
        self._judge_key: tuple[bool, JudgeLimits] | None = None
        self._lock = threading.RLock()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def zygote(self) -> Zygote | None:
        """The zygote of its kernels at this moment."""
        return self.zygotes.peek(self.imports)

    def start(self) -> None:
        """Start what both kernels come from without waiting for it, ahead of the first notebook.

        Raises:
            SandboxUnavailable: There is no sandbox on this machine.
        """
        if self.sandbox:
            policy = Sandbox(limits=self.limits, data=self.images.data, hidden=self.hidden)
            self.zygotes.get(policy, self.imports)
            self.zygotes.get(judge_policy(self.images, self.judge_limits), self.modules, judges=True)
        self._ready_judge(self.sandbox, self.judge_limits)

    def grade(
        self,
        notebook: NotebookNode,
        files: Path | None = None,
        *,
        sandbox: bool | None = None,
        limits: Limits | None = None,
        judge_limits: JudgeLimits | None = None,
        make_client: Callable[..., GradingClient] = GradingClient,
        **options: Any,
    ) -> GradedNotebook:
        """Run a notebook and judge its test cells, as `engine.grade_notebook` does.

        Args:
            notebook: What the student handed in, already repaired; it is not changed.
            files: The folder that was handed in beside it.
            sandbox: In the place of the worker's own.
            limits: In the place of the worker's own.
            judge_limits: In the place of the worker's own.
            make_client: Makes the client for one attempt.
            **options: Further options of `grade_notebook`.

        Raises:
            CourseError: Nothing can be graded at all, for example because there is no sandbox.
        """
        sandbox = self.sandbox if sandbox is None else sandbox
        limits = limits or self.limits
        judge = self._ready_judge(sandbox, judge_limits or self.judge_limits)
        if sandbox:  # so that it imports while the student's cells run
            self.zygotes.get(judge_policy(self.images, judge.limits), self.modules, judges=True)

        options = {"data": self.images.data, "hidden": list(self.hidden), **options}
        policy = Sandbox(limits=limits, data=options["data"], hidden=tuple(options["hidden"]))

        def make(nb: NotebookNode, **found: Any) -> GradingClient:
            # Asked for each attempt: the zygote may have been what failed in the last one.
            self._still_open()
            zygote = self.zygotes.ready(policy, self.imports) if sandbox else None
            return make_client(nb, zygote=zygote, **found)

        return grade_notebook(notebook, judge, make_client=make, sandbox=sandbox, limits=limits, files=files, **options)

    def close(self) -> None:
        """End both kernels. May be called twice, and from any thread."""
        self._closed = True
        if self._own_zygotes:
            self.zygotes.close()
        with self._lock:
            judge, self.judge = self.judge, None
        if judge is not None:
            judge.close()

    def _ready_judge(self, sandbox: bool, limits: JudgeLimits) -> Judge:
        with self._lock:
            self._still_open()
            if self.judge is None or self._judge_key != (sandbox, limits):
                if self.judge is not None:
                    self.judge.close()
                self.judge = open_judge(
                    sandbox=sandbox,
                    limits=limits,
                    modules=self.modules,
                    images=self.images,
                    fork=self._fork_judge if sandbox else None,
                )
                self._judge_key = (sandbox, limits)
            return self.judge

    def _fork_judge(self) -> ForkedJudge | None:
        """A judge from the zygote of judges; None if this machine lets none fork.

        Raises:
            GraderFailed: There is none to be had now.
        """
        self._still_open()
        assert self._judge_key is not None
        policy = judge_policy(self.images, self._judge_key[1])
        try:
            zygote = self.zygotes.ready(policy, self.modules, judges=True)
            return None if zygote is None else zygote.judge(policy)
        except (KernelLost, OSError) as error:
            raise GraderFailed(f"the judge could not be started: {error}") from None

    def _still_open(self) -> None:
        if self._closed:
            raise RuntimeError("this worker was closed")


class WorkerPool:
    """Workers that stay warm between notebooks; every borrower has one to itself.

    Args:
        idle_seconds: When to end a worker that nobody borrows. Formgrader's server may live for weeks.
    """

    def __init__(self, idle_seconds: float = 60) -> None:
        self.idle_seconds = idle_seconds
        self._idle: dict[Any, list[Worker]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def borrow(
        self,
        *,
        sandbox: bool,
        limits: Limits,
        judge_limits: JudgeLimits,
        modules: Sequence[str] = KERAS_MODULES,
        imports: Sequence[str] = MODULES,
    ) -> Iterator[Worker]:
        """A worker with these limits, for the length of a `with` block.

        Args:
            sandbox: Whether its kernels run in sandboxes.
            limits: Limits of the student kernel.
            judge_limits: Limits of the judge.
            modules: What its judge must have imported; one that has imported more will do.
            imports: The same for its zygote.

        Raises:
            CourseError: An environment variable names a place where no images are.
        """
        # Kernels see the images and hide the course that were there when they started, so others need other kernels.
        images, hidden = CourseImages.find(), tuple(hidden_folders())
        key = (sandbox, limits, judge_limits, images, hidden)
        with self._lock:
            idle = self._idle.setdefault(key, [])
            worker = next(
                (w for w in reversed(idle) if set(modules) <= set(w.modules) and set(imports) <= set(w.imports)), None
            )
            if worker is not None:
                idle.remove(worker)
        if worker is None:
            worker = Worker(
                sandbox=sandbox,
                limits=limits,
                judge_limits=judge_limits,
                images=images,
                modules=modules,
                hidden=hidden,
                imports=imports,
            )
        try:
            yield worker
        except BaseException:
            worker.close()
            raise
        with self._lock:
            self._idle[key].append(worker)
            worker.idle_since = time.monotonic()
        timer = threading.Timer(self.idle_seconds, self._retire)
        timer.daemon = True
        timer.start()

    def _retire(self) -> None:
        """End the workers that have been idle for long enough."""
        late = time.monotonic() - self.idle_seconds
        with self._lock:
            retired = [worker for idle in self._idle.values() for worker in idle if worker.idle_since <= late]
            for idle in self._idle.values():
                idle[:] = [worker for worker in idle if worker not in retired]
        for worker in retired:
            worker.close()

    def close(self) -> None:
        """End all workers that nobody has borrowed."""
        with self._lock:
            workers = [worker for idle in self._idle.values() for worker in idle]
            for idle in self._idle.values():
                idle.clear()
        for worker in workers:
            worker.close()


WORKERS = WorkerPool()
atexit.register(WORKERS.close)

__all__ = ["WORKERS", "Worker", "WorkerPool"]
