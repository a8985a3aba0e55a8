"""The test set in a sealed envelope, and the lab book of a colleague who never sealed hers."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class SealedTestSet:
    """A test set that keeps count of the models that were tried on it.

    The number for the first model is an honest one. Whoever asks about a second model has begun to choose by the test
    set, and is told so.

    Args:
        test_ds: A batched `tf.data.Dataset` of images and class numbers.

    Attributes:
        models_tried: How many different models have been measured. The same model with the same weights counts once.
    """

    def __init__(self, test_ds: Any) -> None:
        self._test_ds = test_ds
        self._tried: set[str] = set()

    @property
    def models_tried(self) -> int:
        """How many different models have been measured."""
        return len(self._tried)

    def open_for(self, model: Any) -> float:
        """Break the seal: measure a model on the test images.

        Args:
            model: A trained Keras model.

        Returns:
            Its accuracy, 0 to 1.

        Raises:
            TypeError: If it isn't a model; nothing is opened then.
        """
        import keras

        from helpers.checks.images import arrays_of

        if not isinstance(model, keras.Model):
            what = "a blank (...)" if model is ... else type(model).__name__
            raise TypeError(f"the envelope stays sealed: expected a trained Keras model, received {what}")
        images, labels = arrays_of(self._test_ds)
        accuracy = float(np.mean(model.predict(images, verbose=0).argmax(axis=1) == labels))
        self._tried.add(_fingerprint(model))
        if self.models_tried > 1:
            print(
                f"You have now tried {self.models_tried} models on the test set. If you pick one by these numbers, "
                "its number is no longer honest. To start afresh, restart the kernel and choose by validation alone."
            )
        return accuracy

    def __repr__(self) -> str:
        state = "still sealed" if not self.models_tried else f"opened for {self.models_tried} model(s)"
        return f"<the test set in an envelope, {state}>"


def _fingerprint(model: Any) -> str:
    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def lab_book(seed: int = 49, models: int = 60, accuracy: float = 0.5, images: int = 250) -> pd.DataFrame:
    """The lab book of somebody who tried many models that are, in truth, all equally good.

    Only luck makes them differ: each of the images comes out right with the same probability.

    Args:
        seed: Decides the luck. The same seed gives the same book.
        models: How many models were tried.
        accuracy: What each would get on very many images, 0 to 1.
        images: How many validation images there are, and how many test images.

    Returns:
        A table with one row for each model and the columns `model` (a number from 1), `val_accuracy` and
        `test_accuracy`. The highest validation accuracy stands in one row only.
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    validation = rng.binomial(images, accuracy, models)
    while np.sum(validation == validation.max()) > 1:
        validation = rng.binomial(images, accuracy, models)
    test = rng.binomial(images, accuracy, models)
    return pd.DataFrame(
        {"model": np.arange(1, models + 1), "val_accuracy": validation / images, "test_accuracy": test / images}
    )
