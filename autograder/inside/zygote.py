"""Inside the sandbox: import once, then fork a process in a sandbox of its own for each submission or judge.

Called as `python zygote.py JSON`, with a socket to the grader (`SOCK_SEQPACKET`) as standard input. The JSON document
says `modules`, what to import, and `judge`, whether judges are forked and no kernels. Each message from the grader is
`{"confine": ..., "bounds": {folder: [bytes, files]}}` with one descriptor, the *cord*: a socket of the same kind that
belongs to one child. The zygote forks, and writes to the cord how the child ended. The child makes itself a sandbox,
says on the cord that it is there, waits there for what it shall run, closes the cord and runs it.

The zygote is the first process of its PID namespace, and each child is that of a namespace inside of it. So the death
of a child is the end of all that it started, the death of the zygote is the end of every child, and none of them sees
another or the zygote. The zygote runs no operation of TensorFlow and starts no thread, for neither outlives a fork.
"""

# A child does all this for every submission, and `pathlib` would take its time.
# ruff: noqa: PTH103, PTH112, PTH118, PTH120, PTH123, PTH208

import contextlib
import ctypes
import fcntl
import gc
import importlib
import json
import os
import select
import socket
import struct
import sys
import tarfile

#: The descriptor under which a child holds its outbox; `/outbox` leads there.
OUTBOX_DESCRIPTOR = 9
FOLDERS = ("/tmp", "/work", "/dev/shm")
#: Bytes of one message to or from a zygote.
MESSAGE = 1 << 17
_NEW_NAMESPACES = 0x10000000 | 0x00020000 | 0x20000000 | 0x08000000 | 0x04000000 | 0x40000000  # USER NS PID IPC UTS NET
_NOSUID, _NODEV, _NOEXEC, _RDONLY, _REMOUNT, _BIND, _MOVE, _REC = 2, 4, 8, 1, 32, 4096, 8192, 16384
_SET_DUMPABLE, _DROP_BOUND = 4, 24
_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result, what):
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _mount(source, target, kind, flags, data=None):
    words = [word and os.fsencode(word) for word in (source, target, kind, data)]
    _check(_LIBC.mount(words[0], words[1], words[2], flags, words[3]), f"mount {target}")


# --- the zygote ------------------------------------------------------------------------------------------------------


class Zygote:
    """Forks a child for each cord that the grader sends.

    Args:
        control: The socket to the grader.
        run: What a child calls in its sandbox, with the grader's request and the descriptors that came with it.
    """

    def __init__(self, control, run):
        self.control, self.run = control, run
        self.children = {}  # by descriptor of the process: its number and its cord
        # Read before a child puts folders of its own in the place of these.
        self.kept = {folder: mounts_under(folder) for folder in FOLDERS}

    def serve(self):
        """Work until the grader closes the socket. The end of this process is the end of all children."""
        poller = select.poll()
        poller.register(self.control, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll():
                if descriptor in self.children:
                    poller.unregister(descriptor)
                    self.bury(descriptor)
                    continue
                message, descriptors = receive(self.control, 1)
                if not message:
                    return
                cord = socket.socket(fileno=descriptors[0])
                child = self.bear(json.loads(message), cord)
                if child is not None:
                    poller.register(child, select.POLLIN)

    def bury(self, descriptor):
        """Tell on a child's cord how it ended."""
        pid, cord = self.children.pop(descriptor)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(descriptor)
        with contextlib.suppress(OSError), cord:
            cord.send(json.dumps({"status": status}).encode())

    def bear(self, request, cord):
        """Fork a child; returns a descriptor of it, or None if there is none."""
        ours, theirs = os.pipe()
        between = os.fork()
        if between == 0:
            self.part(request, cord, theirs)
        os.close(theirs)
        number = b""
        while part := os.read(ours, 32):
            number += part
        os.close(ours)
        os.waitpid(between, 0)
        if not number:
            cord.close()
            return None
        descriptor = os.pidfd_open(int(number))
        self.children[descriptor] = (int(number), cord)
        return descriptor

    def part(self, request, cord, pipe):
        """In the fork: enter new namespaces and fork the child, which then belongs to the zygote. Does not return."""
        status = 1
        try:
            _LIBC.prctl(_SET_DUMPABLE, 1)  # else its maps of users could not be written, nor its /proc be read
            user, group = os.getuid(), os.getgid()
            _check(_LIBC.unshare(_NEW_NAMESPACES), "new namespaces")
            write("/proc/self/setgroups", "deny")
            write("/proc/self/uid_map", f"{user} {user} 1")
            write("/proc/self/gid_map", f"{group} {group} 1")
            child = os.fork()
            if child == 0:
                os.close(pipe)
                status = self.live(request, cord)
            else:
                os.write(pipe, str(child).encode())
                status = 0
        except BaseException as error:
            _complain(cord, error)
        finally:
            os._exit(status)

    def live(self, request, cord):
        """In the child: make the sandbox, wait for work, do it. Returns an exit status."""
        try:
            for _, other in self.children.values():
                other.detach()
            self.control.detach()
            keep_only({0, 1, 2, OUTBOX_DESCRIPTOR, cord.fileno()})
            os.setsid()
            confine_child(request, self.kept)
            cord.send(b'{"born": true}')
            message, descriptors = receive(cord, 16)
            if not message:
                return 0
            work = json.loads(message)
            descriptors = dict(zip(work["descriptors"], descriptors, strict=True))
            if "outbox" in descriptors:
                os.dup2(descriptors["outbox"], OUTBOX_DESCRIPTOR, inheritable=bool(work["program"]))
                os.close(descriptors.pop("outbox"))
            else:
                os.close(OUTBOX_DESCRIPTOR)
            if "files" in descriptors:
                with os.fdopen(descriptors.pop("files"), "rb") as file, tarfile.open(fileobj=file) as archive:
                    archive.extractall("/work", filter="data")
            cord.send(b'{"begun": true}')
        except BaseException as error:
            _complain(cord, error)
            return 96
        cord.close()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        return self.run(work, descriptors)


def receive(source, most):
    """One message and its descriptors, which no program that is started inherits."""
    message, descriptors, _, _ = socket.recv_fds(source, MESSAGE, most, socket.MSG_CMSG_CLOEXEC)
    return message, descriptors


def _complain(cord, error):
    with contextlib.suppress(OSError):
        cord.send(json.dumps({"error": f"{type(error).__name__}: {error}"[:2000]}).encode())


def write(path, text):
    """Write to a file of the Linux kernel's."""
    with open(path, "w") as file:
        file.write(text)


def keep_only(kept):
    """Close every descriptor but these."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
                os.close(int(name))


# --- the sandbox of a child ------------------------------------------------------------------------------------------


def mounts_under(folder):
    """The outermost mounts below a folder, as paths relative to it with whether each is a folder."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            path = os.fsdecode(line.split()[4].encode().decode("unicode_escape").encode("latin-1"))
            if path.startswith(folder + "/"):
                found.append(path)
    outer = [path for path in found if not any(path.startswith(other + "/") for other in found)]
    return [(os.path.relpath(path, folder), os.path.isdir(path)) for path in sorted(set(outer))]


def fresh_folder(folder, size, files, kept):
    """Put an empty folder of bounded size in the place of another, keeping what is mounted below that."""
    # It is made elsewhere and moved, so that what is to be kept can be reached meanwhile.
    stage = "/dev/shm"
    _mount("tmpfs", stage, "tmpfs", _NOSUID | _NODEV, f"size={size},nr_inodes={files},mode=0755")
    for name, is_folder in kept:
        target = os.path.join(stage, name)
        os.makedirs(target if is_folder else os.path.dirname(target), exist_ok=True)
        if not is_folder:
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o644))
        _mount(os.path.join(folder, name), target, None, _BIND | _REC)
    if folder != stage:
        _mount(stage, folder, None, _MOVE)


def confine_child(request, kept):
    """Give this process, the first of its PID namespace, folders and limits of its own, and take its rights away."""
    _mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    _mount(None, "/dev/pts", None, _REMOUNT | _BIND | _RDONLY | _NOSUID | _NOEXEC)
    for folder in FOLDERS:
        size, files = request["bounds"][folder]
        fresh_folder(folder, size, files, kept[folder])
    write("/proc/sys/user/max_user_namespaces", "0")
    loopback_up()
    os.umask(0o022)
    drop_rights()
    wanted = request["confine"]
    limits = dict(wanted["limits"])
    if "data" in limits:
        # What the zygote had imported already is in the count.
        limits["data"] = max(limits["data"], data_bytes() + (128 << 20))
    confine.set_limits(limits)
    os.chdir(wanted["chdir"])
    if wanted["filter"]:
        confine.filter_system_calls()


def loopback_up():
    """Let the process speak to itself, as in any sandbox of bubblewrap."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def drop_rights():
    """Give up every capability in the user namespace that was made, for good."""
    number = 0
    while _LIBC.prctl(_DROP_BOUND, number, 0, 0, 0) == 0:
        number += 1
    header, none = struct.pack("II", 0x20080522, 0), bytes(24)
    _check(_LIBC.capset(header, none), "capset")
    _check(_LIBC.prctl(38, 1, 0, 0, 0), "no new privileges")


def data_bytes():
    """The private writable memory that this process has, as RLIMIT_DATA counts it."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmData:"))


# --- what a child runs -----------------------------------------------------------------------------------------------


def run(work, descriptors):
    """Become an IPython kernel, a judge or, for the grader's own tests, another program."""
    if work["program"]:
        os.execv(work["program"][0], work["program"])
    if work.get("judge"):
        from autograder import judge_process

        judge_process.keep(descriptors["questions"], descriptors["answers"])
    sys.argv = ["kernel.py"]
    kernel.serve({**work["kernel"], "sockets": descriptors})
    return 0


def import_all(modules):
    """Import what notebooks import, so that no fork has to."""
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def main(document):
    """Take over the socket, import, and serve."""
    _LIBC.prctl(_SET_DUMPABLE, 0)  # nobody looks into the zygote
    control = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, OUTBOX_DESCRIPTOR, inheritable=False)  # so that nothing else gets this number
    if nowhere != OUTBOX_DESCRIPTOR:
        os.close(nowhere)
    if document.get("judge"):
        from autograder import judge_process

        os.chdir("/work")  # where reading the images ahead may write
        with contextlib.suppress(Exception):  # each judge tries again, and says what is wrong
            judge_process.prepare(document["modules"])
        os.chdir("/")
    else:
        import_all(document["modules"])
    gc.collect()
    gc.freeze()  # a collection in a child would else touch, and so copy, every page
    control.send(b'{"ready": true}')
    Zygote(control, run).serve()
    return 0


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    # The neighbours of this file; a student's module of the same name must not find them in its place.
    import confine

    if not asked.get("judge"):
        import kernel

    sys.path[:1] = []
    del sys.modules["confine"]
    sys.modules.pop("kernel", None)
    sys.exit(main(asked))
