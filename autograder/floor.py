"""The floor: what the cells of a class cost when nothing but the cells is run.

One process imports TensorFlow, then forks a bare process for each notebook: no kernel, no sandbox, no judge, no
gradebook, no outputs kept. Nothing that grades the same cells can be quicker, so `autograder.bench` compares with it.
Run it as `python -m autograder.floor NOTEBOOK... --jobs 2`; it prints one JSON line for each notebook.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

#: What the students' and the judge's warm processes have imported as well.
MODULES = ("numpy", "tensorflow", "keras", "matplotlib.pyplot", "helpers", "helpers.checks")


def run_notebooks(paths: Sequence[Path], jobs: int, seconds: float = 600) -> list[dict[str, Any]]:
    """Run each notebook's code cells in a forked process of its own.

    Args:
        paths: The notebooks.
        jobs: How many at a time.
        seconds: A process that takes longer is killed.

    Returns:
        For each notebook, in their order: its `name`, the `seconds` from fork to end, how many cells it has (`cells`),
        and how many of them raised an error (`failed`; None if the process did not come to its end).
    """
    results: dict[Path, dict[str, Any]] = {}
    running: dict[int, tuple[Path, float, int]] = {}
    waiting = list(reversed(paths))
    while waiting or running:
        while waiting and len(running) < jobs:
            path = waiting.pop()
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _child(path, writing, seconds)
            os.close(writing)
            running[pid] = (path, time.monotonic(), reading)
        pid, _ = os.wait()
        path, began, reading = running.pop(pid)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        result = {"name": path.stem, "seconds": round(time.monotonic() - began, 4), "cells": None, "failed": None}
        results[path] = {**result, **(json.loads(said) if said else {})}
    return [results[path] for path in paths]


def _child(path: Path, writing: int, seconds: float) -> NoReturn:
    """Run one notebook in this process, and end."""
    folder = tempfile.mkdtemp(prefix="floor-")
    try:
        signal.alarm(int(seconds))
        os.chdir(folder)
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        _keep_fresh_processes_at_hand()
        cells = code_cells(path)
        failed = run_cells(cells)
        os.write(writing, json.dumps({"cells": len(cells), "failed": failed}).encode())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)


def _keep_fresh_processes_at_hand() -> None:
    """Let a check that wants a fresh process have a fork, as in grading: importing once more is not what cells cost."""
    if "helpers.checks" in sys.modules:
        from autograder.fresh import Nursery
        from helpers.checks import fresh_process, saved

        saved.run_fresh = Nursery(fresh_process.main).run


def code_cells(path: Path) -> list[str]:
    """The sources of a notebook's code cells."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_cells(cells: Sequence[str]) -> int:
    """Run cells one after the other in one namespace; an error ends its cell alone, as in grading.

    Returns:
        How many cells raised an error.
    """
    failed = 0
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for source in cells:
        try:
            exec(compile(source, "<cell>", "exec"), namespace)
        except Exception:
            failed += 1
    return failed


def main(arguments: Sequence[str] | None = None) -> None:
    """Import, run, print."""
    parser = argparse.ArgumentParser(prog="python -m autograder.floor", description=__doc__)
    parser.add_argument("notebooks", nargs="+", type=Path, help="notebooks to run")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time")
    parser.add_argument("--light", action="store_true", help="import nothing before the first fork")
    options = parser.parse_args(arguments)
    for module in () if options.light else MODULES:
        importlib.import_module(module)
    for result in run_notebooks(options.notebooks, options.jobs):
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
