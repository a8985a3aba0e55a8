"""A gradebook in PostgreSQL: a real server, and the same marks as in SQLite at every step."""

from __future__ import annotations

import csv
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from small_course import SMALL_EPISODE

from autograder.course import Episode, find_episode

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("needs_bubblewrap")]

PROGRAMS = Path(sys.executable).parent
ANSWERS = {
    "ada": {"add-up": "total = 1 + 2 + 3", "say-why": "Because addition is commutative."},
    "bob": {"add-up": "total = 7", "say-why": "It is what it is; der Größe nach: '; DROP TABLE grade; --"},
    "cyd": {},
    "dee": {"add-up": "raise RuntimeError('stuck')"},
    "O'Neil [1]": {"add-up": "total = 6"},
}


@dataclass
class Server:
    """A PostgreSQL server that listens on a socket in a folder of its own."""

    folder: Path

    def url(self, database: str) -> str:
        """What nbgrader calls `db_url`."""
        return f"postgresql+psycopg2://grader@/{database}?host={self.folder}"


@pytest.fixture(scope="module")
def server(needs_postgresql: Path) -> Iterator[Server]:
    import psycopg2

    # Not pytest's folder: root's server runs as another user, who may not look into it, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    become: list[str] = []
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        become = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    data = folder / "data"
    subprocess.run(
        [*become, needs_postgresql / "initdb", "-D", data, "-U", "grader", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True, capture_output=True, cwd=folder, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*become, needs_postgresql / "postgres", "-D", data, "-k", folder, "-F", "-c", "listen_addresses="],
            stdout=log, stderr=log, cwd=folder,
        )  # fmt: skip
    try:
        for _ in range(600):
            try:
                psycopg2.connect(host=str(folder), user="grader", dbname="postgres").close()
                break
            except psycopg2.OperationalError:
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.1)
        connection = psycopg2.connect(host=str(folder), user="grader", dbname="postgres")
        connection.autocommit = True
        for name in ("marks", "plain"):
            connection.cursor().execute(f"CREATE DATABASE {name}")
        connection.close()
        yield Server(folder)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Course:
    """A course, and where its marks are."""

    root: Path
    url: str

    @property
    def episode(self) -> Episode:
        return find_episode(self.root, "1")

    def run(self, *command: str, allowed: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run(
            [PROGRAMS / command[0], *command[1:]], cwd=self.root, capture_output=True, text=True, check=False
        )
        assert done.returncode in allowed, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def marks(self) -> dict[tuple[str, str], tuple[float | None, float | None, bool]]:
        with Gradebook(self.url) as gradebook:
            return {
                (student.id, grade.name): (grade.auto_score, grade.manual_score, grade.needs_manual_grade)
                for student in gradebook.students
                for grade in gradebook.find_submission_notebook("01-small", "01-small", student.id).grades
            }

    def mark_by_hand(self, student: str, exercise: str, points: float) -> None:
        """What Formgrader does when a person types in a mark."""
        with Gradebook(self.url) as gradebook:
            grade = gradebook.find_grade(exercise, "01-small", "01-small", student)
            grade.manual_score, grade.needs_manual_grade = points, False
            gradebook.db.commit()

    def exported(self) -> list[list[str]]:
        self.run("autograder", "export", "1")
        with (self.root / "export" / "exercises.csv").open(newline="") as file:
            return list(csv.reader(file))


def make_course(repository: Path, root: Path, url: str) -> Course:
    (root / "course" / "01-small").mkdir(parents=True)
    (root / "course" / "01-small" / "01-small.md").write_text(SMALL_EPISODE)
    config = (repository / "nbgrader_config.py").read_text()
    (root / "nbgrader_config.py").write_text(f"{config}\nc.CourseDirectory.db_url = {url!r}\n")
    course = Course(root, url)
    course.run("autograder", "build", "all")
    for student, answers in ANSWERS.items():
        notebook = nbformat.read(course.episode.release, as_version=4)
        for cell in notebook.cells:
            cell.source = answers.get(cell.id, cell.source)
        folder = course.episode.submitted(student)
        folder.mkdir(parents=True)
        nbformat.write(notebook, folder / "01-small.ipynb")
    return course


@dataclass
class Graded:
    """One course at three moments: what its gradebook said, and what was exported."""

    first: dict
    regraded: dict
    exported: list[list[str]]
    unchanged: dict


def grade(course: Course) -> Graded:
    course.run("autograder", "grade", "1")
    first = course.marks()
    course.mark_by_hand("ada", "say-why", 2.5)
    course.mark_by_hand("bob", "add-up-test", 1)
    course.run("autograder", "grade", "1", "--force")
    regraded, exported = course.marks(), course.exported()
    course.run("autograder", "grade", "1")
    return Graded(first, regraded, exported, course.marks())


@pytest.fixture(scope="module")
def by_autograder(server: Server, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Graded, Graded]:
    """The same class, graded into PostgreSQL and into SQLite."""
    root = tmp_path_factory.mktemp("autograder")
    postgresql = make_course(repository, root / "postgresql", server.url("marks"))
    sqlite = make_course(repository, root / "sqlite", f"sqlite:///{root}/sqlite/gradebook.db")
    return grade(postgresql), grade(sqlite)


def test_marks_in_postgresql_are_those_in_sqlite(by_autograder: tuple[Graded, Graded]) -> None:
    postgresql, sqlite = by_autograder
    assert len(postgresql.first) == 2 * len(ANSWERS)
    assert postgresql.first == sqlite.first
    assert postgresql.first["ada", "add-up-test"] == (2, None, False)
    assert postgresql.first["bob", "add-up-test"] == (0, None, False)
    assert postgresql.first["ada", "say-why"] == (None, None, True)


def test_manual_marks_in_postgresql_survive_a_regrade(by_autograder: tuple[Graded, Graded]) -> None:
    postgresql, sqlite = by_autograder
    assert postgresql.regraded == sqlite.regraded
    assert postgresql.regraded["ada", "say-why"][:2] == (None, 2.5)
    assert postgresql.regraded["bob", "add-up-test"][:2] == (0, 1)
    untouched = {key: mark for key, mark in postgresql.regraded.items() if mark[1] is None}
    assert untouched == {key: mark for key, mark in postgresql.first.items() if key in untouched}


def test_a_run_with_nothing_to_do_leaves_postgresql_as_it_is(by_autograder: tuple[Graded, Graded]) -> None:
    assert by_autograder[0].unchanged == by_autograder[0].regraded


def test_export_from_postgresql_is_that_from_sqlite(by_autograder: tuple[Graded, Graded]) -> None:
    postgresql, sqlite = by_autograder
    assert postgresql.exported == sqlite.exported
    assert ["01-small", "ada", "say-why", "written", "marked", "2.5", "3"] in postgresql.exported


def test_nbgrader_itself_grades_into_postgresql_with_the_same_marks(
    server: Server, repository: Path, tmp_path: Path, by_autograder: tuple[Graded, Graded]
) -> None:
    course = make_course(repository, tmp_path / "plain", server.url("plain"))
    course.run("nbgrader", "generate_assignment", "01-small", "--force")
    course.run("nbgrader", "autograde", "01-small")
    first = course.marks()
    assert first == by_autograder[0].first
    course.mark_by_hand("ada", "say-why", 2.5)
    course.run("nbgrader", "autograde", "01-small", "--force", "--student", "ada")
    assert {key: mark[:2] for key, mark in course.marks().items()} == {
        **{key: mark[:2] for key, mark in first.items()},
        ("ada", "say-why"): (None, 2.5),
    }
