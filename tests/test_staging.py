"""Copying a stranger's folder: `autograder.staging`."""

from __future__ import annotations

import os

import pytest

from autograder.errors import CourseError
from autograder.staging import plain_name, read_regular_file, stage_submission, survey


@pytest.fixture
def submission(tmp_path):
    folder = tmp_path / "work"
    (folder / "models").mkdir(parents=True)
    (folder / "a.ipynb").write_bytes(b"{}")
    (folder / "models" / "m.keras").write_bytes(b"x" * 1000)
    return folder


def copied(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_regular_files_are_copied_with_their_folders_and_the_original_stays(submission, tmp_path):
    before = {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in submission.rglob("*")}
    staged = stage_submission(submission, tmp_path / "copy")
    assert copied(tmp_path / "copy") == ["a.ipynb", "models/m.keras"]
    assert [str(path.relative_to(tmp_path / "copy")) for path in staged.files] == ["a.ipynb", "models/m.keras"]
    assert staged.left_out == []
    assert {path: (path.lstat().st_mtime_ns, path.lstat().st_size) for path in submission.rglob("*")} == before


def test_folders_without_files_are_kept_and_notebooks_left_behind_where_they_are_of_no_use(submission, tmp_path):
    (submission / "empty" / "deep").mkdir(parents=True)
    (submission / "copy.IPYNB").write_text("hidden tests")
    (submission / ".ipynb_checkpoints").mkdir()
    (submission / ".ipynb_checkpoints" / "a.txt").touch()
    staged = stage_submission(submission, tmp_path / "copy", notebooks=False)
    assert copied(tmp_path / "copy") == ["models/m.keras"]
    assert (tmp_path / "copy" / "empty" / "deep").is_dir() and not (tmp_path / "copy" / ".ipynb_checkpoints").exists()
    assert staged.left_out == []


def test_links_pipes_and_sockets_are_left_out_and_named(submission, tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "answers.txt").write_text("42")
    (submission / "file-link").symlink_to(tmp_path / "secret" / "answers.txt")
    (submission / "folder-link").symlink_to(tmp_path / "secret")
    (submission / "models" / "loop").symlink_to("..")
    (submission / "broken").symlink_to("nowhere")
    os.mkfifo(submission / "pipe")
    staged = stage_submission(submission, tmp_path / "copy")
    assert copied(tmp_path / "copy") == ["a.ipynb", "models/m.keras"]
    reasons = {left_out.path.name: left_out.reason for left_out in staged.left_out}
    assert reasons.pop("pipe") == "not a regular file"
    assert reasons == dict.fromkeys(["file-link", "folder-link", "loop", "broken"], "a link to another place")


def test_a_submission_that_is_itself_a_link_gives_nothing(submission, tmp_path):
    (tmp_path / "link").symlink_to(submission)
    staged = stage_submission(tmp_path / "link", tmp_path / "copy")
    assert staged.files == []
    assert "link" in staged.left_out[0].reason


def test_number_and_bytes_of_files_are_bounded(submission, tmp_path):
    for i in range(20):
        (submission / f"extra-{i:02}").write_bytes(b"x" * 100)
    assert len(survey(submission, max_files=5).files) == 5
    small = survey(submission, max_file_bytes=500)
    assert [left_out.path.name for left_out in small.left_out] == ["m.keras"]
    assert sum(path.stat().st_size for path in survey(submission, max_total_bytes=800).files) <= 800


def test_folders_are_no_longer_looked_through_when_the_bound_is_reached(submission):
    for outer in range(20):
        for inner in range(20):
            (submission / f"d{outer:02}" / f"inner-{inner}").mkdir(parents=True)
    full = survey(submission, max_files=1)
    assert [path.name for path in full.files] == ["a.ipynb"]
    assert not any("inner" in path.name for path in full.folders)
    assert 40 < len(survey(submission, max_entries=40).folders) <= 80


def test_a_folder_with_more_files_than_can_be_listed_is_left_out_whole(submission):
    (submission / "crowd").mkdir()
    for i in range(60):
        (submission / "crowd" / str(i)).touch()
    found = survey(submission, max_entries=50)
    assert [left_out.path.name for left_out in found.left_out] == ["crowd"]
    assert not any("crowd" in path.parts for path in found.files)


def test_a_chain_of_folders_without_end_comes_to_an_end(submission):
    deep = submission
    for _ in range(60):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "file").touch()
    found = survey(submission)
    assert len(found.files) == 2
    assert found.left_out[0].reason == "too many folders or files"


def test_reading_stops_at_the_limit_and_at_what_is_no_file(submission):
    assert read_regular_file(submission / "a.ipynb", 2) == b"{}"
    with pytest.raises(CourseError, match="at most"):
        read_regular_file(submission / "models" / "m.keras", 999)
    os.mkfifo(submission / "pipe")
    for name in ("pipe", "models", "missing"):
        with pytest.raises(CourseError, match="Ask the student"):
            read_regular_file(submission / name, 10)


def test_a_name_in_a_message_has_nothing_that_markdown_html_or_a_terminal_acts_upon():
    assert plain_name("<b>`x`\x1b[31m\n\u202e.ipynb") == "?b??x??[31m??.ipynb"
    assert len(plain_name("x" * 500)) == 80
