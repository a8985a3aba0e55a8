"""What a run records, and what it leaves alone: marks by hand, late penalties, unchanged submissions.

Notebooks run in this process here; everything else is as it is in earnest.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sqlite3
from datetime import datetime
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from quick_class import ANSWERS, QuickPool, hand_in, make_class
from small_course import SMALL_EPISODE

from autograder import formats
from autograder.build import build
from autograder.course import Episode, find_episode, load_config
from autograder.errors import CourseFault
from autograder.export import export
from autograder.feedback import write_feedback
from autograder.grade import StudentResult, prepare, read_class_marks
from autograder.jobs import Result
from autograder.recording import Recorder, SharedGradebook
from autograder.report import write_report

NAME = "01-small"


@pytest.fixture(scope="module")
def template(tmp_path_factory) -> Path:
    """A class that was graded once."""
    root = tmp_path_factory.mktemp("template")
    episode = make_class(root)
    grade(episode)
    return root


@pytest.fixture
def episode(template, tmp_path) -> Episode:
    """The same class in a folder of its own; files keep their dates, but not those of their last move."""
    root = tmp_path / "course"
    shutil.copytree(template, root)
    episode = find_episode(root, "1")
    grade(episode)  # the copies have new dates, so that this looks at each of them
    (root / "executed").unlink(missing_ok=True)
    return episode


def grade(episode: Episode, *students: str, jobs: int = 2, **options) -> dict[str, StudentResult]:
    pool = QuickPool(episode.root / "executed", jobs)
    try:
        grading = prepare(episode, students, sandbox=False, pool=pool, **options)
        return {result.student: result for result in grading}
    finally:
        pool.close()


def hand_in_anew(template: Path, root: Path, answers: dict[str, str]) -> Episode:
    """The same course with another class, which nobody has graded yet."""
    shutil.copytree(template, root, ignore=shutil.ignore_patterns("submitted", "autograded", "results", "executed"))
    episode = find_episode(root, "1")
    for student, answer in answers.items():
        hand_in(episode, student, answer)
    return episode


def runs(episode: Episode) -> list[str]:
    return sorted(QuickPool(episode.root / "executed").runs())


def gradebook(episode: Episode) -> Gradebook:
    return Gradebook(f"sqlite:///{episode.root}/gradebook.db")


def marks(result: StudentResult) -> list[tuple]:
    return [(mark.exercise, mark.state, mark.score) for mark in result.marks]


EXPECTED = {"ada": 2, "bob": 0, "cyd": 0, "dee": 0, "eve": 2, "fay": 0}


def test_a_second_run_runs_nothing_and_gives_the_same_marks_reasons_and_repairs(episode):
    first = grade(episode, force=True)
    (episode.root / "executed").unlink()
    again = grade(episode)
    assert runs(episode) == [] and not any(result.fresh for result in again.values())
    assert {student: (result.marks, result.repairs) for student, result in again.items()} == {
        student: (result.marks, result.repairs) for student, result in first.items()
    }
    assert {student: result.score for student, result in again.items()} == EXPECTED
    assert again["bob"].mark("add-up-test").message == "total should be 6; yours is 7"


def test_an_unchanged_class_is_looked_through_without_nbgrader_and_without_opening_a_notebook(episode, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an unchanged submission was taken up")

    monkeypatch.setattr("autograder.recording.Recorder.__init__", refuse)
    monkeypatch.setattr("autograder.build.build", refuse)
    monkeypatch.setattr("nbformat.reads", refuse)
    assert not any(result.fresh for result in grade(episode).values())


def test_only_the_submission_that_changed_is_run_again(episode):
    hand_in(episode, "bob", "total = 6")
    again = grade(episode)
    assert runs(episode) == ["bob"] and again["bob"].score == 2
    assert [student for student, result in again.items() if result.fresh] == ["bob"]


def test_a_submission_that_was_saved_again_as_it_was_takes_its_mark_from_what_is_kept(episode):
    path = episode.submitted("bob") / f"{NAME}.ipynb"
    os.utime(path, (1, 1))
    assert not grade(episode)["bob"].fresh and runs(episode) == []


def test_a_file_beside_the_notebook_counts_as_part_of_the_answer(episode):
    (episode.submitted("ada") / "numbers.txt").write_text("1 2 3")
    grade(episode)
    assert runs(episode) == ["ada"]
    assert (episode.autograded("ada").parent / "numbers.txt").read_text() == "1 2 3"


def test_force_runs_everything_again(episode):
    assert all(result.fresh for result in grade(episode, force=True).values())
    assert runs(episode) == sorted(ANSWERS)


@pytest.mark.parametrize("change", ["points", "test"])
def test_a_change_of_one_test_or_its_points_grades_that_episode_again_and_no_other(template, tmp_path, change):
    root = tmp_path / "course"
    first = hand_in_anew(template, root, {"ada": "total = 6"})
    other = root / "course" / "02-other" / "02-other.md"
    other.parent.mkdir()
    other.write_text(SMALL_EPISODE.replace("A small episode", "Another one"))
    second = find_episode(root, "2")
    build(second)
    hand_in(second, "ada", "total = 6")
    grade(first), grade(second)
    (root / "executed").unlink()
    old, new = {"points": ('"points": 2', '"points": 4'), "test": ("total == 6", "total == 7")}[change]
    first.text.write_text(first.text.read_text().replace(old, new))
    assert grade(first)["ada"].score == {"points": 4, "test": 0}[change]
    grade(second)
    assert len(runs(first)) == 1
    assert read_class_marks(second)["ada"][0].score == 2


def test_other_images_or_other_programs_grade_everything_again(episode, monkeypatch):
    monkeypatch.setattr("autograder.grade.images_digest", lambda root: "other images")
    grade(episode)
    assert len(runs(episode)) == len(ANSWERS)
    monkeypatch.setattr("autograder.grade.environment_digest", lambda: "other programs")
    grade(episode)
    assert len(runs(episode)) == 2 * len(ANSWERS)


def test_the_same_answers_are_run_for_each_student_unless_they_may_share(template, tmp_path):
    answers = dict.fromkeys(("ada", "bob", "cyd"), "total = 6")
    apart = hand_in_anew(template, tmp_path / "apart", answers)
    assert {result.score for result in grade(apart).values()} == {2}
    assert runs(apart) == ["ada", "bob", "cyd"]
    together = hand_in_anew(template, tmp_path / "together", answers)
    assert {result.score for result in grade(together, share_identical=True).values()} == {2}
    assert len(runs(together)) == 1
    assert all(together.autograded(student).is_file() for student in answers)


def test_marks_are_the_same_with_1_2_and_4_jobs(episode):
    found = [
        {student: marks(result) for student, result in grade(episode, force=True, jobs=jobs).items()}
        for jobs in (1, 2, 4)
    ]
    assert found[0] == found[1] == found[2] and len(found[0]) == len(ANSWERS)


def test_a_mark_by_hand_and_its_comment_outlive_every_kind_of_regrade(episode):
    with gradebook(episode) as book:
        grade_by_hand = book.find_grade("add-up-test", NAME, NAME, "bob")
        grade_by_hand.manual_score, grade_by_hand.extra_credit = 1.5, 0.25
        book.find_comment("say-why", NAME, NAME, "bob").manual_comment = "See me."
        book.find_grade("say-why", NAME, NAME, "bob").manual_score = 3
        book.find_grade("say-why", NAME, NAME, "bob").needs_manual_grade = False
        book.db.commit()
    for options in ({}, {"force": True}, {}):
        bob = grade(episode, **options)["bob"]
        assert [mark.score for mark in bob.marks] == [1.75, 3] and not bob.waiting
    hand_in(episode, "bob", "total = 6")
    assert [mark.score for mark in grade(episode)["bob"].marks] == [1.75, 3]
    with gradebook(episode) as book:
        again = book.find_grade("add-up-test", NAME, NAME, "bob")
        # As nbgrader has it: the automatic mark is there too, and a person should look again.
        assert (again.auto_score, again.needs_manual_grade) == (2, True)
        assert book.find_comment("say-why", NAME, NAME, "bob").comment == "See me."


def test_late_penalties_follow_the_due_date_without_a_notebook_being_run_again(episode):
    with (episode.root / "nbgrader_config.py").open("a") as config:
        config.write("\nc.LateSubmissionPlugin.penalty_method = 'zero'\n")
    (episode.submitted("ada") / "timestamp.txt").write_text("2030-01-02 00:00:00 UTC")
    grade(episode)
    with gradebook(episode) as book:
        book.update_or_create_assignment(NAME, duedate="2030-01-01 00:00:00 UTC")
    grade(episode)
    with gradebook(episode) as book:
        submission = book.find_submission(NAME, "ada")
        assert submission.total_seconds_late == 24 * 3600
        assert submission.notebooks[0].late_submission_penalty == submission.score == 2
        book.grant_extension(NAME, "ada", days=2)
    grade(episode)
    with gradebook(episode) as book:
        assert book.find_submission(NAME, "ada").notebooks[0].late_submission_penalty is None
    assert runs(episode) == []


def test_a_written_answer_that_was_not_given_says_so_as_nbgrader_does(episode):
    with gradebook(episode) as book:
        assert book.find_comment("say-why", NAME, NAME, "dee").comment == "No response."
        assert book.find_comment("say-why", NAME, NAME, "ada").comment is None
    assert [(mark.state, mark.score) for mark in read_class_marks(episode)["dee"]] == [("marked", 0), ("marked", 0)]


@pytest.mark.parametrize("lost", ["gradebook.db", "autograded", ".autograder/ledger"])
def test_what_is_lost_is_put_back_from_what_is_kept(episode, lost):
    path = episode.root / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = grade(episode)
    assert runs(episode) == [] and {student: result.score for student, result in again.items()} == EXPECTED
    assert nbformat.read(episode.autograded("ada"), as_version=4).cells


def test_a_graded_notebook_that_somebody_changed_is_written_again(episode):
    path = episode.autograded("ada")
    path.chmod(0o644)
    path.write_text("{}")
    grade(episode)
    assert runs(episode) == [] and nbformat.read(path, as_version=4).cells


def test_a_submission_that_cannot_be_graded_is_entered_without_a_mark_and_exported(episode):
    hand_in(episode, "gus", None).write_text('{"cells": 12')
    (episode.submitted("gus") / "timestamp.txt").write_text("2026-11-20 10:00:00 UTC")
    book = episode.root / "gradebook.db"
    for _ in range(2):
        result = grade(episode)["gus"]
        assert not result.marks and result.needs_a_person and not episode.autograded("gus").parent.exists()
        with Gradebook(f"sqlite:///{book}") as gradebook:
            assert gradebook.find_submission(episode.name, "gus").timestamp == datetime(2026, 11, 20, 10)
        assert {mark.score for mark in read_class_marks(episode)["gus"]} == {None}
        grades, exercises = export(episode.root, [episode])
        assert all("gus" in [row[at] for row in csv.reader(path.open())] for path, at in ((grades, 3), (exercises, 1)))
        book.unlink()  # and once more with another gradebook


@pytest.mark.parametrize("broken", ["the expected file", "another file"])
def test_what_an_earlier_version_earned_does_not_count_for_one_that_cannot_be_graded(episode, broken):
    config = load_config(episode.root)
    with gradebook(episode) as book:
        by_hand = book.find_grade("say-why", NAME, NAME, "ada")
        by_hand.manual_score, by_hand.needs_manual_grade = 2.5, False
        book.db.commit()
    list(write_feedback(episode, ["ada", "eve"]))
    before = {one.person.student: one for one in formats.totals(episode, config)}
    assert before["ada"].complete and before["ada"].score == 4.5
    path = episode.submitted("ada") / f"{NAME}.ipynb"
    if broken == "another file":
        path = path.rename(path.with_name("homework.ipynb"))
    path.write_text('{"cells": 12')
    assert grade(episode)["ada"].problem
    # What a person gave stays, and waits for a look.
    found = {mark.exercise: (mark.score, mark.state) for mark in read_class_marks(episode)["ada"]}
    assert found == {"add-up-test": (None, "grader failed"), "say-why": (2.5, "needs manual grading")}
    after = {one.person.student: one for one in formats.totals(episode, config)}
    assert after["ada"].score == 2.5 and not after["ada"].complete and after["eve"] == before["eve"]
    grades, _ = export(episode.root, [episode])
    assert {row["student_id"]: row["score"] for row in csv.DictReader(grades.open())}["ada"] == "2.5"
    assert not episode.feedback("ada").exists() and episode.feedback("eve").is_file()
    with gradebook(episode) as book:
        assert all(one.needs_manual_grade for one in book.find_submission(NAME, "ada").notebooks[0].grades)
    assert grade(episode)["ada"].problem and not grade(episode)["ada"].fresh
    hand_in(episode, "ada", "total = 6")
    assert marks(grade(episode)["ada"]) == [("add-up-test", "marked", 2), ("say-why", "marked", 2.5)]
    assert {one.person.student: one.complete for one in formats.totals(episode, config)}["ada"]


def test_a_submission_that_the_gradebook_could_not_be_told_of_is_tried_again(episode, monkeypatch):
    (episode.submitted("ada") / f"{NAME}.ipynb").write_text('{"cells": 12')

    def locked(*_: object) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("autograder.recording.SplitAutograde.enter", locked)
    assert grade(episode)["ada"].fresh
    monkeypatch.undo()
    assert grade(episode)["ada"].fresh
    assert {mark.score for mark in read_class_marks(episode)["ada"] if not mark.written} == {None}


def test_another_episodes_release_that_cannot_be_read_costs_nobody_anything(episode):
    other = find_episode(episode.root, "1").release.parent.with_name("02-other") / "02-other.ipynb"
    other.parent.mkdir()
    other.write_text("<<<<<<< HEAD")
    hand_in(episode, "bob", "total = 6")
    found = grade(episode)
    assert not any(result.problem for result in found.values()) and found["bob"].score == 2
    assert "02-other.ipynb cannot be read" in (episode.root / "logs" / "nbgrader.log").read_text()


@pytest.mark.parametrize("fault", ["link", "large"])
def test_a_fault_in_the_instructors_files_stops_the_run_and_is_charged_to_nobody(episode, fault):
    beside = episode.source.parent / "numbers.csv"
    if fault == "link":
        beside.symlink_to("/etc/hostname")
    else:
        with beside.open("wb") as file:
            file.truncate(101 * 2**20)
    with pytest.raises(CourseFault, match=r"source/01-small/numbers\.csv goes with every submission"):
        grade(episode)
    assert {mark.score for mark in read_class_marks(episode)["ada"]} == {2, None}
    assert episode.autograded("ada").is_file() and runs(episode) == []
    beside.unlink()
    assert {student: result.score for student, result in grade(episode).items()} == EXPECTED


def test_a_folder_that_cannot_be_graded_is_told_once_more_without_being_looked_into(episode):
    path = hand_in(episode, "gus", None)
    path.write_text('{"cells": 12')
    first = grade(episode)["gus"]
    assert "Ask the student" in first.problem and first.needs_a_person
    again = grade(episode)["gus"]
    assert again.problem == first.problem and not again.fresh and runs(episode) == []
    hand_in(episode, "gus", "total = 6")
    assert grade(episode)["gus"].score == 2


def test_a_worker_that_raises_costs_one_submission_its_run_and_no_points(episode, monkeypatch):
    work = QuickPool.work

    def breaks(self, job):
        if job.student == "bob":
            raise OSError("no space left on device")
        return work(self, job)

    monkeypatch.setattr(QuickPool, "work", breaks)
    hand_in(episode, "bob", "total = 8")
    found = grade(episode, force=True)
    assert "no space left on device" in found["bob"].problem
    assert found["ada"].score == 2 and not found["ada"].problem
    monkeypatch.undo()
    assert grade(episode)["bob"].mark("add-up-test").score == 0
    assert "bob" in runs(episode)


def test_a_failure_of_the_grader_is_recorded_as_one_and_graded_again_by_the_next_run(episode, monkeypatch):
    work = QuickPool.work

    def fails(self, job):
        result = work(self, job)
        verdicts = [{**result.verdicts[0], "state": "grader failed", "score": None, "message": "the judge died"}]
        return Result(result.key, result.notebook, tuple(verdicts))

    monkeypatch.setattr(QuickPool, "work", fails)
    hand_in(episode, "bob", "total = 8")
    bob = grade(episode, "bob")["bob"]
    assert [mark.state for mark in bob.failures] == ["grader failed"] and bob.failures[0].message == "the judge died"
    monkeypatch.undo()
    (episode.root / "executed").unlink()
    assert not grade(episode)["bob"].failures and runs(episode) == ["bob"]


def test_one_that_cannot_be_recorded_costs_the_others_of_its_batch_nothing(episode):
    config = load_config(episode.root)
    with Recorder(episode, config, sandbox=False) as recorder:
        jobs = {student: recorder.sanitise(student).job for student in ("ada", "bob", "eve")}
        pool = QuickPool(episode.root / "executed")
        batch = [(student, pool.work(job)) for student, job in jobs.items()]
        batch[1] = ("bob", Result("k", "this is no notebook"))
        written = {each.student: each.problem for each in recorder.record(batch)}
    assert written["ada"] == written["eve"] == "" and "JSONDecodeError" in written["bob"]
    assert read_class_marks(episode)["eve"][0].score == 2


def test_formgrader_may_read_and_write_between_two_batches(episode):
    with Recorder(episode, load_config(episode.root), sandbox=False) as recorder:
        job = recorder.sanitise("ada").job
        recorder.record([("ada", QuickPool(episode.root / "executed").work(job))])
        with sqlite3.connect(episode.root / "gradebook.db", timeout=1) as other:
            other.execute("UPDATE grade SET manual_score = 1")
        again = QuickPool(episode.root / "executed").work(recorder.sanitise("ada").job)
        recorder.record([("ada", again)])
    with gradebook(episode) as book:
        assert book.find_grade("add-up-test", NAME, NAME, "ada").needs_manual_grade


def test_the_hidden_tests_and_everything_else_of_a_job_are_plain_data(episode):
    with Recorder(episode, load_config(episode.root), sandbox=False) as recorder:
        job = recorder.sanitise("ada").job
    assert "isinstance(total, int)" in job.notebook
    plain = json.dumps([job.key, job.notebook, [name for name, _ in job.files], job.options.to_dict()])
    assert str(episode.root) not in plain


def test_the_run_log_says_how_long_each_phase_took(episode):
    grade(episode, force=True)
    lines = [json.loads(line) for line in (episode.root / "logs" / "autograder.jsonl").read_text().splitlines()]
    last = [line for line in lines if line["kind"] == "graded"][-1]
    assert list(last["phases"]) == ["sanitise", "run", "judge", "record"]
    assert last["phases"]["run"] == 0.5 and last["seconds"] > 0.75


def test_the_class_report_gives_the_reasons_of_an_earlier_run_too(episode, tmp_path):
    grade(episode, force=True)
    again = list(grade(episode).values())
    page = write_report(tmp_path / "report.html", NAME, again).read_text()
    assert "total should be 6; yours is 7" in page
    assert read_class_marks(episode)["bob"][0].message == "total should be 6; yours is 7"


@pytest.mark.parametrize("problem", [RuntimeError, KeyboardInterrupt])
def test_what_stops_half_way_leaves_nothing_in_the_gradebook(tmp_path, problem):
    """nbgrader commits after each of its steps; those of one batch count together or not at all."""
    url = f"sqlite:///{tmp_path / 'gradebook.db'}"
    gradebook = SharedGradebook(url, "course")
    try:
        with gradebook.transaction():
            gradebook.add_student("whole")
        with pytest.raises(problem), gradebook.transaction():
            gradebook.add_student("half")
            raise problem
        with gradebook.transaction():
            gradebook.add_student("after")
    finally:
        gradebook.end()
    with Gradebook(url) as found:
        assert {student.id for student in found.students} == {"whole", "after"}
