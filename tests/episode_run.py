"""What the tests of every episode share: its notebooks, built from the lesson text, how cells are run, common demands.

Cells are run in this process, in a namespace and a folder of their own, which is what a kernel does at a fraction of
its cost. That they also run in a real kernel is shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest

from autograder.build import build
from autograder.course import Episode
from helpers import checks, hints

# --- an episode's notebooks ---


def notebooks_of(name: str) -> Callable[..., tuple[nbformat.NotebookNode, nbformat.NotebookNode]]:
    """The fixture `notebooks` of an episode's tests: `notebooks = notebooks_of(NAME)`."""

    @pytest.fixture(scope="module", name="notebooks")
    def notebooks(repository, tmp_path_factory) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
        """The instructor's notebook and the student's, built from the lesson text."""
        return built_notebooks(repository, tmp_path_factory.mktemp("course"), name)

    return notebooks


def built_notebooks(repository: Path, root: Path, name: str) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The instructor's notebook and the student's, built from the lesson text in the empty folder `root`."""
    episode = Episode(root, name)
    episode.text.parent.mkdir(parents=True)
    episode.text.write_text((repository / "course" / name / f"{name}.md").read_text(encoding="utf-8"))
    (root / "nbgrader_config.py").write_text((repository / "nbgrader_config.py").read_text())
    build(episode)
    return nbformat.read(episode.source, as_version=4), nbformat.read(episode.release, as_version=4)


def grade_id(cell: nbformat.NotebookNode) -> str:
    """The name that nbgrader knows a cell by; empty for the cells that belong to no exercise."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def exercise_of(cell: nbformat.NotebookNode) -> str:
    """The exercise that a cell belongs to; empty if it belongs to none."""
    return grade_id(cell).removesuffix("-test").removesuffix("-probe")


def is_graded(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell gives points: a test cell or a written answer."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade"))


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    """All cells of Python."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def marked_cells(notebook: nbformat.NotebookNode) -> dict[str, nbformat.NotebookNode]:
    """The solution, probe and test cells, in order, by their grade ids."""
    return {grade_id(cell): cell for cell in code_cells(notebook) if grade_id(cell)}


def given_cells(notebook: nbformat.NotebookNode) -> list[str]:
    """The sources of the cells of Python that learners only run."""
    return [cell.source for cell in code_cells(notebook) if not grade_id(cell)]


def given_cell(notebook: nbformat.NotebookNode, words: str) -> str:
    """The source of the one given cell that holds these words."""
    (code,) = [code for code in given_cells(notebook) if words in code]
    return code


def starters_of(release: nbformat.NotebookNode) -> dict[str, str]:
    """What each exercise's solution cell holds before anybody has touched it."""
    return {name: cell.source for name, cell in marked_cells(release).items() if name == exercise_of(cell)}


# --- running cells ---


@dataclass
class Run:
    """What came of some cells: for each test that failed what it said, other cells that failed, and the values."""

    failed: dict[str, Exception] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def execute(self, cell: nbformat.NotebookNode, code: str | None = None) -> None:
        """Run a cell, or other code in its place, and note the error if there is one.

        A test that failed is noted under its exercise, a solution or probe cell under its grade id, and a given cell
        under its first words.
        """
        code = cell.source if code is None else code
        name = grade_id(cell).removesuffix("-test") or code[:60]
        try:
            exec(compile(code, name, "exec"), self.values)
        except Exception as error:
            (self.failed if is_graded(cell) else self.broken)[name] = error
        plt.close("all")


# --- what every episode has to keep ---


def assert_exercises_are_told(notebook: nbformat.NotebookNode, tests: Iterable[str], written: Iterable[str]) -> None:
    """The exercises are these and worth twenty points, and each tells its points and has hints."""
    graded = {exercise_of(cell): cell for cell in notebook.cells if is_graded(cell)}
    assert set(graded) == {*tests, *written}
    assert sum(cell.metadata.nbgrader.points for cell in graded.values()) == 20
    text = "\n".join(cell.source for cell in notebook.cells).replace("\n", " ")
    for exercise, cell in graded.items():
        assert len(hints.all_hints().get(exercise, ())) >= 2, f"{exercise} has fewer than two hints"
        points = cell.metadata.nbgrader.points
        told = f'({points} point{"s" if points > 1 else ""}. Hints: `helpers.hint("{exercise}")`)*'
        assert told in text, told


def assert_release_is_clean(release: nbformat.NotebookNode, *secrets: str) -> None:
    """The release holds no marks of solutions and tests, and none of these pieces of them."""
    text = "\n".join(cell.source for cell in release.cells)
    for secret in ("SOLUTION", "HIDDEN", "Model answer", "Rubric", "#? ", "holdout(", *secrets):
        assert secret not in text, secret


def assert_rubrics_add_up(notebook: nbformat.NotebookNode, written: Iterable[str]) -> None:
    """Each written answer has a model answer, and a rubric whose points are those of the exercise."""
    cells = {grade_id(cell): cell for cell in notebook.cells}
    for name in written:
        assert "**Model answer.**" in cells[name].source
        points = [int(n) for n in re.findall(r"^- (\d+) points?:", cells[name].source, re.MULTILINE)]
        assert sum(points) == cells[name].metadata.nbgrader.points, name


def assert_figures_have_texts(notebook: nbformat.NotebookNode, count: int) -> None:
    """So many given cells draw, and after each stands what the figure shows, in words."""
    draws = re.compile(r"plt\.show\(|helpers\.(plot_|show_images)")
    drawn = 0
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code" and draws.search(cell.source) and not grade_id(cell):
            drawn += 1
            assert notebook.cells[number + 1].source.startswith("*Alt text: "), cell.source
    assert drawn == count


def assert_not_attempted(outcome: Run, tests: Iterable[str]) -> None:
    """Every test said 'not attempted yet', and nothing else went wrong."""
    assert set(outcome.failed) == set(tests)
    for name, error in outcome.failed.items():
        assert isinstance(error, checks.NotAttempted), (name, error)
        assert str(error).startswith("not attempted yet: ")
    assert not outcome.broken


def singulars(word: str) -> list[str]:
    """What a word may be called in the glossary."""
    return [word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"]
