"""What the tests of every episode share: its two notebooks, built from the lesson text, and the outcome of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat

from autograder.build import build
from autograder.course import Episode


@dataclass
class Run:
    """What came of some cells: for each test that failed what it said, other cells that failed, and the values."""

    failed: dict[str, Exception] = field(default_factory=dict)
    broken: dict[str, Exception] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


def built_notebooks(repository: Path, root: Path, name: str) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The instructor's notebook and the student's, built from the lesson text in the empty folder `root`."""
    episode = Episode(root, name)
    episode.text.parent.mkdir(parents=True)
    episode.text.write_text((repository / "course" / name / f"{name}.md").read_text(encoding="utf-8"))
    (root / "nbgrader_config.py").write_text((repository / "nbgrader_config.py").read_text())
    build(episode)
    return nbformat.read(episode.source, as_version=4), nbformat.read(episode.release, as_version=4)


def singulars(word: str) -> list[str]:
    """What a word may be called in the glossary."""
    return [word, word.removesuffix("s"), word.removesuffix("es"), word.removesuffix("ies") + "y"]
