"""Killed at any moment, a second run grades what is missing and nothing twice, and the gradebook is whole."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from processes import tree, wait_until
from quick_class import ANSWERS, QuickPool, hand_in, make_class

from autograder.course import Episode, find_episode
from autograder.grade import read_class_marks

HERE = Path(__file__).resolve().parent
#: Grades a class once in a process that kills itself, as a power cut would, at the n-th thing that it does with a file.
#: One process loads everything and forks the others, which spares each of them the loading.
DRIVER = """
import os, signal, sys, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
from quick_class import QuickPool
from autograder import build, executors, recording, report
from autograder.course import find_episode
from autograder.grade import prepare

def grade(root, moment):
    count = 0
    def audit(event, arguments):
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "shutil.copyfile",
                     "sqlite3.connect", "os.listdir", "os.scandir"):
            count += 1
            if count == moment:
                os.kill(os.getpid(), signal.SIGKILL)
    pool = QuickPool(root / "executed")
    grading = prepare(find_episode(root, "1"), sandbox=False, pool=pool)
    sys.addaudithook(audit)
    for result in grading:
        assert not result.problem, result.problem
    pool.close()
    return count

for line in sys.stdin:
    root, moment = line.split()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, str(grade(Path(root), int(moment))).encode())
        os._exit(0)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), os.read(reader, 20).decode() or "-", flush=True)
    os.close(reader)
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A class that nobody has graded yet, known to the gradebook."""
    root = tmp_path_factory.mktemp("template")
    episode = make_class(root)
    from autograder.build import register_assignment

    register_assignment(episode)
    return root


def fresh(template: Path, root: Path) -> Episode:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(template, root)
    return find_episode(root, "1")


def marks(episode: Episode) -> dict[str, list[tuple]]:
    found = read_class_marks(episode)
    return {student: [(one.exercise, one.state, one.score, one.message) for one in found[student]] for student in found}


def executions(root: Path) -> list[list[str]]:
    """Student and key of each notebook that was run so far."""
    path = root / "executed"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def check_gradebook(root: Path) -> None:
    with sqlite3.connect(root / "gradebook.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        # Each student once, with each grade once, and never a part of them.
        rows = database.execute(
            "SELECT a.student_id, COUNT(DISTINCT g.id) FROM submitted_assignment a JOIN submitted_notebook n "
            "ON n.assignment_id = a.id LEFT JOIN grade g ON g.notebook_id = n.id GROUP BY a.id"
        ).fetchall()
        assert len({student for student, _ in rows}) == len(rows)
        assert all(grades == 2 for _, grades in rows)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_class_is_graded_once_to_the_marks_of_a_run_in_peace(template, tmp_path):
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER], cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def run(root: Path, moment: int) -> tuple[int, str]:
        driver.stdin.write(f"{root} {moment}\n")
        driver.stdin.flush()
        code, count = driver.stdout.readline().split()
        return int(code), count

    try:
        peace = fresh(template, tmp_path / "peace")
        code, count = run(peace.root, 0)
        assert code == 0
        whole, moments, expected = int(count), random.Random(4), marks(peace)
        assert set(expected) == set(ANSWERS)
        kills, root = 0, tmp_path / "course"
        while kills < 20:
            episode = fresh(template, root)
            code, kept, before = -9, set(), 0
            while code:
                # Later runs have less to do: a moment that is past their end lets them come to it.
                code, _ = run(root, moments.randint(1, whole) if kills < 20 else 0)
                assert code in (0, -9)
                kills += code == -9
                check_gradebook(root)
                executed = executions(root)
                assert kept.isdisjoint(key for _, key in executed[before:])
                kept = {path.stem for path in (root / ".autograder" / "results").rglob("*.json")}
                before = len(executed)
            assert marks(episode) == expected
            assert {student for student, _ in executed} == set(ANSWERS) and len(kept) == len(ANSWERS)
            assert all(path.is_file() for path in map(episode.autograded, ANSWERS))
            assert run(root, 0)[0] == 0
            assert executions(root) == executed
    finally:
        driver.stdin.close()
        driver.wait(timeout=60)


def test_a_result_that_was_kept_before_the_kill_is_not_run_again(template, tmp_path):
    """The gradebook knew nothing yet, the worker's result was on disk."""
    episode = fresh(template, tmp_path / "course")
    from autograder.grade import prepare

    for _ in range(2):
        pool = QuickPool(episode.root / "executed")
        results = {one.student: one for one in prepare(episode, sandbox=False, pool=pool)}
        pool.close()
        for lost in ("autograded", ".autograder/ledger"):
            shutil.rmtree(episode.root / lost)
    assert sorted(QuickPool(episode.root / "executed").runs()) == sorted(ANSWERS)
    assert results["ada"].score == 2


# ---------------------------------------------------------------------------------------------------------------------
# With real kernels


EXPECTED = {"ada": 2, "bob": 2, "cyd": 2, "dee": 0, "eve": 0, "fay": 0}


def start(root: Path, *options: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "autograder", "grade", "1", "--jobs", "2", *options],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def events(root: Path, kind: str) -> list[dict]:
    log = root / "logs" / "autograder.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    return [line for line in lines if line["kind"] == kind]


def long_class(template: Path, root: Path) -> Episode:
    """Six submissions, of which the last ones take some seconds: time enough to stop the run before its end."""
    episode = fresh(template, root)
    for student in EXPECTED:
        seconds, total = (0, 6) if EXPECTED[student] else (3, 7)
        hand_in(episode, student, f"import time\ntime.sleep({seconds})\ntotal = {total}")
    return episode


def scores(episode: Episode) -> dict[str, float | None]:
    return {student: found[0].score for student, found in read_class_marks(episode).items()}


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
def test_stopped_in_the_middle_no_kernel_stays_and_the_same_command_goes_on(template, tmp_path, how):
    episode = long_class(template, tmp_path / "course")
    process = start(episode.root)
    wait_until(lambda: events(episode.root, "graded"), "somebody was graded", process)
    kernels = tree(process)
    assert kernels
    process.send_signal(signal.SIGKILL if how == "kill -9" else signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    if how == "Ctrl-C":
        assert process.returncode == 130
        assert "Go on with the same command" in said and "Traceback" not in said
    _, alive = psutil.wait_procs(kernels, timeout=60)
    assert not alive
    assert len(events(episode.root, "graded")) < len(EXPECTED)
    check_gradebook(episode.root)
    kept = len(list((episode.root / ".autograder" / "results").rglob("*.json")))
    again = start(episode.root)
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert scores(episode) == EXPECTED
    last = events(episode.root, "graded")[-len(EXPECTED) :]
    assert {one["student"] for one in last} == set(EXPECTED)
    assert sum(one["fresh"] for one in last) == len(EXPECTED) - kept


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
def test_kernels_that_are_killed_in_the_middle_cost_no_points(template, tmp_path):
    episode = long_class(template, tmp_path / "course")
    process = start(episode.root)
    wait_until(lambda: events(episode.root, "graded"), "somebody was graded", process)
    for child in tree(process):
        if child.is_running():
            os.kill(child.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert scores(episode) == EXPECTED
