"""Whether a model card is complete, and whether it tells the truth about its model."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.checks.images import course_images
from helpers.checks.models import expect_model
from helpers.checks.predictions import predict
from helpers.checks.saved import saved_file
from helpers.checks.values import CheckError, NotAttempted, expect_array, expect_number, expect_text, fail_unless
from helpers.checks.wording import first_line, kind, listed

#: How far a number on a card may be from the measured one: it may be rounded to two decimals.
_ROUNDED = 0.0051

_KEYS = ("name", "made_for", "classes", "input_shape", "pixel_values", "parameters", "data", "metrics", "limits")
_DATA_KEYS = ("source", "training", "validation", "test")
_METRIC_KEYS = ("test_accuracy", "chance", "recall")


def model_card(card: Any, name: str, class_names: Sequence[str]) -> dict[str, Any]:
    """Make sure that a model card is complete: a dict with every entry, each of the right kind.

    Args:
        card: The card, with the entries `name`, `made_for`, `classes`, `input_shape`, `pixel_values`, `parameters`,
            `data` (`source`, `training`, `validation`, `test`), `metrics` (`test_accuracy`, `chance`, `recall` of each
            class) and `limits` (at least three sentences). Others may be there too.
        name: What it is called in the notebook.
        class_names: The name of each class, by number.

    Returns:
        The card.

    Raises:
        NotAttempted: If it is a blank, or one is left in it.
        CheckError: If an entry is missing, or of the wrong kind.
    """
    blanks = _blanks(card, name)
    if blanks:
        verb = "is still a blank" if len(blanks) == 1 else "are still blanks"
        raise NotAttempted(f"not attempted yet: {listed(blanks)} {verb} (...)")
    _entries(card, name, _KEYS)
    for key in ("name", "made_for"):
        _words(card[key], f"{name}['{key}']", 1 if key == "name" else 4)
    _names(card["classes"], f"{name}['classes']")
    expect_array(card["input_shape"], f"{name}['input_shape']", (3,), low=1)
    expect_array(card["pixel_values"], f"{name}['pixel_values']", (2,))
    expect_number(card["parameters"], f"{name}['parameters']", low=1, whole=True)

    data, metrics = card["data"], card["metrics"]
    _entries(data, f"{name}['data']", _DATA_KEYS)
    _words(data["source"], f"{name}['data']['source']", 1)
    for key in _DATA_KEYS[1:]:
        expect_number(data[key], f"{name}['data']['{key}']", low=1, whole=True)
    _entries(metrics, f"{name}['metrics']", _METRIC_KEYS)
    for key in ("test_accuracy", "chance"):
        expect_number(metrics[key], f"{name}['metrics']['{key}']", low=0, high=1)
    _entries(metrics["recall"], f"{name}['metrics']['recall']", class_names)
    for key in class_names:
        expect_number(metrics["recall"][key], f"{name}['metrics']['recall']['{key}']", low=0, high=1)

    limits = card["limits"]
    if not isinstance(limits, list | tuple):
        raise CheckError(f"{name}['limits']: expected a list of sentences, found {kind(limits)}")
    sentences = {_words(text, f"{name}['limits'], number {place + 1}", 5) for place, text in enumerate(limits)}
    fail_unless(
        len(sentences) >= 3, f"{name}['limits']: expected at least 3 different sentences, found {len(sentences)}"
    )
    return dict(card)


def card_is_true(card: Mapping[str, Any], model: Any, name: str, class_names: Sequence[str]) -> None:
    """Make sure that a complete card tells the truth: about the model, the course's images, and what was measured.

    Args:
        card: What `model_card` returned.
        model: The model that it is about.
        name: What the card is called in the notebook.
        class_names: The name of each class, by number.

    Raises:
        CheckError: If an entry is not so. The message doesn't tell the right value.
    """
    model = expect_model(model, "the model of the card")
    fail_unless(
        list(card["classes"]) == list(class_names),
        f"{name}['classes']: expected the class names in the order of their numbers, found others",
    )
    _agrees(
        card["input_shape"], model.input_shape[1:], f"{name}['input_shape']", "the shape of one image for the model"
    )
    _agrees(
        card["pixel_values"],
        (0, 255),
        f"{name}['pixel_values']",
        "the lowest and the highest value of a pixel, before the model rescales it",
    )
    _agrees(card["parameters"], model.count_params(), f"{name}['parameters']", "the number of the model's parameters")
    for key, split in (("training", "train"), ("validation", "val"), ("test", "test")):
        _agrees(
            card["data"][key],
            len(course_images(split)[0]),
            f"{name}['data']['{key}']",
            "the number of images in that set",
        )
    images, labels = course_images("test")
    right = predict(model, images.astype("float32"), "the model of the card").argmax(axis=1) == labels
    metrics = card["metrics"]
    _agrees(
        metrics["test_accuracy"],
        right.mean(),
        f"{name}['metrics']['test_accuracy']",
        "the model's accuracy on the test images, as exact as two decimals",
        _ROUNDED,
    )
    _agrees(
        metrics["chance"],
        1 / len(class_names),
        f"{name}['metrics']['chance']",
        "the accuracy that guessing gets",
        _ROUNDED,
    )
    recall = {class_name: float(right[labels == number].mean()) for number, class_name in enumerate(class_names)}
    for class_name, share in recall.items():
        _agrees(
            metrics["recall"][class_name],
            share,
            f"{name}['metrics']['recall']['{class_name}']",
            "the share of this class's test images that the model gets right, as exact as two decimals",
            _ROUNDED,
        )
    worst = {class_name for class_name, share in recall.items() if share <= min(recall.values()) + 1e-9}
    told = " ".join(str(text) for text in card["limits"]).lower()
    fail_unless(
        any(re.search(rf"\b{re.escape(class_name.lower())}(e?s)?\b", told) for class_name in worst),
        f"{name}['limits']: expected one of the sentences to name the class with the lowest recall, found none",
    )


def card_file(path: str | Path, card: Mapping[str, Any], name: str) -> None:
    """Make sure that a card was saved as JSON.

    Args:
        path: The file.
        card: The card that should be in it.
        name: What the card is called in the notebook.

    Raises:
        NotAttempted: If there is no such file.
        CheckError: If it holds something else.
    """
    file = saved_file(path, ".json")
    fail_unless(file.stat().st_size <= 1_000_000, f"{path}: expected a card, found a file of more than a million bytes")
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckError(f"{path}: expected a card as JSON, found an error: {first_line(error)}") from None
    fail_unless(
        found == _plain(card), f"{path}: expected the entries of {name}, found others; was {name} changed afterwards?"
    )


def _blanks(value: Any, name: str) -> list[str]:
    """Where blanks are left, at any depth that a card has."""
    if value is ... or (isinstance(value, str) and value.strip() in ("", "...")):
        return [name]
    if isinstance(value, Mapping):
        return [blank for key, part in value.items() for blank in _blanks(part, f"{name}['{key}']")]
    if isinstance(value, list | tuple) and any(_blanks(part, name) for part in value):
        return [name]
    return []


def _entries(value: Any, name: str, keys: Sequence[str]) -> None:
    if not isinstance(value, Mapping):
        raise CheckError(f"{name}: expected a dict with the entries {listed(keys)}, found {kind(value)}")
    missing = [key for key in keys if key not in value]
    fail_unless(not missing, f"{name}: expected the entries {listed(keys)}, found none called {listed(missing)}")


def _words(value: Any, name: str, at_least: int) -> str:
    text = " ".join(expect_text(value, name).lower().split())
    count = len(text.split())
    fail_unless(
        count >= at_least,
        f"{name}: expected at least {at_least} word{'s' if at_least > 1 else ''}, found {count or 'none'}",
    )
    return text


def _names(value: Any, name: str) -> None:
    if not isinstance(value, list | tuple) or not all(isinstance(part, str) for part in value):
        raise CheckError(f"{name}: expected a list of class names, found {kind(value)}")


def _agrees(value: Any, right: Any, name: str, what: str, tolerance: float = 1e-9) -> None:
    found = np.asarray(value, dtype=float)
    wanted = np.asarray(right, dtype=float)
    same = found.size == wanted.size and bool(
        np.abs(found.reshape(-1) - wanted.reshape(-1)).max(initial=0.0) <= tolerance
    )
    fail_unless(same, f"{name}: expected {what}, found {_plain(value)}")


def _plain(value: Any) -> Any:
    """A value as JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
