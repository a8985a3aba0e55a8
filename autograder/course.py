"""Where things stand: the course folder, its episodes and what students handed in."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from traitlets.config import Config, PyFileConfigLoader

from autograder.errors import CourseError, did_you_mean

CONFIG_NAME = "nbgrader_config.py"
EPISODE_NAME = re.compile(r"(\d{2})-([a-z0-9]+(?:-[a-z0-9]+)*)")


@dataclass(frozen=True)
class Episode:
    """One episode of the course, which is also one nbgrader assignment with one notebook.

    Attributes:
        root: The course folder.
        name: Folder, assignment and notebook name, for example `01-introduction`.
    """

    root: Path
    name: str

    @property
    def text(self) -> Path:
        """The lesson text that people edit."""
        return self.root / "course" / self.name / f"{self.name}.md"

    @property
    def source(self) -> Path:
        """The instructor notebook, with solutions and hidden tests."""
        return self.root / "source" / self.name / f"{self.name}.ipynb"

    @property
    def release(self) -> Path:
        """The student notebook."""
        return self.root / "release" / self.name / f"{self.name}.ipynb"

    def submitted(self, student: str) -> Path:
        """The folder that a student handed in."""
        return self.root / "submitted" / student / self.name

    def autograded(self, student: str) -> Path:
        """The notebook that the grader ran for a student."""
        return self.root / "autograded" / student / self.name / f"{self.name}.ipynb"

    def feedback(self, student: str) -> Path:
        """The page that a student gets back."""
        return self.root / "feedback" / student / self.name / f"{self.name}.html"


def find_root(start: Path | None = None) -> Path:
    """Find the course folder: the nearest folder, from `start` upwards, that holds `nbgrader_config.py`.

    Args:
        start: Where to begin; the working directory when None.

    Raises:
        CourseError: No such folder there or above.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / CONFIG_NAME).is_file():
            return folder
    raise CourseError(
        f"No course found: neither {here} nor a folder above it holds {CONFIG_NAME}. "
        "Change into the course folder and try again."
    )


def episodes(root: Path) -> list[Episode]:
    """All episodes of the course in order: those with a lesson text, and those with an instructor notebook alone."""
    names = {
        path.parent.name
        for pattern in ("course/*/*.md", "source/*/*.ipynb")
        for path in root.glob(pattern)
        if path.stem == path.parent.name
    }
    return [Episode(root, name) for name in sorted(names)]


def find_episode(root: Path, name: str) -> Episode:
    """Find one episode by its name (`01-introduction`), its number (`1`, `01`) or its name without the number.

    Raises:
        CourseError: No episode, or more than one, goes by that name.
    """
    known = episodes(root)
    wanted = name.strip().strip("/")
    for episode in known:
        if episode.name == wanted:
            return episode
    number = int(wanted) if wanted.isdecimal() else None
    found = []
    for episode in known:
        match = EPISODE_NAME.fullmatch(episode.name)
        if match and (match[2] == wanted or int(match[1]) == number):
            found.append(episode)
    if len(found) == 1:
        return found[0]
    if not known:
        raise CourseError(
            f"There is no episode '{name}': {root} holds no episode yet. Expected course/NN-name/NN-name.md."
        )
    names = [episode.name for episode in known]
    raise CourseError(
        f"There is no episode '{name}'.{did_you_mean(wanted, names)} The episodes are: {', '.join(names)}."
    )


def find_episodes(root: Path, name: str) -> list[Episode]:
    """Find one episode by name, or every one for `all`.

    Raises:
        CourseError: The name is unknown, or the course holds no episode.
    """
    if name != "all":
        return [find_episode(root, name)]
    found = episodes(root)
    if not found:
        raise CourseError(f"{root} holds no episode yet. Expected course/NN-name/NN-name.md.")
    return found


def submitting_students(episode: Episode) -> list[str]:
    """The students who handed in a folder for this episode, in order."""
    return sorted(
        folder.parent.name
        for folder in episode.root.glob(f"submitted/*/{episode.name}")
        if folder.is_dir() and not folder.parent.name.startswith(".")
    )


def load_config(root: Path) -> Config:
    """Read the course's `nbgrader_config.py`, with the course folder pinned to `root`.

    Only that file is read, so that a grader's private Jupyter settings cannot change a mark.

    Raises:
        CourseError: The file cannot be run.
    """
    environment_first()
    try:
        config = PyFileConfigLoader(CONFIG_NAME, path=str(root)).load_config()
    except Exception as problem:
        raise CourseError(f"{root / CONFIG_NAME} cannot be read: {type(problem).__name__}: {problem}") from problem
    config.CourseDirectory.root = str(root)
    return config


def environment_first() -> None:
    """Put this Python environment's programs first on PATH.

    nbgrader starts `alembic` by name when it makes a gradebook, which fails when the environment is used without being
    activated.
    """
    programs = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != programs:
        os.environ["PATH"] = programs + os.pathsep + path
