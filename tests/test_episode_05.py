"""The fifth episode: what it has to keep, its riddle, and what depends on the models that a class happens to have.

The instructor's notebook is run once, cell by cell in this process. Other right answers, and the mistakes that novices
make, stand in `tests/bank/05-evaluate-cnn/`.
"""

from __future__ import annotations

import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_not_attempted,
    assert_release_is_clean,
    assert_rubrics_add_up,
    code_cells,
    grade_id,
    marked_cells,
    notebooks_of,
    starters_of,
)

from helpers import checks, memory

NAME = "05-evaluate-cnn"
TESTS = (
    "predict-test-set",
    "labels-by-argmax",
    "accuracy-twice",
    "never-wrong",
    "confusion-matrix",
    "mend-the-shuffle",
    "most-confused",
    "recall-per-class",
    "sure-and-wrong",
    "accuracy-interval",
)
WRITTEN = ("which-mistakes-matter",)

notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def solved(notebooks, data_folder) -> Run:
    """What the solution leaves behind: one run for all tests, since a model is trained in it."""
    outcome = Run()
    for cell in code_cells(notebooks[0]):
        outcome.execute(cell)
    return outcome


@pytest.fixture
def attempt(solved, notebooks, tmp_path, monkeypatch):
    """Give another answer to one exercise in the solved notebook, and return what its test says: an error, or None."""
    marked = marked_cells(notebooks[0])

    def go(exercise: str, answer: str) -> Exception | None:
        monkeypatch.chdir(tmp_path)
        outcome = Run(values=dict(solved.values))
        outcome.execute(marked[exercise], answer)
        for name in (f"{exercise}-probe", f"{exercise}-test"):
            if name in marked:
                outcome.execute(marked[name])
        assert not outcome.broken
        return outcome.failed.get(exercise)

    return go


# --- the episode as a whole ---


def test_the_episode_has_eleven_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 11
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answer_has_a_model_answer_and_a_rubric_that_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(
        notebooks[1],
        "evaluated(",
        "argmax(probabilities",
        "argmax(test",
        "predicted] += 1",
        'suspect = "C"',
        'suspect == "C"',
        'trusted = "model_intro"',
        "matrix[number, :]",
        "flatnonzero(predicted",
        "1 - p) / n)\n",
    )


def test_the_solution_passes(solved):
    assert not solved.failed
    assert not solved.broken


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(solved, notebooks):
    cells, starters = code_cells(notebooks[0]), starters_of(notebooks[1])
    # The given cells that load and train have run once; nothing else of the solution is there.
    given = {"helpers", "keras", "plt", "np", "class_names", "train_ds", "val_ds", "test_ds", "model_intro"}
    outcome = Run(values={name: solved.values[name] for name in given})
    trains = next(place for place, cell in enumerate(cells) if ".fit(" in cell.source)
    for cell in cells[trains + 1 :]:
        outcome.execute(cell, starters.get(grade_id(cell)))
    assert_not_attempted(outcome, TESTS)


def test_the_riddle_is_at_chance_beside_a_good_accuracy(solved):
    """What the lesson says of the code on the web: its matrix is at chance, and so it is at every pass."""
    values = solved.values
    wrong = checks.counted(values["web_labels"], values["web_probabilities"].argmax(axis=1), 5)
    assert wrong.trace() / 250 < 0.32
    assert values["results"]["accuracy"] > 0.4
    assert checks.counted(values["mended_labels"], values["mended_predicted"], 5).trace() / 250 > 0.4


# --- what depends on the models ---


def test_either_choice_passes_when_both_models_do_equally_well(attempt, solved, notebooks, monkeypatch):
    monkeypatch.setattr(memory, "colleagues_model", lambda images: solved.values["model_intro"])
    answer = marked_cells(notebooks[0])["never-wrong"].source.replace("model_colleague.", "model_intro.")
    assert attempt("never-wrong", answer) is None
    assert attempt("never-wrong", answer.replace('trusted = "model_intro"', 'trusted = "model_colleague"')) is None


def test_an_answer_copied_from_the_text_does_not_pass_for_another_model(attempt, notebooks):
    """The numbers that the text shows are those of its own run; here the student's model is another one."""
    answer = marked_cells(notebooks[0])["recall-per-class"].source
    copied = "\nmodel_intro = model_colleague\ntest_recalls = [0.70, 0.58, 0.44, 0.36, 0.78]\nweakest = 'dog'\n"
    assert "test_recalls: expected" in str(attempt("recall-per-class", answer + copied))
