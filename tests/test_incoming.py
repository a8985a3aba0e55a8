"""Collecting downloads of Moodle, Canvas, Blackboard and others: whose is what, nothing lost, nothing let through."""

from __future__ import annotations

import io
import json
import os
import zipfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from typer.testing import CliRunner

from autograder import cli, incoming
from autograder.build import build
from autograder.course import episodes, load_config
from autograder.errors import CourseError
from autograder.incoming import collect
from autograder.roster import Roster, read_roster

ROSTER = """\
student_id,First name,Surname,Email address,Identifier
ada,Ada,Lovelace,ada@example.org,Participant 501
grace,Grace Brewster,Hopper,grace@example.org,Participant 502
emil,Émile,Picard,emile@example.org,Participant 503
"""


@pytest.fixture
def course(course_factory) -> Path:
    root = course_factory()
    for episode in episodes(root):
        build(episode)
    return root


@pytest.fixture
def roster(tmp_path) -> Roster:
    path = tmp_path / "roster.csv"
    path.write_text(ROSTER, encoding="utf-8")
    return Roster(read_roster(path, UTC))


@pytest.fixture
def answer(course):
    """A student's notebook, with some text of their own in it."""

    def make(text: str = "6") -> bytes:
        notebook = json.loads((course / "release/01-small/01-small.ipynb").read_text())
        cell = next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == "add-up")
        cell["source"] = f"total = {text}"
        return json.dumps(notebook).encode()

    return make


def zipped(path: Path, members: dict[str, bytes], time=(2026, 11, 20, 12, 0, 0)) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, time), content)
    return path


def take(course: Path, source: Path, **options):
    return collect(course, source, episodes(course), **options)


def handed_in(course: Path, student: str, name: str = "01-small.ipynb") -> bytes:
    return (course / "submitted" / student / "01-small" / name).read_bytes()


def states(results) -> dict[str, str]:
    return {one.student or one.origin: one.state for one in results}


@pytest.mark.parametrize(
    ("ada", "grace"),
    [
        (
            "Ada Lovelace_501_assignsubmission_file_/01-small.ipynb",
            "Grace Brewster Hopper_502_assignsubmission_file/my work.ipynb",
        ),
        (
            "Ada Lovelace_501_assignsubmission_file_01-small.ipynb",
            "Group 7-Grace Brewster Hopper_502_assignsubmission_file_x.ipynb",
        ),
    ],
    ids=["folders", "flat, with groups"],
)
def test_moodle_downloads_go_to_the_students_of_the_roster(course, roster, answer, tmp_path, ada, grace):
    source = zipped(tmp_path / "moodle.zip", {ada: answer("1"), grace: answer("2")})
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new", "grace": "new"} and refused == []
    assert handed_in(course, "ada") == answer("1")
    assert handed_in(course, "grace") == answer("2")


def test_moodle_names_alone_find_the_student_where_the_roster_has_no_numbers(course, answer, tmp_path):
    path = tmp_path / "names.csv"
    path.write_text("username;Full name\nemil;Émile Picard\n", encoding="cp1252")
    name = "Group 7-Émile Picard_77_assignsubmission_file_/01-small.ipynb"
    source = zipped(tmp_path / "m.zip", {name: answer()})
    results, _ = take(course, source, roster=Roster(read_roster(path, UTC)))
    assert states(results) == {"emil": "new"}


def test_a_moodle_worksheet_says_when_each_was_handed_in(course, answer, tmp_path):
    path = tmp_path / "worksheet.csv"
    path.write_text(
        'Identifier,Full name,ID number,Email address,Status,"Last modified (submission)"\n'
        'Participant 501,Ada Lovelace,ada,ada@example.org,Submitted,"Friday, 20 November 2026, 11:30 PM"\n',
        encoding="utf-8-sig",
    )
    roster = Roster(read_roster(path, ZoneInfo("Europe/Berlin")))
    source = zipped(tmp_path / "m.zip", {"Ada Lovelace_501_assignsubmission_file_/01-small.ipynb": answer()})
    results, _ = take(course, source, roster=roster)
    assert results[0].submitted.astimezone(UTC) == datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert handed_in(course, "ada", "timestamp.txt") == b"2026-11-20 22:30:00 UTC\n"


def test_canvas_downloads_go_to_the_students_and_the_late_ones_stay_late(course, answer, tmp_path):
    path = tmp_path / "canvas.csv"
    path.write_text(
        "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
        '"Lovelace, Ada",9001,s1,ada,A\n"Hopper, Grace",9002,s2,grace,A\n"Student, Test",9003,,,A\n',
        encoding="utf-8",
    )
    source = zipped(
        tmp_path / "submissions.zip",
        {
            "lovelaceada_9001_333_01-small.ipynb": answer("1"),
            "hoppergrace_LATE_9002_334_01-small-1.ipynb": answer("2"),
        },
    )
    results, _ = take(course, source, roster=Roster(read_roster(path, UTC)))
    assert states(results) == {"ada": "new", "grace": "new"}
    assert [one.late for one in results if one.student == "grace"] == [True]
    assert handed_in(course, "grace", "timestamp.txt") == b"2026-11-20 12:00:00 UTC\n"
    assert not (course / "submitted/ada/01-small/timestamp.txt").exists(), "a download's time is nobody's hand-in"


def test_blackboard_attempts_are_told_apart_by_their_times_and_the_newest_counts(course, roster, answer, tmp_path):
    source = zipped(
        tmp_path / "b.zip",
        {
            "Lab_ada_attempt_2026-11-20-09-00-00_01-small.ipynb": answer("new"),
            "Lab_ada_attempt_2026-11-19-09-00-00_01-small.ipynb": answer("old"),
            "Lab_ada_attempt_2026-11-20-09-00-00.txt": b"Name: Ada Lovelace (ada)",
        },
    )
    results, _ = take(course, source, roster=roster)
    assert [(one.student, one.state) for one in results] == [("ada", "new"), ("ada", "newer")]
    assert handed_in(course, "ada") == answer("new")
    assert handed_in(course, "ada", "timestamp.txt") == b"2026-11-20 09:00:00 UTC\n"
    assert (course / "submitted/.attempts/ada/01-small/1/01-small.ipynb").read_bytes() == answer("old")


@pytest.mark.parametrize(
    "names",
    [
        {"ada/01-small/01-small.ipynb": "ada", "grace/01-small/01-small.ipynb": "grace"},
        {"submitted/ada/01-small/01-small.ipynb": "ada", "submitted/grace/01-small/x.ipynb": "grace"},
        {"ada.ipynb": "ada", "grace.ipynb": "grace"},
        {"01-small_ada.ipynb": "ada", "grace-01-small.ipynb": "grace"},
        {"week 1/ada/work.ipynb": "ada", "week 1/grace/work.ipynb": "grace"},
        {"Ada Lovelace/work.ipynb": "ada", "hopper, grace brewster/work.ipynb": "grace"},
        {"ada.zip": "ada", "grace.ipynb": "grace"},
    ],
    ids=["nbgrader", "whole folder", "flat", "episode and id", "one folder around", "names", "zip in the zip"],
)
@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
def test_plain_archives_and_folders_are_understood(course, roster, answer, tmp_path, names, packed):
    contents = {name: answer(student) for name, student in names.items()}
    for name in contents:
        if name.endswith(".zip"):
            inner = io.BytesIO()
            with zipfile.ZipFile(inner, "w") as archive:
                archive.writestr("ada/01-small.ipynb", contents[name])
            contents[name] = inner.getvalue()
    if packed:
        source = zipped(tmp_path / "class.zip", contents)
    else:
        source = tmp_path / "class"
        for name, content in contents.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new", "grace": "new"} and refused == []
    assert handed_in(course, "ada") == answer("ada")
    assert handed_in(course, "grace") == answer("grace")


@pytest.mark.parametrize("packing", ["zip", "zip in the zip", "folder"])
def test_files_beside_the_notebook_come_along_under_their_names(course, roster, answer, tmp_path, packing):
    contents = {"ada/w.ipynb": answer(), "ada/models/m.keras": b"model", "ada/.DS_Store": b"", "ada/__MACOSX/x": b""}
    source = zipped(tmp_path / "class.zip", contents)
    if packing == "zip in the zip":
        source = zipped(tmp_path / "outer.zip", {"ada.zip": source.read_bytes()})
    elif packing == "folder":
        with zipfile.ZipFile(source) as archive:
            archive.extractall(tmp_path / "class")
        source = tmp_path / "class"
    take(course, source, roster=roster)
    assert handed_in(course, "ada", "models/m.keras") == b"model"
    folder = course / "submitted/ada/01-small"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) == [
        "01-small.ipynb",
        "models/m.keras",
    ]


def test_names_without_the_utf8_mark_are_read_as_utf8_or_windows_text(course, roster, answer, tmp_path):
    for number, encoding in enumerate(("utf-8", "cp1252")):
        name = "Émile Picard_503_assignsubmission_file_/01-small.ipynb"
        raw = name.encode(encoding)
        place = "x" * len(raw)  # the archive is made with a name that needs no mark, and then gets the real one
        path = zipped(tmp_path / f"{number}.zip", {place: answer(str(number))})
        path.write_bytes(path.read_bytes().replace(place.encode(), raw))
        results, _ = take(course, path, roster=roster)
        assert results[0].origin.startswith("Émile Picard_503")
        assert results[0].student == "emil"


def test_collecting_the_same_again_changes_nothing_and_an_older_attempt_never_replaces_a_newer(
    course, roster, answer, tmp_path
):
    def blackboard(day: int, text: str) -> Path:
        return zipped(tmp_path / f"{day}.zip", {f"L_ada_attempt_2026-11-{day}-09-00-00_01-small.ipynb": answer(text)})

    newest, older = blackboard(20, "new"), blackboard(18, "old")
    assert states(take(course, newest, roster=roster)[0]) == {"ada": "new"}
    assert states(take(course, newest, roster=roster)[0]) == {"ada": "unchanged"}
    assert states(take(course, older, roster=roster)[0]) == {"ada": "older attempt"}
    assert states(take(course, older, roster=roster)[0]) == {"ada": "unchanged"}
    assert handed_in(course, "ada") == answer("new")
    assert (course / "submitted/.attempts/ada/01-small/1/01-small.ipynb").read_bytes() == answer("old")


def test_what_cannot_be_matched_is_kept_and_listed_with_the_reason(course, roster, answer, tmp_path):
    source = zipped(tmp_path / "c.zip", {"stranger.ipynb": answer(), "ada.ipynb": b'{"cells": []}'})
    results, _ = take(course, source, roster=roster)
    reasons = {one.origin: one.note for one in results}
    assert "nobody in the roster goes by 'stranger'" in reasons["stranger.ipynb"]
    assert "none of this course's" in reasons["ada.ipynb"]
    kept = course / "submitted" / incoming.UNMATCHED
    assert (kept / "01-small/stranger.ipynb/stranger.ipynb").read_bytes() == answer()
    assert (kept / "unknown-episode/ada.ipynb/ada.ipynb").read_bytes() == b'{"cells": []}'
    before = sorted(kept.rglob("*"))
    take(course, source, roster=roster)
    assert sorted(kept.rglob("*")) == before, "the same again is kept once"


def test_two_students_of_one_name_are_not_guessed_between(course, answer, tmp_path):
    path = tmp_path / "twins.csv"
    path.write_text("student_id,name\nada1,Ada Lovelace\nada2,Ada Lovelace\n")
    source = zipped(tmp_path / "c.zip", {"Ada Lovelace/01-small.ipynb": answer()})
    results, _ = take(course, source, roster=Roster(read_roster(path, UTC)))
    assert [(one.state, one.note) for one in results] == [("unmatched", "'Ada Lovelace' may be any of ada1, ada2")]


def test_without_a_roster_ids_come_from_the_names_and_two_of_one_name_stay_apart(course, answer, tmp_path):
    source = zipped(
        tmp_path / "c.zip",
        {
            "Ada Lovelace_501_assignsubmission_file_/01-small.ipynb": answer("1"),
            "Ada Lovelace_777_assignsubmission_file_/01-small.ipynb": answer("2"),
        },
    )
    results, _ = take(course, source)
    assert states(results) == {"ada-lovelace-501": "new", "ada-lovelace-777": "new"}


def test_a_pattern_of_nbgraders_collector_in_the_configuration_is_used(course, roster, answer, tmp_path):
    config = load_config(course)
    config.FileNameCollectorPlugin.named_regexp = r"abgabe\+(?P<student_id>\w+)\+(?P<file_id>.+)"
    source = zipped(tmp_path / "c.zip", {"abgabe+ada+01-small.ipynb": answer()})
    results, _ = take(course, source, roster=roster, config=config)
    assert states(results) == {"ada": "new"}


def test_paths_that_lead_out_links_and_bombs_are_refused_and_the_rest_is_taken(course, roster, answer, tmp_path):
    source = tmp_path / "evil.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../escaped.ipynb", b"x")
        archive.writestr("/etc/escaped.ipynb", b"x")
        archive.writestr("C:\\escaped.ipynb", b"x")
        archive.writestr("grace/bomb.bin", bytes(60 << 20))
        link = zipfile.ZipInfo("grace/link.ipynb")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "../../../source/01-small/01-small.ipynb")
        archive.writestr("ada/01-small.ipynb", answer())
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new"}
    reasons = {each.name: each.reason for each in refused}
    assert len(reasons) == 5
    assert "zip bomb" in reasons["grace/bomb.bin"]
    assert reasons["grace/link.ipynb"] == "not a regular file"
    assert sum(reason == "its path leads out of the archive" for reason in reasons.values()) == 3
    assert not list(tmp_path.rglob("escaped*"))
    assert [path.name for path in (course / "submitted").glob(".incoming*")] == []


def test_a_member_that_lies_about_its_size_is_refused(course, roster, answer, tmp_path):
    source = zipped(tmp_path / "liar.zip", {"ada/01-small.ipynb": answer(), "ada/notes.txt": bytes(500_000)})
    with zipfile.ZipFile(source) as archive:
        size = archive.getinfo("ada/notes.txt").file_size
    data = source.read_bytes().replace(size.to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    source.write_bytes(data)
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new"}
    assert [each.name for each in refused] == ["ada/notes.txt"]
    assert not (course / "submitted/ada/01-small/notes.txt").exists()


def test_links_in_a_folder_are_refused(course, roster, answer, tmp_path):
    source = tmp_path / "class"
    (source / "ada").mkdir(parents=True)
    (source / "ada/01-small.ipynb").write_bytes(answer())
    (source / "ada/stolen.txt").symlink_to(course / "source/01-small/01-small.ipynb")
    (source / "grace").symlink_to(source / "ada")
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new"}
    assert sorted(each.name for each in refused) == ["ada/stolen.txt", "grace"]


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"PK\x03\x04 broken off", "no zip file, folder or notebook"), (None, "is not there")],
)
def test_a_source_that_cannot_be_read_is_one_clear_error(course, tmp_path, content, says):
    source = tmp_path / "download.zip"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(CourseError, match=says):
        take(course, source)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("colour,shape\nred,round\n", "no column that tells students apart. Found: colour, shape"),
        ("student_id\nada\nada\n", "the student id ada stands there twice"),
        ("student_id\n../ada\n", "cannot be a student id"),
    ],
)
def test_a_roster_that_cannot_be_used_is_one_clear_error(tmp_path, text, says):
    path = tmp_path / "roster.csv"
    path.write_text(text)
    with pytest.raises(CourseError, match=says):
        read_roster(path, UTC)


def test_the_command_lists_what_it_did_registers_the_class_and_ends_with_1_where_something_is_left(
    course, answer, tmp_path, monkeypatch
):
    path = tmp_path / "roster.csv"
    path.write_text(ROSTER, encoding="utf-8")
    source = zipped(tmp_path / "c.zip", {"ada.ipynb": answer(), "stranger.ipynb": answer()})
    monkeypatch.chdir(course)
    done = CliRunner().invoke(cli.app, ["collect", str(source), "--roster", str(path)])
    assert done.exit_code == 1, done.output
    assert "ada.ipynb: ada, 01-small: new" in done.output
    assert "stranger.ipynb: nobody's: unmatched" in done.output
    with Gradebook(CourseDirectory(config=load_config(course)).db_url) as gradebook:
        assert gradebook.find_student("grace").email == "grace@example.org"
    source = zipped(tmp_path / "d.zip", {"grace.ipynb": answer()})
    done = CliRunner().invoke(cli.app, ["collect", str(source), "--roster", str(path), "--episode", "1"])
    assert (done.exit_code, "1 submission(s) collected" in done.output) == (0, True), done.output


CANVAS_CLASS = (
    "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
    '"Lovelace, Ada",9001,s1,ada,A\n"Hopper, Grace",9002,s2,grace,A\n'
)


@pytest.fixture
def roster_of(tmp_path):
    """The roster that a CSV file with this text makes."""

    def make(text: str) -> Roster:
        path = tmp_path / "class.csv"
        path.write_text(text, encoding="utf-8")
        return Roster(read_roster(path, UTC))

    return make


def laid_out(course: Path, student: str, episode: str = "01-small") -> dict[str, bytes]:
    """What lies in a student's folder, by path."""
    folder = course / "submitted" / student / episode
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def inside(members: dict[str, bytes]) -> bytes:
    """A zip file as a student packs it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, 20, 12, 0, 0)), content)
    return file.getvalue()


MOODLE_ADA = "Ada Lovelace_501_assignsubmission_file_"


# --- numbers at the end of a name ---


def test_students_whose_ids_end_in_a_number_stay_apart(course, roster_of, answer, tmp_path):
    names = [f"student-{number}" for number in (1, 2, 3)]
    source = zipped(tmp_path / "c.zip", {f"{name}.ipynb": answer(name) for name in names})
    results, _ = take(course, source)
    assert states(results) == dict.fromkeys(names, "new")
    results, _ = take(course, source, roster=roster_of("student_id\n" + "\n".join(names)))
    assert states(results) == dict.fromkeys(names, "unchanged")
    assert [handed_in(course, name) for name in names] == [answer(name) for name in names]


def test_a_number_that_is_in_nobodys_id_counts_the_attempts(course, roster_of, answer, tmp_path):
    source = zipped(
        tmp_path / "c.zip",
        {"ada-2.ipynb": answer("2"), "ada.ipynb": answer("0"), "ada (1).ipynb": answer("1"), "bo-2.ipynb": answer()},
    )
    results, _ = take(course, source, roster=roster_of("student_id\nada\nada2\nbo\n"))
    assert [(one.origin, one.student, one.state) for one in results if one.student != "bo"] == [
        ("ada.ipynb", "ada", "new"),
        ("ada (1).ipynb", "ada", "newer"),
        ("ada-2.ipynb", "ada", "newer"),
    ], "ada2 is somebody else, who is not called ada-2"


def test_without_a_roster_only_a_browsers_copy_is_an_attempt(course, answer, tmp_path):
    source = zipped(tmp_path / "c.zip", {"ada.ipynb": answer("0"), "ada (1).ipynb": answer("1")})
    results, _ = take(course, source)
    assert [(one.student, one.state) for one in results] == [("ada", "new"), ("ada", "newer")]


def test_a_file_of_canvas_whose_name_ends_in_a_number_belongs_to_the_notebook_beside_it(
    course, roster_of, answer, tmp_path
):
    source = zipped(
        tmp_path / "c.zip",
        {
            "lovelaceada_9001_333_work-1.ipynb": answer(),
            "lovelaceada_9001_334_cnn-64.keras": b"model",
            "lovelaceada_9001_335_table-1.csv": b"1",
            "lovelaceada_9001_336_more.zip": inside({"part-1.csv": b"2"}),
        },
    )
    results, _ = take(course, source, roster=roster_of(CANVAS_CLASS), episode="01-small")
    assert states(results) == {"ada": "new"} and len(results) == 1
    assert laid_out(course, "ada") == {
        "01-small.ipynb": answer(), "cnn-64.keras": b"model", "table.csv": b"1", "more/part-1.csv": b"2"
    }  # fmt: skip


def test_two_notebooks_of_canvas_are_both_kept(course, answer, tmp_path):
    names = ["lovelaceada_9001_333_work-1.ipynb", "lovelaceada_9001_334_work-2.ipynb"]
    take(course, zipped(tmp_path / "c.zip", {name: answer(name) for name in names}))
    assert sorted(laid_out(course, "lovelaceada-9001").values()) == sorted(answer(name) for name in names)


def test_two_files_of_one_name_are_both_kept(course, answer, tmp_path):
    source = zipped(tmp_path / "c.zip", {"ada.zip": inside({"a.txt": b"1", "w.ipynb": answer()}), "ada/a.txt": b"2"})
    take(course, source)
    assert laid_out(course, "ada") == {"01-small.ipynb": answer(), "a.txt": b"1", "a (2).txt": b"2"}


def test_what_holds_no_notebook_never_takes_a_notebooks_place(course, roster, answer, tmp_path):
    take(course, zipped(tmp_path / "1.zip", {"ada/01-small.ipynb": answer()}), roster=roster)
    source = zipped(tmp_path / "2.zip", {"ada/01-small/cnn.keras": b"model"})
    results, _ = take(course, source, roster=roster)
    assert [(one.student, one.state) for one in results] == [("ada", "without a notebook")]
    assert laid_out(course, "ada") == {"01-small.ipynb": answer()}
    assert (course / "submitted/.attempts/ada/01-small/1/cnn.keras").read_bytes() == b"model"


# --- when it was handed in ---


@pytest.mark.parametrize(
    ("names", "student"),
    [
        ((f"{MOODLE_ADA}/01-small.ipynb", f"{MOODLE_ADA}/timestamp.txt"), "ada"),
        ((f"{MOODLE_ADA}/work/01-small.ipynb", f"{MOODLE_ADA}/work/timestamp.txt"), "ada"),
        (("lovelaceada_9001_333_01-small.ipynb", "lovelaceada_9001_334_timestamp.txt"), "lovelaceada-9001"),
        (
            (
                "L_ada_attempt_2026-11-20-09-00-00_01-small.ipynb",
                "L_ada_attempt_2026-11-20-09-00-00_timestamp.txt",
            ),
            "ada",
        ),
    ],
    ids=["Moodle", "Moodle, in a folder", "Canvas", "Blackboard"],
)
def test_a_student_cannot_say_when_they_handed_in(course, roster, answer, tmp_path, names, student):
    source = zipped(tmp_path / "c.zip", dict(zip(names, (answer(), b"2020-01-01 00:00:00 UTC\n"), strict=True)))
    results, refused = take(course, source, roster=roster if student == "ada" else None)
    assert [(one.student, one.state) for one in results] == [(student, "new")]
    assert b"2020" not in laid_out(course, student).get("timestamp.txt", b"")
    if "work/" in names[0]:
        assert laid_out(course, student)["work/timestamp.txt"], "no time of handing in stands there"
    else:
        assert [each.reason for each in refused] == ["when it was handed in is not for the student to say"]


def test_a_zip_that_a_student_packed_says_nothing_about_the_time(course, answer, tmp_path):
    packed = inside({"w.ipynb": answer(), "timestamp.txt": b"2020-01-01 00:00:00 UTC\n"})
    _, refused = take(course, zipped(tmp_path / "c.zip", {"ada.zip": packed, "bo.ipynb": answer()}))
    assert set(laid_out(course, "ada")) == {"01-small.ipynb"}
    assert [each.name for each in refused] == ["ada/timestamp.txt"]


def test_in_nbgraders_layout_the_timestamp_holds(course, answer, tmp_path):
    stamp = b"2026-11-19 10:00:00 UTC\n"
    take(course, zipped(tmp_path / "c.zip", {"ada/01-small/x.ipynb": answer(), "ada/01-small/timestamp.txt": stamp}))
    assert laid_out(course, "ada")["timestamp.txt"] == stamp


def test_the_worksheets_time_comes_before_a_files(course, roster_of, answer, tmp_path):
    roster = roster_of(
        "Identifier,Full name,ID number,Last modified (submission)\n"
        'Participant 501,Ada Lovelace,ada,"Friday, 20 November 2026, 11:30 PM"\n'
    )
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/01-small.ipynb": answer()}, (2026, 11, 1, 0, 0, 0))
    results, _ = take(course, source, roster=roster, file_times=True)
    assert results[0].submitted == datetime(2026, 11, 20, 23, 30, tzinfo=UTC)


def blackboard(path: Path, day: int, content: bytes) -> Path:
    return zipped(path / f"{day}.zip", {f"L_ada_attempt_2026-11-{day}-09-00-00_01-small.ipynb": content})


def test_who_goes_back_to_an_earlier_answer_is_graded_on_it(course, roster, answer, tmp_path):
    days = {18: "A", 19: "B", 20: "A"}
    made = [blackboard(tmp_path, day, answer(text)) for day, text in days.items()]
    found = [take(course, source, roster=roster)[0][0].state for source in made]
    assert found == ["new", "newer", "newer"]
    assert laid_out(course, "ada") == {"01-small.ipynb": answer("A"), "timestamp.txt": b"2026-11-20 09:00:00 UTC\n"}
    found = [take(course, source, roster=roster)[0][0].state for source in made]
    assert found == ["unchanged"] * 3


def test_a_time_that_becomes_known_later_is_written(course, roster_of, answer, tmp_path):
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/01-small.ipynb": answer()})
    take(course, source, roster=roster_of("Identifier,Full name,ID number\nParticipant 501,Ada Lovelace,ada\n"))
    assert "timestamp.txt" not in laid_out(course, "ada")
    worksheet = (
        "Identifier,Full name,ID number,Last modified (submission)\n"
        'Participant 501,Ada Lovelace,ada,"Friday, 20 November 2026, 11:30 PM"\n'
    )
    results, _ = take(course, source, roster=roster_of(worksheet))
    assert results[0].state == "unchanged"
    assert laid_out(course, "ada")["timestamp.txt"] == b"2026-11-20 23:30:00 UTC\n"


def test_files_keep_the_times_that_they_had(course, answer, tmp_path):
    take(course, zipped(tmp_path / "c.zip", {"ada/b.ipynb": answer("1"), "ada/a.ipynb": answer("2")}))
    times = {(course / "submitted/ada/01-small" / name).stat().st_mtime for name in ("a.ipynb", "b.ipynb")}
    assert times == {datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()}


# --- whose it is ---


def test_nbgraders_own_table_of_students_is_understood(tmp_path):
    path = tmp_path / "students.csv"
    path.write_text("id,first_name,last_name,email\nbitdiddle,Ben,Bitdiddle,ben@example.org\n77,Ada,L,a@example.org\n")
    people = read_roster(path, UTC)
    assert [(one.student, one.number) for one in people] == [("bitdiddle", ""), ("77", "")]


def test_a_canvas_gradebook_without_logins_has_numbers_as_before(tmp_path):
    path = tmp_path / "canvas.csv"
    path.write_text('Student,ID,Section\n"Lovelace, Ada",9001,A\n')
    [ada] = read_roster(path, UTC)
    assert (ada.student, ada.number) == ("9001", "9001")


def test_a_number_of_moodle_is_no_students_id(course, roster_of, answer, tmp_path):
    roster = roster_of("student_id,name\n501,Grace Hopper\n700,Ada Lovelace\n")
    source = zipped(
        tmp_path / "m.zip",
        {f"{MOODLE_ADA}/x.ipynb": answer("ada"), "Grace Hopper_502_assignsubmission_file_/x.ipynb": answer("grace")},
    )
    results, _ = take(course, source, roster=roster)
    assert states(results) == {"501": "new", "700": "new"}
    assert (handed_in(course, "700"), handed_in(course, "501")) == (answer("ada"), answer("grace"))


def test_a_worksheet_of_another_assignment_gives_nobody_somebody_elses_work(course, roster_of, answer, tmp_path):
    roster = roster_of(
        "Identifier,Full name,ID number\nParticipant 501,Grace Hopper,grace\nParticipant 9,Ada Lovelace,ada\n"
    )
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/x.ipynb": answer()})
    results, _ = take(course, source, roster=roster)
    assert [one.state for one in results] == ["unmatched"]
    assert results[0].note == (
        "the number 501 is that of grace in the roster, but 'Ada Lovelace' is ada; "
        "is the roster that of this assignment?"
    )


def test_a_folder_called_by_an_id_that_is_a_number_is_found(course, roster_of, answer, tmp_path):
    roster = roster_of("Identifier,Full name\nParticipant 501,Grace Hopper\n")
    results, _ = take(course, zipped(tmp_path / "c.zip", {"501/01-small/x.ipynb": answer()}), roster=roster)
    assert states(results) == {"501": "new"}


def test_two_of_one_name_are_told_apart_by_their_numbers(course, roster_of, answer, tmp_path):
    roster = roster_of(
        "Identifier,Full name,ID number\nParticipant 501,Ada Lovelace,a1\nParticipant 502,Ada Lovelace,a2\n"
    )
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/x.ipynb": answer()})
    assert states(take(course, source, roster=roster)[0]) == {"a1": "new"}


def test_who_collects_from_moodle_without_a_roster_is_told_that_ids_will_differ(course, answer, tmp_path, monkeypatch):
    monkeypatch.chdir(course)
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/x.ipynb": answer()})
    done = CliRunner().invoke(cli.app, ["collect", str(source)])
    assert done.exit_code == 0 and "Moodle numbers students anew in each assignment" in " ".join(done.output.split())
    done = CliRunner().invoke(cli.app, ["collect", str(zipped(tmp_path / "c.zip", {"bo.ipynb": answer()}))])
    assert done.exit_code == 0 and "Moodle" not in done.output


def test_one_students_folders_of_several_episodes_stay_that_students(course, answer, tmp_path):
    chosen = [*episodes(course), replace(episodes(course)[0], name="02-more")]
    source = zipped(tmp_path / "c.zip", {"ada/01-small/x.ipynb": answer(), "ada/02-more/y.ipynb": answer("2")})
    results, _ = collect(course, source, chosen)
    assert {one.student for one in results} == {"ada"} and len(results) == 2


def test_a_pattern_that_finds_no_student_leaves_a_reason(course, answer, tmp_path):
    config = load_config(course)
    config.FileNameCollectorPlugin.named_regexp = r"(?:abgabe\+(?P<student_id>\w+)\+)?(?P<file_id>.+)"
    source = zipped(tmp_path / "c.zip", {"abgabe+ada+01-small.ipynb": answer("1"), "loose.ipynb": answer("2")})
    results, _ = take(course, source, config=config)
    assert states(results) == {"ada": "new", "loose.ipynb": "unmatched"}
    assert "named_regexp" in next(one.note for one in results if not one.student)


def test_a_pattern_that_is_none_is_one_clear_error(course, answer, tmp_path):
    config = load_config(course)
    config.FileNameCollectorPlugin.named_regexp = r"(?P<student_id>\w+"
    with pytest.raises(CourseError, match=r"named_regexp.*cannot be read as a pattern"):
        take(course, zipped(tmp_path / "c.zip", {"ada.ipynb": answer()}), config=config)


# --- what one student packs, another never feels ---


def _with_a_name_that_is_no_text(content: bytes) -> bytes:
    return inside({"é.ipynb": content}).replace("é".encode(), b"\xff\xff")


def _of_a_version_to_come(content: bytes) -> bytes:
    made = bytearray(inside({"w.ipynb": content}))
    made[made.index(b"PK\x01\x02") + 6] = 99
    return bytes(made)


def _damaged(content: bytes) -> bytes:
    made = bytearray(inside({"w.ipynb": content, "x": b""}))
    made[made.index(b"PK\x01\x02")] = 0
    return bytes(made)


@pytest.mark.parametrize("spoil", [_with_a_name_that_is_no_text, _of_a_version_to_come, _damaged])
def test_a_students_zip_that_cannot_be_unpacked_stops_nobody_else(course, roster, answer, tmp_path, spoil):
    spoilt = spoil(answer())
    source = zipped(tmp_path / "c.zip", {"ada/w.ipynb": answer(), "emil/w.zip": spoilt, "grace/w.ipynb": answer()})
    results, refused = take(course, source, roster=roster, episode="01-small")
    assert states(results) == {"ada": "new", "emil": "new", "grace": "new"}
    assert [each.name for each in refused] == ["emil/w.zip"] and "kept as it is" in refused[0].reason
    assert ".incoming" not in refused[0].reason
    assert laid_out(course, "emil") == {"w.zip": spoilt}


def test_a_download_with_a_name_that_is_no_text_is_one_clear_error(course, answer, tmp_path):
    source = tmp_path / "c.zip"
    source.write_bytes(_with_a_name_that_is_no_text(answer()))
    with pytest.raises(CourseError, match=r"c\.zip cannot be unpacked"):
        take(course, source)


@pytest.mark.parametrize(
    "names",
    [("bob/x", "bob/x/y.txt"), ("bob/z.txt", "/".join(["bob", *("d" * 250 for _ in range(18)), "y.txt"]))],
    ids=["file and folder of one name", "path too long"],
)
def test_files_that_have_no_place_are_refused_by_name_and_the_rest_is_taken(course, answer, tmp_path, names):
    source = zipped(
        tmp_path / "c.zip",
        {"ada/w.ipynb": answer(), **dict.fromkeys(names, b"1"), "bob/w.ipynb": answer(), "cy/w.ipynb": answer()},
    )
    results, refused = take(course, source)
    assert states(results) == {"ada": "new", "bob": "new", "cy": "new"}
    assert len(refused) == 1 and refused[0].name.startswith("bob: ") and "cannot be written" in refused[0].reason
    assert len(laid_out(course, "bob")) == 2


def test_a_long_name_of_nobodys_is_kept(course, roster, answer, tmp_path):
    source = zipped(tmp_path / "c.zip", {f"{'漢' * 84}/01-small/w.ipynb": answer()})
    results, _ = take(course, source, roster=roster)
    assert results[0].state == "unmatched" and list(results[0].place.iterdir())


def test_the_bound_holds_for_the_whole_download(course, roster, answer, tmp_path, monkeypatch):
    ada, emil, grace = (inside({"w.ipynb": answer(), "x.bin": os.urandom(40_000)}) for _ in range(3))
    source = zipped(tmp_path / "c.zip", {"ada.zip": ada, "emil.zip": emil, "grace.zip": grace})
    monkeypatch.setattr(incoming, "MAX_BYTES", len(ada) * 5)
    _, refused = take(course, source, roster=roster, episode="01-small")
    assert [each.name for each in refused] == ["grace.zip"] and "GB" in refused[0].reason


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_is_packed_in_an_unbounded_way_is_refused(course, roster, answer, tmp_path, compression):
    source = tmp_path / "c.zip"
    with zipfile.ZipFile(source, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ada/w.ipynb", answer())
        archive.writestr("ada/table.csv", b"1", compression)
    results, refused = take(course, source, roster=roster)
    assert states(results) == {"ada": "new"}
    assert [each.name for each in refused] == ["ada/table.csv"] and "deflate" in refused[0].reason


def test_files_beside_a_notebook_in_a_folder_stay_beside_it(course, roster, answer, tmp_path):
    packed = inside({"work.ipynb": answer(), "data.csv": b"1", "models/m.keras": b"2"})
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/work.zip": packed, f"{MOODLE_ADA}/readme.txt": b"3"})
    take(course, source, roster=roster)
    assert laid_out(course, "ada") == {
        "01-small.ipynb": answer(), "data.csv": b"1", "models/m.keras": b"2", "readme.txt": b"3"
    }  # fmt: skip


def test_a_file_above_the_notebooks_folder_keeps_its_name(course, roster, answer, tmp_path):
    packed = inside({"work.ipynb": answer(), "data.csv": b"1"})
    source = zipped(tmp_path / "m.zip", {f"{MOODLE_ADA}/work.zip": packed, f"{MOODLE_ADA}/data.csv": b"2"})
    take(course, source, roster=roster)
    assert laid_out(course, "ada") == {"01-small.ipynb": answer(), "data.csv": b"2", "work/data.csv": b"1"}
