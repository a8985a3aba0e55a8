"""What can go wrong before anything is exported; marks: see test_grade."""

from __future__ import annotations

import pytest

from autograder.build import build, register_assignment
from autograder.course import find_episode
from autograder.errors import CourseError
from autograder.export import export


def test_a_course_without_a_gradebook_has_nothing_to_export_and_gets_none(course_factory):
    root = course_factory()
    with pytest.raises(CourseError, match="no gradebook"):
        export(root, [find_episode(root, "1")])
    assert not (root / "gradebook.db").exists() and not (root / "export").exists()


def test_an_episode_that_nobody_was_graded_in_gives_files_with_headings_alone(course_factory, tmp_path):
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    register_assignment(episode)
    grades, exercises = export(root, [episode], tmp_path / "marks")
    assert grades.parent == tmp_path / "marks"
    assert len(grades.read_text().splitlines()) == len(exercises.read_text().splitlines()) == 1
