"""One sandboxed process under watch: limits are kept from outside, and its end is the end of all that it started."""

from __future__ import annotations

import abc
import collections
import contextlib
import os
import secrets
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from autograder.limits import GIB, MIB, Limits
from autograder.sandbox import WORK, Sandbox

TICK = 0.2  # seconds between two looks
_PAGE = os.sysconf("SC_PAGE_SIZE")
_CLOCK = os.sysconf("SC_CLK_TCK")
_TAIL_BYTES = 4096


@dataclass(frozen=True)
class Usage:
    """What the processes of one sandbox use together at one moment.

    Attributes:
        processes: Processes and threads.
        resident_bytes: Memory, shared pages counted once for each process.
        cpu_seconds: Processor time.
    """

    processes: int
    resident_bytes: int
    cpu_seconds: float


class Watched(abc.ABC):
    """Processes in one PID namespace under watch: their limits are kept from outside.

    Args:
        sandbox: The policy that they live under.

    Attributes:
        reason: Which limit they were killed for, as the end of the sentence 'your notebook ...'; None otherwise.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.reason: str | None = None
        self._first: int | None = None  # descriptor of the first process of the PID namespace
        self._first_pid: int | None = None
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="sandbox-watch", daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abc.abstractmethod
    def poll(self) -> int | None:
        """None while it runs, else its exit status; 128 + n, or -n, for signal n."""

    @abc.abstractmethod
    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""

    @abc.abstractmethod
    def kill(self, reason: str | None = None) -> None:
        """Kill it with everything that it started."""

    @abc.abstractmethod
    def close(self) -> None:
        """Kill it and wait until nothing of it is left. May be called twice."""

    @property
    def lost(self) -> bool:
        """Whether it ended through a failure of the grader's, not of its own."""
        return False

    def complaint(self) -> str:
        """Why it could not start, in its own words."""
        return ""

    def interrupt(self) -> None:
        """Send SIGINT to the program inside, not to what it started."""
        with contextlib.suppress(OSError):
            program = self._program()
            if program is not None:
                handle = os.pidfd_open(program)
                try:
                    # Looked at again now that the number cannot pass to another process any more.
                    if not self.sandbox.isolated or inner_pid(program) == 1:
                        signal.pidfd_send_signal(handle, signal.SIGINT)
                finally:
                    os.close(handle)

    def members(self) -> list[int]:
        """Process ids, outside of the sandbox, of everything that runs in it."""
        first = self._program()
        return [] if first is None else [first, *descendants(first)]

    def usage(self) -> Usage:
        """What it uses at this moment."""
        threads, pages, ticks = 0, 0, 0
        for pid in self.members():
            fields = _stat(pid)
            if fields:
                threads += int(fields[17])
                pages += int(fields[21])
                ticks += sum(int(value) for value in fields[11:15])
        return Usage(threads, pages * _PAGE, ticks / _CLOCK)

    def proportional_bytes(self) -> int:
        """Memory of all of its processes, shared pages counted once."""
        return sum(map(proportional_bytes, self.members()))

    @abc.abstractmethod
    def _program(self) -> int | None:
        """The process id of the program inside, if it runs."""

    def _kill_first(self) -> bool:
        """Kill the first process of the namespace, if it is known; Linux takes the whole namespace down with it."""
        if self._first is None:
            return False
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)
        return True

    def first_ended(self) -> bool:
        """Whether the first process of the namespace is known, and has ended."""
        with self._lock:
            return self._first is not None and bool(select.select([self._first], [], [], 0)[0])

    def _bury_first(self) -> None:
        """Wait until the first process is gone, and it goes last."""
        with self._lock:
            if self._first is not None:
                select.select([self._first], [], [], 10)
                os.close(self._first)
                self._first = None

    def _watch(self) -> None:
        while not self._closing.wait(TICK) and self.poll() is None:
            try:
                if reason := self._exceeded(self.sandbox.limits):
                    self.kill(reason)
            except (OSError, ValueError, IndexError):
                pass  # a process went while it was looked at

    def _unwatch(self) -> None:
        self._closing.set()
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join(timeout=10)

    def _exceeded(self, limits: Limits) -> str | None:
        usage = self.usage()
        if usage.processes > limits.processes + 8:
            return f"started more than {limits.processes} processes and threads"
        if usage.cpu_seconds > limits.cpu_seconds:
            return f"used more than {limits.cpu_seconds:g} s of processor time"
        if usage.resident_bytes > limits.memory_bytes and self.proportional_bytes() > limits.memory_bytes:
            return f"used more than {in_words(limits.memory_bytes)} of memory"
        for path in (WORK, "/tmp", "/dev/shm") if self.sandbox.isolated else ():
            seen = f"/proc/{self._program()}/root{path}"
            # While the sandbox is being made, its root is still ours.
            if os.stat(seen).st_dev == (os.stat(path).st_dev if os.path.exists(path) else None):  # noqa: PTH110, PTH116
                continue
            status = os.statvfs(seen)
            if status.f_files - status.f_ffree > limits.files:
                return f"made more than {limits.files} files"
        return None


class SandboxProcess(Watched):
    """A process in a sandbox, and everything that it starts. Use it as a context manager, or call `close`.

    Args:
        sandbox: The policy.
        argv: The program, as the sandbox sees it.
        pass_fds: Descriptors that it inherits under their numbers.
        stdin: What it reads from its standard input; a descriptor or bytes.
        watched: Whether its limits are kept from outside; a zygote has none of its own.

    Raises:
        SandboxUnavailable: There is no sandbox on this machine.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        argv: Sequence[str],
        *,
        pass_fds: Sequence[int] = (),
        stdin: bytes | int = b"",
        watched: bool = True,
    ) -> None:
        super().__init__(sandbox)
        self._tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_BYTES // 256)
        # Without a namespace a mark in the environment tells what belongs to this process.
        self._mark = f"AUTOGRADER_RUN={secrets.token_hex(8)}"
        command = sandbox.command(argv)
        if not sandbox.isolated:
            command.insert(2, self._mark)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
            cwd="/",
        )
        self.pid = self.process.pid
        if isinstance(stdin, bytes):
            assert self.process.stdin is not None
            with contextlib.suppress(OSError):
                self.process.stdin.write(stdin)
                self.process.stdin.close()
        self._drainer = threading.Thread(target=self._drain, name="sandbox-stderr", daemon=True)
        self._drainer.start()
        if watched:
            self._watcher.start()

    def poll(self) -> int | None:
        """None while it runs, else its exit status; 128 + n, or -n, for signal n."""
        return self.process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        return self.process.wait(timeout)

    def complaint(self) -> str:
        """The end of what it wrote to its standard error, where it says why it could not start."""
        return b"".join(self._tail).decode("utf-8", "replace").strip()

    def kill(self, reason: str | None = None) -> None:
        """Kill it with everything that it started."""
        with self._lock:
            if reason and self.reason is None and self.process.poll() is None:
                self.reason = reason
            if self.sandbox.isolated:
                self._find_first()
                if self._kill_first():  # bubblewrap outside buries it
                    return
            else:
                self._kill_marked()
            with contextlib.suppress(OSError):
                self.process.kill()

    def close(self) -> None:
        """Kill it and wait until nothing of it is left. May be called twice."""
        self.kill()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._bury_first()
        if not self.sandbox.isolated:
            self._kill_marked()
        self._drainer.join(timeout=10)
        self._unwatch()
        assert self.process.stderr is not None
        if not self._drainer.is_alive():
            self.process.stderr.close()

    def _program(self) -> int | None:
        if not self.sandbox.isolated:
            return self.pid if self.process.poll() is None else None
        self._find_first()
        return self._first_pid

    def _find_first(self) -> None:
        with self._lock:
            if self._first_pid is not None or self.process.poll() is not None:
                return
            for pid in descendants(self.pid):
                if inner_pid(pid) == 1:
                    with contextlib.suppress(OSError):
                        handle = os.pidfd_open(pid)
                        if inner_pid(pid) == 1:
                            self._first, self._first_pid = handle, pid
                        else:
                            os.close(handle)
                    return

    def _kill_marked(self) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)
        mark = self._mark.encode()
        for _ in range(5):  # what forks while we look is found the next time
            found = False
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    with contextlib.suppress(OSError):
                        if mark in (entry / "environ").read_bytes().split(b"\0"):
                            found = True
                            os.kill(int(entry.name), signal.SIGKILL)
            if not found:
                return
            time.sleep(0.05)

    def _drain(self) -> None:
        assert self.process.stderr is not None
        descriptor = self.process.stderr.fileno()
        with contextlib.suppress(OSError, ValueError):
            while chunk := os.read(descriptor, 65536):
                chunk = chunk[-_TAIL_BYTES:]
                self._tail.extend(chunk[start : start + 256] for start in range(0, len(chunk), 256))


def proportional_bytes(pid: int) -> int:
    """Memory of one process, a page that `n` processes share counted as an `n`th."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return resident_bytes(pid)


def resident_bytes(pid: int) -> int:
    """Memory of one process, pages that it shares included; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[21]) * _PAGE if fields else 0


def in_words(size: int) -> str:
    """A number of bytes for people, for example `4 GB`."""
    for unit, name in ((GIB, "GB"), (MIB, "MB"), (1024, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def descendants(pid: int) -> list[int]:
    """Process ids of all children of `pid`, of theirs, and so on."""
    found, waiting = [], [pid]
    while waiting:
        for child in _children(waiting.pop()):
            found.append(child)
            waiting.append(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208  (looked at five times a second)
    except OSError:
        return found
    for task in tasks:
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                found += [int(word) for word in file.read().split()]
        except FileNotFoundError:
            if task == str(pid) and Path(f"/proc/{pid}").exists():
                return _children_by_parent(pid)
        except OSError:
            continue
    return found


def _children_by_parent(pid: int) -> list[int]:
    # For kernels built without the `children` file.
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [each for each in pids if (fields := _stat(each)) and int(fields[1]) == pid]


def _stat(pid: int) -> list[str] | None:
    """The fields of `/proc/PID/stat` after the name, which may hold anything."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def inner_pid(pid: int) -> int | None:
    """The process id that `pid` has in its own PID namespace; None if that is ours, or it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return int(numbers[-1]) if len(numbers) > 1 else None
    return None
