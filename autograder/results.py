"""What grading has found, kept so that nothing is lost and nothing is done twice: results, and a ledger of marks.

`docs/explanation/grading.md` explains which key covers what.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import platform
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from autograder.images import CourseImages, Digests, files_below
from autograder.jobs import Options, Result, digest
from autograder.whole import make_private, sync_folder, write_whole

#: Where all of it stands, in the course folder. It holds students' work and hidden tests: for the grader's eyes alone.
FOLDER = ".autograder"
#: Distributions whose version can change what a notebook computes or how it is run.
DISTRIBUTIONS = (
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "pandas",
    "scikit-learn",
    "matplotlib",
    "ipykernel",
    "nbclient",
)
#: The packages of this project that are part of what grades.
PACKAGES = ("autograder", "helpers")


# ---------------------------------------------------------------------------------------------------------------------
# Keys


@functools.cache
def environment() -> dict[str, str]:
    """The programs that a mark may depend on: versions, and a digest of this project's own code."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    here = Path(__file__).resolve().parent
    for package in PACKAGES:
        folder = here if package == here.name else _package_folder(package, here.parent)
        code = hashlib.sha256()
        for path in sorted(folder.rglob("*.py")):
            code.update(f"{path.relative_to(folder)}\0".encode())
            code.update(hashlib.sha256(path.read_bytes()).digest())
        versions[package] = code.hexdigest()
    return versions


def _package_folder(name: str, beside: Path) -> Path:
    if (beside / name).is_dir():
        return beside / name
    from importlib.util import find_spec

    spec = find_spec(name)
    return Path(spec.origin or "").parent if spec is not None else beside / name


def environment_digest() -> str:
    """One digest of `environment`."""
    return digest(environment())


def images_digest(root: Path, digests: Digests | None = None) -> str:
    """One digest of the images that notebooks of a course are run with, the held-out ones included."""
    images = CourseImages.find(root)
    digests = digests or Digests(root / FOLDER / "digests.json")
    return digest(digests.of(images.data), digests.of(images.holdout))


def submission_key(
    notebook: Mapping[str, Any],
    files: Iterable[tuple[str, bytes]],
    options: Options,
    *,
    images: str,
    environment: str,
    student: str | None,
) -> str:
    """What a result depends on, as one digest: equal keys, equal marks.

    Args:
        notebook: The sanitised notebook. Its cells hold the answers, and the released tests with their points.
        files: What was handed in beside it.
        options: How it is run.
        images: Digest of the images.
        environment: Digest of the programs.
        student: Whose it is; None lets students with the same answers share a result.
    """
    unread = ("id", "outputs", "execution_count")
    cells = [{name: part for name, part in cell.items() if name not in unread} for cell in notebook["cells"]]
    beside = [(name, hashlib.sha256(content).hexdigest()) for name, content in sorted(files)]
    return digest(1, cells, beside, options.to_dict(), images, environment, student)


def folder_stamp(folder: Path) -> list[tuple[str, tuple[int, int, int]]]:
    """What changes when something in a folder does, without opening a file."""
    return [(name, facts) for name, _, facts in files_below(folder)]


def submission_stamp(folder: Path) -> list[tuple[str, int, int, int]]:
    """What changes when something in a folder that a stranger handed in does: no link is followed, no file opened."""
    found = []
    for here, names, files in os.walk(folder):
        names.sort()
        for name in [*names, *files]:
            with contextlib.suppress(OSError):
                status = os.lstat(os.path.join(here, name))  # noqa: PTH118 - a class has many files
                if not stat.S_ISDIR(status.st_mode):
                    inside = os.path.relpath(os.path.join(here, name), folder)  # noqa: PTH118
                    found.append((inside, status.st_size, status.st_mtime_ns, status.st_ctime_ns))
        if len(found) > 20_000:
            break
    return sorted(found)


# ---------------------------------------------------------------------------------------------------------------------
# Results


class ResultStore:
    """Results of workers on disk, each in a file named by its key. A result that is there is whole.

    Args:
        root: The course folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / FOLDER / "results"

    def get(self, key: str) -> Result | None:
        """The result with that key, if it was kept; a file that cannot be read counts as none."""
        with contextlib.suppress(OSError, ValueError):
            result = Result.from_json(self._path(key).read_text(encoding="utf-8"))
            if result.key == key:
                return result
        return None

    def has(self, key: str) -> bool:
        """Whether a result with that key was kept."""
        return self._path(key).is_file()

    def put(self, result: Result) -> None:
        """Keep a result; when this returns, it survives a power cut. One in which the grader failed is not kept."""
        if not result.grader_failed:
            write_whole(self._path(result.key), result.to_json().encode())

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.json"


# ---------------------------------------------------------------------------------------------------------------------
# The ledger


@dataclass(frozen=True)
class Entry:
    """What the gradebook was told about one student's submission, and from what.

    Attributes:
        student: The student.
        stamp: Of all that the marks depend on, by the dates of files; empty while they are being recorded.
        key: The key of the result; empty if the submission could not be graded.
        autograded: Size in bytes and time of the last change, in nanoseconds, of the graded notebook as it was written.
        due: What the gradebook said about the dates of the submission, once recorded.
        messages: Why points are missing, by grade id.
        measurements: What the tests measured, by grade id.
        ran: How long the worker took over the notebook, in seconds.
        repairs: What was repaired in the notebook.
        problem: Why the submission could not be graded.
        sandbox: Whether the student's code ran in the sandbox.
        again: Whether the next run must grade it again in any case, because the grader failed.
    """

    student: str
    stamp: str = ""
    key: str = ""
    autograded: tuple[int, int] = (0, 0)
    due: str = ""
    messages: Mapping[str, str] = field(default_factory=dict)
    measurements: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    ran: float = 0.0
    repairs: tuple[str, ...] = ()
    problem: str = ""
    sandbox: bool = True
    again: bool = False


class Ledger:
    """What was recorded for the students of one episode: a file to which lines are added, the last one counts.

    Args:
        root: The course folder.
        episode: The episode's name.
    """

    def __init__(self, root: Path, episode: str) -> None:
        self.path = root / FOLDER / "ledger" / f"{episode}.jsonl"

    def read(self) -> dict[str, Entry]:
        """The last entry of each student. A line that a crash cut short is passed over."""
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            return {}
        entries: dict[str, Entry] = {}
        for line in lines:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                record = json.loads(line)
                record.update(autograded=tuple(record["autograded"]), repairs=tuple(record["repairs"]))
                entry = Entry(**record)
                entries[entry.student] = entry
        if len(lines) > 4 * len(entries) + 100:
            write_whole(self.path, b"".join(_line(entry) for entry in entries.values()))
        return entries

    def add(self, entries: Iterable[Entry]) -> None:
        """Add entries; when this returns, they survive a power cut."""
        lines = b"".join(_line(entry) for entry in entries)
        if not lines:
            return
        make_private(self.path.parent)
        new = not self.path.exists()
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            if _cut_short(handle):
                lines = b"\n" + lines
            os.write(handle, lines)
            os.fsync(handle)
        finally:
            os.close(handle)
        if new:
            sync_folder(self.path.parent)


def _line(entry: Entry) -> bytes:
    return (json.dumps(dataclasses.asdict(entry), ensure_ascii=False) + "\n").encode(errors="replace")


def _cut_short(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"
