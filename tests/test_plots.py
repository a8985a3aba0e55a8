"""The figures that the course draws."""

from __future__ import annotations

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers import checks
from helpers.plots import BLUE, ORANGE, plot_confusion_matrix, plot_history, plot_probabilities, show_images

NAMES = ["airplane", "bird", "cat", "dog", "truck"]
IMAGES = np.random.default_rng(4).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0])


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_images_are_shown_unchanged_each_under_its_class():
    facts = checks.figure_facts(show_images(IMAGES, LABELS, NAMES))
    checks.shows_images(facts, IMAGES, LABELS, NAMES, count=9)
    assert not any(ax["frame"] for ax in facts["axes"])


def test_a_single_image_needs_no_brackets():
    facts = checks.figure_facts(show_images(IMAGES[2], np.int64(2), NAMES))
    assert [ax["title"] for ax in facts["axes"]] == ["cat"]


@pytest.mark.parametrize("images", [IMAGES.astype("float32"), IMAGES / 255, list(IMAGES)])
def test_floats_of_either_range_and_lists_look_the_same(images):
    checks.shows_images(checks.figure_facts(show_images(images, LABELS, NAMES)), IMAGES, LABELS, NAMES)


def test_a_grid_that_is_not_full_leaves_no_empty_axes_behind():
    assert checks.figure_facts(show_images(IMAGES[:4], LABELS, NAMES, columns=3))["count"] == 4


def test_one_grey_image_without_labels_has_no_title():
    facts = checks.figure_facts(show_images(IMAGES[:1, :, :, :1]))
    assert facts["axes"][0]["title"] == ""
    assert facts["axes"][0]["images"][0].shape == (32, 32)


def test_right_and_wrong_predictions_differ_by_a_mark_as_well_as_by_colour():
    shares = np.eye(5)[[0, 2]]
    fig = show_images(IMAGES[:2], LABELS[:2], NAMES, predictions=shares)
    right, wrong = (ax.title for ax in fig.axes)
    assert right.get_text() == "✓ predicted: airplane\ntrue: airplane"
    assert wrong.get_text() == "✗ predicted: cat\ntrue: bird"
    assert (right.get_color(), wrong.get_color()) == (BLUE, ORANGE)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((IMAGES[:0],), ValueError, "1 to 100 images; received 0"),
        ((IMAGES, LABELS[:3]), ValueError, "expected 9 labels"),
        ((IMAGES, LABELS, NAMES, LABELS[:3]), ValueError, "expected 9 predictions"),
        ((IMAGES[0, 0],), ValueError, r"an image has shape \(height, width, channels\); received shape \(3,\)"),
        ((...,), TypeError, r"images is still a blank \(\.\.\.\)"),
        (([...],), TypeError, "still a blank"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_what_was_received(arguments, error, message):
    with pytest.raises(error, match=message):
        show_images(*arguments)


HISTORY = {"accuracy": [0.3, 0.5], "loss": [1.5, 1.2], "val_accuracy": [0.3, 0.4], "val_loss": [1.5, 1.3]}


@pytest.mark.parametrize("history", [HISTORY, SimpleNamespace(history=HISTORY)])
def test_training_curves_start_at_epoch_one_with_the_loss_first(history):
    facts = checks.figure_facts(plot_history(history))
    assert [ax["ylabel"] for ax in facts["axes"]] == ["loss", "accuracy"]
    assert [ax["xlabel"] for ax in facts["axes"]] == ["epoch", "epoch"]
    training, validation = facts["axes"][1]["lines"]
    assert (training["label"], validation["label"]) == ("training", "validation")
    assert list(training["x"]) == [1, 2]
    assert list(validation["y"]) == [0.3, 0.4]


def test_curves_differ_by_marker_and_dashes_as_well_as_by_colour():
    training, validation = plot_history(HISTORY).axes[0].get_lines()
    assert training.get_linestyle() != validation.get_linestyle()
    assert training.get_marker() != validation.get_marker()


@pytest.mark.parametrize(
    ("history", "error", "message"),
    [
        (..., TypeError, "history is still a blank"),
        (3, TypeError, "received int"),
        ({"loss": []}, ValueError, "holds no epoch"),
        ({}, ValueError, "holds no epoch"),
    ],
)
def test_what_is_no_history_is_refused(history, error, message):
    with pytest.raises(error, match=message):
        plot_history(history)


def test_probabilities_are_one_bar_a_class_with_the_true_class_named():
    fig = plot_probabilities([[0.1, 0.2, 0.4, 0.2, 0.1]], NAMES, true_label=np.int64(3))
    facts = checks.figure_facts(fig)["axes"][0]
    assert facts["bars"] == [[0.1, 0.2, 0.4, 0.2, 0.1]]
    assert facts["yticks"] == NAMES
    assert "dog" in facts["title"]
    assert "cat 0.40" in fig.alt_text


def test_probabilities_for_another_number_of_classes_are_refused():
    with pytest.raises(ValueError, match="expected 5 probabilities, one for each class; received 10"):
        plot_probabilities(np.full(10, 0.1), NAMES)


def test_the_confusion_matrix_counts_true_classes_by_row():
    fig = plot_confusion_matrix([0, 0, 1, 4], [0, 1, 1, 2], NAMES)
    counts = fig.axes[0].get_images()[0].get_array()
    assert (counts[0, 0], counts[0, 1], counts[1, 1], counts[4, 2], counts.sum()) == (1, 1, 1, 1, 4)
    facts = checks.figure_facts(fig)
    assert facts["count"] == 1, "the colour bar is not an axes of its own"
    assert (facts["axes"][0]["xlabel"], facts["axes"][0]["ylabel"]) == ("predicted class", "true class")


@pytest.mark.parametrize(("true", "predicted"), [([0, 1], [0]), ([0, 5], [0, 1]), ([0, 1], [-1, 1])])
def test_a_confusion_matrix_of_unlike_answers_is_refused(true, predicted):
    with pytest.raises(ValueError, match="expected"):
        plot_confusion_matrix(true, predicted, NAMES)


def test_a_notebook_shows_a_figure_once_and_with_an_alternative_text(tmp_path):
    import nbformat
    from nbclient import NotebookClient

    start = "%matplotlib inline\nimport matplotlib.pyplot as plt\nfrom helpers import plot_history\n"
    ways = ["plot_history({'loss': [2.0, 1.0]})", "fig = plot_history({'loss': [2.0, 1.0]})"]
    ways += ["plot_history({'loss': [2.0, 1.0]})\nplt.show()", "plot_history({'loss': [2.0, 1.0]})\nprint('more')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in [start, *ways]])
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    for cell in notebook.cells[1:]:
        pictures = [output for output in cell.outputs if "image/png" in output.get("data", {})]
        assert len(pictures) == 1, cell.source
        assert "loss 1.000" in pictures[0].metadata["image/png"]["alt"]
