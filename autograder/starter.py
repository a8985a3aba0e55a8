"""Starters: what a student finds in a solution cell instead of the solution."""

from __future__ import annotations

import re
from textwrap import indent

from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import ClearSolutions
from nbgrader.utils import is_solution

STARTER_LINE = re.compile(r"(\s*)#\? ?(.*)")


class LeaveStarter(ClearSolutions):
    """Replace each solution region by its starter: the lines of the region that begin with `#? `, without that mark.

    A region without such lines gets nbgrader's stub, and so does a solution cell without a region.
    """

    def _replace_solution_region(self, cell: NotebookNode, language: str) -> bool:
        lines = cell.source.split("\n")
        replaced = super()._replace_solution_region(cell, language)
        if cell.cell_type == "code" and is_solution(cell) and replaced:
            cell.source = "\n".join(self._with_starters(lines, language, cell.metadata.nbgrader.grade_id))
        return replaced

    def _with_starters(self, lines: list[str], language: str, grade_id: str) -> list[str]:
        """Rewrite the lines of a cell whose solution marks are known to be paired."""
        result: list[str] = []
        starter: list[str] | None = None
        stub = ""
        for line in lines:
            match = STARTER_LINE.fullmatch(line)
            if self.begin_solution_delimeter in line:
                starter = []
                stub = indent(self.code_stub[language], line[: len(line) - len(line.lstrip())])
            elif self.end_solution_delimeter in line:
                result += starter or stub.split("\n")
                starter = None
            elif starter is None:
                if match:
                    raise RuntimeError(
                        f"Exercise '{grade_id}': the starter line '{line.strip()}' stands outside a solution region; "
                        f"move it between the solution marks."
                    )
                result.append(line)
            elif match:
                starter.append((match[1] + match[2]).rstrip())
        return result
