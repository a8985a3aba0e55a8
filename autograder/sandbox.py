"""The sandbox: what a process that runs a stranger's code may see, and the command line that shows it no more.

`Sandbox` is a policy. `Sandbox.command` turns it into a bubblewrap command line, `SandboxProcess` (in `watch.py`) runs
one under the watch of its limits, and `SandboxProvisioner` does so for a Jupyter kernel. `docs/explanation/sandbox.md`
explains it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import importlib.util
import json
import logging
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Any as Any_
from traitlets import Instance

from autograder.errors import CourseError
from autograder.gate import Gate
from autograder.inside.confine import FAILED
from autograder.inside.zygote import OUTBOX_DESCRIPTOR
from autograder.limits import Limits

if TYPE_CHECKING:
    from autograder.breakout import Attempt
    from autograder.watch import Watched

log = logging.getLogger(__name__)

INSIDE = Path(__file__).resolve().parent / "inside"
WORK, DATA, HOLDOUT, OUTBOX, HANDED_IN = "/work", "/data", "/holdout", "/outbox", "/in"
SPLITS = ("train", "val", "test")
#: The user that a sandbox runs as when root starts it; known as `nobody` on most systems.
NOBODY = 65534
#: The oldest bubblewrap with bounded tmpfs and `--disable-userns`.
_BUBBLEWRAP = (0, 8, 0)
_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
# A socket's path may have 107 bytes; the names in a run folder need some of them.
_FOLDER_BYTES = 80

_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SYSTEM_FILES = (
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/localtime",
    "/etc/nsswitch.conf",
)


# A sandbox dies with the thread that started it (`PR_SET_PDEATHSIG`), so one thread that lives as long as the grader
# starts all those that are to outlive the notebook that they were made for.
LAUNCHER = ThreadPoolExecutor(1, thread_name_prefix="sandbox-launcher")


class SandboxUnavailable(CourseError):
    """No sandbox can be had here; the message names the package to install and the setting to change."""


def _thread_settings() -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return dict.fromkeys((*names, "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1")


#: The same for every kernel, so that the same notebook gives the same numbers.
DETERMINISTIC = {
    "PYTHONHASHSEED": "0",
    "TF_DETERMINISTIC_OPS": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    **_thread_settings(),
}


@dataclass(frozen=True)
class Sandbox:
    """What one sandboxed process may see and use.

    Attributes:
        limits: Its limits.
        data: A folder `cifar10_images_small`; its splits appear below `/data`.
        holdout: The graders' images, for `/holdout`. Never for a student's code.
        packages: Importable packages that stay visible, each alone, also where they are installed as editable.
        files: A folder whose content is copied into the work folder at the start.
        outbox: An existing regular file, the one thing on this machine that the sandbox can write; it is `/outbox`.
        hidden: Folders that must not be seen even where they lie inside of something that is.
        environment: Variables on top of those that every sandbox has.
        isolated: False runs without bubblewrap, with resource limits alone. Only for code that one trusts.
        scratch: The work folder when not `isolated`; unused otherwise.
        zygote: Whether the program inside is the grader's own zygote, which makes a sandbox in this one for each
            process that it forks, and keeps their limits itself. Never for a student's code.
    """

    limits: Limits = field(default_factory=Limits)
    data: Path | None = None
    holdout: Path | None = None
    packages: tuple[str, ...] = ("helpers",)
    files: Path | None = None
    outbox: Path | None = None
    hidden: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    isolated: bool = True
    scratch: Path | None = None
    zygote: bool = False

    @property
    def work(self) -> str:
        """The work folder, as the process inside sees it."""
        return WORK if self.isolated else str(self.scratch or tempfile.gettempdir())

    @property
    def inside(self) -> str:
        """The folder of the programs that run inside, as the process inside sees it."""
        return "/grader" if self.isolated else str(INSIDE)

    def environ(self) -> dict[str, str]:
        """The whole environment of a process inside; nothing is inherited."""
        home = "/tmp" if self.isolated else str(Path(self.work) / ".home")
        paths = [str(Path(sys.prefix) / "bin"), "/usr/local/bin", "/usr/bin", "/bin"]
        found = {
            **DETERMINISTIC,
            "PATH": os.pathsep.join(paths),
            "HOME": home,
            "USER": "student",
            "LOGNAME": "student",
            "TMPDIR": "/tmp" if self.isolated else tempfile.gettempdir(),
            "PYTHONNOUSERSITE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "IPYTHONDIR": f"{home}/.ipython",
            "JUPYTER_CONFIG_DIR": f"{home}/.jupyter",
            "JUPYTER_RUNTIME_DIR": f"{home}/.jupyter-runtime",
            "JUPYTER_NO_CONFIG": "1",
            "MPLCONFIGDIR": f"{home}/.matplotlib",
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "KERAS_HOME": f"{home}/.keras",
        }
        if self.data is not None:
            found["CNN_COURSE_DATA"] = DATA if self.isolated else str(self.data.parent)
        if self.holdout is not None:
            found["CNN_COURSE_HOLDOUT"] = HOLDOUT if self.isolated else str(self.holdout)
        if extra := [str(folder.parent) for folder in self._packages() if not _installed(folder)]:
            found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(extra))
        return {**found, **self.environment}

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in this sandbox.

        It inherits standard input, output and error and the descriptors that are left open, and nothing else. It is
        killed when the thread that starts it ends.

        Raises:
            SandboxUnavailable: There is no sandbox on this machine, or a folder could not be read inside of it.
        """
        if self.isolated:
            require_sandbox()
        return self._command(argv, root=self.isolated and _drops_root())

    def _command(self, argv: Sequence[str], *, root: bool) -> list[str]:
        confinement = json.dumps(self._first_confinement())
        confined = [sys.executable, "-I", "-S", f"{self.inside}/confine.py", confinement, *argv]
        if not self.isolated:
            environment = [f"{name}={value}" for name, value in self.environ().items()]
            return [shutil.which("env") or "/usr/bin/env", "-i", *environment, *confined]
        bubblewrap = shutil.which("bwrap") or "/usr/bin/bwrap"
        view = list(self._view())
        if not root:
            return [bubblewrap, *self._namespaces(), *self._mounts(view), *self._settings(), "--", *confined]
        for option, source, _ in view:
            if option == "--ro-bind" and Path(source).is_dir() and Path(source).stat().st_mode & 0o005 != 0o005:
                raise SandboxUnavailable(
                    f"{source} can be read by its owner alone, and in the sandbox code runs as nobody. "
                    f"Let others read it: chmod -R a+rX '{source}'"
                )
        # Root builds the view, for root can reach what it owns; then it gives its power away, and a second bubblewrap
        # makes the sandbox of that view as a user who owns nothing. The kernel does not hold uid 0 to RLIMIT_NPROC.
        reached = [
            (option, target if option in ("--bind", "--ro-bind") else source, target) for option, source, target in view
        ]
        folders = [part for folder in ("/tmp", WORK) for part in ("--perms", "0755", "--dir", folder)]
        first = [bubblewrap, "--die-with-parent", *folders, *_flat(view), "--dev", "/dev", "--bind", "/proc", "/proc"]
        if not _under(Path(bubblewrap), Path("/usr")):
            first += ["--ro-bind", bubblewrap, bubblewrap]
        drop = [
            shutil.which("setpriv") or "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--inh-caps=-all",
        ]
        drop += ["--bounding-set=-all", "--pdeathsig=KILL", "--no-new-privs"]
        second = [bubblewrap, *self._namespaces(), *self._mounts(reached), *self._settings()]
        leash = [sys.executable, "-I", "-S", "/grader/leash.py"]
        return [*first, "--", *drop, "--", *leash, *second, "--", *confined]

    def _namespaces(self) -> Sequence[str]:
        if self.zygote:
            return [option for option in _NAMESPACES if option != "--disable-userns"]
        return _NAMESPACES

    def confinement(self) -> dict[str, Any]:
        """What `confine.py` is to do before a student's code runs."""
        limits = self.limits
        cpu = int(limits.cpu_seconds) + 5  # the watch, which knows all processes, comes first
        found: dict[str, Any] = {
            "limits": {
                "core": 0,
                "cpu": cpu,
                "data": limits.memory_bytes,
                "fsize": limits.file_bytes,
                "memlock": 0,
                "msgqueue": 0,
                "nofile": limits.open_files,
            },
            "chdir": self.work,
            "filter": self.isolated,
        }
        # Before Linux 5.14 the count took in the user's processes outside of the sandbox.
        if self.isolated and _kernel_version() >= (5, 14):
            found["limits"]["nproc"] = limits.processes
        if self.files is not None and not self.zygote:
            found["copy"] = [[HANDED_IN if self.isolated else str(self.files), self.work]]
        return found

    def _first_confinement(self) -> dict[str, Any]:
        # The zygote makes namespaces and mounts, and its limits would be counted for all that it forks.
        return {"limits": {"core": 0}, "chdir": "/"} if self.zygote else self.confinement()

    def _settings(self) -> list[str]:
        pairs = [part for name, value in self.environ().items() for part in ("--setenv", name, value)]
        return ["--clearenv", *pairs, "--chdir", WORK]

    def _mounts(self, view: Sequence[tuple[str, str, str]]) -> list[str]:
        limits = self.limits
        sized = [("/tmp", limits.tmp_bytes), (WORK, limits.work_bytes)]
        tmpfs = [part for path, size in sized for part in ("--size", str(size), "--tmpfs", path)]
        shm = ["--size", str(limits.shm_bytes), "--tmpfs", "/dev/shm"]
        # Folders that bubblewrap makes to hang mounts on are in a tmpfs of no bound; so they are made read-only.
        return [
            *tmpfs,
            *_flat(view),
            "--proc",
            "/proc",
            "--dev",
            "/dev",
            *shm,
            "--remount-ro",
            "/dev",
            "--remount-ro",
            "/",
        ]

    def _packages(self) -> list[Path]:
        found = []
        for name in self.packages:
            spec = importlib.util.find_spec(name)
            if spec is None or not spec.submodule_search_locations:
                raise CourseError(
                    f"The package `{name}` cannot be found. Install the course: pip install -e '.[grading]'"
                )
            found.append(Path(next(iter(spec.submodule_search_locations))).resolve())
        return found

    def _view(self) -> Iterator[tuple[str, str, str]]:
        """What is visible, as (option, source, target), in the order in which it is mounted."""
        yield "--ro-bind", "/usr", "/usr"
        for folder in _SYSTEM_FOLDERS:
            path = Path(folder)
            if path.is_symlink():
                yield "--symlink", str(path.readlink()), folder
            elif path.is_dir():
                yield "--ro-bind", folder, folder
        for file in _SYSTEM_FILES:
            if Path(file).exists():
                yield "--ro-bind", file, file
        seen = [Path("/usr"), *python_folders()]
        for folder in seen[1:]:
            yield "--ro-bind", str(folder), str(folder)
        packages = self._packages()
        ours = Path(__file__).resolve().parent
        for folder in (*self.hidden, *(() if ours in packages else (ours,))):
            if any(_under(folder, other) for other in seen) and not any(_under(other, folder) for other in seen):
                yield "--tmpfs", "", str(folder)
        for folder in packages:
            yield "--ro-bind", str(folder), str(folder)
        yield "--ro-bind", str(INSIDE), "/grader"
        for fonts in _font_lists():
            yield "--ro-bind", str(fonts.resolve()), f"/tmp/.matplotlib/{fonts.name}"
        if self.data is not None:
            for entry in sorted(self.data.iterdir()):
                if entry.name in SPLITS or (entry.is_file() and not entry.is_symlink()):
                    yield "--ro-bind", str(entry.resolve()), f"{DATA}/cifar10_images_small/{entry.name}"
        if self.holdout is not None:
            yield "--ro-bind", str(self.holdout.resolve()), HOLDOUT
        if self.files is not None:
            yield "--ro-bind", str(self.files), HANDED_IN
        if self.zygote:
            # Each kernel has an outbox of its own, as an open descriptor under this number.
            yield "--symlink", f"/proc/1/fd/{OUTBOX_DESCRIPTOR}", OUTBOX
        elif self.outbox is not None:
            yield "--bind", str(self.outbox), OUTBOX


_NAMESPACES = (
    "--unshare-user", "--disable-userns", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts",
    "--unshare-cgroup-try", "--uid", "1000", "--gid", "1000", "--hostname", "sandbox", "--cap-drop", "ALL",
    "--new-session", "--die-with-parent",
    # Bubblewrap's own first process would carry the grader's environment and command line, where /proc shows them to a
    # student, and would be outside of the filter and the limits. So the program itself is the first process.
    "--as-pid-1",
)  # fmt: skip


def _flat(view: Sequence[tuple[str, str, str]]) -> list[str]:
    parts: list[str] = []
    made = {Path("/"), Path("/tmp"), Path(WORK)}
    bound = [Path(target) for option, _, target in view if option == "--ro-bind"]
    for option, source, target in view:
        # bubblewrap would make the folders above a mount for their owner alone.
        for folder in reversed(Path(target).parents):
            if folder not in made and not any(_under(folder, other) for other in bound):
                parts += ["--perms", "0755", "--dir", str(folder)]
                made.add(folder)
        if option == "--tmpfs":
            parts += ["--perms", "0755"]
        parts += [part for part in (option, source, target) if part]
    return parts


def _under(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents


def _installed(folder: Path) -> bool:
    """Whether Python finds a package in `folder` by itself, from the environment or by an editable installation."""
    if any(_under(folder, place) for place in python_folders()):
        return True
    probe = f"import importlib.util as u; print(u.find_spec({folder.name!r}) is not None)"
    return _asks_python(probe) == "True"


@functools.cache
def _asks_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip()


@functools.cache
def python_folders() -> tuple[Path, ...]:
    """The folders that hold this Python and its environment, outermost first, none inside of another or of `/usr`."""
    program = Path(sys.executable)
    places = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix), program.resolve().parent.parent]
    if _under(program.resolve(), Path("/nix/store")):
        places.append(Path("/nix/store"))
    places += [place.resolve() for place in places]
    kept: list[Path] = []
    for place in sorted(set(places), key=lambda path: len(path.parts)):
        if place == Path("/"):
            raise SandboxUnavailable(
                f"Python at {program} claims the whole file system as its folder; use an environment (venv)."
            )
        if not any(_under(place, other) for other in (Path("/usr"), *kept)):
            kept.append(place)
    return tuple(kept)


def _font_lists() -> list[Path]:
    """Matplotlib's lists of this machine's fonts, where it has made some; making one anew takes a second a kernel."""
    with contextlib.suppress(OSError, RuntimeError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "matplotlib")
        folder = Path(os.environ.get("MPLCONFIGDIR") or cache)
        return [path for path in sorted(folder.glob("fontlist-v*.json"))[:5] if path.is_file()]
    return []


@functools.cache
def _kernel_version() -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


# --- whether there is a sandbox here ---------------------------------------------------------------------------------


def require_sandbox() -> None:
    """Make sure that a sandbox can be made on this machine; asks the machine once.

    Raises:
        SandboxUnavailable: It cannot; the message says what to install or to set.
    """
    if problem := _probe()[0]:
        raise SandboxUnavailable(problem)


def _drops_root() -> bool:
    return _probe()[1]


@functools.cache
def _probe() -> tuple[str, bool]:
    """What is wrong, if anything, and whether the sandbox gives root away first."""
    if sys.platform != "linux":
        return _refusal("The sandbox needs Linux, and this is not Linux."), False
    program = shutil.which("bwrap")
    if program is None:
        return _refusal("The program `bwrap` was not found."), False
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    version = tuple(int(part) for part in re.findall(r"\d+", said)[:3])
    if version < _BUBBLEWRAP:
        wanted = ".".join(map(str, _BUBBLEWRAP))
        return _refusal(f"`bwrap` is version {said.strip() or 'unknown'}, and {wanted} or later is needed."), False
    complaint = ""
    for root in (True, False) if os.geteuid() == 0 else (False,):
        if root and shutil.which("setpriv") is None:
            complaint = "setpriv was not found (package util-linux)"
            continue
        argv = Sandbox(packages=())._command([sys.executable, "-I", "-S", "-c", "print('ready')"], root=root)
        try:
            trial = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=60,
                check=False,
            )
        except subprocess.TimeoutExpired:
            complaint = "it did not start within 60 s"
            continue
        if trial.returncode == 0 and trial.stdout.strip() == "ready":
            return "", root
        complaint = complaint or trial.stderr.strip()[-500:] or f"exit status {trial.returncode}"
    return _refusal(f"`bwrap` could not make a sandbox: {complaint}"), False


def _refusal(found: str) -> str:
    settings = []
    for name, needed, change in (
        ("kernel.unprivileged_userns_clone", "1", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "0",
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for bwrap",
        ),
        ("user.max_user_namespaces", "", "sudo sysctl -w user.max_user_namespaces=15000"),
    ):
        with contextlib.suppress(OSError):
            value = Path("/proc/sys", *name.split(".")).read_text().strip()
            if (needed and value != needed) or (not needed and value == "0"):
                settings.append(f"{name} is {value}: {change}")
    what = "; ".join(settings) or (
        "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
        "user.max_user_namespaces above 0"
    )
    return (
        f"There is no sandbox, so students' code is not run. {found}\n"
        "Install the package: apt-get install bubblewrap, or dnf install bubblewrap (0.8 or later).\n"
        f"Let users make namespaces: {what}. In a container, its profiles must allow them too "
        "(for instance --security-opt seccomp=unconfined --security-opt apparmor=unconfined).\n"
        "To grade code that you trust without a sandbox: --no-sandbox, or c.JudgedExecute.sandbox = False."
    )


def prove_sandbox() -> list[Attempt]:
    """Try to break out of the sandbox in every way that it promises to hold against, and say how each attempt ended."""
    from autograder.breakout import attempts

    return attempts()


# --- folders and files around a sandbox ------------------------------------------------------------------------------


def run_folder() -> Path:
    """A new folder, for this user alone, whose path is short enough for sockets.

    Raises:
        CourseError: There is no such place.
    """
    for place in (tempfile.gettempdir(), "/tmp", "/var/tmp"):
        if len(os.fsencode(place)) <= _FOLDER_BYTES and os.access(place, os.W_OK | os.X_OK):
            return Path(tempfile.mkdtemp(prefix="ag-", dir=place))
    raise CourseError(
        f"No folder for temporary files with a path of at most {_FOLDER_BYTES} bytes can be written; "
        "set TMPDIR to a short one, for instance /tmp."
    )


# --- a Jupyter kernel in a sandbox -----------------------------------------------------------------------------------


class SandboxProvisioner(KernelProvisionerBase):  # type: ignore[misc]
    """Starts an IPython kernel in a sandbox, and ends it with everything that it started.

    A kernel specification names it as `sandbox-provisioner`; whatever program that specification names, the kernel is
    IPython's, in the environment of the grader. The channels are Unix sockets in a folder that the sandbox does not
    see: the kernel inherits them open.
    """

    sandbox = Instance(Sandbox, help="The policy; the default shows no data.")
    zygote = Any_(None, allow_none=True, help="A `Zygote` that forks the kernel; None starts a process anew.")

    def _sandbox_default(self) -> Sandbox:
        return Sandbox()

    folder: Path | None = None
    process: Watched | None = None
    gate: Gate | None = None

    @property
    def has_process(self) -> bool:
        """Whether a kernel was started and not yet waited for."""
        return self.process is not None

    @property
    def reason(self) -> str | None:
        """Which limit the kernel was killed for, in plain words, or None."""
        return self.process.reason if self.process else None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Make the run folder and point the manager's channels into it."""
        if self.sandbox.isolated:
            require_sandbox()
        else:
            log.warning("No sandbox: a student's code runs with the rights of the person who grades.")
        self._remove_folder()
        self.folder = run_folder()
        manager = self.parent
        manager.transport = "ipc"
        manager.ip = str(self.folder / "s")
        for port, channel in enumerate(_CHANNELS, start=1):
            setattr(manager, f"{channel}_port", port)
        manager.connection_file = str(self.folder / "connection.json")
        self.connection_info = manager.get_connection_info()
        return await super().pre_launch(cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Start the kernel; `cmd`, the working folder and the environment that Jupyter would use are not."""
        from autograder.watch import SandboxProcess

        assert self.folder is not None
        policy = self.sandbox
        if not policy.isolated and policy.scratch is None:
            scratch = self.folder / "work"
            scratch.mkdir()
            policy = dataclasses.replace(policy, scratch=scratch)
        sockets: dict[str, socket.socket] = {}
        try:
            for port, channel in enumerate(_CHANNELS, start=1):
                sockets[channel] = listening = socket.socket(socket.AF_UNIX)
                listening.setblocking(False)
                listening.bind(str(self.folder / f"k-{port}"))
                listening.listen(16)
            descriptors = {channel: each.fileno() for channel, each in sockets.items()}
            info = {k: v.decode() if isinstance(v, bytes) else v for k, v in self.connection_info.items()}
            names = {channel: (f"s-{port}", f"k-{port}") for port, channel in enumerate(_CHANNELS, start=1)}
            self.gate = Gate(self.folder, names, policy.limits.message_bytes)
            runtime = policy.environ()["JUPYTER_RUNTIME_DIR"]
            request = {"connection": info, "file": f"{runtime}/connection.json"}
            if self.zygote is not None:
                self.process = await asyncio.to_thread(self.zygote.kernel, policy, request, descriptors)
            else:
                stdin = json.dumps({**request, "sockets": descriptors}, default=str).encode()
                argv = [sys.executable, f"{policy.inside}/kernel.py"]
                self.process = SandboxProcess(policy, argv, pass_fds=tuple(descriptors.values()), stdin=stdin)
        finally:
            for each in sockets.values():
                each.close()
        return self.connection_info

    async def poll(self) -> int | None:
        """None while the kernel runs, else its exit status."""
        return self.process.poll() if self.process else 0

    async def wait(self) -> int | None:
        """Wait for the kernel to end by itself, or by `kill`."""
        if self.process is None:
            return 0
        while (status := self.process.poll()) is None:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.process.close)
        self.process = None
        return status

    async def send_signal(self, signum: int) -> None:
        """Send a signal to the kernel inside; only SIGINT is meant for it, any other ends the whole sandbox."""
        if self.process is None or signum == 0:
            return
        if signum == signal.SIGINT:
            self.process.interrupt()
        else:
            self.process.kill()

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel and every process that it started."""
        if self.process:
            self.process.kill()

    async def terminate(self, restart: bool = False) -> None:
        """As `kill`: a stranger's code is not asked to end."""
        await self.kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Leave no process and no file behind."""
        if self.process is not None:
            await asyncio.to_thread(self.process.close)
            self.process = None
        self._remove_folder()

    def _remove_folder(self) -> None:
        if self.gate is not None:
            self.gate.close()
            self.gate = None
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder = None


__all__ = [
    "FAILED",
    "Sandbox",
    "SandboxProvisioner",
    "SandboxUnavailable",
    "prove_sandbox",
    "require_sandbox",
    "run_folder",
]
