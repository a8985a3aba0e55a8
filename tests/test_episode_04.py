"""The fourth episode: what it has to keep, what its text says of its experiments, and the figures of its helpers.

The instructor's notebook is run once, cell by cell in this process. Other right answers, and the mistakes that novices
make, stand in `tests/bank/04-train-cnn/`.
"""

from __future__ import annotations

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

notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def solved(notebooks, data_folder, tmp_path_factory) -> Run:
    """The whole solution notebook, run from its first cell to its last."""
    outcome = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("solved"))
        for cell in code_cells(notebooks[0]):
            outcome.execute(cell)
    return outcome


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


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(
    notebooks, data_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    starters = starters_of(notebooks[1])
    outcome = Run()
    exec(given_cells(notebooks[0])[0], outcome.values)
    exec(given_cell(notebooks[0], "model_intro = helpers.create_model_intro()"), outcome.values)
    for name, cell in marked_cells(notebooks[0]).items():
        outcome.execute(cell, starters.get(name))
    assert_not_attempted(outcome, TESTS)


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


# --- the figures that helpers draw ---


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
