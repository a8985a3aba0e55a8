"""How a classifier was measured: accuracy and its interval, the confusion matrix, recall, its surest mistakes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from helpers.checks.predictions import SAME_PREDICTION, predict
from helpers.checks.values import CheckError, attempted, expect_array, expect_number, expect_text, fail_unless
from helpers.checks.wording import kind

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

# Rounding in another order of additions changes the last digits; a mistake changes more.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Evaluation:
    """What a model says about images whose classes are known, worked out anew.

    Attributes:
        labels: The true class numbers, int, shape `(n,)`.
        shares: The model's probabilities, shape `(n, classes)`.
        predicted: The most probable class of each image, int, shape `(n,)`.
        undecided: How many images have two classes at the top that differ by no more than rounding does. Another
            computer may answer otherwise on these.
        matrix: The confusion matrix, int, shape `(classes, classes)`: a row for each true class.
        accuracy: The share of images with the right class.
    """

    labels: np.ndarray
    shares: np.ndarray
    predicted: np.ndarray
    undecided: int
    matrix: np.ndarray
    accuracy: float


def evaluated(model: Any, images: Any, labels: Any, name: str = "model") -> Evaluation:
    """Let a model predict images whose classes are known, and count.

    Args:
        model: A Keras model that returns one probability for each class.
        images: Shape `(n, height, width, channels)`.
        labels: Their class numbers, shape `(n,)`.
        name: What the model is called in the notebook.

    Returns:
        The probabilities and all that follows from them.
    """
    shares = predict(model, images, name)
    fail_unless(
        shares.ndim == 2 and shares.shape[1] > 1,
        f"{name}: expected a model with one probability for each class, found one number for each image",
    )
    true = np.asarray(labels).astype(int).reshape(-1)
    predicted = shares.argmax(axis=1)
    top = np.sort(shares, axis=1)
    return Evaluation(
        labels=true,
        shares=shares,
        predicted=predicted,
        undecided=int(np.sum(top[:, -1] - top[:, -2] <= SAME_PREDICTION)),
        matrix=counted(true, predicted, shares.shape[1]),
        accuracy=float(np.mean(predicted == true)),
    )


def counted(true: Any, predicted: Any, num_classes: int) -> np.ndarray:
    """The confusion matrix: `[t, p]` is how many images of class t were predicted as class p."""
    matrix = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(matrix, (np.asarray(true, dtype=int), np.asarray(predicted, dtype=int)), 1)
    return matrix


def class_numbers(values: Any, name: str, count: int | None = None, num_classes: int = 5) -> np.ndarray:
    """Make sure that values are class numbers, one for each image.

    Args:
        values: The answer: an array, a tensor, or a list.
        name: What it is called in the notebook.
        count: How many images there are.
        num_classes: How many classes there are; they are numbered from 0.

    Returns:
        The numbers as an int array of shape `(n,)`.
    """
    array = expect_array(values, name)
    if array.ndim == 2 and array.shape[1] == num_classes > 1:
        raise CheckError(
            f"{name}: expected one class number for each image, found {num_classes} numbers for each; "
            "are these probabilities?"
        )
    fail_unless(
        array.ndim == 1, f"{name}: expected one class number for each image, found an array of shape {array.shape}"
    )
    fail_unless(
        count is None or len(array) == count,
        f"{name}: expected {count} class numbers, one for each image, found {len(array)}",
    )
    fail_unless(
        array.dtype.kind != "b" and np.all(array == array.astype(int)),
        f"{name}: expected whole numbers, one for each image, found {kind(array)}",
    )
    fail_unless(
        not array.size or (array.min() >= 0 and array.max() < num_classes),
        f"{name}: expected class numbers from 0 to {num_classes - 1}, found others",
    )
    return array.astype(int)


def accuracy_value(value: Any, expected: Evaluation | float, name: str, what: str) -> float:
    """Make sure that a number is an accuracy, and the right one.

    Args:
        value: The answer.
        expected: The right accuracy; or what was evaluated, and then images that the model can't decide on are
            forgiven.
        name: What the answer is called in the notebook.
        what: What it should be the accuracy of, in words: `"model_intro on the test images"`.

    Returns:
        The accuracy as a plain `float`.
    """
    number = expect_number(value, name)
    if not 0 <= number <= 1:
        hint = "; an accuracy is a share, not per cent and not a count" if number > 1 else ""
        raise CheckError(f"{name}: expected a number from 0 to 1, found {number:g}{hint}")
    right, slack = expected, 0.0
    if isinstance(expected, Evaluation):
        right, slack = expected.accuracy, expected.undecided / len(expected.labels)
    if abs(number - right) > slack + _ROUNDING:
        rounded = "; was it rounded?" if abs(number - right) < 0.006 else ""
        raise CheckError(f"{name}: expected the accuracy of {what}, found another number{rounded}")
    return number


def belong_together(labels: Any, predicted: Any, matrix: Any, name: str, slack: int = 0) -> None:
    """Make sure that labels and predictions are those of the same images, in the same order, whichever order that is.

    Args:
        labels: True class numbers, shape `(n,)`.
        predicted: Predicted class numbers, shape `(n,)`.
        matrix: The right confusion matrix of these images.
        name: Where the two come from, in the words of the notebook.
        slack: On how many images another computer may decide otherwise.
    """
    right = np.asarray(matrix)
    size, count = len(right), int(right.sum())
    true = class_numbers(labels, f"{name}, the labels", count, size)
    guessed = class_numbers(predicted, f"{name}, the predictions", count, size)
    off = np.abs(counted(true, guessed, size) - right)
    if off.sum() <= 2 * slack:
        return
    fail_unless(
        np.array_equal(np.bincount(true, minlength=size), right.sum(axis=1)),
        f"{name}: expected the labels of this dataset, found other labels",
    )
    guesses_off = np.abs(np.bincount(guessed, minlength=size) - right.sum(axis=0))
    fail_unless(
        guesses_off.sum() <= 2 * slack,
        f"{name}: expected what the model predicts for this dataset, found other predictions",
    )
    raise CheckError(
        f"{name}: expected each label beside the prediction for the same image, found labels and predictions in "
        "different orders; do both come from one and the same pass?"
    )


def confusion_matrix(value: Any, expected: Any, name: str, slack: int = 0) -> np.ndarray:
    """Make sure that something is the right confusion matrix, with a row for each true class.

    Args:
        value: The answer.
        expected: The right matrix, int, shape `(classes, classes)`.
        name: What the answer is called in the notebook.
        slack: On how many images another computer may decide otherwise.

    Returns:
        The answer as an int array.
    """
    right = np.asarray(expected)
    array = expect_array(value, name, right.shape, low=0)

    def agrees(other: np.ndarray) -> bool:
        return bool(np.abs(array - other).sum() <= 2 * slack + _ROUNDING)

    if agrees(right):
        return np.rint(array).astype(int)
    if agrees(right.T):
        raise CheckError(f"{name}: expected a row for each true class, found rows and columns swapped")
    total = right.sum()
    if array.sum() != total:
        also = ""
        if not np.array_equal(array, np.rint(array)):
            also = "; are these shares instead of counts?"
        elif array.max(initial=0) == 1 < right.max() and np.array_equal(array > 0, right > 0):
            also = "; are marks in the same place added up?"
        raise CheckError(f"{name}: expected {total} images in all, found {array.sum():g}{also}")
    raise CheckError(
        f"{name}: expected to find each image in the row of its true and the column of its predicted class"
    )


def heat_map(facts: Any, matrix: Any, class_names: Sequence[str], name: str = "fig") -> None:
    """Make sure that a figure is a heat map of a confusion matrix that a reader can understand.

    Args:
        facts: What `figure_facts` returned.
        matrix: The matrix that it should show: a row for each true class.
        class_names: The name of each class, by number.
        name: What the figure is called in the notebook.
    """
    from helpers.checks.figures import figure

    ax = figure(facts, name, 1, each=["images"])[0]
    shown = np.asarray(ax["images"][0])
    right = np.asarray(matrix)
    if shown.shape != right.shape or np.abs(shown - right).max(initial=0) > _ROUNDING:
        swapped = shown.shape == right.shape and np.array_equal(shown, right.T)
        also = "; are rows and columns swapped?" if swapped else ""
        raise CheckError(f"{name}: expected a picture of the confusion matrix, found one of other numbers{also}")
    for axis, ticks, word, others in (
        ("x", ax["xticks"], ("predict",), ("true", "actual")),
        ("y", ax["yticks"], ("true", "actual"), ("predict",)),
    ):
        named = [str(text).strip() for text in ticks if str(text).strip()]
        fail_unless(
            named == list(class_names),
            f"{name}: expected the names of the classes along the {axis} axis, in their order, found {named}",
        )
        label = str(ax[f"{axis}label"]).lower()
        fail_unless(label.strip(), f"{name}: expected a label for the {axis} axis, found none")
        wrong_way = any(other in label for other in others) and not any(part in label for part in word)
        fail_unless(
            not wrong_way, f"{name}: expected labels that fit the axes, found them swapped: {label!r} at {axis}"
        )
        fail_unless(
            any(part in label for part in word),
            f"{name}: expected a label for the {axis} axis that says '{word[0]}{'ed' if axis == 'x' else ''}', "
            f"found {label[:40]!r}",
        )


def most_confused_pair(pair: Any, matrix: Any, class_names: Sequence[str], name: str, slack: int = 0) -> None:
    """Make sure that two names are the classes that are confused most often; equally frequent ones are all right.

    Args:
        pair: The answer: the name of the true class and that of the predicted one.
        matrix: The confusion matrix, a row for each true class.
        class_names: The name of each class, by number.
        name: What the answer is called in the notebook.
        slack: On how many images another computer may decide otherwise.
    """
    attempted(**{name: pair})
    if isinstance(pair, np.ndarray):
        pair = pair.tolist()
    fail_unless(
        isinstance(pair, list | tuple) and len(pair) == 2,
        f"{name}: expected two names, the true class and the predicted one, found {kind(pair)}",
    )
    true, predicted = (list(class_names).index(expect_text(part, name, class_names)) for part in pair)
    fail_unless(
        true != predicted,
        f"{name}: expected two different classes, found {class_names[true]!r} twice; the diagonal holds no mistakes",
    )
    mistakes = np.array(matrix)
    np.fill_diagonal(mistakes, -1)
    most = mistakes.max() - 2 * slack
    if mistakes[true, predicted] >= most:
        return
    swapped = mistakes[predicted, true] >= most
    also = "; are the two in the right order, the true class first?" if swapped else ""
    raise CheckError(f"{name}: expected the mistake that happens most often, found one that is rarer{also}")


def recalls(values: Any, matrix: Any, name: str, slack: int = 0) -> np.ndarray:
    """Make sure that numbers are the recall of each class.

    Args:
        values: The answer, shape `(classes,)`.
        matrix: The confusion matrix, a row for each true class, none of them empty.
        name: What the answer is called in the notebook.
        slack: On how many images another computer may decide otherwise.

    Returns:
        The answer as a float array.
    """
    counts = np.asarray(matrix)
    hits, of_class = np.diag(counts), counts.sum(axis=1)
    if isinstance(values, dict):
        values = list(values.values())
    array = expect_array(values, name, (len(counts),)).astype(float)
    if array.max(initial=0) > 1 + _ROUNDING:
        raise CheckError(
            f"{name}: expected shares from 0 to 1, found numbers up to {array.max():g}; are they counts, or per cent?"
        )
    if np.all(np.abs(array - hits / of_class) <= slack / of_class + _ROUNDING):
        return array
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = hits / counts.sum(axis=0)
    if np.allclose(array, precision, atol=1e-6):
        raise CheckError(
            f"{name}: expected the share of each true class that was found, its row, found that of each predicted "
            "class, its column"
        )
    if np.allclose(array, hits / counts.sum(), atol=1e-6):
        raise CheckError(f"{name}: expected shares of the images of one class, found shares of all images")
    raise CheckError(
        f"{name}: expected, for each true class, the share of its images that was found; found other numbers"
    )


def surest_mistakes(places: Any, shares: Any, labels: Any, name: str) -> np.ndarray:
    """Make sure that places are those of the wrong answers, and that the model is surest of those that come first.

    Args:
        places: The answer: places in the table, counted from 0.
        shares: Probabilities, shape `(n, classes)`.
        labels: True class numbers, shape `(n,)`.
        name: What the answer is called in the notebook.

    Returns:
        The places as an int array.
    """
    table, true = np.asarray(shares), np.asarray(labels).astype(int)
    array = expect_array(values_of(places), name)
    fail_unless(array.ndim == 1, f"{name}: expected a list of places, found an array of shape {array.shape}")
    fail_unless(
        array.dtype.kind in "iu" and (not array.size or (array.min() >= 0 and array.max() < len(true))),
        f"{name}: expected places in the table, whole numbers from 0 to {len(true) - 1}, found others",
    )
    fail_unless(len(set(array.tolist())) == len(array), f"{name}: expected each place once, found one twice")
    wrong = np.flatnonzero(table.argmax(axis=1) != true)
    right_among = np.setdiff1d(array, wrong)
    fail_unless(
        not right_among.size,
        f"{name}: expected places of wrong answers only, found the place of a right one ({right_among[:1].tolist()})",
    )
    fail_unless(
        len(array) == len(wrong), f"{name}: expected the places of all {len(wrong)} wrong answers, found {len(array)}"
    )
    confidence = table.max(axis=1)[array]
    if np.any(np.diff(confidence) > _ROUNDING):
        backwards = not np.any(np.diff(confidence) < -_ROUNDING)
        found = "the least sure first" if backwards else "another order"
        raise CheckError(f"{name}: expected the mistake first that the model is surest of, found {found}")
    return array


def values_of(value: Any) -> Any:
    """A list of single-number arrays as a list of numbers; anything else as it is."""
    if isinstance(value, list | tuple) and all(np.ndim(part) == 0 and part is not ... for part in value):
        with contextlib.suppress(Exception):
            return np.array([np.asarray(part).item() for part in value], dtype=None if len(value) else int)
    return value


def interval_95(values: Any, correct: int, n: int, name: str, slack: int = 0) -> tuple[float, float]:
    """Make sure that two numbers are a 95% interval of an accuracy.

    The formula of the lesson, p ± 1.96 sqrt(p (1 - p) / n), is right, and so are Wilson's interval and the exact one of
    Clopper and Pearson, which SciPy has.

    Args:
        values: The answer: the lower and the upper end.
        correct: How many images were right.
        n: Of how many.
        name: What the answer is called in the notebook.
        slack: On how many images another computer may decide otherwise.

    Returns:
        The two ends as plain floats.
    """
    from scipy import stats

    attempted(**{name: values})
    pair = expect_array(values_of(values), name, (2,)).astype(float)
    for count in range(max(correct - slack, 0), min(correct + slack, n) + 1):
        test = stats.binomtest(count, n)
        ends = [_rule_of_thumb(count, n)]
        ends += [tuple(test.proportion_ci(0.95, method)) for method in ("exact", "wilson")]
        # Ends beyond 0 and 1 may be cut off there.
        if any(np.allclose(pair, kept, atol=5e-4) for end in ends for kept in (end, np.clip(end, 0, 1))):
            return float(pair[0]), float(pair[1])
    told = f"{name}: expected the lower and the upper end of the interval"
    low, high = _rule_of_thumb(correct, n)
    if np.allclose(pair[::-1], (low, high), atol=5e-4):
        raise CheckError(f"{told}, found the upper one first")
    if pair.max() > 1.5:
        raise CheckError(f"{told}, as shares from 0 to 1, found {pair[0]:g} and {pair[1]:g}")
    if abs(pair.mean() - correct / n) > 0.002:
        raise CheckError(f"{told}, found two numbers that the accuracy isn't in the middle of")
    raise CheckError(f"{told}, found one that is too {'narrow' if pair[1] - pair[0] < high - low else 'wide'}")


def _rule_of_thumb(correct: int, n: int) -> tuple[float, float]:
    """Wald's interval: p ± 1.96 sqrt(p (1 - p) / n)."""
    share = correct / n
    half = 1.96 * np.sqrt(share * (1 - share) / n)
    return share - half, share + half


class ShuffledTask(NamedTuple):
    """A dataset in a new order at each pass, a model for it, and what a correct count gives.

    Attributes:
        model: It reads from an image which class to answer. Nothing was trained.
        dataset: Batches of images and class numbers.
        matrix: The confusion matrix, a row for each true class.
    """

    model: keras.Model
    dataset: tf.data.Dataset
    matrix: np.ndarray


def shuffled_task(seed: int, count: int = 90, num_classes: int = 5) -> ShuffledTask:
    """Make a task whose confusion matrix is known, although its dataset has another order at each pass.

    Args:
        seed: Decides the labels and what the model answers.
        count: How many images.
        num_classes: How many classes.

    Returns:
        The task. The same seed gives the same matrix, in a probe cell and in a test cell.
    """
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    answers = np.where(rng.uniform(size=count) < 0.6, labels, rng.integers(0, num_classes, count))
    # An image of two by two pixels; it is bright in one channel, the one of the class to answer.
    images = np.zeros((count, 2, 2, num_classes), dtype="float32")
    images[np.arange(count), :, :, answers] = 255.0
    inputs = keras.Input(shape=images.shape[1:])
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 64)(inputs))
    model = keras.Model(inputs, keras.layers.Softmax()(x))
    # Two small models are called a few times each: to trace them would take longer than to run them.
    model.compile(run_eagerly=True)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels.astype("int32")))
    dataset = dataset.shuffle(count, reshuffle_each_iteration=True).batch(16)
    return ShuffledTask(model, dataset, counted(labels, answers, num_classes))
