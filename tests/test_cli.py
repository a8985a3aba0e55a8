"""The command line: what it says, and the exit codes that scripts rely on."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from quick_class import QuickPool, hand_in, make_class
from rich.console import Console

from autograder import cli
from autograder.build import build
from autograder.course import find_episode


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


@pytest.mark.parametrize("url", ["dask://", "dask://host", "spark://host:1", "host:8786", "dask://a b:1"])
def test_an_address_of_no_executor_ends_with_2_and_says_what_one_looks_like(course_factory, run, url):
    code, _, said = run(course_factory(), "grade", "1", "--executor", url)
    assert code == 2 and "dask://HOST:PORT" in said


def test_jobs_are_for_this_machine(course_factory, run):
    code, _, said = run(course_factory(), "grade", "1", "--executor", "dask://localhost:8786", "--jobs", "2")
    assert code == 2 and "--jobs is for this machine" in said


def test_no_jobs_at_all_is_refused(course_factory, run):
    assert run(course_factory(), "grade", "1", "--jobs", "0")[0] == 2


def test_grading_and_feedback_in_one_go_and_what_is_said_on_the_way(tmp_path, run, monkeypatch):
    episode = make_class(tmp_path / "course", {"ada": "total = 6", "bob": "total = 7", "[red]": "total = 6"})
    (hand_in(episode, "cyd", None)).write_text("{")
    pool = QuickPool(tmp_path / "executed")
    monkeypatch.setattr("autograder.executors.LazyPool.get", lambda self, images, digest: pool)
    code, said, _ = run(episode.root, "grade", "1", "--feedback", "--no-sandbox", "--students", "ada,bob,[red],cyd")
    assert code == 1
    assert "Grading 01-small: 4 to do" in said and "ada: 2 of 5 points, 3 more wait for a person" in said
    assert "cyd: not graded." in said and "[red]: 2 of 5" in said
    assert "3 of 4 submission(s) graded" in said and "3 of them run just now" in said
    assert "Marks: 1.3 of 5 points so far, on average." in said and "1 could not be graded" in said
    assert "3 written answer(s) wait for you" in said and "Time by phase" in said
    assert "total should be 6; yours is 7" in episode.feedback("bob").read_text()
    assert f"ada: {episode.feedback('ada').relative_to(episode.root)}" in said
    code, said, _ = run(episode.root, "grade", "1", "--no-sandbox")
    assert code == 1 and "3 of 4 submission(s) graded" in said and "0 of them run just now" in said
    assert "ada: 2 of 5 points, 3 more wait for a person (unchanged since it was graded)" in said


@pytest.fixture
def two_episodes(tmp_path, run, monkeypatch):
    """Two episodes: ada and bob handed in the first, bob alone the second; and a command that runs in the course."""
    episode = make_class(tmp_path / "course", {"ada": "total = 6", "bob": "total = 7"})
    text = episode.root / "course" / "02-other" / "02-other.md"
    text.parent.mkdir()
    text.write_text(episode.text.read_text().replace("A small episode", "Another one"))
    second = find_episode(episode.root, "2")
    build(second)
    hand_in(second, "bob", "total = 6")
    monkeypatch.setattr(
        "autograder.executors.LazyPool.get", lambda self, images, digest: QuickPool(tmp_path / "executed")
    )
    return episode, second, lambda *arguments: run(episode.root, *arguments)


def test_students_named_for_all_episodes_are_graded_in_those_that_they_handed_in(two_episodes):
    first, second, run = two_episodes
    code, said, _ = run("grade", "all", "--no-sandbox", "--feedback", "--students", "ada")
    assert code == 0 and "ada: 2 of 5 points" in said and "02-other" not in said
    assert first.feedback("ada").is_file() and not first.autograded("bob").exists()
    code, said, _ = run("grade", "all", "--no-sandbox", "--students", "ada,bob")
    assert code == 0 and "Grading 01-small: 2 to do" in said and "Grading 02-other: 1 to do" in said
    code, said, _ = run("feedback", "all", "--students", "ada,bob")
    assert code == 0 and "Feedback on 02-other: 1 to do" in said
    assert all(path.is_file() for path in (first.feedback("ada"), first.feedback("bob"), second.feedback("bob")))
    code, _, said = run("grade", "all", "--students", "bob,adda")
    assert code == 2 and "Student 'adda' has not handed in any episode" in said and "Did you mean 'ada'" in said
    code, _, said = run("feedback", "all", "--students", "zoe")
    assert code == 2 and "Student 'zoe' was not graded in any episode" in said


def test_the_class_report_is_about_the_class_also_when_some_alone_are_graded(two_episodes):
    episode, _, run = two_episodes
    page = episode.root / "export" / episode.name / "report.html"
    assert run("grade", "1", "--no-sandbox", "--students", "bob")[0] == 0
    assert run("grade", "1", "--no-sandbox")[0] == 0
    hand_in(episode, "ada", "total = 6.0")
    code, said, _ = run("grade", "1", "--no-sandbox", "--students", "ada")
    assert code == 0 and "1 of 1 submission(s) graded" in said
    # Both, with what was found just now.
    assert "yours is 7" in page.read_text() and "the total must be a whole number" in page.read_text()


@pytest.mark.parametrize("command", [["grade", "1"], ["report", "1"], ["due"], ["export"]])
def test_a_damaged_gradebook_is_named_with_what_to_do(tmp_path, run, command):
    root = make_class(tmp_path / "course", {"ada": "total = 6"}).root
    (root / "gradebook.db").write_bytes(b"rubbish" * 1000)
    code, _, said = run(root, *command)
    assert code == 2 and f"The gradebook {root / 'gradebook.db'} is damaged" in said and "autograder restore" in said
    assert "Traceback" not in said


def test_a_file_that_cannot_be_used_is_named_in_one_message(course_factory, run):
    root = course_factory()
    (root / "release").write_text("in the way")
    code, _, said = run(root, "build")
    assert code == 2 and f"Error: {root / 'release' / '01-small'}: " in said and "--verbose" in said
    assert "Traceback" not in said
    with pytest.raises(OSError, match="release"):
        run(root, "build", "--verbose")


def test_on_a_terminal_a_bar_says_what_is_done_failed_and_left(monkeypatch):
    drawn = io.StringIO()
    monkeypatch.setattr(cli, "out", Console(file=drawn, force_terminal=True, width=120, highlight=False))
    with cli.steps("Grading 01-small", 3) as done:
        done("ada: 2 of 5 points")
        done("bob: not graded", failed=True)
    said = drawn.getvalue()
    assert "ada: 2 of 5 points" in said and "bob: not graded" in said
    assert "2 done, 1 failed, 1 left; time left:" in said


def test_stopping_says_what_is_done_and_how_to_go_on_and_ends_with_130(tmp_path, run, monkeypatch):
    episode = make_class(tmp_path / "course", {"ada": "total = 6", "bob": "total = 7", "cyd": "total = 8"})
    pool = QuickPool(tmp_path / "executed", jobs=1)
    work = pool.work

    def stopped_at_the_second(job):
        if job.student == "bob":
            os.kill(os.getpid(), signal.SIGINT)
        return work(job)

    pool.work, pool.in_flight = stopped_at_the_second, 1
    monkeypatch.setattr("autograder.executors.LazyPool.get", lambda self, images, digest: pool)
    code, said, _ = run(episode.root, "grade", "1", "--no-sandbox")
    assert code == 130
    assert "of 01-small are graded and recorded" in said and "Go on with the same command" in said
    assert "ada: 2 of 5 points" in said and "cyd:" not in said
    again = QuickPool(tmp_path / "executed")
    monkeypatch.setattr("autograder.executors.LazyPool.get", lambda self, images, digest: again)
    code, said, _ = run(episode.root, "grade", "1", "--no-sandbox")
    assert code == 0 and again.runs() == ["ada", "bob", "cyd"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_module_is_the_command_too(tmp_path):
    for module in ("autograder", "autograder.cli"):
        done = subprocess.run(
            [sys.executable, "-m", module, "grade", "1"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and "No course found" in done.stderr


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
    assert (
        "130"
        in subprocess.run(
            [sys.executable, "-m", "autograder", "grade", "--help"], capture_output=True, text=True, check=True
        ).stdout
    )
    for verb in ("build", "grade", "feedback", "export", "demo", "doctor", "data"):
        assert f" {verb} " in done.stdout
