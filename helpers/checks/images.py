"""The images of the course, read from its folder and never from a notebook."""

from __future__ import annotations

import contextlib
import io
from functools import cache
from pathlib import Path
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


def course_images(split: str) -> tuple[np.ndarray, np.ndarray]:
    """All images of a split, read from the course's folder and not from a notebook.

    Args:
        split: `"train"`, `"val"`, `"test"`, or `"holdout"` (graders only).

    Returns:
        The images, uint8 of shape `(n, 32, 32, 3)`, and their class numbers, int64 of shape `(n,)`. The test and the
        holdout split are in their folder's order, class by class; the others in any.

    Raises:
        helpers.data.DataError: If this computer has no such images.
    """
    if split not in ("train", "val", "test", "holdout"):
        raise ValueError(f"there is no split {split!r}; there are train, val, test and holdout")
    if split == "holdout":
        return _read_folder(find_holdout_folder())
    from helpers.data import find_data

    return _read_splits(find_data() or Path.cwd())[split]


def holdout() -> tf.data.Dataset:
    """The held-out images, which only graders have: batches of 32 in a fixed order, with `class_names`.

    Returns:
        A dataset of images, uint8 of shape `(batch, 32, 32, 3)`, and int64 class numbers.

    Raises:
        helpers.data.DataError: If this computer has none.
    """
    import tensorflow as tf

    folder = find_holdout_folder()
    dataset = tf.data.Dataset.from_tensor_slices(_read_folder(folder)).batch(32)
    dataset.class_names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return dataset


def find_holdout_folder() -> Path:
    """Where the held-out images are, as `helpers.data` finds them."""
    from helpers.data import find_holdout

    return Path(find_holdout())


@cache
def _read_folder(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The images of one folder of class folders, in order. Cached: several tests of a notebook need them."""
    import keras

    with contextlib.redirect_stdout(io.StringIO()):
        dataset = keras.utils.image_dataset_from_directory(
            folder, labels="inferred", label_mode="int", image_size=(32, 32), batch_size=64, shuffle=False
        )
    return _as_uint8(arrays_of(dataset))


@cache
def _read_splits(place: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What `prepare_datasets` finds from here, unshuffled. Cached by the place, which is where it looks or draws."""
    return _Splits()


class _Splits(dict):
    """The images of each split, read when they are first asked for: a student's kernel needs those of one."""

    def __missing__(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        from helpers.data import read_split

        with contextlib.redirect_stdout(io.StringIO()):
            dataset = read_split(split).batch(64)
        self[split] = _as_uint8(arrays_of(dataset))
        return self[split]


def _as_uint8(arrays: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    images, labels = arrays
    return np.rint(images).astype(np.uint8), labels.astype(np.int64)
