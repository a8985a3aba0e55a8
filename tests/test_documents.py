"""Every command in README.md, CONTRIBUTING.md and docs/ is run as it is written, or says why not, and exists."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import documents
import pytest
from documents import REPOSITORY, Step, problem_with, spoken_of, steps
from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from quick_class import hand_in
from small_course import SMALL_EPISODE

from autograder import cli
from autograder.build import build, register_assignment
from autograder.course import Episode, find_episode, load_config

PAGES = {str(path.relative_to(REPOSITORY)): path for path in documents.pages()}
STEPS = {name: list(steps(path)) for name, path in PAGES.items()}
RUN = {name: found for name, found in STEPS.items() if any(not step.reason for step in found)}
#: Pages about a class that is graded already.
GRADED = ("docs/how-to/export.md", "docs/how-to/backup.md", "docs/reference/exit-codes.md")
#: Pages about the real lessons, of which nothing is run but what looks at their text.
LESSONS = ("docs/how-to/change-an-exercise.md",)
SIMPLE = re.compile(r"autograder [\w./,:=+ \"-]+")

CLASS = "student_id,first_name,last_name,email\nada,Ada,Lovelace,ada@example.org\nbob,Bob,Ross,bob@example.org\n"
WORKSHEET = (
    "Identifier,Full name,ID number,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
    "Last modified (submission),Feedback comments\n"
    'Participant 501,Ada Lovelace,ada,ada@example.org,Submitted,,5.00,Yes,"Friday, 20 November 2026, 11:30 PM",\n'
    'Participant 502,Bob Ross,bob,bob@example.org,Submitted,,5.00,Yes,"Friday, 20 November 2026, 11:40 PM",\n'
)
CANVAS = (
    "Student,ID,SIS User ID,SIS Login ID,Section,01-introduction (88)\n    Points Possible,,,,,5\n"
    '"Lovelace, Ada",9001,ada,ada,A,\n"Ross, Bob",9002,bob,bob,A,\n'
)


@pytest.fixture(scope="module")
def small_course(tmp_path_factory) -> Path:
    """A course of one light episode that goes by the first episode's name, with what two students handed in."""
    root = tmp_path_factory.mktemp("course") / "course"
    path = root / "course" / "01-introduction" / "01-introduction.md"
    path.parent.mkdir(parents=True)
    path.write_text(SMALL_EPISODE)
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    episode = find_episode(root, "1")
    build(episode)
    for student, answer in (("ada", "total = sum([1, 2, 3])"), ("bob", "total = 7")):
        hand_in(episode, student, answer)
    with zipfile.ZipFile(root / "download.zip", "w") as archive:
        for name, student in (("Ada Lovelace_501", "ada"), ("Bob Ross_502", "bob")):
            notebook = episode.submitted(student) / f"{episode.name}.ipynb"
            archive.write(notebook, f"{name}_assignsubmission_file_/{notebook.name}")
    for name, text in (("class.csv", CLASS), ("worksheet.csv", WORKSHEET), ("gradebook.csv", CANVAS)):
        (root / name).write_text(text)
    return root


def grade_by_hand(episode: Episode) -> None:
    """Marks in the gradebook, as if all had been graded."""
    register_assignment(episode)
    with Gradebook(CourseDirectory(config=load_config(episode.root)).db_url) as gradebook:
        for name, first, last, number in (("ada", "Ada", "Lovelace", "9001"), ("bob", "Bob", "Ross", "9002")):
            gradebook.add_student(
                name, first_name=first, last_name=last, email=f"{name}@example.org", lms_user_id=number
            )
            gradebook.add_submission(episode.name, name)
            for grade in gradebook.find_submission_notebook(episode.name, episode.name, name).grades:
                grade.auto_score, grade.manual_score = 2.0, 2.0
        gradebook.db.commit()


@pytest.fixture
def prepared(small_course, tmp_path, data_folder):
    """A scratch copy of a course, in the state in which a page finds it."""

    def prepare(page: str) -> Path:
        root = tmp_path / "course"
        if page in LESSONS:
            root.mkdir()
            for name in ("course", "source", "release", "docs", "helpers", "autograder/samples"):
                shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
            for name in ("nbgrader_config.py", "README.md", "CONTRIBUTING.md", "LICENSE", "LICENSE-CONTENT"):
                shutil.copy(REPOSITORY / name, root)
            shutil.copy(REPOSITORY / "CITATION.cff", root)
        else:
            shutil.copytree(small_course, root)
        if page in GRADED:
            grade_by_hand(find_episode(root, "1"))
        (root / ".venv").symlink_to(sys.prefix)  # `. .venv/bin/activate`
        return root

    return prepare


@pytest.fixture
def do(monkeypatch, capfd):
    """Do a step in a folder; its exit code and all that it prints."""

    def run(step: Step, root: Path) -> tuple[int, str]:
        if not SIMPLE.fullmatch(step.command):
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", step.command],
                cwd=root,
                capture_output=True,
                text=True,
                env={**os.environ, "PATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
                check=False,
            )
            return done.returncode, done.stdout + done.stderr
        # The same in this process, which has nbgrader loaded already.
        monkeypatch.chdir(root)
        monkeypatch.setattr(sys, "argv", shlex.split(step.command))
        capfd.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = capfd.readouterr()
        return code, said.out + said.err

    return run


def in_order(shown: str, said: str) -> bool:
    """Whether the parts of a text that stand between `...` are in another one, in their order, whatever its lines."""
    parts = [r"\s*".join(map(re.escape, part.split())) for part in shown.split("...")]
    return re.search(".*".join(parts), said, re.DOTALL) is not None


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_the_commands_of_a_page_do_what_it_says_in_its_order(page, prepared, do, request):
    todo = [step for step in RUN[page] if not step.reason]
    if any(re.match(r"(auto|nb)grad\w* (auto)?grade ", step.command) for step in todo):
        request.getfixturevalue("needs_bubblewrap")
    root = prepared(page)
    for step in todo:
        code, said = do(step, root)
        # A command that shows findings ends with 1.
        assert code == 0 or (code == 1 and step.shows), f"{step}\nended with {code} and said:\n{said}"
        assert in_order(step.shows, said), f"{step}\nshould show:\n{step.shows}\nand said:\n{said}"


@pytest.mark.parametrize("name", PAGES)
def test_what_is_not_run_says_why_and_exists(name):
    for step in STEPS[name]:
        if step.reason:
            assert problem_with(step.command) == "", str(step)
            assert len(step.reason) > 10
    for command, line in spoken_of(PAGES[name]):
        assert problem_with(command, whole=False) == "", f"{name}, line {line}"


def test_few_commands_are_not_run_and_for_few_reasons():
    left = [step for found in STEPS.values() for step in found if step.reason]
    ran = [step for found in RUN.values() for step in found if not step.reason]
    reasons = Counter(step.reason for step in left)
    assert len(reasons) <= 20 and len(left) <= 1.5 * len(ran), reasons


def test_a_command_or_an_option_that_does_not_exist_is_found():
    for command in (
        "autograder grdae 1",
        "autograder grade 1 --job 2",
        "make tset",
        "python -m autograder.nothing",
        "pip install -e '.[nothing]'",
        "pytest tests/test_nothing.py",
        "nothing at all",
    ):
        assert problem_with(command), command


def test_python_in_the_documents_is_python():
    for name, path in PAGES.items():
        for token in documents.tokens(path):
            if token.type == "fence" and token.info.startswith("python"):
                ast.parse(token.content, f"{name}, line {token.map[0] + 1}")
