"""The repairing exporter inside real nbgrader runs: `autograder.exporter`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from graded_course import FULL, Course
from small_episode import (
    ANSWERS,
    NAME,
    answered_notebook,
    by_id,
    release_notebook,
    source_notebook,
    to_bytes,
    without_marks,
)

from autograder.errors import CourseError
from autograder.exporter import read_submission


def state_of(folder: Path) -> dict[str, tuple]:
    """Everything that can be seen of a folder without opening what is no file."""
    seen = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        data = path.read_bytes() if path.is_file() and not path.is_symlink() else None
        link = path.readlink() if path.is_symlink() else None
        seen[str(path.relative_to(folder))] = (status.st_mode, status.st_mtime_ns, status.st_ino, data, link)
    return seen


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """A class of submissions in every state, graded in one run of plain nbgrader."""
    root = tmp_path_factory.mktemp("course")
    course = Course(root)
    answered = answered_notebook()
    other = without_marks(answered)
    other.cells = [cell for cell in other.cells if cell.source in ANSWERS.values()]

    course.hand_in("fine", {f"{NAME}.ipynb": answered})
    course.hand_in("colab", {f"Copy of {NAME} (1).ipynb": without_marks(answered)})
    course.hand_in("mark", {f"{NAME}.ipynb": b"\xef\xbb\xbf" + to_bytes(answered) + b"\n\ntrailing"})
    course.hand_in("several", {f"{NAME}.ipynb": release_notebook(), "final.ipynb": answered, "draft.ipynb": b"{"})
    course.hand_in("textfile", {f"{NAME}.ipynb.txt": answered})
    course.hand_in("zipped", {f"{NAME}.ipynb": b"PK\x03\x04 and so on"})
    course.hand_in("nothing", {"notes.pdf": b"%PDF-1.7"})
    course.hand_in("odd<b>name", {"<script>.ipynb": answered})

    links = course.hand_in("links", {f"{NAME}.ipynb": answered, "keep.txt": b"mine", "sub/keep.txt": b"mine"})
    (links / "solution.txt").symlink_to(root / "source" / NAME / f"{NAME}.ipynb")
    (links / "zero.bin").symlink_to("/dev/zero")
    (links / "tree").symlink_to(root / "source")
    os.mkfifo(links / "pipe")
    os.mkfifo(links / "timestamp.txt")
    os.mkfifo(links / "second.ipynb")
    big = links / "giant.bin"
    with big.open("wb") as file:
        file.truncate(5 * 2**30)

    thief = root / "submitted" / "thief" / NAME
    thief.parent.mkdir()
    thief.symlink_to(root / "source" / NAME)

    old = os.umask(0o022)
    before = state_of(root / "submitted" / "fine") | state_of(root / "submitted" / "colab")
    for folder in (root / "submitted").iterdir():
        if folder.name != "links":
            before |= {f"{folder.name}/{k}": v for k, v in state_of(folder).items()}
    course.problem = course.grade()
    course.before = before
    os.umask(old)
    return course


@pytest.mark.parametrize("student", ["fine", "colab", "mark", "several", "textfile", "odd<b>name", "links"])
def test_a_submission_whose_answers_can_be_found_gets_its_marks(graded_class, student):
    assert graded_class.scores(student) == FULL


def test_one_bad_submission_stops_no_other_and_is_reported_by_name(graded_class):
    assert graded_class.problem is not None
    said = [r.getMessage() for r in graded_class.records if "cannot be graded" in r.getMessage()]
    assert sorted(line.split(":")[0] for line in said) == [
        f"{NAME} of {student} cannot be graded" for student in ("nothing", "thief", "zipped")
    ]
    reasons = {event["student"]: event["reason"] for event in graded_class.events() if event["kind"] == "unrepairable"}
    assert set(reasons) == {"nothing", "thief", "zipped"}
    assert "zip archive" in reasons["zipped"]
    assert "holds no notebook (it holds notes.pdf)" in reasons["nothing"]
    assert all("Ask the student" in reason for reason in reasons.values())
    for student in reasons:
        assert not (graded_class.root / "autograded" / student / NAME).exists()


def test_the_release_of_this_course_is_the_one_that_the_tests_of_the_repair_use(graded_class):
    release = nbformat.read(graded_class.root / "release" / NAME / f"{NAME}.ipynb", as_version=4)
    assert [cell.source for cell in release.cells] == [cell.source for cell in release_notebook().cells]


def test_a_submission_that_is_a_link_to_the_solution_earns_nothing(graded_class):
    assert all(not score for score in graded_class.scores("thief").values())


def test_what_was_handed_in_is_not_changed(graded_class):
    now = {}
    for folder in (graded_class.root / "submitted").iterdir():
        if folder.name != "links":
            now |= {f"{folder.name}/{k}": v for k, v in state_of(folder).items()}
    assert {k: v for k, v in graded_class.before.items() if k in now} == now


def test_links_pipes_and_giants_are_not_copied_beside_the_notebook(graded_class):
    folder = graded_class.root / "autograded" / "links" / NAME
    held = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    assert held == [f"{NAME}.ipynb", "keep.txt", "sub/keep.txt"]
    (event,) = [event for event in graded_class.events() if event["kind"] == "left out" and "links" in event["folder"]]
    named = " ".join(event["files"])
    assert all(name in named for name in ("solution.txt", "zero.bin", "tree", "pipe", "timestamp.txt", "giant.bin"))


def test_repairs_stand_at_the_top_of_the_graded_notebook_and_in_the_run_log(graded_class):
    assert graded_class.notes("fine") == ""
    notes = graded_class.notes("colab")
    assert f"`Copy of {NAME} (1).ipynb` was graded as `{NAME}.ipynb`" in notes
    assert "lost nbgrader's marks" in notes
    assert "UTF-8" in graded_class.notes("mark")
    logged = {event["student"] for event in graded_class.events() if event["kind"] == "repair"}
    assert logged == {"colab", "mark", "several", "textfile", "odd<b>name"}


def test_of_several_notebooks_the_one_with_the_answers_is_graded_and_the_choice_is_told(graded_class):
    assert "`final.ipynb` was graded" in graded_class.notes("several")
    assert "holds no answers" in graded_class.notes("several")


def test_a_file_name_cannot_put_markup_into_the_notes(graded_class):
    assert "<" not in graded_class.notes("odd<b>name")


def test_locked_cells_in_the_graded_notebook_hold_the_hidden_tests_of_the_source(graded_class):
    cell = by_id(graded_class.graded("colab"), "sum-up-test")
    assert cell.source == by_id(source_notebook(), "sum-up-test").source


def test_the_newest_of_two_equally_answered_notebooks_is_taken(tmp_path):
    for name, age in (("a.ipynb", 100), ("b.ipynb", 50), ("c.ipynb", 200)):
        (tmp_path / name).write_bytes(to_bytes(answered_notebook()))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    repaired = read_submission(tmp_path, NAME, release_notebook(), {})
    assert repaired.repairs[0].startswith("The file `b.ipynb` was graded as")


def test_the_expected_name_wins_over_a_fuller_notebook_if_it_holds_an_answer(tmp_path):
    (tmp_path / f"{NAME}.ipynb").write_bytes(to_bytes(answered_notebook({"sum-up": "total = 1"})))
    (tmp_path / "old.ipynb").write_bytes(to_bytes(answered_notebook()))
    repaired = read_submission(tmp_path, NAME, release_notebook(), {})
    assert repaired.answered == ("sum-up",)
    assert repaired.repairs == []


def test_a_notebook_in_a_subfolder_is_found_but_not_one_of_jupyters_checkpoints(tmp_path):
    for folder, answers in (("inner", {"sum-up": "total = 14"}), (".ipynb_checkpoints", ANSWERS)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{NAME}.ipynb").write_bytes(to_bytes(answered_notebook(answers)))
    assert read_submission(tmp_path, NAME, release_notebook(), {}).answered == ("sum-up",)


@pytest.mark.parametrize("kind", ["pipe", "link", "folder"])
def test_a_notebook_that_is_no_file_is_refused_without_opening_it(tmp_path, kind):
    path = tmp_path / "work" / f"{NAME}.ipynb"
    path.parent.mkdir()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        (tmp_path / "other.ipynb").write_bytes(to_bytes(answered_notebook()))
        path.symlink_to(tmp_path / "other.ipynb")
    else:
        path.mkdir()
    with pytest.raises(CourseError, match="Ask the student"):
        read_submission(path.parent, NAME, release_notebook(), {})


def test_a_missing_release_is_named_with_the_command_that_makes_it(tmp_path):
    course = Course(tmp_path)
    course.hand_in("ada", {f"{NAME}.ipynb": answered_notebook()})
    (tmp_path / "release" / NAME / f"{NAME}.ipynb").unlink()
    assert course.grade() is not None
    assert any("autograder build" in record.getMessage() for record in course.records)


def test_the_notebook_of_another_episode_is_reported_with_its_name(tmp_path):
    course = Course(tmp_path)
    other = source_notebook()
    for cell in other.cells:
        cell.source = "# Another episode.\n" + cell.source
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.grade_id = "next-" + cell.metadata.nbgrader.grade_id
        cell.id = "next-" + cell.id
    course.add_source("02-more", other)
    handed_in = nbformat.read(tmp_path / "release" / "02-more" / "02-more.ipynb", as_version=4)
    course.hand_in("ada", {f"{NAME}.ipynb": handed_in})
    assert course.grade() is not None
    (event,) = [event for event in course.events() if event["kind"] == "unrepairable"]
    assert "episode '02-more'" in event["reason"]


def test_grading_through_the_command_nbgrader_autograde_repairs_as_well(tmp_path):
    course = Course(tmp_path)
    course.hand_in("ada", {"my work.ipynb": without_marks(answered_notebook())})
    (tmp_path / "nbgrader_config.py").write_text(
        "c = get_config()\n"
        f"c.CourseDirectory.root = {str(tmp_path)!r}\n"
        "c.Autograde.exporter_class = 'autograder.exporter.RepairingExporter'\n"
    )
    before = state_of(tmp_path / "submitted")
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", "autograde", NAME], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"Repaired {NAME} of ada: The file `my work.ipynb` was graded" in done.stderr
    assert course.scores("ada") == FULL
    assert state_of(tmp_path / "submitted") == before
