"""Inside the sandbox: an IPython kernel on sockets that the grader made, without a user's IPython settings.

Called as `python kernel.py`, with one JSON document on standard input:
`{"connection": the connection file's content, "sockets": {"shell": descriptor, ...}, "file": where to write it}`.
The zygote calls `serve` in a process that it has forked.

The grader binds and listens; the kernel gets the listening sockets as open descriptors. So no folder is shared between
the sandbox and the rest of the machine, and nothing inside can put another socket, or a link, in the place of these.
"""

import os
import sys

if __name__ == "__main__":
    sys.path[:1] = []  # the folder of this file; a student's folder joins the path when the kernel itself is loaded

import contextlib
import json
from pathlib import Path

# A debugger is half of what a kernel imports, and nobody sits at this one to use it.
sys.modules["debugpy"] = None
import ipykernel.debugger  # noqa: E402, F401

del sys.modules["debugpy"]

import zmq  # noqa: E402
from ipykernel.heartbeat import Heartbeat  # noqa: E402
from ipykernel.kernelapp import IPKernelApp  # noqa: E402


class SandboxedKernelApp(IPKernelApp):
    """A kernel whose sockets are inherited, not bound by path."""

    def _try_bind_socket(self, s, port):
        names = {getattr(self, name + "_port"): name for name in ("shell", "iopub", "stdin", "control")}
        s.setsockopt(zmq.USE_FD, SOCKETS[names[port]])
        s.bind(f"ipc://inherited-{port}")
        return port

    def init_control(self, context):
        """Initialise the control channel, without the debugger's way back by path."""
        super().init_control(context)
        with contextlib.suppress(zmq.ZMQError):
            self.debug_shell_socket.disconnect(self.shell_socket.getsockopt(zmq.LAST_ENDPOINT))

    def init_heartbeat(self):
        """Initialise the heartbeat on its inherited socket."""
        self.heartbeat = InheritedHeartbeat(zmq.Context(), (self.transport, self.ip, self.hb_port))
        self.heartbeat.start()

    def cleanup_ipc_files(self):
        """Leave the sockets alone: they belong to the grader."""


class InheritedHeartbeat(Heartbeat):
    """A heartbeat whose socket is inherited."""

    def _try_bind_socket(self):
        self.socket.setsockopt(zmq.USE_FD, SOCKETS["hb"])
        self.socket.bind(f"ipc://inherited-{self.port}")


SOCKETS = {}


def serve(request):
    """Run the kernel on the sockets that a request names, until it ends.

    Args:
        request: `connection`, `sockets` and `file`, as said above.
    """
    SOCKETS.update(request["sockets"])
    for descriptor in SOCKETS.values():
        os.set_inheritable(descriptor, False)
    connection_file = Path(request["file"])
    connection_file.parent.mkdir(parents=True, exist_ok=True)
    connection_file.write_text(json.dumps(request["connection"]), encoding="utf-8")
    SandboxedKernelApp.launch_instance(
        argv=["-f", str(connection_file), "--HistoryManager.hist_file=:memory:", "--IPKernelApp.parent_handle=0"]
    )


if __name__ == "__main__":
    document = json.loads(sys.stdin.buffer.read())
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    del nowhere
    serve(document)
