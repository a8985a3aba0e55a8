"""The bundle: one zip file with all that a student needs, on Linux, macOS or Windows.

It holds the released notebooks, the package `helpers`, the pinned requirements, `start.py`, which sets everything up
and opens JupyterLab, and descriptions for conda, Docker and dev containers. It holds nothing from `source/`, no part of
`autograder`, and of the images at most what students may see.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jinja2 import Environment

import helpers
from autograder import environments
from autograder.build import check, companions, dump, read_notebook, secret_mark
from autograder.course import Episode, load_config
from autograder.errors import CourseError
from autograder.runlog import event
from autograder.whole import write_whole
from helpers.data import FOLDER_NAME, SPLITS, DataError, find_data

FOLDER = "cnn-course"
TEMPLATES = Path(__file__).resolve().parent / "bundled"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same course makes the same bytes
_PROJECT = Path(__file__).resolve().parent.parent

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "cnn-course-helpers"
version = "{version}"
description = "What a student of the image classification course imports"
requires-python = ">=3.11"

[tool.setuptools.packages.find]
include = ["helpers*"]

[tool.setuptools.package-data]
helpers = ["hints/*.md"]
"""


def bundle(root: Path, episodes: Sequence[Episode], target: Path, *, with_data: bool = False) -> list[str]:
    """Write the bundle.

    Args:
        root: The course folder.
        episodes: The episodes that go in; at least one.
        target: The zip file to write.
        with_data: Put the images in too, those of train, val and test.

    Returns:
        The paths in the zip file, in order.

    Raises:
        CourseError: A release is not as the lesson text makes it, would give a solution away, or there are no images.
    """
    for episode in episodes:
        if problems := check(episode):
            raise CourseError(f"{problems[0]} Build it first: autograder build {episode.name}")
    content = dict(_content(root, episodes, with_data))
    for name, data in content.items():
        if name.startswith("notebooks/") and (mark := secret_mark(data)):
            raise CourseError(f"{name} holds '{mark}', which no student may see. Build it anew: autograder build")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            member = zipfile.ZipInfo(f"{FOLDER}/{name}", _EPOCH)
            member.external_attr = 0o100644 << 16
            member.compress_type = zipfile.ZIP_STORED if name.endswith((".jpg", ".png")) else zipfile.ZIP_DEFLATED
            archive.writestr(member, data)
    write_whole(target, packed.getvalue(), private=False)
    event("bundled", root=root, file=str(target), episodes=[episode.name for episode in episodes], files=len(content))
    return list(content)


def _content(root: Path, episodes: Sequence[Episode], with_data: bool) -> Iterator[tuple[str, bytes]]:
    titles = [(episode.name, title_of(episode)) for episode in episodes]
    images = _images(root) if with_data else {}
    config = load_config(root)
    page = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (TEMPLATES / "START-HERE.html").read_text(encoding="utf-8")
    )
    yield "START-HERE.html", page.render(episodes=titles, folder=FOLDER, images=_about_images(images)).encode()
    yield "start.py", (TEMPLATES / "start.py").read_bytes()
    yield "requirements.txt", requirements().encode()
    yield "constraints.txt", _constraints(root).encode()
    yield "pyproject.toml", PYPROJECT.format(version=version("cnn-course")).encode()
    for name, text in environments.files("bundle").items():
        yield name, text.encode()
    for name in ("LICENSE", "LICENSE-CONTENT", "CITATION.cff"):
        if (path := _PROJECT / name).is_file():
            yield name, path.read_bytes()
    package = Path(helpers.__file__).resolve().parent
    for path in sorted(package.rglob("*")):
        if path.suffix in (".py", ".md") and path.is_file():
            yield f"helpers/{path.relative_to(package).as_posix()}", path.read_bytes()
    for episode in episodes:
        notebook = environments.with_first_cell(read_notebook(episode.release), config)
        yield f"notebooks/{episode.name}/{episode.name}.ipynb", dump(notebook)
        released = episode.release.parent
        for path in sorted(companions(episode)):
            if path.is_relative_to(released):
                yield f"notebooks/{episode.name}/{path.relative_to(released).as_posix()}", path.read_bytes()
    yield from images.items()


def title_of(episode: Episode) -> str:
    """The heading that the released notebook begins with, else the episode's name."""
    for cell in read_notebook(episode.release).cells:
        if found := re.search(r"^# (.+)$", cell.source, re.M) if cell.cell_type == "markdown" else None:
            return found[1].strip()
    return episode.name


def requirements() -> str:
    """The packages that `helpers` and the notebooks use, each with the version that is installed here."""
    lines = ["# What the notebooks use. constraints.txt holds what these need in turn."]
    for text in _base_requirements():
        name = re.split(r"[<>=!~\[; ]", text, maxsplit=1)[0]
        try:
            lines.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            lines.append(text)
    return "\n".join(lines) + "\n"


def _base_requirements() -> list[str]:
    from importlib.metadata import requires

    return [text for text in requires("cnn-course") or () if "extra ==" not in text]


def _constraints(root: Path) -> str:
    for folder in (root, _PROJECT):
        if (path := folder / "constraints.txt").is_file():
            return path.read_text(encoding="utf-8")
    return requirements()


def _images(root: Path) -> dict[str, bytes]:
    try:
        found = find_data() or (find_data(root / "data") if (root / "data").is_dir() else None)
    except DataError as problem:
        raise CourseError(str(problem)) from None
    if found is None:
        raise CourseError(
            "There are no images to put in. Make them first (autograder data), or leave --with-data out: "
            "the notebooks then draw a stand-in."
        )
    images = {}
    for split in SPLITS:
        for path in sorted((found / split).rglob("*")):
            if path.is_file() and not path.is_symlink():
                images[f"data/{FOLDER_NAME}/{path.relative_to(found).as_posix()}"] = path.read_bytes()
    for path in sorted(found.glob("*")):
        if path.is_file() and path.suffix in (".md", ".txt"):
            images[f"data/{FOLDER_NAME}/{path.name}"] = path.read_bytes()
    return images


def _about_images(images: dict[str, bytes]) -> str:
    if images:
        return "The photos that you train on are in data/. They come from CIFAR-10 (Krizhevsky, 2009)."
    return (
        "This file holds no photos. Put the folder cifar10_images_small, if your instructor gives you one, into a "
        "folder data beside this page. Without it the notebooks draw pictures of their own to train on."
    )
