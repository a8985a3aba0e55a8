"""The benchmark: one class of episode 1, graded in several ways side by side in one run.

Run it with `make bench`. It prints a table and writes `bench/latest.json`. The ways are

- `nbgrader`: plain `nbgrader autograde`, as it comes: no sandbox, no judge, one notebook after the other;
- `one job`, `two jobs`: `autograder grade --jobs 1` and `--jobs 2`, sandboxed and judged;
- `floor`: the same cells, test cells too, in bare forked processes, two at a time (`autograder.floor`);
- `again`: `autograder grade --jobs 2` once more, with nothing changed.

Every way is the command that a person would type, timed from its start to its end. Seconds differ from machine to
machine, and from minute to minute where a machine is shared, so the ways are run in rounds: each round grades the whole
class in each of our ways and a part of it with plain nbgrader, the odd rounds in one order and the even ones in the
other. A ratio is made of the sums over all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import nbformat
import psutil
from nbgrader.api import Gradebook
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from autograder.build import build, dump, read_notebook
from autograder.course import CONFIG_NAME, Episode, environment_first, find_episode, find_root
from autograder.demo import Sample, fill_in, find_images, make_scratch, read_samples
from autograder.sandbox import DETERMINISTIC
from autograder.starter import STARTER_LINE
from autograder.whole import write_json_whole

#: nbgrader as it comes, but for the time that a cell may take: its 30 s are too short for a training on a busy machine.
PLAIN_CONFIG = """\
c = get_config()
c.CourseDirectory.root = {root!r}
c.Execute.timeout = 300
c.ClearSolutions.enforce_metadata = False
"""
WAYS = ("nbgrader", "one job", "two jobs", "floor", "again")
PHASES = ("sanitise", "start", "run", "collect", "judge", "record")
VERSIONS = ("nbgrader", "tensorflow", "keras", "numpy", "ipykernel", "jupyter_client")
#: Ratios to reach, as (smallest, largest).
TARGETS: dict[str, tuple[float, float]] = {
    "nbgrader_over_two_jobs": (6.0, float("inf")),
    "two_jobs_over_floor": (0.0, 1.6),
    "one_job_over_two_jobs": (1.7, float("inf")),
    "regrade_over_first": (0.0, 0.02),
    "cost_400_over_40": (0.9, 1.1),
}
MOST_MEMORY = 2.5 * 2**30  # bytes, of two jobs
MEMORY_TICK = 0.5  # seconds between two looks at the memory of all processes
MEMORY_SHARE = 0.02  # of the time may go into looking
LIGHT_NAME = "01-light"
LIGHT_EPISODE = """\
# A light episode

Add the numbers.

```python nbgrader={"grade_id": "add-up", "solution": true}
numbers = [1, 2, 3]
### BEGIN SOLUTION
#? total = ...
total = sum(numbers)
### END SOLUTION
```

```python nbgrader={"grade_id": "add-up-test", "grade": true, "locked": true, "points": 2}
assert total is not ..., "not attempted yet"
assert isinstance(total, int), f"expected a whole number, found {total!r}"
### BEGIN HIDDEN TESTS
assert total == 6, f"expected the sum of the numbers, found {total!r}"
### END HIDDEN TESTS
```
"""


@dataclass(frozen=True)
class Run:
    """One command.

    Attributes:
        seconds: Wall time, from starting the command to its end.
        peak_memory_bytes: The largest proportional set size (PSS) of the command and all its descendants together.
        cpu_seconds: Processor time of the command and its descendants, as far as they were waited for.
    """

    seconds: float
    peak_memory_bytes: int = 0
    cpu_seconds: float = 0.0


@dataclass
class Class:
    """A class that is graded in all ways.

    Attributes:
        folder: A scratch folder: `ours/` is the course to copy from, `plain/` the same for plain nbgrader, `floor/`
            holds the notebooks with the test cells as graders run them.
        episode: The episode in `ours/`.
        parts: The students, in as many parts as there are rounds.
    """

    folder: Path
    episode: Episode
    parts: list[list[str]]

    @property
    def size(self) -> int:
        """How many have handed in."""
        return sum(map(len, self.parts))


@dataclass
class Measured:
    """What was measured.

    Attributes:
        submissions: How many submissions the class has.
        runs: The runs of each way, in the order of the rounds.
        shares: How many submissions each run of a way graded.
        phases: Seconds of each phase, of one submission graded with two jobs, on average.
        jobs: For each submission graded with two jobs, seconds in a worker and in the grader's process.
        sizes: Bytes that a submission takes, by what keeps them.
        light: Seconds for light notebooks, by their number.
    """

    submissions: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    shares: dict[str, list[int]] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    jobs: list[dict[str, float]] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    light: dict[int, list[float]] = field(default_factory=dict)

    def add(self, way: str, run: Run, share: int) -> None:
        """Keep a run."""
        self.runs.setdefault(way, []).append(run)
        self.shares.setdefault(way, []).append(share)

    def cost(self, way: str) -> float:
        """Seconds for one submission."""
        return sum(run.seconds for run in self.runs[way]) / sum(self.shares[way])

    def cpu(self, way: str) -> float:
        """Processor seconds for one submission."""
        return sum(run.cpu_seconds for run in self.runs[way]) / sum(self.shares[way])

    def peak(self, way: str) -> int:
        """The largest memory of any run, in bytes."""
        return max(run.peak_memory_bytes for run in self.runs[way])

    def processor_share(self) -> float:
        """What part of their time two jobs had a processor: near 1 unless the machine was busy with other things."""
        walls = sum(sum(job.values()) for job in self.jobs)
        used = sum(run.cpu_seconds for run in self.runs.get("two jobs", ()))
        return round(min(1.0, used / walls), 4) if walls else 1.0

    def light_cost(self, number: int) -> float:
        """Seconds for one more of so many light notebooks: what starting costs is taken off."""
        smallest = min(self.light)
        start = statistics.median(self.light[smallest])
        return (statistics.median(self.light[number]) - start) / (number - smallest)

    def ratios(self) -> dict[str, float]:
        """The ratios whose both sides were measured."""
        found = {}
        for name, above, below in (
            ("nbgrader_over_two_jobs", "nbgrader", "two jobs"),
            ("two_jobs_over_floor", "two jobs", "floor"),
            ("one_job_over_two_jobs", "one job", "two jobs"),
            ("regrade_over_first", "again", "two jobs"),
        ):
            if above in self.runs and below in self.runs:
                found[name] = round(self.cost(above) / self.cost(below), 4)
        if len(self.light) == 3:
            _, small, large = sorted(self.light)
            found[f"cost_{large}_over_{small}"] = round(self.light_cost(large) / self.light_cost(small), 3)
        return found


# --- running and measuring one command -------------------------------------------------------------------------------


def timed(
    command: Sequence[str], cwd: Path, allowed: Sequence[int] = (0,), environment: Mapping[str, str] | None = None
) -> Run:
    """Run a command to its end and measure it.

    Args:
        command: The command line.
        cwd: The folder to run in.
        allowed: Exit codes that count as a success.
        environment: Its environment; this process's own when None.

    Raises:
        RuntimeError: It ended with another exit code.
    """
    before = _processor_seconds()
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=cwd, stdout=said, stderr=said, stdin=subprocess.DEVNULL, env=environment
        )
        peak, done = [0], threading.Event()

        def watch() -> None:
            pause = 0.05
            while not done.wait(pause):
                looked = time.monotonic()
                peak[0] = max(peak[0], tree_memory(process.pid))
                pause = max(MEMORY_TICK, (time.monotonic() - looked) / MEMORY_SHARE)

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        status = process.wait()
        seconds = time.monotonic() - began
        done.set()
        watcher.join()
        if status not in allowed:
            said.seek(0)
            raise RuntimeError(f"{' '.join(command)} ended with {status}:\n{said.read()[-2000:]}")
    return Run(seconds, peak[0], _processor_seconds() - before)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tree_memory(pid: int) -> int:
    """Proportional set size of a process and its descendants, in bytes; those that end meanwhile count 0.

    Where the system does not tell that of a process (the judge lets nobody look into it but root), its resident set
    size stands in, which is more.
    """
    total = 0
    try:
        first = psutil.Process(pid)
        processes = [first, *first.children(recursive=True)]
    except psutil.Error:
        return 0
    for process in processes:
        try:
            try:
                total += process.memory_full_info().pss
            except (psutil.AccessDenied, PermissionError):
                total += process.memory_info().rss
        except (psutil.Error, OSError):
            continue
    return total


# --- the class -------------------------------------------------------------------------------------------------------


def solved(source: nbformat.NotebookNode) -> Sample:
    """The instructor's own solution as a sample submission."""
    answers = {}
    for cell in source.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution"):
            lines = [line for line in cell.source.split("\n") if not STARTER_LINE.fullmatch(line)]
            kept = [line for line in lines if not re.search(r"(###|===) (BEGIN|END) [A-Z ]+", line)]
            answers[marks.grade_id] = "\n".join(kept)
    return Sample("solution", "The instructor's solution", answers, {}, {})


def reseeded(notebook: nbformat.NotebookNode, seed: int) -> nbformat.NotebookNode:
    """A copy with another seed, so that two submissions with the same answers still train two models."""
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        cell.source = re.sub(r"set_random_seed\(\d+\)", f"set_random_seed({seed})", cell.source)
    return notebook


def as_graded(notebook: nbformat.NotebookNode, source: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """A submission with its test cells as graders run them, hidden tests included."""
    tests = {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in source.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade")
    }
    notebook = nbformat.from_dict(notebook)
    for cell in notebook.cells:
        cell.source = tests.get(cell.metadata.get("nbgrader", {}).get("grade_id"), cell.source)
    return notebook


def make_class(root: Path, submissions: int, rounds: int, folder: Path) -> Class:
    """Make a class of episode 1: the solution and the sample submissions in turn, each copy with a seed of its own.

    Args:
        root: The course.
        submissions: How many.
        rounds: Into how many parts to divide it.
        folder: An empty scratch folder.
    """
    original = find_episode(root, "1")
    episode = make_scratch(root, original, folder / "ours")
    build(episode)
    source, release = read_notebook(episode.source), read_notebook(episode.release)
    samples = cycle([solved(source), *read_samples(original.name)])
    parts: list[list[str]] = [[] for _ in range(rounds)]
    (folder / "floor").mkdir()
    for number, sample in enumerate(islice(samples, submissions)):
        at = number * rounds // submissions
        student = f"part-{at + 1}-{number + 1:03}-{sample.name}"
        parts[at].append(student)
        notebook = reseeded(fill_in(release, sample), seed=32 + number)
        path = episode.submitted(student) / f"{episode.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(dump(notebook))
        (folder / "floor" / f"{student}.ipynb").write_bytes(dump(as_graded(notebook, source)))
    return Class(folder, episode, parts)


def plain_course(course: Class) -> Path:
    """The same class as a course of plain nbgrader, its assignment generated."""
    folder = course.folder / "plain"
    folder.mkdir()
    for name in ("source", "submitted"):
        shutil.copytree(course.episode.root / name, folder / name)
    (folder / CONFIG_NAME).write_text(PLAIN_CONFIG.format(root=str(folder)), encoding="utf-8")
    subprocess.run(
        [program("nbgrader"), "generate_assignment", course.episode.name], cwd=folder, check=True, capture_output=True
    )
    return folder


def program(name: str) -> str:
    """A program of this Python environment."""
    return str(Path(sys.executable).parent / name)


# --- the ways --------------------------------------------------------------------------------------------------------


def grade(folder: Path, episode: str, jobs: int) -> Run:
    """`autograder grade` with so many jobs."""
    return timed([program("autograder"), "grade", episode, "--jobs", str(jobs)], folder, (0, 1))


def graded_events(folder: Path) -> list[dict[str, Any]]:
    """What the run log of a course says about each submission that was graded, the newest last."""
    log = folder / "logs" / "autograder.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return [event for event in map(json.loads, lines) if event["kind"] == "graded"]


def check_all_graded(folder: Path, students: Iterable[str]) -> list[dict[str, Any]]:
    """The events of a first run.

    Raises:
        RuntimeError: Somebody was not graded, so that the time would count for nothing.
    """
    events = {event["student"]: event for event in graded_events(folder)}
    failed = [name for name in students if name not in events or events[name].get("problem")]
    if failed:
        problem = events.get(failed[0], {}).get("problem") or "nothing in the run log"
        raise RuntimeError(f"{len(failed)} submissions were not graded, the first is {failed[0]}: {problem}")
    return list(events.values())


def check_nothing_graded(folder: Path, submissions: int) -> None:
    """Make sure that a second run ran no notebook.

    Raises:
        RuntimeError: It did, for example because the grader's own code was changed between the two.
    """
    again = graded_events(folder)[submissions:]
    if len(again) != submissions or any(event["fresh"] for event in again):
        raise RuntimeError("The second run graded submissions anew. Was the code changed while the benchmark ran?")


def average_phases(events: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Seconds of each phase, on average over the submissions."""
    known = [event["phases"] for event in events if event.get("phases")]
    names = [*PHASES, *sorted({name for phases in known for name in phases} - set(PHASES))]
    return {name: round(sum(p.get(name, 0.0) for p in known) / len(known), 4) for name in names if known}


def measure(course: Class, skip: Sequence[str] = (), say: Any = lambda line: None) -> Measured:
    """Grade the class in every way.

    Args:
        course: The class.
        skip: Ways to leave out.
        say: Called with a line about each run.
    """
    found = Measured(course.size)
    plain = None if "nbgrader" in skip else plain_course(course)
    events: list[dict[str, Any]] = []
    for number, part in enumerate(course.parts, 1):
        ways = [way for way in WAYS if way not in skip and way != "again"]
        for way in ways if number % 2 else reversed(ways):
            if way == "nbgrader":
                assert plain is not None
                run, share = _nbgrader(plain, course.episode.name, number), len(part)
            elif way == "floor":
                run, share = _floor(course), course.size
            else:
                folder = course.folder / f"round-{number}-{way.replace(' ', '-')}"
                shutil.copytree(course.episode.root, folder)
                run, share = grade(folder, course.episode.name, 2 if way == "two jobs" else 1), course.size
                graded = check_all_graded(folder, (name for names in course.parts for name in names))
                if way == "two jobs":
                    events += graded
                    if "again" not in skip:
                        found.add("again", grade(folder, course.episode.name, 2), course.size)
                        check_nothing_graded(folder, course.size)
                        say(f"round {number}: again {found.runs['again'][-1].seconds:.2f} s")
                    found.sizes = sizes(folder, course.size)
                shutil.rmtree(folder)
            found.add(way, run, share)
            say(f"round {number}: {way} {run.seconds:.1f} s for {share}, {run.cpu_seconds:.1f} s of processor time")
    found.phases = average_phases(events)
    found.jobs = [split_seconds(event["phases"]) for event in events if event.get("phases")]
    return found


def split_seconds(phases: Mapping[str, float]) -> dict[str, float]:
    """The time of a submission by where it passes: in a worker, or in the grader's process."""
    grader = phases.get("sanitise", 0.0) + phases.get("record", 0.0)
    return {"worker": round(sum(phases.values()) - grader, 3), "grader": round(grader, 4)}


def sizes(folder: Path, submissions: int) -> dict[str, int]:
    """Bytes that a submission takes in a course folder whose class was graded; the gradebook is emptied for it."""
    kept = {"handed in": "submitted", "autograded": "autograded", "results": ".autograder/results", "logs": "logs"}
    found = {name: _bytes_below(folder / where) // submissions for name, where in kept.items()}
    book = folder / "gradebook.db"
    with Gradebook(f"sqlite:///{book}") as gradebook:
        full = _vacuumed(gradebook, book)
        for student in list(gradebook.students):
            gradebook.remove_student(student.id)
        found["gradebook"] = (full - _vacuumed(gradebook, book)) // submissions
    return found


def _bytes_below(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _vacuumed(gradebook: Gradebook, book: Path) -> int:
    gradebook.db.commit()
    with gradebook.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM"))
    return book.stat().st_size


def _nbgrader(folder: Path, episode: str, number: int) -> Run:
    """Plain `nbgrader autograde` on one part of the class, with the threads that it takes by itself."""
    environment = {name: value for name, value in os.environ.items() if name not in DETERMINISTIC}
    # It ends with 1 where a notebook could not be graded at all; that is a result too.
    return timed(
        [program("nbgrader"), "autograde", episode, "--student", f"part-{number}-*"], folder, (0, 1), environment
    )


def _floor(course: Class) -> Run:
    """The bare cells, with threads and determinism as in grading."""
    notebooks = sorted(str(path) for path in (course.folder / "floor").glob("*.ipynb"))
    environment = {**os.environ, **DETERMINISTIC, "MPLBACKEND": "agg"}
    return timed(
        [sys.executable, "-m", "autograder.floor", *notebooks, "--jobs", "2"], course.folder, (0,), environment
    )


def measure_light(
    root: Path, folder: Path, numbers: Sequence[int] = (2, 40, 400), repeats: int = 3
) -> dict[int, list[float]]:
    """Time `autograder grade` on classes of light notebooks, to see whether a submission costs more in a large class.

    Args:
        root: The course, for its configuration.
        folder: A scratch folder.
        numbers: Sizes of the classes; the smallest says what starting costs.
        repeats: How often the smaller ones are run, around the largest.

    Returns:
        Wall seconds of each run, by the size of the class.
    """
    found: dict[int, list[float]] = {number: [] for number in numbers}
    *small, large = sorted(numbers)
    order = [*small * (repeats // 2), large, *list(reversed(small)) * (repeats - repeats // 2)]
    for at, number in enumerate(order):
        course = folder / f"light-{at}"
        lesson = course / "course" / LIGHT_NAME / f"{LIGHT_NAME}.md"
        lesson.parent.mkdir(parents=True)
        lesson.write_text(LIGHT_EPISODE, encoding="utf-8")
        shutil.copy(root / CONFIG_NAME, course)
        episode = Episode(course, LIGHT_NAME)
        build(episode)
        release = read_notebook(episode.release)
        students = [f"student-{count:03}" for count in range(number)]
        for count, student in enumerate(students):
            sample = Sample(student, "", {"add-up": f"numbers = [1, 2, 3]\ntotal = sum(numbers) + {count} % 2"}, {}, {})
            path = episode.submitted(student) / f"{LIGHT_NAME}.ipynb"
            path.parent.mkdir(parents=True)
            path.write_bytes(dump(fill_in(release, sample)))
        found[number].append(round(grade(course, LIGHT_NAME, 2).seconds, 3))
        check_all_graded(course, students)
        shutil.rmtree(course)
    return found


# --- showing it ------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    return {
        "processor": names[0] if names else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.release(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def record(found: Measured, before: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was measured, as plain data.

    Args:
        found: What was measured.
        before: `machine()` as it was before the first run.
    """
    return {
        "submissions": found.submissions,
        "rounds": max(map(len, found.runs.values()), default=0),
        "ratios": found.ratios(),
        "seconds_per_submission": {way: round(found.cost(way), 4) for way in found.runs},
        "processor_seconds_per_submission": {way: round(found.cpu(way), 4) for way in found.runs},
        "seconds_of_each_run": {way: [round(run.seconds, 2) for run in runs] for way, runs in found.runs.items()},
        "peak_memory_bytes": {way: found.peak(way) for way in found.runs},
        "phases_seconds": found.phases,
        "jobs_seconds": found.jobs,
        "processor_share": found.processor_share(),
        "bytes_per_submission": found.sizes,
        "light_seconds": {str(number): seconds for number, seconds in found.light.items()},
        "machine": {**before, "load_average_after": [round(load, 2) for load in os.getloadavg()]},
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
    }


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """The tables about what `record` gives."""
    title = f"{found['submissions']} submissions of 01-introduction, {found['rounds']} round(s)"
    table = Table(title=title, title_justify="left")
    for name in ("", "a submission", "processor time", "peak memory"):
        table.add_column(name, justify="right" if name else "left")
    for way, seconds in found["seconds_per_submission"].items():
        cpu = found["processor_seconds_per_submission"][way]
        table.add_row(way, f"{seconds:.2f} s", f"{cpu:.2f} s", f"{found['peak_memory_bytes'][way] / 2**30:.2f} GB")
    if found["seconds_per_submission"]:
        yield table
    table = Table(title="Ratios", title_justify="left")
    for name in ("", "found", "to reach"):
        table.add_column(name, justify="right" if name else "left")
    for name, value in found["ratios"].items():
        table.add_row(name, f"{value:g}", _target(name, value))
    if "two jobs" in found["peak_memory_bytes"]:
        peak = found["peak_memory_bytes"]["two jobs"]
        held = "[green]yes[/]" if peak <= MOST_MEMORY else "[red]no[/]"
        table.add_row("memory of two jobs", f"{peak / 2**30:.2f} GB", f"at most {MOST_MEMORY / 2**30:g} GB: {held}")
    yield table
    if found["phases_seconds"]:
        table = Table(title="Where a submission's time goes (two jobs)", title_justify="left")
        table.add_column("phase")
        table.add_column("seconds", justify="right")
        for name, seconds in found["phases_seconds"].items():
            table.add_row(name, f"{seconds:.3f}")
        yield table


def _target(name: str, value: float) -> str:
    if name not in TARGETS:
        return ""
    low, high = TARGETS[name]
    held = "[green]yes[/]" if low <= value <= high else "[red]no[/]"
    wish = f"at least {low:g}" if high == float("inf") else f"at most {high:g}" if low == 0 else f"{low:g} to {high:g}"
    return f"{wish}: {held}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write the file."""
    parser = argparse.ArgumentParser(
        prog="python -m autograder.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--submissions", type=int, default=40, help="size of the class (40)")
    parser.add_argument("--rounds", type=int, default=2, help="how often each way is run (2)")
    parser.add_argument("--skip", action="append", default=[], choices=[*WAYS, "light"], help="leave a way out")
    parser.add_argument(
        "--to", type=Path, help="the file to write (bench/latest.json); not written if a way is left out"
    )
    options = parser.parse_args(arguments)
    if not 1 <= options.rounds <= options.submissions:
        parser.error("--rounds must be between 1 and the number of submissions")
    environment_first()
    root, console, before = find_root(), Console(highlight=False), machine()
    find_images(root)
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        course = make_class(root, options.submissions, options.rounds, Path(scratch) / "class")
        found = measure(course, options.skip, console.print)
        if "light" not in options.skip:
            found.light = measure_light(root, Path(scratch) / "light")
    data = record(found, before)
    for table in tables(data):
        console.print(table)
    target = options.to or (None if options.skip else root / "bench" / "latest.json")
    if target is not None:
        write_json_whole(target, data)
        console.print(f"Written: {target}")


if __name__ == "__main__":
    main()
