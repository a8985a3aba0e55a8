"""A line in plain words below errors that mostly mean: a cell further up hasn't run, or still holds a blank.

An IPython extension, `%load_ext helpers.explain`, which a student's environment loads when a notebook's kernel starts.
The graders' kernels do without it.
"""

from __future__ import annotations

import difflib
import sys
import textwrap
from collections.abc import Iterable
from types import TracebackType
from typing import Any

_RUN_ABOVE = "In the menu, choose Run > Run All Above Selected Cell, and then run this cell again."


def load_ipython_extension(shell: Any) -> None:
    """Explain errors in this IPython shell from now on."""
    shell.set_custom_exc((NameError, TypeError, AttributeError, ValueError), _show)
    plain = shell.showsyntaxerror

    def show_syntax_error(*arguments: Any, **options: Any) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, SyntaxError) and error.msg == "incomplete input":
            error.msg = "incomplete input. A bracket, a quote or a block was begun here and not ended"
        plain(*arguments, **options)

    shell.showsyntaxerror = show_syntax_error


def unload_ipython_extension(shell: Any) -> None:
    """Leave errors as they are again."""
    shell.set_custom_exc((), None)
    vars(shell).pop("showsyntaxerror", None)


def explanation(error: BaseException, known: Iterable[str] = ()) -> str:
    """What an error probably means, and what to do next.

    Args:
        error: What a cell raised.
        known: The names that have a value in the notebook.

    Returns:
        One or two sentences, or nothing where the error speaks for itself.
    """
    if isinstance(error, UnboundLocalError):
        return ""
    if isinstance(error, NameError) and error.name:
        close = difflib.get_close_matches(error.name, [name for name in known if not name.startswith("_")], n=1)
        if close:
            return f"There is a '{close[0]}'. Is '{error.name}' misspelt? If not: {_RUN_ABOVE}"
        return (
            f"'{error.name}' has no value yet. If a cell further up makes it, that cell hasn't run since the notebook "
            f"was opened or the kernel restarted. {_RUN_ABOVE} If no cell makes it, look at how it is spelt."
        )
    if "ellipsis" in str(error).lower():
        return (
            "An 'ellipsis' is a blank: three dots (...) that still stand where an answer belongs. "
            "Fill them, run that cell, and then run this one again."
        )
    return ""


def _show(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
    tb_offset: int | None = None,
) -> None:
    if text := explanation(error, shell.user_ns):
        error.add_note("\n" + textwrap.fill(text, 80))  # a browser would break the line within a word
    shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
