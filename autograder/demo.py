"""The demo: a class of sample submissions, graded for real, with the marks that each should get beside it."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from autograder.build import build, dump, read_notebook
from autograder.course import CONFIG_NAME, Episode, find_episode
from autograder.errors import CourseError
from autograder.grade import Grading, Mark, StudentResult, prepare

SAMPLES = Path(__file__).parent / "samples"
SCRATCH_MARK = ".made-by-autograder-demo"


@dataclass(frozen=True)
class Sample:
    """A sample submission: answers as text, and the marks that they deserve.

    Attributes:
        name: Its student id in the demo.
        about: What this student did, in a few words.
        answers: The content of answer cells by exercise id; every other cell stays as released.
        expected: What each graded question should give, by exercise id: `full`, `none`, `waits` (for a person) or
            points as a number.
        says: A part of the message that a question should come with, by exercise id.
    """

    name: str
    about: str
    answers: dict[str, str]
    expected: dict[str, str | float]
    says: dict[str, str]


@dataclass(frozen=True)
class Comparison:
    """One question of one sample: the mark it got beside the mark it should get."""

    exercise: str
    expected: str
    actual: str

    @property
    def agrees(self) -> bool:
        """Whether they are the same."""
        return self.expected == self.actual


def read_samples(episode: str, folder: Path = SAMPLES) -> list[Sample]:
    """Read the sample submissions of an episode, in the order of their files.

    Raises:
        CourseError: There is none, or a file is not as expected.
    """
    samples = []
    for path in sorted((folder / episode).glob("*.toml")):
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
            samples.append(
                Sample(
                    name=path.stem.partition("-")[2],
                    about=data["about"],
                    answers={key: text.strip("\n") for key, text in data.get("answers", {}).items()},
                    expected=data["expected"],
                    says=data.get("says", {}),
                )
            )
        except (tomllib.TOMLDecodeError, KeyError) as problem:
            raise CourseError(f"{path} is no sample submission: {type(problem).__name__}: {problem}") from problem
    if not samples:
        raise CourseError(f"There are no sample submissions of {episode} in {folder}.")
    return samples


def fill_in(release: nbformat.NotebookNode, sample: Sample) -> nbformat.NotebookNode:
    """Put a sample's answers into a copy of the student notebook.

    Raises:
        CourseError: The sample answers an exercise that the notebook does not have.
    """
    notebook = nbformat.from_dict(release)
    left = dict(sample.answers)
    for cell in notebook.cells:
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        if grade_id in left and cell.metadata.nbgrader.solution:
            cell.source = left.pop(grade_id)
    if left:
        raise CourseError(f"The sample '{sample.name}' answers unknown exercises: {', '.join(sorted(left))}.")
    return notebook


def make_scratch(root: Path, episode: Episode, scratch: Path) -> Episode:
    """Copy one episode into a course folder of its own, so that the demo touches no real marks.

    Raises:
        CourseError: The folder is there already and was not made by the demo.
    """
    if scratch.exists():
        if not (scratch / SCRATCH_MARK).is_file():
            raise CourseError(f"{scratch} is in the way: the demo did not make it, so it will not remove it.")
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True)
    (scratch / SCRATCH_MARK).touch()
    shutil.copy(root / CONFIG_NAME, scratch)
    origin = episode.text if episode.text.is_file() else episode.source
    shutil.copytree(origin.parent, scratch / origin.parent.relative_to(root))
    return find_episode(scratch, episode.name)


def stage(root: Path, scratch: Path, *, sandbox: bool = True, folder: Path = SAMPLES) -> tuple[Grading, list[Sample]]:
    """Set up the demo's class: a scratch course, and every sample handed in.

    Args:
        root: The course folder.
        scratch: Where the demo's own course folder goes.
        sandbox: Run the samples' code in the sandbox.
        folder: Where the samples are.

    Returns:
        The grading, ready to run, and the samples.

    Raises:
        CourseError: Something is missing or in the way.
    """
    original = find_episode(root, "1")
    samples = read_samples(original.name, folder)
    episode = make_scratch(root, original, scratch)
    build(episode)
    release = read_notebook(episode.release)
    for sample in samples:
        path = episode.submitted(sample.name) / f"{episode.name}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_bytes(dump(fill_in(release, sample)))
    return prepare(episode, sandbox=sandbox), samples


def find_images(root: Path) -> bool:
    """Point the demo's class at images: those of the course, else a stand-in that is drawn into its `data/`.

    Returns:
        Whether they are a stand-in.

    Raises:
        CourseError: `CNN_COURSE_DATA` names a folder that holds none, or the stand-in cannot be written.
    """
    from helpers import data
    from helpers.standin import draw_standin

    try:
        folder = data.find_data() or draw_standin(root / "data")
    except (data.DataError, OSError) as problem:
        raise CourseError(str(problem)) from problem
    os.environ[data.DATA_VARIABLE] = str(folder.resolve())
    return data.is_standin(folder)


def compare(sample: Sample, result: StudentResult) -> Iterator[Comparison]:
    """Set the marks of a sample beside those that it should get."""
    if result.problem:
        yield Comparison("submission", "graded", result.problem)
        return
    for mark in result.marks:
        exercise = mark.exercise.removesuffix("-test")
        expected = sample.expected.get(exercise, sample.expected.get("others", "full"))
        yield Comparison(exercise, shown(expected, mark.max_score), actual(mark))
        part = sample.says.get(exercise)
        if part is not None and part not in mark.message:
            yield Comparison(f"{exercise}, message", part, mark.message)


def shown(expected: Any, max_score: float) -> str:
    """An expected mark as the table shows it."""
    if expected == "full":
        return f"{max_score:g}"
    if expected == "none":
        return "0"
    return "waits" if expected == "waits" else f"{float(expected):g}"


def actual(mark: Mark) -> str:
    """A mark as the table shows it."""
    if mark.state == "marked":
        return f"{mark.score:g}"
    return "waits" if mark.state == "needs manual grading" else "grader failed"
