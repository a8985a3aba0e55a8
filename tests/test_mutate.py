"""What counts as a check of a test cell, and which small changes are tried on a model solution."""

from __future__ import annotations

import ast

from autograder.mutate import mutants, shown, without_checks

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


def test_what_students_have_of_a_test_ends_where_the_hidden_part_begins():
    hidden = "### BEGIN HIDDEN TESTS\nassert total == 6\n### END HIDDEN TESTS\n"
    assert shown(TEST + hidden + "print(1)\n") == TEST + "print(1)\n"


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
