"""The models that episodes use before their learner can build one."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


def create_model_intro(
    input_shape: Sequence[int] = (32, 32, 3), num_classes: int = 5, *, rescale: bool = True
) -> keras.Model:
    """Build the small convolutional network of the first episode, not yet compiled.

    Args:
        input_shape: Height, width and channels of one image; at least 4 pixels high and wide.
        num_classes: How many classes there are to tell apart; at least 2.
        rescale: Whether the model divides pixels by 255 before anything else. The first episode leaves it out once, to
            show what that does.

    Returns:
        An uncompiled `keras.Model` named `cifar_model_intro`. It takes a batch of images of shape
        `(batch, *input_shape)` with values from 0 to 255, and returns `(batch, num_classes)` probabilities as float32.

    Raises:
        ValueError: If an argument is of the wrong kind or size; the message says what was received.

    Example:
        >>> create_model_intro().output_shape
        (None, 5)
    """
    shape = _image_shape(input_shape)
    if not _is_whole(num_classes) or num_classes < 2:
        raise ValueError(
            f"num_classes should be a whole number of 2 or more: how many classes there are; received {num_classes!r}"
        )

    import keras
    from keras import layers

    inputs = keras.Input(shape=shape)
    x = layers.Rescaling(1.0 / 255)(inputs) if rescale else inputs
    x = layers.Conv2D(16, (3, 3), activation="relu")(x)
    x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(int(num_classes), activation="softmax")(x)
    return keras.Model(inputs=inputs, outputs=outputs, name="cifar_model_intro")


def _is_whole(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _image_shape(input_shape: object) -> tuple[int, int, int]:
    """Check that `input_shape` is (height, width, channels)."""
    wanted = "input_shape should be three whole numbers (height, width, channels), such as (32, 32, 3)"
    if not isinstance(input_shape, Sequence) or isinstance(input_shape, str) or len(input_shape) != 3:
        raise ValueError(f"{wanted}; received {input_shape!r}")
    if not all(_is_whole(size) for size in input_shape):
        raise ValueError(f"{wanted}; received {input_shape!r}")
    height, width, channels = (int(size) for size in input_shape)
    if height < 4 or width < 4:
        # A 3x3 filter followed by 2x2 pooling needs four pixels each way to leave anything.
        raise ValueError(f"images should be at least 4 pixels high and wide; received input_shape={input_shape!r}")
    if channels < 1:
        raise ValueError(f"an image has at least one channel; received input_shape={input_shape!r}")
    return height, width, channels
