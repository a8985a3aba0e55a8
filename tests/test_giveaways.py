"""A message to a student holds nothing of the model solution that the student has not seen."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder.giveaways import Secrets, giveaways, given, secrets_of

SOLUTION = """\
import numpy as np

### BEGIN SOLUTION
#? share = ...        # a number between 0 and 1
highest = np.max(model.predict(images), axis=1)
share = float(np.mean(highest >= 0.65))
kind = "softmax"
print("Share:", 17)
### END SOLUTION
"""
SEEN = "Let `model.predict(images)` answer for three rows of `images`, with ReLU. At least 0.9 of 32."


def found(message: str, answer: str = "share = 1", seen: str = SEEN) -> list[str]:
    return giveaways(secrets_of(SOLUTION, seen), message, answer)


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("share: expected np.mean( highest>=0.65 ), found 0.2", ["np.mean(highest>=0.65)", "highest>=0.65", "0.65"]),
        ("share: expected the largest number of each row (axis=1), found others", ["axis=1"]),
        ("kind: expected Softmax, found relu", ["softmax"]),
        ("share: expected those above 0.65, found all", ["0.65"]),
    ],
)
def test_code_texts_and_numbers_of_the_solution_are_found(message, told):
    assert sorted(found(message)) == sorted(told)


@pytest.mark.parametrize(
    "message",
    [
        "share: expected a number between 0 and 1, found 7",
        "share: expected the share of 32 images in three rows, found that of 17",  # seen, or only printed
        "share: expected a number, found 0.65",  # the student's own
        "expected what model.predict(images) says, found other numbers",
        "softmaxes are not meant",
    ],
)
def test_what_the_student_has_seen_or_made_is_no_secret(message):
    assert found(message) == []


def test_what_stands_in_the_answer_is_no_secret():
    assert found("share: 0.65 is right", "limit = 0.65") == []
    assert found("kind: expected softmax, once", 'kind = "SOFTMAX" * 2') == []
    assert found("expected axis=1 once", "np.max(a,\n axis = 1)") == []


def test_the_prompt_the_starter_and_the_visible_test_are_what_is_given():
    cells = [
        new_markdown_cell("An earlier text."),
        new_code_cell("earlier = 1"),
        new_markdown_cell("## The title"),
        new_markdown_cell("The prompt."),
        new_code_cell("starter = ..."),
        new_code_cell("checks.attempted(starter=starter)"),
        new_code_cell("later = 1"),
    ]
    text = given(new_notebook(cells=cells), [4, 5])
    assert text == "## The title\nThe prompt.\nstarter = ...\nchecks.attempted(starter=starter)"


def test_a_solution_that_is_part_of_a_function_is_looked_at_as_well():
    source = "def f(x):\n    ### BEGIN SOLUTION\n    y = g(x, 99)\n    return y\n    ### END SOLUTION"
    assert secrets_of(source, "def f(x):").numbers == (99.0,)
    inside = "if x:\n    ### BEGIN SOLUTION\n    y = 77\nelse:\n    y = 88\n    ### END SOLUTION"
    assert secrets_of(inside, "").numbers == (77.0, 88.0)
    assert secrets_of("a = 7", "") == Secrets((), (), (7.0,))
