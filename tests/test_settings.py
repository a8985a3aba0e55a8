"""What `nbgrader_config.py` sets for this course: a slip in it is told in one message."""

from __future__ import annotations

import pytest
from traitlets.config import Config

from autograder.environments import Bundle, first_cell
from autograder.errors import CourseError
from autograder.late import policy_of
from autograder.preprocessors import JudgedExecute
from autograder.recording import options_from
from autograder.settings import made


def test_the_options_of_a_class_are_read():
    assert made(JudgedExecute, Config(JudgedExecute={"attempts": 3})).attempts == 3
    assert made(Bundle, None).address == ""


@pytest.mark.parametrize(
    ("config", "read", "message"),
    [
        ({"JudgedExecute": {"atempts": 3}}, options_from, r"c\.JudgedExecute\.atempts.*Did you mean 'attempts'"),
        ({"LatePenalty": {"grace": 15}}, policy_of, r"c\.LatePenalty\.grace,.*grace_minutes, most, per_day"),
        ({"Bundle": {"adress": "x"}}, first_cell, r"c\.Bundle\.adress.*Did you mean 'address'"),
    ],
)
def test_a_misspelt_option_is_told_with_the_ones_there_are(config, read, message):
    with pytest.raises(CourseError, match=message):
        read(Config(config), sandbox=True) if read is options_from else read(Config(config))


def test_a_value_that_makes_no_sense_is_told_with_its_option():
    with pytest.raises(CourseError, match=r"nbgrader_config\.py, c\.JudgedExecute.*attempts"):
        options_from(Config(JudgedExecute={"attempts": 0}), sandbox=True)
