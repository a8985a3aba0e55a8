"""An nbgrader course that exists already, with marks in it, is graded by this engine and loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.api import Gradebook
from traitlets.config import Config, PyFileConfigLoader

from autograder import adopt
from autograder.course import find_episode, load_config
from autograder.errors import CourseError
from autograder.grade import prepare

PROGRAMS = Path(sys.executable).parent

SQUARES = '''def squares(n):
    """The squares of the numbers from 1 to n."""
    ### BEGIN SOLUTION
    return [i ** 2 for i in range(1, n + 1)]
    ### END SOLUTION'''
CALLING = "assert squares(2) == [1, 4]\n### BEGIN HIDDEN TESTS\nassert squares(0) == []\n### END HIDDEN TESTS"
PROBE = "probed = [squares(n) for n in (0, 2)]"
PROBED = "assert probed[1] == [1, 4]\n### BEGIN HIDDEN TESTS\nassert probed[0] == []\n### END HIDDEN TESTS"


def marks(grade_id: str, *, points: float | None = None, solution: bool = False, locked: bool = False) -> dict:
    found = {"grade_id": grade_id, "schema_version": 3, "grade": points is not None, "solution": solution}
    found |= {"locked": locked, "task": False, **({"points": points} if points is not None else {})}
    return {"nbgrader": found}


def source() -> nbformat.NotebookNode:
    """An assignment as nbgrader's own documents show it: a value, a function called by its test, a written answer."""
    cells = [
        new_code_cell("### BEGIN SOLUTION\nanswer = 42\n### END SOLUTION", metadata=marks("answer", solution=True)),
        new_code_cell(
            "assert answer > 40\n### BEGIN HIDDEN TESTS\nassert answer == 42\n### END HIDDEN TESTS",
            metadata=marks("answer-test", points=1, locked=True),
        ),
        new_code_cell(SQUARES, metadata=marks("squares", solution=True)),
        new_code_cell(CALLING, metadata=marks("squares-test", points=2, locked=True)),
        new_markdown_cell("Because.", metadata=marks("why", points=3, solution=True)),
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def nbgrader(root: Path, *arguments: str) -> None:
    done = subprocess.run(
        [PROGRAMS / "nbgrader", *arguments], cwd=root, capture_output=True, text=True, check=False,
        env={"PATH": f"{PROGRAMS}:/usr/bin:/bin", "HOME": str(root)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course that was run with nbgrader alone: released, handed in, graded, a written answer marked by a person."""
    root = tmp_path_factory.mktemp("old") / "course101"
    (root / "source" / "ps1").mkdir(parents=True)
    (root / "nbgrader_config.py").write_text('c = get_config()\nc.CourseDirectory.course_id = "course101"\n')
    nbformat.write(source(), root / "source" / "ps1" / "ps1.ipynb")
    nbgrader(root, "generate_assignment", "ps1", "--create")
    answers = {
        "ada": ("answer = 42", "return [k * k for k in range(1, n + 1)]"),
        "bob": ("answer = 41", "return [1, 4]"),
    }
    for student, (answer, body) in answers.items():
        notebook = nbformat.read(root / "release" / "ps1" / "ps1.ipynb", as_version=4)
        notebook.cells[0].source = answer
        notebook.cells[2].source = f"def squares(n):\n    {body}"
        notebook.cells[4].source = "Since I say so."
        path = root / "submitted" / student / "ps1" / "ps1.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
    nbgrader(root, "autograde", "ps1", "--create")
    with Gradebook(f"sqlite:///{root}/gradebook.db", "course101") as book:
        grade = book.find_grade("why", "ps1", "ps1", "ada")
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        book.find_comment("why", "ps1", "ps1", "ada").manual_comment = "Say more."
        book.db.commit()
    return root


def scores(root: Path) -> dict[str, dict[str, float | None]]:
    with Gradebook(f"sqlite:///{root}/gradebook.db", "course101") as book:
        return {
            one.student_id: {
                grade.name: grade.manual_score if grade.manual_score is not None else grade.auto_score
                for notebook in one.notebooks
                for grade in notebook.grades
            }
            for one in book.assignment_submissions("ps1")
        }


@pytest.mark.slow
def test_the_whole_way_from_a_graded_nbgrader_course_to_this_engine(course, needs_bubblewrap):
    before = scores(course)
    assert before["ada"] == {"answer-test": 1, "squares-test": 2, "why": 2.5}

    # It says which test cannot stay as it is, and the solutions themselves show it.
    (found,) = adopt.examine(course)
    assert found.assignment == "ps1" and "'squares-test': it uses `squares`" in found.text
    assert any("does not pass 'squares-test'" in one.text for one in adopt.try_solutions(course, ["ps1"]))

    # As docs/how-to/adopt.md says: a probe before the test, which keeps its id.
    path = course / "source" / "ps1" / "ps1.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[3].source = PROBED
    notebook.cells.insert(3, new_code_cell(PROBE, metadata=marks("squares-probe", locked=True)))
    nbformat.write(notebook, path)
    assert adopt.examine(course) == [] == adopt.try_solutions(course, ["ps1"])

    old = (course / "nbgrader_config.py").read_bytes()
    assert adopt.adopt(course) and not adopt.adopt(course)
    assert (course / adopt.KEPT).read_bytes() == old
    config = load_config(course)
    assert config.CourseDirectory.course_id == "course101"
    assert config.Autograde.autograde_preprocessors == list(adopt.AUTOGRADE)

    # What was handed in on the old release is repaired and graded; what a person wrote stays.
    results = {one.student: one for one in prepare(find_episode(course, "ps1"))}
    assert scores(course) == before
    assert results["ada"].score == 5.5 and results["bob"].mark("squares-test").score == 0
    assert any("squares-probe" in repair for repair in results["ada"].repairs)
    with Gradebook(f"sqlite:///{course}/gradebook.db", "course101") as book:
        assert book.find_comment("why", "ps1", "ps1", "ada").manual_comment == "Say more."
    assert [one.fresh for one in prepare(find_episode(course, "ps1"))] == [False, False]


def test_the_options_are_those_of_this_courses_own_configuration(repository, tmp_path):
    ours = PyFileConfigLoader("nbgrader_config.py", path=str(repository)).load_config()
    added = Config()
    adopt.engine(added, str(tmp_path / "nbgrader_config.py"))
    assert added.CourseDirectory.root == str(tmp_path)
    for section in ("Autograde", "GenerateFeedback", "HTMLExporter"):
        assert added[section] == ours[section], section


def test_steps_and_options_of_the_courses_own_stay():
    class Own:
        __module__ = "course_steps"

    c = Config()
    c.CourseDirectory.root = "/srv/course"
    c.Autograde.autograde_preprocessors = ["nbgrader.preprocessors.Execute", Own, "own.steps.Execute"]
    c.GenerateFeedback.preprocessors = ["own.steps.Feedback"]
    adopt.engine(c, "/elsewhere/nbgrader_config.py")
    assert c.CourseDirectory.root == "/srv/course"
    assert c.GenerateFeedback.preprocessors == [adopt.HIDE_TESTS, "own.steps.Feedback"], "hidden tests stay hidden"
    assert c.Autograde.autograde_preprocessors == [adopt.REPLACED["Execute"], Own, "own.steps.Execute"]


def test_steps_that_a_course_appends_come_after_the_usual_ones():
    c = Config()
    c.Autograde.autograde_preprocessors.append("own.steps.Step")
    c.GenerateFeedback.preprocessors.append("own.steps.Feedback")
    adopt.engine(c, "/elsewhere/nbgrader_config.py")
    assert c.Autograde.autograde_preprocessors == [*adopt.AUTOGRADE, "own.steps.Step"]
    assert c.GenerateFeedback.preprocessors == [*adopt.FEEDBACK, "own.steps.Feedback"]


def test_a_notebook_that_cannot_be_read_is_left_out_of_the_trial(tmp_path):
    (tmp_path / "source" / "broken").mkdir(parents=True)
    (tmp_path / "source" / "broken" / "broken.ipynb").write_text("<<<<<<< no JSON")
    assert "cannot be read" in adopt.examine(tmp_path)[0].text
    assert adopt.try_solutions(tmp_path, ["broken"], sandbox=False) == []


def test_what_cannot_stay_as_it_is_is_listed_with_the_assignment(tmp_path):
    def put(name, file, *cells):
        path = tmp_path / "source" / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=list(cells)), path)

    test = marks("t", points=1, locked=True)
    put("two", "first.ipynb", new_code_cell("x = 1"))
    put("two", "second.ipynb", new_code_cell("%time assert x", metadata=test))
    old = marks("t", points=1)
    old["nbgrader"]["schema_version"] = 1
    put("old", "old.ipynb", new_code_cell("assert x", metadata=old))
    put("lambda", "lambda.ipynb", new_code_cell("twice = lambda x: 2 * x"), new_code_cell("twice(1)", metadata=test))
    found = {(one.assignment, one.text.split(".", 1)[0]): one.text for one in adopt.examine(tmp_path)}
    assert len(found) == 4
    text = " ".join(found.values())
    for said in ("first.ipynb, second.ipynb", "not plain Python", "nbgrader update", "it uses `twice`"):
        assert said in text
    assert adopt.adopt(tmp_path) and (tmp_path / "nbgrader_config.py").read_text().startswith("c = get_config()")
    with pytest.raises(CourseError, match="is no nbgrader course"):
        adopt.examine(tmp_path / "elsewhere")
