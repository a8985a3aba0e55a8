"""Files that are there whole or not at all: written beside their place, and moved there when they are complete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path


def write_whole(path: Path, content: bytes, *, private: bool = True) -> Path:
    """Write a file so that after a crash it is there whole, with this content or the one before.

    Args:
        path: The file.
        content: What shall stand in it.
        private: Whether only we may look into it and into folders that are made for it. If not, it keeps the rights of
            the file before it.

    Returns:
        The path.
    """
    if private:
        make_private(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # no other process has it, on any machine
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as file:
            if not private and path.is_file():
                os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return path


def write_text_whole(path: Path, text: str) -> Path:
    """Write a text for everybody to read, whole or not at all; line ends stay as they are."""
    return write_whole(path, text.encode(), private=False)


def write_json_whole(path: Path, found: object) -> Path:
    """Write what JSON can hold, indented, whole or not at all."""
    return write_text_whole(path, json.dumps(found, indent=2) + "\n")


def write_csv_whole(path: Path, rows: Iterable[Iterable[object]]) -> Path:
    """Write a table as CSV, whole or not at all; the first row holds the headings."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return write_text_whole(path, text.getvalue())


def make_private(folder: Path) -> None:
    """Make a folder of ours, and those above it, which only we may look into."""
    missing = [folder, *folder.parents]
    for one in reversed(missing[: next((at for at, each in enumerate(missing) if each.is_dir()), 0)]):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_folder(one.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder survive a power cut; where a system can't, a rename is as durable as it gets."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
