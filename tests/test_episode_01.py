"""The first episode: what it has to keep, and what its messages may tell.

Other right answers, and the mistakes that novices make, stand in `tests/bank/01-introduction/`.
"""

from __future__ import annotations

import keras
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_release_is_clean,
    assert_rubrics_add_up,
    code_cells,
    grade_id,
    notebooks_of,
    starters_of,
)

from helpers import checks

NAME = "01-introduction"
TESTS = ("show-nine-images", "compile-and-fit", "predict-one-image", "save-model")
WRITTEN = ("inspect-dataset", "is-it-doing-well", "interpret-prediction")


notebooks = notebooks_of(NAME)


def test_the_episode_has_seven_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 7
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answers_have_model_answers_and_rubrics_that_add_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(notebooks[1], "above_chance", "images[i].numpy")


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(
    notebooks, data_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source, release = notebooks
    starters = starters_of(release)
    outcome = Run()
    for cell in code_cells(source):
        # The model without its first layer takes time, and no exercise needs it.
        if "model_raw" not in cell.source:
            outcome.execute(cell, starters.get(grade_id(cell)))
    assert set(outcome.failed) == set(TESTS)
    for name, error in outcome.failed.items():
        assert isinstance(error, checks.NotAttempted), (name, error)
        assert str(error).startswith("not attempted yet: ")
    assert not set(outcome.broken) & {*TESTS, *(f"{name}-probe" for name in TESTS)}


def test_no_message_of_a_failed_test_shows_a_held_out_image(data_folder):
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
