"""The fourth episode: its solution, other right answers, and the mistakes that a novice makes.

The whole solution is run once; the tests of single exercises start from what it left behind, so that hardly anything
has to be trained again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_not_attempted,
    assert_release_is_clean,
    assert_rubrics_add_up,
    code_cells,
    exercise_of,
    given_cell,
    given_cells,
    marked_cells,
    notebooks_of,
    starters_of,
)

from helpers import checks

NAME = "04-train-cnn"
TESTS = (
    "cross-entropy",
    "compile-model",
    "fit-ten-epochs",
    "plot-curves",
    "mend-training",
    "learning-rates",
    "overfitting",
    "early-stopping",
)
WRITTEN = ("read-curves",)
NEW_MODEL = "model_intro = helpers.create_model_intro()"


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def first_cell_values(notebooks, data_folder) -> dict[str, Any]:
    """What the notebook's first cell leaves behind: the imports and the datasets."""
    values: dict[str, Any] = {}
    exec(given_cells(notebooks[0])[0], values)
    return values


@pytest.fixture(scope="module")
def solved(notebooks, data_folder, tmp_path_factory) -> Run:
    """The whole solution notebook, run from its first cell to its last."""
    outcome = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("solved"))
        for cell in code_cells(notebooks[0]):
            outcome.execute(cell)
    return outcome


@pytest.fixture
def run(notebooks, first_cell_values, tmp_path, monkeypatch):
    """Run single exercises with other code in their solution cells.

    The values that earlier exercises would have left are passed as `given`; `model_intro` is a new model.
    """
    starters, marked = starters_of(notebooks[1]), marked_cells(notebooks[0])

    def go(answers: Mapping[str, str], given: Mapping[str, Any] | None = None) -> Run:
        assert set(answers) <= set(TESTS), "an answer for an exercise that isn't there"
        monkeypatch.chdir(tmp_path)
        namespace = dict(first_cell_values)
        namespace["keras"].utils.set_random_seed(40)
        exec(NEW_MODEL, namespace)
        namespace.update(given or {})
        outcome = Run(values=namespace)
        for name, cell in marked.items():
            if exercise_of(cell) in answers:
                code = answers.get(name)
                outcome.execute(cell, starters[name] if code == "STARTER" else code)
        return outcome

    return go


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_rubric_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(
        notebooks[1],
        "above_chance",
        "reloads(",
        "np.argmin(val_losses)",
        "-np.log(probabilities",
        'history["val_accuracy"][-1]',
        "restore_best_weights=True",
    )


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    assert_not_attempted(run({name: "STARTER" for name in TESTS}), TESTS)


@pytest.mark.slow
def test_the_solution_passes_every_test_and_every_cell_runs(solved):
    assert not solved.failed
    assert not solved.broken


@pytest.mark.slow
def test_what_the_text_says_of_its_experiments_holds(solved):
    values = solved.values
    no_softmax = values["history_no_softmax"].history
    assert min(no_softmax["val_loss"]) > 1.5 and no_softmax["val_accuracy"][-1] < 0.35
    suspect = values["history_suspect"].history
    assert suspect["loss"][0] > 10
    assert suspect["val_accuracy"][-1] > values["honest_accuracy"] + 0.1
    rates = {rate: history.history["val_loss"] for rate, history in values["rate_histories"].items()}
    assert abs(rates[0.1][-1] - np.log(5)) < 0.15
    assert rates[0.001][-1] < rates[0.0001][-1] < np.log(5)
    assert values["history_parrot"].history["accuracy"][-1] > 0.9
    long = values["history_long"].history
    assert long["val_loss"][-1] > min(long["val_loss"]) + 0.15
    assert long["accuracy"][-1] > long["val_accuracy"][-1] + 0.25


# --- cross-entropy ---

ENTROPY = """
loss_dog = 0.51
def cross_entropy(probabilities, label):
    return -np.log(probabilities[label])
def mean_loss(rows, labels):
    losses = []
    for probabilities, label in zip(rows, labels):
        losses.append(cross_entropy(probabilities, label))
    return np.mean(losses)
"""


@pytest.mark.parametrize(
    "code",
    [
        ENTROPY,
        """
import math
loss_dog = math.log(1 / 0.6)
cross_entropy = lambda p, i: math.log(1 / p[i])
def mean_loss(rows, labels):
    return sum(map(cross_entropy, rows, labels)) / len(rows)
""",
        """
loss_dog = np.float32(0.5108)
def cross_entropy(probabilities, label):
    return mean_loss(np.array([probabilities]), np.array([label]))
def mean_loss(rows, labels):
    return keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, rows))
""",
    ],
)
def test_right_ways_to_work_out_the_loss_pass(run, code):
    outcome = run({"cross-entropy": code})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("-np.log(probabilities", "np.log(probabilities", "is there a minus before the logarithm"),
        ("-np.log(probabilities", "-np.log10(probabilities", "looks like the logarithm to base 10"),
        ("-np.log(probabilities", "-np.log2(probabilities", "looks like the logarithm to base 2"),
        ("-np.log(probabilities[label])", "probabilities[label]", "found that probability itself"),
        ("probabilities[label]", "max(probabilities)", "the true class, which needn't be the largest"),
        ("probabilities[label]", "probabilities[label - 1]", "counting starts at 0"),
        ("probabilities[label]", "probabilities[label + 9]", "found IndexError"),
        ("    return -np.log(probabilities[label])", "    print(-np.log(probabilities[label]))", "is there a 'return'"),
        ("np.mean(losses)", "np.sum(losses)", "halfway between the losses"),
        ("np.mean(losses)", "losses", "expected a number"),
        ("np.mean(losses)", "losses[0]", "halfway between the losses"),
        ("np.mean(losses)", "(losses[0] + losses[-1]) / 2", "mean_loss of 7 images: expected the mean of the losses"),
        ("loss_dog = 0.51", "loss_dog = 0.60", "loss_dog: expected the logarithm of the probability"),
        ("loss_dog = 0.51", "loss_dog = -0.51", "is there a minus before the logarithm"),
        ("loss_dog = 0.51", "loss_dog = 1.61", "loss_dog: expected"),
        ("loss_dog = 0.51", "loss_dog = ...", "not attempted yet: loss_dog"),
        ("    return np.mean(losses)", "    return ...", "not attempted yet: mean_loss"),
        ("def cross_entropy", "cross_entropy = 1.0\ndef other", "expected a function, found float"),
    ],
)
def test_wrong_losses_fail_and_say_why(run, old, new, says):
    assert old in ENTROPY
    outcome = run({"cross-entropy": ENTROPY.replace(old, new)})
    assert says in str(outcome.failed["cross-entropy"])


# --- compile ---

COMPILE = """
model_intro.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001),
                    loss="sparse_categorical_crossentropy", metrics=["accuracy"])
"""


@pytest.mark.parametrize(
    "code",
    [
        COMPILE,
        "model_intro.compile('adam', 'sparse_categorical_crossentropy', metrics=['acc'])",
        "model_intro.compile(keras.optimizers.Adam(1e-3), keras.losses.SparseCategoricalCrossentropy(), "
        "metrics=[keras.metrics.SparseCategoricalAccuracy()])",
        "model_intro.compile('Adam', keras.losses.sparse_categorical_crossentropy, metrics=['accuracy', 'mse'])",
    ],
)
def test_right_ways_to_compile_pass(run, code):
    outcome = run({"compile-model": code})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (COMPILE.replace("0.001", "0.01"), "expected the learning rate 0.001, found 0.01"),
        (COMPILE.replace("Adam", "SGD"), "expected the optimizer 'adam', found 'sgd'"),
        (COMPILE.replace(', metrics=["accuracy"]', ""), "expected the metric 'accuracy', found no metric"),
        (COMPILE.replace("sparse_", ""), "found one that can't take them"),
        (
            COMPILE.replace("sparse_categorical_crossentropy", "mse"),
            "the model's probabilities and class numbers",
        ),
        (
            COMPILE.replace(
                '"sparse_categorical_crossentropy"', "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
            ),
            "probabilities a second time",
        ),
        ("model_intro = helpers.create_model_intro(num_classes=10)" + COMPILE, "expected a model that returns"),
        ("model_intro = model_intro.compile('adam')", "model_intro: expected a Keras model, found None"),
        ("model_intro.compile", "not attempted yet: model_intro is not compiled"),
    ],
)
def test_wrong_ways_to_compile_fail_and_say_why(run, code, says):
    outcome = run({"compile-model": code})
    assert says in str(outcome.failed["compile-model"])


# --- fit ---


@pytest.mark.slow
def test_fitting_in_another_way_passes(run):
    """From arrays, in a model of one's own, with the metric under another name."""
    code = """
model_intro.compile("adam", keras.losses.SparseCategoricalCrossentropy(), metrics=["acc"])
pixels, truth = (np.concatenate(part) for part in zip(*train_ds.as_numpy_iterator()))
history_intro = model_intro.fit(pixels, truth, batch_size=50, epochs=10, verbose=0,
                                validation_data=tuple(map(np.concatenate, zip(*val_ds.as_numpy_iterator()))))
"""
    outcome = run({"compile-model": COMPILE, "fit-ten-epochs": code})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("history_intro = model_intro.fit(few, validation_data=val_ds, verbose=0)", "expected 10 epochs, found 1"),
        ("history_intro = model_intro.fit(few, verbose=0)", "did fit get validation_data"),
        ("history_intro = model_intro.evaluate(val_ds)", "expected what model.fit returns, found list"),
        (
            "history_intro = model_intro.fit(few, validation_data=few, epochs=10, verbose=0)",
            "is the validation data val_ds",
        ),
        (
            "history_intro = model_intro.fit(few, validation_data=test_ds, epochs=10, verbose=0)",
            "is the validation data val_ds",
        ),
        (
            "history_intro = model_intro.fit(few, validation_data=val_ds, epochs=10, verbose=0)\n"
            f"{NEW_MODEL}\n{COMPILE}",
            "weights have never been adjusted",
        ),
        (
            COMPILE.replace("0.001", "0.0")
            + "history_intro = model_intro.fit(few, validation_data=val_ds, epochs=10, verbose=0)",
            "expected weights that training has changed",
        ),
        (
            "history_intro = model_intro.fit(few, validation_data=val_ds, epochs=10, verbose=0)\n"
            "history_intro.history['val_accuracy'] = [0.5] * 10",
            "expected the loss and accuracy of model_intro on the images of val_ds",
        ),
        (
            COMPILE.replace("0.001", "1e-6")
            + "history_intro = model_intro.fit(few, validation_data=val_ds, epochs=10, verbose=0)",
            "expected ",
        ),
        ("model_intro.fit(few, verbose=0)\nhistory_intro = ...", "not attempted yet: history_intro"),
        (
            "history_intro = model_intro = model_intro.fit(few, validation_data=val_ds, epochs=10, verbose=0)",
            "model_intro: expected a Keras model, found History",
        ),
    ],
)
def test_wrong_ways_to_fit_fail_and_say_why(run, first_cell_values, code, says):
    outcome = run({"compile-model": COMPILE, "fit-ten-epochs": code}, {"few": first_cell_values["train_ds"].take(2)})
    assert says in str(outcome.failed["fit-ten-epochs"])


# --- curves ---


def history(**series: list[float]) -> Any:
    """A history as `fit` returns it, with the given numbers."""
    import keras

    made = keras.callbacks.History()
    made.history, made.epoch = dict(series), list(range(len(next(iter(series.values())))))
    return made


TEN = {
    name: [float(number) for number in numbers]
    for name, numbers in zip(
        ("accuracy", "loss", "val_accuracy", "val_loss"),
        np.random.default_rng(10).uniform(0.2, 1.5, (4, 10)).round(3),
        strict=True,
    )
}
DRAW = """
epochs = range(1, 11)
fig, (left, right) = plt.subplots(1, 2)
left.plot(epochs, history_intro.history["loss"], label="training")
left.plot(epochs, history_intro.history["val_loss"], label="validation")
right.plot(epochs, history_intro.history["accuracy"], label="training")
right.plot(epochs, history_intro.history["val_accuracy"], label="validation")
for ax, what in ((left, "loss"), (right, "accuracy")):
    ax.set_xlabel("epoch")
    ax.set_ylabel(what)
    ax.legend()
"""


@pytest.mark.parametrize(
    "code",
    [
        DRAW,
        "fig = helpers.plot_history(history_intro)",
        """
fig, ax = plt.subplots()
for key, values in history_intro.history.items():
    ax.plot(np.arange(10) + 1, values, label=("val " if "val" in key else "train ") + key.replace("val_", ""))
ax.set(xlabel="Epoch", ylabel="loss and accuracy")
ax.legend()
""",
    ],
)
def test_right_curves_pass(run, code):
    outcome = run({"plot-curves": code}, {"history_intro": history(**TEN)})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('left.plot(epochs, history_intro.history["loss"], label="training")', "", "expected four lines, found 3"),
        ('"val_loss"]', '"loss"]', "expected a line with the validation loss of all 10 epochs"),
        ('history["loss"], label="training"', 'history["loss"]', "expected a label for the training loss"),
        ('label="validation"', 'label="training"', "for the validation loss, as it fits"),
        ('label="training"', 'label="loss"', "says 'training' or 'validation' for the training loss"),
        ("range(1, 11)", "range(10)", "over the epochs 1 to 10, found it over 0 to 9"),
        ('    ax.set_xlabel("epoch")\n', "", "expected a label below the x axis"),
        ("    ax.set_ylabel(what)\n", "", "expected a label beside the y axis"),
        ("set_ylabel(what)", 'set_ylabel("loss")', "expected the word 'accuracy' beside the y axis"),
        ("    ax.legend()\n", "", "expected a legend"),
        ('label="validation")', 'label="validation", color="C0")', "expected lines of different colours"),
        ('["loss"]', '["loss"][::-1]', "expected a line with the training loss"),
    ],
)
def test_wrong_curves_fail_and_say_why(run, old, new, says):
    assert old in DRAW
    outcome = run({"plot-curves": DRAW.replace(old, new)}, {"history_intro": history(**TEN)})
    assert says in str(outcome.failed["plot-curves"])


# --- mend ---

MEND = """
honest_accuracy = model_suspect.evaluate(val_ds, return_dict=True, verbose=0)["accuracy"]
inputs = keras.Input(shape=(32, 32, 3))
x = layers.Rescaling(1.0 / 255)(inputs)
x = layers.Conv2D(16, (3, 3), activation="relu")(x)
x = layers.MaxPooling2D((2, 2))(x)
x = layers.Flatten()(x)
outputs = layers.Dense(5, activation="softmax")(x)
model_mended = keras.Model(inputs=inputs, outputs=outputs)
model_mended.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history_mended = model_mended.fit(few, validation_data=val_ds, epochs=5, verbose=0)
"""


@pytest.fixture(scope="module")
def suspect(notebooks, first_cell_values) -> dict[str, Any]:
    """What the cell with the three mistakes leaves behind, trained on a few images only."""
    values = {**first_cell_values, "train_ds": first_cell_values["train_ds"].take(4)}
    exec(given_cell(notebooks[0], "model_suspect = "), values)
    # What it claims depends on the images that it met, and those are few; here it is as after all of them.
    values["history_suspect"].history["val_accuracy"][-1] = 0.7
    few = {"few": first_cell_values["train_ds"].take(2)}
    return few | {name: values[name] for name in ("model_suspect", "history_suspect")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        MEND.replace("fit(few", "fit(train_ds"),
        """
answers = model_suspect.predict(val_ds, verbose=0).argmax(axis=1)
honest_accuracy = round(float(np.mean(answers == np.concatenate([labels for images, labels in val_ds]))), 2)
model_mended = helpers.create_model_intro()
model_mended.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=False), metrics=["accuracy"])
history_mended = model_mended.fit(train_ds, validation_data=val_ds, epochs=5, verbose=0)
""",
    ],
)
def test_right_ways_to_mend_the_training_pass(run, suspect, code):
    outcome = run({"mend-training": code}, suspect)
    assert not outcome.failed and not outcome.broken


LOGITS = "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("layers.Rescaling(1.0 / 255)(inputs)", "inputs", "expected a first loss not far from that of a shrug"),
        ("1.0 / 255", "1.0 / 100", "pixels brought from 0...255 to 0...1 before the convolution"),
        ('"sparse_categorical_crossentropy"', LOGITS, "probabilities a second time"),
        (', activation="softmax"', "", "expected "),
        (', activation="relu"', "", "expected the convolution of model_suspect"),
        ("softmax", "sigmoid", "what model_mended predicts: expected probabilities that add up to 1"),
        ("(few, validation_data=val_ds", "(few, validation_data=few", "is the validation data val_ds"),
        ("(few, validation_data=val_ds", "(few, validation_data=test_ds", "is the validation data val_ds"),
        (", validation_data=val_ds", "", "did fit get validation_data"),
        ("epochs=5", "epochs=2", "history_mended: expected 5 epochs, found 2"),
        ('["accuracy"]\n', '["accuracy"] + 0.01\n', "how often model_suspect is right on the images of val_ds"),
        ('["accuracy"]\n', '["loss"]\n', "honest_accuracy: expected a number from 0 to 1"),
        (
            'model_suspect.evaluate(val_ds, return_dict=True, verbose=0)["accuracy"]',
            'history_suspect.history["val_accuracy"][-1]',
            "how often model_suspect is right on the images of val_ds",
        ),
        (
            "history_mended =",
            "model_mended, history_mended = model_suspect, history_suspect; _ =",
            "expected a first loss not far from that of a shrug",
        ),
        ("Conv2D(16", "Conv2D(8", "model_mended: expected more parameters"),
        ("honest_accuracy = ", "honest_accuracy = ...\n_ = ", "not attempted yet: honest_accuracy"),
    ],
)
def test_trainings_that_are_not_mended_fail_and_say_why(run, suspect, old, new, says):
    assert old in MEND
    outcome = run({"mend-training": MEND.replace(old, new, 1)}, suspect)
    assert says in str(outcome.failed["mend-training"])


# --- learning rates ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("", None),
        ("rate_histories = {rate: one.history for rate, one in rate_histories.items()}", None),
        ("best_rate = np.float32(0.001).round(3).item()\nbest_rate = round(best_rate, 4)", None),
        ("best_rate = 0.1", "best_rate: expected the rate with the lowest validation loss"),
        ("best_rate = 0.0001", "best_rate: expected the rate with the lowest validation loss"),
        ("best_rate = 0.002", "expected one of the three learning rates, found 0.002"),
        ("best_rate = ...", "not attempted yet: best_rate"),
        ("rate_models = dict.fromkeys(rate_models, rate_models[0.001])", "found the same one twice"),
        (
            "rate_models = list(rate_models.values())",
            "rate_models: expected a dictionary with the keys 0.1, 0.001 and 0.0001, found a list",
        ),
        ("rate_models = dict(list(rate_models.items())[:2])", "0.1, 0.001 and 0.0001, found [0.1, 0.001]"),
        (
            "rate_models[0.1], rate_models[0.001] = rate_models[0.001], rate_models[0.1]",
            "rate_models[0.1]: expected the learning rate 0.1, found 0.001",
        ),
        (
            "rate_histories[0.1], rate_histories[0.001] = rate_histories[0.001], rate_histories[0.1]",
            "rate_histories[0.1]: expected the loss and accuracy of rate_models[0.1]",
        ),
        ("rate_histories[0.1] = history_intro", "rate_histories[0.1]: expected 4 epochs, found 10"),
        ("rate_models[0.1] = helpers.create_model_intro()", "not attempted yet: rate_models[0.1] is not compiled"),
    ],
)
def test_learning_rates_are_compared_with_a_new_model_each(run, solved, code, says):
    given = {name: solved.values[name] for name in ("rate_models", "rate_histories", "best_rate", "history_intro")}
    given |= {name: dict(given[name]) for name in ("rate_models", "rate_histories")}
    outcome = run({"learning-rates": code}, given)
    assert not outcome.broken
    if says is None:
        assert not outcome.failed
    else:
        assert says in str(outcome.failed["learning-rates"])


# --- overfitting ---

OVERFITTING = """
def best_epoch(val_losses):
    return np.argmin(val_losses) + 1
overfits_after = best_epoch(history_long.history["val_loss"])
def accuracy_to_report(history):
    return history["val_accuracy"][-1]
"""
LONG = {name: numbers * 2 for name, numbers in TEN.items()}


@pytest.mark.parametrize(
    "code",
    [
        OVERFITTING,
        """
def best_epoch(val_losses):
    best = 0
    for epoch in range(len(val_losses)):
        if val_losses[epoch] < val_losses[best]:
            best = epoch
    return best + 1
overfits_after = best_epoch(list(history_long.history["val_loss"]))
accuracy_to_report = lambda history: list(history["val_accuracy"]).pop()
""",
    ],
)
def test_right_ways_to_find_the_best_epoch_pass(run, code):
    outcome = run({"overfitting": code}, {"history_long": history(**LONG)})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("np.argmin(val_losses) + 1", "np.argmin(val_losses)", "found 2; epochs are counted from 1"),
        ("np.argmin(val_losses) + 1", "np.argmax(val_losses) + 1", "expected 3, the epoch with the loss 1.1"),
        ("np.argmin(val_losses) + 1", "np.min(val_losses)", "expected a whole number, found 1.1"),
        ("np.argmin(val_losses) + 1", "3", "best_epoch of 3 losses: expected the number of the epoch"),
        ("np.argmin(val_losses) + 1", "len(val_losses) - 2", "expected the number of the epoch with the lowest loss"),
        (
            "np.argmin(val_losses) + 1",
            "next(i for i in range(1, 99) if val_losses[i] > val_losses[i - 1])",
            "expected ",
        ),
        ('["val_loss"])', '["loss"])', "overfits_after: expected the epoch of history_long"),
        ('best_epoch(history_long.history["val_loss"])', "20", "overfits_after: expected the epoch of history_long"),
        ('best_epoch(history_long.history["val_loss"])', "...", "not attempted yet: overfits_after"),
        ('history["val_accuracy"][-1]', 'history["accuracy"][-1]', "on images that it doesn't learn from"),
        ('history["val_accuracy"][-1]', 'max(history["val_accuracy"])', "after the last epoch"),
        ('history["val_accuracy"][-1]', 'history["val_accuracy"]', "expected a number"),
        ('history["val_accuracy"][-1]', "history_long", "expected a number, found History"),
    ],
)
def test_wrong_best_epochs_and_reports_fail_and_say_why(run, old, new, says):
    assert old in OVERFITTING
    outcome = run({"overfitting": OVERFITTING.replace(old, new)}, {"history_long": history(**LONG)})
    assert says in str(outcome.failed["overfitting"])


# --- early stopping ---

STOP = """
model_stop = helpers.create_model_intro()
model_stop.compile(optimizer=keras.optimizers.Adam(0.003), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
stopper = keras.callbacks.EarlyStopping(monitor="val_loss", patience=5, restore_best_weights=True)
history_stop = model_stop.fit(few, validation_data=val_ds, epochs=60, callbacks=[stopper], verbose=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "code",
    [
        STOP.replace("fit(few", "fit(train_ds"),
        """
model_stop = helpers.create_model_intro()
model_stop.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
model_stop.optimizer.learning_rate = 0.003
history_stop = model_stop.fit(train_ds, validation_data=val_ds, epochs=59, verbose=0,
    callbacks=[keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True), keras.callbacks.TerminateOnNaN()])
""",
    ],
)
def test_right_ways_to_stop_early_pass(run, code):
    outcome = run({"early-stopping": code})
    assert not outcome.failed and not outcome.broken


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("patience=5", "patience=1", "stop after 5 epochs without a lower validation loss"),
        (", restore_best_weights=True", "", "does the stopper put the best ones back?"),
        ("epochs=60, callbacks=[stopper]", "epochs=2", "how patient is it?"),
        (
            "epochs=60, callbacks=[stopper], verbose=0)",
            "epochs=10, verbose=0)\n"
            "history_stop.history = {name: numbers * 6 for name, numbers in history_stop.history.items()}",
            "expected training to stop before the last epoch, found 60 epochs",
        ),
        ("validation_data=val_ds, epochs=60", "epochs=1", "did fit get validation_data"),
        ("history_stop = ", "history_stop = ...\n_ = few or ", "not attempted yet: history_stop"),
        ("validation_data=val_ds", "validation_data=few", "expected a validation loss of"),
    ],
)
def test_wrong_ways_to_stop_fail_and_say_why(run, first_cell_values, old, new, says):
    assert old in STOP
    few = first_cell_values["train_ds"].take(6)
    outcome = run({"early-stopping": STOP.replace(old, new)}, {"few": few})
    assert says in str(outcome.failed["early-stopping"])


# --- the figures that helpers draw ---


def test_a_descent_shows_each_learning_rate_and_leaves_out_steps_that_fly_away():
    from helpers import plot_descent

    figure = plot_descent([0.1, 0.5, 2.0], start=0, steps=5)
    facts = checks.figure_facts(figure)["axes"]
    assert [ax["title"] for ax in facts] == ["learning rate 0.1", "learning rate 0.5", "learning rate 2"]
    steps = [ax["lines"][1]["x"] for ax in facts]
    assert np.allclose(steps[0], 3 - 3 * 0.8 ** np.arange(6))
    assert np.allclose(steps[1], [0, 3, 3, 3, 3, 3])
    assert np.allclose(steps[2], [0])
    assert "with 0.5 the weight is 3.00 after 5 steps" in figure.alt_text
    with pytest.raises(ValueError, match="one to four learning rates; received 0"):
        plot_descent([])
    with pytest.raises(TypeError, match="rates is still a blank"):
        plot_descent(...)


def test_histories_are_compared_in_one_figure():
    from helpers import compare_histories

    figure = compare_histories({"a": history(**TEN), 0.1: {"val_loss": [2.0, 1.5]}}, "val_loss", top=2)
    (ax,) = checks.figure_facts(figure)["axes"]
    assert ax["ylabel"] == "validation loss"
    assert ax["legend"] == ["a", "0.1"]
    assert np.allclose(ax["lines"][0]["y"], TEN["val_loss"])
    assert np.allclose(ax["lines"][1]["x"], [1, 2])
    assert "0.1: 2.00 to 1.50" in figure.alt_text
    plt.close("all")
    with pytest.raises(ValueError, match="the history of a holds no accuracy"):
        compare_histories({"a": {"loss": [1.0]}}, "accuracy")
    with pytest.raises(TypeError, match="received list"):
        compare_histories({"a": [1.0]})
    with pytest.raises(ValueError, match="received 0"):
        compare_histories({})


def test_runs_that_are_still_blanks_are_left_out_and_named(capsys):
    from helpers import compare_histories

    figure = compare_histories({"mine": ..., "b": history(**TEN)})
    assert checks.figure_facts(figure)["axes"][0]["legend"] == ["b"]
    assert compare_histories({"mine": ..., 0.1: ...}) is None
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Not trained yet: mine. ") and second.startswith("Not trained yet: mine, 0.1. ")
    plt.close("all")
