"""The state before an exercise is put back after each variant, whatever the variant did."""

from __future__ import annotations

import random
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autograder import bank

keras = pytest.importorskip("keras")


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return runpy.run_path(str(Path(bank.__file__).parent / "inside" / "snapshot.py"))


def small_model():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse")
    return model


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


def test_a_model_that_was_trained_or_compiled_anew_is_as_it_was_and_an_untouched_one_stays(snapshot):
    model, other = small_model(), small_model()
    names = {"model": model, "alias": model, "other": other}
    before = [weight.copy() for weight in model.get_weights()]
    snapshot["save"](names)
    for _ in range(2):
        names["model"].compile(optimizer="adam", loss="mae")
        names["model"].fit(np.ones((4, 2)), np.ones(4), verbose=0)
        snapshot["restore"](names)
        assert all(np.array_equal(a, b) for a, b in zip(names["model"].get_weights(), before, strict=True))
        assert names["model"].loss == "mse" and isinstance(names["model"].optimizer, keras.optimizers.SGD)
        assert names["alias"] is names["model"]
        assert names["other"] is other


def test_random_numbers_begin_anew(snapshot):
    names: dict = {}
    snapshot["save"](names)
    first = (random.random(), np.random.rand())
    snapshot["restore"](names)
    assert (random.random(), np.random.rand()) == first


def test_functions_modules_and_what_python_keeps_for_itself_are_left_alone(snapshot):
    names = {"np": np, "len_of": len, "_private": 1, "__name__": "__main__"}
    snapshot["save"](names)
    names["_private"] = 2
    names["len_of"] = None
    snapshot["restore"](names)
    assert names["np"] is np and names["len_of"] is len and names["_private"] == 2
