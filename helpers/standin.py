"""The stand-in: drawn images for those who don't have the real ones.

Five classes, as in the real images, and the same sizes, splits and folders. Every image is drawn from its own seed: a
background (sky, foliage, ground, wall, road) with clutter, a subject in one of several poses, of a random size, place,
tilt and colour, and then what a cheap camera does to a picture. How hard that makes them to tell apart is no accident:
it is tuned until the course's models learn on them as they do on photographs (`python -m helpers.calibrate`).
"""

from __future__ import annotations

import colorsys
import itertools
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from helpers.data import CLASS_NAMES, FOLDER_NAME, STANDIN_MARKER

SEED = 32
IMAGES_PER_CLASS = {"train": 200, "val": 50, "test": 50, "holdout": 100}
SIZE = 32
"""Height and width of an image, in pixels."""

_FINE = 3  # drawn this many times larger, then shrunk, so that edges are smooth
_CANVAS = SIZE * _FINE
_ACROSS = np.linspace(-1, 1, SIZE)
_MARKER_TEXT = (
    "The images in this folder are a stand-in: drawn by code, for when the real ones can't be had.\n"
    "To get the real ones (CIFAR-10), run `autograder data`; they take the place of these.\n"
    "Seed of the drawing: {seed}\n"
)

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]


def draw_standin(destination: str | os.PathLike[str], seed: int = SEED) -> Path:
    """Draw the stand-in and write it in the layout of the real images.

    The same seed always gives the same files. The folders appear whole or not at all.

    Args:
        destination: Where `cifar10_images_small/{train,val,test}/<class>/` and `holdout/<class>/` are to be; made if
            it isn't there.
        seed: Decides all images.

    Returns:
        The folder `cifar10_images_small`.

    Raises:
        FileExistsError: If there are other images in the way. The same stand-in is left as it is.
        OSError: If the folder can't be written to.
    """
    destination = Path(destination)
    marker = _MARKER_TEXT.format(seed=seed)
    folder, holdout = destination / FOLDER_NAME, destination / "holdout"
    if _is_done(folder, marker) and _is_done(holdout, marker):
        return folder
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".stand-in-", dir=destination) as temporary:
        for split in IMAGES_PER_CLASS:
            within = Path(temporary) / ("." if split == "holdout" else FOLDER_NAME) / split
            for name in CLASS_NAMES:
                (within / name).mkdir(parents=True)
            for name, index, image in draw_split(split, seed):
                image.save(within / name / f"{index:04d}.png", compress_level=1)
        # The folder that is looked for comes last: where it is, everything is.
        for made, place in ((Path(temporary) / "holdout", holdout), (Path(temporary) / FOLDER_NAME, folder)):
            (made / STANDIN_MARKER).write_text(marker, encoding="utf-8")
            try:
                made.rename(place)
            except OSError:
                # Somebody else may have drawn the same meanwhile, or an earlier run ended between the two.
                if not _is_done(place, marker):
                    raise
    return folder


def _is_done(folder: Path, marker: str) -> bool:
    """Whether this very stand-in is in the folder. A folder with other images is an error."""
    if not folder.exists():
        return False
    note = folder / STANDIN_MARKER
    if note.is_file() and note.read_text(encoding="utf-8") == marker:
        return True
    raise FileExistsError(f"{folder}: there are other images already. Move them elsewhere to have the stand-in drawn.")


def draw_split(split: str, seed: int = SEED) -> Iterator[tuple[str, int, Image.Image]]:
    """Draw the images of a split: class, number within the class, and the RGB image of 32 by 32 pixels."""
    place = list(IMAGES_PER_CLASS).index(split)
    for number, name in enumerate(CLASS_NAMES):
        for index in range(IMAGES_PER_CLASS[split]):
            rng = np.random.default_rng([seed, place, number, index])
            yield name, index, draw_image(name, rng)


def draw_image(name: str, rng: np.random.Generator) -> Image.Image:
    """Draw one image of the class `name`: RGB, 32 by 32 pixels."""
    canvas = _background(name, rng)
    sketch = _Sketch(canvas, rng)
    poses = _POSES[name]
    poses[rng.integers(len(poses))](sketch, rng)
    return _camera(canvas, rng)


class _Sketch:
    """Draws shapes given in units of the subject: it spans about -1 to 1, x to the right, y down."""

    def __init__(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        self._draw = ImageDraw.Draw(canvas)
        size = _CANVAS / 2 * rng.uniform(0.52, 1.15)
        stretch = rng.uniform(0.85, 1.18)
        self._scale = np.array([size * stretch, size / stretch])
        self._flip = rng.choice([-1.0, 1.0])
        self._centre = _CANVAS / 2 + rng.uniform(-0.18, 0.18, 2) * _CANVAS
        self.tilt(rng.normal(0, 10))

    def tilt(self, degrees: float) -> None:
        """Turn everything drawn from here on, against the upright."""
        turn = math.radians(degrees)
        self._turn = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])

    def polygon(self, points: Points | np.ndarray, colour: Colour) -> None:
        places = np.asarray(points, dtype=float) * self._scale * (self._flip, 1.0)
        self._draw.polygon([tuple(place) for place in (places @ self._turn.T + self._centre).tolist()], fill=colour)

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, turned: float = 0.0) -> None:
        angles = np.linspace(0, 2 * math.pi, 22, endpoint=False)
        turn = math.radians(turned)
        across, along = rx * np.cos(angles), ry * np.sin(angles)
        self.polygon(
            np.stack(
                [
                    x + across * math.cos(turn) - along * math.sin(turn),
                    y + across * math.sin(turn) + along * math.cos(turn),
                ],
                axis=1,
            ),
            colour,
        )

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def stroke(self, start: tuple[float, float], end: tuple[float, float], width: float, colour: Colour) -> None:
        (x, y), (u, v) = start, end
        length = math.hypot(u - x, v - y) or 1.0
        dx, dy = (v - y) / length * width / 2, (x - u) / length * width / 2
        self.polygon([(x + dx, y + dy), (u + dx, v + dy), (u - dx, v - dy), (x - dx, y - dy)], colour)


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(red * 255), round(green * 255), round(blue * 255)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


def _fur(rng: np.random.Generator) -> Colour:
    """A coat: black, grey, white, brown, ginger or sand."""
    kind = rng.integers(4)
    if kind == 0:
        return _hsv(0.08, rng.uniform(0, 0.15), rng.uniform(0.12, 0.3))
    if kind == 1:
        return _hsv(0.09, rng.uniform(0, 0.12), rng.uniform(0.45, 0.95))
    return _hsv(rng.uniform(0.05, 0.11), rng.uniform(0.35, 0.75), rng.uniform(0.4, 0.9))


def _paint(rng: np.random.Generator) -> Colour:
    """Any colour that metal is painted in."""
    if rng.random() < 0.35:
        return _hsv(0.6, rng.uniform(0, 0.1), rng.uniform(0.6, 1.0))
    return _hsv(rng.random(), rng.uniform(0.4, 0.95), rng.uniform(0.4, 0.95))


# --- subjects -------------------------------------------------------------------------------------------------------


def _plane_from_the_side(s: _Sketch, rng: np.random.Generator) -> None:
    hull = _hsv(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.55, 1.0))
    accent = _paint(rng)
    s.tilt(rng.normal(0, 16))
    s.polygon([(-0.98, -0.52), (-0.78, -0.52), (-0.5, -0.05), (-0.85, -0.02)], accent)
    s.polygon([(-0.05, -0.05), (0.18, -0.05), (-0.2, -0.4), (-0.35, -0.4)], _shade(hull, 0.75))
    s.ellipse(0, 0, 1.0, 0.17, hull)
    s.polygon([(0.7, -0.13), (0.88, -0.06), (0.86, 0.0), (0.66, -0.02)], (40, 50, 70))
    for x in np.arange(-0.55, 0.55, 0.16):
        s.box(x, -0.09, x + 0.08, -0.02, (50, 60, 80))
    s.polygon([(-0.1, 0.03), (0.25, 0.03), (-0.25, 0.5), (-0.42, 0.5)], _shade(hull, 0.6))
    s.ellipse(-0.02, 0.24, 0.14, 0.07, (60, 60, 70))
    s.polygon([(-0.95, -0.02), (-0.7, 0.0), (-0.95, 0.16), (-1.05, 0.16)], _shade(hull, 0.7))


def _plane_from_below(s: _Sketch, rng: np.random.Generator) -> None:
    hull = _hsv(rng.random(), rng.uniform(0, 0.25), rng.uniform(0.25, 1.0))
    s.tilt(rng.uniform(0, 360))
    wing = _shade(hull, rng.uniform(0.7, 0.9))
    sweep = rng.uniform(0.05, 0.45)
    for side in (-1, 1):
        s.polygon(
            [(0.25, 0.06 * side), (0.2 - sweep, 0.98 * side), (0.02 - sweep, 0.98 * side), (-0.15, 0.06 * side)], wing
        )
        s.polygon([(-0.7, 0.04 * side), (-0.85, 0.36 * side), (-0.98, 0.36 * side), (-0.92, 0.04 * side)], wing)
        s.ellipse(0.12 - sweep * 0.4, 0.42 * side, 0.12, 0.05, (60, 60, 70))
    s.ellipse(0, 0, 1.0, 0.13, hull)
    s.ellipse(0.82, 0, 0.1, 0.06, (40, 50, 70))


def _bird_perched(s: _Sketch, rng: np.random.Generator) -> None:
    body = _hsv(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.25, 0.95))
    belly = _hsv(rng.uniform(0.02, 0.15), rng.uniform(0.1, 0.7), rng.uniform(0.6, 1.0))
    wing = _shade(body, rng.uniform(0.5, 0.75))
    beak = _hsv(rng.uniform(0.05, 0.14), rng.uniform(0.4, 1), rng.uniform(0.3, 1))
    stand = _hsv(0.08, 0.5, rng.uniform(0.2, 0.5))
    for x in (-0.08, 0.12):
        s.stroke((x, 0.5), (x + 0.04, 0.86), 0.06, beak)
    s.stroke((-1.2, 0.9), (1.2, 0.9 + rng.uniform(-0.1, 0.1)), rng.uniform(0.06, 0.2), stand)
    s.polygon([(-0.35, 0.1), (-1.0, 0.45), (-0.92, 0.66), (-0.25, 0.45)], wing)
    s.ellipse(0, 0.18, 0.52, 0.36, body, -22)
    s.ellipse(0.12, 0.3, 0.34, 0.22, belly, -25)
    s.ellipse(-0.12, 0.16, 0.4, 0.2, wing, 18)
    s.ellipse(0.42, -0.3, 0.27, 0.25, body)
    s.polygon([(0.64, -0.4), (1.0, -0.25), (0.64, -0.18)], beak)
    s.ellipse(0.5, -0.36, 0.06, 0.06, (10, 10, 10))


def _bird_flying(s: _Sketch, rng: np.random.Generator) -> None:
    body = _hsv(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.15, 0.95))
    wing = _shade(body, rng.uniform(0.6, 1.2))
    beak = _hsv(rng.uniform(0.05, 0.14), rng.uniform(0.4, 1), rng.uniform(0.5, 1))
    lift = rng.uniform(0.45, 1.0)
    s.tilt(rng.normal(0, 14))
    s.polygon(
        [(0.1, 0.0), (-0.1, -0.55 * lift), (-0.6, -0.95 * lift), (-0.5, -0.35 * lift), (-0.3, 0.05)], _shade(wing, 0.75)
    )
    s.polygon([(-0.4, 0.0), (-0.98, -0.05), (-0.9, 0.22), (-0.4, 0.15)], wing)
    s.ellipse(0, 0.1, 0.55, 0.18, body, -6)
    s.ellipse(0.55, 0.0, 0.18, 0.15, body)
    s.polygon([(0.7, -0.05), (0.95, 0.03), (0.7, 0.07)], beak)
    s.ellipse(0.6, -0.04, 0.04, 0.04, (10, 10, 10))
    s.polygon([(0.3, 0.02), (0.35, -0.6 * lift), (0.05, -1.05 * lift), (-0.1, -0.5 * lift), (-0.2, 0.08)], wing)


def _markings(s: _Sketch, rng: np.random.Generator, coat: Colour, x: float, y: float, size: float) -> None:
    """Patches or stripes over a face, of cats and dogs alike."""
    kind = rng.integers(3)
    other = _fur(rng) if kind == 0 else _shade(coat, rng.uniform(0.5, 0.75))
    if kind == 0:
        s.ellipse(x + rng.uniform(-0.6, 0.6) * size, y - 0.2 * size, 0.45 * size, 0.5 * size, other)
    elif kind == 1:
        for step in (-0.35, 0.0, 0.35):
            s.stroke((x + step * size, y - 0.95 * size), (x + step * size * 0.8, y - 0.55 * size), 0.12 * size, other)


def _cat_face(s: _Sketch, rng: np.random.Generator, coat: Colour, x: float, y: float, size: float) -> None:
    inner = _hsv(0.0, 0.35, 0.8)
    for side in (-1, 1):
        s.polygon(
            [
                (x + 0.9 * size * side, y - 0.35 * size),
                (x + 0.86 * size * side, y - 1.45 * size),
                (x + 0.12 * size * side, y - 0.8 * size),
            ],
            coat,
        )
        s.polygon(
            [
                (x + 0.76 * size * side, y - 0.6 * size),
                (x + 0.74 * size * side, y - 1.15 * size),
                (x + 0.36 * size * side, y - 0.8 * size),
            ],
            inner,
        )
    s.ellipse(x, y, 1.0 * size, 0.86 * size, coat)
    _markings(s, rng, coat, x, y, size)
    s.ellipse(x, y + 0.42 * size, 0.42 * size, 0.28 * size, _shade(coat, 1.35))
    iris = _hsv(rng.uniform(0.13, 0.35), 0.75, 0.9)
    for side in (-1, 1):
        s.ellipse(x + 0.42 * size * side, y - 0.08 * size, 0.22 * size, 0.17 * size, iris)
        s.ellipse(x + 0.42 * size * side, y - 0.08 * size, 0.07 * size, 0.17 * size, (10, 10, 10))
        for rise in (0.3, 0.5):
            s.stroke(
                (x + 0.3 * size * side, y + 0.4 * size),
                (x + 1.3 * size * side, y + rise * size),
                0.05 * size,
                (230, 230, 230),
            )
    s.polygon(
        [(x - 0.13 * size, y + 0.22 * size), (x + 0.13 * size, y + 0.22 * size), (x, y + 0.38 * size)], (200, 110, 115)
    )


def _dog_face(s: _Sketch, rng: np.random.Generator, coat: Colour, x: float, y: float, size: float) -> None:
    ear = _shade(coat, rng.uniform(0.5, 0.75))
    s.ellipse(x, y - 0.1 * size, 0.86 * size, 0.85 * size, coat)
    _markings(s, rng, coat, x, y, size)
    for side in (-1, 1):
        s.ellipse(x + 0.92 * size * side, y + 0.05 * size, 0.3 * size, 0.75 * size, ear, -12 * side)
    if rng.random() < 0.6:
        s.ellipse(x, y + 1.0 * size, 0.2 * size, 0.35 * size, (215, 90, 105))
    s.ellipse(x, y + 0.5 * size, 0.5 * size, 0.5 * size, _shade(coat, 1.3))
    s.ellipse(x, y + 0.26 * size, 0.25 * size, 0.18 * size, (20, 18, 18))
    s.stroke((x, y + 0.4 * size), (x, y + 0.72 * size), 0.06 * size, (40, 30, 30))
    for side in (-1, 1):
        s.ellipse(x + 0.36 * size * side, y - 0.22 * size, 0.13 * size, 0.14 * size, (15, 12, 10))
        s.ellipse(x + 0.4 * size * side, y - 0.26 * size, 0.04 * size, 0.04 * size, (235, 235, 235))


def _cat_close(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    s.ellipse(0, 1.0, 0.75, 0.5, _shade(coat, 0.9))
    _cat_face(s, rng, coat, 0, 0.1, 0.7)


def _dog_close(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    s.ellipse(0, 1.0, 0.75, 0.5, _shade(coat, 0.9))
    _dog_face(s, rng, coat, 0, -0.05, 0.7)


def _cat_sitting(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    dark = _shade(coat, 0.85)
    curl = [(-0.4, 0.85), (-0.8, 0.75), (-0.9, 0.35), (-0.75, 0.05)]
    for start, end in itertools.pairwise(curl):
        s.stroke(start, end, 0.17, dark)
    s.ellipse(0, 0.55, 0.46, 0.5, coat)
    for x in (-0.16, 0.16):
        s.ellipse(x, 0.75, 0.12, 0.28, _shade(coat, 1.12))
    _cat_face(s, rng, coat, 0.05, -0.28, 0.42)


def _dog_sitting(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    s.stroke((-0.35, 0.85), (-0.85, 0.6), 0.14, _shade(coat, 0.85))
    s.ellipse(0, 0.55, 0.46, 0.5, coat)
    for x in (-0.16, 0.16):
        s.ellipse(x, 0.75, 0.12, 0.28, _shade(coat, 1.12))
    _dog_face(s, rng, coat, 0.05, -0.38, 0.44)


def _four_legs(s: _Sketch, coat: Colour, length: float) -> None:
    for x, colour in ((-0.5, 0.7), (0.3, 0.7), (-0.36, 1.0), (0.42, 1.0)):
        s.box(x - 0.07, 0.3, x + 0.07, 0.3 + length, _shade(coat, colour))
    s.ellipse(-0.03, 0.18, 0.62, 0.27, coat)


def _cat_walking(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    s.stroke((-0.55, 0.1), (-0.85, -0.3), 0.12, coat)
    s.stroke((-0.85, -0.25), (-0.78, -0.7), 0.12, coat)
    _four_legs(s, coat, 0.5)
    _cat_face(s, rng, coat, 0.62, -0.08, 0.32)


def _dog_walking(s: _Sketch, rng: np.random.Generator) -> None:
    coat = _fur(rng)
    ear = _shade(coat, 0.6)
    s.stroke((-0.58, 0.08), (-0.92, -0.35), 0.1, coat)
    _four_legs(s, coat, 0.6)
    s.polygon([(0.3, 0.05), (0.6, -0.4), (0.75, -0.1), (0.55, 0.25)], coat)
    s.ellipse(0.62, -0.36, 0.25, 0.22, coat)
    s.ellipse(0.86, -0.27, 0.22, 0.12, _shade(coat, 1.15))
    s.ellipse(1.04, -0.32, 0.07, 0.07, (15, 12, 12))
    s.ellipse(0.5, -0.25, 0.11, 0.26, ear, 10)
    s.ellipse(0.68, -0.42, 0.05, 0.05, (10, 10, 10))


def _wheel(s: _Sketch, x: float, y: float, size: float) -> None:
    s.ellipse(x, y, size, size, (25, 25, 28))
    s.ellipse(x, y, size * 0.45, size * 0.45, (150, 150, 155))


def _truck_from_the_side(s: _Sketch, rng: np.random.Generator) -> None:
    cab, load = _paint(rng), _paint(rng)
    top = rng.uniform(-0.75, -0.4)
    roof = rng.uniform(-0.45, -0.2)
    s.box(-0.95, 0.38, 0.95, 0.5, (45, 45, 50))
    s.box(-1.0, top, 0.36, 0.42, load)
    for x in np.arange(-0.9, 0.3, 0.22):
        s.stroke((x, top), (x, 0.42), 0.03, _shade(load, 0.8))
    s.polygon([(0.42, roof), (0.78, roof), (0.98, 0.08), (0.98, 0.45), (0.42, 0.45)], cab)
    s.polygon([(0.55, roof + 0.08), (0.74, roof + 0.08), (0.88, 0.06), (0.55, 0.06)], (150, 190, 215))
    s.ellipse(0.94, 0.3, 0.05, 0.06, (250, 240, 160))
    for x in (-0.7, -0.36, 0.68):
        _wheel(s, x, 0.52, 0.17)


def _truck_from_the_front(s: _Sketch, rng: np.random.Generator) -> None:
    cab, load = _paint(rng), _paint(rng)
    for x in (-0.5, 0.5):
        s.box(x - 0.15, 0.55, x + 0.15, 0.92, (25, 25, 28))
    s.box(-0.72, -0.95, 0.72, 0.4, _shade(load, 0.85))
    s.box(-0.66, -0.7, 0.66, 0.7, cab)
    s.box(-0.55, -0.55, 0.55, -0.05, (60, 80, 100))
    s.polygon([(-0.5, -0.5), (-0.1, -0.5), (-0.35, -0.1), (-0.5, -0.1)], (150, 190, 215))
    for y in (0.12, 0.24, 0.36):
        s.box(-0.32, y, 0.32, y + 0.07, (35, 35, 40))
    for x in (-0.5, 0.5):
        s.ellipse(x, 0.36, 0.11, 0.11, (255, 245, 180))
    s.box(-0.7, 0.58, 0.7, 0.72, (190, 190, 195))


_Pose = Callable[[_Sketch, np.random.Generator], None]
_POSES: dict[str, tuple[_Pose, ...]] = {
    "airplane": (_plane_from_the_side, _plane_from_below),
    "bird": (_bird_perched, _bird_flying),
    "cat": (_cat_close, _cat_sitting, _cat_walking),
    "dog": (_dog_close, _dog_sitting, _dog_walking),
    "truck": (_truck_from_the_side, _truck_from_the_front),
}

# --- surroundings ---------------------------------------------------------------------------------------------------

# How often a class is seen before sky, foliage, ground, wall, road; as in photographs, none of them tells for sure.
_SCENES = ("sky", "foliage", "ground", "wall", "road")
_SEEN_BEFORE = {
    "airplane": (0.70, 0.04, 0.06, 0.06, 0.14),
    "bird": (0.32, 0.42, 0.16, 0.07, 0.03),
    "cat": (0.02, 0.14, 0.30, 0.48, 0.06),
    "dog": (0.04, 0.20, 0.40, 0.28, 0.08),
    "truck": (0.20, 0.08, 0.12, 0.10, 0.50),
}


def _scene_colours(scene: str, rng: np.random.Generator) -> tuple[Colour, Colour]:
    """The colours at the top and at the bottom of a background."""
    light = rng.uniform(0.45, 1.0)
    sky = _hsv(rng.normal(0.58, 0.05), rng.uniform(0.05, 0.6), rng.uniform(0.55, 1.0))
    if scene == "sky":
        return sky, _hsv(rng.normal(0.57, 0.06), rng.uniform(0.0, 0.4), rng.uniform(0.6, 1.0))
    if scene == "foliage":
        return _hsv(rng.normal(0.28, 0.05), rng.uniform(0.2, 0.7), light * 0.7), _hsv(
            rng.normal(0.25, 0.06), 0.5, light * 0.6
        )
    if scene == "ground":
        return _hsv(rng.normal(0.2, 0.1), rng.uniform(0.1, 0.5), light * 0.8), _hsv(
            rng.normal(0.12, 0.06), rng.uniform(0.1, 0.5), light
        )
    if scene == "wall":
        return _hsv(rng.random(), rng.uniform(0.0, 0.5), light), _hsv(
            rng.normal(0.08, 0.1), rng.uniform(0.0, 0.5), light * rng.uniform(0.4, 1)
        )
    return sky, _hsv(0.6, rng.uniform(0.0, 0.15), rng.uniform(0.25, 0.6))


def _background(name: str, rng: np.random.Generator) -> Image.Image:
    """A horizon between two colours, blotches, and things that stand about."""
    scene = rng.choice(_SCENES, p=_SEEN_BEFORE[name])
    top, bottom = (np.array(colour, dtype=float) for colour in _scene_colours(str(scene), rng))
    soft = rng.uniform(0.03, 0.5)
    horizon = rng.uniform(0.35, 0.8)
    slope = rng.normal(0, 0.12)
    y, x = (_ACROSS[:, None] + 1) / 2, (_ACROSS[None, :] + 1) / 2
    blend = 1 / (1 + np.exp(-np.clip((y - horizon - slope * (x - 0.5)) / (soft * 0.3), -30, 30)))
    pixels = top + (bottom - top) * blend[..., None]
    blotches = rng.normal(0, rng.uniform(6, 30), (6, 6)).astype(np.float32)
    pixels += np.asarray(Image.fromarray(blotches).resize((SIZE, SIZE), Image.Resampling.BICUBIC))[..., None]
    canvas = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(canvas)
    for _ in range(rng.poisson(3.5)):
        u, v = rng.uniform(-0.1, 1.1, 2) * SIZE
        width, height = rng.uniform(0.04, 0.45, 2) * SIZE
        colour = _hsv(rng.random(), rng.uniform(0, 0.7), rng.uniform(0.2, 1.0))
        if rng.random() < 0.6:
            red, green, blue = top if rng.random() < 0.5 else bottom
            colour = _shade((int(red), int(green), int(blue)), rng.uniform(0.5, 1.4))
        shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
        shape((u - width / 2, v - height / 2, u + width / 2, v + height / 2), fill=colour)
    canvas = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, 1.0)))
    return canvas.resize((_CANVAS, _CANVAS), Image.Resampling.BILINEAR)


def _camera(canvas: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Light from one side, some blur, a wrong white balance, wrong exposure and noise."""
    small = canvas.resize((SIZE, SIZE), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 0.5)))
    pixels = np.asarray(small, dtype=float)
    angle = rng.uniform(0, 2 * math.pi)
    light = _ACROSS[None, :] * math.cos(angle) + _ACROSS[:, None] * math.sin(angle)
    pixels = pixels * (1 + rng.uniform(0, 0.35) * light)[..., None]
    pixels = pixels * rng.normal(1, 0.06, 3)
    pixels = (pixels - 128) * rng.uniform(0.75, 1.35) + 128 + rng.normal(-8, 25)
    pixels += np.clip(pixels.mean(), 65, 195) - pixels.mean()  # never so dark or bright that nothing is to be seen
    grain = rng.normal(0, rng.uniform(2, 12), (SIZE, SIZE, 1)) + rng.normal(0, rng.uniform(1, 6), (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
