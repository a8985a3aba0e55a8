"""The state before an exercise is put back after each variant, whatever the variant did."""

from __future__ import annotations

import os
import random
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autograder import bank

keras = pytest.importorskip("keras")


@pytest.fixture(autouse=True)
def room(tmp_path_factory, monkeypatch):
    """Where copies of files are kept, also by programs that a test starts."""
    folder = str(tmp_path_factory.mktemp("room"))
    monkeypatch.setattr(tempfile, "tempdir", folder)
    monkeypatch.setenv("TMPDIR", folder)


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return runpy.run_path(str(Path(bank.__file__).parent / "inside" / "snapshot.py"))


def test_names_that_were_changed_added_or_deleted_are_as_they_were(snapshot):
    inner = [1, 2]
    names = {"numbers": inner, "same": inner, "array": np.arange(3), "table": pd.DataFrame({"a": [1]}), "text": "x"}
    snapshot["save"](names)
    for _ in range(2):
        names["numbers"].append(3)
        names["array"][0] = 9
        names["table"]["b"] = 2
        names["text"] = "y"
        names["new"] = 1
        del names["same"]
        snapshot["restore"](names)
        assert set(names) == {"numbers", "same", "array", "table", "text"}
        assert names["numbers"] == [1, 2] and names["same"] is names["numbers"]
        assert names["array"].tolist() == [0, 1, 2] and list(names["table"]) == ["a"] and names["text"] == "x"


def test_files_are_as_they_were(snapshot):
    Path("models").mkdir()
    Path("models/kept.txt").write_text("kept")
    names: dict = {}
    snapshot["save"](names)
    Path("models/kept.txt").write_text("changed")
    Path("models/new.txt").write_text("new")
    Path("more").mkdir()
    snapshot["restore"](names)
    assert sorted(str(path) for path in Path().rglob("*")) == ["models", "models/kept.txt"]
    assert Path("models/kept.txt").read_text() == "kept"


def test_what_is_mounted_in_the_work_folder_is_left_alone(tmp_path, needs_bubblewrap):
    (tmp_path / "lent").mkdir()
    (tmp_path / "lent" / "theirs.txt").write_text("theirs")
    code = (
        "import pathlib, runpy, sys\n"
        "snapshot, names = runpy.run_path(sys.argv[1]), {}\n"
        "pathlib.Path('mine.txt').write_text('mine')\n"
        "snapshot['save'](names)\n"
        "pathlib.Path('mine.txt').unlink()\n"
        "snapshot['restore'](names)\n"
        "print(pathlib.Path('mine.txt').read_text(), pathlib.Path('course/lib/theirs.txt').read_text())\n"
        "print(*pathlib.Path(snapshot['SAVED']['folder']).iterdir())\n"
    )
    work, lib = tmp_path / "work", tmp_path / "work" / "course" / "lib"
    lib.mkdir(parents=True)
    snapshot = Path(bank.__file__).parent / "inside" / "snapshot.py"
    sandbox = ["bwrap", "--dev-bind", "/", "/", "--ro-bind", str(tmp_path / "lent"), str(lib), "--chdir", str(work)]
    done = subprocess.run([*sandbox, sys.executable, "-c", code, str(snapshot)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    read, copied = done.stdout.splitlines()
    assert read == "mine theirs"
    assert [Path(path).name for path in copied.split()] == ["mine.txt"]


def everything(model):
    """All that a model is: what it holds as bytes, and which objects it is made of."""
    variables = [*model.variables, *(model.optimizer.variables if model.optimizer else ())]
    return (
        [(id(v), np.asarray(v).tobytes(), v.trainable) for v in variables],
        [(id(layer), layer.trainable, layer.name) for layer in model.layers],
        [id(getattr(model, name, None)) for name in ("optimizer", "loss", "train_function", "predict_function")],
        model.compiled,
        model.get_config(),
        model.get_compile_config(),
    )


def data():
    return np.arange(8.0).reshape(4, 2), np.arange(4.0)


def spoil_by_training(names):
    names["model"].fit(*data(), epochs=2, verbose=0)


def spoil_by_compiling(names):
    names["model"].compile(optimizer="adam", loss="mae", metrics=["mse"])
    names["model"].fit(*data(), verbose=0)


def spoil_the_weights(names):
    names["model"].set_weights([weight * 0 + 7 for weight in names["model"].get_weights()])


def spoil_the_flags(names):
    names["layer"].trainable = False
    names["model"].compile(loss="mse")


def spoil_the_layers(names):
    names["model"].add(keras.layers.Dense(3))
    names["model"].pop()
    names["model"].pop()


def spoil_the_optimizer(names):
    names["model"].optimizer.learning_rate = 7.0
    names["optimizer"].momentum = 0.5


def spoil_by_forgetting(names):
    keras.backend.clear_session()
    names["model"] = small_model()


def small_model():
    inputs = keras.Input((2,))
    model = keras.Sequential([inputs, keras.layers.Dropout(0.5), keras.layers.Dense(1, name="last")])
    model.compile(optimizer=keras.optimizers.SGD(momentum=0.9), loss="mse", metrics=["mae"])
    return model


@pytest.mark.slow
@pytest.mark.parametrize("trained", [True, False])
def test_a_model_is_as_it_was_in_all_its_parts_and_goes_on_as_if_nothing_had_been(snapshot, trained):
    keras.utils.set_random_seed(5)
    model = small_model()
    names = {"model": model, "alias": model, "optimizer": model.optimizer, "layer": model.layers[-1]}
    if trained:
        names["history"] = model.fit(*data(), verbose=0)
    shared = dict(names)
    snapshot["save"](names)
    before = everything(model)
    name = keras.layers.Dense(1).name

    def losses():
        return model.fit(*data(), epochs=2, verbose=0).history["loss"]

    first = losses()
    for spoil in (
        spoil_by_training,
        spoil_the_weights,
        spoil_the_flags,
        spoil_the_layers,
        spoil_the_optimizer,
        spoil_by_forgetting,
        spoil_by_compiling,
    ):
        snapshot["restore"](names)
        spoil(names)
        snapshot["restore"](names)
        assert names == shared and all(names[each] is shared[each] for each in shared)
        assert everything(model) == before, spoil.__name__
        assert keras.layers.Dense(1).name == name, "Keras goes on counting the names that it gives"
    snapshot["restore"](names)
    assert losses() == first, "dropout, order and steps are the same"


def test_what_hangs_on_a_history_a_dataset_or_an_object_of_the_notebook_is_as_it_was(snapshot):
    import tensorflow as tf

    model = small_model()
    history = model.fit(*data(), epochs=2, verbose=0)
    dataset = tf.data.Dataset.from_tensor_slices(np.arange(4))
    dataset.class_names = ["cat", "dog"]
    kind = type("Kept", (), {"__module__": "__main__"})
    kept = kind()
    kept.numbers = [1]
    names = {"history": history, "dataset": dataset, "kept": kept, "pair": (kept, [1])}
    snapshot["save"](names)
    losses = list(history.history["loss"])
    history.history["loss"].pop()
    history.epoch = []
    dataset.class_names.reverse()
    dataset.more = 1
    kept.numbers.append(2)
    kept.other = 3
    names["pair"][1].clear()
    snapshot["restore"](names)
    assert history.history["loss"] == losses and history.epoch == [0, 1]
    assert dataset.class_names == ["cat", "dog"] and not hasattr(dataset, "more")
    assert vars(kept) == {"numbers": [1]} and names["pair"] == (kept, [1])


def draws():
    import tensorflow as tf

    return (
        random.random(),
        np.random.rand(),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
        keras.layers.Dropout(0.5).seed_generator.state.numpy().tolist(),
    )


@pytest.mark.parametrize("seeded", [True, False])
def test_random_numbers_go_on_where_they_were(snapshot, seeded):
    import tensorflow as tf

    own = np.random.default_rng(1)
    undisturbed = None
    if seeded:
        keras.utils.set_random_seed(3)
        draws()
        undisturbed = draws()
        keras.utils.set_random_seed(3)
    draws()
    names: dict = {"own": own}
    snapshot["save"](names)
    first = draws(), own.random()
    assert not seeded or first[0] == undisturbed
    for _ in range(2):
        keras.utils.set_random_seed(8)
        tf.random.set_seed(9)
        snapshot["restore"](names)
        again = draws(), own.random()
        assert again == first if seeded else (again[0][:2], again[1]) == (first[0][:2], first[1])


def test_the_folder_and_the_settings_of_figures_are_as_they_were(snapshot, tmp_path):
    plt = pytest.importorskip("matplotlib.pyplot")
    before = plt.rcParams["font.size"]
    names: dict = {}
    snapshot["save"](names)
    plt.rcParams["font.size"] = before + 3
    plt.figure()
    Path("more").mkdir()
    os.chdir("more")
    os.environ["LEFT_BEHIND"] = "1"
    snapshot["restore"](names)
    assert plt.rcParams["font.size"] == before and not plt.get_fignums()
    assert Path.cwd() == tmp_path and not list(Path().iterdir())
    assert "LEFT_BEHIND" not in os.environ


def test_functions_modules_and_what_python_keeps_for_itself_are_left_alone(snapshot):
    names = {"np": np, "len_of": len, "_private": 1, "__name__": "__main__"}
    snapshot["save"](names)
    names["_private"] = 2
    names["len_of"] = None
    snapshot["restore"](names)
    assert names["np"] is np and names["len_of"] is len and names["_private"] == 2
