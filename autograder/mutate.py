"""Mutants: a test cell without one of its checks, and a model solution with one small thing changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

#: What a check that only tells an untouched answer apart is called; the bank's untouched variants look at its message.
_ATTEMPTED = "attempted"
_CAME_TO = "bank: check "
_BEGIN_HIDDEN, _END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

_COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Add,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
}
#: Names that novices take for each other.
_NAMES = {
    "argmax": "argmin",
    "argmin": "argmax",
    "max": "min",
    "min": "max",
    "mean": "sum",
    "sum": "mean",
    "train_ds": "test_ds",
    "val_ds": "train_ds",
    "test_ds": "val_ds",
    "log": "log10",
    "load_model": "clone_model",
    "save": "save_weights",
    "MaxPooling2D": "AveragePooling2D",
}
#: Arguments that say how something looks, not what it is.
_SHOWN = ("verbose", "figsize", "cmap", "color", "fontsize", "alpha", "marker", "linestyle", "layout")
_TEXTS = {
    "relu": "linear",
    "softmax": "sigmoid",
    "same": "valid",
    "valid": "same",
    "accuracy": "mse",
    "sparse_categorical_crossentropy": "categorical_crossentropy",
    "val_loss": "loss",
    "val_accuracy": "accuracy",
    "loss": "accuracy",
    "train": "test",
    "val": "train",
    "test": "train",
}


def without_checks(source: str) -> list[tuple[str, str]]:
    """A test cell with each of its checks left out in turn.

    A check is an `assert`, or a call of `checks.something(...)` that stands alone or whose value nothing else reads.
    `checks.attempted(...)` is left alone: it only words the message to those who have not begun.

    Returns:
        For each check its text and the cell without it.
    """
    tree = ast.parse(source)
    places = [place for place in _statements(tree) if _is_check(_at(tree, place), tree)]
    found = []
    for place in places:
        text = ast.unparse(_at(tree, place))
        mutant = copy.deepcopy(tree)
        body, at = _body(mutant, place)
        body[at] = ast.copy_location(ast.Pass(), body[at])
        found.append((text, ast.unparse(ast.fix_missing_locations(mutant))))
    return found


def visible_part(source: str) -> str:
    """A test cell as students get it, without its hidden tests."""
    kept, hidden = [], False
    for line in source.splitlines():
        if line.strip() in (_BEGIN_HIDDEN, _END_HIDDEN):
            hidden = line.strip() == _BEGIN_HIDDEN
        elif not hidden:
            kept.append(line)
    return "\n".join(kept)


def without_visible_check(source: str, place: int) -> str | None:
    """The part of a test cell that students have, without the check at a place of the whole cell; None if it is hidden.

    There it may stand at another place: what only hidden tests read is a check of its own for students.
    """
    texts = [text for text, _ in without_checks(source)]
    same = [part for text, part in without_checks(visible_part(source)) if text == texts[place]]
    before = texts[:place].count(texts[place])
    return same[before] if before < len(same) else None


def located_source(source: str) -> str:
    """A test cell that says which of its checks it comes to, for `located`."""
    tree = ast.parse(source)
    places = [place for place in _statements(tree) if _is_check(_at(tree, place), tree)]
    for number in reversed(range(len(places))):  # from the end, so that the other places stay true
        body, at = _body(tree, places[number])
        body.insert(at, ast.parse(f"print({_CAME_TO + str(number)!r})").body[0])
    return ast.unparse(ast.fix_missing_locations(tree))


def located(printed: str) -> int | None:
    """The place of the check that a cell from `located_source` came to last, from what it printed; None before any."""
    found = [line.removeprefix(_CAME_TO) for line in printed.splitlines() if line.startswith(_CAME_TO)]
    return int(found[-1]) if found and found[-1].isdecimal() else None


Place = tuple[tuple[str, int], ...]


def _statements(tree: ast.AST, above: Place = ()) -> Iterator[Place]:
    for name in ("body", "orelse", "finalbody"):
        for at, statement in enumerate(getattr(tree, name, None) or ()):
            if isinstance(statement, ast.stmt):
                place = (*above, (name, at))
                yield place
                yield from _statements(statement, place)


def _body(tree: ast.AST, place: Place) -> tuple[list[ast.stmt], int]:
    for name, at in place[:-1]:
        tree = getattr(tree, name)[at]
    return getattr(tree, place[-1][0]), place[-1][1]


def _at(tree: ast.AST, place: Place) -> ast.stmt:
    body, at = _body(tree, place)
    return body[at]


def _is_check(statement: ast.stmt, tree: ast.AST) -> bool:
    if isinstance(statement, ast.Assert):
        return True
    if isinstance(statement, ast.Expr):
        return _is_call_of_checks(statement.value)
    if isinstance(statement, ast.Assign) and _is_call_of_checks(statement.value):
        names = {node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        return not names & read
    return False


def _is_call_of_checks(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "checks"
        and node.func.attr != _ATTEMPTED
    )


def mutants(source: str) -> list[tuple[str, str]]:
    """A model solution with one small thing changed at a time.

    What only prints or looks is left alone. Numbers are made larger by one, or doubled if they are not whole;
    operators, comparisons, names and texts are taken for their neighbours; keyword arguments and statements are
    dropped; the first two arguments change places.

    Args:
        source: The solution cell, with its marks.

    Returns:
        What was changed, in words, and the changed source; no source twice, none equal to the solution.
    """
    tree = ast.parse(source)
    original = ast.unparse(tree)
    seen, found = {original}, []
    shown = shown_only(tree)
    for number, node in enumerate(ast.walk(tree)):
        if node in shown:
            continue
        for what, change in _changes(node):
            mutant = copy.deepcopy(tree)
            twin = next(each for at, each in enumerate(ast.walk(mutant)) if at == number)
            change(twin)
            try:
                text = ast.unparse(ast.fix_missing_locations(mutant))
                ast.parse(text)
            except (ValueError, SyntaxError, AttributeError):
                continue
            if text not in seen:
                seen.add(text)
                found.append((f"line {getattr(node, 'lineno', 0)}: {what}", text))
    return found


def _is_show(statement: ast.stmt) -> bool:
    """Whether a statement only prints, displays or explains something, which no test can or should see."""
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) in ("print", "display", "plt.show")
    return isinstance(value, ast.Constant | ast.Name)


def shown_only(tree: ast.AST) -> set[ast.AST]:
    """The nodes in which nothing is worth changing: inside of what is only shown, and what says how much is printed."""
    found: set[ast.AST] = set()
    for node in ast.walk(tree):
        if (isinstance(node, ast.stmt) and _is_show(node)) or (isinstance(node, ast.keyword) and node.arg in _SHOWN):
            found.update(ast.walk(node))
    return found


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    if isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        new = _COMPARISONS[type(node.ops[0])]
        yield f"{_word(node.ops[0])} becomes {_word(new())}", lambda twin: twin.ops.__setitem__(0, new())
    elif isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        new_operator = _OPERATORS[type(node.op)]
        text = f"{_word(node.op)} becomes {_word(new_operator())}"
        yield text, lambda twin: setattr(twin, "op", new_operator())
    elif isinstance(node, ast.Attribute) and node.attr in _NAMES:
        yield f"{node.attr} becomes {_NAMES[node.attr]}", lambda twin: setattr(twin, "attr", _NAMES[twin.attr])
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in _NAMES:
        yield f"{node.id} becomes {_NAMES[node.id]}", lambda twin: setattr(twin, "id", _NAMES[twin.id])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "a minus is dropped", lambda twin: setattr(twin, "op", ast.UAdd())
    if isinstance(node, ast.Call):
        for at, keyword in enumerate(node.keywords):
            if keyword.arg and keyword.arg not in _SHOWN:
                yield f"{keyword.arg}= is dropped", lambda twin, at=at: twin.keywords.pop(at)
        if len(node.args) >= 2 and not any(isinstance(arg, ast.Starred) for arg in node.args[:2]):
            swap = f"two arguments of {ast.unparse(node.func)} change places"
            yield swap, lambda twin: twin.args.__setitem__(slice(0, 2), twin.args[1::-1])
    if isinstance(node, ast.Return) and node.value is not None:
        yield "nothing is returned", lambda twin: setattr(twin, "value", None)
    for name in ("body", "orelse"):
        body = getattr(node, name, None)
        if isinstance(body, list):
            for at, statement in enumerate(body):
                if not (isinstance(statement, ast.Pass | ast.Import | ast.ImportFrom) or _is_show(statement)):
                    text = f"'{ast.unparse(statement).splitlines()[0][:60]}' is dropped"
                    yield text, lambda twin, name=name, at=at: getattr(twin, name).__setitem__(at, ast.Pass())


def _constants(node: ast.Constant) -> Iterator[tuple[str, object]]:
    value = node.value
    if isinstance(value, bool):
        yield f"{value} becomes {not value}", lambda twin: setattr(twin, "value", not value)
    elif isinstance(value, int):
        yield f"{value} becomes {value + 1}", lambda twin: setattr(twin, "value", value + 1)
    elif isinstance(value, float):
        yield f"{value} becomes {value * 2}", lambda twin: setattr(twin, "value", value * 2)
    elif isinstance(value, str) and value in _TEXTS:
        yield f"'{value}' becomes '{_TEXTS[value]}'", lambda twin: setattr(twin, "value", _TEXTS[value])


def _word(operator: ast.AST) -> str:
    return type(operator).__name__
