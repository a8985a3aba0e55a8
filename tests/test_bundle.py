"""The student's zip file: all that is needed, and nothing that is secret. That it starts: test_student_session.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import zipfile
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from autograder import cli
from autograder.build import SECRET_MARKS, build
from autograder.bundle import FOLDER, bundle
from autograder.course import episodes
from autograder.errors import CourseError

SECRET = ("solution", "commutative", "the total must be a whole number")


@pytest.fixture
def course(course_factory) -> Path:
    root = course_factory()
    for episode in episodes(root):
        build(episode)
    return root


@pytest.fixture
def unpacked(course, tmp_path) -> Path:
    bundle(course, episodes(course), tmp_path / "cnn-course.zip")
    with zipfile.ZipFile(tmp_path / "cnn-course.zip") as archive:
        archive.extractall(tmp_path / "student")
    return tmp_path / "student" / FOLDER


def test_it_holds_the_notebooks_helpers_requirements_and_a_page_to_start_from(unpacked):
    for name in ("START-HERE.html", "start.py", "requirements.txt", "environment.yml", "Dockerfile", "helpers/data.py"):
        assert (unpacked / name).is_file(), name
    nbformat.validate(nbformat.read(unpacked / "notebooks/01-small/01-small.ipynb", as_version=4))
    assert json.loads((unpacked / ".devcontainer/devcontainer.json").read_text())["build"]["context"] == ".."
    page = (unpacked / "START-HERE.html").read_text()
    assert "A small episode" in page and "cd cnn-course\npython start.py" in page


def test_it_holds_no_solution_no_hidden_test_and_nothing_of_the_grader(unpacked):
    assert not (unpacked / "autograder").exists() and not (unpacked / "source").exists()
    for path in (unpacked / "notebooks").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert not [mark for mark in (*SECRET_MARKS, *SECRET) if mark in text.replace('"solution": ', "")]


def test_the_same_course_makes_the_same_bytes(course, tmp_path):
    for name in ("a.zip", "b.zip"):
        bundle(course, episodes(course), tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_requirements_are_pinned_to_what_is_installed_here(unpacked):
    lines = [line for line in (unpacked / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    names = [line.partition("==")[0] for line in lines]
    assert {"tensorflow", "jupyterlab", "nbgrader", "matplotlib"} <= set(names)
    assert all("==" in line for line in lines) and "typer" not in names


def test_images_go_in_when_asked_for_and_those_of_the_graders_never(course, tmp_path, monkeypatch):
    from PIL import Image

    folder = tmp_path / "images" / "cifar10_images_small"
    for split in ("train", "val", "test", "holdout"):
        for name in ("airplane", "bird", "cat", "dog", "truck"):
            (folder / split / name).mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / split / name / f"{split}.png")
    monkeypatch.setenv("CNN_COURSE_DATA", str(folder.parent))
    names = bundle(course, episodes(course), tmp_path / "with.zip", with_data=True)
    images = [name for name in names if name.endswith(".png")]
    assert len(images) == 15 and images[0].startswith("data/cifar10_images_small/")
    assert not [name for name in names if "holdout" in name]


def test_images_that_are_asked_for_and_not_there_are_one_clear_error(course, tmp_path, monkeypatch):
    monkeypatch.delenv("CNN_COURSE_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CourseError, match=r"no images to put in.*autograder data"):
        bundle(course, episodes(course), tmp_path / "with.zip", with_data=True)


@pytest.mark.slow
def test_an_environment_that_was_stopped_before_it_had_pip_is_made_anew(unpacked, tmp_path, monkeypatch):
    import importlib.util
    import venv

    spec = importlib.util.spec_from_file_location("start", unpacked / "start.py")
    start = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(start)
    monkeypatch.setattr(start, "ENVIRONMENT", tmp_path / ".venv")
    assert not start.has_pip()
    venv.create(tmp_path / ".venv", with_pip=False)
    assert start.program("python").exists() and not start.has_pip()
    monkeypatch.setattr(start, "READY", tmp_path / "ready.txt")
    monkeypatch.setattr(start, "wanted", lambda: "all")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "nothing"\nversion = "1"\n')
    monkeypatch.setattr(start, "HERE", tmp_path)
    monkeypatch.setenv("PIP_NO_BUILD_ISOLATION", "1")
    with contextlib.suppress(subprocess.CalledProcessError):  # nothing can be built there
        start.install()
    assert start.has_pip()


def test_a_release_that_is_not_up_to_date_is_not_given_out(course, tmp_path):
    (course / "release/01-small/01-small.ipynb").write_text("{}")
    with pytest.raises(CourseError, match="autograder build"):
        bundle(course, episodes(course), tmp_path / "x.zip")
    assert not (tmp_path / "x.zip").exists()


def test_the_command_says_where_it_is_and_what_students_do_with_it(course, monkeypatch):
    monkeypatch.chdir(course)
    done = CliRunner().invoke(cli.app, ["bundle"])
    assert done.exit_code == 0, done.output
    assert (course / "export/cnn-course.zip").is_file() and "python start.py" in done.output
