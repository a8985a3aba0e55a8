"""Cells between the exercises that need their answers: are the blanks filled yet?"""

from __future__ import annotations

from typing import Any


def filled(*values: Any) -> bool:
    """Tell whether an exercise's values are there; where one is still a blank (`...`), say kindly what to do.

    For cells that show something with a learner's answer. Before the answer is there, they show nothing.

    Args:
        values: The answers that the cell needs.

    Returns:
        Whether no value is a blank.
    """
    if any(value is ... for value in values):
        print("Nothing to show yet. Do the exercise above first, then run this cell again.")
        return False
    return True
