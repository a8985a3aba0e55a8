"""Grading on a Dask cluster: a real scheduler and workers that share no folder with the course, one killed mid-run."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import pytest
from processes import wait_until

from autograder.course import find_episode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_bubblewrap", "needs_distributed")]

PROGRAMS = Path(sys.executable).parent
NAME = "01-files"
#: Its notebooks take a while, so that a worker can be killed while it has one, and read the images of the course.
EPISODE = """\
# Files

```python
import os
import time
from pathlib import Path

images = sorted(path.name for path in Path(os.environ["CNN_COURSE_DATA"]).rglob("*.png"))
time.sleep(1.5)
```

Count them.

```python nbgrader={"grade_id": "count", "solution": true}
### BEGIN SOLUTION
#? number = ...
number = len(images)
### END SOLUTION
```

```python nbgrader={"grade_id": "count-test", "grade": true, "locked": true, "points": 2}
assert number is not ..., "not attempted yet"
### BEGIN HIDDEN TESTS
import os
from pathlib import Path

held_out = [path.read_text() for path in Path(os.environ["CNN_COURSE_HOLDOUT"]).rglob("*.png")]
assert (number, held_out) == (15, ["held out"] * 5), f"expected another number than {number}"
### END HIDDEN TESTS
```
"""
ANSWERS = ["number = len(images)", "number = 14", "number = ...", "raise ValueError", "number = 7 + 8"]
STUDENTS = {f"student-{number:02}": ANSWERS[number % len(ANSWERS)] for number in range(12)}
CLASSES = ("airplane", "bird", "cat", "dog", "truck")


def make_course(repository: Path, root: Path) -> Path:
    text = root / "course" / NAME / f"{NAME}.md"
    text.parent.mkdir(parents=True)
    text.write_text(EPISODE)
    shutil.copy(repository / "nbgrader_config.py", root)
    for split in ("cifar10_images_small/train", "cifar10_images_small/val", "cifar10_images_small/test", "holdout"):
        for name in CLASSES:
            image = root / "data" / split / name / f"{Path(split).name}-{name}.png"
            image.parent.mkdir(parents=True)
            image.write_text("held out" if split == "holdout" else name)
    subprocess.run([PROGRAMS / "autograder", "build", "all"], cwd=root, check=True, capture_output=True)
    release = nbformat.read(find_episode(root, "1").release, as_version=4)
    for student, answer in STUDENTS.items():
        notebook = nbformat.from_dict(release)
        for cell in notebook.cells:
            if cell.id == "count":
                cell.source = answer
        folder = root / "submitted" / student / NAME
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / f"{NAME}.ipynb")
    return root


def environment(home: Path) -> dict[str, str]:
    """An environment that names no images and has folders of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CNN_COURSE")}
    return {**kept, "HOME": str(home), "TMPDIR": str(home)}


@dataclass
class Cluster:
    """A scheduler on loopback, and workers in folders of their own, from where the course is not to be seen."""

    folder: Path
    hidden: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    address: str = ""

    def dask(self, name: str, *command: str, before: tuple[str, ...] = ()) -> None:
        home = self.folder / name
        home.mkdir(mode=0o755)
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [*before, str(PROGRAMS / "dask"), *command, "--no-dashboard"],
                cwd=home, env=environment(home), stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)

    def start(self) -> None:
        file = self.folder / "scheduler.json"
        self.dask("scheduler", "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file))
        wait_until(file.exists, "the scheduler listened", self.processes[0], seconds=float("inf"))
        self.address = json.loads(file.read_text())["address"].removeprefix("tcp://")
        hide = ("bwrap", "--dev-bind", "/", "/", "--tmpfs", str(self.hidden))
        for name in ("first", "second"):
            command = ("worker", f"tcp://{self.address}", "--name", name, "--nthreads", "1", "--no-nanny")
            self.dask(name, *command, "--host", "127.0.0.1", "--local-directory", str(self.folder / name), before=hide)

    def end(self) -> None:
        for process in reversed(self.processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)

    def said(self) -> str:
        return "\n".join(f"{path}:\n{path.read_text(errors='replace')[-3000:]}" for path in self.folder.glob("*/log"))


def exported(root: Path) -> list[list[str]]:
    subprocess.run([PROGRAMS / "autograder", "export", "1"], cwd=root, check=True, capture_output=True)
    with (root / "export" / "exercises.csv").open(newline="") as file:
        return list(csv.reader(file))


def graded_events(root: Path) -> list[dict[str, Any]]:
    lines = (root / "logs" / "autograder.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["kind"] == "graded"]


def what_the_tests_said(root: Path) -> dict[str, list[Any]]:
    """The outputs of the test cell of each student."""
    found = {}
    for student in STUDENTS:
        notebook = nbformat.read(root / "autograded" / student / NAME / f"{NAME}.ipynb", as_version=4)
        found[student] = [cell.outputs for cell in notebook.cells if cell.id == "count-test"]
    return found


@dataclass
class Graded:
    """The same class, graded on the cluster and on this machine."""

    cluster: Path
    local: Path
    hidden_from: set[str]
    workers: Counter[str]
    killed: int


@pytest.fixture(scope="module")
def graded(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Graded]:
    from distributed import Client

    root = make_course(repository, tmp_path_factory.mktemp("courses") / "cluster")
    local = root.with_name("local")
    shutil.copytree(root, local)
    home = tmp_path_factory.mktemp("home")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), root)
    try:
        cluster.start()
        with Client(f"tcp://{cluster.address}", set_as_default=False) as client:
            client.wait_for_workers(2)
            names = {facts["id"]: address for address, facts in client.scheduler_info(-1)["workers"].items()}
            pids = client.run(os.getpid)
            seen = client.run(lambda: [str(path) for path in root.iterdir()])
            grader = subprocess.Popen(
                [PROGRAMS / "autograder", "grade", "1", "--executor", f"dask://{cluster.address}"],
                cwd=root, env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

            def first_worker_is_at_work() -> bool:
                results = list((root / ".autograder" / "results").rglob("*.json"))
                return bool(results) and bool(client.processing().get(names["first"]))

            wait_until(first_worker_is_at_work, "a worker could be killed", grader, seconds=float("inf"))
            killed = pids[names["first"]]
            os.kill(killed, signal.SIGKILL)
            said, _ = grader.communicate()
        assert grader.returncode == 0, f"{said}\n{cluster.said()}"
        results = [json.loads(path.read_text()) for path in (root / ".autograder" / "results").rglob("*.json")]
        workers = Counter(result["worker"].split(":")[1] for result in results)
        subprocess.run(
            [PROGRAMS / "autograder", "grade", "1", "--jobs", "1"],
            cwd=local, env=environment(home), check=True, capture_output=True,
        )  # fmt: skip
        yield Graded(root, local, {address for address, files in seen.items() if not files}, workers, killed)
    finally:
        cluster.end()


def test_workers_see_nothing_of_the_course_folder(graded: Graded) -> None:
    assert len(graded.hidden_from) == 2


def test_every_submission_is_graded_once_though_a_worker_was_killed(graded: Graded) -> None:
    events = graded_events(graded.cluster)
    assert Counter(event["student"] for event in events) == dict.fromkeys(STUDENTS, 1)
    assert not any(event["problem"] or event["grader_failed"] for event in events)


def test_the_worker_that_was_left_took_over(graded: Graded) -> None:
    survivors = Counter({pid: number for pid, number in graded.workers.items() if pid != str(graded.killed)})
    assert len(survivors) == 1 and graded.workers.total() == len(STUDENTS)
    assert survivors.total() > len(STUDENTS) // 2


def test_marks_and_messages_are_those_of_this_machine(graded: Graded) -> None:
    assert exported(graded.cluster) == exported(graded.local)
    assert what_the_tests_said(graded.cluster) == what_the_tests_said(graded.local)
    scores = {row[1]: row[5] for row in exported(graded.cluster)[1:]}
    right = {student for student, answer in STUDENTS.items() if answer in ("number = len(images)", "number = 7 + 8")}
    assert scores == {student: "2" if student in right else "0" for student in STUDENTS}


def test_a_second_run_needs_no_cluster_for_what_is_unchanged(graded: Graded, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAMS / "autograder", "grade", "1"], cwd=graded.cluster, env=environment(tmp_path), capture_output=True
    )
    assert done.returncode == 0
    assert [event["fresh"] for event in graded_events(graded.cluster)[len(STUDENTS) :]] == [False] * len(STUDENTS)
