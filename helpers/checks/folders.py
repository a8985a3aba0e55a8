"""Folders of drawn images, on which a probe cell tries a learner's function."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np


def drawn_pictures(
    counts: Mapping[str, int], size: tuple[int, int] = (32, 32), *, seed: int = 0, mode: str = "RGB"
) -> np.ndarray:
    """The images that `drawn_folder` writes: each a coloured background with a box on it, and some noise.

    Args:
        counts: How many images there are of each class.
        size: Height and width, in pixels.
        seed: Decides the pictures.
        mode: `"RGB"`, or `"L"` for shades of grey.

    Returns:
        uint8 of shape `(n, height, width, 3)`, class by class in the order of their names. In a grey image the three
        channels are equal.
    """
    height, width = size
    rng = np.random.default_rng(seed)
    pictures = np.empty((sum(counts.values()), height, width, 3), np.uint8)
    for picture in pictures:
        picture[:] = rng.integers(20, 236, 3)
        top, left = rng.integers(0, height), rng.integers(0, width)
        picture[top:, left:] = rng.integers(20, 236, 3)
        picture += rng.integers(0, 20, picture.shape, dtype=np.uint8)
        if mode == "L":
            picture[:] = picture[..., :1]
    return pictures


@contextlib.contextmanager
def drawn_folder(
    counts: Mapping[str, int], size: tuple[int, int] = (32, 32), *, seed: int = 0, mode: str = "RGB"
) -> Iterator[Path]:
    """Write drawn images into a folder that has one folder for each class, and take it away afterwards.

    Args:
        counts: The name of each class, and how many images it has.
        size: Height and width, in pixels.
        seed: Decides the pictures.
        mode: `"RGB"`, or `"L"` for files that hold only shades of grey.

    Yields:
        The folder. Its files are PNGs, so what is read from them is what `drawn_pictures` returns.
    """
    from PIL import Image

    pictures = iter(drawn_pictures(counts, size, seed=seed, mode=mode))
    with tempfile.TemporaryDirectory(prefix="drawn-") as place:
        for name in sorted(counts):
            folder = Path(place) / name
            folder.mkdir()
            for number in range(counts[name]):
                picture = next(pictures)
                Image.fromarray(picture[..., 0] if mode == "L" else picture).save(folder / f"{number:04d}.png")
        yield Path(place)
