"""Fresh processes for checks that want one, such as `checks.reloads`, in milliseconds.

A new Python needs seconds to import TensorFlow. Here a process that has imported it and run nothing yet forks a
*nursery*, and goes on to what it is there for. The nursery runs nothing either: it waits, and forks a process each time
one is wanted. Nothing that has happened meanwhile in the process which asks is known there.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1
_MOST = 1 << 20  # bytes of a question or an answer


class Nursery:
    """Forks fresh processes of this one as it is now.

    It ends with the process that made it.

    Args:
        close: Descriptors that are none of its business.
        work: What a fresh process calls with the arguments it was given.
    """

    def __init__(self, work: Callable[..., Any], close: Sequence[int] = ()) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _die_with(parent)
                self._ours.close()
                for descriptor in close:
                    os.close(descriptor)
                _serve(theirs, work)
            finally:
                os._exit(0)
        theirs.close()

    def run(self, arguments: Sequence[str], folder: str, seconds: float) -> tuple[int, str]:
        """Have the work done in a fresh process, within this process's limits and environment.

        Args:
            arguments: For the work.
            folder: Where it is done.
            seconds: It is killed after that.

        Returns:
            The exit code, as `subprocess` counts it, and the last line of an error.

        Raises:
            OSError: The nursery is gone.
        """
        limits = {name: resource.getrlimit(name) for name in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE)}
        question = {
            "arguments": list(arguments),
            "folder": folder,
            "seconds": seconds,
            "environment": dict(os.environ),
            "limits": list(limits.items()),
        }
        self._ours.send(json.dumps(question).encode())
        answer = self._ours.recv(_MOST)
        if not answer:
            raise OSError("the nursery ended")
        code, last = json.loads(answer)
        return code, last


def _serve(asked: socket.socket, work: Callable[..., Any]) -> None:
    while question := asked.recv(_MOST):
        reading, writing = os.pipe()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            os.close(reading)
            asked.close()
            _work(parent, writing, json.loads(question), work)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            last = pipe.read(2000).decode(errors="replace")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        asked.send(json.dumps([code, last]).encode())


def _work(parent: int, writing: int, question: dict[str, Any], work: Callable[..., Any]) -> NoReturn:
    code = 1
    try:
        _die_with(parent)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, question["seconds"])
        for name, limit in question["limits"]:
            resource.setrlimit(name, tuple(limit))
        os.environ.clear()
        os.environ.update(question["environment"])
        os.chdir(question["folder"])
        work(*question["arguments"])
        code = 0
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.write(writing, traceback.format_exception_only(error)[-1].strip()[:500].encode(errors="replace"))
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    """Be killed when the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
