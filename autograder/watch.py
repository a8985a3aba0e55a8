"""One sandboxed process under watch: limits are kept from outside, and its end is the end of all that it started."""

from __future__ import annotations

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


class SandboxProcess:
    """A process in a sandbox, and everything that it starts. Use it as a context manager, or call `close`.

    Args:
        sandbox: The policy.
        argv: The program, as the sandbox sees it.
        pass_fds: Descriptors that it inherits under their numbers.
        stdin: What it reads from its standard input.

    Attributes:
        reason: Which limit it was killed for, as the end of the sentence 'your notebook ...'; None otherwise.

    Raises:
        SandboxUnavailable: There is no sandbox on this machine.
    """

    def __init__(
        self, sandbox: Sandbox, argv: Sequence[str], *, pass_fds: Sequence[int] = (), stdin: bytes = b""
    ) -> None:
        self.sandbox = sandbox
        self.reason: str | None = None
        self._tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_BYTES // 256)
        self._first: int | None = None  # descriptor of the first process of the PID namespace
        self._first_pid: int | None = None
        self._lock = threading.RLock()
        # Without a namespace a mark in the environment tells what belongs to this process.
        self._mark = f"AUTOGRADER_RUN={secrets.token_hex(8)}"
        command = sandbox.command(argv)
        if not sandbox.isolated:
            command.insert(2, self._mark)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,
            cwd="/",
        )
        self.pid = self.process.pid
        assert self.process.stdin is not None and self.process.stderr is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(stdin)
            self.process.stdin.close()
        self._drainer = threading.Thread(target=self._drain, name="sandbox-stderr", daemon=True)
        self._watcher = threading.Thread(target=self._watch, name="sandbox-watch", daemon=True)
        self._drainer.start()
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def poll(self) -> int | None:
        """None while it runs, else its exit status; 128 + n, or -n, for signal n."""
        return self.process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        return self.process.wait(timeout)

    def complaint(self) -> str:
        """The end of what it wrote to its standard error, where it says why it could not start."""
        return b"".join(self._tail).decode("utf-8", "replace").strip()

    def interrupt(self) -> None:
        """Send SIGINT to the program inside, not to what it started."""
        with contextlib.suppress(OSError):
            program = self._program()
            if program is not None:
                handle = os.pidfd_open(program)
                try:
                    # Looked at again now that the number cannot pass to another process any more.
                    if not self.sandbox.isolated or _inner_pid(program) == 1:
                        signal.pidfd_send_signal(handle, signal.SIGINT)
                finally:
                    os.close(handle)

    def kill(self, reason: str | None = None) -> None:
        """Kill it with everything that it started."""
        with self._lock:
            if reason and self.reason is None and self.process.poll() is None:
                self.reason = reason
            if self.sandbox.isolated:
                self._find_first()
                if self._first is not None:
                    # The kernel takes the whole namespace down with its first process. Bubblewrap outside buries it.
                    with contextlib.suppress(OSError):
                        signal.pidfd_send_signal(self._first, signal.SIGKILL)
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
        with self._lock:
            if self._first is not None:
                # Readable when the first process is gone, and it goes last.
                select.select([self._first], [], [], 10)
                os.close(self._first)
                self._first = None
        if not self.sandbox.isolated:
            self._kill_marked()
        self._drainer.join(timeout=10)
        if threading.current_thread() is not self._watcher:
            self._watcher.join(timeout=10)
        assert self.process.stderr is not None
        if not self._drainer.is_alive():
            self.process.stderr.close()

    def members(self) -> list[int]:
        """Process ids, outside of the sandbox, of everything that runs in it."""
        if self.sandbox.isolated:
            self._find_first()
            return [] if self._first_pid is None else [self._first_pid, *descendants(self._first_pid)]
        return [self.pid, *descendants(self.pid)] if self.process.poll() is None else []

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

    def _program(self) -> int | None:
        if not self.sandbox.isolated:
            return self.pid
        self._find_first()
        return self._first_pid

    def _find_first(self) -> None:
        with self._lock:
            if self._first_pid is not None or self.process.poll() is not None:
                return
            for pid in descendants(self.pid):
                if _inner_pid(pid) == 1:
                    with contextlib.suppress(OSError):
                        handle = os.pidfd_open(pid)
                        if _inner_pid(pid) == 1:
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

    def _watch(self) -> None:
        while self.process.poll() is None:
            try:
                if reason := self._exceeded(self.sandbox.limits):
                    self.kill(reason)
            except (OSError, ValueError, IndexError):
                pass  # a process went while it was looked at
            time.sleep(TICK)

    def _exceeded(self, limits: Limits) -> str | None:
        usage = self.usage()
        if usage.processes > limits.processes + 8:
            return f"started more than {limits.processes} processes and threads"
        if usage.cpu_seconds > limits.cpu_seconds:
            return f"used more than {limits.cpu_seconds:g} s of processor time"
        if usage.resident_bytes > limits.memory_bytes and self._proportional_bytes() > limits.memory_bytes:
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

    def _proportional_bytes(self) -> int:
        total = 0
        for pid in self.members():
            try:
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("Pss:"))
            except (OSError, StopIteration):
                fields = _stat(pid)
                total += int(fields[21]) * _PAGE if fields else 0
        return total


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


def _inner_pid(pid: int) -> int | None:
    """The process id that `pid` has in its own PID namespace; None if that is ours, or it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return int(numbers[-1]) if len(numbers) > 1 else None
    return None
