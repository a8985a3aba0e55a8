"""What a message to a student gives away of the model solution.

A message says what was expected and what was found. What the solution has and the student does not see, neither in the
prompt nor in the starter or the visible tests nor in the answer itself, must not stand in it: no piece of its code, no
text and no number that tells something.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nbformat import NotebookNode

from autograder.mutate import shown_only

_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e-?\d+)?(?![\w])")
_FOUND = re.compile(r"\bfound\b.*?(?=;|\.\s|$)", re.DOTALL)
#: Numbers that stand in every other sentence tell nothing.
_TELL_NOTHING = frozenset({0.0, 1.0, 2.0})
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_SHORTEST_CODE, _SHORTEST_TEXT = 6, 3


@dataclass(frozen=True)
class Secrets:
    """What a model solution has that its students are not shown.

    Attributes:
        code: Pieces of code, without white space and with single quotes.
        texts: Texts between quotes, in lower case.
        numbers: Numbers.
    """

    code: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()


def given(release: NotebookNode, places: Iterable[int]) -> str:
    """What a student sees of an exercise: its prompt, and its cells as they were released.

    Args:
        release: The student notebook.
        places: Where the exercise's cells are in it, the answer first.
    """
    places = list(places)
    prompt = places[0]
    while prompt and release.cells[prompt - 1].cell_type == "markdown":
        prompt -= 1
    return "\n".join(release.cells[at].source for at in [*range(prompt, places[0]), *places])


def secrets_of(solution: str, seen: str) -> Secrets:
    """What a solution cell has between its marks that does not stand in what students see of the exercise.

    Args:
        solution: The cell of the instructor's notebook, with its marks.
        seen: What `given` says.
    """
    tree = ast.parse(_between_marks(solution))
    shown = shown_only(tree)
    nodes = [node for node in ast.walk(tree) if node not in shown]
    squeezed, lower, numbers = _squeezed(seen), seen.casefold(), _numbers(seen)
    code = dict.fromkeys(piece for piece in _pieces(nodes) if piece not in squeezed)
    constants = [node.value for node in nodes if isinstance(node, ast.Constant)]
    texts = dict.fromkeys(
        value.casefold()
        for value in constants
        if isinstance(value, str) and len(value) >= _SHORTEST_TEXT and re.search(r"[^\W\d]", value)
    )
    values = dict.fromkeys(
        float(value) for value in constants if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return Secrets(
        tuple(code),
        tuple(text for text in texts if text not in lower),
        tuple(value for value in values if value not in numbers | _TELL_NOTHING),
    )


def giveaways(secrets: Secrets, message: str, answer: str) -> list[str]:
    """What a message says of a solution that neither the exercise nor the answer said before.

    Numbers behind 'found' are the student's own, and left alone.
    """
    squeezed, lower = _squeezed(message), message.casefold()
    own, own_lower, own_numbers = _squeezed(answer), answer.casefold(), _numbers(answer)
    said = _numbers(_FOUND.sub("", message))
    found = [piece for piece in secrets.code if piece in squeezed and piece not in own]
    found += [
        text for text in secrets.texts if text not in own_lower and re.search(rf"(?<!\w){re.escape(text)}(?!\w)", lower)
    ]
    found += [f"{value:g}" for value in secrets.numbers if value in said and value not in own_numbers]
    return found


def _between_marks(source: str) -> str:
    """The lines between the marks of a solution; the whole cell if it has no marks, or they are no whole statements."""
    if _BEGIN not in source:
        return source
    inside, kept = False, []
    for line in source.splitlines():
        if line.strip() in (_BEGIN, _END):
            inside = line.strip() == _BEGIN
        elif inside:
            kept.append(line)
    text = textwrap.dedent("\n".join(kept))
    try:
        ast.parse(text)
    except SyntaxError:
        return source
    return text


def _pieces(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        tells = isinstance(
            node,
            ast.BinOp | ast.BoolOp | ast.Compare | ast.Subscript | ast.ListComp | ast.GeneratorExp | ast.DictComp,
        ) or (isinstance(node, ast.Call) and (node.args or node.keywords))
        if isinstance(node, ast.keyword) and node.arg:
            piece = _squeezed(f"{node.arg}={ast.unparse(node.value)}")
        elif tells:
            piece = _squeezed(ast.unparse(node))
        else:
            continue
        if len(piece) >= _SHORTEST_CODE:
            yield piece


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text).replace('"', "'")


def _numbers(text: str) -> frozenset[float]:
    words = set(re.findall(r"[a-z]+", text.casefold()))
    return frozenset(map(float, _NUMBER.findall(text))) | {float(n) for n, word in enumerate(_WORDS) if word in words}
