"""Between the two bubblewraps when root grades: end the inner one as soon as the outer one is gone.

Called as `python -I -S leash.py PROGRAM ARGUMENT ...`. A process that dies takes its children along only if it may send
them signals, and bubblewrap outside has given up the right to signal another user's. This process is that user's.
"""

import contextlib
import ctypes
import os
import select
import signal
import sys


def main(argv):
    """Run the program, and die, with it, when the parent dies."""
    above = os.pidfd_open(os.getppid())
    myself = os.getpid()
    child = os.fork()
    if child == 0:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != myself:
            os._exit(1)
        os.close(above)
        os.execv(argv[0], argv)
    below = os.pidfd_open(child)
    # The descriptors that the program inherits are its alone: the other side must see when it closes them.
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        if int(name) not in (above, below):
            with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
                os.close(int(name))
    poller = select.poll()
    for each in (above, below):
        poller.register(each, select.POLLIN)
    ready = {descriptor for descriptor, _ in poller.poll()}
    if below not in ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1:])
