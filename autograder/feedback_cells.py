"""Make a graded notebook fit to be shown: to the student as feedback, and to the instructor in Formgrader.

Two things are kept out. The first is the tests: a student sees what a test said, never its hidden code, a traceback
through it, or held-out data. The second is anything of a student's that could act in the browser of whoever reads the
page: the page is opened by the instructor, too. `HideTests` does the first for feedback. `CleanOutputs` and the filters
`clean_markdown` and `clean_html` do the second for every page, because the templates of nbgrader and nbconvert put a
student's Markdown, and some of an output's metadata, into the page as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

import bleach
from jinja2 import pass_context
from nbconvert.exporters.exporter import ResourcesDict
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor
from nbgrader.utils import is_grade, is_locked, is_solution

from autograder.errors import CourseError
from autograder.exporter import find_releases
from autograder.salvage import clean_text, is_picture

#: What stands in the place of a test whose released version cannot be found.
HIDDEN = "# This test is not shown."
#: What is said at a written answer that nobody has graded yet.
WAITS = "Not graded yet: a person reads this answer. Its points are not in the score above."
#: Errors that a test raises to tell a student something; of any other only the first line is shown.
_TELLING_ERRORS = ("AssertionError", "CheckError", "NotAttempted")
_MAX_MESSAGE_LINES = 12
_MAX_MESSAGE = 1500
_MAX_TEXT = 50_000
_MAX_HTML = 200_000
_MAX_OUTPUTS = 200


class ShowMarks(GetGrades):
    """Puts marks and comments into the page, and says of an answer without a mark that it waits for one.

    nbgrader's page would show it as 0 points.
    """

    def _get_score(self, cell: NotebookNode, resources: ResourcesDict) -> None:
        super()._get_score(cell, resources)
        marks = cell.metadata.nbgrader
        grade = self.gradebook.find_grade(marks.grade_id, self.notebook_id, self.assignment_id, self.student_id)
        if is_solution(cell) and grade.auto_score is None and grade.manual_score is None:
            marks["comment"] = "\n\n".join(filter(None, [marks.get("comment"), WAITS]))


class HideTests(NbGraderPreprocessor):
    """Shows locked cells as they were released, with the messages of failed tests, and cleans all other outputs."""

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        """Clean one notebook on its way to the feedback page."""
        self._released = self._find_released(resources)
        return super().preprocess(nb, resources)

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Clean one cell."""
        if is_locked(cell):
            grade_id = cell.metadata.nbgrader.get("grade_id")
            released = self._released.get(grade_id, HIDDEN)
            if cell.cell_type == "code":
                speaks = is_grade(cell) and cell.source.strip() == released.strip()
                cell.outputs = _outcome(cell.get("outputs", []), with_stdout=speaks)
            cell.source = released
        elif cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.get("outputs", []))
        return cell, resources

    def _find_released(self, resources: ResourcesDict) -> dict[str, str]:
        """The released text of each marked cell by its grade id; nothing if the release is not there."""
        coursedir = getattr(getattr(self.parent, "parent", None), "coursedir", None)
        about = resources.get("nbgrader", {})
        if coursedir is None:
            return {}
        try:
            release, _ = find_releases(coursedir, about["assignment"], about["notebook"])
        except CourseError as problem:
            self.log.warning("Tests are left out of the feedback: %s", problem)
            return {}
        marked = (cell for cell in release.cells if "nbgrader" in cell.metadata)
        return {cell.metadata.nbgrader.grade_id: cell.source for cell in marked}


class CleanOutputs(NbGraderPreprocessor):
    """Cleans the outputs of all cells on their way to a page; for Formgrader, which shows the whole tests."""

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Clean one cell."""
        if cell.cell_type == "code":
            cell.outputs = clean_outputs(cell.get("outputs", []))
        return cell, resources


# ---------------------------------------------------------------------------------------------------------------------
# What a test said


def _outcome(outputs: Sequence[Mapping[str, Any]], *, with_stdout: bool) -> list[NotebookNode]:
    """The outputs of a locked cell that a student may see: messages of errors, and partial credit.

    Args:
        outputs: The outputs of the cell.
        with_stdout: Whether to show what the cell printed, which only a cell without hidden tests may.
    """
    shown = []
    for output in outputs[:_MAX_OUTPUTS]:
        kind = output.get("output_type")
        if kind == "error":
            name = _one_line(str(output.get("ename", "Error")), 80)
            message = told(name, str(output.get("evalue", "")))
            line = f"{name}: {message}" if message else f"{name}: this check did not pass."
            shown.append(new_output("error", ename=name, evalue=message, traceback=[line]))
        elif kind == "execute_result":
            text = str(output.get("data", {}).get("text/plain", ""))
            if re.fullmatch(r"[0-9.eE+-]{1,30}", text):
                shown.append(new_output("execute_result", data={"text/plain": text}, execution_count=1))
        elif kind == "stream" and output.get("name") == "stdout" and with_stdout:
            shown.append(new_output("stream", name="stdout", text=_short(str(output.get("text", "")))))
    return shown


def told(name: str, message: str) -> str:
    """What a student may read of an error in a test.

    Args:
        name: The error's type. What tests raise on purpose is shown whole; of other errors, the first line.
        message: Its message. File paths and dumps of arrays (as `numpy.testing` writes them) are taken out.

    Returns:
        The message, perhaps empty.
    """
    lines = [line.rstrip() for line in clean_text(message).strip().split("\n")]
    kept: list[str] = []
    for line in lines:
        if kept and re.match(r"\s*(?:x|y|ACTUAL|DESIRED|First \d+ .*|array)\s*[:(]", line):
            break
        kept.append(line)
    if name not in _TELLING_ERRORS:
        kept = kept[:1]
    text = "\n".join(kept[:_MAX_MESSAGE_LINES])
    text = re.sub(r"(?<![\w.])(?:/[\w.@+-]+){2,}/?", "...", text)
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + " ..."


def _one_line(text: str, limit: int) -> str:
    return " ".join(clean_text(text).split())[:limit]


def _short(text: str) -> str:
    text = clean_text(text)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "\n... (the rest is left out)"


# ---------------------------------------------------------------------------------------------------------------------
# What a student's cells put out


def clean_outputs(outputs: Any) -> list[NotebookNode]:
    """The outputs of a student's cell without what could act in a browser.

    Kept: printed text, errors, plain text, PNG and JPEG pictures that are such, and HTML tables and preformatted text
    with no more than harmless tags. Scripts, SVG, widgets, other HTML, LaTeX and Markdown give way to the plain text
    that Python sends along with them.
    """
    shown = []
    for output in outputs[:_MAX_OUTPUTS] if isinstance(outputs, list) else []:
        kind = output.get("output_type")
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            shown.append(new_output("stream", name=name, text=_short(str(output.get("text", "")))))
        elif kind == "error":
            lines = output.get("traceback", [])
            lines = [_short(str(line)) for line in lines[:100]] if isinstance(lines, list) else []
            name, message = _one_line(str(output.get("ename", "")), 80), _short(str(output.get("evalue", "")))
            shown.append(new_output("error", ename=name, evalue=message, traceback=lines))
        elif kind in ("display_data", "execute_result"):
            data = _clean_data(output.get("data", {}))
            count = {"execution_count": 1} if kind == "execute_result" else {}
            shown.append(new_output(kind, data=data, **count))
    if isinstance(outputs, list) and len(outputs) > _MAX_OUTPUTS:
        shown.append(new_output("stream", name="stdout", text=f"({len(outputs) - _MAX_OUTPUTS} more outputs left out)"))
    return shown


def _clean_data(data: Any) -> dict[str, str]:
    data = data if isinstance(data, Mapping) else {}
    kept: dict[str, str] = {}
    for media in ("image/png", "image/jpeg"):
        content = data.get(media)
        if isinstance(content, str) and is_picture(media, content):
            kept[media] = "".join(content.split())
    markup = data.get("text/html")
    if isinstance(markup, str) and len(markup) <= _MAX_HTML and re.search(r"<(?:table|pre)\b", markup):
        kept["text/html"] = clean_html(markup)
    plain = data.get("text/plain")
    if isinstance(plain, str):
        kept["text/plain"] = _short(plain)
    if not kept:
        media = ", ".join(sorted(re.sub(r"[^\w/+.-]", "?", str(name))[:60] for name in list(data)[:5]))
        kept["text/plain"] = f"(An output of type {media or 'unknown'} is not shown here.)"
    return kept


# ---------------------------------------------------------------------------------------------------------------------
# Filters for the page templates

_TAGS = frozenset(
    bleach.ALLOWED_TAGS
    | {
        "br",
        "caption",
        "col",
        "colgroup",
        "dd",
        "del",
        "div",
        "dl",
        "dt",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "hr",
        "img",
    }
    | {"kbd", "mark", "p", "pre", "s", "samp", "small", "span", "sub", "sup", "u", "var"}
    | {"table", "tbody", "td", "tfoot", "th", "thead", "tr"}
)
#: Classes of highlighted code and of tables; any other could borrow the looks of the page, a score panel for example.
_CLASSES = re.compile(r"(?:highlight(?: hl-[\w-]+)?|[a-z]{1,3}[0-9]?|anchor-link|dataframe)")
_LINKS = re.compile(r"(?:https?://|mailto:|#)", re.I)
_INLINE_PICTURES = re.compile(r"data:image/(?:png|jpeg|gif);base64,[A-Za-z0-9+/=\s]*")
#: TeX that MathJax turns into links, styles or further packages.
_ACTING_TEX = re.compile(r"\\(?:href|url|class|cssId|style|require|includegraphics|html\w*|unicode)\b")


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if tag == "a" and name == "href":
        return bool(_LINKS.match(value.strip()))
    if tag == "img":
        if name == "src":
            return bool(_INLINE_PICTURES.fullmatch(value))
        return name in ("alt", "title") or (name in ("width", "height") and value.isdigit())
    if name == "class":
        return bool(_CLASSES.fullmatch(value))
    return name in ("colspan", "rowspan", "align", "title") or (
        name == "id" and tag in ("h1", "h2", "h3", "h4", "h5", "h6")
    )


def _letter(entity: re.Match[str]) -> str:
    """The letter or backslash that a character reference stands for; any other reference as it is."""
    letter = html.unescape(entity[0])
    return letter if letter.isalnum() or letter == "\\" else entity[0]


def clean_html(element: Any) -> str:
    """HTML with harmless tags and attributes only: no scripts, styles, frames, forms, or pictures from elsewhere.

    Args:
        element: HTML as text or UTF-8 bytes.

    Returns:
        The cleaned HTML; what is not allowed is taken out, its text stays.
    """
    text = element.decode("utf-8", "replace") if isinstance(element, bytes) else str(element)
    # Written as numbers, letters would only be put together to a TeX command in the browser.
    text = re.sub(r"&#(x[0-9a-f]{1,6}|[0-9]{1,7});?|&bsol;", _letter, text, flags=re.I)
    text = re.sub(r"<(script|style)\b.*?(?:</\1\s*>|\Z)", "", text, flags=re.S | re.I)
    text = bleach.clean(
        text,
        tags=_TAGS,
        attributes=_is_harmless,
        protocols=["http", "https", "mailto", "data"],
        strip=True,
        strip_comments=True,
    )
    return _ACTING_TEX.sub(r"\\mathrm", text)


@pass_context
def clean_markdown(context: Mapping[str, Any], source: str) -> str:
    """Markdown as harmless HTML, in the place of nbconvert's `markdown2html`, which lets raw HTML through.

    Args:
        context: The template's variables; the cell's attachments are shown as pictures.
        source: The text of the cell.
    """
    cell = context.get("cell", {})
    attachments = cell.get("attachments", {}) if isinstance(cell, Mapping) else {}
    renderer = IPythonRenderer(escape=False, attachments=attachments, exclude_anchor_links=True)
    return clean_html(MarkdownWithMath(renderer=renderer).render(clean_text(source)))
