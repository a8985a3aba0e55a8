"""Marks for Canvas, Moodle and Gradescope: in the documented formats, and the same marks when they are read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from quick_class import make_class
from typer.testing import CliRunner

from autograder import cli
from autograder.build import register_assignment
from autograder.course import find_episode, load_config
from autograder.errors import CourseError
from autograder.formats import totals, write

#: Students, points of the machine-graded and of the written question, and what being late costs.
CLASS = {"ada": (2.0, 3.0, 0.0), "grace": (0.0, 1.5, 0.0), "emil": (2.0, None, 0.5)}


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    episode = make_class(tmp_path_factory.mktemp("class") / "course", {})
    root = episode.root
    with (root / "nbgrader_config.py").open("a") as file:
        file.write('c.LatePenalty.per_day = "0.5"\n')
    register_assignment(episode)
    with Gradebook(CourseDirectory(config=load_config(root)).db_url) as gradebook:
        gradebook.add_student(
            "ada", first_name="Ada", last_name="Lovelace", email="ada@example.org", lms_user_id="9001"
        )
        gradebook.add_student("grace", first_name="Grace", last_name='Hopper, "Amazing"', lms_user_id="9002")
        gradebook.add_student("emil", first_name="Émile", last_name="Picard", lms_user_id="9003")
        gradebook.update_or_create_assignment("01-small", duedate="2026-11-20 12:00:00")
        for student, (machine, written, penalty) in CLASS.items():
            handed_in = "2026-11-20 12:30:00" if penalty else "2026-11-20 11:30:00"
            gradebook.add_submission("01-small", student, timestamp=handed_in)
            notebook = gradebook.find_submission_notebook("01-small", "01-small", student)
            for grade in notebook.grades:
                if grade.name == "add-up-test":
                    grade.auto_score = machine
                else:
                    grade.manual_score = written
        gradebook.db.commit()
    return root


@pytest.fixture
def made(course, tmp_path):
    def make(kind: str, template: str | None = None, encoding: str = "utf-8"):
        path = None
        if template is not None:
            path = tmp_path / "template.csv"
            path.write_text(template, encoding=encoding)
        episode = find_episode(course, "1")
        return write(kind, episode, totals(episode, load_config(course)), tmp_path / "out", path)

    return make


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


EXPECTED = {"ada": "5", "grace": "1.5", "emil": "1.5"}


def test_canvas_gets_its_own_columns_and_the_points_possible(made):
    [path], notes = made("canvas")
    first, *students = rows(path)
    assert list(first) == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "01-small"]
    assert (first["Student"].strip(), first["01-small"]) == ("Points Possible", "5")
    assert {row["SIS Login ID"]: row["01-small"] for row in students} == EXPECTED
    assert {row["ID"]: row["Student"] for row in students}["9002"] == 'Hopper, "Amazing", Grace'
    assert len(notes) == 1 and notes[0].startswith("emil: say-why waits for a person")


def test_a_canvas_gradebook_is_filled_in_by_id_and_nothing_else_in_it_changes(made):
    template = (
        "Student,ID,SIS User ID,SIS Login ID,Section,Essay (77),01-small (88),Final Score\n"
        "    Points Possible,,,,,10,,\n"
        '"Lovelace, Ada",9001,s1,a.lovelace,A,7,,41\n"Somebody, Else",9009,s9,x,A,3,,12\n'
        '"Picard, Émile",9003,s3,e,A,,,\n'
    )
    [path], notes = made("canvas", template)
    possible, ada, other, emil = rows(path)
    assert possible["01-small (88)"] == "5"
    assert (ada["01-small (88)"], ada["Essay (77)"], ada["Final Score"]) == ("5", "7", "41")
    assert (other["01-small (88)"], other["Essay (77)"]) == ("", "3")
    assert emil["01-small (88)"] == "1.5"
    assert any(note.startswith("grace is not in the file") for note in notes)


def test_a_canvas_gradebook_without_the_column_gets_one(made):
    [path], _ = made("canvas", "Student,ID,SIS User ID,SIS Login ID,Section\n'Ada',9001,s1,ada,A\n")
    assert rows(path)[0]["01-small"] == "5"


def test_moodle_can_tell_students_apart_by_number_or_address(made):
    [path], _ = made("moodle")
    found = rows(path)
    assert {row["ID number"]: row["01-small"] for row in found} == EXPECTED
    assert found[0]["Email address"] == "ada@example.org"


def test_a_moodle_worksheet_is_filled_in_and_nothing_else_in_it_changes(made):
    template = (
        "Identifier,Full name,ID number,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
        '"Last modified (submission)",Feedback comments\n'
        'Participant 501,Ada Lovelace,ada,ada@example.org,Submitted,,5.00,Yes,"Friday, 20 November 2026",\n'
        "Participant 502,Grace Hopper,grace,g@example.org,No submission,,5.00,Yes,-,\n"
    )
    [path], notes = made("moodle", template, "utf-8-sig")
    ada, grace = rows(path)
    assert (ada["Identifier"], ada["Grade"], ada["Grade can be changed"]) == ("Participant 501", "5", "Yes")
    assert ada["Last modified (submission)"] == "Friday, 20 November 2026"
    assert grace["Grade"] == "1.5"
    assert any(note.startswith("emil is not in the file") for note in notes)


def test_a_moodle_worksheet_with_another_maximum_is_refused(made):
    with pytest.raises(CourseError, match=r"maximum grade is 100\.00, but 01-small is worth 5 points"):
        made("moodle", "Identifier,Full name,ID number,Grade,Maximum Grade\nParticipant 1,Ada,ada,,100.00\n")


@pytest.mark.parametrize("kind", ["canvas", "moodle"])
def test_a_template_of_another_kind_is_refused_with_the_columns_found(made, kind):
    with pytest.raises(CourseError, match="Found the columns colour, shape"):
        made(kind, "colour,shape\nred,round\n")


def test_gradescope_gets_a_file_for_each_student_as_its_format_says(made):
    paths, _ = made("gradescope")
    found = {path.parent.name: json.loads(path.read_text()) for path in paths}
    assert {student: f"{each['score']:g}" for student, each in found.items()} == EXPECTED
    ada = {test["name"]: test for test in found["ada"]["tests"]}
    assert ada["add-up-test"]["status"] == "passed" and ada["add-up-test"]["max_score"] == 2
    emil = {test["name"]: test for test in found["emil"]["tests"]}
    assert "status" not in emil["say-why"] and "waits" in emil["say-why"]["output"]
    assert "0.5 points were taken off" in found["emil"]["output"]
    keys = {"name", "score", "max_score", "status", "output", "visibility"}
    for each in found.values():
        assert set(each) <= {"score", "tests", "output", "visibility", "stdout_visibility"}
        assert all(set(test) <= keys and test["score"] <= test["max_score"] for test in each["tests"])
        assert all(test.get("status") in (None, "passed", "failed") for test in each["tests"])


def test_the_command_writes_lists_what_is_open_and_ends_with_1(course, tmp_path, monkeypatch):
    monkeypatch.chdir(course)
    done = CliRunner().invoke(cli.app, ["export", "1", "--format", "canvas", "--to", str(tmp_path / "marks")])
    assert done.exit_code == 1 and "emil: say-why waits for a person" in done.output
    assert (tmp_path / "marks" / "01-small-canvas.csv").is_file()
    done = CliRunner().invoke(cli.app, ["export", "1", "--to", str(tmp_path / "marks")])
    assert done.exit_code == 0 and (tmp_path / "marks" / "grades.csv").is_file(), done.output


def test_a_canvas_gradebook_that_counts_other_points_is_refused(made):
    heads = "Student,ID,SIS User ID,SIS Login ID,Section,01-small (88)"
    template = f"{heads}\n    Points Possible,,,,,100.00\nAda,9001,s1,ada,A,\n"
    with pytest.raises(CourseError, match=r"points possible of 01-small \(88\) are 100\.00, but 01-small is worth 5"):
        made("canvas", template)


@pytest.mark.parametrize("points", ["5", "5.00", "5,00", ""])
def test_the_same_points_may_be_written_in_several_ways(made, points):
    heads = "Student;ID;SIS User ID;SIS Login ID;Section;01-small (88)"
    [path], _ = made("canvas", f"{heads}\n    Points Possible;;;;;{points}\nAda;9001;s1;ada;A;\n")
    assert [row["01-small (88)"] for row in rows(path)] == [points or "5", "5"]


@pytest.mark.parametrize("most", ["1.000,00", "1,000.00", "Scale"])
def test_a_maximum_that_is_written_otherwise_is_an_error_and_no_traceback(made, most):
    with pytest.raises(CourseError, match="but 01-small is worth 5 points"):
        made("moodle", f"Identifier;Full name;ID number;Grade;Maximum Grade\nParticipant 1;Ada;ada;;{most}\n")


def test_marks_go_into_no_row_whose_number_is_only_like_an_id(made):
    """Moodle gives each assignment's participants numbers of their own; 9001 was another student's elsewhere."""
    template = "Identifier,Full name,Grade\nParticipant 9001,Émile Picard,\nParticipant 9003,Ada Lovelace,\n"
    [path], _ = made("moodle", template)
    assert {row["Full name"]: row["Grade"] for row in rows(path)} == {"Émile Picard": "1.5", "Ada Lovelace": "5"}


def test_a_worksheet_without_names_is_filled_in_by_number(made):
    """What Moodle hands out where students are marked without their names."""
    [path], _ = made("moodle", "Identifier,Status,Grade\nParticipant 9001,,\nParticipant 9003,,\n")
    assert [row["Grade"] for row in rows(path)] == ["5", "1.5"]


@pytest.mark.parametrize("kind", ["csv", "canvas"])
def test_a_folder_to_write_to_that_is_a_file_is_one_clear_error(course, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(course)
    (tmp_path / "marks").write_text("")
    done = CliRunner().invoke(cli.app, ["export", "1", "--format", kind, "--to", str(tmp_path / "marks")])
    assert isinstance(done.exception, CourseError) and "is no folder" in str(done.exception), repr(done.exception)
