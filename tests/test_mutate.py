"""What counts as a check of a test cell, and which small changes are tried on a model solution."""

from __future__ import annotations

import ast
import contextlib

from autograder.mutate import (
    located,
    located_source,
    mutants,
    visible_part,
    without_checks,
    without_visible_check,
)

TEST = """\
from helpers import checks

checks.attempted(total=total)
recorded = checks.expect_history(history, "history")
measured = checks.above_chance(model, checks.holdout())
assert recorded["loss"][-1] > 0, "the loss"
for answer in answers:
    checks.expect_text(answer, "answer")
print("Fine.")
"""


def test_every_check_is_left_out_in_turn_also_inside_of_a_loop():
    texts = [text for text, _ in without_checks(TEST)]
    assert texts == [
        "measured = checks.above_chance(model, checks.holdout())",
        "assert recorded['loss'][-1] > 0, 'the loss'",
        "checks.expect_text(answer, 'answer')",
    ]
    for text, source in without_checks(TEST):
        assert text not in source
        assert "checks.expect_history" in source, "a value that is read later is no mere check"
        assert all(other in source for other in texts if other != text)


def test_a_cell_says_which_check_it_came_to_last(capsys):
    source = "if wrong == 0:\n    raise KeyError\nassert wrong != 1\nfor n in (1, 2):\n    assert n != wrong\n"
    source += "assert wrong != 3"
    for wrong, place in ((0, None), (1, 0), (2, 1), (3, 2)):
        with contextlib.suppress(AssertionError, KeyError):
            exec(located_source(source), {"wrong": wrong})
        assert located(f"printed before\n{capsys.readouterr().out}") == place


def test_a_check_is_found_in_the_part_that_students_have_wherever_it_stands_there():
    source = """\
series = checks.history_of(history)
assert a
### BEGIN HIDDEN TESTS
assert series
assert a
### END HIDDEN TESTS
"""
    assert [text for text, _ in without_checks(source)] == ["assert a", "assert series", "assert a"]
    assert without_visible_check(source, 0) == "series = checks.history_of(history)\npass"
    assert without_visible_check(source, 1) is None
    assert without_visible_check(source, 2) is None, "that one is hidden, though it reads like the first"


def test_the_visible_part_is_the_cell_without_its_hidden_tests():
    source = "a = 1\n### BEGIN HIDDEN TESTS\nassert a\n### END HIDDEN TESTS\nprint(a)"
    assert visible_part(source) == "a = 1\nprint(a)"
    assert visible_part("assert a") == "assert a"


def changed(source: str) -> dict[str, str]:
    return dict(mutants(source))


def test_numbers_operators_names_and_texts_are_taken_for_their_neighbours():
    found = set(changed("a = tf.argmax(b + 2, axis=1) * 0.5 < 3\nc = layer(activation='relu')").values())
    second = "c = layer(activation='relu')"
    for first in (
        "a = tf.argmin(b + 2, axis=1) * 0.5 < 3",
        "a = tf.argmax(b - 2, axis=1) * 0.5 < 3",
        "a = tf.argmax(b + 3, axis=1) * 0.5 < 3",
        "a = tf.argmax(b + 2, axis=2) * 0.5 < 3",
        "a = tf.argmax(b + 2) * 0.5 < 3",
        "a = tf.argmax(b + 2, axis=1) * 1.0 < 3",
        "a = tf.argmax(b + 2, axis=1) + 0.5 < 3",
        "a = tf.argmax(b + 2, axis=1) * 0.5 <= 3",
        "a = tf.argmax(b + 2, axis=1) * 0.5 < 4",
    ):
        assert f"{first}\n{second}" in found
    assert "a = tf.argmax(b + 2, axis=1) * 0.5 < 3\nc = layer(activation='linear')" in found


def test_statements_arguments_and_return_values_are_dropped_and_arguments_swapped():
    found = set(changed("def f(x):\n    y = g(x, 2)\n    return y").values())
    assert "def f(x):\n    pass\n    return y" in found
    assert "def f(x):\n    y = g(2, x)\n    return y" in found
    assert "def f(x):\n    y = g(x, 2)\n    return" in found


def test_what_only_prints_or_explains_is_left_alone():
    source = 'def f(x):\n    """Text."""\n    return x\n\nprint("a", f(1 + 1))\nmodel.fit(x, verbose=2)\nmodel'
    for text in changed(source).values():
        assert "print('a', f(1 + 1))" in text and text.rstrip().endswith("model")
        assert '"""Text."""' in text or "def f" not in text
        assert "verbose=2" in text or "fit" not in text


def test_every_mutant_is_python_and_none_is_the_solution_or_stands_there_twice():
    source = "a = [n * 2 for n in range(10) if n != 3]\nb = sum(a) / len(a)\n### BEGIN SOLUTION\nc = -b\n"
    found = [text for _, text in mutants(source)]
    assert len(found) == len(set(found)) > 5
    for text in found:
        ast.parse(text)
        assert text != ast.unparse(ast.parse(source))
