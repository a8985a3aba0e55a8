"""Whether a function of the learner's classifies picture files of any kind, as its model would."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.checks.functions import call_each, returned
from helpers.checks.images import course_images
from helpers.checks.models import expect_model
from helpers.checks.predictions import predict
from helpers.checks.values import CheckError, attempted, expect_number, expect_text, fail_unless
from helpers.checks.wording import kind

if TYPE_CHECKING:
    from PIL import Image

_SIZE = (32, 32)

#: How far a probability may lie from the model's: libraries read JPEG files and resize in slightly different ways.
_SAME_ANSWER = 0.03


@dataclass(frozen=True)
class PictureFile:
    """A picture to be written into a file.

    Attributes:
        what: What it is, for a learner: `"a PNG in shades of grey, 32 by 32"`.
        suffix: How the file's name ends, with the dot.
        content: The bytes of the file.
    """

    what: str
    suffix: str
    content: bytes

    def opened(self) -> Image.Image:
        """The picture, as a reader of the file gets it."""
        from PIL import Image

        return Image.open(io.BytesIO(self.content))


def seed_of(model: Any) -> int:
    """A number that depends on a model's weights: another one for each training, the same for copies of a model.

    Args:
        model: A built Keras model.

    Returns:
        From 0 to 2**32 - 1.
    """
    digest = hashlib.sha256()
    for weight in expect_model(model).get_weights():
        digest.update(np.ascontiguousarray(weight).tobytes())
    return int.from_bytes(digest.digest()[:4], "big")


def picture_files(seed: int) -> list[PictureFile]:
    """Photos of the course's validation and test sets, in files of many kinds and sizes.

    Args:
        seed: Decides which photos, and the sizes.

    Returns:
        The files. The first one needs least preparation: it is a colour PNG of 32 by 32 pixels.
    """
    from PIL import Image

    rng = np.random.default_rng(seed)
    photos = np.concatenate([course_images("val")[0], course_images("test")[0]])
    chosen = iter(rng.choice(len(photos), len(_KINDS), replace=False))
    files = []
    for label, suffix, mode, resized in _KINDS:
        picture = Image.fromarray(photos[next(chosen)])
        if resized:
            low, high = resized
            picture = picture.resize(tuple(int(side) for side in rng.integers(low, high, 2)), Image.Resampling.BICUBIC)
        if mode == "RGBA" and not resized:
            # Some of it is see-through; the colour below is still there.
            alpha = np.full(_SIZE, 255, np.uint8)
            top, left = rng.integers(0, 24, 2)
            alpha[top : top + 8, left : left + 8] = 0
            picture.putalpha(Image.fromarray(alpha))
        elif mode == "P":
            picture = picture.quantize(64)
        else:
            picture = picture.convert(mode)
        content = io.BytesIO()
        picture.save(content, format={".png": "PNG", ".bmp": "BMP"}.get(suffix, "JPEG"))
        width, height = picture.size
        files.append(PictureFile(f"{label}, {width} by {height}", suffix, content.getvalue()))
    return files


# What the file is, its suffix, its mode, and limits for its sides if they are not to be 32.
_KINDS: tuple[tuple[str, str, str, tuple[int, int] | None], ...] = (
    ("a PNG in colour", ".png", "RGB", None),
    ("a JPEG in colour", ".jpg", "RGB", None),
    ("a large PNG in colour", ".png", "RGB", (70, 240)),
    ("a large JPEG in colour", ".jpeg", "RGB", (70, 240)),
    ("a small PNG in colour", ".png", "RGB", (18, 30)),
    ("a PNG in shades of grey", ".png", "L", None),
    ("a JPEG in shades of grey", ".jpg", "L", (40, 120)),
    ("a PNG with an alpha channel", ".png", "RGBA", None),
    ("a large PNG with an alpha channel", ".png", "RGBA", (70, 240)),
    ("a grey PNG with an alpha channel", ".png", "LA", None),
    ("a PNG with a list of 64 colours", ".png", "P", None),
    ("a BMP in colour", ".bmp", "RGB", (40, 120)),
)


def call_on_files(function: Any, model: Any) -> Any:
    """Call a function of the learner's with picture files of many kinds, for a probe cell.

    Args:
        function: It takes the path of a file, as text.
        model: The model that the function asks. Its weights decide which files are made.

    Returns:
        `{"seed": ..., "calls": ...}`, the latter as `call_each` notes it. A blank stays a blank; if it is no function,
        text that says so. `file_answers` reads all of these.
    """
    seed = seed_of(model)
    with tempfile.TemporaryDirectory(prefix="pictures-") as folder:
        paths = []
        for number, file in enumerate(picture_files(seed)):
            path = Path(folder) / f"picture_{number}{file.suffix}"
            path.write_bytes(file.content)
            paths.append(str(path))
        calls = call_each(function, paths)
    return {"seed": seed, "calls": calls} if isinstance(calls, list) else calls


@dataclass(frozen=True)
class FileAnswer:
    """What a function of the learner's said about one file.

    Attributes:
        case: The call, for a learner: `"classify_image(a PNG in colour, 32 by 32)"`.
        file: The file.
        class_name: The class that it named.
        probability: How sure it was, from 0 to 1.
    """

    case: str
    file: PictureFile
    class_name: str
    probability: float


def file_answers(noted: Any, model: Any, name: str, class_names: Sequence[str]) -> list[FileAnswer]:
    """Make sure that a function answers for each file with a class name and a probability.

    Args:
        noted: What `call_on_files` returned.
        model: The model that it was called with.
        name: What the function is called in the notebook.
        class_names: The names that are possible.

    Returns:
        One answer for each file.

    Raises:
        NotAttempted: If the function is a blank.
        CheckError: If it can't read one of the files, or returns something else.
    """
    attempted(**{name: noted})
    if isinstance(noted, str):
        raise CheckError(f"{name}: {noted}")
    if not isinstance(noted, Mapping) or not isinstance(noted.get("calls"), list):
        raise CheckError(f"{name}: expected the results of calling it, found {kind(noted)}")
    seed = seed_of(model)
    fail_unless(
        noted.get("seed") == seed,
        f"{name}: expected the model that the cell above was run with, found one that has been trained since; "
        "run that cell again, then this one",
    )
    files = picture_files(seed)
    calls = noted["calls"]
    fail_unless(len(calls) == len(files), f"{name}: expected {len(files)} results, found {len(calls)}")
    answers = []
    for file, call in zip(files, calls, strict=True):
        case = f"{name}({file.what})"
        (value,) = returned([call], case)
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise CheckError(f"{case}: expected two things, a class name and a probability, found {kind(value)}")
        class_name = expect_text(value[0], f"{case}, the first thing returned", class_names)
        probability = expect_number(value[1], f"{case}, the second thing returned", low=0, high=1.001)
        answers.append(FileAnswer(case, file, class_name, float(probability)))
    return answers


def answers_of_model(
    answers: Sequence[FileAnswer], model: Any, class_names: Sequence[str], model_name: str = "model"
) -> None:
    """Make sure that answers are what the model says about these pictures, properly prepared.

    Any usual way to resize will do, and a see-through part may be left as it is or put on white or black.

    Args:
        answers: Some of what `file_answers` returned.
        model: The model.
        class_names: The name of each class, by number.
        model_name: What the model is called in the notebook.

    Raises:
        CheckError: If an answer is another one. Where a well-known mistake explains it, the message names it.
    """
    for answer in answers:
        picture = answer.file.opened()
        place = list(class_names).index(answer.class_name)

        def told(
            shares: np.ndarray, place: int = place, probability: float = answer.probability, slack: float = _SAME_ANSWER
        ) -> bool:
            close = np.abs(shares[:, place] - probability) <= slack
            return bool((close & (shares[:, place] >= shares.max(axis=1) - slack)).any())

        sound = prepared(picture)
        if told(predict(model, sound, model_name)):
            continue
        for mistake, batch in _mistaken(picture, sound).items():
            if told(predict(model, batch, model_name), slack=0.005):
                raise CheckError(
                    f"{answer.case}: expected what {model_name} says about this picture, found what it says {mistake}"
                )
        raise CheckError(
            f"{answer.case}: expected what {model_name} says about this picture, in red, green and blue, resized to "
            "32 by 32 pixels, with values from 0 to 255; found another class or probability"
        )


def prepared(picture: Image.Image) -> np.ndarray:
    """A picture as our models want it, in every way that is right.

    Args:
        picture: An opened picture of any kind and size.

    Returns:
        float32 of shape `(ways, 32, 32, 3)`, with values from 0 to 255.
    """
    import tensorflow as tf
    from PIL import Image

    colours = [picture.convert("RGB")]
    if "A" in picture.getbands():
        layer = picture.convert("RGBA")
        colours += [Image.alpha_composite(Image.new("RGBA", layer.size, c), layer).convert("RGB") for c in _GROUNDS]
    ways = []
    for colour in colours:
        if colour.size == _SIZE:
            ways.append(np.asarray(colour, dtype="float32"))
            continue
        ways += [np.asarray(colour.resize(_SIZE, way), dtype="float32") for way in Image.Resampling]
        pixels = np.asarray(colour, dtype="float32")
        for method in ("bilinear", "nearest", "bicubic", "area"):
            ways.append(tf.image.resize(pixels, _SIZE, method=method).numpy().clip(0, 255))
    return np.stack(ways)


_GROUNDS = ((255, 255, 255, 255), (0, 0, 0, 255))


def _mistaken(picture: Image.Image, sound: np.ndarray) -> dict[str, np.ndarray]:
    """The same picture, prepared as novices do at times: what the model then speaks of, and the batch."""
    found = {
        "about its pixels divided by 255; the model does that itself, so it was done twice": sound / 255,
        "about it with red and blue swapped": sound[..., ::-1],
        "about it with rows and columns swapped": sound.transpose(0, 2, 1, 3),
    }
    pixels = np.asarray(picture.convert("RGB"), dtype="float32")
    if min(pixels.shape[:2]) >= _SIZE[0] and picture.size != _SIZE:
        corner, down, right = _SIZE[0], (pixels.shape[0] - 32) // 2, (pixels.shape[1] - 32) // 2
        found["about a corner of it: cut, where it should be resized"] = pixels[np.newaxis, :corner, :corner]
        found["about its middle: cut, where it should be resized"] = pixels[
            np.newaxis, down : down + 32, right : right + 32
        ]
    return found
