"""The first episode: its solution, other right answers, and the mistakes that a novice makes.

Each notebook is run cell by cell in this process, in a namespace and a folder of its own, which is what a kernel does
at a fraction of its cost. That it also runs in a real kernel is shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras
import nbformat
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_release_is_clean,
    assert_rubrics_add_up,
    code_cells,
    grade_id,
    is_graded,
    notebooks_of,
    starters_of,
)

from helpers import checks

NAME = "01-introduction"
TESTS = ("show-nine-images", "compile-and-fit", "predict-one-image", "save-model")
WRITTEN = ("inspect-dataset", "is-it-doing-well", "interpret-prediction")


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def solved() -> dict[str, dict[str, Any]]:
    """What the names hold at the places where runs may start, once all before it has been solved."""
    return {}


@pytest.fixture
def run(notebooks, data_folder, solved, tmp_path, monkeypatch):
    """Run the instructor's notebook with other code in some solution cells.

    A run that changes only later exercises starts from a notebook solved up to there, so that not every mistake
    needs a training of its own. Training changes the model that it is given, so a run that trains starts before the
    model is made.
    """
    source, release = notebooks
    starters = starters_of(release)
    cells = {place(cell) or f"cell {number}": cell for number, cell in enumerate(code_cells(source))}
    order = list(cells)

    def execute(names, namespace, answers, tests=(), seed=32) -> Run:
        result = Run(values=namespace)
        for name in names:
            if is_graded(cells[name]) and name.removesuffix("-test") not in tests:
                continue
            code = answers.get(name, cells[name].source).replace("set_random_seed(32)", f"set_random_seed({seed})")
            result.execute(cells[name], starters[name] if code == "STARTER" else code)
        return result

    def solved_up_to(start: str) -> dict[str, Any]:
        if start not in solved:
            earlier = next((stop for stop in reversed(STARTS) if order.index(stop) < order.index(start)), order[0])
            namespace = solved_up_to(earlier) if earlier != order[0] else {"__name__": "__main__"}
            execute(order[order.index(earlier) : order.index(start)], namespace, {"raw twin": ""})
            solved[start] = namespace
        return dict(solved[start])

    def go(answers: Mapping[str, str] | None = None, tests=TESTS, seed: int = 32) -> Run:
        answers = dict(answers or {})
        assert set(answers) <= set(order), "an answer for a cell that isn't there"
        monkeypatch.chdir(tmp_path)
        first = min(order.index(name) for name in [*answers, *tests])
        start = next((stop for stop in reversed(STARTS) if order.index(stop) <= first), order[0])
        if seed != 32:
            start = order[0]
        namespace = {"__name__": "__main__"} if start == order[0] else solved_up_to(start)
        last = max(order.index(f"{name}-test") for name in tests)
        if answers:
            answers.setdefault("raw twin", "")
        return execute(order[order.index(start) : last + 1], namespace, answers, tests, seed)

    return go


# Cells at which a run may start.
STARTS = ("show-nine-images", "the model", "predict-one-image")


def place(cell: nbformat.NotebookNode) -> str | None:
    """What the tests call a cell: its grade id, or a name for the two given cells that they must know."""
    if grade_id(cell):
        return grade_id(cell)
    if cell.source.startswith("model_intro = helpers."):
        return "the model"
    return "raw twin" if "model_raw" in cell.source else None


# --- the episode as a whole ---


def test_the_episode_has_seven_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 7
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answers_have_model_answers_and_rubrics_that_add_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(notebooks[1], "above_chance", "images[i].numpy")


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    outcome = run({name: "STARTER" for name in TESTS})
    assert set(outcome.failed) == set(TESTS)
    for name, error in outcome.failed.items():
        assert isinstance(error, checks.NotAttempted), (name, error)
        assert str(error).startswith("not attempted yet: ")
    assert not set(outcome.broken) & {*TESTS, *(f"{name}-probe" for name in TESTS)}


# --- right answers ---


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(32, 32 + int(os.environ.get("COURSE_SEEDS", "2"))))
def test_the_solution_passes_with_any_seed(run, seed):
    """Two seeds here; `COURSE_SEEDS=10 pytest tests/test_episode_01.py -k any_seed` tries ten."""
    outcome = run(seed=seed, tests=TESTS if seed == 32 else TESTS[:3])
    assert not outcome.failed
    assert not outcome.broken


RIGHT = {
    "subplots, images from 0 to 1, titles with numbers": {
        "show-nine-images": """
images, labels = next(iter(train_ds.skip(3)))
fig, axes = plt.subplots(3, 3, figsize=(7, 7))
for i, ax in enumerate(axes.flat):
    ax.imshow(images[i] / 255)
    ax.set_title(f"{i}. {class_names[int(labels[i])].upper()}", loc="left")
""",
    },
    "plt.subplot as in many tutorials, figure taken afterwards": {
        "show-nine-images": """
plt.figure(figsize=(5, 5))
for images, labels in train_ds.take(1):
    for i in range(9):
        plt.subplot(3, 3, i + 1)
        plt.imshow(images[i].numpy().astype(int))
        plt.title(class_names[labels[i]])
fig = plt.gcf()
""",
    },
    "the helper": {
        "show-nine-images": """
for images, labels in train_ds.take(1):
    fig = helpers.show_images(images[:9], labels[:9], class_names)
""",
    },
    "objects for names, more epochs, validation; a copy of the history": {
        "compile-and-fit": """
from types import SimpleNamespace
model_intro.compile(keras.optimizers.Adam(), loss=keras.losses.SparseCategoricalCrossentropy(),
                    metrics=[keras.metrics.SparseCategoricalAccuracy()])
history_intro = model_intro.fit(train_ds, epochs=3, validation_data=val_ds, verbose=0)
history_intro = SimpleNamespace(history=history_intro.history, epoch=history_intro.epoch, params=history_intro.params)
""",
        "predict-one-image": """
import numpy as np
images, labels = next(iter(test_ds))
first_image, first_label = images[0].numpy(), int(labels[0])
prediction = model_intro(first_image[None, ...])
predicted_label = int(np.argmax(prediction))
predicted_name = class_names[predicted_label]
def predict_class(image):
    return class_names[np.argmax(model_intro(np.array([image])), axis=1)[0]]
""",
    },
    "one row of probabilities, an arg-maximum that kept its axis": {
        "predict-one-image": """
for images, labels in test_ds.take(1):
    first_image, first_label = images[0], labels[0].numpy()
prediction = model_intro.predict(images[:1], verbose=0)[0]
predicted_label = tf.argmax([prediction], axis=1)
predicted_name = class_names[predicted_label[0]]
predict_class = lambda image: class_names[tf.argmax(model_intro(tf.expand_dims(image, 0))[0])]
""",
    },
    "fitted twice by running the cell again": {
        "compile-and-fit": """
model_intro.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
history_intro = model_intro.fit(train_ds, epochs=2, verbose=0)
history_intro = model_intro.fit(train_ds, epochs=2, verbose=0)
""",
    },
}


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_answer_in_another_way_passes(run, way):
    outcome = run(RIGHT[way], tests=TESTS[:1] if set(RIGHT[way]) == {"show-nine-images"} else TESTS[1:3])
    assert not outcome.failed
    assert not outcome.broken


@pytest.mark.slow
def test_a_model_saved_in_another_way_passes(run):
    outcome = run(
        {
            "save-model": """
from pathlib import Path
Path("models").mkdir(parents=True, exist_ok=True)
keras.saving.save_model(model_intro, Path("models", "model_intro.keras"), overwrite=True)
"""
        }
    )
    assert not outcome.failed


# --- wrong answers: which tests fail, and what they say ---

COMPILE = 'model_intro.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])\n'
FIRST = """
for images, labels in test_ds.take(1):
    first_image = images[0]
    first_label = labels[0]
prediction = model_intro.predict(tf.expand_dims(first_image, axis=0), verbose=0)
predicted_label = tf.argmax(prediction[0])
predicted_name = class_names[predicted_label]
def predict_class(image):
    return class_names[tf.argmax(model_intro(tf.expand_dims(image, axis=0))[0])]
"""
GRID = """
fig = plt.figure()
for images, labels in train_ds.take(1):
    for i in range(9):
        ax = fig.add_subplot(3, 3, i + 1)
        ax.imshow(images[i].numpy().astype("uint8"))
        ax.set_title(class_names[labels[i]])
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (GRID.replace("labels[i]]", "labels[i + 1]]"), "over an image of another class"),
        (GRID.replace("labels[i]]", "(labels[i] + 1) % 5]"), "over an image of another class"),
        (GRID.replace("images[i]", "images[0]").replace("labels[i]", "labels[0]"), "found the same one twice"),
        (GRID.replace("range(9)", "range(8)"), "expected 9 axes in the figure, found 8"),
        (GRID.replace("fig = plt.figure()", "fig, axes = plt.subplots()"), "found 10; one of them holds nothing"),
        (GRID.replace("        ax.set_title(class_names[labels[i]])\n", ""), "expected a title in each axes"),
        (GRID.replace("class_names[labels[i]]", "int(labels[i])"), "a title that names one class"),
        (GRID.replace("class_names[labels[i]]", '" or ".join(class_names)'), "a title that names one class"),
        (GRID.replace("images[i]", "(255 - images[i])"), "unchanged images"),
        (GRID + "fig = 'nine images'\n", "expected a matplotlib figure, found str"),
        (GRID + "plt.figure()\nfig = plt.gcf()\n", "not attempted yet"),
    ],
)
def test_wrong_figures_fail_and_say_why(run, code, says):
    outcome = run({"show-nine-images": code}, tests=TESTS[:1])
    assert says in str(outcome.failed["show-nine-images"])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (COMPILE + "history_intro = ...", "not attempted yet: history_intro"),
        (
            COMPILE + "history_intro = model_intro.evaluate(train_ds, verbose=0)",
            "expected what model.fit returns, found list",
        ),
        (
            COMPILE + "history_intro = model_intro.fit(train_ds, epochs=2, verbose=0).history",
            "expected what model.fit returns, found dict",
        ),
        (
            "model_intro.compile(optimizer='adam', loss='sparse_categorical_crossentropy')\n"
            "history_intro = model_intro.fit(train_ds, epochs=2, verbose=0)",
            "expected the metric 'accuracy', found no metric",
        ),
        (
            COMPILE.replace("adam", "sgd") + "history_intro = model_intro.fit(train_ds, epochs=2, verbose=0)",
            "expected the optimizer 'adam', found 'sgd'",
        ),
        (
            "other = helpers.create_model_intro()\n"
            + COMPILE.replace("model_intro", "other")
            + "history_intro = other.fit(train_ds, epochs=2, verbose=0)",
            "found one that is not compiled yet",
        ),
        (
            "other = helpers.create_model_intro()\n"
            + COMPILE
            + COMPILE.replace("model_intro", "other")
            + "history_intro = other.fit(train_ds, epochs=2, verbose=0)",
            "weights have never been adjusted",
        ),
        (
            "model_intro = helpers.create_model_intro(num_classes=10)\n"
            + COMPILE
            + "history_intro = model_intro.fit(train_ds, epochs=2, verbose=0)",
            "expected 5 numbers for each image, one for each class, found (10,)",
        ),
        (
            COMPILE + "shifted = train_ds.map(lambda images, labels: (images, (labels + 1) % 5))\n"
            "history_intro = model_intro.fit(shifted, epochs=2, verbose=0)",
            "expected an accuracy that luck can't explain",
        ),
        (
            COMPILE + "history_intro = model_intro.fit(train_ds.take(2), verbose=0)",
            "history_intro: expected at least 2 epochs, found 1",
        ),
        (
            COMPILE + "from types import SimpleNamespace\nimport numpy as np\n"
            "history_intro = SimpleNamespace(history={'loss': [1.6, 1.5], 'accuracy': [0.35, 0.4]})",
            "weights have never been adjusted",
        ),
        ("model_intro = 'a CNN'\nhistory_intro = 'loss: 1.5, accuracy: 0.35'", "expected a Keras model, found str"),
    ],
)
def test_wrong_trainings_fail_and_say_why(run, code, says):
    outcome = run({"compile-and-fit": code}, tests=("compile-and-fit",))
    assert says in str(outcome.failed["compile-and-fit"])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FIRST.replace("images[0]", "images[1]"), "first_image: expected the first image of test_ds"),
        (FIRST.replace("test_ds", "train_ds"), "first_image: expected the first image of test_ds"),
        (FIRST.replace("labels[0]", "labels[0] + 1"), "first_label: expected the label of first_image"),
        (FIRST.replace("labels[0]", "class_names[labels[0]]"), "first_label: expected the number of a class"),
        (FIRST.replace("images[0]", "images[0] / 255"), "first_image: expected the first image of test_ds, unchanged"),
        (FIRST + "first_image = images", "first_image: expected shape (32, 32, 3), found (32, 32, 32, 3)"),
        (FIRST + "prediction = first_image", "prediction: expected one probability for each of 5 classes"),
        (
            FIRST + "prediction = [[0.6, 0.1, 0.1, 0.1, 0.1]]\npredicted_label, predicted_name = 0, 'airplane'",
            "found other numbers",
        ),
        (FIRST + "predicted_label = tf.argmin(prediction[0])", "the class with the highest probability"),
        (FIRST + "predicted_label = tf.reduce_max(prediction[0])", "predicted_label: expected a whole number"),
        (
            FIRST + "predicted_name = class_names[predicted_label - 1]",
            "predicted_name: expected the class with the highest",
        ),
        (FIRST + "predicted_name = predicted_label", "predicted_name: expected text"),
        (
            FIRST + "predict_class = lambda image: predicted_name",
            "predict_class(image): expected the class with the highest",
        ),
        (FIRST + "predict_class = lambda image: 0", "predict_class(image): expected text, found int"),
        (FIRST + "def predict_class(image):\n    model_intro(image[None])", "is there a 'return' at its end"),
        (FIRST + "def predict_class():\n    return 'cat'", "expected a function that can be called, found TypeError"),
        (FIRST + "predict_class = predicted_name", "expected a function, found str"),
        (FIRST + "def predict_class(image):\n    return ...", "not attempted yet: predict_class"),
    ],
)
def test_wrong_predictions_fail_and_say_why(run, code, says):
    outcome = run({"predict-one-image": code}, tests=("predict-one-image",))
    assert says in str(outcome.failed["predict-one-image"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (
            {
                "compile-and-fit": "import os\nos.makedirs('models', exist_ok=True)\n"
                + COMPILE
                + "model_intro.save('models/model_intro.keras')\nhistory_intro = model_intro.fit(train_ds, verbose=0)",
                "save-model": "pass",
            },
            "was it saved before model_intro was trained",
        ),
        (
            {
                "compile-and-fit": COMPILE + "history_intro = ...",
                "save-model": "import os\nos.makedirs('models', exist_ok=True)\n"
                "model_intro.save('models/model_intro.keras')",
            },
            "expected an accuracy that luck can't explain",
        ),
        (
            {
                "save-model": "import os\nos.makedirs('models', exist_ok=True)\n"
                "other = helpers.create_model_intro(num_classes=10)\nother.save('models/model_intro.keras')"
            },
            "expected the same layers, of the same sizes, as in model_intro",
        ),
    ],
)
def test_wrong_saved_models_fail_and_say_why(run, answers, says):
    outcome = run(answers, tests=("save-model",))
    assert says in str(outcome.failed["save-model"])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("model_intro.save('model_intro.keras')", "not attempted yet: there is no file models/model_intro.keras"),
        ("import os\nos.makedirs('models/model_intro.keras')", "expected a file, found a folder"),
        ("import os\nos.makedirs('models')\nopen('models/model_intro.keras', 'w').close()", "found an empty file"),
    ],
)
def test_files_that_are_no_saved_model_fail_and_say_why(run, code, says):
    outcome = run({"save-model": code}, tests=("save-model",))
    assert says in str(outcome.failed["save-model"])


def test_no_message_of_a_failed_test_shows_a_held_out_image(run):
    """The most that a message tells of the holdout is how many images there are and how often the model was right."""
    keras.utils.set_random_seed(1)
    with pytest.raises(checks.CheckError) as raised:
        checks.above_chance(
            keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten(), Shrug()]), checks.holdout()
        )
    assert len(str(raised.value)) < 250
    assert "[" not in str(raised.value)


class Shrug(keras.layers.Layer):
    """Answers airplane, whatever it is shown."""

    def call(self, flat):
        return keras.ops.one_hot(keras.ops.zeros(keras.ops.shape(flat)[:1], dtype="int32"), 5)

    def compute_output_shape(self, shape):
        return (shape[0], 5)
