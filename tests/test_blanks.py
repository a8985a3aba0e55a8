"""Cells between the exercises that need their answers."""

from __future__ import annotations

import numpy as np

import helpers


def test_a_cell_that_waits_for_a_blank_says_what_to_do(capsys):
    assert not helpers.filled(3, ...)
    assert capsys.readouterr().out == ("Nothing to show yet. Do the exercise above first, then run this cell again.\n")


def test_answers_of_any_kind_are_no_blanks(capsys):
    assert helpers.filled(0, None, [], "...", np.zeros(3))
    assert capsys.readouterr().out == ""
