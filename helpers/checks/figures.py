"""What a figure shows: turned into plain data in a probe cell, judged in a test cell."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.checks.values import CheckError, NotAttempted, attempted, expect_array, fail_unless
from helpers.checks.wording import kind, shape_text, shortened

# The parts of `figure_facts` that somebody has drawn.
_DRAWN = ("images", "lines", "bars", "points", "texts")


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
          `frame` (whether lines and ticks around it are shown), `images` (arrays), `lines` (dicts with `label`, `x`,
          `y`, `colour` as text), `bars` (their lengths), `points` (arrays of shape (n, 2), of scatter plots), `legend`
          and `texts` (lists of text).

        A blank stays a blank. Anything else becomes text that says what it is: `figure` reads all of these.
    """
    if fig is ... or fig is None:
        return ...
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if isinstance(fig, np.ndarray):
        fig = list(fig.flat)
    if isinstance(fig, list | tuple) and fig and isinstance(fig[0], Axes):
        fig = fig[0]
    if isinstance(fig, Axes):
        fig = fig.figure
    if not isinstance(fig, Figure):
        return f"expected a matplotlib figure, found {kind(fig)}"
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


def figure(facts: Any, name: str = "fig", axes: int | None = None, each: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Make sure that something is the facts of a figure, with so many axes.

    Args:
        facts: What `figure_facts` returned.
        name: What the figure is called in the notebook.
        axes: How many visible axes there should be.
        each: What there should be in every one of them: `"title"`, `"xlabel"`, `"images"`, `"lines"`, ...

    Returns:
        The facts of each of its axes.

    Raises:
        NotAttempted: If the figure is a blank, or nothing has been drawn in it.
        CheckError: If it is no figure, or has another number of axes, or one of them lacks something.
    """
    attempted(**{name: facts})
    if isinstance(facts, str):
        raise CheckError(f"{name}: {facts}")
    if not isinstance(facts, Mapping) or not isinstance(facts.get("axes"), list | tuple):
        raise CheckError(f"{name}: expected a matplotlib figure, found {kind(facts)}")
    found = [dict(ax) for ax in facts["axes"] if isinstance(ax, Mapping)]
    empty = [ax for ax in found if not any(len(ax.get(key, ())) for key in _DRAWN)]
    if len(empty) == len(found):
        raise NotAttempted(f"not attempted yet: nothing is drawn in {name}")
    if axes is not None and facts.get("count") != axes:
        also = ""
        if empty and len(found) - len(empty) == axes:
            also = f"; {len(empty)} of them hold nothing" if len(empty) > 1 else "; one of them holds nothing"
        raise CheckError(f"{name}: expected {axes} axes in the figure, found {facts.get('count')}{also}")
    for number, ax in enumerate(found, start=1):
        for part in each:
            content = ax.get(part, "")
            content = content.strip() if isinstance(content, str) else content
            wanted = {"images": "an image", "lines": "a line", "bars": "bars", "xlabel": "a label below the x axis"}
            wanted |= {"title": "a title", "ylabel": "a label beside the y axis", "legend": "a legend"}
            fail_unless(
                len(content),
                f"{name}: expected {wanted.get(part, part)} in each axes, found none in axes number {number}",
            )
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
            f"{name}: expected images of shape {shape_text(pool.shape[1:])}, "
            f"found {shape_text(picture.shape)} in axes number {number}",
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
            f"{name}: expected a title that names one class, found {shortened(repr(title))} over number {number}",
        )
        fail_unless(
            named[0] == class_names[int(true[place])],
            f"{name}: expected titles that name the class of the image below them, "
            f"found {shortened(repr(title))} over an image of another class (number {number})",
        )
