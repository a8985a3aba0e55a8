"""Where the images of the course are, and a digest of what they show."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autograder.course import find_root
from autograder.errors import CourseError
from autograder.whole import write_text_whole

#: What stands beside the classes' folders and is no image.
_NAME_OF_DATA = "cifar10_images_small"


@dataclass(frozen=True)
class CourseImages:
    """Where the images of the course are.

    Attributes:
        data: The folder `cifar10_images_small`, for both kernels; None if there is none yet.
        holdout: The held-out images, for the judge alone; None if there are none.
    """

    data: Path | None = None
    holdout: Path | None = None

    @classmethod
    def find(cls, root: Path | None = None) -> CourseImages:
        """Look where `helpers.data` looks, and in `data/` of the course folder.

        Args:
            root: The course folder; found from the working directory if None.

        Raises:
            CourseError: An environment variable names a place where no images are.
        """
        from helpers import data as images

        def holdout() -> Path | None:
            with contextlib.suppress(images.DataError):
                return images.find_holdout().resolve()
            return None

        try:
            found = images.find_data()
        except images.DataError as error:
            raise CourseError(str(error)) from None
        if found is None:
            with contextlib.suppress(CourseError, images.DataError):
                found = images.find_data((root or find_root()) / "data")
        beside = holdout()
        if beside is None and found is not None and (found.parent / "holdout").is_dir():
            beside = (found.parent / "holdout").resolve()
        return cls(found and found.resolve(), beside)


class Digests:
    """Digests of folders of files, remembered for as long as no file in them changes.

    Args:
        path: Where to remember them; nothing is remembered if None.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known: dict[str, list[str]] = {}
        if path is not None:
            with contextlib.suppress(OSError, ValueError):
                self._known = dict(json.loads(path.read_text(encoding="utf-8")))

    def of(self, folder: Path | None) -> str:
        """The digest of all files below a folder, by name and content; empty if there is no folder."""
        if folder is None or not folder.is_dir():
            return ""
        files = list(files_below(folder))
        stamp = hashlib.sha256(repr([(name, *facts) for name, _, facts in files]).encode()).hexdigest()
        known = self._known.get(str(folder))
        if known is not None and known[0] == stamp:
            return known[1]
        digest = hashlib.sha256()
        for name, path, _ in files:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            digest.update(f"{name}\0{content}\n".encode(errors="surrogateescape"))
        self._known[str(folder)] = [stamp, digest.hexdigest()]
        self._save()
        return digest.hexdigest()

    def _save(self) -> None:
        if self.path is None:
            return
        # A digest that cannot be remembered is worked out again.
        with contextlib.suppress(OSError):
            write_text_whole(self.path, json.dumps(self._known))


def files_below(folder: Path) -> list[tuple[str, Path, tuple[int, int, int]]]:
    """The regular files below a folder in order: relative name, path, and what changes when a file does.

    The last is the size in bytes and the times of the last change of content and of anything, in nanoseconds. Links
    are followed, as the kernels follow them.
    """
    found = []
    for here, names, files in os.walk(folder, followlinks=True):
        names.sort()
        for name in files:
            path = Path(here) / name
            with contextlib.suppress(OSError):
                status = path.stat()
                facts = (status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                found.append((str(path.relative_to(folder)), path, facts))
    return sorted(found)


def pack_images(images: CourseImages) -> bytes:
    """The images as one archive, to be sent to a machine that has none."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, folder in ((_NAME_OF_DATA, images.data), ("holdout", images.holdout)):
            if folder is None:
                continue
            for inside, path, (size, *_) in files_below(folder):
                entry = tarfile.TarInfo(f"{name}/{inside}")
                entry.size = size
                with path.open("rb") as file:
                    archive.addfile(entry, file)
    return packed.getvalue()


def unpack_images(packed: bytes, folder: Path) -> CourseImages:
    """Write an archive of `pack_images` into a folder, unless it is there already.

    Args:
        packed: The archive.
        folder: Where the images go. It appears whole or not at all.

    Returns:
        Where the images are.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        temporary = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                archive.extractall(temporary, filter="data")
            temporary.chmod(0o755)
            temporary.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another worker on this machine was quicker
                raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    data, holdout = folder / _NAME_OF_DATA, folder / "holdout"
    return CourseImages(data if data.is_dir() else None, holdout if holdout.is_dir() else None)
