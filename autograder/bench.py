"""The benchmark: one class, graded by plain nbgrader and by this grader, one after the other in one run.

Run it with `make bench`. It prints a table and writes `bench/latest.json`; ratios within one run are what it is for,
since seconds differ from machine to machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from autograder.course import CONFIG_NAME, Episode, environment_first, find_root
from autograder.demo import find_images, stage

#: nbgrader as it comes, but for the time that a cell may take: its 30 s are too short for a training on a busy machine.
PLAIN_CONFIG = """\
c = get_config()
c.CourseDirectory.root = {root!r}
c.Execute.timeout = 300
c.ClearSolutions.enforce_metadata = False
"""
MEMORY_TICK = 0.25  # seconds between two looks at the memory of all processes
VERSIONS = ("nbgrader", "tensorflow", "keras", "numpy", "ipykernel", "jupyter_client")


@dataclass(frozen=True)
class Run:
    """One way to grade the class.

    Attributes:
        seconds: Wall time, from starting the command to its end.
        peak_memory_bytes: The largest proportional set size (PSS) of the command and all its descendants together.
    """

    seconds: float
    peak_memory_bytes: int


def timed(command: Sequence[str], cwd: Path, allowed: Sequence[int] = (0,)) -> Run:
    """Run a command to its end and measure it.

    Args:
        command: The command line.
        cwd: The folder to run in.
        allowed: Exit codes that count as a success.

    Raises:
        RuntimeError: It ended with another exit code.
    """
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=cwd, stdout=said, stderr=said, stdin=subprocess.DEVNULL)
        peak, done = [0], threading.Event()

        def watch() -> None:
            while not done.wait(MEMORY_TICK):
                peak[0] = max(peak[0], tree_memory(process.pid))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        status = process.wait()
        seconds = time.monotonic() - began
        done.set()
        watcher.join()
        if status not in allowed:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{said.read()[-2000:]}")
    return Run(seconds, peak[0])


def tree_memory(pid: int) -> int:
    """Proportional set size of a process and its descendants, in bytes; those that end meanwhile count 0."""
    total = 0
    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total


def plain_course(episode: Episode, folder: Path) -> Path:
    """The same class as a course of plain nbgrader."""
    for name in ("source", "submitted"):
        shutil.copytree(episode.root / name, folder / name)
    (folder / CONFIG_NAME).write_text(PLAIN_CONFIG.format(root=str(folder)), encoding="utf-8")
    return folder


def measure(root: Path, copies: int, folder: Path) -> tuple[int, dict[str, Run]]:
    """Grade one class in each way.

    Args:
        root: The course.
        copies: How often each sample submission is in the class.
        folder: A scratch folder.

    Returns:
        The number of submissions, and the runs by name.
    """
    find_images(root)
    grading, samples = stage(root, folder / "ours")
    episode = grading.episode
    for sample in samples:
        for copy in range(2, copies + 1):
            twin = episode.submitted(f"{sample.name}-{copy}")
            twin.mkdir(parents=True)
            notebook = episode.submitted(sample.name) / f"{episode.name}.ipynb"
            (twin / notebook.name).write_bytes(notebook.read_bytes())
    (folder / "plain").mkdir()
    plain = plain_course(episode, folder / "plain")
    programs = Path(sys.executable).parent
    subprocess.run(
        [programs / "nbgrader", "generate_assignment", episode.name], cwd=plain, check=True, capture_output=True
    )
    runs = {
        # nbgrader ends with 1 where a notebook could not be graded at all; that is a result too
        "nbgrader": timed([str(programs / "nbgrader"), "autograde", episode.name], plain, (0, 1)),
        "ours": timed([str(programs / "autograder"), "grade", episode.name], episode.root, (0, 1)),
        "ours, again": timed([str(programs / "autograder"), "grade", episode.name], episode.root, (0, 1)),
    }
    return len(samples) * copies, runs


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the file."""
    parser = argparse.ArgumentParser(prog="python -m autograder.bench", description=__doc__)
    parser.add_argument("--copies", type=int, default=1, help="how often each sample submission is in the class")
    options = parser.parse_args(arguments)
    environment_first()
    root = find_root()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        count, runs = measure(root, max(1, options.copies), Path(scratch))
    ratios = {
        "nbgrader_over_ours": round(runs["nbgrader"].seconds / runs["ours"].seconds, 3),
        "regrade_over_first": round(runs["ours, again"].seconds / runs["ours"].seconds, 4),
    }
    table = Table(title=f"{count} submissions of 01-introduction", title_justify="left")
    for name in ("", "seconds", "a submission", "peak memory"):
        table.add_column(name, justify="right" if name else "left")
    for name, run in runs.items():
        gigabytes = f"{run.peak_memory_bytes / 2**30:.2f} GB"
        table.add_row(name, f"{run.seconds:.1f}", f"{run.seconds / count:.2f}", gigabytes)
    console = Console()
    console.print(table)
    console.print(
        f"nbgrader / ours: {ratios['nbgrader_over_ours']}; grading again / first: {ratios['regrade_over_first']}"
    )
    found = {
        "submissions": count,
        "ratios": ratios,
        "seconds": {name: round(run.seconds, 2) for name, run in runs.items()},
        "peak_memory_bytes": {name: run.peak_memory_bytes for name, run in runs.items()},
        "machine": {
            "processor": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "python": sys.version.split()[0],
        },
        "versions": {name: version(name) for name in VERSIONS},
    }
    target = root / "bench" / "latest.json"
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(".part")
    unfinished.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(target)
    console.print(f"Written to {target.relative_to(root)}.")


if __name__ == "__main__":
    main()
