"""The sixth episode: what it has to keep, its published scale, and what the lesson is made of.

Other right answers, and the mistakes that novices make, stand in `tests/bank/06-tune-cnn/`. That the solution earns
full marks is shown there, and by the tests of the notebooks.
"""

from __future__ import annotations

import re

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
    given_cell,
    marked_cells,
    notebooks_of,
    starters_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import helpers
from helpers.checks import NotAttempted, tuning

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


def made_up_trial(filters: int, dropout_rate: float, learning_rate: float) -> float:
    """A trial that trains nothing: some number of the 250 validation images."""
    return round(100 + filters + 20 * dropout_rate + 2000 * learning_rate) / 250


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_rubric_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    answers = ("Dropout(dropout_rate)", "run_trial(filters, dropout_rate, learning_rate)\n", "[32, 64]")
    assert_release_is_clean(notebooks[1], "above_chance", "reloads(", *answers)


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(
    notebooks, data_folder, tmp_path, monkeypatch
):
    source, release = notebooks
    starters, outcome = starters_of(release), Run()
    monkeypatch.chdir(tmp_path)
    exec(given_cell(source, "prepare_datasets"), outcome.values)
    for name, cell in marked_cells(source).items():
        outcome.execute(cell, starters.get(name))
    assert_not_attempted(outcome, TESTS)


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


def test_a_blank_in_a_table_of_trials_is_not_attempted_yet_and_its_column_is_named():
    table = pd.DataFrame({"filters": [8, 16], "learning_rate": [0.001, ...]})
    with pytest.raises(NotAttempted, match=r"^not attempted yet: learning_rate in results"):
        tuning.trial_table(table, "results", ["filters", "learning_rate"])


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
