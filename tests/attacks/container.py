"""A throwaway machine around a grading run, so that an attack that breaks out harms nobody and leaves traces to count.

It's no part of the grader. It holds the run in a process namespace of its own, with everything read-only but the course
folder and a bounded temporary folder, under a limit of wall time, and reports what processes the run left behind. Plain
nbgrader, which protects nothing, gets a network namespace, an unprivileged user and limits on memory and processes
besides.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: The first of some users that nothing else runs as, so that its limit of processes counts only the attacked run.
USER = 61234

#: What a run needs of the Python environment and of this project.
PYTHON = (Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[2])


@dataclass(frozen=True)
class Outcome:
    """How a contained run ended.

    Attributes:
        status: Exit status of the command, or None when it was ended at the limit of wall time.
        output: What the command printed, at most the last 200,000 characters.
        left: Command lines of the processes that the run left behind.
        reached: What a listener of the container heard.
        files: Files that lie in the temporary folders at the end and are named `attack-was-here`.
    """

    status: int | None
    output: str
    left: list[str]
    reached: list[str]
    files: list[str]


def run(
    command: list[str],
    course: Path,
    home: Path,
    *,
    wall_seconds: int,
    environment: dict[str, str],
    defenceless: bool = False,
    port: int = 0,
    user: int = USER,
) -> Outcome:
    """Run `command` in the course folder, contained.

    Args:
        command: Program and arguments.
        course: Course folder, writable.
        home: Home folder of the run, writable.
        wall_seconds: Seconds after which the whole container is ended.
        environment: Environment variables of the run, besides those of this process.
        defenceless: Whether the command protects nothing by itself: then without network, as an unprivileged user, with
            limits on memory (8 GB of address space for a process) and on processes (300).
        port: Where a listener of the container listens; 0 for none.
        user: Number of the unprivileged user; of no use to who isn't root.
    """
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise RuntimeError("the attack corpus runs in bubblewrap; install the package bubblewrap")
    report = course / ".container-report.json"
    home_of_this_user = Path.home()
    # As root, bubblewrap covers parts of /proc, and then no sandbox inside may mount its own: `_inside` mounts one.
    proc = ["--bind", "/proc", "/proc"] if _needs_bare_proc(defenceless) else ["--proc", "/proc"]
    inside = [
        *(bwrap, "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev", *proc),
        *("--perms", "1777", "--size", str(1 << 30), "--tmpfs", "/tmp"),
        *("--perms", "1777", "--size", str(1 << 28), "--tmpfs", "/var/tmp"),
    ]
    covered = [Path("/tmp"), Path("/var/tmp")]
    if defenceless:
        # Whoever runs this keeps their own home to themselves.
        inside += ["--tmpfs", str(home_of_this_user)]
        covered.append(home_of_this_user)
        inside += ["--unshare-net", "--unshare-ipc", "--unshare-uts"]
    # The Python environment and this project may lie in a folder that is covered now.
    for path in PYTHON:
        for start in covered:
            inside += _folders_to(path, start)
        inside += ["--ro-bind", str(path), str(path)]
    for folder in (course, home):
        inside += [*_folders_to(folder, Path("/tmp")), "--bind", str(folder), str(folder)]
    inside += ["--chdir", str(course)]
    if os.geteuid() != 0:
        inside += ["--unshare-user"]
    inside += ["--"]
    if defenceless and os.geteuid() == 0:
        for folder in (course, home):
            for path in (folder, *folder.rglob("*")):
                os.chown(path, user, user, follow_symlinks=False)
        inside += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]
        inside += ["--bounding-set=-all", "--"]
    inside += [sys.executable, "-I", __file__, str(report), str(wall_seconds), str(port), str(int(defenceless))]
    inside += command
    said = ""
    try:
        ran = subprocess.run(
            inside,
            env={**os.environ, "HOME": str(home), **environment},
            timeout=wall_seconds + 60,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        said = ran.stderr[-2000:]
    except subprocess.TimeoutExpired:
        said = "no end within the limit of wall time"
    if not report.exists():
        return Outcome(None, f"the container itself was ended: {said}", [], [], [])
    outcome = Outcome(**json.loads(report.read_text()))
    report.unlink()
    return outcome


def _needs_bare_proc(defenceless: bool) -> bool:
    return os.geteuid() == 0 and not defenceless


def _folders_to(path: Path, start: Path) -> list[str]:
    """Options that make the folders between `start` and `path` for everybody; bubblewrap alone makes them for root."""
    between = [parent for parent in reversed(path.parents) if start in parent.parents]
    return [part for parent in between for part in ("--perms", "0755", "--dir", str(parent))]


# Inside ---------------------------------------------------------------------------------------------------------------


def _inside(report: Path, wall_seconds: int, port: int, defenceless: bool, command: list[str]) -> None:
    """Run the command, then look at what is left of it. Runs as the second process of the namespace."""
    if _needs_bare_proc(defenceless):
        subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    reached: list[str] = []
    listeners = contextlib.ExitStack()  # never closed: this process ends by `_exit`
    if port:
        listeners.enter_context(listening(port, reached, report.parent))
    # An attack may send signals to all processes: this one outlives those that can be outlived.
    unmoved = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def limit() -> None:
        for number in unmoved:
            signal.signal(number, signal.SIG_DFL)
        if defenceless:
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            resource.setrlimit(resource.RLIMIT_NPROC, (300, 300))
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 29, 1 << 29))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    for number in unmoved:
        signal.signal(number, signal.SIG_IGN)
    printed = Path("/tmp/.container-output")
    with printed.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            preexec_fn=limit,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(wall_seconds)
        except subprocess.TimeoutExpired:
            status = None
            os.killpg(process.pid, signal.SIGKILL)
    left = _processes()
    with printed.open("rb") as file:
        file.seek(max(0, printed.stat().st_size - 200_000))
        output = file.read().decode(errors="replace")
    files = [
        str(path)
        for folder in (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
        if folder.exists()
        for path in folder.rglob("*")
        if "attack-was-here" in path.name
        and not path.is_relative_to(report.parent)
        and not path.is_relative_to(os.environ["HOME"])
    ]
    report.write_text(
        json.dumps({"status": status, "output": output, "left": left, "reached": reached, "files": files})
    )
    os._exit(0)


def _processes() -> list[str]:
    """Command lines of all processes of the namespace but this one and the namespace's first."""
    found: list[str] = []
    for _ in range(20):
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            if process.name in ("1", str(os.getpid())):
                continue
            try:
                state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200])
            except OSError:
                continue
        if not found:
            break
        # The last ones may be on their way out.
        time.sleep(0.25)
    return found


@contextlib.contextmanager
def listening(port: int, reached: list[str], folder: Path) -> Iterator[None]:
    """Note everything that arrives by TCP, by UDP, at an abstract socket, or at `canary.sock` in a folder."""

    def accept(listener: socket.socket) -> None:
        while True:
            channel, _ = listener.accept()
            with channel:
                channel.settimeout(0.5)
                try:
                    reached.append(channel.recv(100).decode(errors="replace") or "connected")
                except OSError:
                    reached.append("connected")

    def receive(listener: socket.socket) -> None:
        while True:
            reached.append(listener.recvfrom(500)[0].decode(errors="replace"))

    def work(listener: socket.socket, kind: int) -> None:
        with contextlib.suppress(OSError):  # it is closed at the end
            accept(listener) if kind == socket.SOCK_STREAM else receive(listener)

    with contextlib.ExitStack() as stack:
        # A socket's path may have 107 bytes; through the descriptor it's short.
        place = os.open(folder, os.O_PATH)
        stack.callback(os.close, place)
        for family, kind, address in (
            (socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", port)),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"\0attack-canary-{port}"),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"/proc/self/fd/{place}/canary.sock"),
        ):
            listener = stack.enter_context(socket.socket(family, kind))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            if kind == socket.SOCK_STREAM:
                listener.listen(16)
            stack.callback(_shut, listener)
            threading.Thread(target=work, args=(listener, kind), daemon=True).start()
        yield
    (folder / "canary.sock").unlink(missing_ok=True)


def _shut(listener: socket.socket) -> None:
    """Wake the thread that waits at a socket."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    _inside(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "1", sys.argv[5:])
