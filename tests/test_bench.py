"""The benchmark measures what it says: the time of a command, and the memory of it and its descendants."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from autograder.bench import timed

HOLD = "import time; held = bytearray(200 * 2**20); time.sleep(1.2)"


def test_time_and_memory_of_a_command_include_its_descendants(tmp_path: Path) -> None:
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}], check=True)"
    run = timed([sys.executable, "-c", child], tmp_path)
    assert run.seconds >= 1.2
    assert 200 * 2**20 <= run.peak_memory_bytes < 400 * 2**20


def test_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3:\nno gradebook here"):
        timed([sys.executable, "-c", "print('no gradebook here'); raise SystemExit(3)"], tmp_path)


def test_exit_codes_that_count_as_a_result_are_allowed(tmp_path: Path) -> None:
    assert timed([sys.executable, "-c", "raise SystemExit(1)"], tmp_path, (0, 1)).seconds > 0
