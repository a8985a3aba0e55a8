"""Models while they are being built: what is connected so far, whether it can learn, what arrives at a layer.

The first two functions are for probe cells: they never raise, and note what is wrong as text, which `built` reads.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.checks.models import expect_model
from helpers.checks.predictions import predict
from helpers.checks.values import CheckError, attempted
from helpers.checks.wording import first_line, is_blank, kind

if TYPE_CHECKING:
    import keras


def model_so_far(inputs: Any, outputs: Any) -> Any:
    """Make a model of the layers between two symbolic tensors, for a probe cell.

    Args:
        inputs: What `keras.Input` returned.
        outputs: What a later layer returned; `inputs` itself will do.

    Returns:
        The model. If either is a blank, the blank itself. Otherwise text that says what is wrong.
    """
    if is_blank(inputs) or is_blank(outputs):
        return ...
    import keras

    for value in (inputs, outputs):
        if isinstance(value, keras.layers.Layer):
            return (
                f"expected a layer that is connected, found a {type(value).__name__} that isn't; "
                "what goes into it stands in brackets after it: layer(...)(before)"
            )
        if not isinstance(value, keras.KerasTensor):
            return f"expected what keras.Input or a layer returns, found {kind(value)}"
    try:
        return keras.Model(inputs=inputs, outputs=outputs)
    except Exception:
        return (
            "expected layers that are connected with inputs, found some that aren't; "
            "was the cell that makes inputs run again? Then run those below it again, too"
        )


def train_briefly(model: Any, dataset: Any, epochs: int = 4, save_to: str | Path | None = None) -> Any:
    """Train a learner's classifier for a moment, for a probe cell.

    Args:
        model: The model, compiled or not; or what `call_each` noted of a function that makes models, whose first
            result is taken. It is compiled anew (adam, sparse categorical cross-entropy, accuracy) and its own weights
            are adjusted.
        dataset: A `tf.data.Dataset` of batches of images and class numbers.
        epochs: How often to go through it.
        save_to: Where to save it afterwards, a `.keras` file. Folders are made.

    Returns:
        The same model, trained. A blank stays a blank. Otherwise text that says what is wrong.
    """
    if is_blank(model):
        return ...
    import keras

    if isinstance(model, str):
        return model
    if isinstance(model, list) and model and isinstance(model[0], Mapping):
        if "error" in model[0]:
            return f"expected a function that can be called, found {model[0]['error']}"
        model = model[0].get("value")
    if not isinstance(model, keras.Model):
        return f"expected a Keras model, found {kind(model)}"
    classes, outputs = len(getattr(dataset, "class_names", ())), getattr(model, "output_shape", (None,))[-1]
    if isinstance(outputs, int) and outputs < classes:
        return f"expected a model with one output for each of {classes} classes, found {outputs}"
    try:
        model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        with contextlib.redirect_stdout(io.StringIO()):
            model.fit(dataset, epochs=epochs, verbose=0)
    except Exception as error:
        return f"expected a model that can learn from these images, found {type(error).__name__}: {first_line(error)}"
    if save_to is not None:
        try:
            Path(save_to).parent.mkdir(parents=True, exist_ok=True)
            model.save(save_to)
        except Exception as error:
            return f"expected a model that can be saved, found {type(error).__name__}: {first_line(error)}"
        try:
            keras.saving.load_model(save_to)
        except Exception as error:
            return (
                f"expected a model that Keras can load again from its file, found {type(error).__name__}; "
                "are all layers and activations Keras's own?"
            )
    return model


def built(value: Any, name: str = "model") -> keras.Model:
    """Read what `model_so_far` or `train_briefly` noted.

    Args:
        value: What one of them returned.
        name: What the answer is called in the notebook.

    Returns:
        The model.

    Raises:
        NotAttempted: If the answer is a blank.
        CheckError: If there was something wrong with it.
    """
    attempted(**{name: value})
    if isinstance(value, str):
        raise CheckError(f"{name}: {value}")
    return expect_model(value, name)


def arriving_at(model: Any, kind_of_layer: str, images: Any, name: str = "model") -> np.ndarray:
    """What goes into the first layer of some kind when a model is shown images.

    Args:
        model: The model; nested models count as one layer.
        kind_of_layer: The name of a layer class: `"Conv2D"`.
        images: A batch of images, shape `(n, height, width, channels)`.
        name: What the model is called in the notebook.

    Returns:
        The values that arrive there, for each image.

    Raises:
        CheckError: If there is no such layer, or the model can't take these images.
    """
    import keras

    expect_model(model, name)
    # A copy, since a layer that is part of several models can't say what goes into it in this one.
    try:
        copy = keras.models.clone_model(model)
        copy.set_weights(model.get_weights())
    except Exception as error:
        raise CheckError(
            f"{name}: expected a model of Keras's own layers and activations, found one that can't be copied: "
            f"{first_line(error)}"
        ) from None
    layer = next((layer for layer in copy.layers if type(layer).__name__ == kind_of_layer), None)
    if layer is None:
        raise CheckError(f"{name}: expected a {kind_of_layer} layer, found none")
    source = layer.input
    if any(source is given for given in copy.inputs):
        return np.asarray(images)
    # Keras warns if a model of a list of inputs, even of one, is shown a plain batch.
    inputs = copy.inputs[0] if len(copy.inputs) == 1 else copy.inputs
    return predict(keras.Model(inputs, source), images, name)


def convolved(layer: Any, values: Any) -> np.ndarray:
    """What a convolution with the activation ReLU makes of what arrives, worked out from the layer's own weights.

    The activation that the layer has is left aside: a layer with another one, or with none, gives other values.

    Args:
        layer: A `Conv2D` layer that has been built.
        values: What arrives at it, shape `(n, height, width, channels)`.

    Returns:
        The feature maps, shape `(n, height, width, filters)`.
    """
    import keras

    kernel, *bias = layer.get_weights()
    maps = keras.ops.conv(
        np.asarray(values, dtype=kernel.dtype),
        kernel,
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        data_format="channels_last",
    )
    return np.maximum(np.asarray(maps) + sum(bias), 0)


def max_pooled(maps: Any, size: int = 2) -> np.ndarray:
    """The largest number of each window of some maps; windows don't overlap, and what is left over is cut off.

    Args:
        maps: Shape `(n, height, width, channels)`.
        size: How high and wide a window is.

    Returns:
        Maps of shape `(n, height // size, width // size, channels)`.
    """
    array = np.asarray(maps)
    n, height, width, channels = array.shape
    rows, columns = height // size, width // size
    whole = array[:, : rows * size, : columns * size]
    return whole.reshape(n, rows, size, columns, size, channels).max(axis=(2, 4))
