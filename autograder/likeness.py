"""Answers that are much alike: pairs of submissions for a person to look at, never a verdict.

Answers are compared as programs, not as text: names of the student's own are replaced by their order of appearance, and
comments, layout and documentation count nothing. What is left is cut into overlapping pieces, of which some are kept as
fingerprints (winnowing: Schleimer, Wilkerson and Aiken, *Winnowing: local algorithms for document fingerprinting*,
SIGMOD 2003). A fingerprint of the starter, or one that much of the class has, is no sign of anything. Those that are
left weigh the more the fewer students have them (inverse document frequency).
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from nbformat import NotebookNode
from nbgrader import utils as nbgrader_cells

from autograder.build import read_notebook
from autograder.course import Episode
from autograder.errors import CourseError
from autograder.matching import syntax_tree

#: Syntax elements in a piece, and pieces of which the smallest is kept: matches of `PIECE + WINDOW - 1` are found.
PIECE, WINDOW = 8, 4
#: A fingerprint that more than this share of the class has, and more than `FEW` students, is everybody's.
COMMON, FEW = 0.1, 3
#: Pairs from this likeness on are listed, if they share at least so many fingerprints.
LIKE, SHARED = 0.7, 5


@dataclass(frozen=True)
class Pair:
    """Two submissions that are much alike.

    Attributes:
        left: One student.
        right: The other.
        likeness: From 0, nothing unusual in common, to 1, nothing unusual that is not.
        shared: How many unusual fingerprints they share.
        exercises: The exercises that these are in, most of them first.
    """

    left: str
    right: str
    likeness: float
    shared: int
    exercises: tuple[str, ...]


def fingerprints(source: str) -> set[int]:
    """The fingerprints of one answer; none of what cannot be parsed, or is shorter than a piece.

    Args:
        source: Python, as it stands in a cell; lines that begin with `%` or `!` are left out.
    """
    elements = list(_elements(source))
    hashes = [_hash(elements[at : at + PIECE]) for at in range(len(elements) - PIECE + 1)]
    if len(hashes) <= WINDOW:
        return set(hashes)
    return {min(hashes[at : at + WINDOW]) for at in range(len(hashes) - WINDOW + 1)}


def _hash(elements: list[str]) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(elements).encode(), digest_size=8).digest(), "big")


def _elements(source: str) -> Iterator[str]:
    tree = syntax_tree(source)
    if tree is None:
        return
    own: dict[str, str] = {}

    for node in ast.walk(tree):
        for name in _bound(node):
            own.setdefault(name, f"name-{len(own)}")
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield type(node).__name__
        if isinstance(node, ast.Name):
            yield own.get(node.id, node.id)  # a name that the student chose may be another in a copy
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword):
            yield str(node.arg)
        elif isinstance(node, ast.Constant):
            yield repr(node.value)[:80]
        children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr_context)]
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef):
            children = [child for child in children if not _is_text(child)]
        waiting.extend(reversed(children))


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.arg):
        yield node.arg


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def pairs(answers: Mapping[str, Mapping[str, str]], starters: Mapping[str, str]) -> list[Pair]:
    """The pairs of a class that are much alike, the most alike first.

    Args:
        answers: For each student the source of each answer cell, by exercise.
        starters: The source of each answer cell as it was released.
    """
    begun = {exercise: fingerprints(source) for exercise, source in starters.items()}
    found: dict[str, set[tuple[str, int]]] = {
        student: {
            (exercise, one)
            for exercise, source in cells.items()
            for one in fingerprints(source) - begun.get(exercise, set())
        }
        for student, cells in answers.items()
    }
    having: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
    for student in sorted(found):
        for one in found[student]:
            having[one].append(student)
    most = max(FEW, COMMON * len(found))
    weight = {one: math.log(1 + len(found) / len(who)) for one, who in having.items() if len(who) <= most}
    together: defaultdict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for one, who in having.items():
        if one in weight:
            for pair in combinations(who, 2):
                together[pair].append(one)
    result = []
    for (left, right), shared in together.items():
        # fsum, for sets have no order: the same class gives the same list each time.
        union = math.fsum(weight[one] for one in found[left] | found[right] if one in weight)
        likeness = math.fsum(weight[one] for one in shared) / union
        if likeness >= LIKE and len(shared) >= SHARED:
            exercises = Counter(exercise for exercise, _ in shared)
            names = tuple(name for name, _ in sorted(exercises.items(), key=lambda each: (-each[1], each[0])))
            result.append(Pair(left, right, likeness, len(shared), names))
    return sorted(result, key=lambda pair: (-pair.likeness, -pair.shared, pair.left, pair.right))


def answers_of(notebook: NotebookNode) -> dict[str, str]:
    """The source of each answer cell of a notebook that is code, by its grade id."""
    return {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and nbgrader_cells.is_solution(cell)
    }


def pairs_of(episode: Episode) -> list[Pair]:
    """The pairs among those who were graded in an episode; a notebook that cannot be read is left out."""
    answers = {}
    for path in sorted(episode.root.glob(f"autograded/*/{episode.name}/{episode.name}.ipynb")):
        answers[_student(path)] = _answers(path)
    return pairs(answers, answers_of(read_notebook(episode.release)))


def _student(path: Path) -> str:
    return path.parent.parent.name


def _answers(path: Path) -> dict[str, str]:
    try:
        return answers_of(read_notebook(path))
    except CourseError:
        return {}
