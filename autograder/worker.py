"""A worker: one warm pair of kernels, the student's and the judge's, that grades one notebook after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nbformat import NotebookNode

from autograder.engine import GradedNotebook, GradingClient, grade_notebook
from autograder.images import CourseImages
from autograder.judge import KERAS_MODULES, Judge, JudgeLimits, open_judge
from autograder.limits import Limits
from autograder.sandbox import Sandbox
from autograder.zygote import MODULES, Zygote


class Worker:
    """Grades notebooks, one at a time. Use it as a context manager, or call `close`.

    The zygote and the judge start with the first notebook that needs them and stay for those that follow. A zygote that
    died or has grown too large, and one that was made for other limits, is replaced.

    Args:
        sandbox: Whether both kernels run in sandboxes. Without, each student kernel is started anew.
        limits: Limits of the student kernel.
        judge_limits: Limits of the judge.
        images: Where the images of the course are; found if None.
        modules: What the judge imports at its start.
        hidden: Folders that a student's code must not see.
        imports: What the zygote imports at its start.

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
        hidden: Sequence[Path] = (),
        imports: Sequence[str] = MODULES,
    ) -> None:
        self.sandbox = sandbox
        self.limits = limits or Limits()
        self.judge_limits = judge_limits or JudgeLimits()
        self.images = images or CourseImages.find()
        self.modules, self.hidden, self.imports = tuple(modules), tuple(hidden), tuple(imports)
        self.judge: Judge | None = None
        self.zygote: Zygote | None = None
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

    def start(self) -> None:
        """Start both kernels without waiting for them, ahead of the first notebook.

        Raises:
            SandboxUnavailable: There is no sandbox on this machine.
        """
        self._ready_judge(self.sandbox, self.judge_limits)
        if self.sandbox:
            self._ready_zygote(self._policy(self.limits))

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

        def make(nb: NotebookNode, **found: Any) -> GradingClient:
            # Asked for each attempt: the zygote may have been what failed in the last one.
            zygote = self._ready_zygote(self._policy(limits)) if sandbox else None
            return make_client(nb, zygote=zygote, **found)

        return grade_notebook(
            notebook,
            judge,
            make_client=make,
            sandbox=sandbox,
            limits=limits,
            files=files,
            data=self.images.data,
            hidden=list(self.hidden),
            **options,
        )

    def close(self) -> None:
        """End both kernels. May be called twice, and from any thread."""
        self._closed = True
        with self._lock:
            judge, zygote, self.judge, self.zygote = self.judge, self.zygote, None, None
        if zygote is not None:
            zygote.close()
        if judge is not None:
            judge.close()

    def _policy(self, limits: Limits) -> Sandbox:
        return Sandbox(limits=limits, data=self.images.data, hidden=self.hidden)

    def _ready_judge(self, sandbox: bool, limits: JudgeLimits) -> Judge:
        with self._lock:
            self._still_open()
            if self.judge is None or self._judge_key != (sandbox, limits):
                if self.judge is not None:
                    self.judge.close()
                self.judge = open_judge(sandbox=sandbox, limits=limits, modules=self.modules, images=self.images)
                self._judge_key = (sandbox, limits)
            return self.judge

    def _ready_zygote(self, policy: Sandbox) -> Zygote:
        with self._lock:
            self._still_open()
            if self.zygote is not None and not (self.zygote.sandbox == policy and self.zygote.usable):
                self.zygote.close()
                self.zygote = None
            if self.zygote is None:
                self.zygote = Zygote(policy, self.imports)
            return self.zygote

    def _still_open(self) -> None:
        if self._closed:
            raise RuntimeError("this worker was closed")


__all__ = ["Worker"]
