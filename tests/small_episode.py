"""A small episode without TensorFlow, as it stands in `source/` and in `release/`, for tests of repair and feedback."""

from __future__ import annotations

import copy
import json
import re

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NAME = "01-sums"


def _marks(grade_id: str, *, points: float | None = None, solution: bool = False, locked: bool = False) -> dict:
    marks = {
        "grade": points is not None,
        "grade_id": grade_id,
        "locked": locked,
        "schema_version": 3,
        "solution": solution,
        "task": False,
    }
    if points is not None:
        marks["points"] = points
    return {"nbgrader": marks}


def _code(cell_id: str, source: str, metadata: dict | None = None) -> NotebookNode:
    return new_code_cell(source, id=cell_id, metadata=metadata or {})


def _text(cell_id: str, source: str, metadata: dict | None = None) -> NotebookNode:
    return new_markdown_cell(source, id=cell_id, metadata=metadata or {})


def source_notebook() -> NotebookNode:
    """The instructor's notebook, with solutions and hidden tests."""
    cells = [
        _text("intro", "# Sums\n\nA short episode about numbers and what can be done with them."),
        _code("load", "import math\nfrom pathlib import Path\n\nmeasurements = [3, 1, 4, 1, 5]"),
        _text("sum-up-prompt", "## Challenge: add up\n\nAdd up the measurements and call the result `total`."),
        _code(
            "sum-up",
            "# Add up the measurements.\n### BEGIN SOLUTION\n#? total = ...  # a whole number\n"
            "total = sum(measurements)\n### END SOLUTION",
            _marks("sum-up", solution=True),
        ),
        _code(
            "sum-up-test",
            "# These checks tell you whether your sum holds.\n"
            'assert total is not ..., "not attempted yet"\n'
            'assert isinstance(total, int), f"expected a whole number, found {total!r}"\n'
            '### BEGIN HIDDEN TESTS\nassert total == 14, f"expected the sum of all five measurements, found {total}"\n'
            "### END HIDDEN TESTS",
            _marks("sum-up-test", points=2, locked=True),
        ),
        _text("double-prompt", "## Challenge: double\n\nWrite a function that gives back twice its argument."),
        _code(
            "double-it",
            'def double(x):\n    """Give back twice x."""\n    ### BEGIN SOLUTION\n'
            "    #? ...\n    return 2 * x\n    ### END SOLUTION",
            _marks("double-it", solution=True),
        ),
        _code(
            "double-it-probe",
            "# Calls your function for the test below.\nprobed = [double(value) for value in (1, 2, 10)]",
            _marks("double-it-probe", locked=True),
        ),
        _code(
            "double-it-test",
            'assert len(probed) == 3, f"expected three numbers, found {probed!r}"\n'
            "### BEGIN HIDDEN TESTS\n"
            'assert probed == [2, 4, 20], "expected twice each argument"\n'
            "### END HIDDEN TESTS",
            _marks("double-it-test", points=3, locked=True),
        ),
        _text("why-mean-prompt", "## Challenge: why\n\nWhen is the mean of some numbers misleading?"),
        _text("why-mean", "When a few values are far from all others.", _marks("why-mean", points=2, solution=True)),
        _code("look", "print(total, math.sqrt(total))"),
        _code(
            "largest",
            "# Find both ends.\n### BEGIN SOLUTION\n#? largest = ...\n#? smallest = ...\n"
            "largest = max(measurements)\nsmallest = min(measurements)\n"
            "### END SOLUTION",
            _marks("largest", solution=True),
        ),
        _code(
            "largest-test",
            'assert largest is not ..., "not attempted yet"\n'
            'assert largest > smallest, f"expected the largest above the smallest, found {largest} and {smallest}"\n'
            "### BEGIN HIDDEN TESTS\nassert (largest, smallest) == (5, 1), 'expected 5 and 1'\n### END HIDDEN TESTS",
            _marks("largest-test", points=2, locked=True),
        ),
        _text("what-next-prompt", "## Challenge: what next\n\nWhat would you measure next, and why?"),
        _text("what-next", "More of the same, to see the spread.", _marks("what-next", points=1, solution=True)),
        _text(
            "key-points", "## Key points\n\n- Sums are quick.\n- Means can mislead.", _marks("key-points", locked=True)
        ),
    ]
    metadata = {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return new_notebook(cells=cells, metadata=metadata)


STARTERS = {
    "sum-up": "# Add up the measurements.\ntotal = ...  # a whole number",
    "double-it": 'def double(x):\n    """Give back twice x."""\n    ...',
    "largest": "# Find both ends.\nlargest = ...\nsmallest = ...",
    "why-mean": "YOUR ANSWER HERE",
    "what-next": "YOUR ANSWER HERE",
}

ANSWERS = {
    "sum-up": "# Add up the measurements.\ntotal = sum(measurements)",
    "double-it": 'def double(x):\n    """Give back twice x."""\n    return x + x',
    "largest": "# Find both ends.\nlargest = sorted(measurements)[-1]\nsmallest = sorted(measurements)[0]",
    "why-mean": "When there is an outlier, such as one very rich person in a small town.",
    "what-next": "The weight of each of them, because size is not everything.",
}

TESTS = ("sum-up-test", "double-it-test", "largest-test")
LOCKED = ("sum-up-test", "double-it-probe", "double-it-test", "largest-test", "key-points")


def release_notebook() -> NotebookNode:
    """The notebook as students get it: starters, and no hidden tests."""
    notebook = source_notebook()
    for cell in notebook.cells:
        if cell.id in STARTERS:
            cell.source = STARTERS[cell.id]
        cell.source = re.sub(r"\n?### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS", "", cell.source, flags=re.S)
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.cell_type = cell.cell_type
            if cell.metadata.nbgrader.locked:
                cell.metadata.deletable = cell.metadata.editable = False
    return notebook


def answered_notebook(answers: dict[str, str] = ANSWERS) -> NotebookNode:
    """The released notebook with answers typed in."""
    notebook = release_notebook()
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return notebook


def to_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as a file, valid or not."""
    return json.dumps(notebook, indent=1, ensure_ascii=False).encode()


def by_id(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    """The one cell with that grade id."""
    (cell,) = (c for c in notebook.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)
    return cell


def position(notebook: NotebookNode, grade_id: str) -> int:
    """Where the cell with that grade id stands."""
    return notebook.cells.index(by_id(notebook, grade_id))


def without_marks(notebook: NotebookNode, *, ids: bool = False) -> NotebookNode:
    """A copy without nbgrader's metadata, and without cell ids unless they are kept."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        if not ids:
            cell.pop("id", None)
    if not ids:
        notebook.nbformat_minor = 4
    return notebook
