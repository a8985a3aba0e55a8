"""The errors that a user of the autograder sees."""

from __future__ import annotations

import difflib
from collections.abc import Collection


class CourseError(Exception):
    """Bad input or a missing part, told in one message.

    The message names the file or the exercise, what was found, what was expected and what to do next. The command line
    prints it without a traceback unless `--verbose` is given.
    """


class CourseFault(CourseError):
    """Something is wrong with the instructor's own files: no student's fault, and the same for all of them."""


def did_you_mean(wanted: str, names: Collection[str]) -> str:
    """` Did you mean 'NAME'?` with the nearest of some names; nothing if none is near."""
    near = difflib.get_close_matches(wanted, names, n=1)
    return f" Did you mean '{near[0]}'?" if near else ""
