"""The bank of answers: read as it is written, judged by the real engine, its mutants counted."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import psutil
import pytest
from processes import tree, wait_until
from small_course import SMALL_EPISODE
from typer.testing import CliRunner

from autograder import bank, cli
from autograder.bank import Equivalent, Job, Variant, by_episode, read_equivalents, read_variants, run_all, table
from autograder.build import build
from autograder.course import find_episode
from autograder.errors import CourseError

VARIANTS = """\
# Add up

Anything may stand here.

## right: by hand

```python
numbers = [1, 2, 3]
total = 1 + 2 + 3
```

## right: with a loop that changes the list

```python
numbers = [1, 2, 3]
total = 0
while numbers:
    total += numbers.pop()
```

## wrong: one too many

> should be 6

An off-by-one error.

```python
numbers = [1, 2, 3]
total = sum(numbers) + 1
```

## wrong: not a whole number

Points are for whole numbers.

```python
numbers = [1, 2, 3]
total = float(sum(numbers))
```
"""


@pytest.fixture
def course(course_factory) -> Path:
    root = course_factory()
    build(find_episode(root, "1"))
    folder = root / bank.FOLDER / "01-small"
    folder.mkdir(parents=True)
    (folder / "add-up.md").write_text(VARIANTS)
    return root


def test_variants_are_read_as_they_are_written(course):
    by_hand, loop, more, real = read_variants(course, "01-small")
    assert (by_hand.exercise, by_hand.verdict, by_hand.title) == ("add-up", "right", "by hand")
    assert by_hand.answer == "numbers = [1, 2, 3]\ntotal = 1 + 2 + 3"
    assert (more.verdict, more.says, more.why) == ("wrong", ("should be 6",), "An off-by-one error.")
    assert loop.verdict == "right" and real.verdict == "wrong"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("## maybe: x\n\nWhy.\n\n```python\na = 1\n```\n", "line 1: 'maybe: x' is no heading of a variant"),
        ("## wrong: x\n\nWhy.\n", "'x' has no answer"),
        ("## wrong: x\n\n```python\na = 1\n```\n", "'x' does not say why"),
        ("## right: x\n\n```python\na = 1\n```\n\n```python\na = 2\n```\n", "line 7: expected one block"),
    ],
)
def test_a_file_that_is_not_like_that_is_named_with_the_line(course, text, says):
    (course / bank.FOLDER / "01-small" / "add-up.md").write_text(text)
    with pytest.raises(CourseError, match=says):
        read_variants(course, "01-small")


def test_partial_answers_may_say_a_range_where_training_decides(course):
    headings = ("partial 1.5: half", "partial 0 to 3: some")
    text = "".join(f"## {heading}\n\nWhy.\n\n```python\na = 1\n```\n\n" for heading in headings)
    (course / bank.FOLDER / "01-small" / "add-up.md").write_text(text)
    half, some = read_variants(course, "01-small")
    assert (half.points, half.most, some.points, some.most, some.title) == (1.5, None, 0, 3, "some")
    scores = {
        (one, score): bank.Judged(one, "partial", score, 4, "").problem for one in (half, some) for score in (1.5, 4)
    }
    assert not scores[half, 1.5] and not scores[some, 1.5]
    assert "not 1.5:" in scores[half, 4] and "not 0 to 3:" in scores[some, 4]


def test_a_variant_of_an_exercise_that_does_not_exist_is_refused(course):
    stray = Variant("01-small", "add-down", "wrong", "x", "a = 1", "Why.")
    with pytest.raises(CourseError, match="no machine-graded exercise 'add-down'"):
        run_all([Job(find_episode(course, "1"), (stray,))])


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "a request to end"])
def test_stopped_while_an_answer_runs_it_ends_with_all_that_it_started_and_keeps_what_was_judged(course, how):
    (course / bank.FOLDER / "01-small" / "add-up.md").write_text(
        f"{VARIANTS}\n## right: after a long sleep\n\n```python\nimport time\n\ntime.sleep(500)\ntotal = 6\n```\n"
    )
    judged = len(read_variants(course, "01-small")) - 1
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:  # sockets want a short path
        process = subprocess.Popen(
            [sys.executable, "-m", "autograder", "bank", "1"],
            cwd=course,
            env=os.environ | {"TMPDIR": temporary},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        kept = course / ".autograder" / "bank" / "01-small.jsonl"
        wait_until(lambda: kept.exists() and len(kept.read_text().splitlines()) >= judged, "answers were kept", process)
        started = tree(process)
        process.send_signal(how)
        said, _ = process.communicate(timeout=120)  # the answer would sleep for longer
        _, alive = psutil.wait_procs(started, timeout=60)
        left = list(Path(temporary).iterdir())
    assert process.returncode == 130 and "Go on with the same command" in said and "Traceback" not in said
    assert started and not alive and not left
    assert len([json.loads(line) for line in kept.read_text().splitlines()]) >= judged


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
def test_the_engine_judges_each_variant_as_if_it_stood_alone_and_finds_checks_that_nobody_needs(course):
    episode = find_episode(course, "1")
    # the hidden part covers what the visible one checks: the second assert is there for the student
    source = episode.source.read_text()
    assert "assert isinstance(total, int)" in source
    episode.source.write_text(
        source.replace("assert isinstance(total, int)", "assert total == 6 and type(total) is int")
    )
    variants = [*bank.untouched(episode), *read_variants(course, "01-small")]
    silent = Variant(
        "01-small", "add-up", "wrong", "says too little", "total = 7", "Why.", ("a text that is not said",)
    )
    mistaken = Variant("01-small", "add-up", "right", "not right at all", "total = 5", "Why.")
    outcome = by_episode(run_all([Job(episode, (*variants, silent, mistaken), mutate_tests=True)]))["01-small"]
    problems = {one.variant.title: one.problem for one in outcome.judged if one.problem}
    assert set(problems) == {"says too little", "not right at all"}
    assert "does not say 'a text that is not said'" in problems["says too little"]
    assert "a right answer got 0 of 2 points" in problems["not right at all"]
    # of three asserts the first only words a message: the second would catch the untouched answer too
    assert [at in outcome.needed["add-up-test"] for at in range(3)] == [False, True, True]
    row = table(outcome)["add-up"]
    assert (row.right, row.right_failed, row.wrong, row.wrong_passed) == (3, 1, 4, 0)
    assert (row.assertions, row.assertions_needed) == (3, 2)


def test_a_fair_sample_is_the_same_each_time_and_leaves_no_exercise_and_no_partial_answer_out():
    def some(exercise: str, verdict: bank.Verdict, count: int) -> list[Variant]:
        return [Variant("01-small", exercise, verdict, f"{verdict} {at}", "a") for at in range(count)]

    untouched = Variant("01-small", "one", "wrong", bank.NOT_ATTEMPTED, "a")
    variants = [untouched, *some("one", "right", 5), *some("one", "wrong", 9), *some("one", "partial", 4)]
    variants += [*some("two", "right", 2), *some("two", "wrong", 3)]
    sample = bank.fair_sample(variants, right=3, wrong=5)
    counts = Counter((one.exercise, one.verdict) for one in sample)
    assert counts == {
        ("one", "right"): 3,
        ("one", "wrong"): 6,
        ("one", "partial"): 4,
        ("two", "right"): 2,
        ("two", "wrong"): 3,
    }
    assert sample == [one for one in variants if one in sample] and untouched in sample
    assert set(sample) == set(bank.fair_sample(variants[::-1], right=3, wrong=5))


def test_equivalent_mutants_are_not_counted(course):
    mutants = [Variant("01-small", "add-up", "wrong", name, "a = 1", mutant=True) for name in ("one", "two", "three")]
    outcome = bank.Outcome([bank.Judged(m, "passed", s, 2, "") for m, s in zip(mutants, (2, 2, 0), strict=True)])
    row = table(outcome, [Equivalent("add-up", "two", "no difference")])["add-up"]
    assert (row.mutants, row.mutants_caught) == (2, 1)


def test_equivalents_are_read_and_a_damaged_file_is_named(course):
    path = course / bank.FOLDER / "01-small" / "equivalent.toml"
    path.write_text('[[equivalent]]\nexercise = "add-up"\nchange = "x"\nreason = "none"\n')
    assert read_equivalents(course, "01-small") == [Equivalent("add-up", "x", "none")]
    path.write_text('[[equivalent]]\nexercise = "add-up"\nchanges = ["x", "y"]\nreason = "none"\n')
    assert [one.change for one in read_equivalents(course, "01-small")] == ["x", "y"]
    path.write_text('[[equivalent]]\nexercise = "add-up"\n')
    with pytest.raises(CourseError, match=r"equivalent\.toml cannot be used"):
        read_equivalents(course, "01-small")


def worked_example(repository: Path) -> tuple[str, str, str]:
    """What CONTRIBUTING.md shows: an exercise, its bank, and what the command prints."""
    text = (repository / "CONTRIBUTING.md").read_text()
    section = text[text.index("### Add an exercise") : text.index("## Change the code")]
    exercise, answers = re.findall(r"^````markdown\n(.*?)^````$", section, re.MULTILINE | re.DOTALL)
    (printed,) = re.findall(r"^```text\n(\| exercise.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return exercise, answers, printed


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
def test_the_worked_example_of_contributing_prints_what_it_says_and_the_same_for_machines(
    course_factory, repository, monkeypatch
):
    exercise, answers, printed = worked_example(repository)
    root = course_factory({"01-small": f"{SMALL_EPISODE}\n{exercise}"})
    build(find_episode(root, "1"))
    folder = root / bank.FOLDER / "01-small"
    folder.mkdir(parents=True)
    (folder / "brightness.md").write_text(answers)
    monkeypatch.chdir(root)
    command = ["bank", "1", "--mutants", "--exercise", "brightness"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    assert printed in done.stdout
    again = CliRunner().invoke(cli.app, [*command, "--json"])
    assert json.loads(again.stdout) == {
        "exercises": {
            "brightness": {
                "right": 3,
                "right_failed": 0,
                "wrong": 7,
                "wrong_passed": 0,
                "mutants": 6,
                "mutants_caught": 6,
                "assertions": 2,
                "assertions_needed": 2,
            }
        }
    }
    unknown = CliRunner().invoke(cli.app, ["bank", "1", "--exercise", "darkness"])
    assert "no machine-graded exercise 'darkness'" in str(unknown.exception) and "brightness" in str(unknown.exception)
