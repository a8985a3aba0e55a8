"""The third episode: its solution, other right answers, and the mistakes that a novice makes.

Its cells are run in this process, in a namespace and a folder of their own, which is what a kernel does at a fraction
of its cost. That they also run in a real kernel is shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from episode_run import Run, built_notebooks

from helpers import checks, hints

NAME = "03-build-cnn"
TESTS = (
    "input-layer",
    "convolve-by-hand",
    "conv-layer",
    "pooling",
    "flatten-output",
    "predict-shapes",
    "model-function",
    "two-blocks",
)
WRITTEN = ("why-softmax",)


@pytest.fixture(scope="module")
def notebooks(repository, tmp_path_factory) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The instructor's notebook and the student's, built from the lesson text."""
    return built_notebooks(repository, tmp_path_factory.mktemp("course"), NAME)


@pytest.fixture(scope="module")
def first_cell_values() -> dict[str, Any]:
    """What the notebook's first cell leaves behind: the imports and the datasets, the same for every run."""
    return {}


@pytest.fixture
def run(notebooks, data_folder, first_cell_values, tmp_path, monkeypatch):
    """Run the exercises that some tests need, with other code in some solution cells.

    Only what an exercise stands on is run: the network's pieces are built one upon another, the rest stands alone.
    """
    source, release = notebooks
    starters = {cell.metadata.nbgrader.grade_id: cell.source for cell in release.cells if "nbgrader" in cell.metadata}
    cells = [cell for cell in source.cells if cell.cell_type == "code"]
    given = [cell.source for cell in cells if "nbgrader" not in cell.metadata]
    marked = {cell.metadata.nbgrader.grade_id: cell for cell in cells if "nbgrader" in cell.metadata}
    pieces = ("input-layer", "conv-layer", "pooling", "flatten-output")

    def go(answers: Mapping[str, str] | None = None, tests=TESTS, seed: int = 33) -> Run:
        answers = dict(answers or {})
        assert set(answers) <= set(TESTS), "an answer for an exercise that isn't there"
        monkeypatch.chdir(tmp_path)
        if not first_cell_values:
            exec(given[0], first_cell_values)
        namespace = dict(first_cell_values)
        namespace["keras"].utils.set_random_seed(seed)
        exec(next(code for code in given if code.startswith("patch = ")), namespace)
        needed = set(tests) | (set(pieces) if set(tests) & set(pieces) else set())
        outcome = Run(values=namespace)
        for name, cell in marked.items():
            exercise = name.removesuffix("-test").removesuffix("-probe")
            graded = cell.metadata.nbgrader.grade
            if exercise not in needed or exercise in WRITTEN or (graded and exercise not in tests):
                continue
            code = answers.get(name, cell.source)
            try:
                exec(compile(starters[name] if code == "STARTER" else code, name, "exec"), namespace)
            except Exception as error:
                (outcome.failed if graded else outcome.broken)[name.removesuffix("-test")] = error
        plt.close("all")
        return outcome

    return go


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    graded = {
        c.metadata.nbgrader.grade_id: c for c in notebooks[0].cells if c.metadata.get("nbgrader", {}).get("grade")
    }
    assert set(graded) == {f"{name}-test" for name in TESTS} | set(WRITTEN)
    assert sum(cell.metadata.nbgrader.points for cell in graded.values()) == 20
    assert {*TESTS, *WRITTEN} <= set(hints.all_hints())
    text = "\n".join(cell.source for cell in notebooks[0].cells)
    for name, cell in graded.items():
        exercise, points = name.removesuffix("-test"), cell.metadata.nbgrader.points
        told = f'*({points} point{"s" if points > 1 else ""}. Hints: `helpers.hint("{exercise}")`)*'
        assert told in text.replace("\n", " "), told


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    text = "\n".join(cell.source for cell in notebooks[1].cells)
    for secret in (
        "SOLUTION",
        "HIDDEN",
        "Model answer",
        "Rubric",
        "#? ",
        "holdout(",
        "above_chance",
        "reloads(",
        "10853",
        "10,853",
        "corner = 14",
        "layers.Flatten()(pooled)",
        "(28, 28, 8)",
        "row : row + size",
    ):
        assert secret not in text, secret


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    outcome = run({name: "STARTER" for name in TESTS})
    assert set(outcome.failed) == set(TESTS)
    for name, error in outcome.failed.items():
        assert isinstance(error, checks.NotAttempted), (name, error)
        assert str(error).startswith("not attempted yet: ")
    assert not outcome.broken


# --- right answers ---


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(33, 33 + int(os.environ.get("COURSE_SEEDS", "1"))))
def test_the_solution_passes_with_any_seed(run, seed):
    """One seed here; `COURSE_SEEDS=10 pytest tests/test_episode_03.py -k any_seed` tries ten."""
    outcome = run(seed=seed, tests=TESTS if seed == 33 else TESTS[6:])
    assert not outcome.failed
    assert not outcome.broken


RIGHT = {
    "numbers for pairs, activations and rescaling as layers of their own, tf.keras": {
        "input-layer": """
import tensorflow as tf
inputs = tf.keras.layers.Input((32, 32, 3), name="photo")
rescaled = tf.keras.layers.Rescaling(scale=1 / 255.0, offset=0)(inputs)
""",
        "conv-layer": """
convolved = layers.Conv2D(filters=16, kernel_size=3, padding="valid", name="edges")(rescaled)
convolved = layers.ReLU()(convolved)
""",
        "pooling": "pooled = keras.layers.MaxPool2D()(convolved)",
        "flatten-output": """
flat = layers.Flatten()(pooled)
outputs = layers.Softmax()(layers.Dense(5)(flat))
model_intro = keras.models.Model(inputs, outputs)
""",
    },
    "rescaling by division": {
        "input-layer": "inputs = keras.Input(shape=[32, 32, 3])\nrescaled = inputs / 255",
    },
    "the finished model as a Sequential": {
        "flatten-output": """
flat, outputs = layers.Flatten()(pooled), None
model_intro = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255),
    layers.Conv2D(16, 3, activation="relu"),
    layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5, activation="softmax")])
""",
    },
    "an array filled place by place": {
        "convolve-by-hand": """
corner = np.sum(patch[2:5, 0:3] * kernel)
def convolve(patch, kernel):
    height, width = kernel.shape
    result = np.zeros((patch.shape[0] - height + 1, patch.shape[1] - width + 1))
    for r in range(result.shape[0]):
        for c in range(result.shape[1]):
            for i in range(height):
                for j in range(width):
                    result[r, c] += patch[r + i, c + j] * kernel[i, j]
    return result
""",
    },
    "a library's convolution": {
        "convolve-by-hand": """
import scipy.ndimage, scipy.signal
corner = 14.0
convolve = lambda patch, kernel: scipy.signal.correlate2d(patch, kernel, mode="valid")
""",
    },
    "predictions as lists, rules written otherwise": {
        "predict-shapes": """
conv_shape, pool_shape = [28, 28, 8], np.array([14, 14, 8])
flat_length = np.prod(pool_shape)
total_parameters = 8453.0
def size_after_conv(size, kernel_size):
    return len(range(kernel_size, size + 1))
def conv_parameters(kernel_size, channels, filters):
    return keras.Sequential([keras.Input((9, 9, channels)), layers.Conv2D(filters, kernel_size)]).count_params()
dense_parameters = lambda inputs, outputs: inputs * outputs + outputs
""",
    },
}


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_answer_in_another_way_passes(run, way):
    outcome = run(
        RIGHT[way],
        tests=TESTS[:1] + TESTS[2:5] if "pooling" in RIGHT[way] or "input-layer" in RIGHT[way] else tuple(RIGHT[way]),
    )
    assert not outcome.broken
    assert not outcome.failed


SEQUENTIAL = """
def create_model_intro(input_shape, num_classes):
    keras.utils.set_random_seed(1)  # the same random weights at each call: still another model
    model = keras.Sequential()
    model.add(keras.Input(shape=input_shape))
    model.add(layers.Rescaling(1 / 255))
    model.add(layers.Conv2D(16, 3))
    model.add(layers.Activation("relu"))
    model.add(layers.MaxPooling2D(2))
    model.add(layers.Flatten())
    model.add(layers.Dense(num_classes, activation=keras.activations.softmax))
    model.compile()
    return model
"""


@pytest.mark.slow
def test_models_made_in_other_ways_pass(run):
    deep = SEQUENTIAL.replace(
        "    model.add(layers.Flatten",
        "    model.add(layers.Conv2D(32, (3, 3), activation='relu'))\n    model.add(layers.MaxPooling2D())\n"
        "    model.add(layers.Flatten",
    )
    outcome = run(
        {
            "model-function": SEQUENTIAL,
            "two-blocks": deep.replace("create_model_intro", "deep") + "model_deep = deep((32, 32, 3), 5)",
        },
        tests=("model-function", "two-blocks"),
    )
    assert not outcome.broken
    assert not outcome.failed


# --- wrong answers: which test fails, and what it says ---

CONVOLVE = """
corner = 14
def convolve(patch, kernel):
    size = kernel.shape[0]
    result = []
    for row in range(patch.shape[0] - size + 1):
        line = []
        for column in range(patch.shape[1] - size + 1):
            window = patch[row : row + size, column : column + size]
            line.append(np.sum(window * kernel))
        result.append(line)
    return result
"""
PREDICTIONS = """
def size_after_conv(size, kernel_size):
    return size - kernel_size + 1
def conv_parameters(kernel_size, channels, filters):
    return (kernel_size * kernel_size * channels + 1) * filters
def dense_parameters(inputs, outputs):
    return (inputs + 1) * outputs
conv_shape, pool_shape, flat_length, total_parameters = (28, 28, 8), (14, 14, 8), 1568, 8453
"""
OUTPUT = """
flat = layers.Flatten()(pooled)
outputs = layers.Dense(5, activation="softmax")(flat)
model_intro = keras.Model(inputs=inputs, outputs=outputs)
"""


@pytest.mark.parametrize(
    ("exercise", "code", "says"),
    [
        ("input-layer", "inputs = keras.Input(shape=(32, 32, 3))\nrescaled = ...", "not attempted yet: rescaled"),
        (
            "input-layer",
            "inputs = keras.Input(shape=(32, 32, 3))\nrescaled = layers.Rescaling(1 / 255)",
            "found a Rescaling that isn't",
        ),
        (
            "input-layer",
            "inputs = keras.Input(shape=(3, 32, 32))\nrescaled = layers.Rescaling(1 / 255)(inputs)",
            "takes arrays of shape (None, 32, 32, 3), found (None, 3, 32, 32)",
        ),
        (
            "input-layer",
            "inputs = keras.Input(shape=(32, 32, 3))\nrescaled = layers.Rescaling(255)(inputs)",
            "brought from 0...255 to 0...1",
        ),
        ("input-layer", "inputs = keras.Input(shape=(32, 32, 3))\nrescaled = inputs", "brought from 0...255 to 0...1"),
        ("input-layer", "inputs = (32, 32, 3)\nrescaled = 1 / 255", "expected what keras.Input or a layer returns"),
        (
            "input-layer",
            "rescaled = layers.Rescaling(1 / 255)(keras.Input((32, 32, 3)))\ninputs = keras.Input((32, 32, 3))",
            "connected with inputs",
        ),
        ("convolve-by-hand", CONVOLVE.replace("corner = 14", "corner = 21"), "corner: expected the sum"),
        ("convolve-by-hand", CONVOLVE.replace("window * kernel", "window * kernel[::-1, ::-1]"), "0 and 21"),
        ("convolve-by-hand", CONVOLVE.replace("window * kernel", "window * kernel.T"), "0 and 21"),
        ("convolve-by-hand", CONVOLVE.replace("window * kernel", "window"), "0 and 21"),
        (
            "convolve-by-hand",
            CONVOLVE.replace("kernel.shape[0]", "3"),
            "a kernel of 2 by 2): expected a function that can",
        ),
        (
            "convolve-by-hand",
            CONVOLVE.replace("shape[1] - size", "shape[0] - size"),
            "4 by 9, a kernel of 3 by 3): expected shape (2, 7)",
        ),
        ("convolve-by-hand", CONVOLVE.replace(" - size + 1", " - size"), "expected shape (3, 3), found (2, 2)"),
        ("convolve-by-hand", CONVOLVE.replace("np.sum(window * kernel)", "window * kernel"), "found (3, 3, 3, 3)"),
        ("convolve-by-hand", CONVOLVE.replace("np.sum", "np.max"), "convolve(patch, kernel), the first two numbers"),
        (
            "convolve-by-hand",
            CONVOLVE.replace("np.sum(window * kernel)", "np.sum(window[:, -1] - window[:, 0])"),
            "each number of the window times the number of the kernel",
        ),
        ("convolve-by-hand", CONVOLVE.replace("    return result", ""), "is there a 'return' at its end"),
        (
            "convolve-by-hand",
            "corner = 14\nconvolve = lambda patch, kernel: [[0, 21, 21], [7, 21, 14], [14, 14, 7]]",
            "a patch of 4 by 9",
        ),
        ("conv-layer", "convolved = layers.Conv2D(16, (3, 3), activation='relu')", "found a Conv2D that isn't"),
        ("conv-layer", "convolved = layers.Conv2D(16, (3, 3))(rescaled)", "the activation ReLU"),
        ("conv-layer", "convolved = layers.Conv2D(16, (3, 3), activation='sigmoid')(rescaled)", "the activation ReLU"),
        ("conv-layer", "convolved = layers.Conv2D(3, (16, 16))(rescaled)", "expected 16 feature maps"),
        ("conv-layer", "convolved = layers.Conv2D(16, 5, activation='relu')(rescaled)", "found (None, 28, 28, 16)"),
        (
            "conv-layer",
            "convolved = layers.Conv2D(16, 3, activation='relu', padding='same')(rescaled)",
            "since there is no padding, found 32 by 32",
        ),
        (
            "conv-layer",
            "convolved = layers.Conv2D(16, (3, 3), activation='relu')(inputs)",
            "connected with the rescaled image",
        ),
        ("conv-layer", "convolved = layers.Dense(16)(rescaled)", "expected a Conv2D layer"),
        ("pooling", "pooled = layers.AveragePooling2D((2, 2))(convolved)", "the largest number of each window"),
        ("pooling", "pooled = layers.MaxPooling2D((3, 3))(convolved)", "found 30 before and 10 after"),
        (
            "pooling",
            "pooled = layers.MaxPooling2D((2, 2))(rescaled)",
            "those of convolved, found 30 before and 16 after",
        ),
        ("pooling", "pooled = layers.Conv2D(16, 2, strides=2)(convolved)", "the largest number of each window"),
        ("flatten-output", OUTPUT.replace(', activation="softmax"', ""), "expected probabilities"),
        ("flatten-output", OUTPUT.replace("softmax", "sigmoid"), "add up to 1"),
        ("flatten-output", OUTPUT.replace("Dense(5", "Dense(10"), "each of 5 classes"),
        ("flatten-output", OUTPUT.replace("Flatten", "GlobalAveragePooling2D"), "expected a Flatten layer"),
        ("flatten-output", OUTPUT.replace("(pooled)", "(convolved)"), "expected a MaxPooling2D layer"),
        ("flatten-output", OUTPUT.replace("inputs=inputs", "inputs=rescaled"), "pixels brought from 0...255"),
        ("flatten-output", OUTPUT + "model_intro = keras.Model", "was it called"),
        ("predict-shapes", PREDICTIONS.replace("(28, 28, 8)", "(28, 28, 3)"), "conv_shape: expected what"),
        ("predict-shapes", PREDICTIONS.replace("(28, 28, 8)", "(32, 32, 8)"), "conv_shape: expected what"),
        ("predict-shapes", PREDICTIONS.replace("(14, 14, 8)", "(14, 14, 4)"), "pool_shape: expected what"),
        ("predict-shapes", PREDICTIONS.replace("(28, 28, 8)", "(28, 28)"), "expected shape (3,), found (2,)"),
        ("predict-shapes", PREDICTIONS.replace("8453", "18453"), "total_parameters: expected the sum over all layers"),
        ("predict-shapes", PREDICTIONS.replace("8453", "'8,453'"), "total_parameters: expected a whole number"),
        (
            "predict-shapes",
            PREDICTIONS.replace("- kernel_size + 1", "- kernel_size"),
            "size_after_conv(32, 3): expected",
        ),
        ("predict-shapes", PREDICTIONS.replace("- kernel_size + 1", "- 2"), "a rule for any size and any kernel"),
        ("predict-shapes", PREDICTIONS.replace("channels + 1", "channels"), "conv_parameters(3, 3, 16): expected 448"),
        ("predict-shapes", PREDICTIONS.replace("(inputs + 1) * outputs", "18005"), "a rule for any number of inputs"),
        (
            "predict-shapes",
            PREDICTIONS.replace("kernel_size * kernel_size * channels", "kernel_size * channels * 3"),
            "a rule for any kernel",
        ),
    ],
)
def test_wrong_answers_fail_and_say_why(run, exercise, code, says):
    outcome = run({exercise: code}, tests=(exercise,))
    assert says in str(outcome.failed[exercise])


FUNCTION = """
def create_model_intro(input_shape, num_classes):
    inputs = keras.Input(shape=input_shape)
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Conv2D(16, (3, 3), activation="relu")(x)
    x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(num_classes, activation="softmax")(x)
    return keras.Model(inputs=inputs, outputs=outputs)
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FUNCTION.replace("Dense(num_classes", "Dense(5"), "arrays of shape (None, 10), found (None, 5)"),
        (
            FUNCTION.replace("shape=input_shape", "shape=(32, 32, 3)"),
            "takes arrays of shape (None, 28, 28, 1), found (None, 32, 32, 3)",
        ),
        (FUNCTION.replace("    return", "    model ="), "is there a 'return' at its end"),
        (
            FUNCTION.replace("    return keras.Model(inputs=inputs, outputs=outputs)", "    return outputs"),
            "Keras model",
        ),
        (FUNCTION.replace("    x = layers.Rescaling(1.0 / 255)(inputs)", "    x = inputs"), "pixels brought from"),
        (FUNCTION.replace("(16, (3, 3)", "(8, (3, 3)"), "expected more parameters"),
        (FUNCTION.replace('"softmax"', "None"), "probabilities"),
        (
            FUNCTION + "import functools\ncreate_model_intro = functools.cache(create_model_intro)",
            "training one changed another",
        ),
        (FUNCTION + "made = create_model_intro((32, 32, 3), 5)\ncreate_model_intro = lambda shape, n: made", "another"),
        (
            FUNCTION.replace("def ", "conv = layers.Conv2D(16, 3, activation='relu')\ndef ").replace(
                'layers.Conv2D(16, (3, 3), activation="relu")(x)', "conv(x)"
            ),
            "expected a function that can be called, found ValueError",
        ),
        (FUNCTION.replace("(input_shape, num_classes)", "()"), "found TypeError"),
        (FUNCTION + "create_model_intro = create_model_intro((32, 32, 3), 5)", "create_model_intro: expected"),
    ],
)
def test_wrong_functions_fail_and_say_why(run, code, says):
    outcome = run({"model-function": code}, tests=("model-function",))
    assert says in str(outcome.failed["model-function"])
    assert not outcome.broken


DEEP = """
x = inputs_deep = keras.Input(shape=(32, 32, 3))
x = layers.Rescaling(1.0 / 255)(x)
x = layers.Conv2D(16, (3, 3), activation="relu")(x)
x = layers.MaxPooling2D((2, 2))(x)
x = layers.Conv2D(32, (3, 3), activation="relu")(x)
x = layers.MaxPooling2D((2, 2))(x)
x = layers.Flatten()(x)
x = layers.Dense(5, activation="softmax")(x)
model_deep = keras.Model(inputs_deep, x)
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (DEEP.replace("Conv2D(32", "Conv2D(16"), "expected 16 filters, then 32, found [16, 16]"),
        (DEEP.replace('x = layers.Conv2D(32, (3, 3), activation="relu")(x)\n', ""), "expected a Conv2D layer after"),
        (DEEP.replace("(32, (3, 3)", "(32, (5, 5)"), "expected fewer parameters"),
        (DEEP.replace('"relu"', "None"), "before the flatten layer"),
        (DEEP.replace("x = layers.Rescaling(1.0 / 255)(x)\n", ""), "before the first convolution"),
        (DEEP.replace("Dense(5", "Dense(3"), "expected a model that can learn from these images"),
        (DEEP.replace("keras.Model(inputs_deep, x)", "x"), "model_deep: expected a Keras model, found KerasTensor"),
        (DEEP.replace("keras.Model(inputs_deep, x)", "..."), "not attempted yet: model_deep"),
    ],
)
def test_wrong_deep_models_fail_and_say_why(run, code, says):
    outcome = run({"two-blocks": code}, tests=("two-blocks",))
    assert says in str(outcome.failed["two-blocks"])
    assert not outcome.broken
