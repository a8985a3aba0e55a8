"""What a model predicts, and whether that is better than guessing."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers import measurements
from helpers.checks.images import arrays_of
from helpers.checks.models import expect_model
from helpers.checks.values import CheckError, attempted, class_index, expect_array, expect_text, fail_unless
from helpers.checks.wording import first_line, shape_text

if TYPE_CHECKING:
    import keras

#: How far two sets of probabilities from the same model may lie apart: more than rounding, less than a training step.
SAME_PREDICTION = 1e-3
_PIECE = 256  # images that a model is given at a time


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
        array.ndim == 2 and array.shape[1] == num_classes and len(array) > 0 and rows in (None, len(array)),
        f"{name}: expected one probability for each of {num_classes} classes, shape {wanted}, "
        f"found shape {shape_text(np.shape(values))}",
    )
    array = array.astype(float)
    if array.min() < -1e-6 or array.max() > 1 + 1e-6:
        raise CheckError(
            f"{name}: expected probabilities from 0 to 1, found numbers from {array.min():g} to {array.max():g}"
        )
    off = np.abs(array.sum(axis=1) - 1)
    if off.max() > 1e-3:
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
        found = _answers(model, batch)
    except Exception as error:
        taken = None
        with contextlib.suppress(Exception):
            taken = model.input_shape
        if taken is not None and tuple(taken[1:]) != batch.shape[1:]:
            raise CheckError(
                f"{name}: expected a model that takes images of shape {shape_text(batch.shape[1:])}, "
                f"found one that takes {shape_text(taken[1:])}"
            ) from None
        raise CheckError(f"{name}: expected a model that can predict, found an error: {first_line(error)}") from None
    fail_unless(
        found.ndim >= 1 and found.shape[0] == len(batch),
        f"{name}: expected one prediction for each of {len(batch)} images, found shape {shape_text(found.shape)}",
    )
    fail_unless(
        np.isfinite(found).all(), f"{name}: expected predictions that are numbers, found some that are not finite"
    )
    return found


def _answers(model: keras.Model, batch: np.ndarray) -> np.ndarray:
    """What `model.predict` returns, to the last bit, without the dataset that it builds around its argument.

    Building and tracing that takes longer than the models of this course do for a few hundred images.
    """
    pieces = [model(batch[at : at + _PIECE], training=False) for at in range(0, len(batch), _PIECE)]
    if not pieces or any(isinstance(piece, list | tuple | dict) for piece in pieces):
        return np.asarray(model.predict(batch, verbose=0))
    return np.concatenate([np.asarray(piece) for piece in pieces])


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
        given.shape == own.shape, f"{name}: expected shape {shape_text(own.shape)}, found {shape_text(given.shape)}"
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
            f"{self.correct} of {self.n} images right, an accuracy of {self.accuracy:.2f}. "
            f"Guessing gets {self.chance:.2f} on average; "
            f"{self.needed:.3f} or more happens by luck less than once in {round(1 / self.p):,} times."
        )


def above_chance(
    model: Any, dataset: Any, num_classes: int = 5, p: float = 0.001, name: str = "model", *, at_least: float = 0.0
) -> Accuracy:
    """Make sure that a model is right more often than guessing can explain.

    An exact one-sided binomial test: if each image were guessed with a chance of one in `num_classes`, how probable
    would so many right answers, or more, be?

    A model that has learned nothing of use, say from shuffled labels, doesn't guess each image by itself: it answers
    alike where images look alike. So its accuracy scatters more widely around chance than the test supposes. Where
    right answers leave room for it, `at_least` draws the line higher (see docs/explanation/calibration.md).

    Args:
        model: The model; or its predictions for the dataset, `(n, num_classes)`, in the dataset's order.
        dataset: Images and their class numbers that the model wasn't trained on: a batched `tf.data.Dataset`, or a pair
            of arrays.
        num_classes: How many classes there are.
        p: The probability below which luck is ruled out.
        name: What the model is called in the notebook.
        at_least: An accuracy that is asked for besides.

    Returns:
        The accuracy and what it was compared with; `print` shows it as a sentence.

    Raises:
        CheckError: If it could be luck; the message gives the accuracy, chance, n and the accuracy needed.
    """
    from scipy import stats

    attempted(**{name: model})
    images, labels = arrays_of(dataset)
    if isinstance(model, np.ndarray):
        predictions = expect_array(model, name, (len(labels), num_classes))
    else:
        predictions = predict(model, images, name)
        fail_unless(
            predictions.ndim == 2 and predictions.shape[1] == num_classes,
            f"{name}: expected {num_classes} numbers for each image, one for each class, "
            f"found {shape_text(predictions.shape[1:])}",
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
    asked = max(needed, math.ceil(at_least * n - 1e-9)) / n
    why = f" (p < {p})" if asked == result.needed else ""
    measurements.note(measurements.Measurement(name, result.accuracy, chance, asked, n))
    fail_unless(
        result.p_value < p,
        f"{name}: expected an accuracy that luck can't explain, found {result.accuracy:.3f} on {n} images that the "
        f"model has not seen; guessing gets {chance:.2f}, and at least {asked:.3f} is needed{why}",
    )
    fail_unless(
        result.accuracy >= at_least,
        f"{name}: expected an accuracy of at least {at_least:.2f}, found {result.accuracy:.3f} on {n} images that the "
        f"model has not seen; guessing gets {chance:.2f}",
    )
    return result
