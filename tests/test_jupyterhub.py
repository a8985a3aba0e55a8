"""The page about JupyterHub: its snippets are ones that nbgrader knows, and its round through the exchange works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbgrader.auth import JupyterHubAuthPlugin
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange.default import Exchange
from quick_class import QuickPool, make_class
from traitlets.config import Config
from typer.testing import CliRunner

from autograder import cli, late
from autograder.course import load_config
from autograder.executors import LazyPool

PAGE = Path(__file__).resolve().parent.parent / "docs" / "how-to" / "jupyterhub.md"
PROGRAMS = Path(sys.executable).parent


def snippets() -> dict[str, str]:
    """The page's Python, by the file that its first line names."""
    found = re.findall(r"```python\n# ([^\n]+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(found) == PAGE.read_text(encoding="utf-8").count("```python")
    return dict(found)


def read(text: str) -> Config:
    c = Config()
    exec(compile(text, str(PAGE), "exec"), {"get_config": lambda: c, "c": c})
    return c


@pytest.mark.parametrize("name", [name for name in snippets() if "nbgrader_config" in name])
def test_every_option_for_nbgrader_is_one_that_it_has(name):
    config = read(snippets()[name])
    assert config
    for section, options in config.items():
        known = {"Exchange": Exchange, "CourseDirectory": CourseDirectory}[section]
        made = known(**options)  # refuses a value of another type
        for option, value in options.items():
            assert option in known.class_traits(config=True) and getattr(made, option) == value


def test_the_hub_names_groups_roles_and_service_as_nbgrader_looks_for_them(monkeypatch):
    hub = read(snippets()["jupyterhub_config.py"])
    (service,) = hub.JupyterHub.services
    course = read(snippets()["/etc/jupyter/nbgrader_config.py"]).CourseDirectory.course_id
    assert service["name"] == course
    groups = hub.JupyterHub.load_groups
    for role in hub.JupyterHub.load_roles:
        assert set(role.get("groups", ())) <= set(groups)
        assert all(f"service={course}" in scope for scope in role["scopes"] if "!service=" in scope)
    for group in groups.values():
        assert set(group["users"]) <= hub.Authenticator.allowed_users
    assert "CNN_COURSE_HOLDOUT" not in hub.Spawner.environment
    # nbgrader's own plugin finds the student's course by the names of these groups.
    student = [name for name, group in groups.items() if "ada" in group["users"]]
    monkeypatch.setattr("nbgrader.auth.jupyterhub._query_jupyterhub_api", lambda *_, **__: {"groups": student})
    assert JupyterHubAuthPlugin().get_student_courses("ada") == [course]
    assert service["user"] in groups[f"formgrade-{course}"]["users"]


def test_commands_of_the_page_are_in_order(repository):
    text = PAGE.read_text(encoding="utf-8")
    for block in re.findall(r"```bash\n(.*?)```", text, re.S):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


@pytest.mark.slow
def test_a_round_through_nbgraders_exchange_is_graded_with_its_times_and_handed_back(tmp_path):
    episode = make_class(tmp_path / "course", {})
    root, shared, home = episode.root, tmp_path / "exchange", tmp_path / "student"
    home.mkdir()
    shared.mkdir()
    with (root / "nbgrader_config.py").open("a") as file:
        file.write('c.CourseDirectory.course_id = "cnn"\nc.LatePenalty.per_day = "50%"\n')

    def nbgrader(folder: Path, *arguments: str) -> None:
        options = [f"--Exchange.root={shared}", "--course", "cnn"]
        places = {"HOME": str(tmp_path), "JUPYTER_DATA_DIR": str(folder / ".data"), "JUPYTER_CONFIG_DIR": str(folder)}
        done = subprocess.run(
            [PROGRAMS / "nbgrader", *arguments, *options],
            cwd=folder, capture_output=True, text=True, check=False, env={**os.environ, **places},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    late.set_due_date(episode, load_config(root), late.moment("2026-01-01"))
    nbgrader(root, "release_assignment", episode.name)
    nbgrader(home, "fetch_assignment", episode.name)
    path = home / episode.name / f"{episode.name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    (answer,) = [cell for cell in notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == "add-up"]
    answer.source = "total = 6"
    nbformat.write(notebook, path)
    nbgrader(home, "submit", episode.name)
    nbgrader(root, "collect", episode.name)

    (submitted,) = (root / "submitted").glob("[!.]*")
    student = submitted.name
    assert (episode.submitted(student) / "timestamp.txt").is_file()
    pool = QuickPool(tmp_path / "executed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(LazyPool, "get", lambda self, images, digest: pool)
        done = CliRunner().invoke(cli.app, ["grade", "1", "--no-sandbox", "--feedback"], catch_exceptions=False)
    assert done.exit_code == 0 and pool.runs() == [student]
    assert f"{student}: 0 of 5 points, 2 taken off for handing in late" in done.output

    nbgrader(root, "release_feedback", episode.name)
    nbgrader(home, "fetch_feedback", episode.name)
    (page,) = home.rglob("*.html")
    assert "Late submission penalty" in page.read_text(encoding="utf-8")
