"""Submissions that are odd as a whole: broken files, forged metadata, files and links beside the notebook.

Each function changes one `HandIn` in place.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import nbformat
from nbformat.v4 import new_code_cell, new_output

if TYPE_CHECKING:
    from .corpus import Course, HandIn


def _tests(hand_in: HandIn) -> Iterator[nbformat.NotebookNode]:
    for cell in hand_in.notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("grade") and not marks.get("solution"):
            yield cell


def _text(hand_in: HandIn) -> bytes:
    return nbformat.writes(hand_in.notebook).encode()


# Files beside the notebook -------------------------------------------------------------------------------------------


def with_shadowing_modules(hand_in: HandIn, course: Course) -> None:
    """Modules with the names of those that the tests import."""
    fake = b"""
def DictReader(file): return []
def load(file): return [1, 4, 9, 16, 25]
"""
    startup = b"""
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
get_ipython().ast_transformers.append(Drop())
"""
    imported = ("helpers", "numpy", "json", "csv", "pathlib")
    for name in (*imported, "sitecustomize", "usercustomize", "conftest", "autograder"):
        hand_in.files[f"{name}.py"] = fake
    hand_in.files[".ipython/profile_default/startup/00-attack.py"] = startup
    hand_in.files["ipython_config.py"] = (
        b"c.InteractiveShellApp.exec_lines = ['import builtins; builtins.isinstance = 1']\n"
    )
    hand_in.files["nbgrader_config.py"] = b"raise SystemExit('attack-was-here')\n"
    hand_in.files["results/squares.json"] = b"[]"


def with_links_to_the_source(hand_in: HandIn, course: Course) -> None:
    """Symbolic links into the course folder, relative and absolute."""
    episode = hand_in.name.removesuffix(".ipynb")
    hand_in.links["loot.txt"] = f"../../../source/{episode}/{hand_in.name}"
    hand_in.links["loot-too.txt"] = str(course.root / "source" / episode / hand_in.name)
    hand_in.links["results"] = str(course.root / "source")


def with_sleeping_cells(hand_in: HandIn, course: Course) -> None:
    """Three hundred cells that each sleep for a while that one cell may take."""
    hand_in.notebook.cells[1:1] = [new_code_cell("import time\ntime.sleep(1)") for _ in range(300)]


# Broken files --------------------------------------------------------------------------------------------------------


def truncated(hand_in: HandIn, course: Course) -> None:
    """Half of the file is missing."""
    text = _text(hand_in)
    hand_in.raw = text[: len(text) // 4]


def with_trailing_garbage(hand_in: HandIn, course: Course) -> None:
    """Text after the end of the JSON."""
    hand_in.raw = _text(hand_in) + b'\n}\n "nbformat": 4 } trailing'


def with_byte_order_mark(hand_in: HandIn, course: Course) -> None:
    """A byte-order mark before the JSON."""
    hand_in.raw = b"\xef\xbb\xbf" + _text(hand_in)


def with_merge_conflict(hand_in: HandIn, course: Course) -> None:
    """The marks of a merge conflict around the language version."""
    lines = _text(hand_in).decode().splitlines()
    place = next(number for number, line in enumerate(lines) if '"nbformat_minor"' in line)
    lines[place : place + 1] = ["<<<<<<< HEAD", lines[place], "=======", lines[place], ">>>>>>> theirs"]
    hand_in.raw = "\n".join(lines).encode()


def as_web_page(hand_in: HandIn, course: Course) -> None:
    """A page that says that somebody should log in."""
    hand_in.raw = b"<!DOCTYPE html><html><body>Please log in to download this file.</body></html>"


def as_empty_file(hand_in: HandIn, course: Course) -> None:
    """No bytes at all."""
    hand_in.raw = b""


def in_format_3(hand_in: HandIn, course: Course) -> None:
    """The format of 2013."""
    old = nbformat.convert(copy.deepcopy(hand_in.notebook), 3)
    hand_in.raw = json.dumps(old, indent=1).encode()


def under_another_name(hand_in: HandIn, course: Course) -> None:
    """A file name of the student's own."""
    hand_in.name = "my solution (final) 2.ipynb"


# Test cells ----------------------------------------------------------------------------------------------------------


def without_tests(hand_in: HandIn, course: Course) -> None:
    """Every test cell deleted."""
    tests = list(_tests(hand_in))
    hand_in.notebook.cells = [cell for cell in hand_in.notebook.cells if not any(cell is test for test in tests)]


def with_edited_tests(hand_in: HandIn, course: Course) -> None:
    """Every test cell passes and claims a hundred points."""
    for cell in _tests(hand_in):
        cell.source = "100"
        cell.metadata.nbgrader.update(points=100, checksum="0", locked=False)


def with_doubled_tests(hand_in: HandIn, course: Course) -> None:
    """A second, empty cell with the same grade id after each test cell."""
    for test in list(_tests(hand_in)):
        twin = copy.deepcopy(test)
        twin.source, twin.id = "pass", f"{test.id[:50]}-twin"
        hand_in.notebook.cells.insert(hand_in.notebook.cells.index(test) + 1, twin)


def with_retyped_tests(hand_in: HandIn, course: Course) -> None:
    """Every test cell is text now."""
    for number, cell in enumerate(_tests(hand_in)):
        cell.cell_type = ("markdown", "raw")[number % 2]
        cell.pop("outputs", None)
        cell.pop("execution_count", None)


def reversed_cells(hand_in: HandIn, course: Course) -> None:
    """The last cell first."""
    hand_in.notebook.cells.reverse()


def with_skipping_tags(hand_in: HandIn, course: Course) -> None:
    """The tag with which nbclient skips a cell, on every test cell."""
    for cell in _tests(hand_in):
        cell.metadata.tags = ["skip-execution"]


def with_expected_errors(hand_in: HandIn, course: Course) -> None:
    """The tags and metadata with which errors and outputs are ignored."""
    for cell in _tests(hand_in):
        cell.metadata.tags = ["raises-exception", "remove-output", "hide-output", "nbval-skip"]
        cell.metadata.execution = {"timeout": 100000}
    hand_in.notebook.metadata.execution = {"allow_errors": True, "timeout": -1}
    hand_in.notebook.metadata.nbgrader = {"force": True}


def without_metadata(hand_in: HandIn, course: Course) -> None:
    """Neither cell metadata nor ids nor notebook metadata; format 4.4."""
    for cell in hand_in.notebook.cells:
        cell.metadata.clear()
        cell.pop("id", None)
    hand_in.notebook.metadata.clear()
    hand_in.notebook.nbformat_minor = 4


def with_forged_points(hand_in: HandIn, course: Course) -> None:
    """Answer cells that claim to be graded."""
    for cell in hand_in.notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks.get("solution") and cell.cell_type == "code":
            marks.update(grade=True, points=100, task=True)


def with_posing_cells(hand_in: HandIn, course: Course) -> None:
    """Cells of the student's own that carry the tests' grade ids, around everything."""
    for test in list(_tests(hand_in)):
        for place in (0, len(hand_in.notebook.cells)):
            cell = new_code_cell("100")
            cell.metadata.nbgrader = copy.deepcopy(test.metadata.nbgrader)
            cell.metadata.nbgrader.update(points=100, solution=True, locked=False)
            hand_in.notebook.cells.insert(place, cell)


def with_another_kernel(hand_in: HandIn, course: Course) -> None:
    """A kernel of the student's own, with its specification beside the notebook."""
    spec = {"argv": ["/bin/sh", "-c", "touch attack-was-here; sleep 60"], "display_name": "Mine", "language": "python"}
    hand_in.notebook.metadata.kernelspec = {"name": "mine", "display_name": "Mine", "language": "python"}
    for folder in ("kernels/mine", "share/jupyter/kernels/python3", ".local/share/jupyter/kernels/python3"):
        hand_in.files[f"{folder}/kernel.json"] = json.dumps(spec).encode()


def with_absurd_types(hand_in: HandIn, course: Course) -> None:
    """Values of every wrong type."""
    content = json.loads(_text(hand_in))
    absurd = [
        7,
        None,
        [],
        {"cell_type": "code"},
        {"cell_type": ["code"], "source": {"a": 1}, "metadata": []},
        {"cell_type": "code", "source": [["nested"], 3], "metadata": {"nbgrader": "yes"}, "outputs": {}},
        {"cell_type": "code", "source": "1", "metadata": {"nbgrader": {"grade_id": ["start-test"], "grade": "x"}}},
    ]
    content["cells"] = absurd + content["cells"] + absurd
    content["metadata"]["kernelspec"] = 5
    hand_in.raw = json.dumps(content).encode()


def with_giant_outputs(hand_in: HandIn, course: Course) -> None:
    """Sixty megabytes of saved outputs."""
    for cell in hand_in.notebook.cells[:6]:
        if cell.cell_type == "code":
            cell.outputs = [new_output("stream", name="stdout", text="x" * 20_000_000)]


def with_forged_outputs(hand_in: HandIn, course: Course) -> None:
    """Saved results of full marks, and scripts for the reader of the feedback."""
    for cell in _tests(hand_in):
        cell.outputs = [
            new_output("execute_result", {"text/plain": "4"}, execution_count=1),
            new_output("display_data", {"text/html": "<script>alert('attack-was-here')</script>"}),
        ]
        cell.execution_count = 1
