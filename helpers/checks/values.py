"""Whether an exercise has been tried, and whether its answer is of the right kind."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.checks.wording import is_blank, kind, listed, shape_text, shortened


class CheckError(AssertionError):
    """An answer is not right; the message says what was expected and what was found."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines in place of the whole path through this module, which tells a learner nothing.
        return [str(self)]


class NotAttempted(CheckError):
    """The answer is still the blank of its starter; the message starts with 'not attempted yet'."""


def fail_unless(condition: Any, message: str) -> None:
    """Raise `CheckError(message)` unless the condition holds.

    Args:
        condition: Anything with a truth value.
        message: What was expected and what was found, for a learner.
    """
    if not condition:
        raise CheckError(message)


def attempted(**values: Any) -> None:
    """Make sure that no value is still the blank `...` of its starter.

    Args:
        **values: The names of the answer and their values: `attempted(first_label=first_label)`. A list, tuple or dict
            that holds a blank counts as one.

    Raises:
        NotAttempted: If there is a blank.
    """
    blanks = [name for name, value in values.items() if is_blank(value)]
    if blanks:
        verb = "is still a blank" if len(blanks) == 1 else "are still blanks"
        raise NotAttempted(f"not attempted yet: {listed(blanks)} {verb} (...)")


def expect_text(value: Any, name: str, among: Sequence[str] | None = None) -> str:
    """Make sure that a value is text.

    Args:
        value: The answer.
        name: What it is called in the notebook.
        among: The texts that are possible at all.

    Returns:
        The text as a plain `str`.
    """
    attempted(**{name: value})
    fail_unless(isinstance(value, str), f"{name}: expected text, found {kind(value)}")
    if among is not None:
        fail_unless(
            str(value) in among, f"{name}: expected one of {listed(map(repr, among))}, found {shortened(repr(value))}"
        )
    return str(value)


def expect_number(
    value: Any, name: str, *, low: float | None = None, high: float | None = None, whole: bool = False
) -> float:
    """Make sure that a value is one finite number.

    Args:
        value: The answer: a Python or NumPy number, or a tensor or array that holds a single one.
        name: What it is called in the notebook.
        low: The smallest number that is possible at all.
        high: The largest.
        whole: Whether it has to be a whole number.

    Returns:
        The number as a plain `float` (as an `int` if `whole`).
    """
    attempted(**{name: value})
    wanted = "a whole number" if whole else "a number"
    array = None
    if not isinstance(value, str | bytes | bool | Mapping) and value is not None:
        with contextlib.suppress(Exception):
            array = np.asarray(value)
    if array is None or array.dtype.kind not in "iuf" or array.size != 1:
        raise CheckError(f"{name}: expected {wanted}, found {kind(value)}")
    number = array.reshape(-1)[0].item()
    fail_unless(math.isfinite(number), f"{name}: expected {wanted}, found {number}")
    if whole:
        fail_unless(number == int(number), f"{name}: expected a whole number, found {number}")
        number = int(number)
    if (low is not None and number < low) or (high is not None and number > high):
        limits = f"from {low} to {high}" if None not in (low, high) else f"from {low}" if high is None else f"to {high}"
        raise CheckError(f"{name}: expected {wanted} {limits}, found {number}")
    return number


def class_index(value: Any, num_classes: int = 5, name: str = "label") -> int:
    """Make sure that a value is the number of a class.

    Args:
        value: The answer: an int, a NumPy number, or a tensor or array that holds a single one.
        num_classes: How many classes there are; they are numbered from 0.
        name: What it is called in the notebook.

    Returns:
        The number as a plain `int`.
    """
    attempted(**{name: value})
    if isinstance(value, str):
        raise CheckError(f"{name}: expected the number of a class, from 0 to {num_classes - 1}, found text")
    return int(expect_number(value, name, low=0, high=num_classes - 1, whole=True))


def expect_array(
    value: Any,
    name: str,
    shape: Sequence[int | None] | None = None,
    *,
    low: float | None = None,
    high: float | None = None,
) -> np.ndarray:
    """Make sure that a value is an array (or a tensor, or nested lists) of finite numbers.

    Args:
        value: The answer.
        name: What it is called in the notebook.
        shape: The shape it should have; `None` stands for any size.
        low: The smallest number that is possible at all.
        high: The largest.

    Returns:
        The values as a NumPy array of their own dtype.
    """
    attempted(**{name: value})
    array = None
    if not isinstance(value, str | bytes | Mapping) and value is not None:
        with contextlib.suppress(Exception):
            array = np.asarray(value)
    if array is None or array.dtype.kind not in "biuf":
        raise CheckError(f"{name}: expected an array of numbers, found {kind(value)}")
    if shape is not None:
        fits = array.ndim == len(shape) and all(w is None or w == s for w, s in zip(shape, array.shape, strict=True))
        fail_unless(fits, f"{name}: expected shape {shape_text(shape)}, found {shape_text(array.shape)}")
    fail_unless(
        array.dtype.kind in "biu" or np.isfinite(array).all(),
        f"{name}: expected numbers, found some that are not finite",
    )
    if array.size and ((low is not None and array.min() < low) or (high is not None and array.max() > high)):
        limits = " and ".join(
            text for text, limit in ((f"at least {low}", low), (f"at most {high}", high)) if limit is not None
        )
        raise CheckError(f"{name}: expected values of {limits}, found values from {array.min():g} to {array.max():g}")
    return array


def same_values(value: Any, expected: Any, name: str, what: str, tolerance: float = 1e-6) -> np.ndarray:
    """Make sure that an answer holds the numbers it should, without telling them.

    Args:
        value: The answer: a number, an array, a tensor or nested lists.
        expected: The right numbers.
        name: What the answer is called in the notebook.
        what: What it should be, in words: `"the first image of test_ds"`.
        tolerance: How far a number may be off.

    Returns:
        The answer as a NumPy array.
    """
    right = np.asarray(expected)
    array = expect_array(value, name, right.shape)
    off = np.abs(array.astype(float) - right.astype(float)).max(initial=0.0)
    fail_unless(off <= tolerance, f"{name}: expected {what}, found other values")
    return array
