"""The grader's side of the zygote: a sandboxed process that has imported TensorFlow and forks a kernel in milliseconds.

`Zygote` owns one. `Zygote.kernel` is what the provisioner calls; what it returns is watched and ended as any sandboxed
process is. Judges come from a zygote of their own (`Zygote.judge`). The workers of one process share theirs
(`Zygotes`). `inside/zygote.py` is the other side, and `docs/explanation/sandbox.md` explains why nothing of one
submission reaches the next.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from autograder.inside.zygote import FOLDERS, MESSAGE
from autograder.limits import MIB
from autograder.sandbox import LAUNCHER, Sandbox, require_sandbox
from autograder.watch import SandboxProcess, Watched, inner_pid, resident_bytes

log = logging.getLogger(__name__)

#: What a kernel imports while it starts and runs its first cells.
KERNEL_MODULES = (
    "IPython.core.completerlib", "IPython.core.debugger", "IPython.core.debugger_backport", "IPython.core.logger",
    "IPython.core.oinspect", "IPython.extensions.storemagic", "IPython.utils.wildcard", "email.parser",
    "encodings.idna", "faulthandler", "http.client", "mimetypes", "pdb", "pydoc", "rich._emoji_codes", "sqlite3",
    "tornado.gen", "tornado.locks", "tornado.platform.asyncio", "tornado.queues",
)  # fmt: skip
#: What the notebooks of the course import, also late; one that is missing here is left out. Not the backend that shows
#: figures in a notebook, for it looks for the kernel while it is imported.
MODULES = (
    "tensorflow", "keras", "numpy", "pandas", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "PIL.Image",
    "sklearn.metrics", "keras_tuner", "helpers", "helpers.checks", "helpers.models", "helpers.plots", "helpers.data",
    "PIL.BmpImagePlugin", "PIL.GifImagePlugin", "PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.PpmImagePlugin",
    "tensorflow.python.data.ops.cache_op", "tensorflow.python.data.ops.concatenate_op",
    "tensorflow.python.data.ops.flat_map_op", "tensorflow.python.data.ops.from_tensors_op",
    "tensorflow.python.data.ops.range_op", "tensorflow.python.data.ops.take_op",
    "tensorflow.python.data.ops.zip_op",
)  # fmt: skip
_NEEDS_IMPORTS = re.compile(r"\b(tensorflow|keras|helpers)\b")
_START_SECONDS = 120.0
_BIRTH_SECONDS = 60.0
_CREDENTIALS = struct.Struct("iII")


def imports_for(sources: Iterable[str]) -> tuple[str, ...]:
    """What a zygote should import at its start for these cells of students'; a wrong guess costs seconds, no more."""
    return MODULES if any(_NEEDS_IMPORTS.search(source) for source in sources) else ()


class KernelLost(Exception):
    """A kernel ended because the grader's own zygote did: the grader's failure, and never the student's."""


class ForkedProcess(Watched):
    """A process that a zygote forked, in a sandbox of its own, under watch of its limits.

    Args:
        sandbox: The policy that it lives under.
        control: The socket to the zygote that it comes from.
        watched: Whether its limits are kept from outside.
    """

    def __init__(self, sandbox: Sandbox, control: socket.socket, *, watched: bool = True) -> None:
        super().__init__(sandbox)
        self._watched = watched
        self._cord, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._cord.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._status: int | None = None
        self._lost = False
        self._complaint = ""
        self._reading = threading.Lock()
        limits = sandbox.limits
        sizes = (limits.tmp_bytes, limits.work_bytes, limits.shm_bytes)
        request = {
            "confine": sandbox.confinement(),
            # The watch comes first; this holds between two of its looks.
            "bounds": {folder: [size, 4 * limits.files] for folder, size in zip(FOLDERS, sizes, strict=True)},
        }
        with inner:
            try:
                socket.send_fds(control, [json.dumps(request).encode()], [inner.fileno()])
            except OSError as error:
                self._cord.close()
                raise KernelLost(f"the zygote is gone ({error.strerror})") from None

    def await_birth(self) -> None:
        """Wait until it is there, in its sandbox.

        Raises:
            KernelLost: The zygote went first.
            OSError: It could not make its sandbox.
        """
        if self._first is not None:
            return
        pid = self._hear("born")
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            if inner_pid(pid) == 1:
                self._first, self._first_pid = handle, pid
            else:
                os.close(handle)
        if self._first is None:
            raise KernelLost("a kernel was gone before it began")

    def begin(self, work: Mapping[str, Any], descriptors: Mapping[str, int]) -> None:
        """Let it run what it is for.

        Raises:
            KernelLost: The zygote went first.
            OSError: It could not make its sandbox, or not take what was handed in.
        """
        self.await_birth()
        message = json.dumps({**work, "descriptors": list(descriptors)}, default=str).encode()
        try:
            socket.send_fds(self._cord, [message], list(descriptors.values()))
        except OSError as error:
            raise KernelLost(f"a kernel was gone before it began ({error.strerror})") from None
        self._hear("begun")
        if self._watched:
            self._watcher.start()

    def _hear(self, word: str) -> int:
        """Wait for one word of its on the cord; returns the process id, out here, of who said it."""
        self._cord.settimeout(_BIRTH_SECONDS)
        try:
            text, ancillary, _, _ = self._cord.recvmsg(MESSAGE, socket.CMSG_SPACE(_CREDENTIALS.size))
        except OSError as error:
            raise KernelLost(f"the zygote does not answer ({error})") from None
        said = json.loads(text) if text else {}
        if said.get(word) is not True:
            if "error" in said:
                raise OSError(said["error"])
            raise KernelLost(f"the zygote did not bear a kernel ({said or 'it is gone'})")
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                return int(_CREDENTIALS.unpack(data[: _CREDENTIALS.size])[0])
        raise KernelLost("the zygote did not say who speaks")

    @property
    def running(self) -> bool:
        """Whether it is there and nobody has closed it."""
        return not self._closing.is_set() and self.poll() is None

    @property
    def lost(self) -> bool:
        """Whether it ended because the zygote did."""
        return self._lost

    def complaint(self) -> str:
        """Why it could not start, in its own words."""
        return self._complaint

    def poll(self) -> int | None:
        """None while it runs, else its exit status; -n for signal n."""
        with self._reading:
            if self._status is None and self._first is not None and select.select([self._first], [], [], 0)[0]:
                self._read_status()
            return self._status

    def _read_status(self) -> None:
        # The zygote tells it as soon as it sees it, or is gone itself.
        self._cord.settimeout(10)
        said: dict[str, Any] = {}
        with contextlib.suppress(OSError):
            while text := self._cord.recv(MESSAGE):
                said |= json.loads(text)
                if "status" in said:
                    break
        self._complaint = str(said.get("error", ""))
        self._lost = "status" not in said
        self._status = int(said.get("status", -9))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        if self._first is not None and not select.select([self._first], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("kernel", timeout or 0.0)
        status = self.poll()
        return -9 if status is None else status

    def kill(self, reason: str | None = None) -> None:
        """Kill it with everything that it started."""
        with self._lock:
            if self.poll() is None:
                self.reason = self.reason or reason
                self._kill_first()

    def close(self) -> None:
        """Kill it and wait until nothing of it is left. May be called twice."""
        self.kill()
        self._unwatch()
        if self._first is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(10)
        self._bury_first()
        self._cord.close()  # one that has not begun ends by this

    def _program(self) -> int | None:
        return self._first_pid if self._first is not None and self.poll() is None else None


class ForkedJudge:
    """A judge process that a zygote forked, with the face of a `subprocess.Popen`, as far as `judge.Judge` looks at it.

    Args:
        begin: Forks it, given the descriptors of its ends of the pipes, by name.
    """

    def __init__(self, begin: Callable[[Mapping[str, int]], ForkedProcess]) -> None:
        questions, to_judge = os.pipe()
        from_judge, answers = os.pipe()
        try:
            self.process = begin({"questions": questions, "answers": answers})
        except BaseException:
            os.close(to_judge)
            os.close(from_judge)
            raise
        finally:
            os.close(questions)
            os.close(answers)
        self.stdin, self.stdout = os.fdopen(to_judge, "wb", 0), os.fdopen(from_judge, "rb", 0)
        self.pid = self.process._program()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        return self.process.wait(timeout)

    def kill(self) -> None:
        """End it with all that it started, and wait until nothing of it is left."""
        self.process.close()


class Zygote:
    """One zygote in its sandbox. Use it as a context manager, or call `close`.

    It starts at once and imports; the first kernel waits until it is ready. One kernel is always forked ahead.

    Args:
        sandbox: The policy of its kernels. Limits, what is handed in and the outbox are told for each kernel.
        modules: What it imports, beside what every kernel needs.
        judges: Whether it forks judges, and no kernels.
        most_kernels: After so many it is to be replaced.
        most_growth: Bytes by which it may grow before it is to be replaced.

    Raises:
        SandboxUnavailable: There is no sandbox on this machine.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        modules: Sequence[str] = MODULES,
        *,
        judges: bool = False,
        most_kernels: int = 500,
        most_growth: int = 256 * MIB,
    ) -> None:
        require_sandbox()
        self.sandbox = replace(sandbox, files=None, outbox=None)
        self.modules = tuple(dict.fromkeys((*(() if judges else KERNEL_MODULES), *modules)))
        self.judges = judges
        self.most_kernels, self.most_growth = most_kernels, most_growth
        self.kernels = 0
        self._children: list[ForkedProcess] = []
        self._spare: ForkedProcess | None = None
        self._first_size = 0
        self._lock = threading.Lock()
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the process and return without waiting for it."""
        policy = replace(self.sandbox, zygote=True)
        argv = [
            sys.executable,
            f"{policy.inside}/zygote.py",
            json.dumps({"modules": self.modules, "judge": self.judges}),
        ]
        self._control, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with inner:
            self.process = LAUNCHER.submit(
                lambda: SandboxProcess(policy, argv, stdin=inner.fileno(), watched=False)
            ).result()
        self._ready = False
        self._began = time.monotonic()

    @property
    def pid(self) -> int | None:
        """Its process id, outside of its sandbox."""
        return self.process._program()

    @property
    def usable(self) -> bool:
        """Whether it lives and has not grown beyond its bounds."""
        if self.process.poll() is not None or self.kernels >= self.most_kernels:
            return False
        pid = self.pid if self._ready else None
        if self.process.first_ended():  # bubblewrap around it needs a moment more
            return False
        size = resident_bytes(pid) if pid is not None else 0
        self._first_size = self._first_size or size
        return size <= self._first_size + self.most_growth

    @property
    def busy(self) -> bool:
        """Whether anything that it forked still runs, but for the one that waits."""
        with self._lock:
            self._children = [child for child in self._children if child.running]
            return bool(self._children)

    def problem(self) -> str:
        """Why no kernel can be forked on this machine, or nothing if one can; waits until the zygote is ready.

        A system may let bubblewrap make namespaces and not what runs in it, as AppArmor does on some.

        Raises:
            KernelLost: The zygote is gone.
        """
        with self._lock:
            self._await_ready()
            if self._spare is None:
                self._spare = self._fork(self.sandbox)
            try:
                self._spare.await_birth()
            except OSError as error:
                self._spare.close()
                self._spare = None
                return str(error)
            except KernelLost:
                self._spare.close()
                self._spare = None
                raise
        return ""

    def suits(self, sandbox: Sandbox) -> bool:
        """Whether its kernels can live under a policy."""
        return replace(sandbox, files=None, outbox=None, limits=self.sandbox.limits) == self.sandbox

    def kernel(self, sandbox: Sandbox, request: Mapping[str, Any], sockets: Mapping[str, int]) -> ForkedProcess:
        """Fork an IPython kernel.

        Args:
            sandbox: Its policy: that of the zygote, with the limits, the files and the outbox of this kernel.
            request: What `inside/kernel.py` reads, without the sockets.
            sockets: Descriptors, by channel.

        Raises:
            KernelLost: The zygote is gone.
            OSError: The kernel could not be started; the message says why.
        """
        return self._launch({"program": None, "kernel": dict(request)}, sandbox, sockets)

    def judge(self, sandbox: Sandbox) -> ForkedJudge:
        """Fork a judge, which waits for its key.

        Args:
            sandbox: Its policy: that of the zygote, with the limits of this judge.

        Raises:
            KernelLost: The zygote is gone.
            OSError: The judge could not be started; the message says why.
        """
        return ForkedJudge(lambda pipes: self._launch({"program": None, "judge": True}, sandbox, pipes))

    def program(self, argv: Sequence[str], sandbox: Sandbox) -> ForkedProcess:
        """Run a program in the place of a kernel, to see what a kernel would."""
        return self._launch({"program": list(argv)}, sandbox, {})

    def _launch(self, work: Mapping[str, Any], sandbox: Sandbox, sockets: Mapping[str, int]) -> ForkedProcess:
        policy = replace(sandbox, files=None, outbox=None)
        if not self.suits(policy):
            raise ValueError("a kernel can differ from its zygote in its limits, its files and its outbox only")
        with self._lock, contextlib.ExitStack() as stack:
            self._await_ready()
            descriptors = dict(sockets)
            if sandbox.outbox is not None:
                descriptors["outbox"] = os.open(sandbox.outbox, os.O_RDWR | os.O_CLOEXEC)
                stack.callback(os.close, descriptors["outbox"])
            if sandbox.files is not None and any(sandbox.files.iterdir()):
                descriptors["files"] = stack.enter_context(_packed(sandbox.files)).fileno()
            child, self._spare = self._spare, None
            if child is not None and child.sandbox != policy:
                child.close()
                child = None
            child = child or self._fork(policy)
            try:
                child.begin(work, descriptors)
            except BaseException:
                child.close()
                raise
            self.kernels += 1
            self._children = [*(each for each in self._children if each.running), child]
            if self.kernels < self.most_kernels and not self.judges:  # a judge is wanted once, or after a failure
                with contextlib.suppress(KernelLost):
                    self._spare = self._fork(policy)
            return child

    def _fork(self, policy: Sandbox) -> ForkedProcess:
        return ForkedProcess(policy, self._control, watched=not self.judges)

    def _await_ready(self) -> None:
        if self._ready:
            return
        self._control.settimeout(max(1.0, _START_SECONDS - (time.monotonic() - self._began)))
        try:
            said = self._control.recv(MESSAGE)
        except OSError as error:
            raise KernelLost(f"the zygote did not come up: {error}") from None
        if not said:
            raise KernelLost(f"the zygote did not come up: {self.process.complaint()[-500:]}")
        self._control.settimeout(_BIRTH_SECONDS)
        self._ready = True

    def close(self) -> None:
        """End it and all that it has forked. May be called twice."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None
        self.process.close()
        self._control.close()


class Zygotes:
    """Zygotes that the workers of one process share, a fresh one wherever one died or has grown too large.

    One that is replaced ends as soon as nothing that it forked runs any more.
    """

    def __init__(self) -> None:
        self._now: dict[tuple[bool, tuple[str, ...]], Zygote] = {}
        self._replaced: list[Zygote] = []
        self._lock = threading.RLock()
        self._closed = self._none_here = False

    def get(self, sandbox: Sandbox, modules: Sequence[str], *, judges: bool = False) -> Zygote | None:
        """A zygote for a policy, which may still be importing; None if this machine lets none fork.

        Args:
            sandbox: The policy.
            modules: What it is to have imported.
            judges: Whether it is to fork judges.

        Raises:
            RuntimeError: All were closed.
            SandboxUnavailable: There is no sandbox on this machine.
        """
        with self._lock:
            if self._closed:
                raise RuntimeError("these zygotes were closed")
            if self._none_here:
                return None
            key = (judges, tuple(modules))
            zygote = self._now.get(key)
            if zygote is not None and not (zygote.suits(sandbox) and zygote.usable):
                self._replaced.append(self._now.pop(key))
                zygote = None
            for old in [each for each in self._replaced if not each.busy]:
                self._replaced.remove(old)
                old.close()
            if zygote is None:
                zygote = self._now[key] = Zygote(sandbox, modules, judges=judges)
            return zygote

    def ready(self, sandbox: Sandbox, modules: Sequence[str], *, judges: bool = False) -> Zygote | None:
        """As `get`, but it waits until the zygote can fork, and makes sure that it can.

        Raises:
            KernelLost: It did not come up.
        """
        zygote = self.get(sandbox, modules, judges=judges)
        if zygote is None or not (problem := zygote.problem()):
            return zygote
        with self._lock:
            first, self._none_here = not self._none_here, True
            self._close_all()
        if first:
            log.warning(
                "Kernels start anew for each notebook, which takes longer: none can be forked here (%s).", problem
            )
        return None

    def peek(self, modules: Sequence[str], *, judges: bool = False) -> Zygote | None:
        """The zygote of the moment, if there is one."""
        return self._now.get((judges, tuple(modules)))

    def close(self) -> None:
        """End all of them, and all that they forked. May be called twice, and from any thread."""
        self._closed = True
        with self._lock:
            self._close_all()

    def _close_all(self) -> None:
        zygotes = [*self._now.values(), *self._replaced]
        self._now.clear()
        self._replaced.clear()
        for zygote in zygotes:
            zygote.close()


def _packed(folder: Path) -> Any:
    """The content of a folder as an archive that has no name."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name)
    file.seek(0)
    return file


__all__ = ["MODULES", "ForkedJudge", "ForkedProcess", "KernelLost", "Zygote", "Zygotes", "imports_for"]
