"""Inside the sandbox: try to get out, and write to the outbox what came of each attempt.

Called as `python attempts.py JSON`; the document names what there is to reach. Each attempt is a function that returns
what it reached, and raises or returns nothing if it could not.
"""

import contextlib
import ctypes
import errno
import json
import os
import socket
import sys
from pathlib import Path

BAIT = json.loads(sys.argv[1])
LIBC = ctypes.CDLL(None, use_errno=True)


def read_home():
    """List the home folder of the person who grades."""
    home = Path(BAIT["home"])
    prefix = Path(BAIT["prefix"])
    return [p.name for p in home.iterdir() if not p.is_dir()] if home not in prefix.parents else [
        p.name for p in home.iterdir() if p.is_file()
    ]  # fmt: skip


def read_secret():
    """Read a file outside, by its path and by way of /proc."""
    with contextlib.suppress(OSError):
        return Path(BAIT["secret"]).read_text()
    return Path("/proc/1/root" + BAIT["secret"]).read_text()


def read_shadow():
    """Read the system's password file."""
    return Path("/etc/shadow").exists() or Path("/etc/passwd").exists()


def read_course():
    """See the solutions, the gradebook and other submissions."""
    return [path for path in BAIT["course"] if os.path.lexists(path)]


def read_environment():
    """Find the grader's environment variables."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and b"AUTOGRADER_SECRET" in _environment(pid)]  # noqa: PTH208


def _environment(pid):
    with contextlib.suppress(OSError):
        return Path("/proc", pid, "environ").read_bytes()
    return b""


def see_processes():
    """See processes that are not one's own."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) != os.getpid()]  # noqa: PTH208


def signal_parent():
    """Send a signal to the grader."""
    os.kill(BAIT["pid"], 0)
    return "the grader can be reached"


def trace_parent():
    """Attach to another process as a debugger does."""
    return LIBC.ptrace(16, 1, 0, 0) == 0 or LIBC.ptrace(0, 0, 0, 0) == 0


def open_descriptors():
    """Use a descriptor that was left open."""
    link = Path("/outbox")
    outbox = link.readlink().name if link.is_symlink() else ""
    open_now = [n for n in os.listdir("/proc/self/fd") if int(n) > 2 and n != outbox]  # noqa: PTH208
    left = [os.readlink(f"/proc/self/fd/{n}") for n in open_now]  # noqa: PTH115
    return [name for name in left if not name.startswith("/proc/")]


def reach_tcp():
    """Reach a TCP port, here and elsewhere."""
    for address in (("127.0.0.1", BAIT["tcp"]), ("192.0.2.1", 80)):
        with contextlib.suppress(OSError), socket.create_connection(address, timeout=2):
            return f"connected to {address}"


def reach_udp():
    """Send a UDP packet to another machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b"x", ("192.0.2.1", 53))
        return "sent"


def resolve_name():
    """Ask for the address of a name."""
    return socket.getaddrinfo("example.org", 80)


def reach_unix():
    """Reach a Unix socket by path, and one without a path."""
    for address in (BAIT["unix"], BAIT["abstract"]):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
            client.connect(address)
            return f"connected to {address!r}"


def open_vsock():
    """Open a socket of a family that has no namespace."""
    with socket.socket(40, socket.SOCK_STREAM):
        return "opened"


def write_outside():
    """Write anywhere but in the folders that are meant for it."""
    reached = []
    for folder in ("/", "/usr", "/etc", "/dev", "/grader", "/data", "/in", "/proc/sys/kernel", BAIT["prefix"]):
        path = Path(folder, "autograder-attempt")
        with contextlib.suppress(OSError):
            path.write_text("x")
            reached.append(str(path))
    return reached


def mount_something():
    """Mount a file system."""
    return LIBC.mount(b"none", b"/work", b"tmpfs", 0, None) == 0


def new_namespace():
    """Make a user namespace, to be root in it."""
    if LIBC.unshare(0x10000000) == 0:
        return "by unshare"
    number = {"x86_64": 56, "aarch64": 220}.get(os.uname().machine)
    child = -1 if number is None else LIBC.syscall(number, 0x10000000 | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        return "by clone"
    return None


def gain_rights():
    """Become another user."""
    os.setuid(0)
    return "uid 0"


def make_device():
    """Make a device file."""
    os.mknod("/work/device", 0o60666, os.makedev(254, 0))
    return "made"


def raise_limit():
    """Raise a resource limit."""
    import resource

    resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096))
    return "raised"


def too_many_processes():
    """Start more processes than allowed."""
    children = []
    try:
        for _ in range(500):
            child = os.fork()
            if child == 0:
                import time

                time.sleep(30)
                os._exit(0)
            children.append(child)
        return f"{len(children)} processes"
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


def too_much_memory():
    """Allocate more memory than allowed in one process."""
    try:
        return f"{len(bytearray(1 << 30))} bytes"
    except MemoryError:
        return None


def too_large_file():
    """Write a file larger than allowed."""
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with open("/work/large", "wb") as file:  # noqa: PTH123
        for _ in range(12):
            file.write(bytes(1 << 20))
    return "12 MB"


def fill_folders():
    """Fill a writable folder beyond its bound."""
    reached = []
    for folder in ("/work", "/tmp", "/dev/shm"):
        files = [Path(folder, f"fill-{n}") for n in range(8)]
        try:
            for path in files:
                path.write_bytes(bytes(7 << 20))
            reached.append(folder)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG):
                raise
        finally:
            for path in files:
                path.unlink(missing_ok=True)
    return reached


def hidden_memory():
    """Take memory that no folder and no process is charged for."""
    if hasattr(os, "memfd_create"):
        with contextlib.suppress(OSError):
            return os.memfd_create("x") >= 0
    return LIBC.shmget(0, 4096, 0o1600) >= 0


def too_many_open_files():
    """Open more files than allowed."""
    held = []
    try:
        for _ in range(500):
            held.append(os.open("/dev/null", os.O_RDONLY))
        return f"{len(held)} files"
    finally:
        for each in held:
            os.close(each)


ATTEMPTS = {
    "read the home folder": read_home, "read a file outside": read_secret, "read /etc/shadow": read_shadow,
    "read the solutions and the gradebook": read_course, "read the grader's environment": read_environment,
    "see other processes": see_processes, "signal the grader": signal_parent, "trace another process": trace_parent,
    "use descriptors left open": open_descriptors, "connect by TCP": reach_tcp, "send by UDP": reach_udp,
    "resolve a name": resolve_name, "connect to a Unix socket": reach_unix, "open a vsock": open_vsock,
    "write outside the work folder": write_outside, "mount": mount_something, "make a namespace": new_namespace,
    "become root": gain_rights, "make a device": make_device, "raise a limit": raise_limit,
    "start more processes than allowed": too_many_processes, "use more memory than a process may": too_much_memory,
    "write a larger file than allowed": too_large_file, "fill a folder beyond its bound": fill_folders,
    "use memory that nobody counts": hidden_memory, "open more files than allowed": too_many_open_files,
}  # fmt: skip

if __name__ == "__main__":
    results = []
    for name, attempt in ATTEMPTS.items():
        try:
            reached = attempt()
            results.append([name, not reached, str(reached)[:200] if reached else ""])
        except (OSError, ValueError) as error:  # ValueError is what `resource` raises
            results.append([name, True, getattr(error, "strerror", None) or str(error)])
    Path("/outbox").write_text(json.dumps(results))
