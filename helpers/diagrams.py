"""Diagrams of what happens inside a CNN: a kernel on a patch, pooling, shapes from layer to layer, gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.plots import BLUE, GREY, ORANGE, _figure, _no_blank

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Light fills for the four windows of a pooling diagram, told apart by their hatch as well.
_FILLS = ("#CFE8F7", "#FBE3D3", "#E6E6E6", "#FFF7C2")
_HATCHES = ("", "//", "..", "xx")


def plot_convolution(patch: Any, kernel: Any, row: int = 0, column: int = 0) -> Figure:
    """Draw one step of a convolution: the patch with its window, the kernel, and the result so far.

    Args:
        patch: Whole numbers of shape `(height, width)`.
        kernel: Whole numbers of shape `(rows, columns)`, no larger than the patch.
        row: The window's upper row, counted from 0. Results of earlier windows are written too.
        column: Its left column.

    Returns:
        The figure: three axes.

    Raises:
        ValueError: If the window does not lie inside the patch.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(patch=patch, kernel=kernel)
    patch, kernel = np.asarray(patch), np.asarray(kernel)
    rows, columns = (p - k + 1 for p, k in zip(patch.shape, kernel.shape, strict=True))
    if not (0 <= row < rows and 0 <= column < columns):
        raise ValueError(
            f"the window should start at row 0 to {rows - 1} and column 0 to {columns - 1}; "
            f"received row {row}, column {column}"
        )
    height, width = kernel.shape
    result = np.full((rows, columns), "", dtype=object)
    for r, c in np.ndindex(rows, columns):
        if (r, c) <= (row, column):
            result[r, c] = str((patch[r : r + height, c : c + width] * kernel).sum())

    fig, (left, middle, right) = _figure(1, 3, (7.6, 2.9))
    _grid(left, patch, "patch")
    _outline(left, row, column, height, width, ORANGE)
    _grid(middle, kernel, "kernel", size=patch.shape)
    _outline(middle, 0, 0, height, width, ORANGE)
    _grid(right, result, "result", size=patch.shape)
    _outline(right, row, column, 1, 1, BLUE)
    fig.alt_text = (
        f"A {patch.shape[0]} by {patch.shape[1]} patch of numbers, a {height} by {width} kernel and the "
        f"{rows} by {columns} result. The kernel lies on the window that starts at row {row}, column {column}; "
        f"multiplied and added up, that makes {result[row, column]}."
    )
    return fig


def plot_pooling(patch: Any, size: int = 2) -> Figure:
    """Draw max pooling: the patch in windows that don't overlap, and the largest number of each.

    Args:
        patch: Numbers of shape `(height, width)`.
        size: How high and wide a window is. Rows and columns that fill no window are left out, as Keras does.

    Returns:
        The figure: two axes.

    Raises:
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(patch=patch)
    patch = np.asarray(patch)
    rows, columns = (length // size for length in patch.shape)
    result = patch[: rows * size, : columns * size].reshape(rows, size, columns, size).max(axis=(1, 3))
    fig, (left, right) = _figure(1, 2, (5.2, 2.9))
    _grid(left, patch, "before")
    _grid(right, result, "after", size=patch.shape)
    for r, c in np.ndindex(rows, columns):
        look = (r % 2) * 2 + c % 2
        for ax, scale in ((left, size), (right, 1)):
            _outline(ax, r * scale, c * scale, scale, scale, BLUE, _FILLS[look], _HATCHES[look])
    fig.alt_text = (
        f"Max pooling turns {patch.shape[0]} by {patch.shape[1]} numbers into {rows} by {columns}: "
        f"the largest of each {size} by {size} window, {', '.join(str(value) for value in result.flat)}."
    )
    return fig


def plot_network(model: Any) -> Figure:
    """Draw a model's layers from left to right, each as a block with the shape of what comes out of it.

    Args:
        model: A built Keras model whose layers follow each other.

    Returns:
        The figure: one axes. Blocks are as high as the picture is, and as wide as there are channels, both on a
        compressed scale.

    Raises:
        TypeError: If an exercise's blank (`...`) is passed, or something else that is no model.
    """
    _no_blank(model=model)
    if not hasattr(model, "layers"):
        raise TypeError(f"plot_network wants a Keras model; received {type(model).__name__}")
    blocks = (
        [] if any(type(layer).__name__ == "InputLayer" for layer in model.layers) else [("input", model.input_shape)]
    )
    for layer in model.layers:
        label = "input" if type(layer).__name__ == "InputLayer" else type(layer).__name__
        blocks.append((label, tuple(layer.output.shape)))
    shapes = [tuple(size for size in shape[1:]) for _, shape in blocks]

    import matplotlib.patches

    fig, (ax,) = _figure(1, 1, (1.15 * len(blocks) + 0.6, 3.0))
    for place, ((label, _), shape) in enumerate(zip(blocks, shapes, strict=True)):
        tall = _height(shape)
        wide = 0.15 + 0.12 * np.log2(1 + shape[-1]) if len(shape) == 3 else 0.16
        colour = {"input": GREY}.get(label, ORANGE if any(layer in label for layer in ("Conv", "Dense")) else BLUE)
        ax.add_patch(
            matplotlib.patches.Rectangle(
                (place - wide / 2, -tall / 2), wide, tall, facecolor=colour, edgecolor="black", alpha=0.75
            )
        )
        ax.text(place, 1.25, label, ha="center", va="bottom", fontsize=8, rotation=25)
        ax.text(place, -1.2, " × ".join(str(size) for size in shape), ha="center", va="top", fontsize=8)
        if place:
            ax.annotate("", (place - 0.36, 0), (place - 0.64, 0), arrowprops={"arrowstyle": "->"})
    ax.set_xlim(-0.6, len(blocks) - 0.4)
    ax.set_ylim(-1.6, 1.9)
    ax.axis("off")
    said = ", ".join(
        f"{label} {' × '.join(str(s) for s in shape)}" for (label, _), shape in zip(blocks, shapes, strict=True)
    )
    fig.alt_text = f"Layers from left to right, with the shape of what comes out: {said}."
    return fig


def plot_descent(rates: Sequence[float], start: float = -2.0, steps: int = 8) -> Figure:
    """Draw gradient descent with one weight: the same valley for each learning rate, and the steps taken in it.

    The loss is `(weight - 3) ** 2`, so its slope is `2 * (weight - 3)`.

    Args:
        rates: The learning rates, one to four of them.
        start: The weight to begin with, from -4 to 10.
        steps: How many steps to take.

    Returns:
        The figure: one axes for each rate, with the valley as a line and the steps as dots that are joined.

    Raises:
        ValueError: If there are no rates, or more than four.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(rates=rates)
    if not 1 <= len(rates) <= 4:
        raise ValueError(f"plot_descent draws one to four learning rates; received {len(rates)}")
    valley = np.linspace(-5, 11, 161)
    fig, axes = _figure(1, len(rates), (2.7 * len(rates) + 0.3, 2.9))
    said = []
    for ax, rate in zip(axes, rates, strict=True):
        weights = [float(start)]
        for _ in range(steps):
            weights.append(weights[-1] - rate * 2 * (weights[-1] - 3))
        path = np.array(weights)
        ax.plot(valley, (valley - 3) ** 2, color=GREY, linewidth=2)
        # Steps that leave the picture would only stretch it.
        inside = np.logical_and.accumulate(np.abs(path - 3) <= 8)
        ax.plot(path[inside], (path[inside] - 3) ** 2, "o-", color=ORANGE, markersize=5, linewidth=1)
        ax.plot(path[0], (path[0] - 3) ** 2, "s", color=BLUE, markersize=8)
        ax.set_title(f"learning rate {rate:g}", fontsize=11)
        ax.set_xlabel("weight")
        ax.set_ylim(-3, 66)
        ax.spines[["top", "right"]].set_visible(False)
        said.append(f"with {rate:g} the weight is {path[-1]:.2f} after {steps} steps")
    axes[0].set_ylabel("loss")
    fig.alt_text = f"A valley, lowest at weight 3, and the way down it from {start:g}: {'; '.join(said)}."
    return fig


def _height(shape: Sequence[int]) -> float:
    """How high to draw a block, from about 0.3 to 2, whatever the sizes are."""
    length = shape[0] or 1
    return float(np.clip(0.4 * np.log2(length), 0.3, 2.2))


def _grid(ax: Axes, values: np.ndarray, title: str, size: Sequence[int] | None = None) -> None:
    """Write numbers into a grid of cells; `size` keeps several grids at one scale."""
    rows, columns = values.shape
    size = size or values.shape
    for r, c in np.ndindex(rows, columns):
        ax.text(c, r, values[r, c], ha="center", va="center", fontsize=11, zorder=4)
    for r in range(rows + 1):
        ax.plot([-0.5, columns - 0.5], [r - 0.5, r - 0.5], color=GREY, linewidth=0.8)
    for c in range(columns + 1):
        ax.plot([c - 0.5, c - 0.5], [-0.5, rows - 0.5], color=GREY, linewidth=0.8)
    ax.set_title(title, fontsize=11)
    # Smaller grids stand in the middle of as much room as the largest takes, so that all cells are of one size.
    down, aside = (size[0] - rows) / 2, (size[1] - columns) / 2
    ax.set_xlim(-0.6 - aside, columns - 0.4 + aside)
    ax.set_ylim(rows - 0.4 + down, -0.6 - down)
    ax.set_aspect("equal")
    ax.axis("off")


def _outline(
    ax: Axes, row: int, column: int, height: int, width: int, colour: str, fill: str | None = None, hatch: str = ""
) -> None:
    """Draw a frame around some cells of a grid."""
    import matplotlib.patches

    place, size = (column - 0.5, row - 0.5), {"width": width, "height": height}
    if fill:
        ax.add_patch(
            matplotlib.patches.Rectangle(place, **size, facecolor=fill, edgecolor="#BBBBBB", hatch=hatch, zorder=1)
        )
    ax.add_patch(matplotlib.patches.Rectangle(place, **size, fill=False, edgecolor=colour, linewidth=2.5, zorder=3))
