"""How checks put into words what they found."""

from __future__ import annotations

import contextlib
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def is_blank(value: Any) -> bool:
    """Whether a value is a starter's blank `...`, or holds one: in a list, tuple or dict, or in one within it."""
    if value is ...:
        return True
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return any(
        part is ... or (isinstance(part, list | tuple) and any(inner is ... for inner in part)) for part in parts
    )


def kind(value: Any) -> str:
    """What a value is, for a learner."""
    if value is None:
        return "None"
    if value is ...:
        return "a blank (...)"
    if isinstance(value, bool | np.bool_):
        return f"{bool(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {shape_text(value.shape)} and type {value.dtype}"
    if isinstance(value, list | tuple | dict | set) and not value:
        return f"an empty {type(value).__name__}"
    if isinstance(value, type):
        return f"the class {value.__name__}; was it called, with () after its name?"
    if callable(value) and not hasattr(value, "get_weights"):
        return (
            f"a function ({getattr(value, '__name__', type(value).__name__)}); was it called, with () after its name?"
        )
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, numbers.Number):
        with contextlib.suppress(Exception):
            return f"{type(value).__name__} of shape {shape_text(tuple(shape))}"
    return type(value).__name__


def shape_text(shape: Any) -> str:
    """A shape as Python writes a tuple."""
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        inner = ", ".join(shape_text(size) if isinstance(size, list | tuple) else str(size) for size in shape)
        return f"({inner},)" if len(shape) == 1 else f"({inner})"
    return str(shape)


def listed(names: Iterable[Any]) -> str:
    """Several names in a sentence: `a, b and c`."""
    texts = [str(name) for name in names]
    return texts[0] if len(texts) == 1 else " and ".join((", ".join(texts[:-1]), texts[-1])) if texts else ""


def shortened(text: str, limit: int = 60) -> str:
    """Text that may come from anywhere, cut to a length that a message can bear."""
    return text if len(text) <= limit else text[: limit - 3] + "..."


def first_line(error: Any) -> str:
    """What an error says, without what follows below its first line."""
    lines = str(error).strip().splitlines()
    return shortened(lines[0], 300) if lines else type(error).__name__
