"""The images of the course, read from its folder and never from a notebook."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.checks.values import CheckError, attempted
from helpers.checks.wording import kind

if TYPE_CHECKING:
    import tensorflow as tf


def arrays_of(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a dataset, or of a pair of arrays."""
    if isinstance(dataset, tuple | list) and len(dataset) == 2:
        images, labels = (np.asarray(part) for part in dataset)
    else:
        attempted(dataset=dataset)
        if not hasattr(dataset, "as_numpy_iterator"):
            raise CheckError(f"dataset: expected a tf.data.Dataset of images and labels, found {kind(dataset)}")
        batches = list(dataset.as_numpy_iterator())
        if not batches or not all(isinstance(batch, tuple) and len(batch) == 2 for batch in batches):
            raise CheckError("dataset: expected batches of images and labels, found none")
        images = np.concatenate([batch[0] for batch in batches])
        labels = np.concatenate([batch[1] for batch in batches])
    return images, labels.reshape(-1)


@cache
def course_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, read from the course's folder and not from a notebook.

    Args:
        split: `"train"`, `"val"`, `"test"`, or `"holdout"` (graders only).

    Returns:
        The images, uint8 of shape `(n, 32, 32, 3)`, and their class numbers, int64 of shape `(n,)`. Every split but
        `train` is in its folder's order, class by class.
    """
    if split == "holdout":
        return _as_uint8(arrays_of(holdout()))
    from helpers.data import prepare_datasets

    with contextlib.redirect_stdout(io.StringIO()):
        datasets = dict(zip(("train", "val", "test"), prepare_datasets(), strict=True))
    if split not in datasets:
        raise ValueError(f"there is no split {split!r}; there are train, val, test and holdout")
    return _as_uint8(arrays_of(datasets[split]))


@cache
def holdout() -> tf.data.Dataset:
    """The held-out images, which only graders have: batches of 32 in a fixed order, with `class_names`.

    Returns:
        A dataset of images, float32 of shape `(batch, 32, 32, 3)` with values from 0 to 255, and int32 class numbers.

    Raises:
        helpers.data.DataError: If this computer has none.
    """
    import keras
    import tensorflow as tf

    from helpers.data import find_holdout

    with contextlib.redirect_stdout(io.StringIO()):
        read = keras.utils.image_dataset_from_directory(
            find_holdout(), labels="inferred", label_mode="int", image_size=(32, 32), batch_size=32, shuffle=False
        )
    images, labels = arrays_of(read)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    dataset.class_names = list(read.class_names)
    return dataset


def _as_uint8(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = arrays
    return np.rint(images).astype(np.uint8), labels.astype(np.int64)
