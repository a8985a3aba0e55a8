"""Conda, Docker, dev containers, Colab: the descriptions fit the course; the first cell installs what is missing."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient
from traitlets.config import Config

from autograder import environments
from autograder.build import build
from autograder.bundle import bundle, requirements
from autograder.course import episodes
from autograder.environments import FIRST_CELL_ID, files, first_cell, with_first_cell
from autograder.repair import repair

INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "CMD", "ENV"}


@pytest.fixture
def folder(tmp_path, course_factory, repository, request) -> Path:
    """A folder that holds what the descriptions are written for: an unpacked bundle, or the repository."""
    if request.param == "repository":
        return repository
    root = course_factory()
    for episode in episodes(root):
        build(episode)
    bundle(root, episodes(root), tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        archive.extractall(tmp_path)
    return tmp_path / "cnn-course"


both = pytest.mark.parametrize("folder", ["bundle", "repository"], indirect=True)


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Dockerfile with what follows them, long lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [tuple(line.split(maxsplit=1)) for line in joined.splitlines() if line and not line.startswith("#")]


def test_the_repositorys_descriptions_are_as_the_module_writes_them(repository):
    for name, text in files("repository").items():
        assert (repository / name).read_text() == text, f"{name}: run python -m autograder.environments --write"


@both
def test_the_conda_environment_names_files_and_extras_that_are_there(folder, repository):
    described = yaml.safe_load((folder / "environment.yml").read_text())
    python, pip, packages = described["dependencies"]
    assert (python, pip) == (f"python={environments.PYTHON}", "pip")
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    for line in packages["pip"]:
        words = line.split()
        if words[0] in ("-c", "-r"):
            assert (folder / words[1]).is_file()
        else:
            assert words[-1].startswith(".") and (folder / "pyproject.toml").is_file()
            extras = re.findall(r"\w+", words[-1])
            assert set(extras) <= set(project["optional-dependencies"])


def test_all_versions_are_those_of_the_constraints(repository):
    pinned = dict(line.split("==") for line in (repository / "constraints.txt").read_text().split())
    wanted = dict(line.split("==") for line in requirements().splitlines() if not line.startswith("#"))
    assert wanted and {name: pinned[name] for name in wanted} == wanted
    for package in environments.LACKING.values():
        assert f"{package}=={pinned[package]}" in first_cell()


@both
def test_the_dockerfile_copies_what_is_there_cleans_up_and_gives_up_root(folder):
    found = instructions((folder / "Dockerfile").read_text())
    names = [name for name, _ in found]
    assert set(names) <= INSTRUCTIONS and names[0] == "FROM" and names[-1] == "CMD"
    assert dict(found)["FROM"] == f"python:{environments.PYTHON}-slim"
    assert dict(found)["USER"] not in ("root", "0") and json.loads(dict(found)["CMD"])[0] == "jupyter"
    for name, rest in found:
        words = [word for word in rest.split() if not word.startswith("--")]
        if name == "COPY":
            assert all((folder / word).exists() for word in words[:-1]), rest
        if "apt-get" in rest:
            assert "--no-install-recommends" in rest and "rm -rf /var/lib/apt/lists" in rest
        if "pip install" in rest:
            assert "--no-cache-dir" in rest and "-c constraints.txt" in rest
            shlex.split(rest)


@both
def test_the_dev_container_builds_that_dockerfile(folder):
    place = folder / ".devcontainer" / "devcontainer.json"
    described = json.loads(place.read_text())
    assert (place.parent / described["build"]["dockerfile"]).resolve() == folder / "Dockerfile"
    assert (place.parent / described["build"]["context"]).resolve() == folder


def test_an_image_of_the_repository_gets_nothing_that_students_handed_in(repository):
    ignored = (repository / ".dockerignore").read_text().split()
    assert {"data", "submitted/*", "autograded/*", "feedback/*", "gradebook.db*", ".autograder", ".venv"} <= set(
        ignored
    )
    own = [line for line in (repository / ".gitignore").read_text().split() if line.startswith("/")]
    assert len(own) > 8
    assert {line.strip("/") for line in own if "*" not in line} - {"gradebook.db"} <= set(ignored)


@pytest.mark.parametrize("name", ["01-introduction", "07-share-cnn"])
def test_the_first_cell_stands_before_all_code_and_is_no_damage_to_the_grader(name, repository):
    released = nbformat.read(repository / "release" / name / f"{name}.ipynb", as_version=4)
    given = with_first_cell(nbformat.from_dict(json.loads(nbformat.writes(released))))
    assert next(cell.id for cell in given.cells if cell.cell_type == "code") == FIRST_CELL_ID
    mended = repair(nbformat.writes(given).encode(), released)
    assert mended.repairs == [] and FIRST_CELL_ID in [cell.id for cell in mended.notebook.cells]


def test_the_first_cell_does_nothing_where_the_course_is_installed(tmp_path):
    notebook = with_first_cell(nbformat.v4.new_notebook())
    notebook.cells.append(nbformat.v4.new_code_cell("import helpers\nprint(missing)"))
    NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}, kernel_name="python3").execute()
    first, second = notebook.cells
    assert first.outputs == [] and second.outputs[0].text == "{}\n"


def run_without_helpers(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that has this environment's packages, but neither this project nor a package index."""
    start = f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n"
    return subprocess.run(
        [sys.executable, "-S", "-c", start + code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", **variables},
        check=False,
    )


def test_the_first_cell_says_what_to_do_where_helpers_are_missing_and_there_is_no_address(tmp_path):
    done = run_without_helpers(first_cell(), tmp_path)
    assert done.returncode and "START-HERE.html" in done.stderr and "pip" not in done.stderr
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "__init__.py").touch()
    assert run_without_helpers(first_cell(), tmp_path).returncode == 0


@pytest.mark.slow
def test_the_first_cell_installs_helpers_from_the_address_of_the_bundle(course_factory, tmp_path):
    root = course_factory()
    address = (tmp_path / "public" / "cnn-course.zip").as_uri()
    with (root / "nbgrader_config.py").open("a") as file:
        file.write(f"\nc.Bundle.address = {address!r}\n")
    for episode in episodes(root):
        build(episode)
    bundle(root, episodes(root), tmp_path / "public" / "cnn-course.zip")
    code = first_cell(Config(Bundle={"address": address}))
    done = run_without_helpers(code, tmp_path, PIP_TARGET=str(tmp_path / "installed"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "installed" / "helpers" / "hints" / "01-introduction.md").is_file()
    with zipfile.ZipFile(tmp_path / "public" / "cnn-course.zip") as archive:
        notebook = archive.read("cnn-course/notebooks/01-small/01-small.ipynb").decode()
    assert address in notebook
