"""All commands, whatever there are: a help with an example that holds, lines in a pipe, documented exit codes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from click.testing import CliRunner
from quick_class import QuickPool, make_class

from autograder import cli
from autograder.errors import CourseError
from autograder.executors import LazyPool
from autograder.reference import parts_of_help

COMMANDS = typer.main.get_command(cli.app).commands
#: For each command a line that is quick in a small course, and the exit code that it ends with there: None where it
#: ends with a CourseError, which `main` turns into 2, ... where that depends on the machine.
LINES = {
    "build": ("build 1", 0),
    "lint": ("lint 1", 1),
    "bundle": ("bundle 1 --to bundle.zip", 0),
    "collect": ("collect handed-in", 1),
    "grade": ("grade 1 --no-sandbox", 1),
    "due": ("due 1 2026-12-01", 0),
    "extend": ("extend ada 1 --days 2", 0),
    "feedback": ("feedback 1 --students ada", 0),
    "report": ("report 1", 0),
    "export": ("export 1 --format moodle", 1),
    "backup": ("backup kept.tar.gz", 0),
    "restore": ("restore kept.tar.gz", 0),
    "adopt": ("adopt", 0),
    "data": ("data --archive nowhere.tar.gz", None),
    "demo": ("demo", None),
    "doctor": ("doctor --skip-sandbox", ...),
    "bank": ("bank 9", None),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each command printed in a small course, in the order of `LINES`, and how it ended."""
    root = tmp_path_factory.mktemp("class") / "course"
    make_class(root, {"ada": "total = 6", "bob": "total = 7"})
    (root / "submitted" / "cyd" / "01-small").mkdir(parents=True)
    (root / "submitted" / "cyd" / "01-small" / "01-small.ipynb").write_text("{")
    (root / "handed-in").mkdir()
    (root / "handed-in" / "nobodys.txt").write_text("whose?")
    pool, found = QuickPool(root.parent / "executed"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setattr(LazyPool, "get", lambda self, images, digest: pool)
        patch.setattr("autograder.demo.stage", refuse)
        for name, (line, _) in LINES.items():
            done = CliRunner().invoke(typer.main.get_command(cli.app), shlex.split(line))
            found[name] = done
    return found


def refuse(*_, **__):
    raise CourseError("no class of samples here")


def test_the_table_here_and_the_one_in_the_documents_know_every_command(repository):
    assert set(LINES) == set(COMMANDS)
    page = (repository / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `([a-z]+)` \|", page, re.M)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does_with_an_example_that_holds(name):
    command = COMMANDS[name]
    about, examples, _ = parts_of_help(command.help)
    assert about and examples, f"`autograder {name} --help` has no line 'Example: autograder {name} ...'"
    for example in examples:
        program, verb, *arguments = shlex.split(example)
        assert (program, verb) == ("autograder", name)
        command.make_context(name, arguments)  # raises where an option or an argument is not known
    for parameter in command.params:
        assert parameter.help, f"`autograder {name}`: {parameter.name} is not explained"


@pytest.mark.parametrize("name", LINES)
def test_every_command_works_in_a_pipe_with_lines_and_nothing_else(said, name):
    done = said[name]
    printed = done.stdout + done.stderr
    assert "\x1b" not in printed and "\r" not in printed and "\b" not in printed
    assert not re.search("[━╸╺█▏▎▍▌▋▊▉]", printed), "a bar"
    assert printed.strip() or isinstance(done.exception, CourseError)


@pytest.mark.parametrize("name", LINES)
def test_every_command_ends_with_a_documented_code(said, name):
    done, wanted = said[name], LINES[name][1]
    if wanted is ...:
        assert done.exit_code in (0, 1)
    elif wanted is None:
        assert isinstance(done.exception, CourseError) and "\n" not in str(done.exception).strip(), done.exception
    else:
        assert done.exit_code == wanted, (done.stdout, done.exception)
    documented = {code for code, _ in parts_of_help(COMMANDS[name].help)[2]}
    assert (wanted == 1) <= ("1" in documented), f"the help of `{name}` says nothing of exit code 1"


def test_the_report_command_writes_what_is_in_the_gradebook_now(said):
    assert "Class report: export/01-small/report.html" in said["report"].stdout


@pytest.mark.parametrize("arguments", [["nonsense"], ["grade"], ["grade", "1", "--nonsense"], ["extend", "ada"]])
def test_a_line_that_makes_no_sense_ends_with_2(arguments):
    assert CliRunner().invoke(typer.main.get_command(cli.app), arguments).exit_code == 2


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    program = [str(Path(sys.executable).parent / "autograder"), *arguments]
    return subprocess.run(
        program, cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_a_shell_completes_commands_episodes_and_students(course_factory):
    root = course_factory()
    (root / "submitted" / "ada").mkdir(parents=True)
    (root / "submitted" / ".attempts").mkdir()

    def completed(words: str) -> list[str]:
        done = run(
            cwd=root,
            _AUTOGRADER_COMPLETE="complete_bash",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split(" ")) - 1),
        )
        return done.stdout.split()

    assert completed("autograder gra") == ["grade"]
    assert completed("autograder grade 0") == ["01-small"]
    assert completed("autograder extend ") == ["ada"]
    assert "--share-identical" in completed("autograder grade --")
    # Which shell it is, is told by the process that the command was started from.
    script = shlex.join([str(Path(sys.executable).parent / "autograder"), "--show-completion"]) + "; exit $?"
    shown = subprocess.run(["bash", "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert "_AUTOGRADER_COMPLETE" in shown.stdout, shown.stderr


def test_a_reader_that_goes_away_early_is_no_error(course_factory):
    program = [str(Path(sys.executable).parent / "autograder"), "--help"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=course_factory()) as process:
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
