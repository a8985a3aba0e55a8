"""Pictures to try a classifier on: some of none of its classes, and ways to prepare a photo, of which most go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

STRANGE_KINDS = ("noise", "one colour", "stripes", "checkerboard", "face", "letter")
"""What `strange_pictures` draws, in turn: the picture at place i is of the kind at place i % 6."""


def strange_pictures(count: int = 6, seed: int = 0) -> np.ndarray:
    """Draw pictures of none of the course's classes.

    Args:
        count: How many.
        seed: Decides colours, widths and places. The same seed gives the same pictures.

    Returns:
        uint8 of shape `(count, 32, 32, 3)`, of the `STRANGE_KINDS` in turn.
    """
    rng = np.random.default_rng(seed)
    draw = (_noise, _one_colour, _stripes, _checkerboard, _face, _letter)
    pictures = [draw[place % len(draw)](rng) for place in range(count)]
    return np.stack(pictures) if pictures else np.empty((0, 32, 32, 3), np.uint8)


def ways_to_prepare() -> dict[str, Callable[[Image.Image], np.ndarray]]:
    """Five ways to prepare a picture for a model that takes 32 by 32 pixels from 0 to 255. One of them is right.

    Returns:
        Functions by name, `"a"` to `"e"`. Each takes an opened picture of any kind, at least 32 pixels high and wide,
        and returns a batch of one, float32 of shape `(1, 32, 32, 3)`.
    """
    return {"a": _swapped, "b": _corner, "c": _sound, "d": _rescaled, "e": _turned}


def _small(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB").resize((32, 32)), dtype="float32")


def _sound(picture: Image.Image) -> np.ndarray:
    return _small(picture)[np.newaxis]


def _swapped(picture: Image.Image) -> np.ndarray:
    return _small(picture)[np.newaxis, :, :, ::-1]


def _rescaled(picture: Image.Image) -> np.ndarray:
    return _small(picture)[np.newaxis] / 255


def _corner(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("RGB"), dtype="float32")[np.newaxis, :32, :32]


def _turned(picture: Image.Image) -> np.ndarray:
    return _small(picture).transpose(1, 0, 2)[np.newaxis]


def _colours(rng: np.random.Generator) -> np.ndarray:
    """Two colours that differ clearly."""
    first = rng.integers(0, 256, 3)
    return np.stack([first, (first + rng.integers(90, 166, 3)) % 256]).astype(np.uint8)


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)


def _one_colour(rng: np.random.Generator) -> np.ndarray:
    return np.broadcast_to(_colours(rng)[0], (32, 32, 3)).copy()


def _stripes(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((32, 32))
    across = rows if rng.random() < 0.5 else columns
    return _colours(rng)[across // int(rng.integers(2, 7)) % 2]


def _checkerboard(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((32, 32)) // int(rng.integers(3, 9))
    return _colours(rng)[(rows + columns) % 2]


def _face(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.indices((32, 32))
    down, right = rng.integers(-2, 3, 2)
    colours = _colours(rng)

    def disc(row: int, column: int, radius: float) -> np.ndarray:
        return (rows - row - down) ** 2 + (columns - column - right) ** 2 <= radius**2

    picture = np.broadcast_to(colours[0], (32, 32, 3)).copy()
    picture[disc(16, 16, 11.4)] = colours[1]
    mouth = disc(17, 16, 7) & ~disc(15, 16, 7.5) & (rows > 17 + down)
    picture[disc(12, 12, 1.6) | disc(12, 20, 1.6) | mouth] = 20
    return picture


def _letter(rng: np.random.Generator) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (32, 32), (250, 250, 245))
    text = chr(int(rng.integers(ord("A"), ord("Z") + 1)))
    place = (int(rng.integers(5, 11)), int(rng.integers(0, 5)))
    ImageDraw.Draw(picture).text(place, text, fill=(15, 15, 20), font=ImageFont.load_default(size=24))
    return np.asarray(picture).copy()
