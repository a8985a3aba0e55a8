"""Run a student's notebook, cell by cell, in a sandboxed kernel that may do its worst.

`StudentClient` is nbclient's `NotebookClient` with another idea of its kernel: nothing that the kernel says is believed
beyond the outputs of the cell that is being run, every cell is bounded in time and in output, and a kernel that dies is
replaced. Nothing here marks anything; `engine.GradingClient` lets the judge do that.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode
from nbformat.v4 import new_output
from traitlets import Bool, Instance, List

from autograder.course import find_root
from autograder.errors import CourseError
from autograder.limits import Limits
from autograder.sandbox import OUTBOX, Sandbox, SandboxProvisioner, run_folder
from autograder.staging import stage_submission
from autograder.watch import Watched, in_words
from autograder.zygote import KernelLost, Zygote

_FLOOD = 8  # a cell that sends this many times its bound of output is stopped
_OUTPUT_OVERHEAD = 200  # bytes that every output costs beside its content, so that a million empty ones are bounded
_MESSAGES = 200_000  # of one cell, whatever their size
_DEPTH = 40  # of nested JSON in an output
_IDLE_SECONDS = 2.0  # how long after its reply a cell may still send output
_START_SECONDS = 90.0
_QUEUE = 8  # messages that wait in the grader's memory; each is bounded too


class HiddenTimeout(TimeoutError):
    """The student kernel did not finish hidden code in time."""


@dataclass
class Outcome:
    """How the run of one piece of code ended.

    Attributes:
        state: 'ok', 'error', 'dead' (the kernel is gone) or 'stopped' (a limit was reached, the kernel lives).
        reply: The content of the kernel's reply, as far as it is well-formed.
        notes: What to write into the cell about limits and the like, each an error name and a sentence.
        began: Whether the kernel said that it began to run this code.
    """

    state: str
    reply: dict[str, Any] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)
    began: bool = False


class _CourseKernels(KernelSpecManager):
    """Knows one kernel, whatever name a notebook asks for: IPython's, in the given sandbox."""

    sandbox = Instance(Sandbox)
    zygote = Instance(Zygote, allow_none=True)

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        config = {"sandbox": self.sandbox, "zygote": self.zygote}
        provisioner = {"provisioner_name": "sandbox-provisioner", "config": config}
        return KernelSpec(
            argv=["python"],
            display_name="Python 3",
            language="python",
            metadata={"kernel_provisioner": provisioner},
        )


class StudentClient(NotebookClient):
    """Executes a student's notebook in a sandboxed kernel, with limits.

    Args:
        nb: The notebook; outputs are written into it.
        **options: Traits, among them:
            limits: A `Limits`; by default what `c.GradingLimits` of the configuration says.
            sandbox: False runs without bubblewrap.
            data: The folder `cifar10_images_small` for the notebook; found as `helpers.data` finds it if None.
            files: The folder that was handed in; `resources['metadata']['path']` if None.
            hidden: Folders to keep out of sight, the course folder among them.
            zygote: Forks the kernels; its policy must be that of this client. None starts each kernel anew.

    Attributes:
        outbox: A regular file that the sandbox may write; inside it is `outbox_inside`.
        log_lines: What happened that a person may want to know, in order.
        phases: Seconds that passed, by phase: 'start' and 'run'. They are disjoint, and add up to all of `execute`.

    Example:
        >>> client = StudentClient(nbformat.read("01-introduction.ipynb", 4))  # doctest: +SKIP
        >>> client.execute()  # doctest: +SKIP
    """

    limits = Instance(Limits)
    sandbox = Bool(True, help="Run the kernel in bubblewrap.").tag(config=True)
    data = Instance(Path, allow_none=True)
    files = Instance(Path, allow_none=True)
    hidden = List(Instance(Path))
    zygote = Instance(Zygote, allow_none=True)

    def _limits_default(self) -> Limits:
        return Limits.from_config(self.config)

    def _data_default(self) -> Path | None:
        return _find_data()

    def _files_default(self) -> Path | None:
        path = (self.resources or {}).get("metadata", {}).get("path")
        return Path(path) if path and Path(path).is_dir() else None

    def _hidden_default(self) -> list[Path]:
        return hidden_folders()

    def __init__(self, nb: NotebookNode, km: AsyncKernelManager | None = None, **options: Any) -> None:
        super().__init__(nb, km, **options)
        self.store_widget_state = False
        self.log_lines: list[str] = []
        self.phases: Counter[str] = Counter()
        self._present: tuple[str | None, float] = (None, 0.0)  # the phase of the moment, and when it began or went on
        self.folder: Path | None = None
        self.outbox: Path = Path()
        self.outbox_inside = OUTBOX
        self._policy: Sandbox | None = None
        self._context: zmq.asyncio.Context | None = None
        self._spent = 0.0
        self._restarts = 0
        self._given_up: str | None = None
        self._completed: list[int] = []
        self._retried: set[int] = set()

    # --- a kernel's life ---------------------------------------------------------------------------------------------

    @contextmanager
    def _places(self) -> Iterator[None]:
        """The folder of one notebook: what was handed in, and the outbox."""
        self.folder = run_folder()
        try:
            self.outbox = self.folder / "outbox"
            self.outbox.touch()
            self.outbox.chmod(0o666)  # root makes it, a user who owns nothing writes it; the folder is closed to others
            self.outbox_inside = OUTBOX if self.sandbox else str(self.outbox)
            handed_in = self.folder / "in"
            handed_in.mkdir()
            if self.files is not None:
                # Notebooks stay behind: the one that is being graded holds the hidden tests.
                copied = stage_submission(
                    self.files,
                    handed_in,
                    max_files=self.limits.files // 2,
                    max_file_bytes=self.limits.file_bytes,
                    max_total_bytes=self.limits.work_bytes // 2,
                    notebooks=False,
                )
                for left_out in copied.left_out:
                    self._note(f"left out of the work folder: {left_out}")
            self._policy = replace(self.policy(), files=handed_in, outbox=self.outbox)
            yield
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None

    def policy(self) -> Sandbox:
        """What every kernel of this notebook may see and use, but for the files and the outbox."""
        return Sandbox(limits=self.limits, data=self.data, hidden=tuple(self.hidden), isolated=self.sandbox)

    def create_kernel_manager(self) -> AsyncKernelManager:
        """A manager whose kernel runs in the sandbox, whatever kernel the notebook names."""
        assert self._policy is not None
        if self._context is None:
            # Options of a context are defaults of its sockets. A message that is larger is refused unread.
            self._context = zmq.asyncio.Context()
            self._context.setsockopt(zmq.MAXMSGSIZE, self.limits.message_bytes)
            self._context.setsockopt(zmq.RCVHWM, _QUEUE)
            self._context.setsockopt(zmq.LINGER, 0)
        self.km = AsyncKernelManager(
            context=self._context,
            kernel_spec_manager=_CourseKernels(sandbox=self._policy, zygote=self.zygote),
            kernel_name="student",
            transport="ipc",
        )
        return self.km

    @property
    def provisioner(self) -> SandboxProvisioner | None:
        """What runs the present kernel, if there is one."""
        return self.km.provisioner if self.km is not None else None

    @property
    def process(self) -> Watched | None:
        """The present kernel's process."""
        return self.provisioner.process if self.provisioner is not None else None

    @property
    def kernel_alive(self) -> bool:
        """Whether there is a kernel that runs."""
        return self.kc is not None and self.process is not None and self.process.poll() is None

    async def _start(self) -> None:
        """Start a fresh kernel and wait until it answers.

        Raises:
            CourseError: It does not; then no notebook will run on this machine.
        """
        with self.phase("start"):
            await self._start_kernel()

    async def _start_kernel(self) -> None:
        km = self.create_kernel_manager()
        try:
            await km.start_kernel()
        except OSError as error:
            await self._stop()
            raise CourseError(f"The student kernel could not be started: {error}") from error
        self.kc = km.client()
        self.kc.start_channels(shell=True, iopub=True, stdin=False, hb=False, control=False)
        self.kc.allow_stdin = False
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            outcome = await self._run("", seconds=3, silent=True, sink=None, interrupt=False)
            if outcome.state == "ok":
                return
            if not self.kernel_alive:
                break
        process = self.process
        said = process.complaint() if process is not None else ""
        why = (process.reason if process is not None else None) or said[-800:] or "it does not answer"
        await self._stop()
        raise CourseError(
            f"The student kernel could not be started: {why}\n"
            "Expected an IPython kernel in the grader's environment; see what `autograder doctor` says."
        )

    async def _stop(self) -> None:
        """End the present kernel and everything that it started."""
        km, kc, self.km, self.kc = self.km, self.kc, None, None
        if kc is not None:
            kc.stop_channels()
        if km is not None and km.provisioner is not None:
            await km.provisioner.cleanup()
            km._close_control_socket()

    async def _fresh(self) -> bool:
        """Make sure that a kernel runs, in the state in which the last one was; False if that is not to be had."""
        while not self.kernel_alive:
            self._raise_if_lost()
            if self._given_up is None and self._restarts >= self.limits.restarts:
                self._given_up = f"its kernel had ended {self._restarts + 1} times"
            if self._given_up is None and self._left() <= 0:
                self._given_up = self._out_of_time()
            if self._given_up is not None:
                return False
            self._restarts += 1
            await self._stop()
            await self._start()
            await self._replay()
        return True

    async def _replay(self) -> None:
        """Run the cells again that had completed, so that later cells find what those had made."""
        for index in list(self._completed):
            cell = self.nb.cells[index]
            seconds = min(self.limits.cell_seconds, self._left())
            started = time.monotonic()
            with self.phase("run"):
                outcome = await self._run(cell.source, seconds=max(seconds, 0.1), sink=None)
            self._spend(time.monotonic() - started)
            if outcome.state in ("dead", "stopped"):
                # The cell that looked innocent the first time: it is not run a third time.
                self._completed.remove(index)
                for name, text in outcome.notes:
                    _add_note(cell, name, f"{text} (when it was run again in a fresh kernel)")
            if outcome.state == "dead":
                return

    # --- the notebook ------------------------------------------------------------------------------------------------

    async def async_execute(self, reset_kc: bool = False, **options: Any) -> NotebookNode:
        """Run every cell of the notebook; a student's code cannot make this raise.

        Raises:
            CourseError: There is no sandbox, or no kernel can be started at all.
        """
        self.reset_execution_trackers()
        self._spent, self._restarts, self._given_up = 0.0, 0, None
        self._completed, self._retried, self.log_lines = [], set(), []
        with self.phase("start"), self._places():
            try:
                await self._start()
                self.nb.metadata["language_info"] = {"name": "python", "file_extension": ".py"}
                with self.phase("run"):
                    for index, cell in enumerate(self.nb.cells):
                        await self.async_execute_cell(cell, index)
            finally:
                await self._stop()
                if self._context is not None:
                    self._context.destroy(linger=0)
                    self._context = None
        return self.nb

    execute = run_sync(async_execute)

    async def async_execute_cell(
        self,
        cell: NotebookNode,
        cell_index: int,
        execution_count: int | None = None,
        store_history: bool = True,
    ) -> NotebookNode:
        """Run one cell, or have it judged, or say in it why it was not run."""
        if cell.cell_type != "code":
            return cell
        cell["outputs"], cell["execution_count"] = [], None
        cell.metadata.pop("execution", None)
        if is_test_cell(cell):
            await self.judge_cell(cell, cell_index)
            return cell
        if not cell.source.strip():
            return cell
        if self._left() <= 0 and self._given_up is None:
            self._given_up = self._out_of_time()
        for _ in range(self.limits.restarts + 2):
            if self._given_up is not None or not await self._fresh():
                _add_note(cell, "NotRun", f"This cell was not run, for {self._given_up}.")
                return cell
            if await self._execute(cell, cell_index):
                break
        return cell

    async def _execute(self, cell: NotebookNode, index: int) -> bool:
        """Run a cell in a kernel that is there; False if the kernel ended before it is known that the cell began."""
        cell["outputs"] = []
        limits, left = self.limits, self._left()
        started = time.monotonic()
        sink = _Sink(cell, limits.output_bytes)
        outcome = await self._run(cell.source, seconds=min(limits.cell_seconds, left), sink=sink)
        self._spend(time.monotonic() - started)
        if outcome.state == "dead" and not outcome.began and index not in self._retried:
            # Perhaps what an earlier cell left behind ended it. Another try tells, and costs a restart, no points.
            self._retried.add(index)
            return False
        for name, text in outcome.notes:
            if name == "TimeLimitReached" and left < limits.cell_seconds:
                text = f"{text} The whole notebook's time, {limits.notebook_seconds:g} s, is used up."
            _add_note(cell, name, text)
            self._note(f"cell {index}: {text}")
        if outcome.state == "ok":
            self._completed.append(index)
        return True

    async def judge_cell(self, cell: NotebookNode, index: int) -> None:
        """What to do with a test cell, for it never runs in the student kernel. Here: say so.

        Override it. `run_hidden` runs the code that collects values; whatever that returns is a claim of the student's.
        """
        cell["outputs"] = [
            new_output("display_data", data={"text/plain": "This test is not run here: the judge runs it."})
        ]

    async def run_hidden(self, code: str, timeout: float) -> dict[str, Any]:
        """Run code in the student kernel without leaving a trace in the notebook.

        The kernel belongs to the student: what comes back proves nothing.

        Args:
            code: What to run.
            timeout: Seconds until it is interrupted.

        Returns:
            The content of the kernel's reply: `status`, and `ename` and `evalue` if that is 'error'.

        Raises:
            HiddenTimeout: It took longer; a TimeoutError.
            DeadKernelError: The kernel died meanwhile, or there is none any more.
        """
        if not await self._fresh():
            raise DeadKernelError(f"there is no kernel any more, for {self._given_up}")
        outcome = await self._run(code, seconds=timeout, silent=True, sink=None)
        if outcome.state == "dead":
            raise DeadKernelError("; ".join(text for _, text in outcome.notes) or "the kernel died")
        if outcome.state == "stopped":
            raise HiddenTimeout(f"the kernel did not finish within {timeout:g} s")
        return outcome.reply

    def _refused(self) -> Counter[str]:
        """How often the kernel's messages were refused, by channel."""
        gate = self.provisioner.gate if self.provisioner is not None else None
        return Counter(gate.refused) if gate is not None else Counter()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a `with` block to a phase; the time of a block inside of it counts to that one alone."""
        outer = self._switch(name)
        try:
            yield
        finally:
            self._switch(outer)

    def _switch(self, name: str | None) -> str | None:
        """Let another phase begin; returns the one that ends."""
        now, (ended, since) = time.monotonic(), self._present
        if ended is not None:
            self.phases[ended] += now - since
        self._present = (name, now)
        return ended

    def _spend(self, seconds: float) -> None:
        self._spent += seconds

    def _left(self) -> float:
        return self.limits.notebook_seconds - self._spent

    def _out_of_time(self) -> str:
        return f"the notebook had used all of its {self.limits.notebook_seconds:g} s"

    def _note(self, line: str) -> None:
        self.log_lines.append(line)
        self.log.info(line)

    # --- one conversation with the kernel ----------------------------------------------------------------------------

    async def _run(
        self, code: str, *, seconds: float, sink: _Sink | None, silent: bool = False, interrupt: bool = True
    ) -> Outcome:
        """Send code, take what comes back for it, and nothing else, until its end or a limit."""
        assert self.kc is not None
        outcome = Outcome("ok")
        if not self.kernel_alive:
            return self._dead(outcome)
        request = self.kc.execute(code, silent=silent, store_history=not silent, allow_stdin=False, stop_on_error=False)
        listener = _Listener(self.kc, request, sink, outcome)
        refused = self._refused()
        deadline = time.monotonic() + seconds
        stopped: tuple[str, str] | None = None
        while True:
            alive = self.kernel_alive
            await listener.listen(0.05 if alive else 0)
            if listener.replied:
                break
            if not alive:
                await listener.listen(0.05)  # what was on its way
                if listener.replied:
                    break
                if stopped is None and self._refused() > refused:
                    large = in_words(self.limits.message_bytes)
                    stopped = (
                        "OutputLimitReached",
                        f"This cell sent outputs of more than {large}, which were refused.",
                    )
                self._finish(sink, outcome, stopped)
                return self._dead(outcome)
            now = time.monotonic()
            if self._refused()["shell"] > refused["shell"]:
                listener.flood = "sent a reply without end"
            elif self._refused()["iopub"] > refused["iopub"] + 1:
                listener.flood = f"sent outputs of more than {in_words(self.limits.message_bytes)} each"
            if stopped is None and listener.flood:
                stopped = ("OutputLimitReached", f"This cell was stopped, for it {listener.flood}.")
            elif stopped is None and now > deadline:
                stopped = (
                    "TimeLimitReached",
                    f"This cell was stopped after {seconds:.3g} s: it took too long.",
                )
            elif stopped is not None and now > deadline:
                assert self.process is not None
                self.process.kill()
                ended = f"{stopped[1]} It did not end when it was interrupted, so its kernel was ended."
                self._finish(sink, outcome, (stopped[0], ended))
                await asyncio.to_thread(self.process.wait)
                outcome.state = "dead"
                return outcome
            if stopped is not None and not listener.interrupted:
                listener.interrupted = True
                deadline = now + (self.limits.grace_seconds if interrupt else 0)
                if interrupt and self.process is not None:
                    self.process.interrupt()
                elif not interrupt:
                    outcome.state = "stopped"
                    return outcome
        await listener.listen_until_idle(_IDLE_SECONDS)
        if sink is not None and self._refused()["iopub"] > refused["iopub"]:
            sink.cut = sink.cut or (
                f"An output of this cell was refused, for it is larger than {in_words(self.limits.message_bytes)}."
            )
        self._finish(sink, outcome, stopped)
        outcome.state = "stopped" if stopped else ("error" if outcome.reply.get("status") != "ok" else "ok")
        return outcome

    def _finish(self, sink: _Sink | None, outcome: Outcome, stopped: tuple[str, str] | None) -> None:
        if sink is not None:
            sink.close(outcome.reply)
            if sink.cut and stopped is None:
                outcome.notes.append(("OutputLimitReached", sink.cut))
            if sink.out_of_memory:
                most = in_words(self.limits.memory_bytes)
                text = f"This cell needed more memory than there is for it: a process may have {most}."
                outcome.notes.append(("MemoryLimitReached", text))
        if stopped is not None:
            outcome.notes.append(stopped)

    def _raise_if_lost(self) -> None:
        if self.process is not None and self.process.lost:
            raise KernelLost("the process that had forked this notebook's kernel ended")

    def _dead(self, outcome: Outcome) -> Outcome:
        outcome.state = "dead"
        process = self.process
        self._raise_if_lost()
        reason = process.reason if process is not None else None
        status = process.poll() if process is not None else None
        if reason:
            outcome.notes.append(("LimitReached", f"The kernel was ended here, for the notebook {reason}."))
        else:
            outcome.notes.append(("KernelDied", f"The kernel ended here: {_exit_in_words(status)}."))
        return outcome


def is_test_cell(cell: NotebookNode) -> bool:
    """Whether the judge marks this cell: graded code that is not a solution."""
    about = cell.metadata.get("nbgrader")
    if cell.cell_type != "code" or not isinstance(about, dict):
        return False
    return bool(about.get("grade")) and not about.get("solution") and not about.get("task")


def hidden_folders() -> list[Path]:
    """What a student's code must not see even where it lies inside of something visible: the course folder."""
    try:
        return [find_root().resolve()]
    except CourseError:
        return []


def _find_data() -> Path | None:
    from helpers import data

    try:
        return data.find_data()
    except data.DataError as error:
        raise CourseError(str(error)) from None


def _exit_in_words(status: int | None) -> str:
    number = -status if status is not None and status < 0 else (status or 0) - 128
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE):
        return f"it crashed ({signal.Signals(number).name})"
    if number == signal.SIGXCPU:
        return "it used more processor time than it may"
    if number == signal.SIGKILL:
        return "it was killed, by its own code or because memory ran out"
    if 0 < number < 65:
        return f"signal {number} ended it"
    return "the code ended it, for instance with exit() or os._exit()"


def _add_note(cell: NotebookNode, name: str, text: str) -> None:
    cell["outputs"] = [
        *cell.get("outputs", []),
        new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"]),
    ]


class _Listener:
    """Reads the kernel's messages and keeps what belongs to one request.

    Messages are taken raw from the sockets: a message that cannot be read is dropped and counted, and costs no more.
    """

    def __init__(self, kc: Any, request: str, sink: _Sink | None, outcome: Outcome) -> None:
        self.kc, self.request, self.sink, self.outcome = kc, request, sink, outcome
        self.shell = zmq.Socket.shadow(kc.shell_channel.socket.underlying)
        self.iopub = zmq.Socket.shadow(kc.iopub_channel.socket.underlying)
        self.poller = zmq.asyncio.Poller()
        self.poller.register(kc.shell_channel.socket, zmq.POLLIN)
        self.poller.register(kc.iopub_channel.socket, zmq.POLLIN)
        self.replied = self.idle = self.interrupted = False
        self.flood = ""
        self.messages = self.received = 0

    async def listen(self, seconds: float) -> None:
        """Take what is there, or wait for it up to some time."""
        if await self.poller.poll(seconds * 1000):
            # The reply is read last, so that outputs sent before it are there.
            for socket in (self.iopub, self.shell):
                for _ in range(100):
                    try:
                        frames = socket.recv_multipart(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    self._take(frames, socket is self.shell)
            await asyncio.sleep(0)

    async def listen_until_idle(self, seconds: float) -> None:
        """After the reply: take outputs until the kernel says that it is done with this request."""
        deadline = time.monotonic() + seconds
        while not self.idle and time.monotonic() < deadline:
            await self.listen(0.05)

    def _take(self, frames: list[bytes], from_shell: bool) -> None:
        size = sum(map(len, frames))
        self.messages += 1
        self.received += size
        if self.sink is not None:
            if self.received > _FLOOD * self.sink.most:
                self.flood = f"sent more than {in_words(_FLOOD * self.sink.most)} of output"
            elif self.messages > _MESSAGES:
                self.flood = f"sent more than {_MESSAGES} messages"
        elif self.messages > _MESSAGES:
            self.flood = "sent more messages than can be read"
        try:
            _, parts = self.kc.session.feed_identities(frames)
            message = self.kc.session.deserialize(parts)
            parent = message["parent_header"].get("msg_id")
            kind, content = message["header"]["msg_type"], message["content"]
        except (Exception, RecursionError):
            return  # unsigned, not JSON, of a wrong shape: nobody's output
        if parent != self.request or not isinstance(kind, str) or not isinstance(content, dict):
            return
        if from_shell:
            if kind == "execute_reply" and content.get("status") in ("ok", "error", "aborted", "abort"):
                self._reply(content)
        elif kind == "status":
            state = content.get("execution_state")
            self.idle = self.idle or state == "idle"
        elif kind == "execute_input":
            self.outcome.began = True
        elif self.sink is not None:
            self.sink.take(kind, content)

    def _reply(self, content: dict[str, Any]) -> None:
        self.replied = self.outcome.began = True
        reply = {"status": "ok" if content["status"] == "ok" else "error"}
        reply |= {key: _text(content.get(key))[:2000] for key in ("ename", "evalue") if content.get(key) is not None}
        count = content.get("execution_count")
        if isinstance(count, int) and 0 <= count < 1_000_000:
            reply["execution_count"] = int(count)
        self.outcome.reply = reply


class _Sink:
    """Puts the outputs of one cell into it, well-formed and not more than its bound, as they arrive."""

    def __init__(self, cell: NotebookNode, most: int) -> None:
        self.cell, self.most = cell, most
        self.outputs: list[NotebookNode] = []
        self.parts: list[list[str]] = []  # of the stream outputs, joined at the end
        self.kept = 0
        self.cut = ""
        self.clear_next = False
        self.displays: dict[str, list[NotebookNode]] = {}

    def take(self, kind: str, content: dict[str, Any]) -> None:
        """Take one output message; what is not an output, or is malformed, is left alone."""
        if kind == "stream":
            self._stream(content)
        elif kind in ("display_data", "execute_result"):
            self._display(kind, content)
        elif kind == "update_display_data":
            self._update(content)
        elif kind == "error":
            lines = content.get("traceback")
            lines = [_text(line) for line in lines[:200]] if isinstance(lines, list) else []
            out = new_output(
                "error", ename=_text(content.get("ename"))[:200], evalue=_text(content.get("evalue")), traceback=lines
            )
            self._append(out, len(out.evalue) + sum(map(len, lines)))
        elif kind == "clear_output":
            if content.get("wait"):
                self.clear_next = True
            else:
                self._clear()

    def close(self, reply: dict[str, Any]) -> None:
        """Write the outputs into the cell."""
        for out, parts in zip(self.outputs, self.parts, strict=True):
            if parts:
                out["text"] = "".join(parts)
        self.cell["outputs"] = self.outputs
        self.cell["execution_count"] = reply.get("execution_count")
        if reply.get("ename") == "StdinNotImplementedError":
            text = "input() cannot be answered here, for nobody sits at the keyboard while a notebook is graded."
            _add_note(self.cell, "NoInput", text)

    @property
    def out_of_memory(self) -> bool:
        """Whether the last thing that the cell, or its kernel, said is Python's error about memory."""
        last = self.outputs[-1] if self.outputs else {}
        said = last.get("ename") or last.get("text", "").rstrip().rpartition("\n")[2].partition(":")[0]
        return bool(said == "MemoryError")

    def _clear(self) -> None:
        self.outputs, self.parts, self.displays, self.kept, self.clear_next = [], [], {}, 0, False

    def _room(self, size: int) -> bool:
        if self.clear_next:
            self._clear()
        if self.kept + size > self.most:
            self.cut = self.cut or f"The output of this cell was cut here: it may leave {in_words(self.most)}."
            return False
        self.kept += size
        return True

    def _append(self, out: NotebookNode, size: int) -> None:
        if not self.cut and self._room(size + _OUTPUT_OVERHEAD):
            self.outputs.append(out)
            self.parts.append([])

    def _stream(self, content: dict[str, Any]) -> None:
        name, text = content.get("name"), content.get("text")
        if name not in ("stdout", "stderr") or not isinstance(text, str) or self.cut:
            return
        if self.clear_next:
            self._clear()
        text = _text(text)
        encoded = text.encode()
        joins = bool(self.outputs) and self.outputs[-1].output_type == "stream" and self.outputs[-1].name == name
        room = self.most - self.kept - (0 if joins else _OUTPUT_OVERHEAD)
        if len(encoded) > room:
            text = encoded[: max(room, 0)].decode("utf-8", "ignore")
        if not joins:
            self._append(new_output("stream", name=name, text=""), 0)
        if not self.cut and text:
            self.kept += len(text.encode())
            self.parts[-1].append(text)
        if len(encoded) > room:
            self._room(self.most + 1)

    def _display(self, kind: str, content: dict[str, Any]) -> None:
        bundle = _bundle(content)
        if bundle is None:
            return
        data, metadata, size = bundle
        extra = {"execution_count": None} if kind == "execute_result" else {}
        if kind == "execute_result" and isinstance(content.get("execution_count"), int):
            extra["execution_count"] = abs(int(content["execution_count"])) % 1_000_000
        out = new_output(kind, data=data, metadata=metadata, **extra)
        self._append(out, size)
        name = _display_id(content)
        if name and self.outputs and self.outputs[-1] is out:
            self.displays.setdefault(name, []).append(out)

    def _update(self, content: dict[str, Any]) -> None:
        # Only outputs of this run of this cell: `displays` knows no others.
        name, bundle = _display_id(content), _bundle(content)
        if name in self.displays and bundle is not None and not self.cut and self._room(bundle[2]):
            for out in self.displays[name]:
                out["data"], out["metadata"] = bundle[0], bundle[1]


def _text(value: object) -> str:
    """Text that can be written to a file: no lone surrogates."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else ""


def _display_id(content: dict[str, Any]) -> str | None:
    transient = content.get("transient")
    name = transient.get("display_id") if isinstance(transient, dict) else None
    return name if isinstance(name, str) and len(name) < 200 else None


def _bundle(content: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], int] | None:
    """Data, metadata and size of an output that has several forms; None if it is not one."""
    data, metadata = content.get("data"), content.get("metadata")
    if not isinstance(data, dict):
        return None
    kept: dict[str, Any] = {}
    for kind, value in list(data.items())[:20]:
        if len(kind) > 100 or "/" not in kind:
            continue
        if isinstance(value, str):
            kept[_text(kind)] = _text(value)
        elif kind.endswith("json") and _is_plain_json(value):
            kept[_text(kind)] = value
    if not kept:
        return None
    about = metadata if isinstance(metadata, dict) and _is_plain_json(metadata) else {}
    return kept, about, len(json.dumps([kept, about]))


def _is_plain_json(value: object, depth: int = 0) -> bool:
    """Whether a value can be written into a notebook: no NaN, no lone surrogates, not nested without end."""
    if depth > _DEPTH:
        return False
    if isinstance(value, dict):
        return all(_text(k) == k and _is_plain_json(v, depth + 1) for k, v in value.items())
    if isinstance(value, list):
        return all(_is_plain_json(v, depth + 1) for v in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return _text(value) == value if isinstance(value, str) else value is None or isinstance(value, (bool, int))


__all__ = ["HiddenTimeout", "Outcome", "StudentClient", "hidden_folders", "is_test_cell"]
