"""The sixth episode: its scale, its solution, other right answers, and the mistakes that a novice makes.

Trainings are cut to an epoch or two, and the trials of the search are made up: that the real ones earn full marks is
shown by the tests of the notebooks.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_not_attempted,
    assert_release_is_clean,
    assert_rubrics_add_up,
    exercise_of,
    given_cell,
    marked_cells,
    notebooks_of,
    starters_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers
from helpers.checks import tuning

NAME = "06-tune-cnn"
TESTS = (
    "spot-overfitting",
    "model-dropout",
    "augmentation",
    "run-search",
    "choose-setting",
    "catch-optimist",
    "final-report",
    "mini-challenge",
)
WRITTEN = ("what-i-tried",)


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def given_values() -> dict[str, Any]:
    """What the cells that learners only run leave behind, the same for every run."""
    return {}


def made_up_trial(filters: int, dropout_rate: float, learning_rate: float) -> float:
    """A trial that trains nothing: some number of the 250 validation images."""
    return round(100 + filters + 20 * dropout_rate + 2000 * learning_rate) / 250


def value_of(code: str, name: str, namespace: dict[str, Any]) -> Any:
    """Run a cell and return the value of its last line, as a kernel does."""
    tree = ast.parse(code)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), name, "eval"), namespace)


@pytest.fixture
def run(notebooks, data_folder, given_values, tmp_path, monkeypatch):
    """Run some exercises with other code in some of their cells, on top of what comes before them in the notebook."""
    source, release = notebooks
    starters, marked = starters_of(release), marked_cells(source)

    def quickly(code: str) -> str:
        return code.replace("epochs=10", "epochs=2").replace("epochs = 25", "epochs = 8")

    def go(answers: Mapping[str, str] | None = None, tests=TESTS) -> Run:
        answers = dict(answers or {})
        assert {name.removesuffix("-probe") for name in answers} <= set(TESTS), "an answer for no exercise"
        monkeypatch.chdir(tmp_path)
        if not given_values:
            exec(given_cell(source, "prepare_datasets"), given_values)
        (tmp_path / "models").mkdir(exist_ok=True)
        namespace = dict(given_values)
        namespace["keras"].utils.set_random_seed(36)
        exec(given_cell(source, "records = {"), namespace)
        exec(given_cell(source, "grid = []"), namespace)
        exec(given_cell(source, "lab_book = "), namespace)
        namespace["run_trial"] = made_up_trial
        # What an untrained model of the notebook's would do: the first cells of the lesson's story, without their cost.
        namespace["history_fast"] = type("History", (), {"history": namespace["records"]["B"]})
        namespace["sealed_test"] = helpers.SealedTestSet(namespace["sealed_test"]._test_ds)
        outcome = Run(values=namespace)
        for name, cell in marked.items():
            exercise = exercise_of(cell)
            if exercise in WRITTEN or (name != exercise and exercise not in tests):
                continue
            if exercise not in tests and TESTS.index(exercise) > max(map(TESTS.index, tests)):
                continue
            if exercise not in tests and exercise in ("final-report", "mini-challenge"):
                continue
            code = answers.get(name, quickly(cell.source))
            try:
                value = value_of(starters[name] if code == "STARTER" else code, name, namespace)
            except Exception as error:
                (outcome.failed if cell.metadata.nbgrader.grade else outcome.broken)[name.removesuffix("-test")] = error
            else:
                if cell.metadata.nbgrader.grade:
                    outcome.values[f"value of {name}"] = value
        plt.close("all")
        return outcome

    return go


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_rubric_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    answers = ("Dropout(dropout_rate)", "run_trial(filters, dropout_rate, learning_rate)\n", "[16, 32, 64]")
    assert_release_is_clean(notebooks[1], "above_chance", "reloads(", *answers)


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    assert_not_attempted(run({name: "STARTER" for name in TESTS}), TESTS)


# --- the published scale ---

baselines = st.floats(0.05, 0.95)
counts = st.integers(100, 5000)


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), baselines, counts, st.floats(0.5, 20))
def test_a_higher_accuracy_never_gets_fewer_points(one, other, baseline, n, most):
    low, high = sorted((one, other))
    assert tuning.points_for(low, baseline, n, most) <= tuning.points_for(high, baseline, n, most)


@settings(deadline=None)
@given(st.floats(0, 1), baselines, baselines, counts)
def test_a_higher_baseline_never_gives_more_points(accuracy, one, other, n):
    low, high = sorted((one, other))
    assert tuning.points_for(accuracy, high, n) <= tuning.points_for(accuracy, low, n)


@settings(deadline=None)
@given(st.floats(0, 1), baselines, counts, st.floats(0.5, 20))
def test_points_lie_between_none_and_all_and_below_the_baseline_there_are_none(accuracy, baseline, n, most):
    points = tuning.points_for(accuracy, baseline, n, most)
    assert 0 <= points <= most
    if round(accuracy * n) < baseline * n - 1e-6:
        assert points == 0


@settings(deadline=None)
@given(baselines, counts)
def test_the_scale_and_the_points_are_the_same_rule(baseline, n):
    for step, before in zip(tuning.scale(baseline, n), [0.0, 1.0, 2.0, 3.0], strict=True):
        if step.right <= n:
            assert tuning.points_for(step.right / n, baseline, n) >= step.points
        assert tuning.points_for(min(step.right - 1, n) / n, baseline, n) <= before


def test_luck_alone_earns_little_and_bad_luck_costs_little():
    from scipy import stats

    n, base = tuning.HOLDOUT_IMAGES, tuning.INTRO_BASELINE
    points = np.array([tuning.points_for(right / n) for right in range(n + 1)])
    error = tuning.standard_error(base, n)
    as_good, better = (stats.binom.pmf(np.arange(n + 1), n, base + gain * error) for gain in (0, 3))
    assert as_good @ (points == 4) < 0.08
    assert better @ (points >= 3) > 0.97
    assert better @ points > 3.75


def test_the_standard_error_is_how_far_measured_accuracies_scatter():
    measured = np.random.default_rng(1).binomial(500, 0.51, 20_000) / 500
    assert tuning.standard_error(0.51, 500) == pytest.approx(measured.std(), rel=0.02)
    with pytest.raises(ValueError, match="between 0 and 1"):
        tuning.standard_error(51, 500)
    with pytest.raises(ValueError, match="at least one image"):
        tuning.standard_error(0.5, 0)
    with pytest.raises(ValueError, match="received 60"):
        tuning.points_for(60)


def test_the_scale_in_the_lesson_is_the_scale_that_gives_the_points(notebooks):
    text = "\n".join(cell.source for cell in notebooks[1].cells)
    rows = re.findall(r"^\| (\d+) or more \| ([\d.]+) \|.*\| ([^|]+) \| (\d) \|$", text, re.MULTILINE)
    scale = tuning.scale()
    assert [(int(right), float(share), float(points)) for right, share, _, points in rows] == [
        (step.right, step.accuracy, step.points) for step in scale
    ]
    told = [0.5, *(int(re.match(r"\d+", luck)[0]) / 100 for _, _, luck, _ in rows[1:])]
    assert told == pytest.approx([step.by_luck for step in scale], abs=0.02)
    assert f"below {scale[0].right}" in text and f"one standard error is {tuning.standard_error(0.51, 500):.3f}" in text


def test_a_model_is_measured_and_its_points_told_in_a_sentence():
    images = np.zeros((500, 32, 32, 3), dtype="uint8")
    keras = pytest.importorskip("keras")
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Flatten()(inputs)))
    model.set_weights([np.zeros((3072, 5)), np.array([1.0, 0, 0, 0, 0])])
    for right, points in ((254, 0), (255, 1), (267, 3), (300, 4)):
        found = tuning.challenge(model, (images, np.array([0] * right + [1] * (500 - right))))
        assert (found.accuracy, found.points) == (right / 500, points)
        assert f"{right} of 500 images right" in str(found) and f"{points} of 4 points" in str(found)


# --- what the lesson is made of ---


def test_the_envelope_counts_models_and_speaks_up_at_the_second(data_folder, capsys):
    keras = pytest.importorskip("keras")
    envelope = helpers.SealedTestSet((np.zeros((4, 32, 32, 3)), np.array([0, 0, 1, 0])))
    assert "still sealed" in repr(envelope)
    with pytest.raises(TypeError, match="stays sealed: expected a trained Keras model, received a blank"):
        envelope.open_for(...)
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, use_bias=True)(keras.layers.Flatten()(inputs)))
    model.set_weights([np.zeros((3072, 2)), np.array([1.0, 0])])
    assert envelope.open_for(model) == envelope.open_for(model) == 0.75
    assert envelope.models_tried == 1 and not capsys.readouterr().out
    model.set_weights([np.zeros((3072, 2)), np.array([0, 1.0])])
    assert envelope.open_for(model) == 0.25
    assert envelope.models_tried == 2 and "no longer honest" in capsys.readouterr().out


def test_a_lab_book_has_one_best_by_validation_and_a_claim_that_is_too_good():
    too_good = []
    for seed in range(40):
        book = helpers.lab_book(seed)
        assert len(book) == 60 and (book["val_accuracy"] == book["val_accuracy"].max()).sum() == 1
        too_good.append(book["test_accuracy"].max() - book["test_accuracy"][book["val_accuracy"].idxmax()])
    assert np.mean(too_good) > 0.05
    pd.testing.assert_frame_equal(helpers.lab_book(7), helpers.lab_book(7))


def test_trials_are_drawn_best_on_top():
    table = pd.DataFrame({"filters": [8, 32], "dropout_rate": [0.0, 0.5], "val_accuracy": [0.56, 0.44]}, index=[5, 4])
    figure = helpers.plot_trials(table)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        "32 filters, dropout 0.5",
        "8 filters, dropout 0",
    ]
    assert "from 0.44 to 0.56. Best: 8 filters, dropout 0." in figure.alt_text
    plt.close("all")
    for wrong, says in ((..., "still a blank"), ([0.5], "column val_accuracy")):
        with pytest.raises(TypeError, match=says):
            helpers.plot_trials(wrong)
    with pytest.raises(ValueError, match="no trial"):
        helpers.plot_trials(table.iloc[:0])


def test_kerastuner_searches_in_the_work_folder_and_says_little(notebooks, tmp_path, monkeypatch, capfd):
    import time

    import keras

    monkeypatch.chdir(tmp_path)
    tried = []

    def run_trial(*setting):
        tried.append(setting)
        return made_up_trial(*setting)

    code = given_cell(notebooks[0], "keras_tuner")
    results = pd.DataFrame({"seconds": [1.0] * 6})
    for _ in range(2):  # the cell may be run again
        tried.clear()
        exec(code, {"results": results, "run_trial": run_trial, "keras": keras, "pd": pd, "time": time})
        assert len(tried) == 4
        assert all(8 <= f <= 24 and 0 <= d <= 0.5 and 0.001 <= r <= 0.003 for f, d, r in tried)
        said = capfd.readouterr()
        assert re.match(r"4 trials in \d+ seconds\n", said.out) and len(said.out.splitlines()) == 6
        assert "Error" not in said.err
    assert sum(file.stat().st_size for file in (tmp_path / "tuner").rglob("*") if file.is_file()) < 1e6
    exec(code, {"results": results * 3, "run_trial": run_trial, "keras": keras, "pd": pd, "time": time})
    assert len(tried) == 6  # two more: that is what the budget allows
    exec(code, {"results": ...})


# --- right answers ---


def test_the_solution_passes_and_the_challenge_counts_its_points(run):
    outcome = run()
    assert not outcome.broken
    assert not outcome.failed
    assert outcome.values["value of mini-challenge-test"] in (0, 1, 2, 3, 4)


SEARCH = """
def run_search(settings, run_trial, time_budget):
    start = time.monotonic()
    rows = []
    for filters, dropout_rate, learning_rate in settings:
        used = time.monotonic() - start
        if len(rows) >= 6 and used >= time_budget:
            break
        val_accuracy = run_trial(filters, dropout_rate, learning_rate)
        seconds = time.monotonic() - start - used
        rows.append({"filters": filters, "dropout_rate": dropout_rate, "learning_rate": learning_rate,
                     "val_accuracy": val_accuracy, "seconds": seconds})
    return pd.DataFrame(rows)
results = run_search(grid, run_trial, time_budget=10)
"""
RIGHT = {
    "lists, names and orders of another kind": {
        "spot-overfitting": """
import numpy
def gap(record):
    last = len(record["accuracy"]) - 1
    return numpy.subtract(record["accuracy"][last], record["val_accuracy"][last])
overfitted = max(records, key=lambda name: gap(records[name]))
""",
        "run-search": """
def run_search(settings, run_trial, time_budget):
    names = ["val_accuracy", "seconds", "learning_rate", "filters", "dropout_rate"]
    table = {name: [] for name in names}
    begin = time.time()
    for number, (f, d, lr) in enumerate(settings):
        if number > 5 and time.time() > begin + time_budget:
            return pd.DataFrame(table)
        before = time.perf_counter()
        for name, value in zip(names, [run_trial(f, d, lr), round(time.perf_counter() - before, 2), lr, f, d]):
            table[name].append(value)
    return pd.DataFrame(table)
results = run_search([(4, 0.1, 0.01)] + grid, run_trial, 5).sort_values("val_accuracy")
""",
        "choose-setting": """
def best_setting(table):
    return list(table.sort_values("val_accuracy")[["filters", "dropout_rate", "learning_rate"]].iloc[-1])
chosen = best_setting(results)
""",
        "catch-optimist": """
def claimed_and_honest(lab_book):
    best = lab_book.sort_values("val_accuracy").iloc[-1]
    return np.array([lab_book.test_accuracy.max(), best.test_accuracy])
""",
    },
    "a Sequential model, other layers of augmentation": {
        "model-dropout": """
def create_model_dropout(filters, dropout_rate):
    return keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(filters, 3),
        layers.ReLU(), layers.MaxPool2D(), layers.Flatten(), layers.Dropout(rate=dropout_rate),
        layers.Dense(5, "softmax")])
""",
        "augmentation": """
augment = keras.Sequential()
augment.add(layers.RandomRotation(0.05))
augment.add(layers.RandomZoom(0.1))
augment.add(layers.RandomFlip(mode="horizontal"))
""",
    },
    "augmentation that changes the light": {
        "augmentation": "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.RandomBrightness(0.1)])",
    },
}


@pytest.mark.slow
@pytest.mark.parametrize("way", RIGHT)
def test_a_right_answer_in_another_way_passes(run, way):
    outcome = run(RIGHT[way], tests=tuple(RIGHT[way]))
    assert not outcome.broken
    assert not outcome.failed


# --- wrong answers: which test fails, and what it says ---

DROPOUT = """
def create_model_dropout(filters, dropout_rate):
    inputs = keras.Input(shape=(32, 32, 3))
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = layers.Conv2D(filters, (3, 3), activation="relu")(x)
    x = layers.MaxPooling2D((2, 2))(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(dropout_rate)(x)
    outputs = layers.Dense(5, activation="softmax")(x)
    return keras.Model(inputs=inputs, outputs=outputs)
"""
CHOOSE = """
def best_setting(table):
    best = table.loc[table["val_accuracy"].idxmax()]
    return best["filters"], best["dropout_rate"], best["learning_rate"]
chosen = best_setting(results)
"""
REPORT = """
def claimed_and_honest(lab_book):
    claimed = lab_book["test_accuracy"].max()
    honest = lab_book.loc[lab_book["val_accuracy"].idxmax(), "test_accuracy"]
    return claimed, honest
"""
GAP = """
def gap(record):
    return record["accuracy"][-1] - record["val_accuracy"][-1]
overfitted = "B"
"""


@pytest.mark.parametrize(
    ("exercise", "code", "says"),
    [
        ("spot-overfitting", GAP.replace('"B"', "..."), "not attempted yet: overfitted"),
        ("spot-overfitting", GAP.replace('"B"', '"C"'), "knows its training images far better"),
        ("spot-overfitting", GAP.replace('"B"', '"b"'), "expected one of 'A', 'B' and 'C', found 'b'"),
        ("spot-overfitting", GAP.replace('"B"', "1"), "expected text"),
        ("spot-overfitting", GAP.replace("[-1]", "[0]"), "0.75 - 0.5"),
        ("spot-overfitting", GAP.replace("[-1]", "[1]"), "found IndexError"),
        ("spot-overfitting", GAP.replace("[-1]", ""), "expected a function that can be called, found TypeError"),
        (
            "spot-overfitting",
            GAP.replace(
                'return record["accuracy"][-1] - record["val_accuracy"][-1]',
                'return max(record["accuracy"]) - max(record["val_accuracy"])',
            ),
            "the last training accuracy minus the last validation",
        ),
        (
            "spot-overfitting",
            GAP.replace("return", "return abs(").replace('_accuracy"][-1]', '_accuracy"][-1])'),
            "the last",
        ),
        ("spot-overfitting", GAP.replace("return", "print").replace("print ", "answer = "), "is there a 'return'"),
        ("augmentation", "augment = layers.RandomFlip('horizontal')", "expected a Keras model"),
        ("augmentation", "augment = [layers.RandomFlip('horizontal')]", "expected a Keras model, found list"),
        ("augmentation", "augment = keras.Sequential([layers.RandomFlip('horizontal')])", "at least two layers"),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)])",
            "images that stand on their head",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.RandomRotation(0.5)])",
            "images that stand on their head",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomZoom(0.1), layers.RandomTranslation(0.1, 0.1)])",
            "about half of the images to be mirrored left to right, found 0%",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.Dropout(0.0)])",
            "one more small change",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.Rescaling(1 / 255)])",
            "to stay as they are when the model predicts",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.RandomCrop(28, 28)])",
            "images of the same size",
        ),
        (
            "augmentation",
            "augment = keras.Sequential([layers.RandomFlip('horizontal'), layers.RandomBrightness(0.9)])",
            "found large ones",
        ),
        ("run-search", SEARCH.replace("len(rows) >= 6 and ", ""), "budget of 0 seconds: expected 6 rows"),
        ("run-search", SEARCH.replace(" and used >= time_budget", ""), "time enough: expected 9 rows"),
        ("run-search", SEARCH.replace("used >= time_budget", "used <= time_budget"), "time enough: expected 9 rows"),
        (
            "run-search",
            SEARCH.replace("len(rows) >= 6 and used >= time_budget", "False"),
            "expected 6 rows, one for each",
        ),
        ("run-search", SEARCH.replace("    return", "        return"), "expected 9 rows, one for each trial, found 1"),
        ("run-search", SEARCH.replace("return pd.DataFrame(rows)", "return rows"), "(a pandas DataFrame), found list"),
        ("run-search", SEARCH.replace('"seconds": seconds', '"time": seconds'), "seconds is missing"),
        (
            "run-search",
            SEARCH.replace('"learning_rate": learning_rate', '"learning_rate": ...'),
            "not attempted yet: learning_rate in",
        ),
        (
            "run-search",
            SEARCH.replace('"dropout_rate": dropout_rate', '"dropout_rate": learning_rate'),
            "each setting in the row of its own trial",
        ),
        (
            "run-search",
            SEARCH.replace("run_trial(filters, dropout_rate, learning_rate)", "0.5"),
            "what run_trial returned for that setting",
        ),
        (
            "run-search",
            SEARCH.replace(
                "run_trial(filters, dropout_rate, learning_rate)", "run_trial(filters, learning_rate, dropout_rate)"
            ),
            "what run_trial returned for that setting",
        ),
        (
            "run-search",
            SEARCH.replace("seconds = time.monotonic() - start - used", "seconds = used"),
            "expected what each trial took",
        ),
        (
            "run-search",
            SEARCH.replace("seconds = time.monotonic() - start - used", "seconds = time.monotonic() - start"),
            "expected what each trial took",
        ),
        (
            "run-search",
            SEARCH.replace("run_search(grid, run_trial, time_budget=10)", "run_search"),
            "results: expected a table",
        ),
        (
            "run-search",
            SEARCH.replace("run_search(grid,", "run_search(grid[:3],"),
            "results: expected at least 6 rows, found 3",
        ),
        (
            "run-search",
            SEARCH.replace("run_search(grid,", "run_search(grid[:1] * 7,"),
            "at least six different settings",
        ),
        (
            "run-search",
            SEARCH.replace("run_search(grid, run_trial,", "run_search(grid, lambda *setting: sum(setting) / 91,"),
            "on the 250 validation images",
        ),
        (
            "run-search",
            SEARCH.replace("run_search(grid, run_trial,", "run_search(grid, lambda *setting: 0.2,"),
            "better than guessing",
        ),
        ("choose-setting", CHOOSE.replace("val_accuracy", "test_accuracy"), "not attempted yet: chosen"),
        (
            "choose-setting",
            CHOOSE.replace("val_accuracy", "test_accuracy").replace("best_setting(results)", "grid[0]"),
            "highest accuracy on the validation images",
        ),
        ("choose-setting", CHOOSE.replace("idxmax", "idxmin"), "highest accuracy on the validation images"),
        ("choose-setting", CHOOSE.replace("idxmax", "argmax"), "KeyError"),
        ("choose-setting", CHOOSE.replace("best_setting(results)", "(64, 0.5, 0.001)"), "chosen: expected the best"),
        ("choose-setting", CHOOSE.replace(', best["learning_rate"]', ""), "expected shape (3,), found (2,)"),
        (
            "catch-optimist",
            REPORT.replace("return claimed, honest", "return honest, claimed"),
            "which of the two comes first",
        ),
        ("catch-optimist", REPORT.replace("return claimed, honest", "return claimed"), "expected two numbers"),
        (
            "catch-optimist",
            REPORT.replace("return claimed, honest", "return 0.576, 0.492"),
            "the highest test accuracy",
        ),
        (
            "catch-optimist",
            REPORT.replace('"val_accuracy"].idxmax()', '"test_accuracy"].idxmax()'),
            "best by validation",
        ),
        (
            "catch-optimist",
            REPORT.replace(
                'lab_book.loc[lab_book["val_accuracy"].idxmax(), "test_accuracy"]', 'lab_book["test_accuracy"].mean()'
            ),
            "best by validation",
        ),
        (
            "catch-optimist",
            REPORT.replace("lab_book.loc[", "lab_book.iloc[").replace('"test_accuracy"]\n    return', "2]\n    return"),
            "",
        ),
    ],
)
def test_wrong_answers_fail_and_say_why(run, exercise, code, says):
    if exercise == "choose-setting" and "not attempted" in says:
        code = code.replace("chosen = best_setting(results)", "chosen = ...")
    outcome = run({exercise: code}, tests=(exercise,))
    assert says in str(outcome.failed[exercise])


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (DROPOUT.replace("    x = layers.Dropout(dropout_rate)(x)\n", ""), "expected a Dropout layer after Flatten"),
        (DROPOUT.replace("Dropout(dropout_rate)", "Dropout(0.5)"), "expected a dropout rate of 0.2"),
        (DROPOUT.replace("Conv2D(filters", "Conv2D(16"), "expected 7 filters, found 16"),
        (DROPOUT.replace("Dense(5", "Dense(10"), "arrays of shape (None, 5), found (None, 10)"),
        (DROPOUT.replace("    x = layers.Rescaling(1.0 / 255)(inputs)", "    x = inputs"), "pixels brought from"),
        (DROPOUT.replace("    return", "    model ="), "is there a 'return' at its end"),
        (DROPOUT.replace("(filters, dropout_rate)", "(filters)"), "found TypeError"),
        (DROPOUT.replace('"softmax"', "None"), "probabilities"),
        (DROPOUT.replace("(2, 2)", "(3, 3)"), "expected more parameters"),
        (DROPOUT.replace(', activation="relu"', ""), "a convolution with ReLU"),
        (
            DROPOUT + "import functools\ncreate_model_dropout = functools.cache(create_model_dropout)",
            "training one changed another",
        ),
    ],
)
def test_wrong_models_with_dropout_fail_and_say_why(run, code, says):
    outcome = run({"model-dropout": code}, tests=("model-dropout",))
    assert says in str(outcome.failed["model-dropout"])


FINAL = """
final_model = create_model_dropout(int(chosen[0]), chosen[1])
final_model.compile(keras.optimizers.Adam(chosen[2]), "sparse_categorical_crossentropy", metrics=["accuracy"])
final_model.fit(train_ds, epochs=2, verbose=0)
final_model.save("models/model_tuned.keras")
test_accuracy = sealed_test.open_for(final_model)
test_error = np.sqrt(test_accuracy * (1 - test_accuracy) / 250)
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FINAL.replace("\ntest_error = ", "\ntest_error = ... #"), "not attempted yet: test_error"),
        (FINAL.replace("/ 250)", "/ 500)"), "the standard error of that accuracy on 250 images"),
        (FINAL.replace("np.sqrt", ""), "the standard error of that accuracy"),
        (FINAL.replace("sealed_test.open_for(final_model)", "0.99"), "opened for one model, found 0"),
        (FINAL + "test_accuracy, test_error = 0.99, (0.99 * 0.01 / 250) ** 0.5", "gets right"),
        (FINAL + "sealed_test.open_for(create_model_dropout(4, 0.1))", "opened for one model, found 2"),
        (FINAL.replace("int(chosen[0])", "12"), "that were chosen"),
        (FINAL.replace("epochs=2, ", ""), "a training of 10 epochs, found one of 32 batches"),
        (FINAL.replace("Adam(chosen[2])", "Adam(0.02)"), "that were chosen"),
        (
            FINAL.replace('final_model.save("models/model_tuned.keras")', ""),
            "there is no file models/model_tuned.keras",
        ),
        (
            FINAL.replace("final_model.fit(train_ds, epochs=2, verbose=0)\n", ""),
            "whose weights have never been adjusted",
        ),
    ],
)
def test_wrong_reports_fail_and_say_why(run, code, says):
    outcome = run({"final-report": code}, tests=("final-report",))
    assert says in str(outcome.failed["final-report"])


CHALLENGE = """
model_challenge = create_model_dropout(8, 0.1)
model_challenge.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model_challenge.fit(train_ds, epochs=2, verbose=0)
model_challenge.save("models/model_challenge.keras")
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (CHALLENGE.replace("model_challenge.save", "# "), "there is no file models/model_challenge.keras"),
        (CHALLENGE.replace("model_challenge.fit", "# "), "whose weights have never been adjusted"),
        (
            CHALLENGE.replace("train_ds,", "train_ds.map(lambda x, y: (x, (y + 1) % 5)),"),
            "accuracy that luck can't explain",
        ),
        (CHALLENGE + "model_challenge.fit(train_ds, epochs=1, verbose=0)", "trained again after it was saved"),
        (CHALLENGE.replace("create_model_dropout(8, 0.1)", "create_model_dropout"), ""),
    ],
)
def test_wrong_challengers_fail_and_say_why(run, code, says):
    outcome = run({"mini-challenge": code}, tests=("mini-challenge",))
    assert says in str(outcome.failed["mini-challenge"])
