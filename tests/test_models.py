"""The ready-made models that a student starts from."""

from __future__ import annotations

import logging
import platform
import subprocess
import sys

import numpy as np
import pytest

from helpers import create_model_intro, quiet

SILENT = """
import sys, helpers
assert "tensorflow" not in sys.modules and "keras" not in sys.modules, "importing helpers imported TensorFlow"
from helpers import *
assert "tensorflow" not in sys.modules, "from helpers import * imported TensorFlow"
for name in helpers.__all__:
    assert getattr(helpers, name) is not None
import tensorflow as tf
assert tf.__spec__.loader.get_source("tensorflow"), "tensorflow has lost its loader"
tf.constant(1) + 1
helpers.create_model_intro()
"""
FASTER = """
import helpers
from tensorflow.python.util import _pywrap_util_port
raise SystemExit(0 if _pywrap_util_port.IsMklEnabled() else 3)
"""


@pytest.fixture(scope="module")
def model():
    return create_model_intro()


def test_importing_helpers_loads_no_tensorflow_and_prints_nothing_even_once_it_does():
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout + done.stderr == ""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the routines are for x86-64 processors")
@pytest.mark.parametrize(("asked", "code"), [(None, 0), ("0", 3)], ids=["nothing asked for", "switched off"])
def test_a_notebook_trains_with_the_faster_routines_unless_they_are_switched_off_as_in_grading(
    asked, code, monkeypatch
):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)  # importing helpers has set it
    if asked is not None:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", asked)
    done = subprocess.run([sys.executable, "-c", FASTER], timeout=300, check=False)
    assert done.returncode == code


def trained(model) -> tuple[int, list[np.ndarray]]:
    """How often the step of a training was traced, and the weights that came out."""
    import keras

    traces = []

    def loss(labels, shares):
        traces.append(1)  # a graph runs without this line, only writing it down runs it
        return keras.losses.sparse_categorical_crossentropy(labels, shares)

    model.compile(keras.optimizers.Adam(0.01), loss)
    images = np.random.default_rng(5).random((8, 6, 6, 1), dtype="float32")
    model.fit(images, np.arange(8) % 3, batch_size=4, epochs=2, verbose=0)
    return len(traces), model.get_weights()


def test_a_training_is_traced_once_and_comes_out_as_it_does_without(monkeypatch):
    import keras

    def small():
        keras.utils.set_random_seed(8)
        return keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])

    once, weights = trained(small())
    monkeypatch.setattr(keras.Model, "make_train_function", keras.Model.make_train_function.__wrapped__)
    twice, as_before = trained(small())
    assert (once, twice) == (1, 2)
    assert all(np.array_equal(one, other) for one, other in zip(weights, as_before, strict=True))


def test_a_model_that_makes_its_weights_in_its_first_step_trains_all_of_them():
    import keras

    late = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3, "softmax")])
    trained(late)
    assert len(late.trainable_variables) == 2
    assert len(late.optimizer.variables) == 2 + 2 * 2  # its counter and rate, and two of Adam's own to each


def test_an_import_that_fails_still_shows_what_it_wrote(tmp_path):
    (tmp_path / "broken_library.py").write_text(
        "import os\nos.write(2, b'a library speaks up\\n')\nraise ImportError('no such thing')\n"
    )
    code = "from helpers import quiet\nquiet.hush_import('broken_library')\nimport broken_library\n"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "a library speaks up" in done.stderr
    assert "no such thing" in done.stderr


def test_only_advice_with_the_hushed_words_stays_out_of_a_log(caplog):
    quiet.hush_log("advice", "triggered tf.function retracing")
    log = logging.getLogger("advice")
    log.warning("5 out of the last 15 calls to %s triggered tf.function retracing.", "predict")
    log.warning("the disk is full")
    assert caplog.messages == ["the disk is full"]


def test_an_unknown_helper_is_refused_with_the_names_there_are():
    import helpers

    with pytest.raises(AttributeError, match=r"no attribute 'prepare_dataset'.*prepare_datasets"):
        helpers.prepare_dataset  # noqa: B018


def test_the_intro_model_is_the_one_that_the_lesson_describes(model):
    assert model.name == "cifar_model_intro"
    assert (model.input_shape, model.output_shape) == ((None, 32, 32, 3), (None, 5))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["InputLayer", "Rescaling", "Conv2D", "MaxPooling2D", "Flatten", "Dense"]
    assert (model.layers[2].filters, model.layers[2].kernel_size) == (16, (3, 3))
    assert model.count_params() == 18_453
    assert not model.compiled


def test_rescaling_happens_inside_the_model(model):
    images = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    raw = create_model_intro(rescale=False)
    raw.set_weights(model.get_weights())
    np.testing.assert_allclose(
        model.predict(images, verbose=0), raw.predict(images / 255, verbose=0), rtol=1e-4, atol=1e-6
    )


def test_other_sizes_and_class_counts_are_built_as_asked():
    other = create_model_intro((28, 20, 1), 10)
    assert (other.input_shape, other.output_shape) == ((None, 28, 20, 1), (None, 10))


def test_each_call_makes_a_fresh_model(model):
    other = create_model_intro()
    assert other is not model
    assert not np.array_equal(other.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("arguments", "received"),
    [
        ({"num_classes": 1}, "received 1"),
        ({"num_classes": "5"}, "received '5'"),
        ({"num_classes": True}, "received True"),
        ({"num_classes": 5.0}, "received 5.0"),
        ({"input_shape": (32, 32)}, r"received \(32, 32\)"),
        ({"input_shape": 32}, "received 32"),
        ({"input_shape": "abc"}, "received 'abc'"),
        ({"input_shape": (32, 32, 3.0)}, r"received \(32, 32, 3.0\)"),
        ({"input_shape": (3, 32, 3)}, "at least 4 pixels"),
        ({"input_shape": (32, 32, 0)}, "at least one channel"),
    ],
)
def test_a_bad_argument_is_refused_with_what_was_received(arguments, received):
    with pytest.raises(ValueError, match=received):
        create_model_intro(**arguments)
