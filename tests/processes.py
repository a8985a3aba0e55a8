"""Commands that run in processes of their own, while a test looks on."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

import psutil


def wait_until(
    holds: Callable[[], Any], what: str, process: subprocess.Popen | None = None, *, seconds: float = 120
) -> Any:
    """Wait until something holds; not if the process it depends on has ended.

    Args:
        holds: Looked at again and again.
        what: What is waited for, in words that go on from 'before'.
        process: What has to run until then; None if nothing has to.
        seconds: For so long at most.

    Returns:
        What `holds` returned in the end.
    """
    end = time.monotonic() + seconds
    while not (found := holds()):
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it ended before {what}: {process.stdout and process.stdout.read()}")
        assert time.monotonic() < end, f"{seconds} s went by before {what}"
        time.sleep(0.05)
    return found


def tree(process: subprocess.Popen) -> list[psutil.Process]:
    """All that a process has started, and what these have."""
    return psutil.Process(process.pid).children(recursive=True)
