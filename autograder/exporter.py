"""The seam between nbgrader and the repair: an exporter that reads submissions as bytes and mends them.

Named in `nbgrader_config.py` as `c.Autograde.exporter_class`, so that `autograder grade`, plain `nbgrader autograde`
and Formgrader's button all repair alike. nbgrader makes the exporter once it knows which folders it will grade and
before it touches the first, so this is also the place where

- a notebook under a wrong name takes the expected one, and a folder without a notebook becomes a reported failure;
- links, pipes, devices and giant files beside a notebook are kept out of nbgrader's copy of the folder.

`submitted/` is only ever read.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.exporters import NotebookExporter
from nbconvert.exporters.exporter import ResourcesDict
from nbformat import NotebookNode
from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from autograder import runlog
from autograder.errors import CourseError, CourseFault
from autograder.repair import Repaired, Unrepairable, add_notes, repair
from autograder.salvage import MAX_BYTES
from autograder.staging import plain_name, read_regular_file, survey

#: Where the list of repairs stands in nbconvert's resources after a submission was read.
RESOURCE = "autograder_repairs"
#: How many files of a folder are tried when the expected notebook is not there.
_MAX_CANDIDATES = 20
#: How a notebook's name may end; what is likeliest to be one comes first.
_SUFFIXES = (".ipynb", ".ipynb.txt", ".ipynb.json", ".json", ".py", ".md", ".txt")


class RepairingExporter(NotebookExporter):
    """Exports a submission as the released notebook with the student's answers in it."""

    def __init__(self, config: Any = None, **options: Any) -> None:
        super().__init__(config=config, **options)
        if isinstance(self.parent, Autograde):
            guard(self.parent)

    def from_filename(
        self, filename: str, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[str, dict[str, Any]]:
        """Read and repair a submission; any other notebook is read as it is.

        Args:
            filename: The notebook's path. A submission's need not exist: the best of its folder takes its place.
            resources: nbgrader's resources; the repairs are put into `resources["autograder_repairs"]`.
            **options: As for nbconvert's exporter.

        Raises:
            CourseError: The submission cannot be repaired; the message says what to ask the student.
            CourseFault: The released notebook is not there, or cannot be read.
        """
        about = (resources or {}).get("nbgrader", {})
        coursedir = getattr(self.parent, "coursedir", None)
        path = Path(filename)
        if coursedir is None or not about or path.parent != _submission_folder(coursedir, about):
            return super().from_filename(filename, resources=resources, **options)
        root = Path(coursedir.root)
        who = {"student": about["student"], "assignment": about["assignment"]}
        releases = find_releases(coursedir, about["assignment"], about["notebook"])
        try:
            repaired = read_submission(path.parent, about["notebook"], *releases)
        except CourseError as problem:
            self.log.error("%s of %s cannot be graded: %s", who["assignment"], who["student"], problem)
            runlog.event("unrepairable", root=root, **who, reason=str(problem))
            raise
        for note in repaired.repairs:
            self.log.warning("Repaired %s of %s: %s", who["assignment"], who["student"], note)
            runlog.event("repair", root=root, **who, repair=note)
        add_notes(repaired.notebook, repaired.repairs)
        mended = ResourcesDict()
        mended.update(resources or {})
        mended[RESOURCE] = list(repaired.repairs)
        mended["metadata"] = ResourcesDict()
        mended["metadata"].update(name=path.stem, path=str(path.parent), modified_date=f"{datetime.now(UTC):%d %B %Y}")
        return self.from_notebook_node(repaired.notebook, resources=mended, **options)


def _submission_folder(coursedir: CourseDirectory, about: Mapping[str, str]) -> Path:
    return Path(coursedir.format_path(coursedir.submitted_directory, about["student"], about["assignment"]))


# ---------------------------------------------------------------------------------------------------------------------
# Releases


def find_releases(
    coursedir: CourseDirectory, assignment: str, notebook: str
) -> tuple[NotebookNode, dict[str, NotebookNode]]:
    """The released notebook that a submission belongs to, and the other episodes' releases by name.

    Those only help to tell whose notebook a submission is, so one that cannot be read is left out with a warning.

    Raises:
        CourseFault: The notebook was not released, or the release cannot be read.
    """
    folder = Path(coursedir.format_path(coursedir.release_directory, ".", assignment))
    path = folder / f"{notebook}.ipynb"
    if not path.is_file():
        raise CourseFault(
            f"There is no released notebook {path}. Build it first: autograder build {assignment} "
            f"(or nbgrader generate_assignment {assignment})."
        )
    others = {}
    for other in sorted(Path(coursedir.format_path(coursedir.release_directory, ".", "*")).parent.glob("*/*.ipynb")):
        if other.parent.name != folder.name:
            name = other.stem if other.stem == other.parent.name else f"{other.parent.name}/{other.stem}"
            try:
                others[name] = _read_release(other, other.stat().st_mtime_ns)
            except (CourseFault, OSError) as problem:
                coursedir.log.warning("Left out: %s", problem)
    return _read_release(path, path.stat().st_mtime_ns), others


@lru_cache(maxsize=64)
def _read_release(path: Path, _changed: int) -> NotebookNode:
    """Read a release once for each version of it; nobody changes what this gives back."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception as problem:
        raise CourseFault(f"The released notebook {path} cannot be read: {problem}. Build it again.") from problem


# ---------------------------------------------------------------------------------------------------------------------
# Submissions


def read_submission(folder: Path, name: str, release: NotebookNode, others: Mapping[str, NotebookNode]) -> Repaired:
    """Read and repair the notebook that a student handed in, whatever its file is called.

    The expected name wins if that notebook holds an answer. Else the notebook with the most answers is taken, of
    several the newest.

    Args:
        folder: The folder that was handed in.
        name: The expected name, without `.ipynb`.
        release: The released notebook.
        others: The other episodes' releases by name; files with an expected name of theirs are not considered first.

    Returns:
        The repaired notebook; if the file was named otherwise, the first repair says so.

    Raises:
        CourseError: No file of the folder can be repaired; the message says what to ask the student.
    """
    if folder.is_symlink():
        raise CourseError(
            f"The folder {folder.name} that was handed in is a link to another place. Ask the student for the files."
        )
    expected = folder / f"{name}.ipynb"
    tried: list[tuple[tuple[int, bool, float], Path, Repaired]] = []
    problems: dict[Path, CourseError] = {}
    for path in _candidates(folder, expected):
        try:
            repaired = repair(read_regular_file(path, MAX_BYTES), release, others=others)
        except CourseError as problem:
            problems[path] = problem
            continue
        if path == expected and repaired.answered:
            return repaired
        tried.append(((len(repaired.answered), path == expected, path.lstat().st_mtime), path, repaired))
    if not tried:
        raise _nothing_usable(folder, expected, problems)
    _, path, best = max(tried, key=lambda entry: entry[0])
    if path == expected:
        return best
    shown = plain_name(str(path.relative_to(folder)))
    if expected in problems:
        why = f"the file `{expected.name}` could not be used"
    elif any(other == expected for _, other, _ in tried):
        why = f"the file `{expected.name}` holds no answers"
    else:
        why = f"there was no file `{expected.name}`"
    note = f"The file `{shown}` was graded as `{expected.name}`, because {why}."
    if len(tried) > 1:
        note += f" Of {len(tried)} notebooks in the folder it holds the most answers (of equals, it is the newest)."
    return Repaired(best.notebook, [note, *best.repairs], best.answered)


def _candidates(folder: Path, expected: Path) -> list[Path]:
    """The files that may be the notebook: the expected one, then by suffix, those at the top first."""
    found = [path for path in survey(folder).files if ".ipynb_checkpoints" not in path.parts]
    ranked = [
        (_SUFFIXES.index(suffix), len(path.parts), path.name, path)
        for path in found
        if (suffix := next((s for s in _SUFFIXES if path.name.lower().endswith(s)), None)) and path != expected
    ]
    notebooks = [entry for entry in ranked if entry[0] == 0]
    chosen = [path for *_, path in sorted(notebooks or ranked)[:_MAX_CANDIDATES]]
    present = expected.is_symlink() or expected.exists()
    return [expected, *chosen] if present else chosen


def _nothing_usable(folder: Path, expected: Path, problems: Mapping[Path, CourseError]) -> CourseError:
    if expected in problems:
        return problems[expected]
    notebooks = {path: problem for path, problem in problems.items() if path.suffix == ".ipynb"}
    for path, problem in notebooks.items():
        return Unrepairable(
            f"There is no file `{expected.name}`, and `{plain_name(path.name)}` cannot be used: {problem}"
        )
    names = sorted(plain_name(path.name) for path in survey(folder).files)[:5]
    held = f"it holds {', '.join(names)}" if names else "it holds no file"
    return Unrepairable(f"The folder holds no notebook ({held}). Ask the student for `{expected.name}`.")


# ---------------------------------------------------------------------------------------------------------------------
# nbgrader's own handling of submissions


def guard(converter: Autograde) -> None:
    """Make nbgrader's walk over the submissions in `converter.assignments` safe, before it begins."""
    coursedir = converter.coursedir
    if coursedir is None:
        return
    if coursedir.notebook_id == "*":
        _expect_released_names(converter, coursedir)
    unsafe: list[str] = []
    for folder in converter.assignments:
        found = survey(Path(folder))
        for left_out in found.left_out:
            converter.log.warning("Not copied from %s: %s", folder, left_out)
            unsafe.append(glob.escape(str(left_out.path)))
        if found.left_out:
            files = [str(left_out) for left_out in found.left_out]
            runlog.event("left out", root=Path(coursedir.root), folder=folder, files=files)
    if unsafe:
        # nbgrader joins each pattern to the folder it looks at; an absolute path stays what it is.
        coursedir.ignore = [*coursedir.ignore, *unsafe]
    _check_timestamps(coursedir)


def _expect_released_names(converter: Autograde, coursedir: CourseDirectory) -> None:
    """Let nbgrader look for the released notebooks' names in each folder, whatever the student's files are called.

    nbgrader skips a notebook whose name it does not know, and a folder without a notebook, with no more than a warning.
    """
    for folder in glob.iglob(  # noqa: PTH207 - a pattern of nbgrader's, with its root in it
        coursedir.format_path(coursedir.submitted_directory, coursedir.student_id, coursedir.assignment_id)
    ):
        path = Path(folder)
        release = Path(coursedir.format_path(coursedir.release_directory, ".", path.name))
        names = sorted(notebook.stem for notebook in release.glob("*.ipynb"))
        if names and path.is_dir():
            converter.assignments[folder] = [str(path / f"{name}.ipynb") for name in names]


def _check_timestamps(coursedir: CourseDirectory) -> None:
    """Let a `timestamp.txt` that is no small text file count as none; nbgrader would wait for a pipe for ever."""
    if "get_existing_timestamp" in vars(coursedir):
        return
    read = coursedir.get_existing_timestamp

    def checked(folder: str) -> datetime | None:
        path = Path(folder) / "timestamp.txt"
        if not path.is_symlink() and not path.exists():
            return None
        try:
            read_regular_file(path, 1000)
            return read(folder)
        except Exception as problem:
            coursedir.log.warning("The timestamp %s is not used: %s", path, problem)
            return None

    coursedir.get_existing_timestamp = checked
