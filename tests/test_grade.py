"""Grading, feedback and export over a small course: real kernels, nbgrader's own gradebook."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from small_course import SMALL_EPISODE

from autograder import cli
from autograder.build import build
from autograder.course import Episode, find_episode
from autograder.errors import CourseError
from autograder.executors import LazyPool
from autograder.export import export
from autograder.feedback import write_feedback
from autograder.grade import StudentResult, prepare, read_class_marks
from autograder.report import write_report

pytestmark = pytest.mark.usefixtures("needs_bubblewrap")


def hand_in(
    episode: Episode, student: str, *, answer: str | None = "total = 1 + 2 + 3", why: str | None = None
) -> Path:
    """Put a student's copy of the release, with these answers in it, into `submitted/`."""
    notebook = nbformat.read(episode.release, as_version=4)
    for cell in notebook.cells:
        if cell.id == "add-up" and answer is not None:
            cell.source = answer
        if cell.id == "say-why" and why is not None:
            cell.source = why
    path = episode.submitted(student) / f"{episode.name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)
    return path


def grade_all(episode: Episode, **options) -> dict[str, StudentResult]:
    return {result.student: result for result in prepare(episode, **options)}


@pytest.fixture(scope="module")
def graded(tmp_path_factory, repository):
    """A small course with a class that was graded once: the episode, the results, and what was handed in before."""
    root = tmp_path_factory.mktemp("class")
    shutil.copy(repository / "nbgrader_config.py", root)
    text = root / "course" / "01-small" / "01-small.md"
    text.parent.mkdir(parents=True)
    text.write_text(SMALL_EPISODE)
    episode = find_episode(root, "1")
    build(episode)
    hand_in(episode, "ada", why="Because addition is commutative.")
    hand_in(episode, "bob", answer=None)
    hand_in(episode, "cyd", answer="total = 7")
    (episode.submitted("dee")).mkdir(parents=True)
    (episode.submitted("dee") / "notes.docx").write_text("no notebook")
    hand_in(episode, "eve").write_text('{"cells": 12')
    hand_in(episode, "fay", answer="raise RuntimeError('stuck')")
    hand_in(episode, "O'Neil [1]", why="Sums do not care.")
    before = {path: path.read_bytes() for path in (root / "submitted").rglob("*") if path.is_file()}
    return episode, grade_all(episode), before


def test_a_right_answer_gets_its_points_and_a_written_one_waits_for_a_person(graded):
    ada = graded[1]["ada"]
    assert (ada.score, ada.max_score, ada.waiting, ada.problem) == (2, 5, 3, "")
    assert ada.mark("say-why").state == "needs manual grading"


def test_an_untouched_notebook_scores_nothing_and_leaves_nothing_to_grade(graded):
    bob = graded[1]["bob"]
    assert (bob.score, bob.waiting) == (0, 0)
    assert [mark.state for mark in bob.marks] == ["marked", "marked"]


def test_a_lost_point_comes_with_the_judges_reason(graded):
    assert "total should be 6; yours is 7" in graded[1]["cyd"].mark("add-up-test").message
    assert "not attempted yet" in graded[1]["bob"].mark("add-up-test").message


@pytest.mark.parametrize("student", ["cyd", "fay"])
def test_a_wrong_or_raising_answer_scores_nothing_and_is_still_marked(graded, student):
    result = graded[1][student]
    assert result.mark("add-up-test").score == 0
    assert not result.needs_a_person


def test_a_folder_without_a_notebook_is_a_row_that_says_what_to_ask_for(graded):
    dee = graded[1]["dee"]
    assert dee.needs_a_person and not dee.marks
    assert "notes.docx" in dee.problem and "01-small.ipynb" in dee.problem


def test_an_unreadable_notebook_is_a_row_with_a_reason_and_the_others_are_graded(graded):
    eve = graded[1]["eve"]
    assert eve.needs_a_person and "Ask the student" in eve.problem
    assert [result.problem for student, result in graded[1].items() if student not in ("dee", "eve")] == [""] * 5


def test_a_students_name_may_hold_any_character(graded):
    assert graded[1]["O'Neil [1]"].score == 2


@pytest.mark.slow
def test_marks_are_the_same_with_1_2_and_4_jobs(graded, tmp_path):
    episode = graded[0]
    students = ["ada", "bob", "cyd", "fay"]
    for jobs in (1, 4):  # the class was graded with as many as this machine takes, which is two or so
        with contextlib.closing(LazyPool(None, jobs, episode.root)) as pool:
            again = grade_all(episode, students=students, force=True, pool=pool)
        for student in students:
            assert again[student].fresh and again[student].marks == graded[1][student].marks


def test_grading_changes_nothing_that_was_handed_in(graded):
    episode, _, before = graded
    assert {p: p.read_bytes() for p in (episode.root / "submitted").rglob("*") if p.is_file()} == before


def test_a_second_run_grades_only_what_is_new(graded):
    episode = graded[0]
    again = grade_all(episode, students=["ada", "bob"])
    assert not again["ada"].fresh and not again["bob"].fresh
    assert again["ada"].marks[0].score == 2
    shutil.rmtree(episode.submitted("cyd"))
    hand_in(episode, "cyd", answer="total = 7  # still")
    assert grade_all(episode, students=["cyd"])["cyd"].fresh


def test_every_result_stands_in_the_run_log(graded):
    lines = [json.loads(line) for line in (graded[0].root / "logs" / "autograder.jsonl").read_text().splitlines()]
    first = {line["student"]: line for line in reversed(lines) if line["kind"] == "graded"}
    assert first["ada"]["score"] == 2 and first["ada"]["sandbox"] is True
    assert "Ask the student" in first["eve"]["problem"]


def test_a_mark_that_a_person_gave_survives_a_new_run(graded):
    episode = graded[0]
    with Gradebook(f"sqlite:///{episode.root}/gradebook.db") as gradebook:
        grade = gradebook.find_grade("say-why", "01-small", "01-small", "O'Neil [1]")
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        gradebook.db.commit()
    again = grade_all(episode, students=["O'Neil [1]"], force=True)["O'Neil [1]"]
    assert again.mark("say-why").score == 2.5
    assert again.score == 4.5


def test_feedback_shows_each_student_their_points_and_no_hidden_test(graded):
    episode = graded[0]
    pages = {page.student: page for page in write_feedback(episode, ["ada", "cyd"])}
    assert set(pages) == {"ada", "cyd"} and not any(page.problem for page in pages.values())
    cyd = pages["cyd"].path.read_text()
    assert "total should be 6; yours is 7" in cyd
    assert "isinstance(total, int)" not in cyd and "HIDDEN TESTS" not in cyd


def test_feedback_in_several_processes_is_the_same_as_in_one(graded):
    episode = graded[0]
    alone = {page.student: page.path.read_text() for page in write_feedback(episode, ["ada", "cyd"], jobs=1)}
    together = {page.student: page.path.read_text() for page in write_feedback(episode, ["ada", "cyd"], jobs=2)}
    assert together == alone and set(alone) == {"ada", "cyd"}


def test_feedback_for_a_student_who_was_not_graded_is_refused(graded):
    with pytest.raises(CourseError, match="'zoe' was not graded"):
        list(write_feedback(graded[0], ["zoe"]))


def test_the_exported_files_hold_every_student_and_every_exercise(graded):
    episode = graded[0]
    grades, exercises = export(episode.root, [episode])
    rows = {row["student_id"]: row for row in csv.DictReader(grades.open())}
    assert float(rows["ada"]["score"]) == 2 and float(rows["ada"]["max_score"]) == 5
    ada = [row for row in csv.DictReader(exercises.open()) if row["student"] == "ada"]
    assert [(row["exercise"], row["kind"], row["state"], row["score"]) for row in ada] == [
        ("add-up-test", "machine", "marked", "2"),
        ("say-why", "written", "needs manual grading", ""),
    ]


def test_the_class_report_names_who_needs_a_person_and_escapes_what_students_wrote(graded, tmp_path):
    results = [*graded[1].values(), StudentResult("<b>x</b>", "01-small", problem="<script>alert(1)</script>")]
    page = write_report(tmp_path / "report.html", "01-small", results, sandbox=False).read_text()
    assert "Graded without the sandbox" in page
    assert "<strong>eve</strong>: not graded." in page
    assert "<script>" not in page and "<b>x</b>" not in page


def test_nobody_having_handed_in_is_said_with_the_place_where_notebooks_belong(course_factory):
    with pytest.raises(CourseError, match="submitted/STUDENT/01-small/01-small"):
        prepare(find_episode(course_factory(), "1"))


def test_a_student_who_did_not_hand_in_is_named_with_the_nearest_who_did(graded):
    with pytest.raises(CourseError, match="Did you mean 'ada'"):
        prepare(graded[0], ["adda"])


def test_removing_an_exercise_after_grading_is_refused_in_plain_words(graded, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(graded[0].root, root)
    episode = find_episode(root, "1")
    episode.text.write_text(SMALL_EPISODE[: SMALL_EPISODE.index("## Say why")])
    with pytest.raises(CourseError, match="Cannot add or remove cells"):
        prepare(episode)


@pytest.mark.slow
def test_nbgraders_own_commands_grade_the_same_class_to_the_same_marks(graded, tmp_path):
    ours = graded[0]
    root = tmp_path / "plain"
    shutil.copytree(ours.root, root, ignore=shutil.ignore_patterns("gradebook.db", "autograded", "feedback", "logs"))
    for student in ("dee", "eve", "fay"):
        shutil.rmtree(root / "submitted" / student)

    def nbgrader(*arguments: str) -> None:
        done = subprocess.run(["nbgrader", *arguments], cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    nbgrader("generate_assignment", "01-small", "--force")
    nbgrader("autograde", "01-small")
    nbgrader("generate_feedback", "01-small")
    nbgrader("export", "--to", "grades.csv")
    episode = find_episode(root, "1")
    for student in ("ada", "bob", "cyd"):
        theirs = [(mark.exercise, mark.state, mark.score) for mark in read_class_marks(episode)[student]]
        assert theirs == [(mark.exercise, mark.state, mark.score) for mark in graded[1][student].marks]
        assert episode.feedback(student).is_file()
    assert len((root / "grades.csv").read_text().splitlines()) == 5


@pytest.mark.slow
def test_formgrader_opens_on_the_course_and_lists_the_assignment_and_its_students(graded, tmp_path):
    root = graded[0].root
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", "--allow-root", f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    log = (tmp_path / "server.log").open("w")
    server = subprocess.Popen(
        ["jupyter", "server", *options, "--IdentityProvider.token=small"], cwd=root, stdout=log, stderr=log
    )

    def get(path: str) -> str:
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": "token small"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read().decode()

    try:
        for _ in range(120):
            assert server.poll() is None, (tmp_path / "server.log").read_text()
            try:
                get("/api")
                break
            except OSError:
                time.sleep(0.5)
        assert "formgrader" in get("/formgrader/manage_assignments")
        assignments = {one["name"]: one for one in json.loads(get("/formgrader/api/assignments"))}
        assert assignments["01-small"]["max_score"] == 5
        submissions = json.loads(get("/formgrader/api/submissions/01-small"))
        assert {"ada", "bob", "cyd"} <= {one["student"] for one in submissions if one["autograded"]}
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def test_without_the_sandbox_the_run_the_log_and_the_report_all_say_so(course_factory, capsys, monkeypatch):
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    hand_in(episode, "ada")
    monkeypatch.chdir(root)
    monkeypatch.setattr("sys.argv", ["autograder", "grade", "1", "--no-sandbox"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert not end.value.code
    said = capsys.readouterr().out
    assert "Warning: no sandbox" in said and "ada: 2 of 5 points" in said
    assert "1 of 1 submission(s) graded" in said and "Time by phase" in said
    assert "Graded without the sandbox" in (root / "export" / "01-small" / "report.html").read_text()
    last = json.loads((root / "logs" / "autograder.jsonl").read_text().splitlines()[-1])
    assert last["sandbox"] is False


def test_where_no_sandbox_can_be_had_grading_refuses_unless_told_otherwise(course_factory, monkeypatch):
    def refuse() -> None:
        raise CourseError("no sandbox here: install bubblewrap")

    monkeypatch.setattr("autograder.sandbox.require_sandbox", refuse)
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    hand_in(episode, "ada")
    with pytest.raises(CourseError, match="install bubblewrap"):
        prepare(episode)
    assert not (root / "autograded").exists()
    assert not prepare(episode, sandbox=False).sandbox
    with (root / "nbgrader_config.py").open("a") as config:
        config.write("\nc.JudgedExecute.sandbox = False\n")
    assert not prepare(episode).sandbox


def test_a_model_left_by_an_instructors_or_a_students_own_run_does_not_pass_for_the_notebooks(course_factory):
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    notebook = hand_in(episode, "ada")
    for folder in (episode.source.parent, notebook.parent):
        (folder / "models").mkdir()
        (folder / "models" / "model_intro.keras").write_text("trained elsewhere")
        (folder / "notes.txt").write_text("these travel")
    assert grade_all(episode)["ada"].score == 2
    graded = episode.autograded("ada").parent
    assert (graded / "notes.txt").is_file() and not (graded / "models").exists()
    assert not (episode.release.parent / "models").exists()
