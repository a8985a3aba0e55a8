"""What a class's marks say about the exercises: how hard each was, and whether it tells strong from weak.

The two figures of classical test theory: difficulty, the share of the points that was earned, and discrimination, the
correlation of an exercise's points with those of all the others (the corrected item-total correlation; see for instance
Crocker and Algina, *Introduction to Classical and Modern Test Theory*, 1986, chapter 14).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autograder.grade import StudentResult

#: With fewer marks than this a correlation says nothing.
FEWEST = 5


@dataclass(frozen=True)
class Exercise:
    """One exercise in the light of a class's marks.

    Attributes:
        name: The grade id of the cell that carries the points.
        max_score: Points that it is worth.
        marked: How many students have a mark for it.
        earned: Mean share of the points, 0 to 1; None without marks. A low one means a hard exercise.
        full: How many students got all points.
        discrimination: Correlation with the rest of the points, -1 to 1; None where it cannot be told.
    """

    name: str
    max_score: float
    marked: int
    earned: float | None
    full: int
    discrimination: float | None


def analyse(results: Sequence[StudentResult]) -> list[Exercise]:
    """The exercises of an episode in their order.

    Args:
        results: One for each student; those without marks count nothing.
    """
    graded = [result for result in results if result.marks]
    if not graded:
        return []
    names = [mark.exercise for mark in graded[0].marks]
    scores = np.full((len(graded), len(names)), np.nan)
    most = np.array([mark.max_score for mark in graded[0].marks])
    for row, result in enumerate(graded):
        by_name = {mark.exercise: mark for mark in result.marks}
        for column, name in enumerate(names):
            if (mark := by_name.get(name)) is not None and mark.score is not None:
                scores[row, column] = mark.score
    return [_exercise(name, most[at], scores, at) for at, name in enumerate(names)]


def _exercise(name: str, most: float, scores: np.ndarray, at: int) -> Exercise:
    mine = scores[:, at]
    marked = ~np.isnan(mine)
    if not marked.any():
        return Exercise(name, float(most), 0, None, 0, None)
    return Exercise(
        name,
        float(most),
        int(marked.sum()),
        float(mine[marked].mean() / most) if most else None,
        int((mine[marked] >= most).sum()),
        _discrimination(mine[marked], _rest(np.delete(scores[marked], at, axis=1))),
    )


def _rest(others: np.ndarray) -> np.ndarray:
    """The points of each student, `(n,)`, in those of the other exercises, `(n, k)`, in which all have a mark.

    An exercise that is half graded would make those look weak whose answer waits.
    """
    return others[:, ~np.isnan(others).any(axis=0)].sum(axis=1)


def _discrimination(mine: np.ndarray, rest: np.ndarray) -> float | None:
    if len(mine) < FEWEST or np.ptp(mine) == 0 or np.ptp(rest) == 0:
        return None
    return float(np.corrcoef(mine, rest)[0, 1])
