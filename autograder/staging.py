"""Look through what a student handed in, and copy no more of it than plain files of bounded number and size.

A submission is a folder packed by a stranger: it may hold links to the solutions, pipes that never end, devices, or a
hundred thousand files. Nothing here follows a link or opens anything but a regular file, and nothing in the submission
is changed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from autograder.errors import CourseError

#: Bounds of a submission: a notebook, its saved models and a few files beside it.
MAX_FILES = 500
MAX_FILE_BYTES = 100 * 2**20
MAX_TOTAL_BYTES = 300 * 2**20
MAX_DEPTH = 12
#: A folder with more entries than this is left out whole.
MAX_ENTRIES = 5000
#: From this many unusable entries on, a whole folder is left out rather than each of them.
_MAX_LISTED = 100
_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@dataclass(frozen=True)
class LeftOut:
    """One file or folder that is not used, and why."""

    path: Path
    reason: str

    def __str__(self) -> str:
        return f"`{plain_name(self.path.name)}` ({self.reason})"


@dataclass
class Survey:
    """What a submission's folder holds.

    Attributes:
        files: The regular files within bounds, absolute or relative as the folder was given, in order.
        left_out: What must not be copied.
        folders: The folders in it, outer ones first.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)


def plain_name(name: str, limit: int = 80) -> str:
    """A student's file name as it may stand in a message: no marks that Markdown, HTML or a terminal act upon."""
    shown = "".join(c if c.isprintable() and c not in "<>&`|\\\ufffd" else "?" for c in name)
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def survey(
    folder: Path,
    *,
    max_files: int = MAX_FILES,
    max_file_bytes: int = MAX_FILE_BYTES,
    max_total_bytes: int = MAX_TOTAL_BYTES,
    max_entries: int = MAX_ENTRIES,
    notebooks: bool = True,
) -> Survey:
    """List the usable files of a submission without opening any.

    Args:
        folder: The submission's folder. If it is a link, nothing in it is usable.
        max_files: How many files at most.
        max_file_bytes: Bytes of one file at most.
        max_total_bytes: Bytes of all files together at most.
        max_entries: A folder with more entries is left out whole.
        notebooks: Whether notebooks, and Jupyter's copies of them, are of use.

    Returns:
        The files in the order of their names, top folder first, and what was left out.
    """
    result = Survey()
    if folder.is_symlink():
        result.left_out.append(LeftOut(folder, "the folder is a link to another place"))
        return result
    total = 0
    waiting = deque([(folder, 0)])
    while waiting:
        here, depth = waiting.popleft()
        if depth > MAX_DEPTH or len(result.files) >= max_files or len(result.folders) > max_entries:
            result.left_out.append(LeftOut(here, "too many folders or files"))
            continue
        try:
            with os.scandir(here) as listing:
                entries = sorted(islice(listing, max_entries), key=lambda entry: entry.name)
                crowded = next(listing, None) is not None
        except OSError as problem:
            result.left_out.append(LeftOut(here, f"cannot be read: {problem.strerror}"))
            continue
        files: list[Path] = []
        left_out: list[LeftOut] = []
        folders: list[tuple[Path, int]] = []
        size_here = 0
        for entry in entries:
            path = here / entry.name
            if not notebooks and entry.name.lower().endswith((".ipynb", ".ipynb_checkpoints")):
                continue
            reason, size = _refusal(entry, max_file_bytes)
            if reason == "folder":
                folders.append((path, depth + 1))
            elif reason:
                left_out.append(LeftOut(path, reason))
            elif len(result.files) + len(files) >= max_files:
                left_out.append(LeftOut(path, f"more than {max_files} files"))
            elif total + size_here + size > max_total_bytes:
                left_out.append(LeftOut(path, f"more than {max_total_bytes / 2**20:.0f} MB together"))
            else:
                files.append(path)
                size_here += size
        if crowded or len(left_out) > _MAX_LISTED:
            result.left_out.append(LeftOut(here, "too many files that cannot be used"))
            continue
        result.files += files
        result.left_out += left_out
        result.folders += [path for path, _ in folders]
        total += size_here
        waiting += folders
    return result


def _refusal(entry: os.DirEntry[str], max_file_bytes: int) -> tuple[str, int]:
    """Why an entry is not used (`folder` for a folder, empty for a usable file), and its size in bytes."""
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        return "its name is not valid text", 0
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError as problem:
        return f"cannot be read: {problem.strerror}", 0
    if stat.S_ISDIR(status.st_mode):
        return "folder", 0
    if stat.S_ISLNK(status.st_mode):
        return "a link to another place", 0
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file", 0
    if status.st_size > max_file_bytes:
        return f"{status.st_size / 2**20:.0f} MB; at most {max_file_bytes / 2**20:.0f} MB are used", 0
    return "", status.st_size


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Read a file that a student handed in, if it is a regular file and not too large.

    Raises:
        CourseError: It is a link, a pipe, a device, a folder, too large, or cannot be read.
    """
    name = plain_name(path.name)
    try:
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            with os.fdopen(os.open(path, _READ_FLAGS), "rb") as file:
                data = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    except OSError as problem:
        raise CourseError(
            f"The file `{name}` cannot be read: {problem.strerror}. Ask the student for the file itself."
        ) from problem
    if not stat.S_ISREG(status.st_mode):
        what = "a link to another place" if stat.S_ISLNK(status.st_mode) else "not a regular file"
        raise CourseError(f"`{name}` is {what}. Ask the student for the file itself.")
    if status.st_size > max_bytes or len(data) > max_bytes:
        raise CourseError(
            f"The file `{name}` has {status.st_size / 2**20:.0f} MB; at most {max_bytes / 2**20:.0f} MB are read. "
            "Ask the student to clear all outputs, save and hand it in again."
        )
    return data


def stage_submission(src: Path, dest: Path, **bounds: Any) -> Survey:
    """Copy a submission's usable files to a fresh folder, so that any user can read them.

    Args:
        src: The folder that was handed in. It is only read.
        dest: The folder to copy to; made if it is not there.
        **bounds: As for `survey`.

    Returns:
        What was copied (paths in `dest`) and what was left out (paths in `src`).

    Raises:
        CourseError: The copy cannot be written.
    """
    found = survey(src, **bounds)
    staged = Survey(left_out=list(found.left_out))
    limit = bounds.get("max_file_bytes", MAX_FILE_BYTES)
    for path in (src, *found.folders):
        target = dest / path.relative_to(src)
        with _writing(target):
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(0o755)
    for path in found.files:
        target = dest / path.relative_to(src)
        try:
            data = read_regular_file(path, limit)
        except CourseError as problem:  # it changed since the survey, or may not be read
            staged.left_out.append(LeftOut(path, str(problem)))
            continue
        with _writing(target):
            target.write_bytes(data)
            target.chmod(0o644)
        staged.files.append(target)
    return staged


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise CourseError(f"The submission cannot be copied to {target}: {problem.strerror}.") from problem
