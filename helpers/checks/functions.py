"""What a learner's function returns: called in a probe cell, judged in a test cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from helpers.checks.values import CheckError, attempted, fail_unless
from helpers.checks.wording import first_line, is_blank, kind


def call_each(function: Any, arguments: Iterable[Any]) -> Any:
    """Call a function of the learner's with one argument after another, for a probe cell.

    Args:
        function: The function.
        arguments: One argument for each call; a tuple is spread over several parameters.

    Returns:
        One dict for each call: `{"value": ...}` or `{"error": "TypeError: ..."}`. If the function is a blank, or
        returns one at every call, the blank itself. If it is no function, text that says so. `returned` reads all of
        these.
    """
    if function is ...:
        return ...
    if not callable(function):
        return f"expected a function, found {kind(function)}"
    results: list[dict[str, Any]] = []
    for argument in arguments:
        try:
            value = function(*argument) if isinstance(argument, tuple) else function(argument)
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {first_line(error)}"})
        else:
            results.append({"value": value})
    if results and all(is_blank(result.get("value")) for result in results):
        return ...
    return results


def returned(results: Any, name: str, count: int | None = None) -> list[Any]:
    """Read what `call_each` noted: the values that the function returned.

    Args:
        results: What `call_each` returned.
        name: What the function is called in the notebook.
        count: How many calls there were.

    Returns:
        One value for each call.

    Raises:
        NotAttempted: If the function is a blank.
        CheckError: If it raised an error, returned nothing, or isn't a function.
    """
    attempted(**{name: results})
    if isinstance(results, str):
        raise CheckError(f"{name}: {results}")
    if not isinstance(results, list | tuple) or not all(isinstance(result, Mapping) for result in results):
        raise CheckError(f"{name}: expected the results of calling it, found {kind(results)}")
    fail_unless(count is None or len(results) == count, f"{name}: expected {count} results, found {len(results)}")
    values = []
    for result in results:
        fail_unless(
            "error" not in result, f"{name}: expected a function that can be called, found {result.get('error')}"
        )
        values.append(result.get("value"))
    fail_unless(
        not values or any(value is not None for value in values),
        f"{name}: expected a function that returns something, found None; is there a 'return' at its end?",
    )
    return values
