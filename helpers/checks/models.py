"""What a model is like: its shapes, layers and weights, how it was compiled and whether it was trained."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.checks.values import CheckError, attempted, expect_array, fail_unless
from helpers.checks.wording import kind, listed, shape_text

if TYPE_CHECKING:
    import keras


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
    fail_unless(isinstance(value, keras.Model), f"{name}: expected a Keras model, found {kind(value)}")
    return value


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
            f"{name}: expected a model that {verb}s arrays of shape {shape_text(wanted)}, found {shape_text(found)}",
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
    for wanted in kinds:
        options = wanted.split("|")
        while place < len(layers) and names[place] not in options and not exact:
            place += 1
        if place >= len(layers) or names[place] not in options:
            after = f" after {type(found[-1]).__name__}" if found else ""
            raise CheckError(
                f"{name}: expected a {' or '.join(options)} layer{after}, found the layers {listed(names) or '(none)'}"
            )
        found.append(layers[place])
        place += 1
    if exact and place < len(layers):
        raise CheckError(f"{name}: expected {len(kinds)} layers, found {len(layers)}: {listed(names)}")
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
            f"{name}: expected the metric '{metric}', found {listed(map(repr, watched)) or 'no metric'}",
        )


def expect_history(
    value: Any, name: str = "history", needs: Sequence[str] = ("loss",), *, at_least: int = 1
) -> dict[str, list[float]]:
    """Make sure that a value is what `model.fit` returned.

    Args:
        value: The answer, or a copy that has its `history`.
        name: What it is called in the notebook.
        needs: The numbers that must have been recorded after each epoch: `"loss"`, `"accuracy"`, `"val_loss"`. The
            spellings that Keras gives to accuracy count as `"accuracy"`.
        at_least: How many epochs it must tell of.

    Returns:
        Each name in `needs` with one finite float for each epoch.
    """
    attempted(**{name: value})
    recorded = getattr(value, "history", None)
    if not isinstance(recorded, Mapping):
        raise CheckError(f"{name}: expected what model.fit returns, found {kind(value)}")
    found: dict[str, list[float]] = {}
    for need in needs:
        prefix, plain = ("val_", need[4:]) if need.startswith("val_") else ("", need)
        spellings = [need]
        if plain in ("accuracy", "acc"):
            spellings += [f"{prefix}{s}" for s in ("accuracy", "acc", "sparse_categorical_accuracy")]
            spellings += [f"{prefix}categorical_accuracy"]
        key = next((s for s in spellings if s in recorded), None)
        if key is None:
            there = listed(map(repr, recorded)) or "nothing"
            raise CheckError(f"{name}: expected '{need}' to be recorded after each epoch, found {there}")
        numbers_found = np.ravel(expect_array(list(recorded[key]), f"{name}.history['{key}']"))
        epochs = numbers_found.size
        fail_unless(
            epochs >= at_least,
            f"{name}: expected at least {at_least if at_least > 1 else 'one'} epoch{'s' * (at_least > 1)}, "
            f"found {epochs or 'none'}",
        )
        found[need] = [float(number) for number in numbers_found]
    fail_unless(
        len({len(series) for series in found.values()}) <= 1, f"{name}: expected as many numbers of each kind as epochs"
    )
    return found


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


def _weights(value: Any, name: str) -> list[np.ndarray]:
    if hasattr(value, "get_weights"):
        value = value.get_weights()
    if not isinstance(value, list | tuple):
        raise CheckError(f"{name}: expected a model or its weights, found {kind(value)}")
    return [expect_array(part, name).astype(float) for part in value]


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
