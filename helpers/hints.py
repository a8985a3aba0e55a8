"""Hints on demand: each call for the same exercise tells a little more.

The hints of an episode stand in `hints/NN-name.md`: a heading `## exercise-id` for each exercise, its hints below it,
parted by lines that hold nothing but `---`.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "hints"

_HEADING = re.compile(r"##\s+(\S+)\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")

_told: dict[str, int] = {}


class HintError(LookupError):
    """There is no hint of that name, or a hint file is not as it should be."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


def hint(exercise: str, *, start_again: bool = False) -> None:
    """Show the next hint for an exercise.

    The first call shows the gentlest hint, each further call the next one. After the last, it is shown again.

    Args:
        exercise: The id of the exercise, as its heading gives it: `"compile-and-fit"`.
        start_again: Begin again with the first hint.

    Raises:
        HintError: If there is no such exercise; the message lists those with a similar name.
    """
    known = all_hints()
    if not isinstance(exercise, str) or exercise not in known:
        raise HintError(_unknown(exercise, known))
    hints = known[exercise]
    number = 0 if start_again else min(_told.get(exercise, 0), len(hints) - 1)
    _told[exercise] = number + 1
    if number + 1 < len(hints):
        after = f'There is more: run helpers.hint("{exercise}") again.'
    else:
        after = "That was the last hint for this exercise."
    _tell(f"Hint {number + 1} of {len(hints)} for {exercise}", hints[number], after)


def _tell(title: str, text: str, after: str) -> None:
    """Show a hint as the Markdown that it is where a notebook can, and print it elsewhere."""
    plain = f"{title}\n\n{text}\n\n{after}"
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if hasattr(shell, "kernel"):
        marked = f"**{title}**\n\n{text}\n\n*{after}*"
        shell.display_pub.publish({"text/plain": plain, "text/markdown": marked})
    else:
        print(plain)


@cache
def all_hints(folder: Path = FOLDER) -> Mapping[str, list[str]]:
    """Every exercise id with its hints, gentlest first.

    Args:
        folder: Where the hint files are.

    Raises:
        HintError: If a file is malformed, or two files hold hints for the same exercise.
    """
    hints: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.md")):
        for exercise, texts in read_hints(path.read_text(encoding="utf-8"), path.name).items():
            if exercise in hints:
                raise HintError(f"{path.name}: another file has hints for '{exercise}' already; ids are unique")
            hints[exercise] = texts
    return hints


def read_hints(text: str, source: str = "hints") -> dict[str, list[str]]:
    """Read one hint file.

    Args:
        text: Its content. What stands before the first `## ` heading is a note to the reader of the file.
        source: Its name, for error messages.

    Returns:
        Exercise id -> its hints in order.

    Raises:
        HintError: If an id appears twice, or an exercise or one of its hints is empty.
    """
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        heading = None if fenced else _HEADING.match(line)
        if heading:
            exercise = heading.group(1)
            if exercise in sections:
                raise HintError(f"{source}: '{exercise}' has two headings; give it one")
            current = sections[exercise] = [""]
        elif current is not None and not fenced and line.strip() == "---":
            current.append("")
        elif current is not None:
            current[-1] += line + "\n"
    hints = {exercise: [part.strip() for part in parts] for exercise, parts in sections.items()}
    for exercise, parts in hints.items():
        if not all(parts):
            raise HintError(f"{source}: a hint for '{exercise}' is empty; write it, or take its '---' away")
    return hints


def _unknown(exercise: object, known: Mapping[str, list[str]]) -> str:
    """What to say when there are no hints of that name."""
    asked = exercise.strip().lower() if isinstance(exercise, str) else ""
    close = difflib.get_close_matches(asked, known, n=3, cutoff=0.4)
    if close:
        quoted = " or ".join(f'"{name}"' for name in close)
        return f"there are no hints for {exercise!r}. Did you mean {quoted}?"
    return f"there are no hints for {exercise!r}. There are hints for: {', '.join(sorted(known)) or 'no exercise yet'}"
