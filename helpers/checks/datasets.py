"""What a dataset hands out: turned into plain data in a probe cell, judged in a test cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.checks.values import CheckError, attempted, fail_unless
from helpers.checks.wording import kind, listed, shape_text, shortened


def dataset_facts(dataset: Any, max_images: int = 2000) -> Any:
    """Turn a dataset of images and labels into plain data, for a probe cell.

    Args:
        dataset: The dataset. It is read twice.
        max_images: It is read until there are so many images.

    Returns:
        A dict of plain data:

        - `images` and `labels`: arrays, of the first pass;
        - `batches`: how many images each batch holds; empty if the images come one by one;
        - `class_names`: a list, or None;
        - `same_order`: whether the second pass gave the same images and labels.

        A blank stays a blank. Anything else becomes text that says what it is: `dataset` reads all of these.
    """
    if dataset is ... or dataset is None:
        return ...
    if not hasattr(dataset, "as_numpy_iterator"):
        return f"expected a tf.data.Dataset of images and labels, found {kind(dataset)}"
    passes = [_read(dataset, max_images) for _ in range(2)]
    for told in passes:
        if isinstance(told, str):
            return told
    (images, labels, batches), (images_again, labels_again, _) = passes
    names = getattr(dataset, "class_names", None)
    return {
        "images": images,
        "labels": labels,
        "batches": batches,
        "class_names": None if names is None else [str(name) for name in names],
        "same_order": bool(np.array_equal(labels, labels_again) and np.array_equal(images, images_again)),
    }


def _read(dataset: Any, max_images: int) -> tuple[np.ndarray, np.ndarray, list[int]] | str:
    """One pass: all images, all labels, and the sizes of the batches."""
    images, labels, batches = [], [], []
    count = 0
    for pair in dataset.as_numpy_iterator():
        if not isinstance(pair, tuple) or len(pair) != 2:
            return "expected a dataset that gives pairs of images and labels, found one without labels"
        some, their_labels = (np.asarray(part) for part in pair)
        if their_labels.ndim == 0:
            some, their_labels = some[None], their_labels[None]
        else:
            batches.append(len(some))
        images.append(some)
        labels.append(their_labels)
        count += len(some)
        if count >= max_images:
            break
    if not images:
        return "expected a dataset with images in it, found an empty one"
    if len({part.shape[1:] for part in images}) > 1:
        return "expected images of one size, found several; does it have an image_size?"
    return np.concatenate(images), np.concatenate(labels), batches


def dataset(
    facts: Any,
    name: str,
    *,
    image_shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    ordered: bool = False,
) -> Mapping[str, Any]:
    """Make sure that something is the facts of a dataset of images and class numbers.

    Args:
        facts: What `dataset_facts` returned.
        name: What the dataset is called in the notebook.
        image_shape: The shape that each image should have.
        batch_size: How many images a batch should hold; the last may hold fewer.
        ordered: Whether the dataset has to come in the same order at each pass, class by class.

    Returns:
        The facts.

    Raises:
        NotAttempted: If the dataset is a blank.
        CheckError: If it is no dataset, or not as it should be.
    """
    attempted(**{name: facts})
    if isinstance(facts, str):
        raise CheckError(f"{name}: {facts}")
    if not isinstance(facts, Mapping) or not {"images", "labels", "batches", "same_order"} <= set(facts):
        raise CheckError(f"{name}: expected a tf.data.Dataset of images and labels, found {kind(facts)}")
    images, labels = np.asarray(facts["images"]), np.asarray(facts["labels"])
    if image_shape is not None:
        fail_unless(
            images.shape[1:] == tuple(image_shape),
            f"{name}: expected images of shape {shape_text(tuple(image_shape))}, found {shape_text(images.shape[1:])}",
        )
    fail_unless(
        labels.ndim == 1 and labels.dtype.kind in "iu" and len(labels) == len(images),
        f"{name}: expected one class number for each image, found labels of shape {shape_text(labels.shape)}",
    )
    if batch_size is not None:
        batches = list(facts["batches"])
        fail_unless(batches, f"{name}: expected batches of {batch_size}, found images that come one by one")
        fits = all(size == batch_size for size in batches[:-1]) and batches[-1] <= batch_size
        found = listed(sorted(set(batches)))
        fail_unless(fits, f"{name}: expected batches of {batch_size}, found batches of {shortened(found)} images")
    if ordered:
        fail_unless(
            facts["same_order"],
            f"{name}: expected the same order at each pass, found another at the second; is it shuffled?",
        )
        fail_unless(
            bool((np.diff(labels.astype(np.int64)) >= 0).all()),
            f"{name}: expected the images class by class, as they lie in the folders, found the classes mixed; "
            "is it shuffled?",
        )
    return facts
