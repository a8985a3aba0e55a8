"""The images of the course: where they are, whether they are sound, and as datasets that a model can read.

They stand in `cifar10_images_small/{train,val,test}/{airplane,bird,cat,dog,truck}/`. Where there are none,
`helpers.standin` draws a stand-in of the same layout.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

CLASS_NAMES = ("airplane", "bird", "cat", "dog", "truck")
"""The classes, in the order of their numbers: airplane is 0, truck is 4."""

SPLITS = ("train", "val", "test")
"""The folders that students get. Graders have a fourth, `holdout`."""

FOLDER_NAME = "cifar10_images_small"
STANDIN_MARKER = "STAND-IN.txt"
"""A file of this name in the folder says that its images are drawn."""

DATA_VARIABLE = "CNN_COURSE_DATA"
HOLDOUT_VARIABLE = "CNN_COURSE_HOLDOUT"

_IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
_FIRST_BYTES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"BM": "BMP"}
# What desktops leave behind in folders that somebody looked at.
_LITTER = frozenset({"thumbs.db", "desktop.ini", ".ds_store"})
_AGAIN = (
    f"Images stand in a folder for each split ({', '.join(SPLITS)}) and in it for each class "
    f"({', '.join(CLASS_NAMES)}). Check the path, or get the images again (`autograder data`)."
)


class DataError(ValueError):
    """The images are not there, or not as they should be. The message names the path and the next step."""


def prepare_datasets(
    directory: str | os.PathLike[str] | None = None,
    image_size: tuple[int, int] = (32, 32),
    batch_size: int | None = 32,
    seed: int = 32,
) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """Read the course's images, and return them as three datasets.

    Every file is read once, here; later passes over the datasets come from memory.

    Args:
        directory: The folder that holds `cifar10_images_small`, or that folder itself. By default, the folder that
            the environment variable `CNN_COURSE_DATA` names, else `data/` in the working folder or a folder above
            it. Where there is none at all, a stand-in is drawn into `data/`, and a printed line says so.
        image_size: Height and width, in pixels, that images are resized to.
        batch_size: How many images come at a time; `None` for one by one, without a batch axis.
        seed: Decides the order of the training images. They come in a new order at each pass; the same seed gives the
            same orders.

    Returns:
        `(train_ds, val_ds, test_ds)`. Each gives pairs of images, float32 of shape `(batch, height, width, 3)` with
        values from 0 to 255, and class numbers, int32 of shape `(batch,)`; and has the attribute `class_names`. The
        validation and test images always come in the same order, class by class.

    Raises:
        DataError: If a folder or class is missing or empty, if there is a class too many, or if a file is damaged or
            no image. The message names it.

    Example:
        >>> train_ds, val_ds, test_ds = prepare_datasets()
        Found 1000 files belonging to 5 classes.
        Found 250 files belonging to 5 classes.
        Found 250 files belonging to 5 classes.
    """
    folder = data_folder(directory)
    for split in SPLITS:
        _check_split(folder / split)
    train, val, test = (_read(folder / split, image_size) for split in SPLITS)
    train = train.shuffle(len(train), seed=seed, reshuffle_each_iteration=True)
    return _finish(train, batch_size), _finish(val, batch_size), _finish(test, batch_size)


def read_split(split: str, image_size: tuple[int, int] = (32, 32)) -> tf.data.Dataset:
    """Read the images of one split, found as `prepare_datasets` finds them, one by one and class by class.

    Args:
        split: `"train"`, `"val"` or `"test"`.
        image_size: Height and width, in pixels, that images are resized to.

    Raises:
        DataError: As `prepare_datasets`, as far as this split is concerned.
    """
    folder = data_folder() / split
    _check_split(folder)
    return _read(folder, image_size)


def data_folder(directory: str | os.PathLike[str] | None = None) -> Path:
    """Find the folder with the course's images, or draw the stand-in.

    Args:
        directory: As for `prepare_datasets`.

    Returns:
        The folder that holds `train`, `val` and `test`. If its images are a stand-in, a printed line says so.

    Raises:
        DataError: If a place was named and the images are not there, or the stand-in can't be written.
    """
    folder = find_data(directory)
    if folder is None:
        folder = _draw_standin()
    if is_standin(folder):
        print(
            f"Note: the images in {folder} are a stand-in, drawn by code. Everything works with them. "
            f"If you were given the real ones, put their folder {FOLDER_NAME} into a folder data beside your notebooks "
            f"or above, or set {DATA_VARIABLE} to where it is. (Teachers get them with `autograder data`.)",
            flush=True,
        )
    return folder


def find_data(directory: str | os.PathLike[str] | None = None) -> Path | None:
    """Find the folder `cifar10_images_small`.

    Args:
        directory: The folder that holds it, or the folder itself. By default it is looked for where
            `prepare_datasets` says.

    Returns:
        The folder that holds `train`, `val` and `test`; or `None` if no place was named and none was found.

    Raises:
        DataError: If a place was named, by the argument or by `CNN_COURSE_DATA`, and the images are not there.
    """
    if directory is not None:
        return _folder_in(Path(directory), "the argument directory")
    if named := os.environ.get(DATA_VARIABLE):
        return _folder_in(Path(named), f"the environment variable {DATA_VARIABLE}")
    here = Path.cwd()
    found = [folder for parent in (here, *here.parents) if (folder := parent / "data" / FOLDER_NAME).is_dir()]
    # A stand-in that was drawn here must not hide the real images that were put into a folder above later.
    return next((folder for folder in found if not is_standin(folder)), next(iter(found), None))


def find_holdout() -> Path:
    """Find the held-out images, which only graders have.

    Returns:
        The folder that holds the five class folders: what the environment variable `CNN_COURSE_HOLDOUT` names, else
        `holdout/` beside `cifar10_images_small/`, else `holdout/` in it.

    Raises:
        DataError: If there is none, or if one of its classes is missing or empty, or if there is one too many.
    """
    if named := os.environ.get(HOLDOUT_VARIABLE):
        holdout = Path(named).expanduser()
        if not holdout.is_dir():
            raise DataError(
                f"{holdout}: no such folder. The environment variable {HOLDOUT_VARIABLE} names it; it should hold the "
                f"class folders {', '.join(CLASS_NAMES)}. Correct the variable, or unset it."
            )
    else:
        folder = find_data()
        if folder is None:
            raise DataError(
                f"data/holdout: no held-out images here or in a folder above {Path.cwd()}. "
                f"Run `autograder data`, or set {HOLDOUT_VARIABLE} to their folder."
            )
        places = (folder.parent / "holdout", folder / "holdout")
        holdout = next((place for place in places if place.is_dir()), places[0])
        if not holdout.is_dir():
            raise DataError(
                f"{holdout}: no held-out images, neither there nor in {places[1]}. "
                f"Run `autograder data`, or set {HOLDOUT_VARIABLE} to their folder."
            )
    _check_split(holdout)
    return holdout


def is_standin(folder: Path) -> bool:
    """Whether the images in this folder, as `find_data` returns it, are drawn by code."""
    return (folder / STANDIN_MARKER).is_file()


def _folder_in(place: Path, named_by: str) -> Path:
    place = place.expanduser()
    if (place / FOLDER_NAME).is_dir():
        return place / FOLDER_NAME
    if any((place / split).is_dir() for split in SPLITS):
        return place
    found = "it has no such folder in it" if place.is_dir() else "there is no such place"
    raise DataError(
        f"{place}: expected a folder that holds {FOLDER_NAME}/, but {found}. "
        f"It was named by {named_by}; correct that, or leave it out to have data/ searched for."
    )


def _draw_standin() -> Path:
    from helpers.standin import draw_standin

    destination = Path.cwd() / "data"
    try:
        return draw_standin(destination)
    except OSError as problem:
        raise DataError(
            f"{destination}: no images were found, and the stand-in could not be written here "
            f"({problem.strerror or problem}). "
            f"Work in a folder that you may write to, or set {DATA_VARIABLE} to the folder that holds {FOLDER_NAME}."
        ) from problem


def _check_split(folder: Path) -> None:
    """Check names: the classes are there, all and only they, and hold files that are named as images are."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. {_AGAIN}")
    found = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    counts = {name: _count_images(folder / name) for name in CLASS_NAMES if name in found}
    if not any(counts.values()):
        raise DataError(f"{folder}: no images in it. {_AGAIN}")
    for name in CLASS_NAMES:
        if not counts.get(name):
            what = "no images of this class in it" if name in found else "the folder of this class is missing"
            raise DataError(f"{folder / name}: {what}. {_AGAIN}")
    for name in found:
        if name not in CLASS_NAMES:
            raise DataError(
                f"{folder / name}: an unexpected folder; the classes are {', '.join(CLASS_NAMES)}. Move it elsewhere."
            )


def _count_images(folder: Path) -> int:
    """How many files stand in a class folder, all of them named as images."""
    count = 0
    for entry in _entries(folder):
        if not entry.name.lower().endswith(_IMAGE_ENDINGS) or entry.is_dir():
            what = "a folder" if entry.is_dir() else "a file that is no image"
            raise DataError(
                f"{entry.path}: {what}, where only images ({', '.join(_IMAGE_ENDINGS)}) should be. Move it elsewhere."
            )
        count += 1
    return count


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower() not in _LITTER:
                yield entry


def _read(folder: Path, image_size: tuple[int, int]) -> tf.data.Dataset:
    """Read a split into memory, one image at a time, in the order of its file names."""
    import keras
    import tensorflow as tf

    dataset = keras.utils.image_dataset_from_directory(
        folder, class_names=list(CLASS_NAMES), image_size=image_size, batch_size=None, shuffle=False
    )
    paths = dataset.file_paths
    length = len(paths)
    # The cache is filled by one whole pass, now: a pass that stops early, such as `take(1)`, would leave it unfilled.
    dataset = dataset.cache()
    try:
        dataset.reduce(0, lambda count, _: count + 1)
    except tf.errors.OpError:
        _blame(paths)
        raise
    return dataset.apply(tf.data.experimental.assert_cardinality(length))


def _blame(paths: Sequence[str]) -> None:
    """Raise an error that names the first of these files that is not a sound image."""
    import tensorflow as tf

    for path in paths:
        try:
            tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        except tf.errors.OpError as problem:
            try:
                with Path(path).open("rb") as file:
                    start = file.read(8)
            except OSError as unreadable:
                raise DataError(
                    f"{path}: cannot be read ({unreadable.strerror}). Correct its permissions."
                ) from problem
            format_ = next((name for first, name in _FIRST_BYTES.items() if start.startswith(first)), None)
            if format_:
                what = f"a damaged image: it starts as a {format_} file, but cannot be read to its end"
            else:
                what = "no image, though its name says so" if start else "an empty file, and no image"
            raise DataError(f"{path}: {what}. Delete it, or get the data again (`autograder data`).") from problem


def _finish(dataset: tf.data.Dataset, batch_size: int | None) -> tf.data.Dataset:
    if batch_size is not None:
        dataset = dataset.batch(batch_size)
    dataset = dataset.prefetch(2)
    dataset.class_names = list(CLASS_NAMES)
    return dataset
