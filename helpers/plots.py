"""The figures that the course draws: images in a grid, training curves, probabilities and a confusion matrix.

Each function returns a matplotlib figure. In a notebook it is shown once, whether the call stands alone, is the last
line of a cell, or is followed by `plt.show()`, and it carries an alternative text for people who can't see it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: these stay apart for people with any common kind of colour blindness.
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREY = "#999999"


def show_images(
    images: Any,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    predictions: Any = None,
    columns: int = 3,
) -> Figure:
    """Draw images in a grid, each with its class as the title.

    Args:
        images: Images of shape `(n, height, width, channels)`, a list of them, or a single one: whole numbers or floats
            from 0 to 255, or floats from 0 to 1. One to three channels; one channel is drawn in grey. At most 100.
        labels: The true class number of each image. Without it there are no titles.
        class_names: The name of each class, by number. Without it the numbers are shown.
        predictions: Predicted class numbers, or probabilities of shape `(n, classes)`. With `labels` too, the title
            says both, and wrong ones are marked with a cross as well as by colour.
        columns: How many images stand side by side.

    Returns:
        The figure: one axes for each image.

    Raises:
        ValueError: If there are no images, too many, or not as many labels as images.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(images=images, labels=labels, predictions=predictions)
    if np.ndim(images) == 3 and np.shape(images)[-1] in (1, 3):
        images = [images]
    pictures = [_picture(image) for image in images]
    if not 1 <= len(pictures) <= 100:
        raise ValueError(f"show_images draws 1 to 100 images; received {len(pictures)}")
    true = None if labels is None else _numbers(labels, len(pictures), "labels")
    guessed = None if predictions is None else _numbers(predictions, len(pictures), "predictions")

    columns = max(1, min(int(columns), len(pictures)))
    rows = math.ceil(len(pictures) / columns)
    fig, axes = _figure(rows, columns, (1.75 * columns, (2.3 if guessed is not None else 2.0) * rows))
    said = []
    for index, ax in enumerate(axes):
        ax.axis("off")
        if index >= len(pictures):
            ax.remove()
            continue
        picture = pictures[index]
        # 32x32 images are small: nearest keeps their pixels visible as pixels.
        ax.imshow(picture, cmap="gray" if picture.ndim == 2 else None, interpolation="nearest")
        title, colour = _title(index, true, guessed, class_names)
        ax.set_title(title, fontsize=10, color=colour)
        said.append(title.replace("\n", ", "))
    fig.alt_text = f"{len(pictures)} image{'s' if len(pictures) > 1 else ''} in a grid. " + "; ".join(
        filter(None, said)
    )
    return fig


def plot_history(history: Any, title: str | None = None) -> Figure:
    """Draw the loss and every other metric of a training run, epoch by epoch.

    Args:
        history: What `model.fit` returns, or its `.history` dictionary: metric name -> one number an epoch. A metric
            `m` measured on the validation set is called `val_m` and is drawn beside `m`.
        title: A title over the whole figure.

    Returns:
        The figure: one axes for each metric, the loss first.

    Raises:
        ValueError: If the history holds no numbers.
        TypeError: If `history` is neither of the two, or an exercise's blank (`...`).
    """
    _no_blank(history=history)
    values = history if isinstance(history, Mapping) else getattr(history, "history", None)
    if not isinstance(values, Mapping):
        raise TypeError(f"plot_history wants what model.fit returns; received {type(history).__name__}")
    names = [name for name in values if not name.startswith("val_") and name != "learning_rate"]
    names.sort(key=lambda name: name != "loss")
    if not names or not len(values[names[0]]):
        raise ValueError("this history holds no epoch: train the model first")

    fig, axes = _figure(1, len(names), (4.2 * len(names), 3.4))
    for ax, name in zip(axes, names, strict=True):
        lines = [(name, "training", BLUE, "o", "-"), (f"val_{name}", "validation", ORANGE, "s", "--")]
        for key, label, colour, marker, style in lines:
            if key in values:
                epochs = np.arange(1, len(values[key]) + 1)
                ax.plot(epochs, values[key], style, marker=marker, markersize=4, color=colour, label=label)
        ax.set_xlabel("epoch")
        ax.set_ylabel(name.replace("_", " "))
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.grid(alpha=0.3)
        ax.legend()
    if title:
        fig.suptitle(title)
    last = ", ".join(f"{name.replace('_', ' ')} {float(values[name][-1]):.3f}" for name in values)
    fig.alt_text = f"Training curves over {len(values[names[0]])} epochs. After the last: {last}."
    return fig


def compare_histories(histories: Mapping[Any, Any], key: str = "val_loss", top: float | None = None) -> Figure | None:
    """Draw one number of several training runs in one figure, epoch by epoch.

    A run that is still an exercise's blank (`...`) is left out, and a printed line says so.

    Args:
        histories: The name of each run -> what `model.fit` returned for it, or its `.history` dictionary. At most six.
        key: Which number: `"val_loss"`, `"accuracy"`, ...
        top: The upper end of the y axis; what lies above isn't shown.

    Returns:
        The figure: one axes with a line for each run, told apart by colour, marker and dashes. None if there is nothing
        but blanks.

    Raises:
        ValueError: If there are no runs, too many, or one without this number.
        TypeError: If a run is neither of the two.
    """
    blanks = [str(name) for name, history in histories.items() if history is ...]
    if blanks:
        print(f"Not trained yet: {', '.join(blanks)}. Fill in the blanks above, then run this cell again.")
        histories = {name: history for name, history in histories.items() if history is not ...}
        if not histories:
            return None
    if not 1 <= len(histories) <= 6:
        raise ValueError(f"compare_histories draws one to six runs; received {len(histories)}")
    fig, (ax,) = _figure(1, 1, (5.2, 3.6))
    looks = [(BLUE, "o", "-"), (ORANGE, "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":")]
    looks += [("#56B4E9", "v", "-"), ("#000000", "x", "--")]
    said = []
    for (name, history), (colour, marker, style) in zip(histories.items(), looks, strict=False):
        values = history if isinstance(history, Mapping) else getattr(history, "history", None)
        if not isinstance(values, Mapping):
            raise TypeError(f"compare_histories wants what model.fit returns; received {type(history).__name__}")
        if not len(values.get(key, ())):
            raise ValueError(f"the history of {name} holds no {key}")
        epochs = np.arange(1, len(values[key]) + 1)
        ax.plot(epochs, values[key], style, marker=marker, markersize=5, color=colour, label=str(name))
        said.append(f"{name}: {float(values[key][0]):.2f} to {float(values[key][-1]):.2f}")
    ax.set_xlabel("epoch")
    ax.set_ylabel(key.replace("val_", "validation ").replace("_", " "))
    ax.xaxis.get_major_locator().set_params(integer=True)
    if top is not None:
        ax.set_ylim(0, top)
    ax.grid(alpha=0.3)
    ax.legend()
    fig.alt_text = f"{ax.get_ylabel()} of {len(histories)} runs, first to last epoch. {'; '.join(said)}."
    return fig


def plot_trials(table: Any, images: int = 250) -> Figure:
    """Draw the validation accuracy of each trial of a search, and how far luck may have moved it.

    Args:
        table: A pandas table with one row for each trial and the column `val_accuracy`, 0 to 1; of the columns
            `filters`, `dropout_rate` and `learning_rate`, those that are there name the trial.
        images: How many validation images there are. A bar reaches one standard error to either side.

    Returns:
        The figure: one axes, the best trial at the top.

    Raises:
        ValueError: If the table holds no trial.
        TypeError: If it is no such table, or an exercise's blank (`...`).
    """
    _no_blank(table=table)
    if "val_accuracy" not in getattr(table, "columns", ()):
        raise TypeError(f"plot_trials wants a table with the column val_accuracy; received {type(table).__name__}")
    if not len(table):
        raise ValueError("this table holds no trial: run the search first")
    rows = table.sort_values("val_accuracy")
    shares = rows["val_accuracy"].to_numpy(dtype=float)
    texts = {"filters": "{} filters", "dropout_rate": "dropout {:g}", "learning_rate": "rate {:g}"}
    known = [(column, text) for column, text in texts.items() if column in rows.columns]
    labels = [", ".join(text.format(row[column]) for column, text in known) for row in rows.to_dict("records")]
    fig, (ax,) = _figure(1, 1, (6.2, 0.36 * len(rows) + 1.1))
    places = np.arange(len(rows))
    luck = np.sqrt(shares * (1 - shares) / images)
    ax.errorbar(shares, places, xerr=luck, fmt="o", color=BLUE, ecolor=GREY, capsize=3)
    ax.plot(shares[-1], places[-1], "s", color=ORANGE, markersize=9, zorder=3)
    ax.set_yticks(places, labels)
    ax.set_xlabel("accuracy on the validation images")
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    fig.alt_text = (
        f"Validation accuracy of {len(rows)} trials, from {shares[0]:.2f} to {shares[-1]:.2f}. Best: {labels[-1]}."
    )
    return fig


def plot_probabilities(probabilities: Any, class_names: Sequence[str], true_label: Any = None) -> Figure:
    """Draw the probabilities that a model gives to one image, as one bar for each class.

    Args:
        probabilities: One number for each class, shape `(classes,)` or `(1, classes)`, as `model.predict` returns it.
        class_names: The name of each class, in the order of the numbers.
        true_label: The image's true class number; its bar is outlined and named in the title.

    Returns:
        The figure: one axes with horizontal bars from 0 to 1.

    Raises:
        ValueError: If there isn't one number for each class.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(probabilities=probabilities, true_label=true_label)
    shares = np.asarray(probabilities, dtype=float).reshape(-1)
    if len(shares) != len(class_names):
        raise ValueError(f"expected {len(class_names)} probabilities, one for each class; received {len(shares)}")
    fig, (ax,) = _figure(1, 1, (4.8, 0.42 * len(shares) + 1.0))
    places = np.arange(len(shares))
    top = int(shares.argmax())
    bars = ax.barh(places, shares, color=[BLUE if place == top else GREY for place in places])
    for place, share in zip(places, shares, strict=True):
        ax.text(share + 0.01, place, f"{share:.2f}", va="center", fontsize=9)
    ax.set_yticks(places, class_names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1.1)
    ax.set_xlabel("probability")
    ax.spines[["top", "right"]].set_visible(False)
    said = ", ".join(f"{name} {share:.2f}" for name, share in zip(class_names, shares, strict=True))
    fig.alt_text = f"Bar chart of probabilities: {said}."
    if true_label is not None:
        true = int(np.asarray(true_label).reshape(-1)[0])
        bars[true].set_edgecolor("black")
        bars[true].set_linewidth(2)
        ax.set_title(f"true class (outlined): {class_names[true]}", fontsize=10)
        fig.alt_text += f" The true class is {class_names[true]}."
    return fig


def plot_confusion_matrix(true_labels: Any, predictions: Any, class_names: Sequence[str]) -> Figure:
    """Draw how often each true class was predicted as each class.

    Args:
        true_labels: True class numbers, shape `(n,)`.
        predictions: Predicted class numbers `(n,)`, or probabilities `(n, classes)`; in the same order.
        class_names: The name of each class, by number.

    Returns:
        The figure: one axes with a heat map, the counts written into it; rows are true classes, columns predicted ones.

    Raises:
        ValueError: If the two don't have the same length, or hold a number that is no class.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(true_labels=true_labels, predictions=predictions)
    true = np.asarray(true_labels).reshape(-1).astype(int)
    guessed = _numbers(predictions, len(true), "predictions")
    size = len(class_names)
    if len(true) and not (min(true.min(), guessed.min()) >= 0 and max(true.max(), guessed.max()) < size):
        raise ValueError(f"expected class numbers from 0 to {size - 1}, one for each of {size} class names")
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (true, guessed), 1)

    fig, (ax,) = _figure(1, 1, (0.8 * size + 1.6, 0.8 * size + 0.8))
    image = ax.imshow(counts, cmap="cividis", vmin=0)
    for row, column in np.ndindex(size, size):
        light = counts[row, column] > 0.55 * max(counts.max(), 1)
        ax.text(column, row, counts[row, column], ha="center", va="center", color="black" if light else "white")
    ax.set_xticks(np.arange(size), class_names, rotation=45, ha="right")
    ax.set_yticks(np.arange(size), class_names)
    ax.set_xlabel("predicted class")
    ax.set_ylabel("true class")
    fig.colorbar(image, ax=ax, shrink=0.8, label="images")
    fig.alt_text = f"Confusion matrix of {len(true)} images; {int(np.trace(counts))} on the diagonal are right."
    return fig


def plot_confidence(true_labels: Any, probabilities: Any) -> Figure:
    """Draw how many answers are right and how many wrong, by how sure the model is of them.

    Args:
        true_labels: True class numbers, shape `(n,)`.
        probabilities: What the model predicts, shape `(n, classes)`, in the same order. Its confidence in an answer is
            the highest probability of the row.

    Returns:
        The figure: one axes with a pair of stacked bars for each of five steps of confidence.

    Raises:
        ValueError: If there isn't one row of probabilities for each label.
        TypeError: If an exercise's blank (`...`) is passed.
    """
    _no_blank(true_labels=true_labels, probabilities=probabilities)
    shares = np.asarray(probabilities, dtype=float)
    true = np.asarray(true_labels).reshape(-1)
    if shares.ndim != 2 or len(shares) != len(true):
        raise ValueError(f"expected {len(true)} rows of probabilities; received an array of shape {shares.shape}")
    edges = np.array([0, 0.4, 0.6, 0.8, 0.9, 1])
    steps = np.digitize(shares.max(axis=1), edges[1:-1])
    right = np.bincount(steps[shares.argmax(axis=1) == true], minlength=5)
    wrong = np.bincount(steps[shares.argmax(axis=1) != true], minlength=5)
    names = ["below 0.4", "0.4 to 0.6", "0.6 to 0.8", "0.8 to 0.9", "0.9 or more"]

    fig, (ax,) = _figure(1, 1, (6.4, 3.4))
    ax.bar(names, right, color=BLUE, label="right")
    ax.bar(names, wrong, bottom=right, color=ORANGE, hatch="//", edgecolor="white", label="wrong")
    for place, (some, others) in enumerate(zip(right, wrong, strict=True)):
        if some + others:
            ax.text(place, some + others, f"{others} of {some + others}\nwrong", ha="center", va="bottom", fontsize=9)
    ax.set_ylim(0, 1.25 * max(1, (right + wrong).max()))
    ax.set_xlabel("highest probability of the answer")
    ax.set_ylabel("images")
    ax.legend()
    ax.spines[["top", "right"]].set_visible(False)
    said = ", ".join(f"{name}: {w} of {r + w}" for name, r, w in zip(names, right, wrong, strict=True))
    fig.alt_text = f"Stacked bars. Wrong answers by how sure the model is: {said}."
    return fig


def _no_blank(**arguments: Any) -> None:
    """Say plainly that an exercise before this figure isn't done, instead of failing deep inside matplotlib."""
    for name, value in arguments.items():
        if value is ... or (isinstance(value, list | tuple) and any(part is ... for part in value)):
            raise TypeError(f"{name} is still a blank (...): do the exercise that fills it, then run this cell again")


def _picture(image: Any) -> np.ndarray:
    """One image as matplotlib wants it: uint8, or float from 0 to 1; two dimensions when grey."""
    picture = np.asarray(image)
    if picture.ndim == 3 and picture.shape[-1] == 1:
        picture = picture[..., 0]
    if picture.ndim not in (2, 3):
        raise ValueError(f"an image has shape (height, width, channels); received shape {picture.shape}")
    if picture.dtype.kind == "f" and picture.size and picture.max() <= 1.0:
        return picture.clip(0, 1)
    return picture.round().clip(0, 255).astype("uint8") if picture.dtype.kind == "f" else picture.astype("uint8")


def _numbers(values: Any, count: int, name: str) -> np.ndarray:
    """Class numbers, one for each image, from numbers or from probabilities."""
    array = np.asarray(values)
    if array.ndim == 2 and array.shape[1] > 1:
        array = array.argmax(axis=1)
    array = array.reshape(-1)
    if len(array) < count or (name == "predictions" and len(array) != count):
        raise ValueError(f"expected {count} {name}, one for each image; received {len(array)}")
    return array[:count].astype(int)


def _title(
    index: int, true: np.ndarray | None, guessed: np.ndarray | None, class_names: Sequence[str] | None
) -> tuple[str, str]:
    """The title of one image, and its colour."""

    def named(number: int) -> str:
        return str(number) if class_names is None else str(class_names[number])

    if guessed is None:
        return ("" if true is None else named(true[index])), "black"
    if true is None:
        return f"predicted: {named(guessed[index])}", "black"
    right = guessed[index] == true[index]
    mark = "✓" if right else "✗"
    return f"{mark} predicted: {named(guessed[index])}\ntrue: {named(true[index])}", BLUE if right else ORANGE


def _figure(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """A pyplot figure of axes in a grid; see `_course_figure_class`."""
    import matplotlib.pyplot as plt

    fig = plt.figure(FigureClass=_course_figure_class(), figsize=size, layout="constrained")
    return fig, list(np.ravel(fig.subplots(rows, columns)))


_figure_class: type | None = None


def _course_figure_class() -> type:
    """A figure that a notebook shows once and with alternative text.

    A pyplot figure that is also a cell's last value is normally shown twice: as that value, and again when the cell
    ends. This one takes itself off pyplot's list when it is shown.
    """
    global _figure_class
    if _figure_class is None:
        import matplotlib.pyplot as plt
        from matplotlib.figure import Figure

        class CourseFigure(Figure):
            alt_text = ""

            def _ipython_display_(self) -> None:
                from IPython.display import display

                plt.close(self)
                png = BytesIO()
                self.savefig(png, format="png", dpi=100, bbox_inches="tight")
                display(
                    {"image/png": png.getvalue(), "text/plain": self.alt_text},
                    metadata={"image/png": {"alt": self.alt_text}},
                    raw=True,
                )

        _figure_class = CourseFigure
    return _figure_class
