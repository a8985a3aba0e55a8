"""The way from lesson text to instructor notebook (jupytext) to student notebook (nbgrader)."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
import traitlets.log
from nbformat.notebooknode import NotebookNode
from nbgrader import utils as nbgrader_cells
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from autograder.course import EPISODE_NAME, Episode, load_config
from autograder.errors import CourseError
from autograder.gradebook import database_url, knows, open_gradebook
from autograder.runlog import event
from autograder.whole import write_whole

KERNELSPEC = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
# What running a notebook leaves beside it.
LEFTOVERS = ("models", "data")
NBGRADER_DEFAULTS = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SECRET_MARKS = (
    "BEGIN SOLUTION",
    "END SOLUTION",
    "BEGIN HIDDEN TESTS",
    "END HIDDEN TESTS",
    "BEGIN MARK SCHEME",
    "END MARK SCHEME",
    "#? ",
)


@dataclass(frozen=True)
class Built:
    """What `build` made of one episode.

    Attributes:
        episode: The episode.
        changed: The files that were written because their content is new.
        exercises: How many graded questions the episode has.
        points: Points in all.
        written_points: Points for written answers, which a person grades.
    """

    episode: Episode
    changed: tuple[Path, ...]
    exercises: int
    points: float
    written_points: float


def build(episode: Episode) -> Built:
    """Make the instructor notebook and the student notebook of one episode, writing only what changed.

    An episode without lesson text keeps its instructor notebook as it stands; only the student notebook is made.

    Raises:
        CourseError: The text or a cell in it is not as nbgrader needs it; the message says which and why.
    """
    changed = []
    if episode.text.is_file():
        notebook = read_text(episode.text)
        if write_if_new(episode.source, dump(notebook)):
            changed.append(episode.source)
    else:
        notebook = read_notebook(episode.source)
    if write_if_new(episode.release, make_release(episode, notebook)):
        changed.append(episode.release)
    changed += [path for path, content in companions(episode).items() if write_if_new(path, content)]
    if changed:
        event(
            "built", root=episode.root, episode=episode.name, files=[str(p.relative_to(episode.root)) for p in changed]
        )
    graded = [cell for cell in notebook.cells if nbgrader_cells.is_grade(cell)]
    points = [float(cell.metadata.nbgrader.points) for cell in graded]
    written = [p for p, cell in zip(points, graded, strict=True) if nbgrader_cells.is_solution(cell)]
    return Built(episode, tuple(changed), len(graded), sum(points), sum(written))


def check(episode: Episode) -> list[str]:
    """Rebuild an episode in memory and compare it byte for byte with what stands in `source/` and `release/`.

    Returns:
        One sentence for each difference; an empty list when all is as built.

    Raises:
        CourseError: As `build`.
    """
    problems = []
    if episode.text.is_file():
        notebook = read_text(episode.text)
        problems += compare(episode, episode.source, dump(notebook))
    else:
        notebook = read_notebook(episode.source)
    problems += compare(episode, episode.release, make_release(episode, notebook))
    beside = companions(episode)
    for path, content in beside.items():
        problems += compare(episode, path, content)
    for path in _own_files(episode.release.parent):
        if path != episode.release and path not in beside:
            problems.append(
                f"{path.relative_to(episode.root)} is made from nothing. Delete it, or students get it too."
            )
    return problems


def companions(episode: Episode) -> dict[Path, bytes]:
    """The files that go with an episode's text, such as pictures: where each belongs, and its content.

    Raises:
        CourseError: A file would take the place of a notebook that is built, or holds what students must not see.
    """
    origin = episode.text.parent if episode.text.is_file() else episode.source.parent
    found = {}
    for path in _own_files(origin):
        if path in (episode.text, episode.source):
            continue
        content, name = path.read_bytes(), path.relative_to(episode.root)
        if mark := secret_mark(content):
            raise CourseError(
                f"{name} holds '{mark.strip()}', and files beside a lesson's text are given to students. "
                f"Move it out of {origin.relative_to(episode.root)}/, or delete it."
            )
        for folder in (episode.source.parent, episode.release.parent):
            if folder != origin:
                found[folder / path.relative_to(origin)] = content
    for path in (episode.source, episode.release):
        if path in found:
            raise CourseError(
                f"{(origin / path.name).relative_to(episode.root)} has the name of a notebook that is made from "
                f"{episode.text.relative_to(episode.root)}. Move it out of that folder, or delete it."
            )
    return found


def secret_mark(content: bytes) -> str | None:
    """A mark of something that students must not see, in a file of any kind."""
    try:
        text, marks = content.decode(), SECRET_MARKS
    except UnicodeDecodeError:  # a picture holds any three bytes by chance
        text, marks = content.decode("latin-1"), tuple(mark for mark in SECRET_MARKS if len(mark) > 3)
    return next((mark for mark in marks if mark in text), None)


def _own_files(folder: Path) -> list[Path]:
    """The files below a folder, without what programs leave behind: backups, caches, models, images."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not path.name.endswith(("~", ".orig"))
        and not any(part.startswith((".", "__")) or part in LEFTOVERS for part in path.relative_to(folder).parts)
    ]


def compare(episode: Episode, path: Path, expected: bytes) -> list[str]:
    """Say how a built file differs from what a rebuild gives."""
    name = path.relative_to(episode.root)
    if not path.is_file():
        return [f"{name} is missing. Run `autograder build {episode.name}`."]
    if path.read_bytes() != expected:
        return [f"{name} is not what the lesson text makes. Run `autograder build {episode.name}` and commit it."]
    return []


def read_text(path: Path) -> NotebookNode:
    """Read a lesson text into an instructor notebook with stable cell ids, no outputs and no stray metadata.

    A cell's id is its grade id; a cell without one is named for its place, for example `introduction-012`. Short
    nbgrader metadata, as `nbgrader={"grade_id": "intro-fit", "solution": true}`, is completed.

    Raises:
        CourseError: The file cannot be read, a grade id is missing, malformed or used twice, or points are missing.
    """
    try:
        notebook = jupytext.read(path, fmt="md")
    except Exception as problem:
        raise CourseError(f"{path} cannot be read as a lesson text: {problem}") from problem
    match = EPISODE_NAME.fullmatch(path.stem)
    prefix = (match[2] if match else path.stem)[:50]
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNELSPEC, "language_info": {"name": "python"}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: set[str] = set()
    for place, cell in enumerate(notebook.cells):
        kept = {key: value for key, value in cell.metadata.items() if key in ("nbgrader", "tags")}
        cell.id = f"{prefix}-{place:03d}"
        if "nbgrader" in kept:
            kept["nbgrader"] = complete_metadata(kept["nbgrader"], path, place)
            cell.id = kept["nbgrader"]["grade_id"]
        if cell.id in seen:
            raise CourseError(f"{path}: the id '{cell.id}' is used for two cells. Give each exercise its own id.")
        seen.add(cell.id)
        cell.metadata = nbformat.from_dict(kept)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return notebook


def complete_metadata(short: dict, path: Path, place: int) -> dict:
    """Fill in what short nbgrader metadata leaves out, and refuse what nbgrader would trip over later."""
    grade_id = short.get("grade_id")
    if not isinstance(grade_id, str) or not CELL_ID.fullmatch(grade_id):
        raise CourseError(
            f"{path}, cell {place + 1}: the grade id is {grade_id!r}; expected letters, digits, '-' and '_', "
            "at most 64 of them."
        )
    full = {**NBGRADER_DEFAULTS, **short}
    points = full.get("points")
    if full["grade"] and (isinstance(points, bool) or not isinstance(points, int | float) or points < 0):
        raise CourseError(f"{path}, exercise '{grade_id}': points are {points!r}; expected a number, 0 or more.")
    return dict(sorted(full.items()))


def read_notebook(path: Path) -> NotebookNode:
    """Read a notebook that this course made.

    Raises:
        CourseError: The file is missing or no notebook.
    """
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"{path} is missing. Run `autograder build`.") from None
    except Exception as problem:
        raise CourseError(f"{path} cannot be read as a notebook: {problem}") from problem


def dump(notebook: NotebookNode) -> bytes:
    """The one way a notebook is written: sorted keys, one-space indents, a newline at the end."""
    nbformat.validate(notebook)
    return (nbformat.writes(notebook) + "\n").encode()


def write_if_new(path: Path, content: bytes) -> bool:
    """Write a file whole, unless it already holds just this content; say whether it was written."""
    if path.is_file() and path.read_bytes() == content:
        return False
    write_whole(path, content, private=False)
    return True


def make_release(episode: Episode, source: NotebookNode) -> bytes:
    """Run nbgrader's own GenerateAssignment over an instructor notebook, in a scratch folder and without a database.

    Returns:
        The bytes of the student notebook.

    Raises:
        CourseError: nbgrader refuses the notebook, or something secret would be left in the release.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        root = Path(scratch)
        there = Episode(root, episode.name)
        there.source.parent.mkdir(parents=True)
        there.source.write_bytes(dump(source))
        config = load_config(episode.root)
        config.CourseDirectory.root = scratch
        config.CourseDirectory.db_url = "sqlite://"
        config.GenerateAssignment.no_database = True
        config.SaveCells.enabled = False
        generate_assignment(there, config)
        release = nbformat.read(there.release, as_version=4)
    refuse_leaks(episode, source, release)
    return dump(release)


def register_assignment(episode: Episode) -> None:
    """Bring nbgrader's gradebook up to date with an episode's instructor notebook; `release/` is not touched.

    Raises:
        CourseError: nbgrader refuses, for example because an exercise was removed after students were graded.
    """
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        config = load_config(episode.root)
        admit_probes(episode, config)
        config.CourseDirectory.release_directory = scratch
        config.CourseDirectory.directory_structure = "{nbgrader_step}/{student_id}/{assignment_id}"
        generate_assignment(episode, config)


def admit_probes(episode: Episode, config: Config) -> None:
    """Tell the gradebook of locked cells without points that are new in an episode that was graded already.

    nbgrader refuses every new cell then, since marks may hang on it. On these none does: they only call what a student
    wrote, and repairing a submission puts them in.
    """
    if not knows(database_url(config, episode.root), episode.name):
        return
    cells = read_notebook(episode.source).cells
    probes = [cell for cell in cells if nbgrader_cells.is_locked(cell) and not nbgrader_cells.is_grade(cell)]
    with open_gradebook(config, episode.root) as gradebook:
        for notebook in gradebook.find_assignment(episode.name).notebooks:
            known = {cell.name for cell in notebook.source_cells}
            for cell in probes if notebook.name == episode.name and notebook.submissions else ():
                name = cell.metadata.nbgrader.grade_id
                if name not in known:
                    gradebook.add_source_cell(
                        name, notebook.name, episode.name, cell_type=cell.cell_type, source=cell.source
                    )


def generate_assignment(episode: Episode, config: Config) -> None:
    """Call nbgrader's converter for one episode; its complaint becomes a CourseError."""
    config.CourseDirectory.assignment_id = episode.name
    config.CourseDirectory.notebook_id = episode.name
    converter = GenerateAssignment(coursedir=CourseDirectory(config=config), config=config)
    converter.force = True
    with nbgrader_log(episode.root) as said:
        try:
            converter.start()
        except Exception as problem:
            reason = next((line for line in reversed(said) if line.startswith(("RuntimeError", "ValueError"))), None)
            raise CourseError(
                f"{episode.source.relative_to(episode.root)}: nbgrader cannot make the student notebook: "
                f"{reason.split(': ', 1)[1] if reason else problem}"
            ) from problem


@contextlib.contextmanager
def nbgrader_log(root: Path, path: Path | None = None) -> Iterator[list[str]]:
    """Keep what nbgrader logs off the terminal while the block runs.

    Args:
        root: The course folder.
        path: A file that the log is appended to; kept in memory only when None.

    Yields:
        The lines logged so far.
    """
    logger = traitlets.log.get_logger()
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.extend(self.format(record).rstrip().splitlines())

    handlers: list[logging.Handler] = [Keep()]
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(path, encoding="utf-8", errors="replace"))
        handlers[-1].setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    before = (logger.handlers[:], logger.propagate, logger.level)
    logger.handlers, logger.propagate = handlers, False
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.handlers, logger.propagate = before[0], before[1]
        logger.setLevel(before[2])
        for handler in handlers:
            handler.close()


def refuse_leaks(episode: Episode, source: NotebookNode, release: NotebookNode) -> None:
    """Make sure that a student notebook holds no mark, hidden test or model answer, and no pairing with the source.

    Raises:
        CourseError: Something secret is left; the message names the cell.
    """
    name = episode.release.relative_to(episode.root)
    if "jupytext" in release.metadata:
        raise CourseError(f"{name} carries pairing metadata, through which answers could reach students' copies.")
    for cell in release.cells:
        for mark in SECRET_MARKS:
            if mark in cell.source:
                raise CourseError(
                    f"{name}, cell '{cell.id}': the mark '{mark.strip()}' is left in the student notebook. "
                    "Solution marks belong in solution cells, hidden tests in test cells."
                )
    everything = "\n".join(cell.source for cell in release.cells)
    for secret in sorted(secret_lines(source)):
        if secret in everything:
            raise CourseError(f"{name} still holds a line that students must not see: {secret!r}")


def secret_lines(source: NotebookNode) -> set[str]:
    """Lines of hidden tests and model answers, long enough to give something away, that stand nowhere else."""
    secret: set[str] = set()
    visible: set[str] = set()
    for cell in source.cells:
        hidden = nbgrader_cells.is_grade(cell) and nbgrader_cells.is_solution(cell)
        for line in cell.source.split("\n"):
            if "BEGIN HIDDEN TESTS" in line:
                hidden = True
            elif "END HIDDEN TESTS" in line:
                hidden = False
            elif len(line.strip()) > 40:
                (secret if hidden else visible).add(line.strip())
    return secret - visible
