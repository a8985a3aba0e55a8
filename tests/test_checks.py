"""The checks that visible and hidden tests share."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from types import SimpleNamespace

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
import tensorflow as tf

from helpers import checks, create_model_intro
from helpers.checks import CheckError, NotAttempted

NAMES = ["airplane", "bird", "cat", "dog", "truck"]

# Values of every kind that a notebook may hold under a name where something else should be.
ODD = {
    "None": None,
    "text": "cat",
    "empty text": "",
    "a number": 3.5,
    "not a number": float("nan"),
    "infinity": float("inf"),
    "True": True,
    "an empty list": [],
    "a ragged list": [[1, 2], [3]],
    "a list of text": ["a", "b"],
    "a dict": {"a": 1},
    "an object array": np.array([object()]),
    "bytes": b"abc",
    "a function": len,
    "a class": dict,
    "an empty array": np.zeros((0, 5)),
    "a complex array": np.ones(3, dtype=complex),
    "a tensor of text": tf.constant(["a"]),
    "a generator": (number for number in range(2)),
    "a range": range(3),
    "a namespace": SimpleNamespace(history=3, shape="odd"),
}


def tiny_model(classes: int = 5, size: int = 8) -> keras.Model:
    """A model small enough to save and load in no time."""
    return keras.Sequential(
        [keras.Input((size, size, 3)), keras.layers.Flatten(), keras.layers.Dense(classes, activation="softmax")]
    )


def images_of(count: int, size: int = 8) -> np.ndarray:
    return np.random.default_rng(count).uniform(0, 1, (count, size, size, 3)).astype("float32")


@pytest.fixture(scope="module")
def trained_model():
    """A tiny trained model and its history."""
    keras.utils.set_random_seed(1)
    model = tiny_model()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images_of(64), np.arange(64) % 5, epochs=2, verbose=0)
    return model, history


# --- tried or not, right kind or not ---


@pytest.mark.parametrize("blank", [..., [..., 1], (1, ...), {"a": ...}])
def test_a_blank_is_not_attempted_yet_and_is_named(blank):
    with pytest.raises(NotAttempted, match=r"^not attempted yet: first_label is still a blank"):
        checks.attempted(done=1, first_label=blank)


def test_several_blanks_are_named_together():
    with pytest.raises(NotAttempted, match=r"^not attempted yet: a, b and c are still blanks"):
        checks.attempted(a=..., b=..., c=..., d=0)


@pytest.mark.parametrize("value", [v for k, v in ODD.items()] + [np.array([...], dtype=object)])
def test_a_wrong_value_is_attempted(value):
    checks.attempted(value=value)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "check",
    [
        lambda v: checks.expect_model(v, "it"),
        lambda v: checks.expect_history(v, "it"),
        lambda v: checks.output_shapes(v, (None, 8), (None, 5), "it"),
        lambda v: checks.compiled(v, "adam", name="it"),
        lambda v: checks.trained(v, name="it"),
        lambda v: checks.parameter_count(v, 5, "it"),
        lambda v: checks.layer_order(v, ["Dense"], "it"),
        lambda v: checks.weights_changed([np.ones(2)], v, "it"),
        lambda v: checks.probabilities(v, name="it"),
        lambda v: checks.class_index(v, 3, "it"),
        lambda v: checks.same_values(v, np.ones((2, 2)), "it", "ones"),
        lambda v: checks.above_chance(v, (images_of(4), np.zeros(4)), name="it"),
        lambda v: checks.predict(v, images_of(2), "it"),
        lambda v: checks.predictions_match(v, tiny_model(), images_of(1), "it"),
        lambda v: checks.figure(v, "it"),
        lambda v: checks.figure(checks.figure_facts(v), "it"),
        lambda v: checks.returned(v, "it", 2),
        lambda v: checks.expect_text(v, "it", ["dog"]),
    ],
)
def test_a_value_of_a_wrong_kind_is_a_wrong_answer_and_never_an_obscure_error(check, odd):
    with pytest.raises(CheckError) as raised:
        check(ODD[odd])
    said = str(raised.value)
    assert said.startswith(("it", "not attempted yet: it"))
    assert "object at 0x" not in said
    assert len(said) < 400


def test_the_message_says_what_was_expected_and_what_was_found():
    with pytest.raises(CheckError, match=r"^model_intro: expected a Keras model, found str$"):
        checks.expect_model("cnn", "model_intro")
    with pytest.raises(CheckError, match=r"found a function \(create_model_intro\); was it called, with \(\)"):
        checks.expect_model(create_model_intro)
    with pytest.raises(CheckError, match=r"found an array of shape \(2, 3\) and type float64"):
        checks.expect_model(np.ones((2, 3)))


def test_a_notebook_shows_the_message_alone_and_not_the_way_through_the_checks():
    assert CheckError("x: expected a, found b")._render_traceback_() == ["x: expected a, found b"]


@pytest.mark.parametrize("three", [3, 3.0, np.int64(3), np.array(3), np.array([3]), tf.constant(3), tf.constant([3])])
def test_a_class_number_may_come_in_any_numeric_form(three):
    assert checks.class_index(three) == 3


@pytest.mark.parametrize(
    ("value", "found"),
    [(5, "found 5"), (-1, "found -1"), (2.5, "found 2.5"), ("cat", "found text"), ([1, 2], "found list")],
)
def test_what_is_no_class_number_is_told(value, found):
    with pytest.raises(CheckError, match=found):
        checks.class_index(value)


def test_numbers_are_held_to_their_limits():
    assert checks.expect_number(tf.constant(0.25), "share", low=0, high=1) == 0.25
    with pytest.raises(CheckError, match=r"share: expected a number from 0 to 1, found 1.5"):
        checks.expect_number(1.5, "share", low=0, high=1)
    with pytest.raises(CheckError, match=r"count: expected a whole number, found 1.5"):
        checks.expect_number(1.5, "count", whole=True)


def test_text_outside_the_list_is_told_and_cut_short():
    assert checks.expect_text("dog", "name", NAMES) == "dog"
    with pytest.raises(
        CheckError, match=r"expected one of 'airplane', 'bird', 'cat', 'dog' and 'truck', found 'x+\.\.\.$"
    ):
        checks.expect_text("x" * 1000, "name", NAMES)


def test_arrays_are_held_to_shape_and_range():
    assert checks.expect_array([[1, 2]], "a", (1, None)).shape == (1, 2)
    with pytest.raises(CheckError, match=r"a: expected shape \(2, 2\), found \(1, 2\)"):
        checks.expect_array([[1, 2]], "a", (2, 2))
    with pytest.raises(CheckError, match="a: expected values of at least 0 and at most 1, found values from 0 to 2"):
        checks.expect_array([0, 2], "a", low=0, high=1)
    with pytest.raises(CheckError, match="not finite"):
        checks.expect_array([0, np.inf], "a")


def test_wrong_values_are_told_without_the_right_ones():
    checks.same_values(tf.constant([1.0, 2.0]), [1, 2], "a", "the mean colours")
    with pytest.raises(CheckError) as raised:
        checks.same_values([1, 5], [1, 77], "a", "the mean colours")
    assert str(raised.value) == "a: expected the mean colours, found other values"


# --- models ---


def test_shapes_are_compared_and_both_are_told():
    checks.output_shapes(create_model_intro(), (None, 32, 32, 3), (None, 5))
    with pytest.raises(
        CheckError, match=r"expected a model that returns arrays of shape \(None, 5\), found \(None, 10\)"
    ):
        checks.output_shapes(create_model_intro(num_classes=10), (None, 32, 32, 3), (None, 5))
    with pytest.raises(CheckError, match=r"takes arrays of shape \(None, 32, 32, 3\), found \(None, 28, 28, 3\)"):
        checks.output_shapes(create_model_intro((28, 28, 3)), (None, 32, 32, 3))


def test_a_model_without_shapes_yet_is_told_apart():
    unbuilt = keras.Sequential([keras.layers.Dense(5)])
    with pytest.raises(CheckError, match="found one not built yet"):
        checks.output_shapes(unbuilt, (None, 3), (None, 5))
    with pytest.raises(CheckError, match="without weights"):
        checks.parameter_count(unbuilt, 5)


def test_parameters_are_counted_without_telling_the_right_number():
    checks.parameter_count(create_model_intro(), 18_453)
    with pytest.raises(CheckError, match="expected more parameters, found 18,453") as raised:
        checks.parameter_count(create_model_intro(), 19_000)
    assert "19" not in str(raised.value)


def test_layers_are_found_in_order_with_or_without_others_between():
    model = create_model_intro()
    found = checks.layer_order(model, ["Conv2D", "Flatten", "Dense"])
    assert [type(layer).__name__ for layer in found] == ["Conv2D", "Flatten", "Dense"]
    checks.layer_order(model, ["Rescaling", "Conv2D|SeparableConv2D", "MaxPooling2D", "Flatten", "Dense"], exact=True)
    with pytest.raises(CheckError, match="expected a Conv2D layer after Flatten, found the layers Rescaling, Conv2D"):
        checks.layer_order(model, ["Flatten", "Conv2D"])
    with pytest.raises(CheckError, match="expected 2 layers, found 5"):
        checks.layer_order(model, ["Rescaling", "Conv2D"], exact=True)


@pytest.mark.parametrize(
    ("optimizer", "loss", "metric"),
    [
        ("adam", "sparse_categorical_crossentropy", "accuracy"),
        ("Adam", keras.losses.SparseCategoricalCrossentropy(), "acc"),
        (keras.optimizers.Adam(0.01), keras.losses.sparse_categorical_crossentropy, "sparse_categorical_accuracy"),
        (
            keras.optimizers.Adam(),
            "SparseCategoricalCrossentropy",
            keras.metrics.SparseCategoricalAccuracy(name="hits"),
        ),
    ],
)
def test_a_name_and_its_object_compile_alike_also_once_saved_and_loaded(optimizer, loss, metric, tmp_path):
    model = tiny_model()
    model.compile(optimizer=optimizer, loss=loss, metrics=[metric])
    model.save(tmp_path / "m.keras")
    for copy in (model, keras.saving.load_model(tmp_path / "m.keras")):
        checks.compiled(copy, "adam", "sparse_categorical_crossentropy", ["accuracy"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (None, "expected a compiled model, found one that is not compiled yet"),
        ({"optimizer": "sgd", "loss": "sparse_categorical_crossentropy"}, "expected the optimizer 'adam', found 'sgd'"),
        (
            {"optimizer": "adam", "loss": "mse"},
            "expected the loss 'sparse_categorical_crossentropy', found '.*(mse|mean)",
        ),
        ({"optimizer": "adam", "loss": "sparse_categorical_crossentropy"}, "metric 'accuracy', found no metric"),
        (
            {"optimizer": "adam", "loss": "sparse_categorical_crossentropy", "metrics": ["mae"]},
            "expected the metric 'accuracy', found '.*(mae|mean)",
        ),
    ],
)
def test_how_a_model_is_compiled_is_compared(settings, message):
    model = tiny_model()
    if settings:
        model.compile(**settings)
    with pytest.raises(CheckError, match=message):
        checks.compiled(model, "adam", "sparse_categorical_crossentropy", ["accuracy"])


def test_a_trained_model_is_told_from_one_that_never_was(trained_model):
    model, history = trained_model
    checks.trained(model, history)
    fresh = tiny_model()
    fresh.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    with pytest.raises(CheckError, match="weights have never been adjusted"):
        checks.trained(fresh, history)


def test_a_history_that_tells_more_than_the_model_went_through_is_refused(trained_model):
    with pytest.raises(CheckError, match="tells of 99 epochs"):
        checks.trained(trained_model[0], SimpleNamespace(history={"loss": [1.0] * 99}))


def test_a_history_may_be_a_copy_and_spell_accuracy_its_own_way():
    copy = SimpleNamespace(history={"loss": np.array([2, 1]), "sparse_categorical_accuracy": [0.1, 0.2]}, epoch=[0, 1])
    recorded = checks.expect_history(copy, needs=["loss", "accuracy"])
    assert recorded == {"loss": [2.0, 1.0], "accuracy": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("history", "message"),
    [
        ({"loss": [1.0]}, "expected what model.fit returns, found dict"),
        (SimpleNamespace(history={"loss": [1.0]}), "'accuracy' to be recorded after each epoch, found 'loss'"),
        (SimpleNamespace(history={"loss": [], "accuracy": []}), "at least one epoch, found none"),
        (SimpleNamespace(history={"loss": [1.0], "accuracy": [0.1, 0.2]}), "as many numbers"),
        (SimpleNamespace(history={"loss": [float("nan")], "accuracy": [0.1]}), "not finite"),
        (SimpleNamespace(history={"loss": ["a"], "accuracy": [0.1]}), "expected an array of numbers"),
    ],
)
def test_what_fit_did_not_return_is_refused(history, message):
    with pytest.raises(CheckError, match=message):
        checks.expect_history(history, needs=["loss", "accuracy"])


def test_a_history_of_too_few_epochs_is_told():
    assert checks.expect_history(SimpleNamespace(history={"loss": [2.0, 1.0]}), at_least=2) == {"loss": [2.0, 1.0]}
    with pytest.raises(CheckError, match="history: expected at least 2 epochs, found 1"):
        checks.expect_history(SimpleNamespace(history={"loss": [2.0]}), at_least=2)


def test_weights_that_did_not_move_are_told():
    model = tiny_model()
    before = model.get_weights()
    with pytest.raises(CheckError, match="found the ones it began with"):
        checks.weights_changed(before, model)
    checks.weights_changed([weight + 0.1 for weight in before], model)
    with pytest.raises(CheckError, match="same layers before and after"):
        checks.weights_changed(before, tiny_model(classes=10))


# --- predictions ---


def test_probabilities_may_be_a_tensor_a_list_or_a_single_row():
    for values in ([[0.5, 0.5, 0, 0, 0]], tf.constant([0.5, 0.5, 0, 0, 0]), np.full((1, 5), 0.2)):
        assert checks.probabilities(values, rows=1).shape == (1, 5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.full((1, 10), 0.1), r"each of 5 classes, shape \(1, 5\), found shape \(1, 10\)"),
        (np.full((2, 5), 0.2), r"shape \(1, 5\), found shape \(2, 5\)"),
        ([[2, -1, 0, 0, 0]], "from 0 to 1, found numbers from -1 to 2"),
        ([[0.5, 0.1, 0, 0, 0]], "add up to 1, found a sum of 0.6"),
        ([[float("nan")] * 5], "not finite"),
    ],
)
def test_what_are_no_probabilities_is_told(values, message):
    with pytest.raises(CheckError, match=message):
        checks.probabilities(values, rows=1)


def test_predictions_of_another_model_or_another_image_are_refused(trained_model):
    model, images = trained_model[0], images_of(2)
    own = model.predict(images, verbose=0)
    checks.predictions_match(own, model, images)
    checks.predictions_match(own[0], model, images[:1])
    for other in (own[::-1], tiny_model().predict(images, verbose=0)):
        with pytest.raises(CheckError, match="found other numbers"):
            checks.predictions_match(other, model, images)
    with pytest.raises(CheckError, match=r"expected shape \(2, 5\), found \(1, 5\)"):
        checks.predictions_match(own[:1], model, images)


def test_the_most_probable_class_is_asked_for_by_number_or_name():
    shares = np.array([[0.1, 0.6, 0.3], [0.4999, 0.5001, 0.0]])
    checks.most_probable([1, 0], shares, "label")
    checks.most_probable(["b", "b"], shares, "name", ["a", "b", "c"])
    with pytest.raises(CheckError, match="label: expected the class with the highest probability, found 2"):
        checks.most_probable([1, 2], shares, "label")
    with pytest.raises(CheckError, match="found 'c'"):
        checks.most_probable(["b", "c"], shares, "name", ["a", "b", "c"])


def test_images_of_another_size_are_told_and_not_a_keras_error():
    with pytest.raises(CheckError, match=r"takes images of shape \(8, 8, 3\), found one that takes \(4, 4, 3\)"):
        checks.predict(tiny_model(size=4), images_of(2))


def predictions(right: int, n: int = 500) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Probabilities with so many right answers, and the data that they are about."""
    labels = np.arange(n) % 5
    guessed = np.where(np.arange(n) < right, labels, (labels + 1) % 5)
    return np.eye(5)[guessed], (np.zeros((n, 1, 1, 3)), labels)


def test_above_chance_draws_its_line_where_the_exact_binomial_test_does():
    """At n = 500, five classes and p < 0.001: P(X >= 129) = 0.00099 and P(X >= 128) = 0.00138."""
    result = checks.above_chance(*predictions(129))
    assert (result.correct, result.n, result.chance, result.accuracy) == (129, 500, 0.2, 0.258)
    assert result.needed == 0.258
    assert result.p_value < 0.001
    assert "129 of 500 images right" in str(result)
    with pytest.raises(
        CheckError, match=r"found 0\.256 on 500 images .* guessing gets 0\.20, and at least 0\.258 is needed"
    ):
        checks.above_chance(*predictions(128))


def test_above_chance_names_the_accuracy_that_the_lesson_asks_for():
    with pytest.raises(CheckError, match=r"found 0\.200 on 500 images .*, and at least 0\.320 is needed$"):
        checks.above_chance(*predictions(100), at_least=0.32)
    with pytest.raises(CheckError, match=r"an accuracy of at least 0\.32, found 0\.318"):
        checks.above_chance(*predictions(159), at_least=0.32)


def test_above_chance_can_ask_for_more_than_luck_cannot_explain():
    assert checks.above_chance(*predictions(160), at_least=0.32).accuracy == 0.32
    with pytest.raises(CheckError, match=r"at least 0\.32, found 0\.318 on 500 images .* guessing gets 0\.20"):
        checks.above_chance(*predictions(159), at_least=0.32)


@pytest.mark.parametrize(("n", "classes", "p"), [(50, 5, 0.001), (250, 5, 0.01), (500, 2, 0.001), (12, 10, 0.05)])
def test_the_accuracy_needed_is_the_least_that_passes(n, classes, p):
    labels = np.arange(n) % classes
    result = checks.above_chance(np.eye(classes)[labels], (np.zeros((n, 1)), labels), classes, p)
    least = round(result.needed * n)
    for right, passes in ((least, True), (least - 1, False)):
        guessed = np.where(np.arange(n) < right, labels, (labels + 1) % classes)
        if passes:
            checks.above_chance(np.eye(classes)[guessed], (np.zeros((n, 1)), labels), classes, p)
        else:
            with pytest.raises(CheckError):
                checks.above_chance(np.eye(classes)[guessed], (np.zeros((n, 1)), labels), classes, p)


def test_one_answer_for_everything_is_chance():
    with pytest.raises(CheckError, match="luck can't explain"):
        checks.above_chance(np.eye(5)[np.zeros(500, int)], predictions(0)[1])


def test_above_chance_reads_models_and_datasets(trained_model):
    model = trained_model[0]
    images = images_of(100)
    labels = model.predict(images, verbose=0).argmax(axis=1)
    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).batch(32)
    assert checks.above_chance(model, dataset).accuracy == 1.0
    with pytest.raises(CheckError, match=r"expected 5 numbers for each image, one for each class, found \(10,\)"):
        checks.above_chance(tiny_model(classes=10), dataset)


def test_a_model_that_answers_nan_is_not_right_by_accident():
    model = tiny_model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(CheckError, match="not finite"):
        checks.above_chance(model, (images_of(50), np.zeros(50)))


# --- saved models ---


@pytest.fixture(scope="module")
def saved_model(trained_model, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.keras"
    trained_model[0].save(path)
    return path


@pytest.mark.slow
def test_a_saved_model_reloads_in_a_process_of_its_own(saved_model, trained_model):
    found = checks.reloads(saved_model, (images_of(6), np.zeros(6)), trained_model[0])
    np.testing.assert_allclose(found.predictions, trained_model[0].predict(images_of(6), verbose=0), atol=1e-5)
    assert found.optimizer == "Adam"
    assert found.outline[-1][0] == "Dense"


@pytest.mark.slow
def test_a_model_saved_before_its_training_is_told(saved_model):
    other = tiny_model()
    with pytest.raises(CheckError, match="predict the same numbers as model_intro, found others"):
        checks.reloads(saved_model, (images_of(6), np.zeros(6)), other, "model_intro")


@pytest.mark.slow
def test_a_model_with_other_layers_is_told(saved_model):
    with pytest.raises(
        CheckError, match="same layers, of the same sizes, as in model_intro, found others: Flatten and Dense"
    ):
        checks.reloads(saved_model, (images_of(6), np.zeros(6)), tiny_model(classes=10), "model_intro")


def test_a_file_that_holds_no_model_is_told(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"PK\x03\x04 but no model at all")
    with pytest.raises(CheckError, match="expected a saved Keras model, found an error"):
        checks.load_model(tmp_path / "model.keras")


def test_a_pickle_in_which_keras_would_find_its_archive_is_told(tmp_path):
    with (tmp_path / "model.keras").open("wb") as file:
        pickle.dump(tiny_model(), file)
    assert keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(CheckError, match="as the model's own `save` writes it, found one written in another way"):
        checks.load_model(tmp_path / "model.keras")


@pytest.mark.slow
def test_what_only_this_process_knows_does_not_help_the_reloaded_model(tmp_path):
    @keras.saving.register_keras_serializable("test")
    class HomeMade(keras.layers.Layer):
        pass

    model = keras.Sequential([keras.Input((8, 8, 3)), HomeMade(), keras.layers.Flatten(), keras.layers.Dense(5)])
    model.save(tmp_path / "model.keras")
    assert checks.load_model(tmp_path / "model.keras")
    with pytest.raises(CheckError, match="that a new Python can load and use, found an error: TypeError"):
        checks.reloads(tmp_path / "model.keras", images_of(1), model)


@pytest.mark.slow
def test_a_model_saved_without_its_compilation_is_told(tmp_path):
    model = tiny_model()
    model.save(tmp_path / "model.keras")
    with pytest.raises(CheckError, match="found a model that is not compiled"):
        checks.reloads(tmp_path / "model.keras", images_of(3), model)


def test_a_missing_file_is_not_attempted_yet_and_a_wrong_one_is_told(tmp_path, saved_model):
    with pytest.raises(NotAttempted, match=r"^not attempted yet: there is no file .*model\.keras"):
        checks.reloads(tmp_path / "model.keras", images_of(1))
    (tmp_path / "folder.keras").mkdir()
    with pytest.raises(CheckError, match="expected a file, found a folder"):
        checks.saved_file(tmp_path / "folder.keras")
    (tmp_path / "empty.keras").touch()
    with pytest.raises(CheckError, match="found an empty file"):
        checks.saved_file(tmp_path / "empty.keras")
    with pytest.raises(CheckError, match=r"name ends in \.keras, found '\.h5'"):
        checks.saved_file(tmp_path / "model.h5")
    with pytest.raises(CheckError, match="expected the path of a file, found int"):
        checks.saved_file(7)


@pytest.mark.slow
def test_nothing_in_the_work_folder_reaches_the_new_process(saved_model, trained_model, tmp_path, monkeypatch):
    for name in ("keras.py", "numpy.py", "sitecustomize.py", "json.py"):
        (tmp_path / name).write_text("raise SystemExit('hijacked')")
    shutil.copy(saved_model, tmp_path / "model.keras")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    checks.reloads("model.keras", images_of(5), trained_model[0])


def test_a_process_that_cannot_start_is_no_wrong_answer(saved_model, monkeypatch):
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(checks.FreshProcessError, match="a new Python process could not be used"):
        checks.reloads(saved_model, images_of(7))


# --- functions and figures ---


def test_calls_are_noted_with_values_and_errors_as_plain_data():
    assert checks.call_each(lambda x: 1 / x, [1, 0]) == [
        {"value": 1.0},
        {"error": "ZeroDivisionError: division by zero"},
    ]
    assert checks.call_each(divmod, [(7, 2)]) == [{"value": (3, 1)}]


def test_what_was_noted_is_read_back():
    assert checks.returned([{"value": 1}, {"value": 2}], "f", 2) == [1, 2]
    with pytest.raises(NotAttempted, match=r"^not attempted yet: f"):
        checks.returned(checks.call_each(lambda x: ..., [1, 2]), "f")
    with pytest.raises(NotAttempted, match=r"^not attempted yet: f"):
        checks.returned(checks.call_each(..., [1]), "f")
    with pytest.raises(CheckError, match="f: expected a function, found int"):
        checks.returned(checks.call_each(3, [1]), "f")
    with pytest.raises(CheckError, match="expected a function that can be called, found ZeroDivisionError"):
        checks.returned(checks.call_each(lambda x: 1 / 0, [1]), "f")
    with pytest.raises(CheckError, match="is there a 'return' at its end"):
        checks.returned(checks.call_each(lambda x: None, [1, 2]), "f")
    with pytest.raises(CheckError, match="expected 3 results, found 1"):
        checks.returned([{"value": 1}], "f", 3)


@pytest.fixture
def figure():
    fig, axes = plt.subplots(1, 2)
    axes[0].plot([1, 2, 3], [3, 2, 1], "--", color="red", label="loss")
    axes[0].set(title="Training", xlabel="epoch", ylabel="loss")
    axes[0].legend()
    axes[1].bar(["a", "b"], [4, 5])
    axes[1].scatter([1], [2])
    fig.suptitle("Both")
    yield fig
    plt.close("all")


def test_a_figure_becomes_plain_bounded_data(figure):
    facts = checks.figure_facts(figure)
    assert (facts["count"], facts["title"]) == (2, "Both")
    first, second = facts["axes"]
    assert (first["title"], first["xlabel"], first["ylabel"], first["legend"]) == (
        "Training",
        "epoch",
        "loss",
        ["loss"],
    )
    assert first["lines"][0]["label"] == "loss"
    assert first["lines"][0]["colour"] == "#ff0000"
    assert list(first["lines"][0]["y"]) == [3, 2, 1]
    assert second["bars"] == [[4.0, 5.0]]
    assert second["points"][0].tolist() == [[1.0, 2.0]]
    json.dumps(facts, default=np.ndarray.tolist)


def test_a_large_figure_is_cut_to_its_bounds():
    fig, ax = plt.subplots()
    ax.plot(np.zeros(100_000))
    ax.imshow(np.zeros((3000, 2000)))
    ax.set_title("x" * 10_000)
    facts = checks.figure_facts(fig)["axes"][0]
    assert len(facts["lines"][0]["y"]) == 2000
    assert max(facts["images"][0].shape) <= 512
    assert len(facts["title"]) == 200
    plt.close(fig)


def test_axes_or_an_array_of_them_stand_for_their_figure(figure):
    for same in (figure.axes[0], np.array(figure.axes), figure.axes):
        assert checks.figure_facts(same)["count"] == 2


def test_parts_that_are_missing_in_one_of_the_axes_are_told(figure):
    facts = checks.figure_facts(figure)
    with pytest.raises(CheckError, match="expected a title in each axes, found none in axes number 2"):
        checks.figure(facts, "fig", axes=2, each=["title"])
    with pytest.raises(CheckError, match="expected 3 axes in the figure, found 2"):
        checks.figure(facts, "fig", axes=3)


def test_a_blank_or_empty_figure_is_not_attempted_yet():
    for blank in (..., None, plt.figure(), plt.subplots(2, 2)[0]):
        with pytest.raises(NotAttempted, match=r"^not attempted yet: .*fig"):
            checks.figure(checks.figure_facts(blank), "fig")
    plt.close("all")


IMAGES = np.random.default_rng(5).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(30) % 5


def nine(pictures, titles, under=False):
    """The facts of a figure of nine pictures; `under` leaves a frame behind them, as one habit does."""
    fig = plt.figure()
    if under:
        fig.add_subplot()
    for place, (picture, title) in enumerate(zip(pictures, titles, strict=True), start=1):
        ax = fig.add_subplot(3, 3, place)
        ax.imshow(picture)
        ax.set_title(title)
    facts = checks.figure_facts(fig)
    plt.close(fig)
    return facts


TITLES = [NAMES[label] for label in LABELS]


@pytest.mark.parametrize(
    "change", [lambda p: p, lambda p: p / 255, lambda p: p.astype("int64"), lambda p: np.ma.array(p)]
)
def test_right_images_are_recognised_however_they_are_written(change):
    order = np.random.default_rng(1).permutation(30)[:9]
    titles = [f"{number}: {NAMES[LABELS[place]].title()}" for number, place in enumerate(order)]
    checks.shows_images(nine([change(IMAGES[place]) for place in order], titles), IMAGES, LABELS, NAMES)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (lambda: nine(IMAGES[:9], TITLES[1:10]), "found 'bird' over an image of another class"),
        (lambda: nine([IMAGES[0]] * 9, [TITLES[0]] * 9), "expected 9 different images, found the same one twice"),
        (lambda: nine(IMAGES[:9], ["/".join(NAMES)] * 9), "a title that names one class"),
        (lambda: nine(IMAGES[:9], ["0"] * 9), "a title that names one class, found '0'"),
        (lambda: nine(IMAGES[:9, ::-1], TITLES[:9]), "unchanged images from the dataset"),
        (lambda: nine(IMAGES[:9, :16], TITLES[:9]), r"images of shape \(32, 32, 3\), found \(16, 32, 3\)"),
        (
            lambda: nine(IMAGES[:9], TITLES[:9], under=True),
            "expected 9 axes in the figure, found 10; one of them holds nothing",
        ),
        (lambda: nine(IMAGES[:4], TITLES[:4]), "expected 9 axes in the figure, found 4"),
    ],
)
def test_wrong_images_or_titles_are_told(facts, message):
    with pytest.raises(CheckError, match=message):
        checks.shows_images(facts(), IMAGES, LABELS, NAMES)


# --- the course's images ---


@pytest.fixture
def holdout_folder(tmp_path, monkeypatch):
    for label, name in enumerate(NAMES):
        (tmp_path / "holdout" / name).mkdir(parents=True)
        for number in range(4):
            keras.utils.save_img(
                tmp_path / "holdout" / name / f"{number}.png", np.full((32, 32, 3), 50 * label + number), scale=False
            )
    monkeypatch.setenv("CNN_COURSE_HOLDOUT", str(tmp_path / "holdout"))
    return tmp_path / "holdout"


def test_the_holdout_is_read_in_a_fixed_order_with_its_class_names(holdout_folder, capsys):
    dataset = checks.holdout()
    assert dataset.class_names == NAMES
    images, labels = checks.arrays_of(dataset)
    assert images.shape == (20, 32, 32, 3)
    assert labels.tolist() == [label for label in range(5) for _ in range(4)]
    assert images[:, 0, 0, 0].tolist() == [50 * label + number for label in range(5) for number in range(4)]
    np.testing.assert_array_equal(checks.course_images("holdout")[0], images)
    assert capsys.readouterr().out == ""


def test_a_split_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="no split 'tset'; there are train, val, test and holdout"):
        checks.course_images("tset")


# --- drawn folders, and what a dataset hands out ---


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_drawn_folder_holds_the_drawn_pictures_and_is_gone_afterwards(mode):
    from PIL import Image

    with checks.drawn_folder({"pear": 2, "apple": 3}, size=(6, 10), seed=4, mode=mode) as folder:
        files = sorted(folder.rglob("*.png"))
        assert [file.parent.name for file in files] == ["apple"] * 3 + ["pear"] * 2
        assert {Image.open(file).mode for file in files} == {mode}
        read = np.array([np.array(Image.open(file).convert("RGB")) for file in files])
    assert not folder.exists()
    assert np.array_equal(read, checks.drawn_pictures({"pear": 2, "apple": 3}, (6, 10), seed=4, mode=mode))
    assert len({image.tobytes() for image in read}) == 5


def some_dataset(labels=(0, 0, 1, 1, 1), batch=2) -> tf.data.Dataset:
    dataset = tf.data.Dataset.from_tensor_slices((images_of(len(labels)), np.array(labels)))
    return dataset if batch is None else dataset.batch(batch)


def test_the_facts_of_a_dataset_tell_its_images_batches_and_order():
    facts = checks.dataset_facts(some_dataset())
    assert checks.dataset(facts, "ds", image_shape=(8, 8, 3), batch_size=2, ordered=True) is facts
    assert facts["batches"] == [2, 2, 1]
    assert facts["labels"].tolist() == [0, 0, 1, 1, 1]
    assert facts["images"].shape == (5, 8, 8, 3)
    assert facts["class_names"] is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: some_dataset(batch=3), "expected batches of 2, found batches of 2 and 3 images"),
        (lambda: some_dataset(batch=None), "expected batches of 2, found images that come one by one"),
        (lambda: some_dataset((0, 1, 0, 1)), "found the classes mixed"),
        (lambda: some_dataset(tuple(range(50))).shuffle(50), "found another at the second"),
        (lambda: some_dataset().map(lambda image, label: image), "found one without labels"),
        (lambda: some_dataset().take(0), "found an empty one"),
        (lambda: some_dataset((0.0, 1.0)), "expected one class number for each image"),
        (lambda: some_dataset().map(lambda image, label: (image[:, :4], label)), "expected images of shape (8, 8, 3)"),
    ],
)
def test_a_dataset_that_is_not_as_it_should_be_fails_and_says_why(make, says):
    with pytest.raises(CheckError, match=re.escape(says)):
        checks.dataset(checks.dataset_facts(make()), "ds", image_shape=(8, 8, 3), batch_size=2, ordered=True)


@pytest.mark.parametrize("what", ODD)
def test_anything_else_than_a_dataset_is_a_wrong_answer_told_in_plain_words(what):
    with pytest.raises(CheckError, match=r"^(ds: |not attempted yet: ds)"):
        checks.dataset(checks.dataset_facts(ODD[what]), "ds")
    with pytest.raises(CheckError, match=r"^(ds: |not attempted yet: ds)"):
        checks.dataset(ODD[what], "ds")


def test_a_blank_dataset_is_not_attempted_yet():
    with pytest.raises(NotAttempted, match="ds is still a blank"):
        checks.dataset(checks.dataset_facts(...), "ds")


# --- models while they are being built ---


def test_a_blank_among_rows_of_a_list_is_a_blank():
    with pytest.raises(NotAttempted):
        checks.attempted(result=[[1, ...], [2, 3]])


def test_what_is_connected_so_far_becomes_a_model():
    inputs = keras.Input((8, 8, 3))
    model = checks.built(checks.model_so_far(inputs, keras.layers.Flatten()(inputs)), "flat")
    assert model.output_shape == (None, 192)
    assert checks.built(checks.model_so_far(inputs, inputs), "inputs").output_shape == (None, 8, 8, 3)


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        (keras.layers.Flatten(), "found a Flatten that isn't"),
        (3, "expected what keras.Input or a layer returns, found int"),
        (keras.Input((2, 2, 1)), "connected with inputs"),
    ],
)
def test_what_is_not_connected_is_told(outputs, says):
    noted = checks.model_so_far(keras.Input((8, 8, 3)), outputs)
    with pytest.raises(CheckError, match=says):
        checks.built(noted, "flat")
    with pytest.raises(NotAttempted):
        checks.built(checks.model_so_far(..., outputs), "flat")


def test_a_model_is_trained_for_a_moment_and_saved(tmp_path):
    data = tf.data.Dataset.from_tensor_slices((images_of(8), np.arange(8) % 5)).batch(4)
    model = tiny_model()
    before = model.get_weights()
    noted = checks.train_briefly([{"value": model}], data, epochs=1, save_to=tmp_path / "made" / "tiny.keras")
    assert checks.built(noted, "tiny") is model
    checks.weights_changed(before, model)
    checks.reloads(tmp_path / "made" / "tiny.keras", images_of(2), model)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (None, "expected a Keras model, found None"),
        ("expected a function, found int", "expected a function, found int"),
        ([{"error": "TypeError: no"}], "found TypeError: no"),
        (tiny_model(size=6), "expected a model that can learn from these images"),
    ],
)
def test_a_model_that_cannot_learn_is_told_and_never_raises_in_a_probe(model, says):
    data = tf.data.Dataset.from_tensor_slices((images_of(4), np.arange(4))).batch(4)
    noted = checks.train_briefly(model, data, epochs=1)
    with pytest.raises(CheckError, match=says):
        checks.built(noted, "tiny")
    assert checks.train_briefly(..., data) is ...


def test_a_model_that_nobody_could_use_later_is_told_where_it_is_made(tmp_path):
    inputs = keras.Input((8, 8, 3))
    foreign = keras.Model(inputs, keras.layers.Dense(5, activation=tf.nn.softmax)(keras.layers.Flatten()(inputs)))
    data = tf.data.Dataset.from_tensor_slices((images_of(8), np.arange(8) % 5)).batch(4)
    with pytest.raises(CheckError, match="Keras can load again from its file"):
        checks.built(checks.train_briefly(foreign, data, epochs=1, save_to=tmp_path / "foreign.keras"))
    data.class_names = list("abcdefg")
    with pytest.raises(CheckError, match="one output for each of 7 classes, found 5"):
        checks.built(checks.train_briefly(foreign, data, epochs=1))
    checks.built(
        checks.train_briefly(keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(7)]), data, epochs=1)
    )


@pytest.mark.parametrize("options", [{}, {"use_bias": False, "strides": 2}, {"padding": "same", "activation": "tanh"}])
def test_a_block_is_worked_out_from_weights_as_with_relu_whatever_the_layer_has(options):
    layer = keras.layers.Conv2D(4, 3, **options)
    images = images_of(2)
    layer(images)
    layer.set_weights([np.linspace(-1, 1, weight.size).reshape(weight.shape) for weight in layer.get_weights()])
    maps = checks.convolved(layer, images)
    layer.activation = keras.activations.relu
    assert np.allclose(maps, layer(images), rtol=1e-4)
    assert np.allclose(checks.max_pooled(maps), keras.layers.MaxPooling2D()(maps))


def test_what_arrives_at_a_layer_is_computed_even_if_two_models_share_it():
    inputs = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()
    plain, half = keras.Model(inputs, flat(inputs)), keras.Model(inputs, flat(keras.layers.Rescaling(0.5)(inputs)))
    images = images_of(3)
    assert np.allclose(checks.arriving_at(plain, "Flatten", images), images)
    assert np.allclose(checks.arriving_at(half, "Flatten", images), images / 2)
    with pytest.raises(CheckError, match="expected a Conv2D layer, found none"):
        checks.arriving_at(plain, "Conv2D", images)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("layer", ["Conv2D", "Dense"])
def test_a_right_model_is_looked_into_without_a_warning_below_the_test_cell(layer):
    model = create_model_intro()
    arrived = checks.arriving_at(model, layer, images_of(3, size=32))
    assert len(arrived) == 3


@pytest.mark.parametrize(("recorded", "holds"), [(40.0, True), (-np.log(1e-7), True), (12.0, False)])
def test_a_loss_that_ran_away_may_be_larger_than_the_probabilities_tell_but_not_smaller(recorded, holds):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(5, activation="softmax", use_bias=False)])
    model.set_weights([np.array([[900, 0, 0, 0, 0], [900, 0, 0, 0, 0]], dtype="float32")])
    data = (np.ones((4, 2), dtype="float32"), np.full(4, 2))  # sure of the first class, and wrong each time
    series = {"val_loss": [recorded], "val_accuracy": [0.0]}
    if holds:
        checks.validated_on(series, model, data)
    else:
        with pytest.raises(CheckError, match="found other numbers"):
            checks.validated_on(series, model, data)
