"""How a model was trained: its loss, its learning rate, what its history says, and whether the two belong together."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from helpers.checks.figures import figure
from helpers.checks.images import arrays_of
from helpers.checks.models import compiled, expect_history, expect_model
from helpers.checks.predictions import predict
from helpers.checks.values import CheckError, NotAttempted, attempted, expect_number, fail_unless
from helpers.checks.wording import first_line, is_blank, kind, listed, shortened

#: A smaller probability counts as this much in a cross-entropy, as in Keras.
SMALLEST_SHARE = 1e-7
#: How far a loss may lie from the one measured again: more than rounding, less than a training step.
SAME_MEASURE = 5e-4
#: How far an accuracy may lie from the one measured again: one image of 250, where two classes are as good as equal.
SAME_ACCURACY = 4.5e-3


def mean_cross_entropy(probabilities: Any, labels: Any) -> float:
    """Minus the natural logarithm of the probability of each true class, on average.

    Args:
        probabilities: Shape `(n, classes)`.
        labels: The true class numbers, shape `(n,)`.

    Returns:
        The mean over the images. Probabilities below 1e-7 count as 1e-7, as in Keras.
    """
    table, true = np.asarray(probabilities, dtype=float), np.asarray(labels).reshape(-1).astype(int)
    return float(-np.log(np.clip(table[np.arange(len(true)), true], SMALLEST_SHARE, 1.0)).mean())


def cross_entropy(value: Any, probabilities: Any, label: int, name: str, tolerance: float = 1e-4) -> float:
    """Make sure that a number is the cross-entropy of one image, and say what kind of slip it looks like if not.

    Args:
        value: The answer.
        probabilities: The probabilities of one image, shape `(classes,)`, none of them 0.
        label: Its true class number.
        name: What the answer is called in the notebook.
        tolerance: How far the number may be off.

    Returns:
        The number as a plain `float`.
    """
    found = expect_number(value, name)
    shares = np.asarray(probabilities, dtype=float)
    right = -np.log(shares[label])
    if abs(found - right) <= tolerance:
        return float(found)
    slips = {
        "a loss that isn't negative; is there a minus before the logarithm?": -right,
        "the natural logarithm, np.log; this one looks like the logarithm to base 10": right / np.log(10),
        "the natural logarithm, np.log; this one looks like the logarithm to base 2": right / np.log(2),
        "the logarithm of the probability of the true class, found that probability itself": shares[label],
        "the probability of the true class, which needn't be the largest": -np.log(shares.max()),
        "the true class alone to count, found a sum over all classes": -np.log(shares).sum(),
        "the probability of the true class; counting starts at 0": -np.log(shares[label - 1]),
    }
    for words, slip in slips.items():
        fail_unless(abs(found - slip) > tolerance, f"{name}: expected {words} (found {found:.4f})")
    raise CheckError(f"{name}: expected the cross-entropy of this image, found {found:.4f}")


def learning_setup(model: Any, name: str = "model", *, learning_rate: float | None = None) -> None:
    """Make sure that a classifier is compiled with Adam, cross-entropy and accuracy.

    The loss is judged by what it gives for known probabilities, in whatever way it was named.

    Args:
        model: The model.
        name: What it is called in the notebook.
        learning_rate: The learning rate that the optimizer should have.

    Raises:
        NotAttempted: If the model is not compiled.
        CheckError: If it is compiled in another way.
    """
    expect_model(model, name)
    if getattr(model, "optimizer", None) is None:
        raise NotAttempted(f"not attempted yet: {name} is not compiled")
    compiled(model, name=name, optimizer="adam", metrics=["accuracy"])
    cross_entropy_loss(model, name)
    if learning_rate is not None:
        found = learning_rate_of(model, name)
        fail_unless(
            abs(found - learning_rate) <= 1e-4 * learning_rate,
            f"{name}: expected the learning rate {learning_rate:g}, found {found:g}",
        )


def learning_rate_of(model: Any, name: str = "model") -> float:
    """The learning rate of a compiled model.

    Args:
        model: The model.
        name: What it is called in the notebook.

    Returns:
        The rate that its optimizer has now.
    """
    compiled(model, name=name)
    with contextlib.suppress(Exception):
        return float(np.asarray(model.optimizer.learning_rate))
    raise CheckError(f"{name}: expected an optimizer with one learning rate, found none")


def cross_entropy_loss(model: Any, name: str = "model") -> None:
    """Make sure that a model's loss is the cross-entropy of probabilities and class numbers.

    Args:
        model: The model, compiled.
        name: What it is called in the notebook.
    """
    shares = np.array([[0.7, 0.1, 0.1, 0.05, 0.05], [0.2, 0.05, 0.5, 0.15, 0.1]], dtype="float32")
    true = np.array([0, 3], dtype="int32")
    wanted = f"{name}: expected a loss that takes the model's probabilities and class numbers"
    try:
        found = float(np.asarray(model.compute_loss(y=true, y_pred=shares)))
    except Exception:
        raise CheckError(f"{wanted}, found one that can't take them") from None
    if abs(found - mean_cross_entropy(shares, true)) <= 1e-3:
        return
    raised = np.exp(shares) / np.exp(shares).sum(axis=1, keepdims=True)
    fail_unless(
        abs(found - mean_cross_entropy(raised, true)) > 1e-3,
        f"{wanted}, found one with from_logits=True: it takes the probabilities for raw scores and turns them into "
        "probabilities a second time",
    )
    raise CheckError(f"{wanted}, found one that gives another number for them")


def history_of(
    value: Any, name: str = "history", *, epochs: int | None = None, needs: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Make sure that a value is what `fit` returned for training with validation, or its dictionary.

    Args:
        value: The answer.
        name: What it is called in the notebook.
        epochs: How many epochs it should tell of.
        needs: What must be recorded. By default, loss and accuracy on the training and on the validation images.

    Returns:
        Each name in `needs` with one number for each epoch.
    """
    attempted(**{name: value})
    needs = tuple(needs) or ("loss", "accuracy", "val_loss", "val_accuracy")
    if isinstance(value, Mapping):
        value = type("Recorded", (), {"history": value})()
    recorded = getattr(value, "history", None)
    if isinstance(recorded, Mapping) and not any(str(key).startswith("val_") for key in recorded):
        raise CheckError(
            f"{name}: expected loss and accuracy on the validation images too, found {listed(map(repr, recorded))}; "
            "did fit get validation_data=...?"
        )
    series = expect_history(value, name, needs)
    found = len(series[needs[0]])
    if epochs is not None:
        fail_unless(found == epochs, f"{name}: expected {epochs} epochs, found {found}")
    return series


def loss_fell(series: Mapping[str, Sequence[float]], name: str = "history", by: float = 0.1) -> None:
    """Make sure that the loss on the training images became smaller.

    Args:
        series: What `history_of` returned.
        name: What the history is called in the notebook.
        by: How much smaller the last loss has to be than the first.
    """
    first, last = series["loss"][0], series["loss"][-1]
    fail_unless(
        last <= first - by,
        f"{name}: expected a loss that falls while the model learns, found {first:.2f} in the first epoch "
        f"and {last:.2f} in the last",
    )


def validated_on(
    series: Mapping[str, Sequence[float]],
    model: Any,
    images: Any,
    name: str = "history",
    model_name: str = "model",
    epoch: int = -1,
) -> None:
    """Make sure that a history's validation numbers are the model's own, on the images meant for validation.

    Args:
        series: What `history_of` returned.
        model: The model, as it was after that epoch.
        images: The validation images and their labels: a dataset, or a pair of arrays.
        name: What the history is called in the notebook.
        model_name: What the model is called.
        epoch: Which epoch to compare, as an index; the last by default.
    """
    shares, labels = _predicted(model, images, model_name)
    loss, accuracy = mean_cross_entropy(shares, labels), _accuracy(shares, labels)
    recorded = series["val_loss"][epoch]
    # Training works with the numbers before softmax, so its loss goes on to grow where a probability is 0 to us.
    saturated = bool((shares[np.arange(len(labels)), labels] < 2 * SMALLEST_SHARE).any())
    same_loss = abs(recorded - loss) <= SAME_MEASURE or (saturated and recorded >= loss)
    fail_unless(
        same_loss and abs(series["val_accuracy"][epoch] - accuracy) <= SAME_ACCURACY,
        f"{name}: expected the loss and accuracy of {model_name} on the images of val_ds, found other numbers; is the "
        f"validation data val_ds, and has {model_name} been left alone since?",
    )


def measured(model: Any, images: Any, name: str = "model") -> tuple[float, float]:
    """The loss and accuracy of a classifier that returns probabilities.

    Args:
        model: The model.
        images: Images and labels: a dataset, or a pair of arrays.
        name: What the model is called in the notebook.

    Returns:
        Its mean cross-entropy and its accuracy.
    """
    shares, labels = _predicted(model, images, name)
    return mean_cross_entropy(shares, labels), _accuracy(shares, labels)


def _predicted(model: Any, images: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A classifier's probabilities, `(n, classes)`, and the true class numbers, `(n,)`."""
    pixels, labels = arrays_of(images)
    shares = predict(model, pixels.astype("float32"), name)
    fail_unless(
        shares.ndim == 2 and shares.shape[1] > labels.max(), f"{name}: expected one number for each class, found others"
    )
    return shares, labels.reshape(-1).astype(int)


def _accuracy(shares: np.ndarray, labels: np.ndarray) -> float:
    return float((shares.argmax(axis=1) == labels).mean())


def curves(facts: Any, history: Any, name: str = "fig") -> None:
    """Make sure that a figure shows a history: loss and accuracy, on training and validation images, with labels.

    Args:
        facts: What `figure_facts` returned.
        history: What `fit` returned, or a copy.
        name: What the figure is called in the notebook.
    """
    axes = figure(facts, name)
    series = history_of(history, "history_intro")
    lines = [(number, line) for number, ax in enumerate(axes) for line in ax.get("lines", ()) if len(line["y"])]
    if not lines:
        raise NotAttempted(f"not attempted yet: no line is drawn in {name}")
    words = {
        "loss": "the training loss",
        "val_loss": "the validation loss",
        "accuracy": "the training accuracy",
        "val_accuracy": "the validation accuracy",
    }
    epochs = len(series["loss"])
    places: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for key, word in words.items():
        wanted = np.asarray(series[key])
        match = next((p for p in lines if len(p[1]["y"]) == epochs and np.allclose(p[1]["y"], wanted, atol=1e-6)), None)
        if match is None:
            raise CheckError(f"{name}: expected a line with {word} of all {epochs} epochs, found none")
        places[key] = match
    fail_unless(len(lines) == 4, f"{name}: expected four lines, found {len(lines)}")
    for key, word in words.items():
        x = np.asarray(places[key][1]["x"])
        fail_unless(
            np.array_equal(x, np.arange(1, epochs + 1)),
            f"{name}: expected {word} over the epochs 1 to {epochs}, found it over {x[0]:g} to {x[-1]:g}",
        )
    for number in sorted({place for place, _ in places.values()}):
        ax = axes[number]
        for part, wanted in (("xlabel", "a label below the x axis"), ("ylabel", "a label beside the y axis")):
            fail_unless(str(ax.get(part, "")).strip(), f"{name}: expected {wanted} of each axes, found none")
        fail_unless(len(ax.get("legend", ())), f"{name}: expected a legend in each axes, found none")
    for key, word in words.items():
        number, line = places[key]
        label = str(line["label"]).strip()
        fail_unless(
            label and not label.startswith("_"), f"{name}: expected a label for {word}, found a line without one"
        )
        said, other = ("val", "train") if key.startswith("val_") else ("train", "val")
        fail_unless(
            said in label.lower() and other not in label.lower().replace("evaluation", ""),
            f"{name}: expected a label that says 'training' or 'validation' for {word}, as it fits, "
            f"found {shortened(repr(label))}",
        )
    for first, second in (("loss", "val_loss"), ("accuracy", "val_accuracy")):
        if places[first][0] == places[second][0]:
            fail_unless(
                places[first][1].get("colour") != places[second][1].get("colour"),
                f"{name}: expected lines of different colours, found two of the same in one axes",
            )


def stopped_early(series: Mapping[str, Sequence[float]], patience: int, most: int, name: str = "history") -> int:
    """Make sure that training ended so many epochs after the best one, by the validation loss.

    Args:
        series: What `history_of` returned.
        patience: How many epochs without a better validation loss it should have waited.
        most: The number of epochs that `fit` was allowed.
        name: What the history is called in the notebook.

    Returns:
        The index of the best epoch, counted from 0.
    """
    losses = list(series["val_loss"])
    best = int(np.argmin(losses))
    fail_unless(
        len(losses) < most,
        f"{name}: expected training to stop by itself before epoch {most}, found that it went on to the end; "
        "did fit get callbacks=[...]?",
    )
    waited = len(losses) - 1 - best
    fail_unless(
        waited == patience,
        f"{name}: expected training to stop after {patience} epochs without a lower validation loss, "
        f"found that it stopped {waited} epochs after the lowest; what does the stopper watch, and how patient is it?",
    )
    return best


def kept_best(series: Mapping[str, Sequence[float]], model: Any, images: Any, name: str = "model") -> None:
    """Make sure that a model has the weights of its best epoch, by the validation loss.

    Args:
        series: What `history_of` returned for it.
        model: The model.
        images: The validation images and labels.
        name: What the model is called in the notebook.
    """
    loss, _ = measured(model, images, name)
    best, last = min(series["val_loss"]), series["val_loss"][-1]
    if abs(loss - best) <= SAME_MEASURE:
        return
    fail_unless(
        abs(loss - last) > SAME_MEASURE,
        f"{name}: expected the weights of the best epoch, found those of the last; "
        "does the stopper put the best ones back?",
    )
    raise CheckError(
        f"{name}: expected a validation loss of {best:.3f}, the lowest in its history, found {loss:.3f}; "
        "was it trained on afterwards, or made anew?"
    )


def one_model_each(models: Any, histories: Any, rates: Sequence[float], epochs: int, images: Any, names: Any) -> Any:
    """Make sure that there is one new model and one history for each learning rate.

    Args:
        models: Rate -> model.
        histories: Rate -> what `fit` returned for it, or its dictionary.
        rates: The rates.
        epochs: How many epochs each was trained for.
        images: The validation images and labels.
        names: What the two are called in the notebook.

    Returns:
        Rate -> the history's numbers, as `history_of` gives them.
    """
    for value, name in zip((models, histories), names, strict=True):
        attempted(**{name: value})
        fail_unless(isinstance(value, Mapping), f"{name}: expected a dictionary, found {kind(value)}")
        there = listed(sorted(map(str, value))) or "none"
        fail_unless(
            set(value) == set(rates), f"{name}: expected the learning rates {listed(rates)} as keys, found {there}"
        )
    weights = [expect_model(models[rate], f"{names[0]}[{rate}]").get_weights() for rate in rates]
    for number, own in enumerate(weights):
        for other in weights[:number]:
            same = len(own) == len(other) and all(map(np.array_equal, own, other))
            fail_unless(not same, f"{names[0]}: expected a new model for each learning rate, found the same one twice")
    found = {}
    for rate in rates:
        model_name, history_name = (f"{name}[{rate}]" for name in names)
        learning_setup(models[rate], model_name, learning_rate=rate)
        found[rate] = history_of(histories[rate], history_name, epochs=epochs)
    for rate in rates:
        validated_on(found[rate], models[rate], images, f"{names[1]}[{rate}]", f"{names[0]}[{rate}]")
    return found


def save_for_test(model: Any, path: str | Path) -> Any:
    """Save a learner's model for the test below, for a probe cell.

    Args:
        model: The model.
        path: Where to save it, a `.keras` file. Folders are made.

    Returns:
        The same model. A blank stays a blank. Otherwise text that says what is wrong: `built` reads all of these.
    """
    if is_blank(model):
        return ...
    import keras

    if not isinstance(model, keras.Model):
        return f"expected a Keras model, found {kind(model)}"
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        model.save(path)
    except Exception as error:
        return f"expected a model that can be saved, found {type(error).__name__}: {first_line(error)}"
    return model
