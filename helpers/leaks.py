"""A split with a leak in it: some of its test images are among its training images too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

IMAGES_PER_CLASS = 100
TRAIN_PER_CLASS = 70


class LeakySplit(NamedTuple):
    """Training and test images, class by class.

    Attributes:
        train_images: uint8, shape `(n, 32, 32, 3)`.
        train_labels: Their class numbers, int64, shape `(n,)`.
        test_images: uint8, shape `(m, 32, 32, 3)`.
        test_labels: Their class numbers, int64, shape `(m,)`.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def leaky_split(seed: int = 7) -> LeakySplit:
    """Make a split that somebody made carelessly, from the validation and test images of the course.

    It has 350 training and 150 test images, as many of each class. Which test images are training images too, and how
    many they are, depends on the seed: from 8 to 20 of the 30 of a class.

    Args:
        seed: Decides which image goes where. The same seed gives the same split.

    Returns:
        The split. It doesn't say where its leaks are.

    Raises:
        helpers.data.DataError: If the course's images are not as they should be.
    """
    from helpers.checks import course_images

    (val_images, val_labels), (test_images, test_labels) = course_images("val"), course_images("test")
    images, labels = np.concatenate([val_images, test_images]), np.concatenate([val_labels, test_labels])
    rng = np.random.default_rng(seed)
    train: list[np.ndarray] = []
    test: list[np.ndarray] = []
    for label in np.unique(labels):
        places = rng.permutation(np.flatnonzero(labels == label))
        places = places[:IMAGES_PER_CLASS]
        learned, unseen = places[:TRAIN_PER_CLASS], places[TRAIN_PER_CLASS:]
        leaked = rng.choice(learned, size=rng.integers(8, 21), replace=False)
        train.append(learned)
        test.append(rng.permutation(np.concatenate([unseen[len(leaked) :], leaked])))
    learned, asked = np.concatenate(train), np.concatenate(test)
    return LeakySplit(images[learned], labels[learned], images[asked], labels[asked])
