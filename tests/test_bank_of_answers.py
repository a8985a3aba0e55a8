"""The bank of answers itself: no right answer fails, no wrong one passes, and every message says what it must, no more.

One run of an episode's notebook judges many answers to it: a fair sample, each time anew, and all answers of which no
result is known that still holds (`bench/fidelity/`), such as new ones, and all after a change of an exercise. Those
results are of photographs; where there are none, the sample is all. `autograder bank` judges every answer.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from autograder import bank
from autograder.build import read_notebook
from autograder.course import episodes, find_episode
from autograder.images import CourseImages
from autograder.ledger import Ledger
from helpers.data import is_standin

REPOSITORY = Path(__file__).resolve().parent.parent
#: The later episodes take longer and come first, so that no process is left with one of them at the end.
NAMES = [episode.name for episode in episodes(REPOSITORY)][::-1]
#: So many answers to an exercise there have to be.
RIGHT, WRONG = 3, 5
#: So many of them are judged anew, beside the model solution and the exercise as it was released.
SAMPLE = {"right": 1, "wrong": 2}
#: The share of an episode's checks that some wrong answer has to need; `docs/fidelity.md` lists the others.
NEEDED = 0.95


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_that_a_machine_grades_has_three_right_and_five_wrong_answers(repository, name):
    episode = find_episode(repository, name)
    there = Counter((one.exercise, one.verdict) for one in bank.read_variants(repository, name))
    for exercise in bank.exercises(read_notebook(episode.source)):
        right, wrong = (there[exercise, verdict] for verdict in ("right", "wrong"))
        assert right >= RIGHT and wrong >= WRONG, f"{exercise} has {right} right and {wrong} wrong answers"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("needs_bubblewrap", "images")
@pytest.mark.parametrize("name", NAMES)
def test_the_grader_is_right_about_every_answer_and_every_check_has_its_use(repository, name, monkeypatch):
    monkeypatch.chdir(repository)
    episode = find_episode(repository, name)
    (everything,) = bank.jobs_of(episode)
    anew = bank.Job(episode, tuple(bank.fair_sample(everything.variants, **SAMPLE)))
    mistakes = bank.mistakes(bank.run_all([anew])[0][1])
    assert not mistakes, "\n".join(mistakes)
    if is_standin(CourseImages.find(repository).data):
        return
    [(_, outcome)] = bank.run_all([everything], ledger=Ledger(repository))
    mistakes = bank.mistakes(outcome)
    assert not mistakes, "\n".join(mistakes)
    useless, checks = bank.unneeded(outcome), sum(map(len, outcome.checks.values()))
    assert 1 - len(useless) / checks >= NEEDED, f"no wrong answer needs {useless}"


@pytest.mark.parametrize("name", NAMES)
def test_every_equivalent_mutant_is_one_that_is_made_and_its_reason_is_told(repository, name):
    made = {(one.exercise, one.title) for one in bank.mutants_of(find_episode(repository, name))}
    for one in bank.read_equivalents(repository, name):
        assert (one.exercise, one.change) in made, f"{one.exercise} has no mutant '{one.change}' any more"
        assert len(one.reason.split()) >= 4, f"{one.exercise}, '{one.change}': why does it deserve full points?"
