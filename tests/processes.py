"""Commands that run in processes of their own, while a test looks on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import psutil


def wait_for(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """Wait until something has happened, for two minutes at most; not if the process has ended."""
    for _ in range(2400):
        if condition():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError("it did not happen in two minutes")


def tree(process: subprocess.Popen) -> list[psutil.Process]:
    """All that a process has started, and what these have."""
    return psutil.Process(process.pid).children(recursive=True)
