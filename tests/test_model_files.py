"""Keras models, datasets and histories on their way to the judge, and the models that must not get there."""

from __future__ import annotations

import io
import json
import os
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from bundles import BOUNDS, across, forged, honest, read, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from autograder import model_files
from autograder.crossing import Bounds, Refused

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
layers = keras.layers


def intro(**compile_options: Any) -> Any:
    """A small model like the course's first."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(4, 3, activation="relu")(x)
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Dense(5, activation="softmax")(x), name="intro")
    if compile_options:
        model.compile(**compile_options)
    return model


def wide_variety() -> Any:
    """A model with much of what a learner may find in Keras's documentation."""
    inputs = keras.Input((8, 8, 3))
    x = layers.RandomFlip("horizontal", seed=1)(inputs)
    x = layers.RandomRotation(0.1)(x) / 255.0 - 0.5
    x = layers.SeparableConv2D(4, 3, padding="same", pointwise_regularizer=keras.regularizers.L2(1e-4))(x)
    y = layers.Activation(keras.activations.gelu)(layers.BatchNormalization()(x))
    x = layers.Add()([x, y]) * 2 + keras.ops.mean(y, axis=-1, keepdims=True)
    x = layers.SpatialDropout2D(0.1)(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = keras.ops.relu(layers.Dense(6, kernel_constraint=keras.constraints.MaxNorm(3))(x))
    return keras.Model(inputs, layers.Softmax()(layers.Dense(5, kernel_initializer="he_normal")(x)))


MODELS: dict[str, Callable[[], Any]] = {
    "functional": intro,
    "compiled": lambda: intro(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"]),
    "compiled with objects": lambda: intro(
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9), momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2), keras.metrics.sparse_categorical_accuracy],
    ),
    "compiled with a function": lambda: intro(
        optimizer=keras.optimizers.RMSprop(1e-3), loss=keras.losses.sparse_categorical_crossentropy
    ),
    "wide variety": wide_variety,
    "sequential": lambda: keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(5)]),
    "nested": lambda: keras.Sequential([keras.Input((8, 8, 3)), intro(), layers.Reshape((5, 1)), layers.LSTM(3)]),
    "mixed precision": lambda: keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(2, 3, dtype="mixed_bfloat16"), layers.GlobalMaxPooling2D()]
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_model_of_built_in_layers_arrives_and_predicts_the_same(make):
    model = make()
    got = across(model)
    images = np.random.default_rng(0).uniform(0, 255, (3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(got(images, training=False), model(images, training=False), atol=1e-6)
    assert got.name == model.name
    assert [type(layer) for layer in got.layers] == [type(layer) for layer in model.layers]
    assert got.compiled == model.compiled
    assert type(getattr(got, "optimizer", None)) is type(getattr(model, "optimizer", None))


def test_a_trained_model_arrives_with_its_optimizer_and_its_history_with_its_curves():
    model = intro(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(np.ones((6, 8, 8, 3)), np.arange(6) % 5, epochs=2, verbose=0)
    assert int(across(model).optimizer.iterations.numpy()) == 2
    got = across(history)
    assert isinstance(got, keras.callbacks.History)
    assert (got.history, got.epoch, got.params) == (history.history, [0, 1], history.params)


def test_a_model_that_was_never_built_arrives_as_it_is():
    got = across(keras.Sequential([layers.Dense(3)]))
    assert not got.built
    assert got.layers[0].units == 3


def test_weights_that_are_not_finite_arrive():
    model = intro()
    model.set_weights([np.full_like(w, np.nan) for w in model.get_weights()])
    assert all(np.isnan(w).all() for w in across(model).get_weights())


def test_tensors_arrive_as_arrays():
    assert across(tf.constant([[1, 2]])).tolist() == [[1, 2]]
    assert across(tf.Variable(1.5)) == np.float32(1.5)
    assert across(tf.constant([1, 2], "bfloat16")).dtype == np.float32
    assert across(intro().layers[-1].kernel).shape == (36, 5)
    assert "array of object" in refusal(tf.constant(["text"]))


def test_symbolic_tensors_and_single_layers_arrive_without_their_weights():
    tensor = keras.Input((32, 32, 3))
    got = across(tensor)
    assert (got.shape, got.dtype, got.name) == (tensor.shape, tensor.dtype, tensor.name)
    got = across([layers.Conv2D(16, 3, activation="relu"), keras.optimizers.Adam(0.5), keras.losses.Huber()])
    assert (got[0].filters, got[0].kernel_size, got[0].activation.__name__) == (16, (3, 3), "relu")
    assert float(got[1].learning_rate.numpy()) == 0.5


def dataset(n: int = 7, batch: int | None = 3) -> Any:
    images = np.arange(n * 12, dtype="float32").reshape(n, 2, 2, 3)
    made = tf.data.Dataset.from_tensor_slices((images, np.arange(n, dtype="int32")))
    return made if batch is None else made.batch(batch)


def test_a_dataset_of_images_arrives_with_its_batches_and_class_names():
    sent = dataset()
    sent.class_names = ["cat", "dog"]
    got = across(sent)
    assert got.class_names == ["cat", "dog"]
    assert [len(labels) for _, labels in got] == [3, 3, 1]
    for (a, b), (c, d) in zip(sent, got, strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)
    assert [label.shape.rank for _, label in across(dataset(batch=None))] == [0] * 7
    assert len(list(across(dataset().map(lambda x, y: x)))) == 3


def test_a_dataset_without_an_end_or_without_images_is_refused():
    bounds = Bounds(value_bytes=1 << 20)
    assert "without an end" in refusal(dataset().repeat(), bounds)
    assert "something else than images" in refusal(tf.data.Dataset.range(3))
    assert "something else than images" in refusal(dataset().map(lambda x, y: {"a": x}))
    assert "empty" in refusal(dataset().take(0))


# --- hostile models -------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable("mine")
class Mine(layers.Dense):
    """A layer of a student's own."""


class MyModel(keras.Model):
    """A model of a student's own."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, inputs):
        return self.dense(inputs)


def test_a_layer_of_ones_own_is_refused_in_plain_words():
    assert "not built into Keras; use built-in layers" in refusal(keras.Sequential([keras.Input((3,)), Mine(2)]))
    own = MyModel()
    own(np.zeros((1, 3)))
    assert "not built into Keras; use built-in layers" in refusal(own)
    assert "lambda" in refusal(keras.Sequential([keras.Input((3,)), layers.Lambda(lambda x: x)]))
    odd = intro(optimizer="adam", loss=lambda y, p: 0.0)
    assert "lambda" in refusal(odd)


@pytest.fixture(scope="module")
def parts() -> dict[str, bytes]:
    """The members of an honest `.keras` file."""
    crossed = honest({"x": intro(optimizer="adam", loss="mse")})
    content = crossed[crossed.index(b"PK\3\4") :]
    return model_files.read_zip(content, BOUNDS)


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def refused(content: bytes) -> str:
    """Why a model file does not cross, as a value and as a file."""
    as_value = read(forged({"t": "model", "b": 0}, [content]))
    assert "x" not in as_value.values
    as_file = read(forged(1, [content], files={"m.keras": 0}), files=["m.keras"])
    assert as_file.files == {}
    assert as_file.refused["m.keras"].startswith("the file `m.keras` cannot be handed to the test: ")
    return as_value.refused["x"]


def edited(parts: dict[str, bytes], edit: Callable[[dict], Any]) -> bytes:
    """The file with its configuration edited."""
    config = json.loads(parts["config.json"])
    edit(config)
    return zipped({**parts, "config.json": json.dumps(config).encode()})


def _layer(config: dict, place: int = -1) -> dict:
    return config["config"]["layers"][place]


def _set(path: str, value: Any, place: int = -1) -> Callable[[dict], None]:
    def edit(config: dict) -> None:
        node, *keys = _layer(config, place), *path.split(".")
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return edit


CODE = {"class_name": "__lambda__", "config": {"value": ["4wAAAAA=", None, None]}}
CONFIGS: dict[str, Callable[[dict], Any]] = {
    "a lambda as activation": _set("config.activation", CODE),
    "a lambda in the call's arguments": _set("inbound_nodes", [{"args": [CODE], "kwargs": {}}]),
    "a Lambda layer": _set("class_name", "Lambda"),
    "a saved model on disk": _set("class_name", "TFSMLayer"),
    "a torch module": _set("class_name", "TorchModuleWrapper"),
    "a vocabulary file": _set("class_name", "StringLookup"),
    "a class by module path": lambda c: _layer(c).update(module="keras.src.utils.file_utils", class_name="File"),
    "a class outside of Keras": lambda c: _layer(c).update(module="subprocess", class_name="Popen"),
    "a class of __main__": lambda c: _layer(c).update(module="__main__", class_name="Dense"),
    "no module": lambda c: _layer(c).update(module=None),
    "a registered name": lambda c: _layer(c).update(registered_name="mine>Mine"),
    "a function that downloads": _set(
        "config.activation",
        {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "get_file"},
    ),
    "a builtin function": _set(
        "config.activation",
        {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval"},
    ),
    "a function that enables lambdas": _set(
        "config.activation",
        {"module": "keras.config", "class_name": "function", "config": "enable_unsafe_deserialization"},
    ),
    "a type of tensors by module path": _set(
        "config.activation",
        {
            "class_name": "__typespec__",
            "spec_name": "Popen",
            "module": "subprocess",
            "config": [],
            "registered_name": None,
        },
    ),
    "an operation that calls a function": lambda c: _layer(c).update(module="keras.src.ops.core", class_name="Map"),
    "a method by dotted name": _set("class_name", "Dense.from_config"),
    "a class name that is a list": _set("class_name", ["Dense"]),
    "units without end": _set("config.units", 10**12),
    "units beyond 64 bits": _set("config.units", 10**40),
    "a symbolic tensor without end": _set(
        "inbound_nodes",
        [{"args": [{"class_name": "__keras_tensor__", "config": {"shape": [1, 10**12], "dtype": "float32"}}]}],
    ),
    "an input without end": _set("config.batch_shape", [None, 10**6, 10**6, 3], 0),
    "ten thousand layers": lambda c: c["config"]["layers"].extend([_layer(c)] * 10_000),
    "another class at the top": lambda c: c.update(module="keras.callbacks", class_name="LambdaCallback"),
    "a dataset at the top": lambda c: c.update(module="keras.utils", class_name="PyDataset"),
    "a layer at the top": lambda c: c.update(_layer(c)),
    "a lambda as loss": lambda c: c["compile_config"].update(loss=CODE),
    "a very long name": _set("name", "n" * 20_000),
}


SAYS = {
    "a lambda as activation": "contains a lambda",
    "a lambda in the call's arguments": "contains a lambda",
    "a Lambda layer": "contains a lambda",
    "a saved model on disk": "layer `TFSMLayer`, which a test cannot load",
    "a torch module": "layer `TorchModuleWrapper`, which a test cannot load",
    "a vocabulary file": "layer `StringLookup`, which a test cannot load",
    "a class by module path": "uses `File`, which is not built",
    "a class outside of Keras": "uses `Popen`, which is not built",
    "a class of __main__": "uses `Dense`, which is not built",
    "no module": "uses `Dense`, which is not built",
    "a registered name": "uses `mine>Mine`, which is not built",
    "a function that downloads": "the function `get_file`",
    "a builtin function": "the function `eval`",
    "a function that enables lambdas": "the function `enable_unsafe_deserialization`",
    "a type of tensors by module path": "uses `__typespec__`",
    "an operation that calls a function": "uses `Map`, which is not built",
    "a method by dotted name": "layer `Dense.from_config`",
    "a class name that is a list": "description of the model is damaged",
    "units without end": "more than 30,000,000 weights",
    "units beyond 64 bits": "a number that is too large",
    "a symbolic tensor without end": "a layer of the model is too large",
    "an input without end": "a layer of the model is too large",
    "ten thousand layers": "description of the model is too long",
    "another class at the top": "uses `Functional`",
    "a dataset at the top": "uses `Functional`",
    "a layer at the top": "could not load it again",
    "a lambda as loss": "contains a lambda",
    "a very long name": "description of the model is too long",
}


@pytest.mark.parametrize("what", CONFIGS)
def test_a_hostile_description_of_a_model_is_refused(parts, what):
    with pytest.raises(Refused, match=SAYS[what]):
        model_files.load_model(edited(parts, CONFIGS[what]), BOUNDS, BOUNDS.weights)


def test_a_description_that_is_written_anew_without_an_edit_loads(parts):
    model, weights = model_files.load_model(edited(parts, lambda config: None), BOUNDS, BOUNDS.weights)
    assert weights == model.count_params()


def test_a_description_that_names_code_is_refused_before_keras_sees_it(parts, monkeypatch):
    monkeypatch.setattr(keras.saving, "load_model", lambda *a, **k: pytest.fail("Keras was called"))
    assert "lambda" in refused(edited(parts, CONFIGS["a lambda as activation"]))
    assert "Popen" in refused(edited(parts, CONFIGS["a class outside of Keras"]))
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    assert "too long" in refused(edited(parts, _set("config.extra", deep)))


ARCHIVES: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "no zip": lambda p: b"not a zip",
    "a zip cut short": lambda p: zipped(p)[:-30],
    "no description": lambda p: zipped({"model.weights.h5": p["model.weights.h5"]}),
    "no weights": lambda p: zipped({"config.json": p["config.json"]}),
    "a path out of the folder": lambda p: zipped({**p, "../evil.py": b"x"}),
    "an absolute path": lambda p: zipped({**p, "/etc/evil": b"x"}),
    "assets": lambda p: zipped({**p, "assets/vocabulary.txt": b"x"}),
    "one more file": lambda p: zipped({**p, "helpers.py": b"x"}),
    "a thousand files": lambda p: zipped({**p, **{f"f{i}": b"" for i in range(1000)}}),
    "a bomb": lambda p: zipped({**p, "model.weights.h5": bytes(100 << 20)}, zipfile.ZIP_DEFLATED),
    "a bomb beyond all bounds": lambda p: zipped({**p, "model.weights.h5": bytes(BOUNDS.value_bytes + 1)}, 8),
    "packed by bzip2": lambda p: zipped(p, zipfile.ZIP_BZIP2),
    "packed by LZMA": lambda p: zipped(p, zipfile.ZIP_LZMA),
    "a description that is no object": lambda p: zipped({**p, "config.json": b"[1]"}),
    "a description that is no JSON": lambda p: zipped({**p, "config.json": b"\xff{"}),
    "a description nested without end": lambda p: zipped({**p, "config.json": b"[" * 10**5}),
    "a description of 5 MB": lambda p: zipped({**p, "config.json": b" " * (5 << 20) + p["config.json"]}),
    "weights that are none": lambda p: zipped({**p, "model.weights.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 5000}),
    "weights cut short": lambda p: zipped({**p, "model.weights.h5": p["model.weights.h5"][:3000]}),
}


ARCHIVES_SAY = {
    "no description": "not a model that `model.save` wrote",
    "no weights": "not a model that `model.save` wrote",
    "a path out of the folder": "a part that does not belong there",
    "an absolute path": "a part that does not belong there",
    "assets": "a part that does not belong there",
    "one more file": "carries files besides the model",
    "a thousand files": "more parts than such a file has",
    "a bomb": "packed more tightly",
    "a bomb beyond all bounds": "unpacked it is larger than 128 MB",
    "packed by bzip2": "packed in a way that such a file never is",
    "packed by LZMA": "packed in a way that such a file never is",
    "a description of 5 MB": "description of the model is too long",
    "weights that are none": "weights of the model are damaged",
    "weights cut short": "weights of the model are damaged",
    "no zip": "not a complete file of its kind",
    "a zip cut short": "not a complete file of its kind",
}


@pytest.mark.parametrize("what", ARCHIVES)
def test_a_hostile_archive_is_refused(parts, what):
    assert ARCHIVES_SAY.get(what, "description of the model is damaged") in refused(ARCHIVES[what](parts))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_part_that_stands_twice_is_refused(parts):
    file = io.BytesIO(zipped(parts))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("config.json", parts["config.json"])
    assert "more parts" in refused(file.getvalue())


def h5(edit: Callable[[h5py.File], Any], parts: dict[str, bytes], folder: Path) -> bytes:
    """A file with its weights edited."""
    path = folder / "weights.h5"
    path.write_bytes(parts["model.weights.h5"])
    with h5py.File(path, "r+") as file:
        edit(file)
    return path.read_bytes()


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(4,))
    file.create_virtual_dataset("v", layout)


def _external(file: h5py.File) -> None:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_external(b"/etc/passwd", 0, 16)
    h5py.h5d.create(file.id, b"v", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), plist)


WEIGHTS: dict[str, Callable[[h5py.File], Any]] = {
    "an external link": lambda f: f.__setitem__("v", h5py.ExternalLink("/etc/passwd", "/")),
    "an external link to weights": lambda f: f.__setitem__("v", h5py.ExternalLink(f.filename, "/vars")),
    "a soft link": lambda f: f.__setitem__("v", h5py.SoftLink("/layers/conv2d")),
    "a hard link to an ancestor": lambda f: f["layers"].__setitem__("v", f["/layers"]),
    "external storage": _external,
    "a virtual dataset": _virtual,
    "10**12 elements in no bytes": lambda f: f.create_dataset("v", (10**12,), "f4"),
    "a compressed dataset": lambda f: f.create_dataset("v", data=np.zeros(10**5), compression="gzip"),
    "objects": lambda f: f.create_dataset("v", data=["a", "b"], dtype=h5py.string_dtype()),
    "a named type": lambda f: f.__setitem__("v", np.dtype("f8")),
    "an old model": lambda f: f.attrs.__setitem__("model_config", "{}"),
    "groups without end": lambda f: f.create_group("/".join("g" * 60)),
}


WEIGHTS_SAY = {
    "external storage": "stored somewhere else",
    "a virtual dataset": "stored somewhere else",
    "10**12 elements in no bytes": "a shape does not fit its size",
    "a compressed dataset": "packed, as Keras never does",
    "objects": "something else than numbers",
    "a named type": "something else than weights",
    "an old model": "the old `.h5` format",
    "groups without end": "too many parts",
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_hostile_weights_are_refused(parts, what, tmp_path):
    content = h5(WEIGHTS[what], parts, tmp_path)
    says = WEIGHTS_SAY.get(what, "link to somewhere else")
    assert says in refused(zipped({**parts, "model.weights.h5": content}))
    crossed = read(forged(1, [content], files={"a.weights.h5": 0}), files=["a.weights.h5"])
    assert crossed.files == {}
    assert says in crossed.refused["a.weights.h5"]


def test_a_checked_file_holds_its_parts_and_nothing_else(parts):
    padded = zipped(parts) + b"trailing evil"
    content = model_files.checked_keras_file(padded, BOUNDS)
    assert b"evil" not in content
    assert model_files.read_zip(content, BOUNDS) == {**parts}
    with pytest.raises(Refused, match="begins as another kind of file does"):
        model_files.checked_keras_file(b"MZ evil stub" + padded, BOUNDS)


def test_a_part_that_unpacks_to_more_than_it_says_is_not_unpacked_to_its_end(parts):
    size = 200 << 20
    bomb = zipped({**parts, "model.weights.h5": bytes(size)}, zipfile.ZIP_DEFLATED)
    liar = bomb.replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    tracemalloc.start()
    try:
        with pytest.raises(Refused, match="it is damaged"):
            model_files.read_zip(liar, BOUNDS)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def test_a_model_with_more_weights_than_may_cross_is_refused():
    bounds = Bounds(weights=100)
    assert "more than 100 weights" in refusal(intro(), bounds)
    two = read(honest({"x": [intro(), intro()]}), Bounds(weights=400))
    assert "weights" in two.refused["x"]


def test_a_model_whose_pictures_grow_without_end_is_refused():
    grown = keras.Sequential([keras.Input((8, 8, 3)), layers.UpSampling2D(10_000), layers.GlobalAveragePooling2D()])
    assert "a layer of the model is too large" in refusal(grown)


def test_loading_leaves_keras_as_it_was(parts):
    before = keras.Layer.add_weight
    with pytest.raises(Refused):
        model_files.load_model(edited(parts, CONFIGS["units without end"]), BOUNDS, BOUNDS.weights)
    assert keras.Layer.add_weight is before


def test_a_hostile_layer_or_optimizer_is_refused():
    for config in (
        {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None},
        {"module": "keras.callbacks", "class_name": "LambdaCallback", "config": {}, "registered_name": None},
        {"module": "builtins", "class_name": "function", "config": "relu", "registered_name": "relu"},
        {"class_name": "__lambda__", "config": {"value": "x"}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": "many"}, "registered_name": None},
        {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None},
        [1],
    ):
        crossed = read(forged({"t": "keras_object", "b": 0}, [json.dumps(config).encode()]))
        assert crossed.values == {}


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["config.json", "model.weights.h5", "zip"]))
def test_a_damaged_model_loads_or_is_refused_and_nothing_worse(rng: random.Random, where):
    good = model_files.read_zip(_MODEL, BOUNDS)
    raw = bytearray(_MODEL if where == "zip" else good[where])
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(raw))
        raw[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
    content = bytes(raw) if where == "zip" else zipped({**good, where: bytes(raw)})
    try:
        model_files.checked_keras_file(content, BOUNDS)
    except Refused:
        return


_raw = honest({"x": keras.Sequential([keras.Input((3,)), layers.Dense(2)])})
_MODEL = _raw[_raw.index(b"PK\3\4") :]
assert os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
