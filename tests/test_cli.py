"""The command line: what it says, and the exit codes that scripts rely on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from autograder import cli


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in a folder: `run(folder, "build", "1")` returns its exit code, output and error output."""

    def command(folder: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["autograder", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def test_build_says_what_it_made_and_the_next_time_that_nothing_changed(course_factory, run):
    root = course_factory()
    code, said, _ = run(root, "build")
    assert code == 0
    assert "2 graded questions, 5 points (3 for written answers)" in said and "release/01-small/01-small.ipynb" in said
    assert "nothing changed" in run(root, "build", "1")[1]


def test_build_check_ends_with_1_when_a_notebook_is_out_of_date(course_factory, run):
    root = course_factory()
    assert run(root, "build", "--check")[0] == 1
    run(root, "build")
    assert run(root, "build", "--check")[0] == 0


@pytest.mark.parametrize("verb", ["build", "grade", "feedback", "export"])
def test_an_unknown_episode_ends_with_2_and_one_message(course_factory, run, verb):
    code, _, said = run(course_factory(), verb, "02-smal")
    assert code == 2
    assert said.startswith("Error: There is no episode '02-smal'.") and "Traceback" not in said


@pytest.mark.parametrize("arguments", [["grade", "1"], ["grade", "all"], ["feedback", "all"], ["export"]])
def test_nothing_to_work_on_ends_with_2_and_says_what_to_do(course_factory, run, arguments):
    code, _, said = run(course_factory(), *arguments)
    assert code == 2
    assert "submitted/" in said or "autograder grade" in said


def test_outside_a_course_folder_it_says_so(tmp_path, run):
    code, _, said = run(tmp_path, "build")
    assert code == 2 and "No course found" in said


def test_verbose_shows_where_an_error_came_from(tmp_path, run):
    from autograder.errors import CourseError

    with pytest.raises(CourseError):
        run(tmp_path, "build", "--verbose")


def test_a_faulty_configuration_is_named(course_factory, run):
    root = course_factory()
    (root / "nbgrader_config.py").write_text("c = get_config()\nc.Autograde.force = 1 / 0\n")
    code, _, said = run(root, "build")
    assert code == 2 and "nbgrader_config.py" in said and "ZeroDivisionError" in said


def test_a_bracket_in_a_message_is_no_markup(course_factory, run):
    code, _, said = run(course_factory(), "build", "[red]")
    assert code == 2 and "'[red]'" in said


def test_what_is_built_stands_in_the_run_log(course_factory, run):
    root = course_factory()
    run(root, "build")
    lines = [json.loads(line) for line in (root / "logs" / "autograder.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["episode"]) for line in lines] == [("built", "01-small")]


def test_a_log_that_cannot_be_written_stops_nothing(course_factory, run):
    root = course_factory()
    (root / "logs").write_text("in the way")
    assert run(root, "build")[0] == 0


def test_help_is_quick_because_it_loads_neither_tensorflow_nor_nbgrader():
    code = (
        "import sys\n"
        "from autograder import cli\n"
        "sys.argv = ['autograder', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print('loaded:', sorted({'tensorflow', 'nbgrader', 'jupytext'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "loaded: []" in done.stdout
    for verb in ("build", "grade", "feedback", "export", "demo", "doctor", "data"):
        assert f" {verb} " in done.stdout
