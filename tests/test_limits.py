from __future__ import annotations

import dataclasses

import pytest
from traitlets.config import Config

from autograder.errors import CourseError
from autograder.limits import GradingLimits, Limits

NAMES = [field.name for field in dataclasses.fields(Limits)]


def test_every_limit_can_be_set_in_the_configuration():
    assert sorted(GradingLimits.class_own_traits(config=True)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_limit_that_the_configuration_sets_is_taken_over(name):
    config = Config()
    value = getattr(Limits(), name) + 1
    config.GradingLimits[name] = value
    if name == "cell_seconds":
        config.GradingLimits.notebook_seconds = 5000
    assert getattr(Limits.from_config(config), name) == value


def test_without_a_configuration_the_defaults_hold():
    assert Limits.from_config(None) == Limits.from_config(Config()) == Limits()


def test_every_limit_says_its_unit_where_it_is_documented():
    for name in NAMES:
        assert f"        {name}: " in Limits.__doc__
        assert GradingLimits.class_traits()[name].help


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cell_seconds", 0),
        ("cell_seconds", -1),
        ("notebook_seconds", float("inf")),
        ("cpu_seconds", float("nan")),
        ("memory_bytes", 1000),
        ("memory_bytes", 2.5e9),
        ("processes", True),
        ("restarts", -1),
        ("output_bytes", "8 MB"),
        ("open_files", 1),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_the_limits_name_the_value_and_the_unit(name, value):
    with pytest.raises(CourseError) as refused:
        Limits(**{name: value})
    message = str(refused.value)
    assert f"`{name}`" in message and repr(value) in message and "at least" in message
    assert f"c.GradingLimits.{name}" in message


def test_a_cell_cannot_have_more_time_than_its_notebook():
    with pytest.raises(CourseError, match=r"cell_seconds.*notebook_seconds"):
        Limits(cell_seconds=100, notebook_seconds=50)


def test_a_misspelt_limit_is_not_passed_over_in_silence():
    config = Config()
    config.GradingLimits.cell_second = 5
    with pytest.raises(CourseError, match=r"cell_second,.*cell_seconds"):
        Limits.from_config(config)


def test_a_configured_value_of_a_wrong_kind_is_told_in_one_message():
    config = Config()
    config.GradingLimits.cell_seconds = "long"
    with pytest.raises(CourseError, match=r"nbgrader_config\.py.*cell_seconds"):
        Limits.from_config(config)
