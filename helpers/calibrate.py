"""Compare how models learn on the stand-in and on the real images: `python -m helpers.calibrate`.

The first episode's model is trained on both, as the lesson trains it: on raw pixels and with rescaling inside, with
several seeds. The stand-in does its work when each accuracy is close to that on the real images. Without the real
images, the stand-in is compared with what was measured on them before (`ON_PHOTOGRAPHS`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from helpers.data import CLASS_NAMES, DATA_VARIABLE, DataError, find_data, is_standin, prepare_datasets

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TOLERANCE = 0.08
"""How far an accuracy on the stand-in may be from that on the real images."""

LONG = 10
"""Epochs of the long training. The short one is its first epoch."""

LESSON = 3
"""Epochs of the training in episode 1, whose hidden tests ask for `ASKED` on the held-out images."""

ASKED = 0.32

MEASURES = ("test, 1 epoch", f"test, {LONG} epochs", f"training, {LONG} epochs")
MODELS = {"raw pixels": False, "rescaled": True}
"""Name of a model -> whether it divides pixels by 255 first."""

ON_PHOTOGRAPHS: dict[tuple[str, str], float] = {
    ("raw pixels", MEASURES[0]): 0.314,
    ("raw pixels", MEASURES[1]): 0.426,
    ("raw pixels", MEASURES[2]): 0.908,
    ("rescaled", MEASURES[0]): 0.410,
    ("rescaled", MEASURES[1]): 0.525,
    ("rescaled", MEASURES[2]): 0.677,
}
"""Mean accuracies on 2,000 photographs of CIFAR-10, measured by this program: `docs/explanation/calibration.md`."""


@dataclass
class Learning:
    """How the models learned on one set of images.

    Attributes:
        accuracies: Model and measure -> one accuracy a seed.
        confusion: How often the rescaled model, after the long training, took an image of one class (row) for one of
            another (column): test and held-out images, all seeds, whole numbers of shape (5, 5).
    """

    accuracies: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((len(CLASS_NAMES),) * 2, dtype=int))

    def mean(self, model: str, measure: str) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.accuracies[model, measure]))

    def confused_pairs(self) -> list[tuple[str, int]]:
        """Pairs of classes and how often one was taken for the other, the most confused pair first."""
        pairs = [
            (f"{CLASS_NAMES[a]} and {CLASS_NAMES[b]}", int(self.confusion[a, b] + self.confusion[b, a]))
            for a, b in itertools.combinations(range(len(CLASS_NAMES)), 2)
        ]
        return sorted(pairs, key=lambda pair: -pair[1])


@dataclass(frozen=True)
class Images:
    """One set of images, in memory."""

    train: tf.data.Dataset
    test: tuple[np.ndarray, np.ndarray]
    holdout: tuple[np.ndarray, np.ndarray]

    @classmethod
    def read(cls, directory: Path) -> Images:
        """Read the images of a folder that holds `cifar10_images_small`, and the held-out ones beside or in it."""
        folder = find_data(directory)
        assert folder is not None  # a folder that was named is found, or an error raised
        with contextlib.redirect_stdout(io.StringIO()):
            train, _, test = prepare_datasets(folder)
        places = (folder.parent / "holdout", folder / "holdout")
        holdout = next((place for place in places if place.is_dir()), None)
        if holdout is None:
            raise DataError(f"{places[0]}: no held-out images there. Make them with `autograder data`.")
        return cls(train, _arrays(test), _arrays_in(holdout))


def train(images: Images, model_name: str, seed: int, epochs: Sequence[int]) -> dict[int, tuple[object, float]]:
    """Train one model; return it after each of these numbers of epochs, with its accuracy in training."""
    import keras

    keras.utils.set_random_seed(seed)
    model = _compiled(model_name)
    stages = {}
    done = 0
    for count in epochs:
        history = model.fit(images.train, epochs=count, initial_epoch=done, verbose=0)
        done = count
        stages[count] = (keras.models.clone_model(model), history.history["accuracy"][-1])
        stages[count][0].set_weights(model.get_weights())
    return stages


def learn(images: Images, seeds: Sequence[int]) -> Learning:
    """Train both models with each seed, and note how well they do."""
    result = Learning()
    labels = np.concatenate([images.test[1], images.holdout[1]])
    for model_name, seed in itertools.product(MODELS, seeds):
        stages = train(images, model_name, seed, (1, LONG))
        short, long = (stages[count][0] for count in (1, LONG))
        predicted = np.concatenate([_predict(long, part[0]) for part in (images.test, images.holdout)])
        if MODELS[model_name]:
            np.add.at(result.confusion, (labels, predicted), 1)
        for measure, accuracy in zip(
            MEASURES, (_accuracy(short, images.test), _accuracy(long, images.test), stages[LONG][1]), strict=True
        ):
            result.accuracies.setdefault((model_name, measure), []).append(float(accuracy))
    return result


def as_in_the_lesson(images: Images, seeds: Sequence[int], shuffled: bool = False) -> list[float]:
    """Accuracies on the held-out images of the rescaled model, trained as in episode 1: what a hidden test sees.

    One compiled model serves for all, as to compile takes longer than to train. Each time its weights and its optimizer
    begin as those of a new one. With `shuffled`, each image has the label of another one: the model can learn nothing
    of use.
    """
    import keras

    from helpers.models import create_model_intro

    pixels, labels = _arrays(images.train)
    model = _compiled("rescaled")
    model.optimizer.build(model.trainable_variables)
    fresh = [variable.numpy() for variable in model.optimizer.variables]
    accuracies = []
    for seed in seeds:
        keras.utils.set_random_seed(seed)
        model.set_weights(create_model_intro().get_weights())
        for variable, value in zip(model.optimizer.variables, fresh, strict=True):
            variable.assign(value)
        examples = (pixels, np.random.default_rng(seed).permutation(labels)) if shuffled else (images.train,)
        model.fit(*examples, epochs=LESSON, verbose=0)
        accuracies.append(_accuracy(model, images.holdout))
    return accuracies


def table(standin: Learning, real: Learning | None) -> tuple[str, bool]:
    """Compare the two in a Markdown table.

    Returns:
        The table, and whether every accuracy is within the tolerance and cat and dog are the most confused pair.
    """
    lines = [
        "| model | accuracy | real images | stand-in | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    holds = True
    for model, measure in itertools.product(MODELS, MEASURES):
        wanted = real.mean(model, measure) if real else ON_PHOTOGRAPHS[model, measure]
        found = standin.mean(model, measure)
        holds = holds and abs(found - wanted) <= TOLERANCE
        lines.append(f"| {model} | {measure} | {wanted:.3f} | {found:.3f} | {found - wanted:+.3f} |")
    for name, learning in (("real images", real), ("stand-in", standin)):
        if learning:
            pairs = ", ".join(f"{pair} ({count})" for pair, count in learning.confused_pairs()[:3])
            lines.append(f"\nMost confused on the {name}: {pairs}.")
    return "\n".join(lines), holds and standin.confused_pairs()[0][0] == "cat and dog"


def _compiled(model_name: str) -> keras.Model:
    """One of the two models with new weights, compiled as in the lesson."""
    from helpers.models import create_model_intro

    model = create_model_intro(rescale=MODELS[model_name])
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _predict(model: object, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images)).argmax(axis=1)


def _accuracy(model: object, part: tuple[np.ndarray, np.ndarray]) -> float:
    return float(np.mean(_predict(model, part[0]) == part[1]))


def _arrays(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray]:
    images, labels = zip(*dataset.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _arrays_in(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    import keras

    return _arrays(
        keras.utils.image_dataset_from_directory(
            folder, class_names=list(CLASS_NAMES), image_size=(32, 32), shuffle=False, verbose=False
        )
    )


def _spread(name: str, accuracies: Sequence[float]) -> str:
    reached = sum(accuracy >= ASKED for accuracy in accuracies)
    mean, deviation = np.mean(accuracies), np.std(accuracies, ddof=1)
    return (
        f"{name}: mean {mean:.3f}, standard deviation {deviation:.3f}, lowest {min(accuracies):.3f}, "
        f"highest {max(accuracies):.3f}; {reached} of {len(accuracies)} reach {ASKED}, "
        f"which is {abs(mean - ASKED) / deviation:.1f} standard deviations from the mean."
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the comparison; 0 if the stand-in is close enough, 1 if not, 2 if images could not be read."""
    parser = argparse.ArgumentParser(prog="python -m helpers.calibrate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--real",
        type=Path,
        default=os.environ.get(DATA_VARIABLE),
        help=f"the folder that holds the real cifar10_images_small (by default, what {DATA_VARIABLE} names)",
    )
    parser.add_argument("--stand-in", type=Path, help="a folder with the stand-in (by default, it is drawn anew)")
    parser.add_argument("--seeds", type=int, default=5, help="how many times each model is trained (default: 5)")
    parser.add_argument(
        "--lesson", type=int, default=0, metavar="N", help="also train N times as in episode 1, for the hidden tests"
    )
    options = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        try:
            folder = options.stand_in
            if folder is None:
                from helpers.standin import draw_standin

                folder = draw_standin(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            standin = Images.read(folder)
            real = Images.read(options.real) if options.real else None
            if options.real and is_standin(find_data(options.real) or folder):
                raise DataError(f"{options.real}: these are the stand-in, not the real images. Name the real ones.")
        except (DataError, OSError) as problem:
            print(problem, file=sys.stderr)
            return 2
    seeds = range(options.seeds)
    text, holds = table(learn(standin, seeds), learn(real, seeds) if real else None)
    print(text)
    if options.lesson:
        print(f"\nHeld-out images after {LESSON} epochs, rescaled:")
        for name, images in (("real images", real), ("stand-in", standin)):
            if images:
                for labels, shuffled in (("", False), (", shuffled labels", True)):
                    print(_spread(name + labels, as_in_the_lesson(images, range(options.lesson), shuffled)))
    print(f"\nWithin {TOLERANCE} everywhere, cat and dog the most confused: {'yes' if holds else 'NO'}.")
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
