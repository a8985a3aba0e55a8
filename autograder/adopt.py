"""Taking over an nbgrader course: what its configuration needs, and what in it a person has to see to.

Nothing that was handed in, graded or written is touched. The configuration gets two lines at its end; the file as it
was is kept beside it.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat.notebooknode import NotebookNode
from traitlets.config import LazyConfigValue

from autograder.course import CONFIG_NAME, environment_first
from autograder.crossing import free_names
from autograder.errors import CourseError
from autograder.runlog import event
from autograder.student import is_test_cell
from autograder.whole import write_text_whole

BEGIN = (
    "# Added by `autograder adopt`: submissions are repaired, run in a sandbox, and judged apart from students' code."
)
LINES = f"{BEGIN}\nfrom autograder.adopt import engine\n\nengine(c, __file__)\n"
KEPT = f"{CONFIG_NAME}.before-autograder"

#: What takes the place of nbgrader's own steps.
REPLACED = {
    "Execute": "autograder.preprocessors.JudgedExecute",
    "SaveAutoGrades": "autograder.preprocessors.RecordMarks",
    "AssignLatePenalties": "autograder.penalties.AssignPenalties",
}
AUTOGRADE = (
    "autograder.preprocessors.JudgedExecute",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "autograder.preprocessors.RecordMarks",
    "autograder.penalties.AssignPenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
)
HIDE_TESTS = "autograder.feedback_cells.HideTests"
FEEDBACK = (
    "autograder.feedback_cells.ShowMarks",
    HIDE_TESTS,
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
)


def engine(c: Any, file: str) -> None:
    """Set the options of nbgrader that this engine needs, at the end of a course's own `nbgrader_config.py`.

    Steps of the course's own stay where they are; only those of nbgrader that run and mark are replaced.

    Args:
        c: The configuration.
        file: The configuration's own path.
    """
    environment_first()
    if "root" not in c.CourseDirectory:
        c.CourseDirectory.root = str(Path(file).resolve().parent)
    c.Autograde.exporter_class = "autograder.exporter.RepairingExporter"
    steps = _steps(c.Autograde, "autograde_preprocessors", AUTOGRADE)
    c.Autograde.autograde_preprocessors = [replaced(step) for step in steps]
    steps = _steps(c.GenerateFeedback, "preprocessors", FEEDBACK)
    hides = any(_name(step) == HIDE_TESTS for step in steps)
    c.GenerateFeedback.preprocessors = steps if hides else [HIDE_TESTS, *steps]
    # Formgrader's pages put a student's Markdown, HTML and metadata in as they are.
    c.HTMLExporter.preprocessors = ["autograder.feedback_cells.CleanOutputs"]
    c.HTMLExporter.sanitize_html = True
    c.HTMLExporter.filters = {
        "clean_html": "autograder.feedback_cells.clean_html",
        "markdown2html": "autograder.feedback_cells.clean_markdown",
    }


def _steps(section: Any, name: str, default: Sequence[str]) -> list[Any]:
    """The steps that a section of a configuration asks for, or these; what it only adds to the default is added."""
    steps = section.get(name)
    if isinstance(steps, LazyConfigValue):  # c.Autograde.autograde_preprocessors.append(...)
        steps = steps.get_value(list(default))
    return list(steps or default)


def _name(step: Any) -> str:
    return step if isinstance(step, str) else f"{step.__module__}.{step.__name__}"


def replaced(step: Any) -> Any:
    """A step of a pipeline, or ours if it is one of nbgrader's that runs or marks."""
    package, _, last = _name(step).rpartition(".")
    return REPLACED.get(last, step) if package.split(".")[0] in ("nbgrader", "nbconvert") else step


@dataclass(frozen=True)
class Finding:
    """Something in an assignment that a person has to see to.

    Attributes:
        assignment: The assignment's name.
        text: What it is, and what to do.
    """

    assignment: str
    text: str


def assignments(root: Path) -> list[str]:
    """The assignments of an nbgrader course.

    Raises:
        CourseError: There are none.
    """
    names = sorted({path.parent.name for path in root.glob("source/*/*.ipynb")})
    if not names:
        raise CourseError(f"{root} is no nbgrader course: there is no source/ASSIGNMENT/NOTEBOOK.ipynb in it.")
    return names


def examine(root: Path) -> list[Finding]:
    """Look through the instructor notebooks of a course for what this engine does in another way than nbgrader."""
    found = []
    for name in assignments(root):
        paths = sorted((root / "source" / name).glob("*.ipynb"))
        if [path.stem for path in paths] != [name]:
            found.append(
                Finding(
                    name,
                    f"it has the notebooks {', '.join(path.name for path in paths)}. `autograder grade` wants one, "
                    f"called {name}.ipynb; grade this assignment with `nbgrader autograde {name}` or Formgrader, which "
                    "use the same engine.",
                )
            )
        for path in paths:
            found += [Finding(name, f"{path.name}: {text}") for text in look_at(path)]
    return found


def look_at(path: Path) -> list[str]:
    """What in one instructor notebook a person has to see to."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except Exception as problem:
        return [f"it cannot be read: {problem}"]
    callables = defined(cell.source for cell in notebook.cells if cell.cell_type == "code" and not is_test_cell(cell))
    found = []
    for cell in notebook.cells:
        marks = cell.metadata.get("nbgrader", {})
        if marks and marks.get("schema_version", 0) < 3:
            return ["its nbgrader metadata is of an older version. Run `nbgrader update .` first."]
        if is_test_cell(cell):
            found += [f"test cell '{marks['grade_id']}': {text}" for text in faults(cell, callables)]
    return found


def faults(cell: NotebookNode, callables: set[str]) -> list[str]:
    """Why a test cell cannot run before the judge, which has copies of values and none of the student's code."""
    try:
        names = free_names(cell.source)
    except SyntaxError:
        return ["it is not plain Python (a line with % or !?). The judge runs plain Python only."]
    called = sorted(set(names) & callables)
    if not called:
        return []
    which = ", ".join(f"`{name}`" for name in called)
    return [
        f"it uses {which}, which a student writes, and the judge has copies of values only. Call it in a locked cell "
        "without points before the test, keep what it gives under a name, and test that: see docs/how-to/adopt.md."
    ]


def defined(sources: Any) -> set[str]:
    """The functions and classes that cells define."""
    found = set()
    for source in sources:
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
                found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def try_solutions(root: Path, names: Sequence[str], *, sandbox: bool = True) -> list[Finding]:
    """Grade the instructor's own notebooks as if a student had handed them in: everything should pass.

    Raises:
        CourseError: There is no sandbox on this machine.
    """
    from autograder.judge import modules_for
    from autograder.worker import Worker
    from autograder.zygote import imports_for

    notebooks = []
    for name in names:
        for path in sorted((root / "source" / name).glob("*.ipynb")):
            with contextlib.suppress(Exception):  # `examine` names those that cannot be read
                notebooks.append((name, path, nbformat.read(path, as_version=4)))
    sources = [cell.source for *_, notebook in notebooks for cell in notebook.cells if cell.cell_type == "code"]
    found = []
    with Worker(sandbox=sandbox, modules=modules_for(sources), imports=imports_for(sources), hidden=[root]) as worker:
        for name, path, notebook in notebooks:
            graded = worker.grade(notebook, path.parent)
            for verdict in graded.verdicts.values():
                if verdict.score is None or verdict.score < verdict.max_score:
                    text = f"{path.name}: your own solution does not pass '{verdict.grade_id}': {verdict.message}"
                    found.append(Finding(name, text))
    return found


def adopt(root: Path) -> bool:
    """Add to a course's configuration what this engine needs; the file as it was is kept.

    Returns:
        Whether anything was added; False if it was there already.
    """
    path = root / CONFIG_NAME
    text = path.read_text(encoding="utf-8") if path.is_file() else "c = get_config()\n"
    if BEGIN in text:
        return False
    kept = root / KEPT
    if path.is_file() and not kept.exists():
        kept.write_bytes(path.read_bytes())
    write_text_whole(path, f"{text.rstrip()}\n\n{LINES}")
    event("adopted", root=root)
    return True
