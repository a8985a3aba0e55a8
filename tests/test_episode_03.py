"""The third episode: what it has to keep.

Other right answers, and the mistakes that novices make, stand in `tests/bank/03-build-cnn/`.
"""

from __future__ import annotations

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


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(
    notebooks, data_folder, tmp_path, monkeypatch
):
    source, release = notebooks
    monkeypatch.chdir(tmp_path)
    outcome = Run()
    for code in (given_cell(source, "import helpers"), given_cell(source, "patch = np.array")):
        exec(code, outcome.values)
    starters = starters_of(release)
    for name, cell in marked_cells(source).items():
        if exercise_of(cell) in TESTS:
            outcome.execute(cell, starters.get(name))
    assert_not_attempted(outcome, TESTS)
