"""Backup and restore: one archive with everything of a course that nobody could make again.

The archive is a compressed tar file with `MANIFEST.json` as its last member, which names every file with its size and
SHA-256. An archive without one was broken off. It holds students' work and hidden tests: for the grader's eyes alone.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from traitlets.config import Config

from autograder.course import CONFIG_NAME, load_config
from autograder.errors import CourseError
from autograder.gradebook import SQLITE, database_url
from autograder.late import EXTENSIONS
from autograder.results import FOLDER
from autograder.runlog import event

MANIFEST = "MANIFEST.json"
VERSION = 1
GRADEBOOK = "gradebook.db"
LOGS = "logs"  # restored where there is none; a log goes on
#: What is kept, in this order. What grading remembers comes before the gradebook: were a class graded meanwhile, the
#: next run would record some marks once more, and never take one for recorded that is not.
PARTS = (
    FOLDER,
    GRADEBOOK,
    "submitted",
    "autograded",
    "feedback",
    "course",
    "source",
    "release",
    "helpers/hints",
    "tests/bank",
    "autograder/samples",
    "docs/reference/glossary.md",
    LOGS,
    CONFIG_NAME,
    EXTENSIONS,
)
#: Where what a restore replaced is kept.
ASIDE = "before-restore"
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Kept:
    """What a backup holds.

    Attributes:
        path: The archive.
        files: How many files.
        size: Bytes of the files, unpacked.
        left_out: What is no file, such as a link in a submission, and so is not in it.
        note: What a person has to do besides; empty if nothing.
    """

    path: Path
    files: int
    size: int
    left_out: tuple[str, ...] = ()
    note: str = ""


@dataclass
class _Contents:
    """What the manifest says."""

    made: str
    files: dict[str, dict[str, object]] = field(default_factory=dict)

    def as_json(self) -> bytes:
        return json.dumps({"version": VERSION, "made": self.made, "files": self.files}, indent=1).encode()


# ---------------------------------------------------------------------------------------------------------------------
# Backup


def backup(root: Path, config: Config, target: Path | None = None) -> Kept:
    """Write an archive of a course. It gets its name when it is whole and was read once more.

    Args:
        root: The course folder.
        config: The course's configuration.
        target: The archive; `backups/course-DATE-TIME.tar.gz` when None.

    Raises:
        CourseError: The archive is there already or would lie in what it holds, or something could not be read.
    """
    now = datetime.now(UTC)
    target = (target or root / "backups" / f"course-{now:%Y%m%d-%H%M%S}.tar.gz").absolute()
    if target.exists():
        raise CourseError(f"{target} is there already. Give another name.")
    for part in PARTS:
        if target.resolve().is_relative_to(root.resolve() / part):
            raise CourseError(
                f"{target} would lie in {part}, which the archive holds. Give another place, for example "
                f"{root / 'backups' / target.name}."
            )
    target.parent.mkdir(parents=True, exist_ok=True)
    url = database_url(config, root)
    notes = [] if url.startswith(SQLITE) else [_elsewhere(url)]
    notes += [_linked(root / part) for part in PARTS if (root / part).is_symlink() and part != GRADEBOOK]
    contents, left_out = _Contents(now.isoformat(timespec="seconds")), []
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as scratch:
        unfinished = Path(scratch, "unfinished.tar.gz")
        handle = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
                for part in PARTS:
                    if part != GRADEBOOK:
                        left_out += _add_tree(archive, root, part, contents)
                    elif url.startswith(SQLITE) and Path(root, url.removeprefix(SQLITE)).is_file():
                        copy = Path(scratch, GRADEBOOK)
                        copy_gradebook(Path(root, url.removeprefix(SQLITE)), copy)
                        _add_file(archive, copy, GRADEBOOK, contents)
                data = contents.as_json()
                member = tarfile.TarInfo(MANIFEST)
                member.size, member.mode, member.mtime = len(data), 0o600, int(now.timestamp())
                archive.addfile(member, io.BytesIO(data))
            file.flush()
            os.fsync(file.fileno())
        check(unfinished)
        unfinished.replace(target)
    size = sum(int(str(one["size"])) for one in contents.files.values())
    event("backup", root=root, archive=str(target), files=len(contents.files), bytes=size)
    return Kept(target, len(contents.files), size, tuple(left_out), "\n".join(notes))


def copy_gradebook(source: Path, target: Path) -> None:
    """Copy an SQLite database as it is at one moment, whoever writes to it meanwhile.

    Raises:
        CourseError: It is damaged.
    """
    try:
        with (
            # Not read-only: what a crash left unfinished beside it has to be undone first.
            contextlib.closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as old,
            contextlib.closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            (found,) = new.execute("PRAGMA integrity_check").fetchone()
    except sqlite3.Error as problem:
        found = str(problem)
    if found != "ok":
        raise CourseError(f"The gradebook {source} is damaged: {found}. Nothing was backed up.")


def _elsewhere(url: str) -> str:
    where = url.rpartition("@")[2] if "@" in url else url.partition("://")[2]
    return (
        f"The gradebook is not a file but a database at {where}, and is not in this archive. Keep it with the "
        "database's own tool: pg_dump --format=custom --file gradebook.dump, and put it back with pg_restore."
    )


def _linked(part: Path) -> str:
    return (
        f"{part} is a link to {part.resolve()}, and what lies there is not in this archive. Keep it by itself, or put "
        "it in the place of the link and back up once more."
    )


def _add_tree(archive: tarfile.TarFile, root: Path, part: str, contents: _Contents) -> list[str]:
    left_out = []
    top = root / part
    for path in [top, *sorted(top.rglob("*"))] if top.is_dir() and not top.is_symlink() else [top]:
        try:
            kind = path.lstat().st_mode
        except FileNotFoundError:
            continue
        name = path.relative_to(root).as_posix()
        if stat.S_ISDIR(kind):
            member = archive.gettarinfo(path, name)
            archive.addfile(_without_owner(member))
        elif stat.S_ISREG(kind):
            _add_file(archive, path, name, contents)
        else:
            left_out.append(name)
    return left_out


def _add_file(archive: tarfile.TarFile, path: Path, name: str, contents: _Contents) -> None:
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as file:
        member = _without_owner(archive.gettarinfo(arcname=name, fileobj=file))
        reader = _Hashing(file)
        try:
            archive.addfile(member, reader)
        except OSError as problem:
            raise CourseError(f"{path} could not be read to its end: {problem}. Try again.") from problem
        if file.read(1):
            raise CourseError(f"{path} was written to while it was read. Try again when nobody grades or collects.")
    contents.files[name] = {"size": member.size, "sha256": reader.digest()}


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    # Two names of one file are two files here.
    if member.islnk():
        member.type, member.linkname = tarfile.REGTYPE, ""
    return member


class _Hashing(io.RawIOBase):
    """Reads a file and keeps a digest of what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        return self._hash.hexdigest()


# ---------------------------------------------------------------------------------------------------------------------
# Reading an archive


def check(path: Path, into: Path | None = None) -> int:
    """Read a whole archive and compare it with its manifest.

    Args:
        path: The archive.
        into: An empty folder that it is unpacked into; nowhere when None.

    Returns:
        The number of files.

    Raises:
        CourseError: It is damaged, broken off, or holds what a backup never does; the message says which.
    """
    found: dict[str, dict[str, object]] = {}
    manifest: dict[str, dict[str, object]] | None = None
    try:
        with gzip.open(path) as unzipped, tarfile.open(fileobj=unzipped, mode="r:") as archive:
            for member in archive:
                if manifest is not None:
                    raise CourseError(f"{path} is no backup: '{member.name}' comes after the manifest.")
                if member.name == MANIFEST:
                    manifest = _read_manifest(path, archive, member)
                else:
                    found.update(_unpack(path, archive, member, into, set(found)))
            # To its very end, where the sum of all bytes stands: the manifest knows files, not their times and modes.
            while unzipped.read(_BLOCK):
                pass
    except FileNotFoundError:
        raise CourseError(f"{path} is not there.") from None
    except (tarfile.TarError, EOFError, zlib.error, OSError) as problem:
        raise CourseError(f"{path} is damaged or no backup: {problem}. Nothing was changed.") from problem
    if manifest is None:
        raise CourseError(f"{path} was broken off: it has no manifest. Nothing was changed.")
    for name in sorted(found.keys() ^ manifest.keys()):
        raise CourseError(f"{path} is damaged: '{name}' is only in the {'archive' if name in found else 'manifest'}.")
    for name, facts in manifest.items():
        if found[name] != facts:
            raise CourseError(f"{path} is damaged: '{name}' is not what was put in. Nothing was changed.")
    return len(found)


def _read_manifest(path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, dict[str, object]]:
    file = archive.extractfile(member)
    try:
        said = json.loads(file.read()) if file is not None else {}
        version, files = said["version"], said["files"]
    except (ValueError, KeyError, TypeError):
        raise CourseError(f"{path} is damaged: its manifest cannot be read.") from None
    if version != VERSION:
        raise CourseError(f"{path} was made by another version of this program (format {version}, not {VERSION}).")
    return dict(files)


def _unpack(
    path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, into: Path | None, known: set[str]
) -> Iterator[tuple[str, dict[str, object]]]:
    """Check the name and kind of a member, and read it."""
    name = PurePosixPath(member.name)
    if (
        name.is_absolute()
        or ".." in name.parts
        or "\\" in member.name
        or "\0" in member.name
        or not name.parts
        or not any(name.is_relative_to(part) for part in PARTS)
        or member.name in known
    ):
        raise CourseError(f"{path} is refused: a backup holds nothing called '{member.name}'. Nothing was changed.")
    if not (member.isdir() or member.isreg()):
        raise CourseError(f"{path} is refused: '{member.name}' is a link or a device. Nothing was changed.")
    target = into.joinpath(*name.parts) if into is not None else None
    if member.isdir():
        if target is not None:
            target.mkdir(parents=True, exist_ok=True)
            target.chmod(member.mode & 0o777 | 0o700)
        return
    file = archive.extractfile(member)
    assert file is not None
    whole = hashlib.sha256()
    with contextlib.ExitStack() as stack:
        copy = None
        if target is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            copy = stack.enter_context(os.fdopen(handle, "wb"))
        while block := file.read(_BLOCK):
            whole.update(block)
            if copy is not None:
                copy.write(block)
    if target is not None:
        target.chmod(member.mode & 0o777 | 0o600)
        os.utime(target, (member.mtime, member.mtime))
    yield member.name, {"size": member.size, "sha256": whole.hexdigest()}


# ---------------------------------------------------------------------------------------------------------------------
# Restore


def restore(root: Path, archive: Path, *, force: bool = False) -> tuple[int, Path | None]:
    """Put a course back as an archive holds it.

    The archive is unpacked beside the course and checked first; only then are folders moved. What was there before is
    kept in `before-restore/DATE-TIME/`, if it was something else. The gradebook goes where the course's configuration,
    as it is then, has it.

    Args:
        root: The course folder.
        archive: The archive.
        force: Replace what is there, too.

    Returns:
        The number of files, and the folder that holds what was there before; None if there was nothing else.

    Raises:
        CourseError: The archive is damaged, the course holds something else already and `force` is not given, or its
            gradebook is a database that no file can take the place of.
    """
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=root) as scratch:
        unpacked = Path(scratch, "new")
        unpacked.mkdir(mode=0o700)
        count = check(archive, unpacked)
        parts = [part for part in PARTS if (unpacked / part).exists() and not (part == LOGS and (root / LOGS).exists())]
        if GRADEBOOK in parts:
            copy_gradebook(unpacked / GRADEBOOK, Path(scratch, "trial.db"))
        lost = next((name for part in parts for name in _differing(root, unpacked, part)), None)
        if lost is not None and not force:
            raise CourseError(
                f"{root / lost} is not what {archive} holds, and would be replaced. Nothing was changed. To replace it "
                f"and keep what is there in {ASIDE}/: autograder restore {archive} --force"
            )
        aside = root / ASIDE / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
        _swap(root, unpacked, aside, parts)
    if lost is None:
        shutil.rmtree(aside, ignore_errors=True)  # nothing but copies of what was put back
        with contextlib.suppress(OSError):
            aside.parent.rmdir()
    event("restored", root=root, archive=str(archive), files=count, aside=str(aside) if lost else None)
    return count, aside if lost is not None else None


def _gradebook_file(root: Path) -> Path:
    """Where the course keeps its gradebook.

    Raises:
        CourseError: That is no file.
    """
    url = database_url(load_config(root), root)
    if not url.startswith(SQLITE):
        raise CourseError(
            f"The archive holds a gradebook as a file, but {root / CONFIG_NAME} names a database (c.CourseDirectory."
            "db_url), which a file cannot replace. Nothing was changed. Take that line out, restore, and fill the "
            "database with its own tool."
        )
    return Path(root, url.removeprefix(SQLITE))


def _differing(root: Path, unpacked: Path, part: str) -> Iterator[str]:
    """The files of a part of the course that the archive does not hold as they are."""
    if part == GRADEBOOK:
        there = _gradebook_file(root)
        if there.exists() and not _same_marks(there, unpacked / part):
            yield str(there)
        return
    top = root / part
    if not top.exists() and not top.is_symlink():
        return
    for path in [top, *sorted(top.rglob("*"))] if top.is_dir() and not top.is_symlink() else [top]:
        name = path.relative_to(root)
        if path.is_dir() and not path.is_symlink():
            continue
        if path.name == ".gitkeep" and path.stat().st_size == 0:
            continue
        new = unpacked / name
        if path.is_symlink() or not new.is_file() or path.read_bytes() != new.read_bytes():
            yield name.as_posix()


def _same_marks(one: Path, other: Path) -> bool:
    """Whether two databases hold the same: a copy may have it in another order of pages, or in a file beside it."""
    try:
        return _dump(one) == _dump(other)
    except sqlite3.Error:
        return False


def _dump(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)) as database:
        return list(database.iterdump())


def _swap(root: Path, unpacked: Path, aside: Path, parts: list[str]) -> None:
    """Move the old parts aside and the new ones in; all back again if anything goes wrong on the way."""
    undo: list[tuple[Path, Path]] = []
    aside.mkdir(parents=True, exist_ok=True)
    aside.parent.chmod(0o700)
    try:
        for part in sorted(parts, key=lambda part: part == GRADEBOOK):  # where that goes, the configuration says
            there = _gradebook_file(root) if part == GRADEBOOK else root / part
            if part == GRADEBOOK:  # what SQLite keeps beside one database would spoil another
                for suffix in ("-journal", "-wal", "-shm"):
                    _move(there.with_name(there.name + suffix), aside / (part + suffix), undo)
            _move(there, aside / part, undo)
            _move(unpacked / part, there, undo)
    except BaseException:
        for before, now in reversed(undo):
            shutil.move(now, before)
        raise


def _move(before: Path, now: Path, undo: list[tuple[Path, Path]]) -> None:
    """Move a part of the course, if it is there, and note where it was."""
    if not before.exists() and not before.is_symlink():
        return
    now.parent.mkdir(parents=True, exist_ok=True)
    try:
        before.rename(now)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        # A gradebook may be kept on another disk.
        unfinished = now.with_name(f".{now.name}.part")
        shutil.copy2(before, unfinished)
        unfinished.replace(now)
        before.unlink()
    undo.append((before, now))
