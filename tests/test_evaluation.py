"""Checks of how a classifier was measured, the model that knows its images by heart, the figure of confidence."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers import checks, colleagues_model, plot_confidence
from helpers.checks import CheckError

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (40, 8, 8, 3)).astype("float32")
LABELS = np.arange(40) % 4
NAMES = ["a", "b", "c"]
MATRIX = np.array([[2, 1, 0], [1, 3, 1], [0, 2, 2]])


@pytest.fixture(scope="module")
def parrot():
    return colleagues_model((IMAGES, LABELS), num_classes=4)


# --- the model that knows its images by heart ---


def test_it_is_right_and_sure_on_every_image_that_it_holds(parrot):
    results = checks.evaluated(parrot, IMAGES, LABELS)
    assert results.accuracy == 1
    assert results.shares.max(axis=1).min() > 0.99
    assert parrot.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)["accuracy"] == 1


def test_it_answers_with_the_label_of_the_nearest_image(parrot):
    asked = IMAGES[:20] * 0.8 + IMAGES[20:] * 0.2
    far = ((asked[:, None].astype(float) - IMAGES[None]) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(parrot.predict(asked, verbose=0).argmax(axis=1), LABELS[far.argmin(axis=1)])


# --- what a model says, counted ---


def test_an_evaluation_counts_what_the_model_says(parrot):
    labels = LABELS.copy()
    labels[:3] = [1, 1, 1]
    results = checks.evaluated(parrot, IMAGES, labels)
    assert results.accuracy == 38 / 40
    assert (results.matrix[1, 0], results.matrix[1, 2], results.matrix.sum()) == (1, 1, 40)
    assert results.undecided == 0


def test_images_with_two_classes_at_the_top_are_undecided():
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Softmax()])
    rows = np.array([[3, 3, 0, 0], [3, 3.1, 0, 0], [0, 0, 9, 0]], dtype="float32")
    results = checks.evaluated(model, rows, [0, 1, 2])
    assert results.undecided == 1


@pytest.mark.parametrize(("value", "says"), [(57.2, "not per cent"), (-0.1, "from 0 to 1"), (0.57, "was it rounded?")])
def test_a_number_that_is_no_accuracy_is_told_apart(value, says):
    with pytest.raises(CheckError, match=says):
        checks.accuracy_value(value, 0.572, "share", "these images")


def test_images_that_a_model_cannot_decide_on_are_forgiven(parrot):
    results = checks.evaluated(parrot, IMAGES, LABELS)
    close = checks.Evaluation(**{**results.__dict__, "undecided": 1})
    assert checks.accuracy_value(39 / 40, close, "share", "these images") == 39 / 40
    with pytest.raises(CheckError):
        checks.accuracy_value(39 / 40, results, "share", "these images")
    other = results.matrix.copy()
    other[0, 0] -= 1
    other[0, 1] += 1
    checks.confusion_matrix(other, close.matrix, "matrix", close.undecided)
    with pytest.raises(CheckError):
        checks.confusion_matrix(other, close.matrix, "matrix")


# --- labels beside predictions ---


def test_labels_and_predictions_of_one_pass_belong_together_in_any_order():
    task = checks.shuffled_task(seed=3)
    pairs = [(labels, task.model.predict(images, verbose=0)) for images, labels in task.dataset]
    labels = np.concatenate([labels for labels, _ in pairs])
    predicted = np.concatenate([shares for _, shares in pairs]).argmax(axis=1)
    checks.belong_together(labels, predicted, task.matrix, "answer")
    with pytest.raises(CheckError, match="different orders"):
        checks.belong_together(np.roll(labels, 1), predicted, task.matrix, "answer")
    with pytest.raises(CheckError, match="found other labels"):
        checks.belong_together(np.zeros_like(labels), predicted, task.matrix, "answer")
    with pytest.raises(CheckError, match="found other predictions"):
        checks.belong_together(labels, labels, task.matrix, "answer")


def test_a_shuffled_task_has_one_matrix_a_seed_and_another_order_at_each_pass():
    task = checks.shuffled_task(seed=3, count=50, num_classes=4)
    np.testing.assert_array_equal(task.matrix, checks.shuffled_task(seed=3, count=50, num_classes=4).matrix)
    assert task.matrix.shape == (4, 4)
    assert task.matrix.sum() == 50
    first, second = (np.concatenate([labels for _, labels in task.dataset]) for _ in range(2))
    assert not np.array_equal(first, second)
    # Neither a perfect model nor a constant one: a function that returns the labels twice would be found out.
    assert 0.3 < task.matrix.trace() / 50 < 0.9


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([0, 1.5, 2], "whole numbers"),
        ([0, 1, 7], "from 0 to 4"),
        ([True, False, True], "whole numbers"),
        ([[0, 1, 2]], r"found an array of shape \(1, 3\)"),
        ([0, 1], "expected 3 class numbers"),
        (np.eye(3, 5), "are these probabilities"),
        ("abc", "expected an array of numbers"),
    ],
)
def test_what_are_no_class_numbers_is_said(values, says):
    with pytest.raises(CheckError, match=says):
        checks.class_numbers(values, "labels", count=3)


# --- the pair, the recall, the mistakes, the interval ---


def test_equally_frequent_mistakes_are_all_the_most_confused():
    matrix = [[9, 4, 0], [4, 1, 0], [3, 0, 2]]
    checks.most_confused_pair(("a", "b"), matrix, NAMES, "pair")
    checks.most_confused_pair(["b", "a"], matrix, NAMES, "pair")
    checks.most_confused_pair(np.array(["b", "a"]), matrix, NAMES, "pair")
    with pytest.raises(CheckError, match=r"found one that is rarer$"):
        checks.most_confused_pair(("c", "a"), matrix, NAMES, "pair")


def test_recalls_are_told_from_precisions_and_from_shares_of_all():
    rows, columns = MATRIX.sum(axis=1), MATRIX.sum(axis=0)
    checks.recalls(np.diag(MATRIX) / rows, MATRIX, "recalls")
    with pytest.raises(CheckError, match="its column"):
        checks.recalls(np.diag(MATRIX) / columns, MATRIX, "recalls")
    with pytest.raises(CheckError, match="shares of all images"):
        checks.recalls(np.diag(MATRIX) / 12, MATRIX, "recalls")


def test_mistakes_of_equal_confidence_may_come_in_either_order():
    shares, labels = [[0.5, 0.3, 0.2], [0.5, 0.1, 0.4], [0.1, 0.8, 0.1]], [1, 1, 1]
    checks.surest_mistakes([0, 1], shares, labels, "places")
    checks.surest_mistakes([np.int64(1), np.int64(0)], shares, labels, "places")
    with pytest.raises(CheckError, match="found one twice"):
        checks.surest_mistakes([0, 0], shares, labels, "places")
    checks.surest_mistakes([], shares, [0, 0, 1], "places")


@pytest.mark.parametrize("method", ["exact", "wilson"])
def test_other_intervals_of_the_same_accuracy_are_right_too(method):
    from scipy import stats

    low, high = stats.binomtest(130, 250).proportion_ci(0.95, method)
    assert checks.interval_95([low, high], 130, 250, "interval") == (low, high)
    with pytest.raises(CheckError, match="isn't in the middle"):
        checks.interval_95([low, high], 120, 250, "interval")


def test_an_interval_may_be_cut_at_one():
    checks.interval_95((0.9412, 1), 49, 50, "interval")
    checks.interval_95((0.94120, 1.01880), 49, 50, "interval")


# --- the figure ---


def test_confidence_is_drawn_as_right_and_wrong_answers_for_each_step():
    shares = np.array([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.55, 0.45]])
    fig = plot_confidence([0, 1, 1, 1], shares)
    facts = checks.figure_facts(fig)["axes"][0]
    assert facts["bars"] == [[0, 0, 1, 0, 1], [0, 1, 0, 0, 1]]
    assert facts["legend"] == ["right", "wrong"]
    assert "0.9 or more: 1 of 2" in fig.alt_text
    plt.close("all")


def test_confidence_needs_a_row_for_each_label():
    with pytest.raises(ValueError, match="expected 3 rows"):
        plot_confidence([0, 1, 1], np.eye(2))
    with pytest.raises(TypeError, match="still a blank"):
        plot_confidence([0, 1], ...)
