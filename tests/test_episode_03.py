"""The third episode: what it has to keep, and that its solution passes whatever the seed.

Other right answers, and the mistakes that novices make, stand in `tests/bank/03-build-cnn/`.
"""

from __future__ import annotations

import os
from typing import Any

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

notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def first_cell_values() -> dict[str, Any]:
    """What the notebook's first cell leaves behind: the imports and the datasets, the same for every run."""
    return {}


@pytest.fixture
def run(notebooks, data_folder, first_cell_values, tmp_path, monkeypatch):
    """Run the exercises that some tests need, solved or as they were released; what stands between them is left out."""
    source, release = notebooks
    starters = starters_of(release)

    def go(tests=TESTS, seed: int = 33, untouched: bool = False) -> Run:
        monkeypatch.chdir(tmp_path)
        if not first_cell_values:
            exec(given_cell(source, "import helpers"), first_cell_values)
        outcome = Run(values=dict(first_cell_values))
        outcome.values["keras"].utils.set_random_seed(seed)
        exec(given_cell(source, "patch = np.array"), outcome.values)
        for name, cell in marked_cells(source).items():
            if exercise_of(cell) in tests:
                outcome.execute(cell, starters.get(name) if untouched else None)
        return outcome

    return go


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 9
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answer_has_a_model_answer_and_a_rubric_that_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(
        notebooks[1],
        "above_chance",
        "reloads(",
        "checks.convolved(",
        "10853",
        "10,853",
        "corner = 14",
        "layers.Flatten()(pooled)",
        "(28, 28, 8)",
        "row : row + size",
    )


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    assert_not_attempted(run(untouched=True), TESTS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(33, 33 + int(os.environ.get("COURSE_SEEDS", "1"))))
def test_the_solution_passes_with_any_seed(run, seed):
    """One seed here; `COURSE_SEEDS=10 pytest tests/test_episode_03.py -k any_seed` tries ten."""
    outcome = run(seed=seed, tests=TESTS if seed == 33 else TESTS[6:])
    assert not outcome.failed
    assert not outcome.broken
