"""Draw the stand-in: pictures made by code that take the place of the real images where there are none."""

from __future__ import annotations

from pathlib import Path

DATA_FOLDER = "cifar10_images_small"
HOLDOUT_FOLDER = "holdout"
CLASS_NAMES = ("airplane", "bird", "cat", "dog", "truck")
MARKER = "STAND-IN.txt"

NOTICE = (
    "These pictures are a stand-in drawn by code, not photographs. "
    "`autograder data` fetches the real images; or set CNN_COURSE_DATA to the folder that holds them."
)


def is_standin(folder: Path) -> bool:
    """Whether `folder` (a `cifar10_images_small`) holds the stand-in."""
    return (folder / MARKER).is_file()
