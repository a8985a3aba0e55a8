"""Attempts to break out of the sandbox, made inside of it, and what came of each; `autograder doctor` shows them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autograder.course import find_root
from autograder.errors import CourseError
from autograder.limits import MIB, Limits
from autograder.sandbox import Sandbox, require_sandbox, run_folder
from autograder.watch import SandboxProcess, Watched
from autograder.zygote import Zygote


class Attempt(NamedTuple):
    """One attempt to break out.

    Attributes:
        name: What was tried.
        held: Whether the sandbox held.
        detail: What stood in the way, or what was reached.
    """

    name: str
    held: bool
    detail: str


#: Small, so that reaching each of them is quick.
SMALL = Limits(
    cpu_seconds=60,
    memory_bytes=256 * MIB,
    processes=48,
    file_bytes=8 * MIB,
    work_bytes=16 * MIB,
    tmp_bytes=16 * MIB,
    shm_bytes=16 * MIB,
    files=500,
    open_files=64,
)


#: Runs a program in a sandbox with a policy.
Start = Callable[[Sandbox, Sequence[str]], Watched]


def attempts() -> list[Attempt]:
    """Make all attempts, from a process that is started anew in a sandbox and from one that a zygote has forked.

    Raises:
        SandboxUnavailable: There is no sandbox on this machine.
    """
    require_sandbox()
    found: list[Attempt] = []
    folder = run_folder()
    hidden = tuple(filter(None, [_root()]))
    try:
        with _bait(folder) as bait, _secret_variable(), Zygote(Sandbox(limits=SMALL, hidden=hidden), ()) as zygote:

            def fork(policy: Sandbox, argv: Sequence[str]) -> Watched:
                return zygote.program(argv, policy)

            ways: list[tuple[Start, str]] = [(SandboxProcess, "{}")]
            if not zygote.problem():  # else no kernel is forked in grading either
                ways.append((fork, "{}, from a forked kernel"))
            for start, name in ways:
                made = [*_from_inside(folder, bait, hidden, start), _outlive(hidden, start), *_exceed(hidden, start)]
                found += [attempt._replace(name=name.format(attempt.name)) for attempt in made]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


@contextlib.contextmanager
def _secret_variable() -> Iterator[None]:
    os.environ["AUTOGRADER_SECRET"] = "secret"
    try:
        yield
    finally:
        os.environ.pop("AUTOGRADER_SECRET", None)


@contextlib.contextmanager
def _bait(folder: Path) -> Iterator[dict[str, object]]:
    """Things outside of the sandbox that an attempt would reach if it could."""
    secret = folder / "secret"
    secret.write_text("secret")
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(folder / "socket"))
    unix.listen()
    abstract = socket.socket(socket.AF_UNIX)
    name = f"\0autograder-{secrets.token_hex(8)}"
    abstract.bind(name)
    abstract.listen()
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    try:
        root: Path | None = find_root()
    except CourseError:
        root = None
    course = [str(root / name) for name in ("source", "gradebook.db", "submitted")] if root else []
    try:
        yield {
            "secret": str(secret),
            "home": str(Path.home()),
            "course": course,
            "unix": str(folder / "socket"),
            "abstract": name,
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "pid": os.getpid(),
            "prefix": sys.prefix,
        }
    finally:
        for each in (unix, abstract, tcp, udp):
            each.close()


def _from_inside(folder: Path, bait: dict[str, object], hidden: tuple[Path, ...], start: Start) -> list[Attempt]:
    outbox = folder / "attempts.json"
    outbox.write_text("")
    outbox.chmod(0o666)
    policy = Sandbox(limits=SMALL, outbox=outbox, hidden=hidden)
    with start(policy, [sys.executable, f"{policy.inside}/attempts.py", json.dumps(bait)]) as process:
        _wait(lambda: process.poll() is not None, 120)
        said = process.reason or process.complaint()
    try:
        return [Attempt(str(name), held is True, str(detail)) for name, held, detail in json.loads(outbox.read_text())]
    except ValueError:
        return [Attempt("run inside the sandbox", False, f"nothing came back: {said[-300:]}")]


def _root() -> Path | None:
    try:
        return find_root().resolve()
    except CourseError:
        return None


def _outlive(hidden: tuple[Path, ...], start: Start) -> Attempt:
    """Start a daemon that hides in a session of its own, end the sandbox, and look for it."""
    code = (
        "import os, time, signal\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "        if os.fork() == 0: time.sleep(600)\n"
        "        os._exit(0)\n"
        "time.sleep(600)"
    )
    with start(Sandbox(limits=SMALL, hidden=hidden), [sys.executable, "-I", "-S", "-c", code]) as process:
        _wait(lambda: len(process.members()) >= 4, 20)
        members = process.members()
    left = [pid for pid in members if Path(f"/proc/{pid}").exists()]
    if len(members) < 4:
        return Attempt("outlive the notebook", False, "the daemons could not be started, so nothing was proved")
    return Attempt(
        "outlive the notebook", not left, f"{len(left)} left" if left else f"all {len(members)} processes ended"
    )


_EXCESSES = {
    "use more memory than allowed": (
        "import os, time, mmap\n"
        "for _ in range(4):\n"
        "    if os.fork() == 0:\n"
        "        m = mmap.mmap(-1, 200 << 20)\n"
        "        for i in range(0, 200 << 20, 4096): m[i] = 1\n"
        "        time.sleep(60)\n"
        "time.sleep(60)",
        "memory",
    ),
    "make more files than allowed": (
        "import time\n"
        "try:\n"
        "    for i in range(3000): open(f'/work/f{i}', 'w').close()\n"
        "except OSError: pass\n"  # a forked kernel's folder has a bound of its own
        "time.sleep(60)",
        "files",
    ),
}


def _exceed(hidden: tuple[Path, ...], start: Start) -> list[Attempt]:
    """Go beyond the limits that are watched from outside."""
    found = []
    for name, (code, word) in _EXCESSES.items():
        with start(Sandbox(limits=SMALL, hidden=hidden), [sys.executable, "-I", "-S", "-c", code]) as process:
            _wait(lambda process=process: process.poll() is not None, 30)
            reason = process.reason or ""
        found.append(Attempt(name, word in reason, (reason and f"killed, for it {reason}") or "it was not stopped"))
    return found


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)


__all__ = ["Attempt", "attempts"]
