"""The checks that visible and hidden tests share.

Every check raises `CheckError` when an answer is wrong, with one message that says what was expected and what was found,
and `NotAttempted` when the answer is still the blank of its starter. Otherwise it returns something of use: the value in
a tidy form, or a report that can be printed.

Checks take values as they are in a student's notebook, or copies of them: an array where there was a tensor, a model read
back from a file, an object that has only the `history` of a training run. They read models through Keras's public API
alone. A value of a wrong type is a wrong answer, told in plain words; it never ends in an error from deep inside a check.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import numbers
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

#: How far two sets of probabilities from the same model may lie apart: more than rounding, less than any training step.
SAME_PREDICTION = 1e-3

_FRESH_PROCESS = Path(__file__).with_name("fresh_process.py")


class CheckError(AssertionError):
    """An answer is not right; the message says what was expected and what was found."""

    def _render_traceback_(self) -> list[str]:
        # IPython shows these lines in place of the whole path through this module, which tells a learner nothing.
        return [f"{type(self).__name__}: {self}"]


class NotAttempted(CheckError):
    """The answer is still the blank of its starter; the message starts with 'not attempted yet'."""


class FreshProcessError(ImportError):
    """A new Python process could not be started or could not import Keras: no fault of the answer."""


def fail_unless(condition: Any, message: str) -> None:
    """Raise `CheckError(message)` unless the condition holds.

    Args:
        condition: Anything with a truth value.
        message: What was expected and what was found, for a learner.
    """
    if not condition:
        raise CheckError(message)


# --- has the exercise been tried, and is the value of the right kind ---------------------------------------------------


def attempted(**values: Any) -> None:
    """Make sure that no value is still the blank `...` of its starter.

    Args:
        **values: The names of the answer and their values: `attempted(first_label=first_label)`. A list, tuple or dict
            that holds a blank counts as one.

    Raises:
        NotAttempted: If there is a blank.
    """
    blanks = [name for name, value in values.items() if _is_blank(value)]
    if blanks:
        verb = "is still a blank" if len(blanks) == 1 else "are still blanks"
        raise NotAttempted(f"not attempted yet: {_listed(blanks)} {verb} (...)")


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
    fail_unless(isinstance(value, str), f"{name}: expected text, found {_kind(value)}")
    if among is not None:
        fail_unless(
            str(value) in among, f"{name}: expected one of {_listed(map(repr, among))}, found {_shortened(repr(value))}"
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
        raise CheckError(f"{name}: expected {wanted}, found {_kind(value)}")
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
        raise CheckError(f"{name}: expected an array of numbers, found {_kind(value)}")
    if shape is not None:
        fits = array.ndim == len(shape) and all(w is None or w == s for w, s in zip(shape, array.shape, strict=True))
        fail_unless(fits, f"{name}: expected shape {_shape_text(shape)}, found {_shape_text(array.shape)}")
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


def expect_model(value: Any, name: str = "model") -> keras.Model:
    """Make sure that a value is a Keras model.

    Args:
        value: The answer.
        name: What it is called in the notebook.

    Returns:
        The model.
    """
    import keras

    attempted(**{name: value})
    fail_unless(isinstance(value, keras.Model), f"{name}: expected a Keras model, found {_kind(value)}")
    return value


def expect_history(value: Any, name: str = "history", needs: Sequence[str] = ("loss",)) -> dict[str, list[float]]:
    """Make sure that a value is what `model.fit` returned.

    Args:
        value: The answer, or a copy that has its `history`.
        name: What it is called in the notebook.
        needs: The numbers that must have been recorded after each epoch: `"loss"`, `"accuracy"`, `"val_loss"`. The
            spellings that Keras gives to accuracy count as `"accuracy"`.

    Returns:
        Each name in `needs` with one finite float for each epoch.
    """
    attempted(**{name: value})
    recorded = getattr(value, "history", None)
    if not isinstance(recorded, Mapping):
        raise CheckError(f"{name}: expected what model.fit returns, found {_kind(value)}")
    found: dict[str, list[float]] = {}
    for need in needs:
        prefix, plain = ("val_", need[4:]) if need.startswith("val_") else ("", need)
        spellings = [need]
        if plain in ("accuracy", "acc"):
            spellings += [f"{prefix}{s}" for s in ("accuracy", "acc", "sparse_categorical_accuracy")]
            spellings += [f"{prefix}categorical_accuracy"]
        key = next((s for s in spellings if s in recorded), None)
        if key is None:
            raise CheckError(
                f"{name}: expected '{need}' to be recorded after each epoch, found {_listed(map(repr, recorded)) or 'nothing'}"
            )
        numbers_found = np.ravel(expect_array(list(recorded[key]), f"{name}.history['{key}']"))
        fail_unless(numbers_found.size, f"{name}: expected at least one epoch, found none")
        found[need] = [float(number) for number in numbers_found]
    fail_unless(
        len({len(series) for series in found.values()}) <= 1, f"{name}: expected as many numbers of each kind as epochs"
    )
    return found


# --- what a model is like ----------------------------------------------------------------------------------------------


def output_shapes(
    model: Any,
    input_shape: Sequence[int | None] | None = None,
    output_shape: Sequence[int | None] | None = None,
    name: str = "model",
) -> None:
    """Make sure that a model takes and returns arrays of the given shapes.

    Args:
        model: The model.
        input_shape: With the batch size first: `(None, 32, 32, 3)`. `None` for the whole means that any will do.
        output_shape: Likewise: `(None, 5)`.
        name: What it is called in the notebook.
    """
    expect_model(model, name)
    for wanted, attribute, verb in ((input_shape, "input_shape", "take"), (output_shape, "output_shape", "return")):
        if wanted is None:
            continue
        found = None
        with contextlib.suppress(Exception):
            found = getattr(model, attribute)
        if found is None:
            raise CheckError(
                f"{name}: expected a model with a known {attribute.replace('_', ' ')}, found one not built yet"
            )
        fail_unless(
            isinstance(found, Sequence) and tuple(found) == tuple(wanted),
            f"{name}: expected a model that {verb}s arrays of shape {_shape_text(wanted)}, found {_shape_text(found)}",
        )


def parameter_count(model: Any, expected: int, name: str = "model") -> None:
    """Make sure that a model has so many parameters (single weights).

    Args:
        model: The model.
        expected: The number, trainable and fixed ones together. It isn't told to the learner.
        name: What it is called in the notebook.
    """
    expect_model(model, name)
    found = None
    with contextlib.suppress(Exception):
        found = int(model.count_params())
    fail_unless(found is not None, f"{name}: expected a model that is built, found one without weights yet")
    if found != expected:
        way = "more" if found < expected else "fewer"
        raise CheckError(f"{name}: expected {way} parameters, found {found:,}; compare each layer with the task")


def layer_order(model: Any, kinds: Sequence[str], name: str = "model", *, exact: bool = False) -> list[Any]:
    """Make sure that layers of these kinds follow each other in a model.

    Args:
        model: The model.
        kinds: Names of layer classes, `["Conv2D", "MaxPooling2D"]`. `"Conv2D|DepthwiseConv2D"` allows either.
        name: What it is called in the notebook.
        exact: Whether there may be no others between them. Input layers never count.

    Returns:
        The layers, one for each kind.
    """
    expect_model(model, name)
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    names = [type(layer).__name__ for layer in layers]
    found: list[Any] = []
    place = 0
    for kind in kinds:
        options = kind.split("|")
        while place < len(layers) and names[place] not in options and not exact:
            place += 1
        if place >= len(layers) or names[place] not in options:
            after = f" after {type(found[-1]).__name__}" if found else ""
            raise CheckError(
                f"{name}: expected a {' or '.join(options)} layer{after}, found the layers {_listed(names) or '(none)'}"
            )
        found.append(layers[place])
        place += 1
    if exact and place < len(layers):
        raise CheckError(f"{name}: expected {len(kinds)} layers, found {len(layers)}: {_listed(names)}")
    return found


def compiled(
    model: Any, optimizer: str | None = None, loss: str | None = None, metrics: Sequence[str] = (), name: str = "model"
) -> None:
    """Make sure that a model is compiled, and with what.

    A name and the object that it stands for are the same: `"adam"` and `keras.optimizers.Adam(0.001)`.

    Args:
        model: The model.
        optimizer: As in `compile`, by name.
        loss: As in `compile`, by name.
        metrics: As in `compile`, by name. Others may be there too.
        name: What it is called in the notebook.
    """
    expect_model(model, name)
    settings: Mapping[str, Any] = {}
    with contextlib.suppress(Exception):
        settings = model.get_compile_config() or {}
    if getattr(model, "optimizer", None) is None or not settings:
        raise CheckError(f"{name}: expected a compiled model, found one that is not compiled yet")
    if optimizer is not None:
        found = type(model.optimizer).__name__
        fail_unless(
            _plain(found) == _plain(optimizer), f"{name}: expected the optimizer '{optimizer}', found '{found.lower()}'"
        )
    if loss is not None:
        found = _setting_name(settings.get("loss"))
        fail_unless(_plain(found) == _plain(loss), f"{name}: expected the loss '{loss}', found '{found}'")
    watched = [_setting_name(metric) for metric in _flat(settings.get("metrics"))]
    watched += [_setting_name(metric) for metric in _flat(settings.get("weighted_metrics"))]
    plain = {_plain(metric) for metric in watched}
    for metric in metrics:
        options = {_plain(metric)}
        if _plain(metric) in ("accuracy", "acc"):
            options |= {"accuracy", "acc", "sparsecategoricalaccuracy", "categoricalaccuracy"}
        fail_unless(
            plain & options,
            f"{name}: expected the metric '{metric}', found {_listed(map(repr, watched)) or 'no metric'}",
        )


def trained(model: Any, history: Any = None, name: str = "model", history_name: str = "history") -> None:
    """Make sure that a model has been trained, and that a history can be its own.

    Args:
        model: The model, compiled.
        history: What `fit` returned for it, if that is part of the answer.
        name: What the model is called in the notebook.
        history_name: What the history is called.
    """
    compiled(model, name=name)
    steps = int(np.asarray(model.optimizer.iterations))
    fail_unless(steps > 0, f"{name}: expected a trained model, found one whose weights have never been adjusted")
    if history is not None:
        epochs = len(expect_history(history, history_name)["loss"])
        # A cell that was run twice trains on, so more steps than this history tells are fine.
        fail_unless(
            steps >= epochs,
            f"{history_name}: it tells of {epochs} epochs, but {name} has been adjusted only {steps} times; "
            "was the model created anew after fitting?",
        )


def weights_changed(before: Any, after: Any, name: str = "model", at_least: float = 0.0) -> None:
    """Make sure that training moved a model's weights.

    Args:
        before: The model as it was, or its weights: a list of arrays as `get_weights()` gives it.
        after: The same later.
        name: What it is called in the notebook.
        at_least: How far some weight must have moved.
    """
    attempted(**{name: after})
    old, new = _weights(before, f"{name} before training"), _weights(after, name)
    same_shapes = [array.shape for array in old] == [array.shape for array in new]
    fail_unless(same_shapes, f"{name}: expected the same layers before and after training, found others")
    moved = max((float(np.max(np.abs(a - b))) for a, b in zip(old, new, strict=True) if a.size), default=0.0)
    fail_unless(np.isfinite(moved), f"{name}: expected weights that are numbers, found some that are not finite")
    fail_unless(moved > at_least, f"{name}: expected weights that training has changed, found the ones it began with")


# --- what a model predicts ---------------------------------------------------------------------------------------------


def probabilities(values: Any, num_classes: int = 5, name: str = "prediction", rows: int | None = None) -> np.ndarray:
    """Make sure that values are probabilities, one row for each image.

    Args:
        values: The answer, of shape `(images, num_classes)`; a single row may also come as `(num_classes,)`.
        num_classes: How many classes there are.
        name: What it is called in the notebook.
        rows: How many images there should be.

    Returns:
        The probabilities as a float array of shape `(images, num_classes)`.
    """
    array = expect_array(values, name)
    if array.ndim == 1 and rows in (None, 1):
        array = array[np.newaxis, :]
    wanted = f"({'number of images' if rows is None else rows}, {num_classes})"
    fail_unless(
        array.ndim == 2 and array.shape[1] == num_classes and (rows is None or array.shape[0] == rows),
        f"{name}: expected one probability for each of {num_classes} classes, shape {wanted}, "
        f"found shape {_shape_text(np.shape(values))}",
    )
    array = array.astype(float)
    if array.size and (array.min() < -1e-6 or array.max() > 1 + 1e-6):
        raise CheckError(
            f"{name}: expected probabilities from 0 to 1, found numbers from {array.min():g} to {array.max():g}"
        )
    off = np.abs(array.sum(axis=1) - 1)
    if array.size and off.max() > 1e-3:
        raise CheckError(
            f"{name}: expected probabilities that add up to 1, found a sum of {array[off.argmax()].sum():.4f}"
        )
    return array


def predict(model: Any, images: Any, name: str = "model") -> np.ndarray:
    """Let a model predict, and turn what can go wrong into a message.

    Args:
        model: The model.
        images: A batch of images, shape `(n, height, width, channels)`.
        name: What the model is called in the notebook.

    Returns:
        What the model returns for them, as a NumPy array with n rows.
    """
    expect_model(model, name)
    batch = np.asarray(images)
    try:
        found = np.asarray(model.predict(batch, verbose=0))
    except Exception as error:
        taken = None
        with contextlib.suppress(Exception):
            taken = model.input_shape
        if taken is not None and tuple(taken[1:]) != batch.shape[1:]:
            raise CheckError(
                f"{name}: expected a model that takes images of shape {_shape_text(batch.shape[1:])}, "
                f"found one that takes {_shape_text(taken[1:])}"
            ) from None
        raise CheckError(f"{name}: expected a model that can predict, found an error: {_first_line(error)}") from None
    fail_unless(
        found.ndim >= 1 and found.shape[0] == len(batch),
        f"{name}: expected one prediction for each image, found shape {_shape_text(found.shape)} for {len(batch)} images",
    )
    fail_unless(
        np.isfinite(found).all(), f"{name}: expected predictions that are numbers, found some that are not finite"
    )
    return found


def predictions_match(
    values: Any,
    model: Any,
    images: Any,
    name: str = "prediction",
    model_name: str = "model",
    tolerance: float = SAME_PREDICTION,
) -> np.ndarray:
    """Make sure that predictions are the ones that this model makes for these images, in their order.

    Args:
        values: The predictions: `(n, classes)`, or `(classes,)` for a single image.
        model: The model.
        images: The images, `(n, height, width, channels)`.
        name: What the predictions are called in the notebook.
        model_name: What the model is called.
        tolerance: How far a number may be off.

    Returns:
        The model's own predictions.
    """
    own = predict(model, images, model_name)
    given = expect_array(values, name)
    if given.ndim == own.ndim - 1 and len(own) == 1:
        given = given[np.newaxis]
    fail_unless(
        given.shape == own.shape, f"{name}: expected shape {_shape_text(own.shape)}, found {_shape_text(given.shape)}"
    )
    off = float(np.max(np.abs(given.astype(float) - own))) if own.size else 0.0
    fail_unless(
        off <= tolerance, f"{name}: expected what {model_name} predicts for this task's images, found other numbers"
    )
    return own


def most_probable(
    answers: Sequence[Any],
    shares: Any,
    name: str,
    class_names: Sequence[str] | None = None,
    slack: float = SAME_PREDICTION,
) -> None:
    """Make sure that each answer is the class with the highest probability.

    Args:
        answers: One answer for each image: class numbers, or names if `class_names` is given.
        shares: The probabilities, shape `(images, classes)`.
        name: What the answers are called in the notebook.
        class_names: The name of each class, by number.
        slack: Classes that lie this close below the highest are as good: two ways to compute it may round differently.
    """
    table = np.asarray(shares)
    fail_unless(len(answers) == len(table), f"{name}: expected {len(table)} answers, found {len(answers)}")
    for answer, row in zip(answers, table, strict=True):
        if class_names is None:
            place = class_index(answer, table.shape[1], name)
        else:
            place = list(class_names).index(expect_text(answer, name, class_names))
        if row[place] < row.max() - slack:
            said = place if class_names is None else f"'{class_names[place]}'"
            raise CheckError(
                f"{name}: expected the class with the highest probability, found {said}, which has a lower one"
            )


@dataclass(frozen=True)
class Accuracy:
    """How often a model was right, and how much that proves.

    Attributes:
        accuracy: The share of images with the right class, 0 to 1.
        chance: The share that guessing gets on average.
        n: The number of images.
        correct: The number with the right class.
        needed: The smallest share that guessing reaches with a probability below p.
        p_value: The probability that guessing gets at least so many right.
        p: The limit that was set for it.
    """

    accuracy: float
    chance: float
    n: int
    correct: int
    needed: float
    p_value: float
    p: float

    def __str__(self) -> str:
        return (
            f"{self.correct} of {self.n} images right, an accuracy of {self.accuracy:.2f}. Guessing gets {self.chance:.2f} "
            f"on average; {self.needed:.3f} or more happens by luck less than once in {round(1 / self.p):,} times."
        )


def above_chance(model: Any, dataset: Any, num_classes: int = 5, p: float = 0.001, name: str = "model") -> Accuracy:
    """Make sure that a model is right more often than guessing can explain.

    An exact one-sided binomial test: if each image were guessed with a chance of one in `num_classes`, how probable would
    so many right answers, or more, be?

    Args:
        model: The model; or its predictions for the dataset, `(n, num_classes)`, in the dataset's order.
        dataset: Images and their class numbers that the model wasn't trained on: a batched `tf.data.Dataset` whose order
            doesn't change, or a pair of arrays.
        num_classes: How many classes there are.
        p: The probability below which luck is ruled out.
        name: What the model is called in the notebook.

    Returns:
        The accuracy and what it was compared with; `print` shows it as a sentence.

    Raises:
        CheckError: If it could be luck; the message gives the accuracy, chance, n and the accuracy needed.
    """
    from scipy import stats

    attempted(**{name: model})
    images, labels = _arrays(dataset)
    if isinstance(model, np.ndarray):
        predictions = expect_array(model, name, (len(labels), num_classes))
    else:
        predictions = predict(model, images, name)
        fail_unless(
            predictions.ndim == 2 and predictions.shape[1] == num_classes,
            f"{name}: expected {num_classes} numbers for each image, one for each class, "
            f"found {_shape_text(predictions.shape[1:])}",
        )
    n = len(labels)
    correct = int(np.sum(predictions.argmax(axis=1) == labels))
    chance = 1 / num_classes
    needed = int(stats.binom.isf(p, n, chance))
    while stats.binomtest(needed, n, chance, alternative="greater").pvalue >= p:
        needed += 1
    result = Accuracy(
        accuracy=correct / n,
        chance=chance,
        n=n,
        correct=correct,
        needed=needed / n,
        p_value=float(stats.binomtest(correct, n, chance, alternative="greater").pvalue),
        p=p,
    )
    fail_unless(
        result.p_value < p,
        f"{name}: expected an accuracy that luck can't explain, found {result.accuracy:.3f} on {n} images that the model "
        f"has not seen; guessing gets {chance:.2f}, and at least {result.needed:.3f} is needed (p < {p})",
    )
    return result


# --- what was saved ----------------------------------------------------------------------------------------------------


def load_model(path: str | Path) -> keras.Model:
    """Load a saved model into this process, as data only: code in the file is refused.

    Args:
        path: The saved model, a `.keras` file.

    Returns:
        The model.

    Raises:
        NotAttempted: If there is no such file.
        CheckError: If it can't be loaded.
    """
    import keras

    file = saved_file(path)
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except Exception as error:
        raise CheckError(f"{path}: expected a saved Keras model, found an error: {_first_line(error)}") from None


@dataclass(frozen=True)
class Reloaded:
    """What a new process found in a saved model.

    Attributes:
        predictions: What the reloaded model returns for the dataset's images.
        optimizer: The class name of the optimizer it is compiled with, or None.
        outline: The kind of each layer and the shapes of its weights.
    """

    predictions: np.ndarray
    optimizer: str | None
    outline: list[list[Any]]


def reloads(
    path: str | Path,
    dataset: Any,
    model: Any = None,
    name: str = "model",
    *,
    tolerance: float = 1e-5,
    keeps_compile: bool = True,
) -> Reloaded:
    """Make sure that a saved model can be used by somebody else: it is loaded in a new Python process, which predicts.

    Args:
        path: The saved model, a `.keras` file.
        dataset: Images to predict: a `tf.data.Dataset` of images and labels, a pair of arrays, or an array of images.
        model: The model that was saved, to compare with: the same layers, the same predictions. Without it, what this
            process loads from the file is compared.
        name: What the model is called in the notebook.
        tolerance: How far two predictions may lie apart.
        keeps_compile: Whether the optimizer and loss must have been kept.

    Returns:
        What the new process found.

    Raises:
        NotAttempted: If there is no such file.
        CheckError: If the file isn't the saved model.
        FreshProcessError: If a new Python process can't be had, which says nothing about the answer.
    """
    file = saved_file(path)
    images = dataset if isinstance(dataset, np.ndarray) else _arrays(dataset)[0]
    compare = None if model is None else expect_model(model, name)

    found = _reloaded(
        str(file.resolve()), _digest(file), np.ascontiguousarray(images).tobytes(), images.shape, str(images.dtype)
    )
    if isinstance(found, str):
        raise CheckError(f"{path}: expected a model that a new Python can load and use, found an error: {found}")
    if compare is None:
        compare = load_model(file)
    from helpers.fresh_process import outline

    fail_unless(
        json.loads(json.dumps(outline(compare))) == found.outline,
        f"{path}: expected a model with the same layers as {name}, found other layers: "
        f"{_listed(kind for kind, _ in found.outline if kind != 'InputLayer')}",
    )
    own = predict(compare, images, name)
    same = own.shape == found.predictions.shape and bool(
        np.max(np.abs(own - found.predictions), initial=0.0) <= tolerance
    )
    fail_unless(
        same,
        f"{path}: expected the reloaded model to predict the same numbers as {name}, found others; "
        f"was it saved before {name} was trained, or trained again after it was saved?",
    )
    if keeps_compile:
        fail_unless(
            found.optimizer is not None,
            f"{path}: expected the optimizer and loss to be kept in the file, found a model that is not compiled",
        )
    return found


def saved_file(path: str | Path, suffix: str = ".keras") -> Path:
    """Make sure that a file has been saved.

    Args:
        path: Where it should be.
        suffix: How its name should end.

    Returns:
        The path.

    Raises:
        NotAttempted: If there is nothing there.
        CheckError: If it is a folder, empty, or of another kind.
    """
    attempted(path=path)
    if not isinstance(path, str | Path):
        raise CheckError(f"path: expected the path of a file, found {_kind(path)}")
    file = Path(path)
    fail_unless(file.suffix == suffix, f"{path}: expected a file whose name ends in {suffix}, found '{file.suffix}'")
    if not file.exists():
        raise NotAttempted(f"not attempted yet: there is no file {path}")
    fail_unless(file.is_file(), f"{path}: expected a file, found a folder")
    fail_unless(file.stat().st_size > 0, f"{path}: expected a saved model, found an empty file")
    return file


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@cache
def _reloaded(path: str, digest: str, pixels: bytes, shape: tuple[int, ...], dtype: str) -> Reloaded | str:
    """Run `fresh_process.py`. Cached by content: the visible and the hidden half of a test share one new process."""
    with tempfile.TemporaryDirectory() as folder:
        images, predictions, report = (Path(folder) / name for name in ("images.npy", "predictions.npy", "report.json"))
        np.save(images, np.frombuffer(pixels, dtype).reshape(shape), allow_pickle=False)
        command = [sys.executable, "-I", str(_FRESH_PROCESS), path, str(images), str(predictions), str(report)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=180,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FreshProcessError(f"a new Python process could not be used: {_first_line(error)}") from None
        if not report.exists():
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
            raise FreshProcessError(f"a new Python process ended before it could load a model: {last[0]}")
        told = json.loads(report.read_text(encoding="utf-8"))
        if "error" in told:
            return _first_line(told["error"])
        return Reloaded(np.load(predictions, allow_pickle=False), told["optimizer"], told["outline"])


# --- what a function does, and what a figure shows ---------------------------------------------------------------------


def call_each(function: Any, arguments: Iterable[Any]) -> Any:
    """Call a function of the learner's with one argument after another, for a probe cell.

    Args:
        function: The function.
        arguments: One argument for each call; a tuple is spread over several parameters.

    Returns:
        One dict for each call: `{"value": ...}` or `{"error": "TypeError: ..."}`. If the function is a blank, or returns
        one at every call, the blank itself. If it is no function, text that says so: `returned` reads all of these.
    """
    if function is ...:
        return ...
    if not callable(function):
        return f"expected a function, found {_kind(function)}"
    results: list[dict[str, Any]] = []
    for argument in arguments:
        try:
            value = function(*argument) if isinstance(argument, tuple) else function(argument)
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {_first_line(error)}"})
        else:
            results.append({"value": value})
    if results and all(_is_blank(result.get("value")) for result in results):
        return ...
    return results


def returned(results: Any, name: str, count: int | None = None) -> list[Any]:
    """Read what `call_each` noted: the values that the function returned.

    Args:
        results: What `call_each` returned.
        name: What the function is called in the notebook.
        count: How many calls there were.

    Returns:
        One value for each call.

    Raises:
        NotAttempted: If the function is a blank.
        CheckError: If it raised an error, returned nothing, or isn't a function.
    """
    attempted(**{name: results})
    if isinstance(results, str):
        raise CheckError(f"{name}: {results}")
    if not isinstance(results, list | tuple) or not all(isinstance(result, Mapping) for result in results):
        raise CheckError(f"{name}: expected the results of calling it, found {_kind(results)}")
    fail_unless(count is None or len(results) == count, f"{name}: expected {count} results, found {len(results)}")
    values = []
    for result in results:
        fail_unless(
            "error" not in result, f"{name}: expected a function that can be called, found {result.get('error')}"
        )
        values.append(result.get("value"))
    fail_unless(
        not values or any(value is not None for value in values),
        f"{name}: expected a function that returns something, found None; is there a 'return' at its end?",
    )
    return values


def figure_facts(fig: Any, max_axes: int = 64, max_pixels: int = 512, max_points: int = 2000) -> Any:
    """Turn a matplotlib figure into plain data, for a probe cell.

    Args:
        fig: The figure; one of its axes, or an array of them, will do.
        max_axes: Only so many axes are read.
        max_pixels: An image is thinned to so many rows and columns.
        max_points: A line is cut after so many points.

    Returns:
        A dict of plain data:

        - `count`: the number of visible axes, those without any content included;
        - `title`: the title over the whole figure;
        - `axes`: for each of them a dict with `title`, `xlabel`, `ylabel`, `xticks` and `yticks` (the texts),
          `frame` (whether lines and ticks around it are shown), `images` (arrays), `lines` (dicts with `label`, `x`, `y`,
          `colour` as text), `bars` (their lengths), `points` (arrays of shape (n, 2), of scatter plots), `legend` and
          `texts` (lists of text).

        A blank stays a blank. Anything else becomes text that says what it is: `figure` reads all of these.
    """
    if fig is ... or fig is None:
        return ...
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if (
        isinstance(fig, np.ndarray | list | tuple)
        and np.size(fig)
        and isinstance(np.ravel(np.asarray(fig, object))[0], Axes)
    ):
        fig = np.ravel(np.asarray(fig, object))[0]
    if isinstance(fig, Axes):
        fig = fig.figure
    if not isinstance(fig, Figure):
        return f"expected a matplotlib figure, found {_kind(fig)}"
    # Colour bars stand in axes of their own, which hold nothing that anyone drew.
    visible = [ax for ax in fig.axes if ax.get_visible() and ax.get_label() != "<colorbar>"]
    return {
        "count": len(visible),
        "title": fig.get_suptitle()[:200],
        "axes": [_axes_facts(ax, max_pixels, max_points) for ax in visible[:max_axes]],
    }


def _axes_facts(ax: Any, max_pixels: int, max_points: int) -> dict[str, Any]:
    import matplotlib.collections
    import matplotlib.colors

    legend = ax.get_legend()
    # The title may stand in the middle, on the left or on the right.
    title = next((text for text in (ax.get_title(), ax.get_title("left"), ax.get_title("right")) if text), "")
    ticks = {
        axis: [text.get_text()[:80] for text in getattr(ax, f"get_{axis}ticklabels")()[:64]] for axis in ("x", "y")
    }
    scatters = [part for part in ax.collections if isinstance(part, matplotlib.collections.PathCollection)]
    return {
        "title": title[:200],
        "xlabel": ax.get_xlabel()[:200],
        "ylabel": ax.get_ylabel()[:200],
        "xticks": ticks["x"],
        "yticks": ticks["y"],
        "frame": bool(ax.axison),
        "images": [_image_facts(image, max_pixels) for image in ax.get_images()[:4]],
        "lines": [
            {
                "label": str(line.get_label())[:80],
                "x": _numbers(line.get_xdata())[:max_points],
                "y": _numbers(line.get_ydata())[:max_points],
                "colour": matplotlib.colors.to_hex(line.get_color()),
            }
            for line in ax.get_lines()[:32]
        ],
        "bars": [
            [
                float(bar.get_width() if getattr(group, "orientation", "") == "horizontal" else bar.get_height())
                for bar in group
            ][:200]
            for group in ax.containers[:8]
            if hasattr(group, "patches")
        ],
        "points": [np.asarray(part.get_offsets(), dtype=float)[:max_points] for part in scatters[:8]],
        "legend": [] if legend is None else [text.get_text()[:80] for text in legend.get_texts()[:32]],
        "texts": [text.get_text()[:80] for text in ax.texts[:200]],
    }


def _image_facts(image: Any, max_pixels: int) -> np.ndarray:
    """The array that an image shows, thinned if it is large."""
    array = np.ma.getdata(image.get_array())
    rows, columns = (max(1, math.ceil(size / max_pixels)) for size in array.shape[:2])
    return np.array(array[::rows, ::columns])


def _numbers(values: Any) -> np.ndarray:
    """Data of a line as floats; what is no number becomes NaN."""
    try:
        return np.asarray(values, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        return np.full(np.size(values), np.nan)


def figure(facts: Any, name: str = "fig", axes: int | None = None) -> list[dict[str, Any]]:
    """Make sure that something is the facts of a figure, with so many axes.

    Args:
        facts: What `figure_facts` returned.
        name: What the figure is called in the notebook.
        axes: How many visible axes there should be.

    Returns:
        The facts of each of its axes.

    Raises:
        NotAttempted: If the figure is a blank.
        CheckError: If it is no figure, or has another number of axes.
    """
    attempted(**{name: facts})
    if isinstance(facts, str):
        raise CheckError(f"{name}: {facts}")
    if not isinstance(facts, Mapping) or not isinstance(facts.get("axes"), list | tuple):
        raise CheckError(f"{name}: expected a matplotlib figure, found {_kind(facts)}")
    found = [dict(ax) for ax in facts["axes"] if isinstance(ax, Mapping)]
    if axes is not None and facts.get("count") != axes:
        empty = [
            ax
            for ax in found
            if not any(len(ax.get(key, ())) for key in ("images", "lines", "bars", "points", "texts"))
        ]
        also = ""
        if empty and len(found) - len(empty) == axes:
            also = f"; {len(empty)} of them hold nothing" if len(empty) > 1 else "; one of them holds nothing"
        raise CheckError(f"{name}: expected {axes} axes in the figure, found {facts.get('count')}{also}")
    return found


def shows_images(
    facts: Any, images: Any, labels: Any, class_names: Sequence[str], count: int = 9, name: str = "fig"
) -> None:
    """Make sure that a figure shows different images of a dataset, each under the name of its class.

    Args:
        facts: What `figure_facts` returned.
        images: The images to choose from, shape `(n, height, width, channels)`, values from 0 to 255.
        labels: Their class numbers, shape `(n,)`.
        class_names: The name of each class, by number.
        count: How many images the figure should show, one in each axes.
        name: What the figure is called in the notebook.
    """
    axes = figure(facts, name, count)
    pool = np.asarray(images).astype(np.int16)
    flat = pool.reshape(len(pool), -1)
    true = np.asarray(labels).reshape(-1)
    seen: set[int] = set()
    for number, ax in enumerate(axes, start=1):
        shown = list(ax.get("images", ()))
        fail_unless(len(shown) == 1, f"{name}: expected one image in each axes, found {len(shown)} in number {number}")
        picture = expect_array(shown[0], f"{name}, image {number}")
        fail_unless(
            picture.shape == pool.shape[1:],
            f"{name}: expected images of shape {_shape_text(pool.shape[1:])}, "
            f"found {_shape_text(picture.shape)} in axes number {number}",
        )
        if picture.dtype.kind == "f" and picture.max(initial=0) <= 1.0:
            picture = picture * 255
        # Whole rounding steps of a rescaled image are forgiven; two different photographs differ by far more.
        off = np.abs(flat - np.rint(picture).astype(np.int16).reshape(1, -1)).max(axis=1)
        place = int(off.argmin())
        fail_unless(
            off[place] <= 2,
            f"{name}: expected unchanged images from the dataset, found another in axes number {number}",
        )
        fail_unless(place not in seen, f"{name}: expected {count} different images, found the same one twice")
        seen.add(place)
        title = str(ax.get("title", ""))
        fail_unless(title.strip(), f"{name}: expected a title over each image, found none over number {number}")
        named = [c for c in class_names if re.search(rf"(?<![^\W_]){re.escape(c)}(?![^\W_])", title, re.IGNORECASE)]
        fail_unless(
            len(named) == 1,
            f"{name}: expected a title that names one class, found {_shortened(repr(title))} over number {number}",
        )
        fail_unless(
            named[0] == class_names[int(true[place])],
            f"{name}: expected titles that name the class of the image below them, "
            f"found {_shortened(repr(title))} over an image of another class (number {number})",
        )


# --- the images of the course ------------------------------------------------------------------------------------------


@cache
def course_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, read from the course's folder and not from a notebook.

    Args:
        split: `"train"`, `"val"`, `"test"`, or `"holdout"` (graders only).

    Returns:
        The images, uint8 of shape `(n, 32, 32, 3)`, and their class numbers, int64 of shape `(n,)`. Every split but
        `train` is in its folder's order, class by class.
    """
    if split == "holdout":
        return _as_uint8(_arrays(holdout()))
    from helpers.data import prepare_datasets

    with contextlib.redirect_stdout(io.StringIO()):
        datasets = dict(zip(("train", "val", "test"), prepare_datasets(), strict=True))
    if split not in datasets:
        raise ValueError(f"there is no split {split!r}; there are train, val, test and holdout")
    return _as_uint8(_arrays(datasets[split]))


@cache
def holdout() -> tf.data.Dataset:
    """The held-out images, which only graders have: batches of 32 in a fixed order, with `class_names`.

    Returns:
        A dataset of images, float32 of shape `(batch, 32, 32, 3)` with values from 0 to 255, and int32 class numbers.

    Raises:
        helpers.data.DataError: If this computer has none.
    """
    import keras
    import tensorflow as tf

    from helpers.data import find_holdout

    with contextlib.redirect_stdout(io.StringIO()):
        read = keras.utils.image_dataset_from_directory(
            find_holdout(), labels="inferred", label_mode="int", image_size=(32, 32), batch_size=32, shuffle=False
        )
    images, labels = _arrays(read)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    dataset.class_names = list(read.class_names)
    return dataset


# --- small parts -------------------------------------------------------------------------------------------------------


def _arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a dataset, or of a pair of arrays."""
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        images, labels = (np.asarray(part) for part in dataset)
    else:
        attempted(dataset=dataset)
        if not hasattr(dataset, "as_numpy_iterator"):
            raise CheckError(f"dataset: expected a tf.data.Dataset of images and labels, found {_kind(dataset)}")
        batches = list(dataset.as_numpy_iterator())
        if not batches or not all(isinstance(batch, tuple) and len(batch) == 2 for batch in batches):
            raise CheckError("dataset: expected batches of images and labels, found none")
        images = np.concatenate([batch[0] for batch in batches])
        labels = np.concatenate([batch[1] for batch in batches])
    return images, labels.reshape(-1)


def _as_uint8(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = arrays
    return np.rint(images).astype(np.uint8), labels.astype(np.int64)


def _weights(value: Any, name: str) -> list[np.ndarray]:
    if hasattr(value, "get_weights"):
        value = value.get_weights()
    if not isinstance(value, list | tuple):
        raise CheckError(f"{name}: expected a model or its weights, found {_kind(value)}")
    return [expect_array(part, name).astype(float) for part in value]


def _is_blank(value: Any) -> bool:
    if value is ...:
        return True
    if isinstance(value, Mapping):
        return any(part is ... for part in value.values())
    return isinstance(value, list | tuple) and any(part is ... for part in value)


def _kind(value: Any) -> str:
    """What a value is, for a learner."""
    if value is None:
        return "None"
    if value is ...:
        return "a blank (...)"
    if isinstance(value, bool | np.bool_):
        return f"{bool(value)}"
    if isinstance(value, np.ndarray):
        return f"an array of shape {_shape_text(value.shape)} and type {value.dtype}"
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
            return f"{type(value).__name__} of shape {_shape_text(tuple(shape))}"
    return type(value).__name__


def _shape_text(shape: Any) -> str:
    if isinstance(shape, Sequence) and not isinstance(shape, str):
        inner = ", ".join(_shape_text(size) if isinstance(size, list | tuple) else str(size) for size in shape)
        return f"({inner},)" if len(shape) == 1 else f"({inner})"
    return str(shape)


def _listed(names: Iterable[Any]) -> str:
    texts = [str(name) for name in names]
    return texts[0] if len(texts) == 1 else " and ".join((", ".join(texts[:-1]), texts[-1])) if texts else ""


def _shortened(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _first_line(error: Any) -> str:
    lines = str(error).strip().splitlines()
    return _shortened(lines[0], 300) if lines else type(error).__name__


def _plain(name: str) -> str:
    return name.replace("_", "").replace(" ", "").lower()


def _setting_name(setting: Any) -> str:
    """The name of a loss or metric in a compile configuration: text, or a serialised object."""
    if isinstance(setting, Mapping):
        config = setting.get("config")
        inner = config if isinstance(config, str) else None
        name = inner or setting.get("class_name") or ""
        if name == "function" or (isinstance(config, Mapping) and not setting.get("class_name")):
            name = str(config)
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(name)).lower()
    return str(setting)


def _flat(value: Any) -> list[Any]:
    """The metrics of a compile configuration, however they are nested."""
    if value is None:
        return []
    if isinstance(value, list | tuple):
        return [part for item in value for part in _flat(item)]
    if isinstance(value, Mapping) and "class_name" not in value:
        return [part for item in value.values() for part in _flat(item)]
    return [value]


__all__ = [
    "SAME_PREDICTION",
    "Accuracy",
    "CheckError",
    "FreshProcessError",
    "NotAttempted",
    "Reloaded",
    "above_chance",
    "attempted",
    "call_each",
    "class_index",
    "compiled",
    "course_images",
    "expect_array",
    "expect_history",
    "expect_model",
    "expect_number",
    "expect_text",
    "fail_unless",
    "figure",
    "figure_facts",
    "holdout",
    "layer_order",
    "load_model",
    "most_probable",
    "output_shapes",
    "parameter_count",
    "predict",
    "predictions_match",
    "probabilities",
    "reloads",
    "returned",
    "saved_file",
    "shows_images",
    "trained",
    "weights_changed",
]
