"""What the checks have measured, for whoever runs them: accuracies, whatever came of the test.

A check tells a student whether an answer holds. How good a model was, an instructor wants to know as well; the judge
takes it from here after each test cell. In a student's own kernel nobody does, and the last few are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: So many are kept at most; a test cell measures one or two.
MOST = 100


@dataclass(frozen=True)
class Measurement:
    """How often a model was right on images that it was not trained on.

    Attributes:
        name: What the model is called in the test.
        accuracy: The share of images with the right class, 0 to 1.
        chance: The share that guessing gets on average.
        needed: The smallest share that the check accepts.
        n: The number of images.
    """

    name: str
    accuracy: float
    chance: float
    needed: float
    n: int

    @property
    def above_chance(self) -> bool:
        """Whether it is more than luck explains."""
        return self.accuracy >= self.needed


def read_measurements(records: Iterable[Mapping[str, Any]]) -> tuple[Measurement, ...]:
    """Measurements that were written as plain data, read back."""
    return tuple(Measurement(**record) for record in records)


_noted: deque[Measurement] = deque(maxlen=MOST)


def note(measurement: Measurement) -> None:
    """Keep a measurement until somebody takes it."""
    _noted.append(measurement)


def take() -> list[Measurement]:
    """What was measured since the last time, in order; forgotten here from now on."""
    found = list(_noted)
    _noted.clear()
    return found
