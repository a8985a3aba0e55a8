"""Difficulty and discrimination against values worked out by hand, and what cannot be told."""

from __future__ import annotations

import pytest

from autograder.grade import Mark, StudentResult
from autograder.itemanalysis import analyse


def result(student: str, *scores: float | None) -> StudentResult:
    states = ["marked" if score is not None else "needs manual grading" for score in scores]
    marks = [
        Mark(f"e{at}", state, score, 2.0, written=False)
        for at, (score, state) in enumerate(zip(scores, states, strict=True))
    ]
    return StudentResult(student, "01-small", tuple(marks))


def test_difficulty_is_the_share_of_the_points_that_was_earned():
    easy, hard = analyse([result("a", 2, 0), result("b", 2, 1), result("c", 2, None)])
    assert (easy.earned, easy.full, easy.marked) == (1.0, 3, 3)
    assert (hard.earned, hard.full, hard.marked) == (0.25, 0, 2)


def test_discrimination_is_the_correlation_with_the_points_of_the_other_exercises():
    # e0 rises with e1, e2 falls with both.
    first, second, third = analyse([result(str(n), n / 2, n / 2, 2 - n / 2) for n in range(5)])
    assert first.discrimination is None, "the rest, e1 and e2 together, is the same for everybody"
    rows = [(0, 0, 2), (0.5, 1, 1), (1, 0.5, 1.5), (1.5, 2, 0), (2, 1.5, 0)]
    first, second, third = analyse([result(str(n), *row) for n, row in enumerate(rows)])
    # by hand: e0 against (2, 2, 2, 2, 1.5): covariance -0.1, deviations sqrt(0.5) and 0.2
    assert first.discrimination == pytest.approx(-0.1 / (0.5**0.5 * 0.2))
    assert third.discrimination is not None and third.discrimination < -0.8
    assert second.discrimination is not None


def test_an_answer_that_waits_for_a_mark_makes_nobody_look_weak():
    rows = [(n / 3, n / 3, 2.0 if n < 3 else None) for n in range(6)]
    first = analyse([result(str(n), *row) for n, row in enumerate(rows)])[0]
    assert first.discrimination == pytest.approx(1), "e0 and e1 rise together; e2 is marked for the weaker half alone"


def test_what_cannot_be_told_is_none():
    assert all(one.discrimination is None for one in analyse([result("a", 0, 2), result("b", 2, 0)])), "too few"
    same = analyse([result(str(n), 2, n / 2) for n in range(6)])
    assert same[0].discrimination is None and same[0].earned == 1
    nobody = analyse([result(str(n), None, 1) for n in range(6)])
    assert (nobody[0].marked, nobody[0].earned) == (0, None)
    assert analyse([StudentResult("a", "01-small", problem="no notebook")]) == []
