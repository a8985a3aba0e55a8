"""What a student and an instructor see of a graded notebook: `autograder.feedback_cells`."""

from __future__ import annotations

import re

import nbformat
import pytest
from bs4 import BeautifulSoup
from graded_course import Course
from nbconvert.exporters import HTMLExporter
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output, new_raw_cell
from nbgrader.converters import GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.server_extensions.formgrader import handlers
from small_episode import ANSWERS, NAME, TESTS, answered_notebook, by_id, position, release_notebook
from traitlets.config import PyFileConfigLoader

from autograder.feedback_cells import HIDDEN, CleanOutputs, HideTests, clean_html, clean_outputs, told

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

HOSTILE_MARKUP = """\
When it is <b>bold</b>, kept-words.

<script>steal("markdown")</script>
<img src=x onerror="steal('img')"> <svg onload="steal('svg')"></svg>
[a link](javascript:steal('link')) <a href="JaVaScRiPt:steal('a')">b</a> [good](https://example.org/kept-link)
<iframe src="https://example.org"></iframe><form action="https://example.org"><input name=password></form>
<div style="position:fixed;top:0" class="panel panel-primary" onclick="steal('div')">Score: 99 / 10</div>
<base href="https://example.org/"><meta http-equiv="refresh" content="0;url=https://example.org">
<link rel=stylesheet href=https://example.org>
$\\href{javascript:steal('tex')}{x}$ and $&#92;href{javascript:steal('entity')}{x}$ and
$\\hr<!-- -->ef{javascript:steal(1)}{x}$

| a | b |
|---|---|
| kept-table | 2 |
"""

HOSTILE_CODE = f"""\
from IPython.display import HTML, SVG, Javascript, Latex, Markdown, display
display(HTML("<script>steal('html')</script><p>no table</p>"))
display(HTML("<table onclick=steal()><thead><tr><th>kept-head</th></tr></thead></table><script>steal('t')</script>"))
display(SVG("<svg xmlns='http://www.w3.org/2000/svg' onload='steal(1)'><script>steal(2)</script></svg>"))
display(Javascript("steal('javascript')"))
display(Latex(r"$\\href{{javascript:steal('latex')}}{{x}}$"))
display(Markdown("<script>steal('output')</script>"))
display({{"image/png": '{PNG}" onerror="steal(3)'}}, raw=True)
display({{"image/png": "{PNG}"}}, raw=True, metadata={{"image/png": {{"width": "1 onload=steal(4)"}}}})
display({{"application/vnd.jupyter.widget-view+json": {{"model_id": "steal"}}}}, raw=True)
print("<script>steal('print')</script> kept-print")
raise ValueError("<script>steal('error')</script> kept-error")
"""


@pytest.fixture(scope="module")
def course(tmp_path_factory, repository):
    """A course with one student whose answers are wrong and whose cells are hostile, graded by plain nbgrader."""
    course = Course(tmp_path_factory.mktemp("feedback"))
    notebook = answered_notebook(
        {**ANSWERS, "sum-up": "total = 15", "double-it": "def double(x):\n    return 3 * x", "why-mean": HOSTILE_MARKUP}
    )
    at = position(notebook, "largest")
    notebook.cells[at:at] = [
        new_code_cell(HOSTILE_CODE, id="hostile"),
        new_markdown_cell(HOSTILE_MARKUP, id="own-text"),
        new_raw_cell("<script>steal('raw')</script>", metadata={"raw_mimetype": "text/html"}),
    ]
    course.hand_in("mallory", {f"{NAME}.ipynb": notebook})
    assert course.grade() is None
    return course


@pytest.fixture(scope="module")
def settings(repository):
    """The options of this project that concern pages."""
    loaded = PyFileConfigLoader("nbgrader_config.py", path=str(repository)).load_config()
    return {name: loaded[name] for name in ("GenerateFeedback", "HTMLExporter")}


@pytest.fixture(scope="module")
def page(course, settings) -> str:
    """The feedback page of that student, as nbgrader writes it with the project's own options."""
    config = course.config.copy()
    config.update(settings)
    config.CourseDirectory.student_id = "mallory"
    GenerateFeedback(coursedir=CourseDirectory(config=config), config=config).start()
    return (course.root / "feedback" / "mallory" / NAME / f"{NAME}.html").read_text()


@pytest.fixture(scope="module")
def formgrader_page(course, settings) -> str:
    """The page of that submission in Formgrader."""
    config = course.config.copy()
    config.update(settings)
    config.HTMLExporter.template_name = "formgrade"
    config.HTMLExporter.extra_template_basedirs = [handlers.template_path]
    resources = dict.fromkeys(("submission_id", "base_url", "last_name", "first_name", "notebook_path"), "")
    resources |= {"assignment_id": NAME, "notebook_id": NAME, "student": "mallory", "index": 0, "total": 1}
    path = course.root / "autograded" / "mallory" / NAME / f"{NAME}.ipynb"
    return HTMLExporter(config=config).from_filename(str(path), resources=resources)[0]


def body(page: str) -> BeautifulSoup:
    """The part of a page that shows the notebook."""
    found = BeautifulSoup(page, "html.parser").find(id="notebook-container")
    assert found is not None
    return found


def assert_nothing_acts(part: BeautifulSoup):
    assert part.find_all(["script", "iframe", "form", "svg", "object", "embed", "base", "meta", "link"]) == []
    assert part.find("input", attrs={"name": "password"}) is None  # Formgrader has input fields of its own
    for tag in part.find_all(True):
        for name, value in tag.attrs.items():
            assert not name.lower().startswith("on"), tag
            assert "javascript:" not in str(value).lower(), tag
        if tag.name == "img" and "src" in tag.attrs:
            assert re.match(r"data:image/(png|jpeg);base64,", tag["src"])
        if "Score: 99" in (tag.string or ""):
            assert not tag.get("style")
            assert not tag.get("class")
    outside_code = BeautifulSoup(str(part), "html.parser")
    for tag in outside_code.find_all(["pre", "code"]):
        tag.decompose()
    assert "\\href" not in outside_code.get_text()


# ---------------------------------------------------------------------------------------------------------------------
# Tests


def test_the_page_shows_no_hidden_test(page):
    source = "\n".join(cell.source for cell in release_notebook().cells)
    for secret in ("BEGIN HIDDEN", "== 14", "[2, 4, 20]", "(5, 1)"):
        assert secret not in source
        assert secret not in BeautifulSoup(page, "html.parser").get_text()


def test_the_page_shows_released_tests_and_what_a_failed_hidden_test_said(page):
    text = body(page).get_text()
    for grade_id in TESTS:
        assert by_id(release_notebook(), grade_id).source.split("\n")[0] in text
    assert "AssertionError: expected the sum of all five measurements, found 15" in text
    assert "AssertionError: expected twice each argument" in text


def test_the_page_shows_no_traceback_through_a_test(course, page):
    graded = by_id(course.graded("mallory"), "sum-up-test")
    assert "Traceback" in str(graded.outputs)
    assert body(page).get_text().count("Traceback") == 1  # the student's own error in the student's own cell


def test_the_page_keeps_marks_and_the_students_harmless_output(page):
    text = body(page).get_text()
    assert "Score: 2.0 / 2.0" in text
    for kept in ("kept-words", "kept-table", "kept-head", "kept-print", "kept-error", "is not shown here"):
        assert kept in text
    assert body(page).find("a", href="https://example.org/kept-link")
    assert body(page).find("img", src=f"data:image/png;base64,{PNG}")
    assert [tag.get_text() for tag in body(page).find_all("b", string="bold")] == ["bold", "bold"]


def test_a_missing_release_hides_the_tests_altogether(course, settings, tmp_path):
    config = course.config.copy()
    config.update(settings)
    config.CourseDirectory.student_id = "mallory"
    config.CourseDirectory.release_directory = "nowhere"
    config.CourseDirectory.feedback_directory = "feedback-without-release"
    GenerateFeedback(coursedir=CourseDirectory(config=config), config=config).start()
    page = (course.root / "feedback-without-release" / "mallory" / NAME / f"{NAME}.html").read_text()
    text = body(page).get_text()
    assert text.count(HIDDEN) == 4
    assert "not attempted yet" not in text


def test_partial_credit_is_shown_whatever_else_a_test_cell_holds():
    cell = by_id(release_notebook(), "sum-up-test")
    cell.outputs = [
        new_output("execute_result", data={"text/plain": "1.5"}, execution_count=1),
        new_output("execute_result", data={"text/plain": "secret"}, execution_count=1),
        new_output("display_data", data={"text/plain": "secret", "image/png": PNG}),
        new_output("stream", name="stdout", text="secret"),
        new_output("stream", name="stderr", text="secret"),
    ]
    notebook, _ = CleanOutputs().preprocess(nbformat.v4.new_notebook(cells=[cell]), {})
    notebook, _ = HideTests().preprocess(notebook, {"nbgrader": {}})
    (output,) = notebook.cells[0].outputs
    assert output.data["text/plain"] == "1.5"


def test_of_an_array_dump_only_the_sentence_is_told():
    message = "\nNot equal to tolerance rtol=1e-07\n\nMismatched elements: 3 / 3\n"
    message += " ACTUAL: array([1, 2])\n DESIRED: array([3])"
    assert told("AssertionError", message) == "Not equal to tolerance rtol=1e-07\n\nMismatched elements: 3 / 3"
    assert told("AssertionError", "x: expected 3, found 4") == "x: expected 3, found 4", "a name of the student's"


def test_of_an_unexpected_error_only_the_first_line_is_told_without_paths():
    message = "cannot read /holdout/cat/0001.png or /data/x/y\nlabels: [1, 2, 3]"
    assert told("ValueError", message) == "cannot read ... or ..."
    assert told("CheckError", "expected (None, 5),\nfound 1/2") == "expected (None, 5),\nfound 1/2"


# ---------------------------------------------------------------------------------------------------------------------
# What acts in a browser


def test_nothing_of_a_student_acts_in_the_feedback_page(page):
    assert_nothing_acts(body(page))


def test_nothing_of_a_student_acts_in_formgraders_page(formgrader_page):
    assert_nothing_acts(body(formgrader_page))
    text = body(formgrader_page).get_text()
    assert "kept-words" in text
    assert "kept-head" in text


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        "text",
        [{}],
        [{"output_type": "stream"}],
        [{"output_type": "display_data", "data": None}],
        [{"output_type": "error", "ename": 3, "evalue": None, "traceback": "x"}],
        [{"output_type": "stream", "name": '"><script>', "text": ["a", 3]}],
        [{"output_type": "display_data", "data": {"text/plain": 3, "<script>": 1, 'image/png"': ["x"]}}],
        [{"output_type": "stream", "name": "stdout", "text": "x"}] * 300,
    ],
)
def test_outputs_of_any_shape_become_valid_ones(outputs):
    cell = new_code_cell("", outputs=clean_outputs(outputs))
    nbformat.validate(nbformat.v4.new_notebook(cells=[cell]))
    assert len(cell.outputs) <= 201
    assert "<script>" not in str(cell.outputs)


def test_a_table_of_pandas_keeps_its_cells_and_loses_its_style():
    html = "<div><style scoped>.dataframe {}</style><table border=1 class='dataframe'><tr><th>a</th></tr></table></div>"
    (output,) = clean_outputs([new_output("display_data", data={"text/html": html, "text/plain": "a"})])
    assert output.data["text/html"] == '<div><table class="dataframe"><tbody><tr><th>a</th></tr></tbody></table></div>'


@pytest.mark.parametrize(
    "markup",
    [
        "<scr<script>x</script>ipt>steal()</script>",
        "<img src='data:text/html;base64,PHNjcmlwdD4='>",
        "<a href='data:text/html,<script>steal()</script>'>x</a>",
        "<a href='  java\nscript:steal()'>x</a>",
        "<a href='&#106;avascript:steal()'>x</a>",
        "<math><mtext><table><mglyph><style><img src=x onerror=steal()>",
        "<noscript><p title='</noscript><img src=x onerror=steal()>'>",
        "<svg><a xlink:href='javascript:steal()'><text>x</text></a></svg>",
    ],
)
def test_known_ways_around_a_cleaner_lead_nowhere(markup):
    part = BeautifulSoup(f"<div>{clean_html(markup)}</div>", "html.parser")
    assert_nothing_acts(part)
