"""Handing in late: due dates, extensions and penalties in nbgrader's own gradebook, and in all that shows marks."""

from __future__ import annotations

import csv
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone

import pytest
from nbformat import v4
from nbgrader.api import Gradebook
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from quick_class import QuickPool, hand_in, make_class
from typer.testing import CliRunner

from autograder import cli, late
from autograder.course import load_config
from autograder.errors import CourseError
from autograder.executors import LazyPool
from autograder.export import export
from autograder.feedback import write_feedback
from autograder.late import Amount, Extension, Policy, amount, moment, read_extensions
from autograder.penalties import AssignPenalties

DAY = 86_400
DUE = "2026-11-20 12:00"
POLICY = """
c.LatePenalty.per_day = "10%"
c.LatePenalty.most = "50%"
c.LatePenalty.grace_minutes = 15
"""
#: When each student handed in; None: nobody knows.
HANDED_IN = {
    "ada": "2026-11-20 11:59:00 UTC",
    "bob": "2026-11-21 13:00:00 UTC",
    "cyd": "2026-11-20 12:14:00 UTC",
    "dee": "2027-05-01 12:00:00 UTC",
    "eve": None,
}


@pytest.mark.parametrize(
    ("policy", "score", "seconds", "points"),
    [
        (Policy(), 10, 5 * DAY, None),
        (Policy(Amount(10, True)), 10, 1, 1),
        (Policy(Amount(10, True)), 10, DAY, 1),
        (Policy(Amount(10, True)), 10, DAY + 1, 2),
        (Policy(Amount(10, True)), 10, 50 * DAY, 10),
        (Policy(Amount(2, False)), 10, 3 * DAY, 6),
        (Policy(Amount(2, False)), 1, 3 * DAY, 1),
        (Policy(Amount(2, False), most=Amount(50, True)), 10, 9 * DAY, 5),
        (Policy(Amount(2, False), most=Amount(3, False)), 10, 9 * DAY, 3),
        (Policy(Amount(100, True)), 10, 1, 10),
        (Policy(Amount(2, False), grace=900), 10, 900, None),
        (Policy(Amount(2, False), grace=900), 10, 901, 2),
    ],
)
def test_each_day_that_has_begun_costs_and_never_more_than_there_is(policy, score, seconds, points):
    assert policy.penalty(score, seconds) == points


@pytest.mark.parametrize("text", ["ten", "-1", "110%", "10 %%", "1,5", "nan"])
def test_an_amount_that_is_none_is_named_with_its_option(text):
    with pytest.raises(CourseError, match=r"c\.LatePenalty\.per_day is .*Expected a share"):
        amount(text, "per_day")


def test_a_date_alone_means_the_end_of_that_day_in_the_zone_given():
    zone = timezone(timedelta(hours=2))
    assert moment("2026-12-01", zone) == datetime(2026, 12, 1, 21, 59, 59, tzinfo=UTC)
    assert moment("2026-12-01 18:00", zone) == datetime(2026, 12, 1, 16, 0, tzinfo=UTC)
    assert moment("2026-12-01T18:00+00:00", zone) == datetime(2026, 12, 1, 18, 0, tzinfo=UTC)
    with pytest.raises(CourseError, match="'tomorrow' is no date"):
        moment("tomorrow")


@pytest.fixture(scope="module")
def episode(tmp_path_factory):
    """A class of which some are late, graded by the command."""
    root = tmp_path_factory.mktemp("class") / "course"
    episode = make_class(root, {})
    with (root / "nbgrader_config.py").open("a") as file:
        file.write(POLICY)
    for student, when in HANDED_IN.items():
        hand_in_at(episode, student, when)
    late.set_due_date(episode, load_config(root), moment(DUE))
    assert command(episode, "grade", "1", "--no-sandbox").exit_code == 0
    return episode


def hand_in_at(episode, student, when):
    path = hand_in(episode, student, "total = 6")
    if when:
        (path.parent / "timestamp.txt").write_text(when)


def command(episode, *arguments):
    """Run a command with workers that run light cells in this process."""
    pool = QuickPool(episode.root / "executed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(episode.root)
        patch.setattr(LazyPool, "get", lambda self, images, digest: pool)
        return CliRunner().invoke(cli.app, [*arguments], catch_exceptions=False)


def penalties(episode):
    with Gradebook(CourseDirectory(config=load_config(episode.root)).db_url) as book:
        return {one.student_id: one.late_submission_penalty for one in book.assignment_submissions(episode.name)}


def grade_by_hand(episode, student, points):
    with Gradebook(CourseDirectory(config=load_config(episode.root)).db_url) as book:
        book.find_grade("say-why", episode.name, episode.name, student).manual_score = points
        book.db.commit()


def runs(episode):
    return (episode.root / "executed").read_text().count("\n")


def test_who_is_late_loses_points_and_who_is_not_or_within_grace_or_unknown_none(episode):
    assert penalties(episode) == {"ada": 0, "bob": pytest.approx(0.4), "cyd": 0, "dee": 1, "eve": 0}
    page = (episode.root / "export" / episode.name / "report.html").read_text()
    assert "(late: 0.4 off)" in page and "(late: 1 off)" in page
    said = command(episode, "grade", "1", "--no-sandbox").output
    assert "bob: 1.6 of 5 points, 0.4 taken off for handing in late" in said


def test_due_dates_and_who_is_late_are_shown(episode):
    said = command(episode, "due", "1", "--timezone", "Europe/Berlin").output
    assert "01-small: due 2026-11-20 13:00 CET" in said
    assert "bob: 1 day, 1:00:00 late, 0.4 points taken off" in said
    assert "not known when they handed in, so not late: eve" in said


def test_nbgrader_and_formgrader_see_the_same(episode):
    config = load_config(episode.root)
    with Gradebook(CourseDirectory(config=config).db_url) as book:
        for notebook in (one for each in book.assignment_submissions(episode.name) for one in each.notebooks):
            notebook.late_submission_penalty = None
        book.db.commit()
        step = AssignPenalties(config=config)
        for student in HANDED_IN:
            about = {"notebook": episode.name, "assignment": episode.name, "student": student}
            step.preprocess(v4.new_notebook(), {"nbgrader": {**about, "db_url": CourseDirectory(config=config).db_url}})
    assert penalties(episode) == {"ada": 0, "bob": pytest.approx(0.4), "cyd": 0, "dee": 1, "eve": 0}
    shown = NbGraderAPI(CourseDirectory(config=config), config=config).get_assignment(episode.name)
    assert shown["duedate"].startswith("2026-11-20T12:00:00")
    list(write_feedback(episode, ["bob", "ada"]))
    assert "Late submission penalty (Score: -0.4)" in episode.feedback("bob").read_text()
    assert "Late submission penalty" not in episode.feedback("ada").read_text()


def test_a_mark_by_a_person_changes_a_share_and_survives_with_it(episode):
    grade_by_hand(episode, "bob", 3.0)
    before = runs(episode)
    grades, _ = export(episode.root, [episode], episode.root / "marks")
    rows = {row["student_id"]: row for row in csv.DictReader(grades.open(newline=""))}
    assert (rows["bob"]["raw_score"], rows["bob"]["late_submission_penalty"], rows["bob"]["score"]) == (
        "5.0",
        "1.0",
        "4.0",
    )
    assert command(episode, "grade", "1", "--no-sandbox").exit_code == 0 and runs(episode) == before
    said = command(episode, "grade", "1", "--no-sandbox", "--force", "--students", "bob").output
    assert "bob: 4 of 5 points, 1 taken off for handing in late" in said and runs(episode) == before + 1
    assert penalties(episode)["bob"] == 1
    grade_by_hand(episode, "bob", None)
    late.settle(episode, load_config(episode.root))


def test_an_extension_after_handing_in_gives_the_points_back_and_runs_nothing_again(episode):
    before = runs(episode)
    assert "bob, 01-small: 1 day(s) more" in command(episode, "extend", "bob", "1", "--days", "1").output
    assert penalties(episode)["bob"] == pytest.approx(0.2)
    said = command(episode, "extend", "bob", "1", "2026-11-21", "--timezone", "Europe/Berlin").output
    assert "until 2026-11-21 23:59 CET" in said and penalties(episode)["bob"] == 0
    with Gradebook(CourseDirectory(config=load_config(episode.root)).db_url) as book:
        assert book.find_submission(episode.name, "bob").total_seconds_late == 0
    assert "bob: 2 of 5 points, 3 more" in command(episode, "grade", "1", "--no-sandbox").output
    assert "bob: more time, until 2026-11-21 23:59" in command(episode, "due", "--timezone", "Europe/Berlin").output
    assert command(episode, "extend", "bob", "1", "--remove").exit_code == 0
    assert penalties(episode)["bob"] == pytest.approx(0.4)
    command(episode, "grade", "1", "--no-sandbox")
    assert runs(episode) == before


def test_an_extension_may_be_given_before_anything_is_handed_in(episode):
    with Gradebook(CourseDirectory(config=load_config(episode.root)).db_url) as book:
        book.update_or_create_student("gus")
    assert command(episode, "extend", "gus", "small", "--days", "10").exit_code == 0
    assert "gus" not in penalties(episode)
    hand_in_at(episode, "gus", "2026-11-29 12:00:00 UTC")
    assert "gus: 2 of 5 points, 3 more" in command(episode, "grade", "1", "--no-sandbox").output
    assert penalties(episode)["gus"] == 0
    lines = [json.loads(line) for line in (episode.root / "logs" / "autograder.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "extension" and line["student"] == "gus" for line in lines)


def test_a_due_date_that_moves_or_goes_away_moves_what_hangs_on_it(episode):
    config = load_config(episode.root)
    late.set_due_date(episode, config, moment("2026-11-19 12:00"))
    assert penalties(episode)["ada"] == pytest.approx(0.2)
    late.set_due_date(episode, config, None)
    assert set(penalties(episode).values()) == {0}
    late.set_due_date(episode, config, moment(DUE))
    assert penalties(episode)["bob"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bob", "1"], "Say one of these"),
        (["bob", "1", "--days", "1", "--remove"], "Say one of these"),
        (["nobody", "1", "--days", "1"], "called 'nobody'"),
        (["bob", "1", "2026-11-01"], "is not after the due date"),
    ],
)
def test_an_extension_that_makes_no_sense_is_refused(episode, arguments, says):
    with pytest.raises(CourseError, match=says):
        command(episode, "extend", *arguments)


def test_the_file_of_extensions_may_be_written_by_hand_and_its_faults_are_named(episode, tmp_path):
    (tmp_path / "course").symlink_to(episode.root / "course")
    path = tmp_path / "extensions.csv"
    path.write_text("student,episode,until,days\nada,1,2026-12-01,\nbob,small,,2.5\n")
    ada, bob = read_extensions(tmp_path)
    assert ada == Extension("ada", "01-small", datetime(2026, 12, 1, 23, 59, 59, tzinfo=UTC))
    assert (bob.episode, bob.days) == ("01-small", 2.5)
    for row, says in (
        ("ada,1,2026-12-01,3", "one of the two"),
        ("ada,1,,", "one of the two"),
        ("ada,1,,soon", "expected a number in `days`"),
        ("ada,1,,-3", "from 0 on"),
        ("ada,9,,3", "There is no episode '9'"),
    ):
        path.write_text(f"student,episode,until,days\n{row}\n")
        with pytest.raises(CourseError, match=says):
            read_extensions(tmp_path)
    path.write_text("who,what\nada,1\n")
    with pytest.raises(CourseError, match="expected the columns student, episode"):
        read_extensions(tmp_path)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8-sig", "utf-16"])
def test_the_file_of_extensions_may_have_been_saved_by_a_spreadsheet(episode, tmp_path, encoding):
    (tmp_path / "course").symlink_to(episode.root / "course")
    path = tmp_path / "extensions.csv"
    path.write_text("student;episode;until;days\r\njürgen;1;2026-12-01;\r\n", encoding=encoding)
    assert [(one.student, one.episode) for one in read_extensions(tmp_path)] == [("jürgen", "01-small")]
    path.write_text("student;episode;until;days\r\njürgen;1;01.12.2026;\r\n", encoding=encoding)
    with pytest.raises(CourseError, match=r"extensions\.csv, the line `jürgen,1,01\.12\.2026,`: .*Expected year"):
        read_extensions(tmp_path)


def test_two_who_write_extensions_at_once_leave_one_of_both_whole(tmp_path):
    names = ("ada", "bob" * 10_000)
    begin = threading.Barrier(len(names))

    def write(name):
        for _ in range(100):
            begin.wait(20)
            late.write_extensions(tmp_path, [Extension(name, "01-small", days=2)])

    with ThreadPoolExecutor(len(names)) as both:
        list(both.map(write, names))
    assert len((tmp_path / "extensions.csv").read_text().splitlines()) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["extensions.csv"]


def test_without_a_policy_nobody_loses_anything_and_nbgraders_own_option_still_holds(episode):
    config = load_config(episode.root)
    config.LatePenalty.per_day = ""
    late.settle(episode, config)
    assert set(penalties(episode).values()) == {0}
    config.LateSubmissionPlugin.penalty_method = "zero"
    late.settle(episode, config)
    assert penalties(episode)["bob"] == 2
    late.settle(episode, load_config(episode.root))
