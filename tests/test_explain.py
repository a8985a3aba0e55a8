"""Errors of a cell that ran too early are followed by what to do, in a shell as a notebook's kernel has it."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell

from helpers.explain import explanation
from helpers.explain import load_ipython_extension as load
from helpers.explain import unload_ipython_extension as unload


@pytest.fixture(scope="module")
def shell():
    shell = InteractiveShell(history_length=0)
    shell.history_manager.enabled = False
    shell.run_line_magic("colors", "nocolor")
    load(shell)
    return shell


@pytest.fixture
def shown(shell, capsys):
    """Run a cell; what a person then sees."""

    def run(cell: str) -> str:
        shell.user_ns.pop("train_ds", None)
        done = shell.run_cell(cell, store_history=False)
        assert not done.success, "the error stays an error"
        text = capsys.readouterr().out
        assert max(map(len, text.splitlines())) <= 100, "no line that is broken within a word"
        return " ".join(text.split())

    return run


def test_a_name_without_a_value_leads_to_the_cells_above(shown):
    text = shown("next(iter(train_ds))")
    assert "NameError: name 'train_ds' is not defined" in text
    assert text.index("NameError") < text.index("'train_ds' has no value yet.")
    assert "Run > Run All Above Selected Cell" in text


def test_a_misspelt_name_is_told_its_like(shown):
    text = shown("history_intro = 1\nhistory_into")
    assert "There is a 'history_intro'. Is 'history_into' misspelt?" in text


@pytest.mark.parametrize("cell", ["x = ...\nx[0]", "(...).history", "... + 1", "float(...)"])
def test_a_blank_that_was_left_is_called_a_blank(shown, cell):
    assert "three dots (...) that still stand where an answer belongs" in shown(cell)


@pytest.mark.parametrize("cell", ["1 + 'a'", "[].history", "1 / 0", "def f():\n    print(x)\n    x = 1\nf()"])
def test_an_error_that_speaks_for_itself_gets_no_line_more(shown, cell):
    text = shown(cell)
    assert "Run All Above" not in text and "three dots" not in text


def test_a_bracket_that_is_not_closed_is_told_in_words(shown):
    assert "incomplete input. A bracket, a quote or a block was begun here and not ended" in shown("print((1")
    assert "unmatched ')'" in shown("print(1))")


def test_unloading_leaves_the_shell_as_it_was(shell, shown):
    unload(shell)
    text = shown("train_ds")
    load(shell)
    assert "NameError" in text and "Run All Above" not in text


def test_an_error_without_a_name_is_left_as_it_is():
    assert explanation(NameError("odd")) == "" and explanation(KeyError("a")) == ""
