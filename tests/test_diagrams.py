"""The diagrams of what happens inside a CNN."""

from __future__ import annotations

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest

from helpers import checks, plot_convolution, plot_network, plot_pooling

PATCH = np.arange(20).reshape(4, 5)
KERNEL = np.array([[1, 0], [0, -1]])


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def test_one_step_of_a_convolution_shows_the_result_up_to_there():
    fig = plot_convolution(PATCH, KERNEL, row=1, column=0)
    patch, kernel, result = checks.figure_facts(fig)["axes"]
    assert [patch["title"], kernel["title"], result["title"]] == ["patch", "kernel", "result"]
    assert patch["texts"] == [str(number) for number in range(20)]
    assert [text for text in result["texts"] if text] == ["-6"] * 5
    assert "starts at row 1, column 0; multiplied and added up, that makes -6" in fig.alt_text


@pytest.mark.parametrize(("row", "column"), [(3, 0), (0, 4), (-1, 0)])
def test_a_window_outside_the_patch_is_refused(row, column):
    with pytest.raises(ValueError, match="row 0 to 2 and column 0 to 3"):
        plot_convolution(PATCH, KERNEL, row, column)


def test_pooling_shows_the_largest_of_each_window_and_leaves_out_what_fills_none():
    fig = plot_pooling(PATCH)
    assert checks.figure_facts(fig)["axes"][1]["texts"] == ["6", "8", "16", "18"]
    assert fig.alt_text == (
        "Max pooling turns 4 by 5 numbers into 2 by 2: the largest of each 2 by 2 window, 6, 8, 16, 18."
    )


@pytest.mark.parametrize("functional", [True, False])
def test_a_network_is_drawn_with_the_shape_after_each_layer(functional):
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    if functional:
        model = keras.Model(model.inputs, model.outputs)
    fig = plot_network(model)
    assert fig.alt_text.endswith("input 8 × 8 × 3, Conv2D 6 × 6 × 4, Flatten 144.")
    assert {"input", "Conv2D", "6 × 6 × 4", "144"} <= set(checks.figure_facts(fig)["axes"][0]["texts"])


def test_a_blank_or_something_else_is_told_plainly():
    for draw in (plot_network, plot_pooling, lambda blank: plot_convolution(blank, KERNEL)):
        with pytest.raises(TypeError, match="still a blank"):
            draw(...)
    with pytest.raises(TypeError, match="wants a Keras model; received int"):
        plot_network(3)
