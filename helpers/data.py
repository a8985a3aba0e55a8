"""Find the course's images and hand them to a model.

The images lie in one folder for each split and, in it, one folder for each class:
`cifar10_images_small/{train,val,test}/{airplane,bird,cat,dog,truck}/`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from helpers import standin

if TYPE_CHECKING:
    import tensorflow as tf

DATA_FOLDER = standin.DATA_FOLDER
HOLDOUT_FOLDER = standin.HOLDOUT_FOLDER
CLASS_NAMES = standin.CLASS_NAMES
SPLITS = ("train", "val", "test")

# What Keras reads; it passes over every other file without a word.
IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# Files that file managers leave behind, and that are no reason to stop.
_LEFT_BY_SYSTEM = ("thumbs.db", "desktop.ini")


class DataError(ValueError):
    """The images cannot be found or read. The message names the path, what was expected, and what to do next."""


def prepare_datasets(
    directory: str | Path | None = None,
    image_size: tuple[int, int] = (32, 32),
    batch_size: int = 32,
    seed: int = 32,
) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """Load the course's images as three datasets: for training, for validation and for the final test.

    The training set comes in a new order each time it is read, but `seed` makes the orders the same on every run. The
    other two always come in the same order. The files are read once, here; after that the images stay in memory.

    Args:
        directory: The folder that holds `cifar10_images_small/`, or that folder itself. When None, the images are
            looked for where `$CNN_COURSE_DATA` says, then in `data/` in the working directory or above it. Where there
            are none at all, pictures drawn by code stand in for them.
        image_size: Height and width in pixels; images of another size are resized.
        batch_size: How many images come in one batch.
        seed: Decides the order of the training images.

    Returns:
        `(train_ds, val_ds, test_ds)`. Each yields batches `(images, labels)`: images are float32 of shape
        `(batch, height, width, 3)` with values from 0 to 255, labels are int32 of shape `(batch,)`. Each has the
        attribute `class_names`, so that `class_names[label]` is the name of a class.

    Raises:
        DataError: A folder is missing, empty or unexpected, or a file is not an image that can be read.

    Example:
        >>> train_ds, val_ds, test_ds = prepare_datasets()
        Found 1000 files belonging to 5 classes.
        Found 250 files belonging to 5 classes.
        Found 250 files belonging to 5 classes.
        >>> train_ds.class_names
        ['airplane', 'bird', 'cat', 'dog', 'truck']
    """
    folder = find_data(directory)
    if standin.is_standin(folder):
        print(standin.NOTICE)
    for split in SPLITS:  # a mistake in the last split is told before the first is read
        check_split(folder / split)
    train_ds, val_ds, test_ds = (
        load_images(folder / split, image_size, batch_size, shuffle=split == "train", seed=seed) for split in SPLITS
    )
    return train_ds, val_ds, test_ds


def find_data(directory: str | Path | None = None) -> Path:
    """Find the folder `cifar10_images_small`; draw the stand-in into `./data` if nothing says where images are.

    Args:
        directory: Where to look, and nowhere else: the folder itself, or the folder that holds it. When None:
            `$CNN_COURSE_DATA`, else `data/` in the working directory or the nearest folder above that has one.

    Returns:
        The absolute path of `cifar10_images_small`.

    Raises:
        DataError: The place that was named holds no such folder, or the stand-in cannot be written.
    """
    if directory is not None:
        return _data_in(Path(directory).expanduser(), f"directory={str(directory)!r}")
    if named := os.environ.get("CNN_COURSE_DATA"):
        return _data_in(Path(named).expanduser(), f"CNN_COURSE_DATA={named}")
    here = Path.cwd()
    for parent in (here, *here.parents):
        if (found := parent / "data" / DATA_FOLDER).is_dir():
            return found
    try:
        return standin.draw(here / "data", holdout=False)
    except OSError as problem:
        raise DataError(
            f"There are no images here, and pictures to stand in for them cannot be written to {here / 'data'}: "
            f"{problem.strerror or problem}. Work in a folder that you may write to, or set CNN_COURSE_DATA to the "
            f"folder that holds {DATA_FOLDER}."
        ) from problem


def find_holdout() -> Path:
    """Find the held-out images that only graders have: `$CNN_COURSE_HOLDOUT`, else `holdout/` beside the data folder.

    Returns:
        The absolute path of a folder that holds the five class folders.

    Raises:
        DataError: There is no such folder.
    """
    if named := os.environ.get("CNN_COURSE_HOLDOUT"):
        folder = Path(named).expanduser().absolute()
        if not folder.is_dir():
            raise DataError(
                f"CNN_COURSE_HOLDOUT={named} is not a folder. Expected the folder of held-out images, which holds the "
                f"folders {', '.join(CLASS_NAMES)}."
            )
        return folder
    data = find_data()
    places = (data.parent / HOLDOUT_FOLDER, data / HOLDOUT_FOLDER)
    for folder in places:
        if folder.is_dir():
            return folder
    if standin.is_standin(data):
        try:
            return standin.draw_holdout(data.parent)
        except OSError as problem:
            raise DataError(
                f"The held-out pictures cannot be written to {places[0]}: {problem.strerror or problem}."
            ) from problem
    raise DataError(
        f"There are no held-out images: neither {places[0]} nor {places[1]} is there. They come with "
        "`autograder data`; or set CNN_COURSE_HOLDOUT to the folder that holds them."
    )


def load_images(
    folder: str | Path,
    image_size: tuple[int, int] = (32, 32),
    batch_size: int = 32,
    *,
    shuffle: bool = False,
    seed: int = 32,
    verbose: bool = True,
) -> tf.data.Dataset:
    """Load one folder of class folders into memory.

    Args:
        folder: The folder that holds the class folders.
        image_size: Height and width in pixels; images of another size are resized.
        batch_size: How many images come in one batch.
        shuffle: Whether each pass comes in a new order. Otherwise every pass is in the order of the file names, and
            the attribute `file_paths` lists them in that order.
        seed: Decides the orders when `shuffle` is set.
        verbose: Whether Keras prints how many files it found.

    Returns:
        Batches `(images, labels)` as `prepare_datasets` describes them, with the attribute `class_names`.

    Raises:
        DataError: A folder is missing, empty or unexpected, or a file is not an image that can be read.
    """
    folder = Path(folder)
    check_split(folder)
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size should be a whole number of images, 1 or more; received {batch_size!r}")

    # The start-up messages of TensorFlow look like errors to a beginner; `helpers` holds them back on import.
    import keras
    import tensorflow as tf

    files = keras.utils.image_dataset_from_directory(
        str(folder),
        class_names=list(CLASS_NAMES),
        image_size=image_size,
        batch_size=None,
        shuffle=False,
        verbose=verbose,
    )
    # A cache is kept only when a pass runs to its end. This pass does, so that a student who looks at one batch and
    # moves on doesn't have the files read again; and an image that cannot be read shows itself here.
    images = files.cache()
    try:
        count = int(images.reduce(0, lambda seen, _: seen + 1))
    except tf.errors.OpError as problem:
        raise _unreadable(folder, problem) from None
    paths = files.file_paths
    if shuffle:
        # After the cache, so that each pass gets a new order; over all images, so that the order is a fair one.
        dataset = images.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    else:
        dataset = images
    dataset = dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
    dataset.class_names = list(CLASS_NAMES)
    if not shuffle:
        dataset.file_paths = list(paths)
    return dataset


def check_split(folder: Path) -> None:
    """Check the folders and the file names of one split, without opening an image.

    Args:
        folder: The folder that holds the class folders.

    Raises:
        DataError: The folder or a class folder is missing or empty, there is a class folder too many, or a class folder
            holds something that is no image.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is missing"
        raise DataError(f"The folder {folder} {what}. {_expected(folder)}")
    try:
        found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        for name in CLASS_NAMES:
            if name not in found:
                names = f"it holds {', '.join(found)}" if found else "it is empty"
                raise DataError(f"The class folder {folder / name} is missing: {names}. {_expected(folder)}")
        for name in found:
            if name not in CLASS_NAMES:
                raise DataError(
                    f"There is a folder too many: {folder / name} is none of the classes. {_expected(folder)} "
                    "Move it elsewhere."
                )
        for name in CLASS_NAMES:
            if not _image_files(folder / name):
                raise DataError(f"The class folder {folder / name} holds no images. {_expected(folder)}")
    except PermissionError as problem:
        raise DataError(f"{problem.filename} may not be read: permission denied. Change its permissions.") from problem


def _image_files(folder: Path) -> list[Path]:
    """The images of a class folder, in order.

    Raises:
        DataError: There is a file or a folder among them that is none.
    """
    files = []
    for entry in sorted(folder.iterdir()):
        name = entry.name.lower()
        if name.endswith(IMAGE_ENDINGS) and entry.is_file():
            files.append(entry)
        elif entry.is_dir():
            # Keras reads the folders within, which nobody expects.
            if any(inner.suffix.lower() in IMAGE_ENDINGS for inner in entry.rglob("*")):
                raise DataError(f"{entry} is a folder with images inside a class folder. Move it elsewhere.")
        elif not name.startswith(".") and name not in _LEFT_BY_SYSTEM:
            raise DataError(
                f"{entry} is not an image: expected only files that end in {', '.join(IMAGE_ENDINGS)}. "
                "Move it elsewhere."
            )
    return files


def _unreadable(folder: Path, problem: Exception) -> DataError:
    """Find out which image TensorFlow stumbled over; its own message does not say."""
    import tensorflow as tf

    for name in CLASS_NAMES:
        for path in _image_files(folder / name):
            try:
                image = tf.io.decode_image(tf.io.read_file(str(path)), channels=3, expand_animations=False)
                readable = image.shape.rank == 3
            except tf.errors.OpError:
                readable = False
            if not readable:
                size = path.stat().st_size
                what = "is empty" if size == 0 else f"is damaged, or no image at all ({size:,} bytes)"
                return DataError(f"The image {path} cannot be read: it {what}. Put a good copy in its place.")
    return DataError(f"The images in {folder} cannot be read: {str(problem).splitlines()[0]}")


def _data_in(place: Path, said: str) -> Path:
    place = place.absolute()
    if place.name == DATA_FOLDER and place.is_dir():
        return place
    if (place / DATA_FOLDER).is_dir():
        return place / DATA_FOLDER
    # A copy of the folder by another name is still what was asked for.
    if all((place / split).is_dir() for split in SPLITS):
        return place
    what = f"there is no folder {DATA_FOLDER} in {place}" if place.is_dir() else f"there is no folder {place}"
    raise DataError(
        f"No images found: {said}, but {what}. Expected the folder that holds {DATA_FOLDER}, with "
        f"{', '.join(SPLITS)} in it. Correct the path, or leave it out to look for data/ here and above."
    )


def _expected(folder: Path) -> str:
    return f"Expected {folder} to hold the folders {', '.join(CLASS_NAMES)}, with images in each."
