"""The run log: one JSON line for each thing that happened, for people and programs to read later."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from autograder.course import find_root


def event(kind: str, *, root: Path | None = None, **fields: object) -> None:
    """Append one line to `logs/autograder.jsonl` in the course folder.

    A log that cannot be written must never stop a batch, so this raises nothing.

    Args:
        kind: What happened, in a word or two, for example `graded`.
        root: The course folder; found from the working directory when None.
        **fields: What to note about it. Values that JSON does not know are written as text.
    """
    try:
        path = (root or find_root()) / "logs" / "autograder.jsonl"
        path.parent.mkdir(exist_ok=True)
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "kind": kind, **fields}
        data = (json.dumps(line, default=str, ensure_ascii=False) + "\n").encode(errors="replace")
        # One write to a file opened for appending, so that lines of several processes do not mix.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, data)
        finally:
            os.close(handle)
    except Exception:
        return
