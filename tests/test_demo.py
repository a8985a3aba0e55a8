"""The demo: sample submissions of episode 1 and the marks that they should get."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from autograder.build import read_text
from autograder.course import find_episode
from autograder.demo import Sample, compare, fill_in, make_scratch, read_samples
from autograder.errors import CourseError
from autograder.grade import Mark, StudentResult


def sample(**changes) -> Sample:
    parts = {"name": "x", "about": "", "answers": {}, "expected": {"add-up": "full", "say-why": "waits"}, "says": {}}
    return Sample(**{**parts, **changes})


def result(score: float, message: str = "") -> StudentResult:
    return StudentResult(
        "x",
        "01-small",
        (
            Mark("add-up-test", "marked", score, 2, written=False, message=message),
            Mark("say-why", "needs manual grading", None, 3, written=True),
        ),
    )


def test_there_are_nine_samples_and_each_says_what_every_exercise_should_give(repository):
    episode = find_episode(repository, "1")
    graded = [cell for cell in read_text(episode.text).cells if cell.metadata.get("nbgrader", {}).get("grade")]
    exercises = {cell.metadata.nbgrader.grade_id.removesuffix("-test") for cell in graded}
    samples = read_samples(episode.name)
    assert len(samples) == 9
    for one in samples:
        assert set(one.expected) == exercises, one.name
        assert one.about


def test_answers_go_into_their_own_cells_and_nowhere_else(repository):
    episode = find_episode(repository, "1")
    release = nbformat.read(episode.release, as_version=4)
    filled = fill_in(release, sample(answers={"save-model": "saved = True"}))
    changed = [new.id for old, new in zip(release.cells, filled.cells, strict=True) if old.source != new.source]
    assert changed == ["save-model"]
    with pytest.raises(CourseError, match="unknown exercises: save-modle"):
        fill_in(release, sample(answers={"save-modle": ""}))


def test_a_mark_that_is_not_as_it_should_be_is_noticed():
    assert all(one.agrees for one in compare(sample(), result(2)))
    wrong = [one for one in compare(sample(), result(1)) if not one.agrees]
    assert [(one.exercise, one.expected, one.actual) for one in wrong] == [("add-up", "2", "1")]


def test_a_message_that_is_not_as_it_should_be_is_noticed():
    expecting = sample(says={"add-up": "should be 6"})
    assert all(one.agrees for one in compare(expecting, result(2, "total should be 6")))
    assert not all(one.agrees for one in compare(expecting, result(2, "wrong")))


def test_a_sample_that_could_not_be_graded_is_noticed():
    (one,) = compare(sample(), StudentResult("x", "01-small", problem="unreadable"))
    assert not one.agrees and one.actual == "unreadable"


def test_a_folder_that_the_demo_did_not_make_is_left_alone(course_factory, tmp_path):
    root = course_factory()
    mine = tmp_path / "demo"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(CourseError, match="will not remove it"):
        make_scratch(root, find_episode(root, "1"), mine)
    assert (mine / "thesis.txt").read_text() == "years of work"


def test_a_second_demo_replaces_the_first(course_factory, tmp_path):
    root = course_factory()
    for _ in range(2):
        episode = make_scratch(root, find_episode(root, "1"), tmp_path / "demo")
        assert episode.text.is_file()
        (tmp_path / "demo" / "gradebook.db").touch()
    make_scratch(root, find_episode(root, "1"), tmp_path / "demo")
    assert not (tmp_path / "demo" / "gradebook.db").exists()


def test_a_sample_file_that_is_not_as_expected_is_named(tmp_path):
    (tmp_path / "01-small").mkdir()
    (tmp_path / "01-small" / "01-x.toml").write_text("about = 'no marks'")
    with pytest.raises(CourseError, match="is no sample submission"):
        read_samples("01-small", tmp_path)
    with pytest.raises(CourseError, match="no sample submissions of 02-none"):
        read_samples("02-none", tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap", "images")
def test_the_demo_gives_every_sample_the_marks_it_should_and_touches_no_real_ones(repository, tmp_path):
    root = tmp_path / "course"
    root.mkdir()
    for name in ("nbgrader_config.py", "course", "source", "release"):
        origin = repository / name
        (shutil.copytree if origin.is_dir() else shutil.copy)(origin, root / name)
    done = subprocess.run(["autograder", "demo"], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All 9 submissions got the marks they should." in done.stdout
    assert not (root / "gradebook.db").exists() and not (root / "submitted").exists()
    pages = list(Path(root / "demo" / "feedback").rglob("*.html"))
    assert len(pages) == 9
    assert "9 submissions" in (root / "demo" / "report.html").read_text()
