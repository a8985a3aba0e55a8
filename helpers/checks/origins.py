"""Which images a model has learned from."""

from __future__ import annotations

from typing import Any

from helpers.checks.images import course_images
from helpers.checks.training import measured
from helpers.checks.values import fail_unless


def learned_from_training_images(model: Any, name: str = "model", *, tolerance: float) -> None:
    """Make sure that a model knows the training images better than the test images: it learned from those.

    Args:
        model: A classifier of the course's images that returns probabilities.
        name: What the model is called in the notebook.
        tolerance: By how much its loss on the training images may be the larger one. A model that learned from the
            test images for a few epochs has one that is 0.02 to 0.05 larger; longer training moves the two apart.

    Raises:
        CheckError: It knows the test images better.
    """
    train, test = (measured(model, course_images(split), name)[0] for split in ("train", "test"))
    fail_unless(
        train < test + tolerance,
        f"{name}: expected a model that knows the images of train_ds best, found one that knows those of test_ds "
        "better; which did it learn from?",
    )
