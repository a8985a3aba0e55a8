"""The course's own options in `nbgrader_config.py`: what is misspelt there is told, and not passed over in silence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from traitlets import TraitError
from traitlets.config import Config, Configurable

from autograder.errors import CourseError, did_you_mean

Kind = TypeVar("Kind", bound=Configurable)


def made(kind: type[Kind], config: Config | None) -> Kind:
    """An object with the options that a configuration sets for its class.

    Raises:
        CourseError: An option is not known, or its value is of a wrong kind.
    """
    config = config or Config()
    require_known(config, kind.__name__, kind.class_trait_names(config=True))
    try:
        return kind(config=config)
    except TraitError as error:
        raise CourseError(f"nbgrader_config.py, c.{kind.__name__}: a value of a wrong kind. {error}") from None


def require_known(config: Config, section: str, names: Iterable[str]) -> None:
    """Make sure that a section of a configuration sets options with these names alone.

    Raises:
        CourseError: It sets another one.
    """
    names = sorted(names)
    for name in sorted(set(config.get(section, ())) - set(names)):
        raise CourseError(
            f"nbgrader_config.py sets c.{section}.{name}, which is no option.{did_you_mean(name, names)} "
            f"The options are: {', '.join(names)}."
        )
