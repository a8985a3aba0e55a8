"""Accuracies that tests measure: from a check, through the judge and the ledger, to the instructor and nobody else."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from bundles import honest
from quick_class import QuickPool, hand_in, make_class

from autograder.engine import Verdict
from autograder.grade import prepare
from autograder.judge import Judge, JudgeLimits, Question
from helpers import checks, measurements
from helpers.measurements import Measurement

LABELS = np.arange(100) % 5
IMAGES = np.zeros((100, 1))
MEASURED = Measurement("model_intro", 0.41, 0.2, 0.35, 100)


def guesses(right: int) -> np.ndarray:
    """Predictions of which so many are right."""
    answers = np.where(np.arange(100) < right, LABELS, (LABELS + 1) % 5)
    return np.eye(5)[answers]


def test_an_accuracy_is_noted_whether_it_passes_or_fails_and_taken_once():
    measurements.take()
    checks.above_chance(guesses(60), (IMAGES, LABELS), name="good")
    with pytest.raises(checks.CheckError):
        checks.above_chance(guesses(20), (IMAGES, LABELS), name="bad")
    good, bad = measurements.take()
    assert (good.name, good.accuracy, good.chance, good.n, good.above_chance) == ("good", 0.6, 0.2, 100, True)
    assert (bad.accuracy, bad.above_chance, bad.needed) == (0.2, False, good.needed)
    assert measurements.take() == []


def test_what_is_needed_is_what_was_asked_for_where_that_is_more():
    measurements.take()
    for asked in (0.0, 0.5):
        checks.above_chance(guesses(60), (IMAGES, LABELS), name="good", at_least=asked)
    by_luck, more = measurements.take()
    assert by_luck.needed < 0.5 and more.needed == 0.5


def test_notes_that_nobody_takes_do_not_pile_up():
    for n in range(3 * measurements.MOST):
        measurements.note(dataclasses.replace(MEASURED, n=n))
    assert [one.n for one in measurements.take()][-1] == 3 * measurements.MOST - 1
    measurements.note(MEASURED)
    assert measurements.take() == [MEASURED]


def test_the_judge_hands_over_what_a_cell_measured_beside_what_the_student_reads():
    source = (
        "import numpy as np\nfrom helpers import checks\n"
        "labels = np.arange(100) % 5\n"
        "result = checks.above_chance(np.array(guess), (np.zeros((100, 1)), labels), name='model_intro')"
    )
    with Judge(limits=JudgeLimits(), modules=("helpers.checks",)) as judge:

        def ask(text, values):
            question = Question.about(text)
            return judge.ask(question, honest(values, question.files, nonce=question.nonce))

        good = ask(source, {"guess": guesses(60).tolist()})
        bad = ask(source, {"guess": guesses(20).tolist()})
        other = ask("assert guess", {"guess": 1})
    assert good.kind == "passed" and (good.message, good.stdout) == ("", "")
    assert [(one.name, one.accuracy) for one in good.measurements] == [("model_intro", 0.6)]
    assert bad.kind == "failed" and [one.accuracy for one in bad.measurements] == [0.2]
    assert other.measurements == ()


def test_a_verdict_with_measurements_survives_a_log():
    verdict = Verdict("a", "passed", 2.0, 2.0, measurements=(MEASURED,))
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


def test_measurements_reach_the_results_and_are_there_in_a_run_that_changes_nothing(tmp_path):
    episode = make_class(tmp_path / "course", {"ada": "total = 6"})
    pool = QuickPool(tmp_path / "executed")
    work = pool.work

    def measured(job):
        result = work(job)
        first, *rest = result.verdicts
        return dataclasses.replace(result, verdicts=({**first, "measurements": [dataclasses.asdict(MEASURED)]}, *rest))

    pool.work = measured
    (fresh,) = prepare(episode, sandbox=False, pool=pool)
    (again,) = prepare(episode, sandbox=False, pool=pool)
    assert fresh.fresh and not again.fresh and pool.runs() == ["ada"]
    for result in (fresh, again):
        assert result.mark("add-up-test").measurements == (MEASURED,)
        assert result.mark("say-why").measurements == ()
        assert result.ran == 0.75
    written = episode.autograded("ada").read_text()
    assert "0.41" not in written and "measurements" not in written
    hand_in(episode, "ada", "total = 7")
    pool.work = work
    (changed,) = prepare(episode, sandbox=False, pool=pool)
    assert changed.mark("add-up-test").measurements == ()
