"""The second episode: what it has to keep, its leaky split, and what its messages may tell.

The instructor's notebook is run once, cell by cell in this process. Other right answers, and the mistakes that novices
make, stand in `tests/bank/02-image-data/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

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
    grade_id,
    marked_cells,
    notebooks_of,
    starters_of,
)

import helpers
from helpers import leaky_split

NAME = "02-image-data"
TESTS = (
    "read-image",
    "red-and-crop",
    "count-folders",
    "load-test-set",
    "count-per-class",
    "brightest-and-colours",
    "spot-leak",
)
WRITTEN = ("what-the-leak-does", "balanced-clear-fair")


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def solved(notebooks, data_folder) -> Iterator[Run]:
    """What the instructor's notebook leaves behind."""
    forget()
    outcome = Run(values={"__name__": "__main__"})
    for cell in code_cells(notebooks[0]):
        outcome.execute(cell)
    yield outcome
    forget()


@pytest.fixture(scope="module")
def attempt(notebooks, solved):
    """Give another answer to one exercise, and return what its test says: an error, or None."""
    marked = marked_cells(notebooks[0])

    def go(exercise: str, answer: str) -> Exception | None:
        outcome = Run(values=dict(solved.values))
        outcome.execute(marked[exercise], answer)
        assert not outcome.broken, outcome.broken
        for name in (f"{exercise}-probe", f"{exercise}-test"):
            if name in marked:
                outcome.execute(marked[name])
        return outcome.failed.get(exercise)

    return go


def forget() -> None:
    """The checks remember images by the folder they work in, which stays the same while the images change."""
    from helpers.checks import images

    images._read_splits.cache_clear()
    images._read_folder.cache_clear()


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 9
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answers_have_model_answers_and_rubrics_that_add_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(notebooks[1], "course_images(", "tobytes", "bincount")


def test_every_test_cell_has_visible_and_hidden_tests(notebooks):
    for cell in notebooks[0].cells:
        if grade_id(cell).endswith("-test"):
            visible, hidden = cell.source.split("### BEGIN HIDDEN TESTS")
            assert "checks.attempted(" in visible
            assert hidden.count("checks.same_values(") + hidden.count("checks.fail_unless(") >= 2


def test_the_solution_passes_every_test(solved):
    assert not solved.failed
    assert not solved.broken
    assert len(solved.values["leaks"]) == len(set(solved.values["leaks"])) > 0
    assert solved.values["own_leaks"] == []


def test_the_leak_lifts_the_accuracy_and_without_it_there_is_little_left(solved):
    values = solved.values
    assert values["leaky_accuracy"] > values["honest_accuracy"] + 0.15
    assert values["right"][values["leaked"]].all()
    assert values["right"][~values["leaked"]].mean() < values["leaky_accuracy"] - 0.15


@pytest.mark.parametrize("words", ["filled(brightest, class_colours)", "leaked[leaks] = True", "own_leaks ="])
def test_cells_that_need_an_answer_say_so_kindly_while_it_is_a_blank(notebooks, words, capsys):
    names = {"helpers": helpers, "brightest": ..., "class_colours": ..., "leaks": ...}
    exec(given_cell(notebooks[1], words), names)
    assert capsys.readouterr().out.startswith("Nothing to show yet.")


@pytest.mark.parametrize("exercise", TESTS)
def test_an_untouched_starter_is_not_attempted_yet(attempt, notebooks, exercise):
    answer = starters_of(notebooks[1])[exercise]
    assert_not_attempted(Run(failed={exercise: attempt(exercise, answer)}), [exercise])


def test_no_message_tells_a_count_or_a_list_that_the_exercise_asks_for(attempt, notebooks):
    """A message that names what was found must not name what it should have been."""
    solutions = {name: cell.source for name, cell in marked_cells(notebooks[0]).items()}
    leaks = str(attempt("spot-leak", solutions["spot-leak"] + "\nleaks = leaks[1:]"))
    assert leaks.startswith("leaks: expected") and not re.search(r"\d", leaks)
    sizes = str(attempt("count-folders", solutions["count-folders"] + "\nsplit_sizes['train'] = 999"))
    assert sizes.startswith("split_sizes['train']: expected") and "1000" not in sizes


# --- the split with a leak ---


@pytest.mark.parametrize("seed", [7, 17, 3])
def test_a_leaky_split_is_balanced_and_differs_with_its_seed(images, seed):
    forget()
    split = leaky_split(seed)
    assert np.bincount(split.train_labels).tolist() == [70] * 5
    assert np.bincount(split.test_labels).tolist() == [30] * 5
    known = {image.tobytes(): label for image, label in zip(split.train_images, split.train_labels, strict=True)}
    leaks = [place for place, image in enumerate(split.test_images) if image.tobytes() in known]
    assert 40 <= len(leaks) <= 100
    assert all(known[split.test_images[place].tobytes()] == split.test_labels[place] for place in leaks)
    again, other = leaky_split(seed), leaky_split(seed + 1)
    assert np.array_equal(again.test_images, split.test_images)
    assert not np.array_equal(other.test_images, split.test_images)
    forget()
