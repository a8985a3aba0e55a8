"""What `autograder data` does: make the course's images from CIFAR-10, or draw the stand-in.

The selection is fixed, so every class in the world works on the same images (`docs/reference/data.md`). The archive
comes from its publisher and is read as `keras.datasets.cifar10` reads it; unlike Keras's own download, this one can be
resumed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pickle
import shutil
import tarfile
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar

import numpy as np

from autograder import runlog
from autograder.errors import CourseError
from helpers.data import CLASS_NAMES, FOLDER_NAME, SPLITS, STANDIN_MARKER, is_standin
from helpers.standin import IMAGES_PER_CLASS, draw_standin

if TYPE_CHECKING:
    import requests

ARCHIVE_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
ARCHIVE_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
"""Address and checksum of the publisher's archive, the same that `keras.datasets.cifar10.load_data` uses."""

CIFAR_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""All ten classes of CIFAR-10, in the order of their numbers in the archive."""

MARKER = "CIFAR-10.txt"
"""A file of this name in the folder says where its images come from and how they were selected."""

_ARCHIVE_FOLDER = "cifar-10-batches-py"
_BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
_SOURCES = {"train": ("train", "val"), "test": ("test", "holdout")}
_SHAPE = (3, 32, 32)
# The publisher's archive has 170 MB, and a batch in it 31 MB. What is much larger is something else.
_MOST_BYTES = 400_000_000
_MOST_BYTES_OF_BATCH = 100_000_000
_CHUNK = 1 << 16
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two pieces of data
_TRIES = 4  # that bring nothing
_MOST_TRIES = 40
_MAKING = ".making-"
_INSTEAD = (
    "If you have the archive already, or can get it another way, use `autograder data --archive FILE`. "
    "Without it, `autograder data --stand-in` draws images to work with."
)
_MARKER_TEXT = (
    "These images are a selection from CIFAR-10 (Alex Krizhevsky, Learning Multiple Layers of Features from Tiny "
    "Images, 2009).\n"
    "The publisher states no licence to pass them on; do not publish them.\n"
    "Made by `autograder data`, selection 1, from the archive with the SHA-256 checksum\n"
    "{sha256}\n"
)

Report = Callable[[str, float, float, str], None]
"""Called with a stage, how much of it is done, how much there is in all (0: not known), and the unit of both."""


@dataclass(frozen=True)
class Archive:
    """Where CIFAR-10 comes from, and how to know that it is the right one.

    Attributes:
        url: Address of the archive in the publisher's 'python version' format.
        sha256: Checksum of the archive. Nothing in it is read before this was verified.
        pause: Seconds to wait before the first new try of a download; doubled each time.
    """

    url: str = ARCHIVE_URL
    sha256: str = ARCHIVE_SHA256
    pause: float = 1.0


@dataclass(frozen=True)
class Made:
    """What `make_images` did.

    Attributes:
        folder: The folder `cifar10_images_small`.
        holdout: The graders' folder.
        kept: Whether all was there already, so that nothing was done.
    """

    folder: Path
    holdout: Path
    kept: bool


def make_images(
    destination: Path,
    *,
    archive_file: Path | None = None,
    stand_in: bool = False,
    force: bool = False,
    archive: Archive | None = None,
    report: Report = lambda *_: None,
    say: Callable[[str], None] = lambda _: None,
) -> Made:
    """Make `cifar10_images_small/` and `holdout/`, each with a folder for each split and class.

    The folders appear whole or not at all. What is complete already is kept. A stand-in gives way to real images.

    Args:
        destination: The folder for both, made if it isn't there.
        archive_file: The publisher's archive, if it is on this machine already; otherwise it is downloaded.
        stand_in: Draw the stand-in instead.
        force: Make the images anew, whatever is there.
        archive: Where to download from, and the checksum that is expected; the publisher's when None.
        report: Told about progress.
        say: Given a line for the user to read, now and then.

    Returns:
        Where the images are.

    Raises:
        CourseError: If other images are in the way, the archive can't be had or isn't the right one, or if the images
            can't be written. The message says what to do.
    """
    archive = archive or Archive()
    if stand_in and archive_file:
        raise CourseError("Both --archive and --stand-in were given. Give one of them.")
    if archive_file and not archive_file.is_file():
        what = "a folder" if archive_file.is_dir() else "no such file"
        raise CourseError(f"{archive_file}: {what}. --archive takes the file cifar-10-python.tar.gz, as published.")
    try:
        destination.mkdir(parents=True, exist_ok=True)
        with _alone_in(destination):
            return _make(destination, archive_file, stand_in, force, archive, report, say)
    except OSError as problem:
        raise CourseError(_explain(problem, destination)) from problem


def _make(
    destination: Path,
    archive_file: Path | None,
    stand_in: bool,
    force: bool,
    archive: Archive,
    report: Report,
    say: Callable[[str], None],
) -> Made:
    for left_over in destination.glob(f"{_MAKING}*"):
        shutil.rmtree(left_over, ignore_errors=True)
    marker = _MARKER_TEXT.format(sha256=archive.sha256)
    holdout, folder = destination / "holdout", destination / FOLDER_NAME
    # The folder that is looked for comes last: where it is, everything is.
    missing = [place for place in (holdout, folder) if force or _is_to_make(place, None if stand_in else marker)]
    if not missing:
        return Made(folder, holdout, kept=True)
    with tempfile.TemporaryDirectory(prefix=_MAKING, dir=destination, ignore_cleanup_errors=True) as temporary:
        made = Path(temporary) / "new"
        if stand_in:
            say("Drawing the stand-in. This takes some seconds.")
            draw_standin(made)
        else:
            file = archive_file or _find_or_download(destination / ".download", archive, report, say)
            if archive_file and (found := file_sha256(file)) != archive.sha256:
                raise CourseError(
                    f"{file}: not the archive that is published at {archive.url}, or damaged. Its SHA-256 checksum is "
                    f"{found}, expected {archive.sha256}. Get it again."
                )
            say("Reading the archive. This takes some seconds.")
            write_selection(file, made, report)
            for name in ("holdout", FOLDER_NAME):
                (made / name / MARKER).write_text(marker, encoding="utf-8")
        for number, place in enumerate(missing):
            if place.exists():
                if is_standin(place) and not stand_in:
                    say(f"{place}: the stand-in gives way to the real images.")
                place.rename(Path(temporary) / f"old-{number}")
            (made / place.name).rename(place)
    if not stand_in:
        shutil.rmtree(destination / ".download", ignore_errors=True)
    runlog.event("data", folder=folder, stand_in=stand_in, archive=archive_file or archive.url)
    return Made(folder, holdout, kept=False)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep a second run out of the folder: both would write to the same download."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CourseError(f"{folder}: another `autograder data` is at work there. Wait until it is done.") from None
        yield
    finally:
        os.close(handle)


def _is_to_make(folder: Path, marker: str | None) -> bool:
    """Whether a folder is not yet as it should be.

    Args:
        folder: One of the two that are made.
        marker: What its marker file should say; None for a stand-in.

    Raises:
        CourseError: If it holds other images, which nobody said to replace.
    """
    if not folder.exists():
        return True
    note = folder / (STANDIN_MARKER if marker is None else MARKER)
    ours = note.is_file() and marker in (None, note.read_text(encoding="utf-8", errors="replace"))
    if ours and _is_complete(folder):
        return False
    if is_standin(folder) and marker is not None:
        return True
    if is_standin(folder) or (folder / MARKER).is_file():
        kind = "a stand-in" if is_standin(folder) else "images from CIFAR-10"
        what = f"{kind}, of which some are missing" if ours else f"{kind} of another making"
    else:
        what = "a folder that `autograder data` did not make"
    again = "autograder data --force" if marker is not None else "autograder data --stand-in --force"
    raise CourseError(f"{folder}: there is {what}. Move it elsewhere to keep it, or replace it with `{again}`.")


def _is_complete(folder: Path) -> bool:
    splits = {"": "holdout"} if folder.name == "holdout" else {split: split for split in SPLITS}
    return all(
        len(list((folder / within / name).glob("*.png"))) == IMAGES_PER_CLASS[split]
        for within, split in splits.items()
        for name in CLASS_NAMES
    )


def _explain(problem: OSError, destination: Path) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"{destination}: the disk is full. About 200 MB are needed there while the images are made, and 20 MB "
            "afterwards. Make room and run `autograder data` again."
        )
    where = problem.filename or destination
    return f"{where}: {problem.strerror or problem}. Correct that, or the permissions of {destination}, and try again."


# The archive ----------------------------------------------------------------------------------------------------------


def file_sha256(file: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _find_or_download(folder: Path, archive: Archive, report: Report, say: Callable[[str], None]) -> Path:
    """Take the archive from Keras's own cache if it is there, else download it."""
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "datasets"
    for name in ("cifar-10-batches-py-target_archive", "cifar-10-batches-py.tar.gz"):
        cached = home / name
        with contextlib.suppress(OSError):
            if cached.is_file() and file_sha256(cached) == archive.sha256:
                say(f"Using the archive that Keras downloaded before: {cached}")
                return cached
    say(f"Downloading {archive.url}")
    try:
        return download(archive, folder / "cifar-10-python.tar.gz", report, say)
    finally:
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing arrived


def download(
    archive: Archive, file: Path, report: Report = lambda *_: None, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Download the archive, and verify its checksum.

    What has arrived is kept beside the file, with `.part` after its name, and the next call goes on from there. A
    broken connection is tried again some times before this gives up.

    Args:
        archive: The address and the checksum.
        file: Where to keep it.
        report: Told about progress.
        say: Given a line for the user to read, now and then.

    Returns:
        The file. It only ever has this name when its checksum is right.

    Raises:
        CourseError: If it can't be had, or has another checksum.
        OSError: If it can't be written; nothing of it is left if the disk is full.
    """
    import requests

    if file.is_file() and file_sha256(file) == archive.sha256:
        return file
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    tries, failures, restarted = 0, 0, False
    while True:
        before = _size(part)
        try:
            _receive(archive.url, part, report)
        except requests.RequestException as problem:
            # Each piece that arrives is a reason to go on.
            failures = 1 if _size(part) > before else failures + 1
            tries += 1
            if failures >= _TRIES or tries >= _MOST_TRIES or not _may_pass(problem):
                raise CourseError(_say_unreachable(archive, problem, _size(part))) from problem
            pause = archive.pause * 2 ** (failures - 1)
            why = _reason(problem, _size(part))
            say(f"{why[0].upper()}{why[1:]}. Trying again in {pause:g} s.")
            time.sleep(pause)
            continue
        except OSError as problem:
            if problem.errno in (errno.ENOSPC, errno.EDQUOT):
                part.unlink(missing_ok=True)
            raise
        found = file_sha256(part)
        if found == archive.sha256:
            part.rename(file)
            return file
        part.unlink()
        if before and not restarted:
            # The first part may be of another file, or was damaged: once more, from the start.
            restarted = True
            continue
        raise CourseError(
            f"{archive.url}: what was downloaded is not the archive that is expected, and was deleted. Its SHA-256 "
            f"checksum is {found}, expected {archive.sha256}. Something between here and the publisher changed it, "
            f"such as a login page of the network; try another one. {_INSTEAD}"
        )


def _receive(url: str, part: Path, report: Report) -> None:
    """Receive what is still missing of a file."""
    import requests

    start = _size(part)
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
        if answer.status_code == 416:
            # Nothing comes after what is here; the checksum tells whether it is the whole.
            return
        answer.raise_for_status()
        if not (answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")):
            start = 0
        total = start + _length(answer)
        with part.open("ab" if start else "wb") as stream:
            done = start
            for piece in answer.iter_content(_CHUNK):
                stream.write(piece)
                done += len(piece)
                report("Downloading", done, total, "MB")
                if done > _MOST_BYTES:
                    # The checksum will not be right, and says so.
                    return


def _length(answer: requests.Response) -> int:
    value = answer.headers.get("Content-Length", "")
    return int(value) if value.isdigit() else 0


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _may_pass(problem: requests.RequestException) -> bool:
    """Whether trying again may help: not if the server answered that it will not give the file."""
    if problem.response is None:
        return True
    return problem.response.status_code >= 500 or problem.response.status_code in (408, 429)


def _reason(problem: requests.RequestException, arrived: int) -> str:
    import requests

    if problem.response is not None:
        return f"the server answered {problem.response.status_code} {problem.response.reason}"
    if isinstance(problem, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(problem, requests.exceptions.SSLError):
        return "the server did not prove who it is (its certificate is not accepted)"
    return "the connection broke off" if arrived else "there is no connection to the server"


def _say_unreachable(archive: Archive, problem: requests.RequestException, arrived: int) -> str:
    kept = (
        f"{arrived / 1e6:.1f} MB have arrived and are kept; run `autograder data` again to go on from there. "
        if arrived
        else "Check the network and run `autograder data` again. "
    )
    return f"{archive.url}: could not be downloaded: {_reason(problem, arrived)}. {kept}{_INSTEAD}"


# The images -----------------------------------------------------------------------------------------------------------


class _ArrayUnpickler(pickle.Unpickler):
    """Reads plain values and NumPy arrays, and refuses all else that a pickle may ask for."""

    _ALLOWED: ClassVar = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        # What an array gives as the function that makes it anew; the archive knows it by its name of 2009.
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def read_archive(file: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read CIFAR-10's archive, in memory: no file of it is written anywhere. Verify its checksum before.

    Args:
        file: The archive, in the publisher's 'python version' format.

    Returns:
        For `train` and `test`: images, uint8 of shape `(n, 32, 32, 3)`, and labels, int64 of shape `(n,)`, 0 to 9; in
        the order and with the values of `keras.datasets.cifar10.load_data()`.

    Raises:
        CourseError: If it isn't such an archive.
    """
    batches: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    wanted = {f"{_ARCHIVE_FOLDER}/{name}": name for names in _BATCHES.values() for name in names}
    try:
        with tarfile.open(file, "r:gz") as archive:
            for member in archive:
                if member.name in wanted and member.isfile() and member.size <= _MOST_BYTES_OF_BATCH:
                    batches[wanted[member.name]] = _read_batch(archive.extractfile(member))
        return {
            source: tuple(np.concatenate(parts) for parts in zip(*(batches[name] for name in names), strict=True))
            for source, names in _BATCHES.items()
        }
    except KeyError as problem:
        raise CourseError(f"{file}: no CIFAR-10 archive; it has no {_ARCHIVE_FOLDER}/{problem.args[0]}.") from None
    except (tarfile.TarError, EOFError, zlib.error, pickle.UnpicklingError, ValueError, TypeError) as problem:
        raise CourseError(f"{file}: no CIFAR-10 archive, or a damaged one ({problem}). Get it again.") from problem


def _read_batch(stream: IO[bytes]) -> tuple[np.ndarray, np.ndarray]:
    batch = _ArrayUnpickler(stream, encoding="bytes").load()
    try:
        data, labels = batch[b"data"], np.asarray(batch[b"labels"], dtype=np.int64)
    except KeyError as problem:
        raise ValueError(f"a batch has no {problem.args[0]!r}") from None
    if data.dtype != np.uint8 or data.shape != (len(labels), 3 * 32 * 32) or not np.isin(labels, range(10)).all():
        raise ValueError(f"a batch has images of shape {data.shape} and {len(labels)} labels")
    return data.reshape(-1, *_SHAPE).transpose(0, 2, 3, 1), labels


def select(archive: dict[str, tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[str, str, int, np.ndarray]]:
    """Choose the course's images: of each class the first ones, in the publisher's order.

    From CIFAR-10's training images, the first 200 of a class are `train` and the next 50 `val`; from its test images,
    the first 50 are `test` and the next 100 `holdout`. An image that was chosen before, pixel by pixel the same, is
    passed over.

    Args:
        archive: As `read_archive` returns it.

    Yields:
        Split, class, place of the image in CIFAR-10's training or test images (from 0), and the image.

    Raises:
        CourseError: If there are too few images.
    """
    seen: set[bytes] = set()
    for source, splits in _SOURCES.items():
        order = [split for split in splits for _ in range(IMAGES_PER_CLASS[split])]
        taken: Counter[str] = Counter()
        for place, (image, label) in enumerate(zip(*archive[source], strict=True)):
            name = CIFAR_CLASSES[label]
            if name not in CLASS_NAMES or taken[name] == len(order):
                continue
            content = hashlib.sha256(image.tobytes()).digest()
            if content not in seen:
                seen.add(content)
                yield order[taken[name]], name, place, image
                taken[name] += 1
        for name in CLASS_NAMES:
            if taken[name] < len(order):
                raise CourseError(
                    f"The archive has {taken[name]} different {source} images of the class {name}; "
                    f"{len(order)} are needed. Use the archive as it is published."
                )


def write_selection(file: Path, destination: Path, report: Report = lambda *_: None) -> None:
    """Write the selection into `cifar10_images_small/SPLIT/CLASS/` and `holdout/CLASS/` of a folder.

    Images are PNG files: lossless, so that a model sees the pixels that the publisher gives. A file is named for its
    image's place in the archive.

    Args:
        file: The archive, its checksum verified.
        destination: A new folder.
        report: Told about progress.

    Raises:
        CourseError: If the archive isn't one of CIFAR-10.
        OSError: If a file can't be written.
    """
    from PIL import Image

    total = sum(IMAGES_PER_CLASS.values()) * len(CLASS_NAMES)
    images = read_archive(file)
    for done, (split, name, place, image) in enumerate(select(images), start=1):
        folder = destination / ("" if split == "holdout" else FOLDER_NAME) / split / name
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{place:05d}.png")
        report("Writing images", done, total, "images")
