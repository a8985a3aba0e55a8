"""The notebooks of the course themselves: solved ones earn everything, untouched ones nothing, and every cell runs.

`make sweep` sets CNN_COURSE_SEEDS to try the solution with more seeds than the suite does, on each set of images. The
suite tries it once, on the stand-in: on the real images the bank of answers does (`test_bank_of_answers.py`), which has
every solution and every untouched answer judged. nbval runs every solution in a plain kernel, so nbgrader's validate,
which does the same, is tried with one episode.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder.build import build
from autograder.course import Episode, episodes, find_episode
from autograder.grade import StudentResult, prepare

SEEDS = range(32, 32 + int(os.environ.get("CNN_COURSE_SEEDS", "1")))
IMAGES = ["real images", "stand-in"] if len(SEEDS) > 1 else ["stand-in"]
NAMES = [episode.name for episode in episodes(Path(__file__).resolve().parent.parent)]

pytestmark = pytest.mark.slow


def own_course(repository: Path, root: Path, name: str) -> Episode:
    """One episode in a course folder of its own, so that no test meets another's marks."""
    shutil.copytree(repository / "course" / name, root / "course" / name)
    shutil.copy(repository / "nbgrader_config.py", root)
    episode = find_episode(root, name)
    build(episode)
    return episode


def hand_in(episode: Episode, student: str, notebook: nbformat.NotebookNode) -> None:
    path = episode.submitted(student) / f"{episode.name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


def with_seed(notebook: nbformat.NotebookNode, seed: int) -> nbformat.NotebookNode:
    """The notebook with another seed at its top."""
    copy = nbformat.from_dict(notebook)
    call = re.compile(r"set_random_seed\(\d+\)")
    places = [cell for cell in copy.cells if cell.cell_type == "code" and call.search(cell.source)]
    assert len(places) == 1, "an episode sets its seed once, at the top"
    places[0].source = call.sub(f"set_random_seed({seed})", places[0].source)
    return copy


def grade(episode: Episode) -> dict[str, StudentResult]:
    return {result.student: result for result in prepare(episode)}


def lost(result: StudentResult) -> list[str]:
    """What keeps a result from full marks: its problem, and every machine-graded question that is not full."""
    machine = [mark for mark in result.marks if not mark.written]
    short = [f"{mark.exercise}: {mark.state} {mark.score} ({mark.message})" for mark in machine if not is_full(mark)]
    return [result.problem] * bool(result.problem) + short


def is_full(mark) -> bool:
    return mark.state == "marked" and mark.score == mark.max_score


@pytest.mark.usefixtures("needs_bubblewrap")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", IMAGES)
def test_the_solution_earns_full_marks_with_every_seed_and_the_untouched_release_none(
    repository, tmp_path, name, kind, request, monkeypatch
):
    folder = request.getfixturevalue("needs_real_images" if kind == "real images" else "standin_images")
    monkeypatch.setenv("CNN_COURSE_DATA", str(folder))
    monkeypatch.delenv("CNN_COURSE_HOLDOUT", raising=False)
    episode = own_course(repository, tmp_path, name)
    source = nbformat.read(episode.source, as_version=4)
    for seed in SEEDS:
        hand_in(episode, f"seed-{seed}", with_seed(source, seed))
    hand_in(episode, "untouched", nbformat.read(episode.release, as_version=4))
    results = grade(episode)
    untouched = results.pop("untouched")
    assert {student: lost(result) for student, result in results.items() if lost(result)} == {}
    assert len(results) == len(SEEDS)
    machine = [mark for mark in untouched.marks if not mark.written]
    assert not untouched.problem and machine
    assert [(mark.exercise, mark.state, mark.score) for mark in machine] == [
        (mark.exercise, "marked", 0) for mark in machine
    ]
    assert all("not attempted yet" in mark.message for mark in machine), [mark.message for mark in machine]


def validate(path: Path) -> str:
    """What nbgrader's validate says of a notebook."""
    patience = ("--Execute.timeout=300", "--Execute.iopub_timeout=100")  # on a busy machine
    done = subprocess.run(
        ["nbgrader", "validate", path.name, *patience], cwd=path.parent, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", NAMES[:1])
def test_nbgraders_validate_fails_the_untouched_release(repository, tmp_path, name):
    said = validate(own_course(repository, tmp_path, name).release)
    assert "VALIDATION FAILED" in said and "not attempted yet" in said


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", NAMES[:1])
def test_nbgraders_validate_passes_the_solution(repository, tmp_path, name):
    said = validate(own_course(repository, tmp_path, name).source)
    assert "Success! Your notebook passes all the tests." in said


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_the_instructor_notebook_runs(repository, tmp_path, name):
    episode = own_course(repository, tmp_path, name)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval-lax",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            episode.source.name,
        ],
        cwd=episode.source.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
