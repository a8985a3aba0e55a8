"""The benchmark measures what it says: the time of a command, the memory of its tree, the same class in each way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from autograder import bench
from autograder.bench import Measured, Run, as_graded, make_class, record, reseeded, solved, tables, timed
from autograder.build import read_notebook
from autograder.course import find_episode
from autograder.whole import write_json_whole

HOLD = "import time; held = bytearray(200 * 2**20); time.sleep(1.2)"
BURN = "import time\nwhile time.process_time() < 0.6: pass"


def child_of(code: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {code!r}], check=True)",
    ]


def test_time_and_memory_of_a_command_include_its_descendants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MEMORY_TICK", 0.02)
    monkeypatch.setattr(bench, "MEMORY_SHARE", 1.0)
    run = timed(child_of(HOLD), tmp_path)
    assert run.seconds >= 1.2
    assert 200 * 2**20 <= run.peak_memory_bytes < 400 * 2**20


def test_processor_time_of_a_command_includes_its_descendants(tmp_path: Path) -> None:
    assert timed(child_of(BURN), tmp_path).cpu_seconds >= 0.6


def test_command_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended with 3:\nno gradebook here"):
        timed([sys.executable, "-c", "print('no gradebook here'); raise SystemExit(3)"], tmp_path)


def test_exit_codes_that_count_as_a_result_are_allowed(tmp_path: Path) -> None:
    assert timed([sys.executable, "-c", "raise SystemExit(1)"], tmp_path, (0, 1)).seconds > 0


@pytest.fixture(scope="module")
def course(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> bench.Class:
    return make_class(repository, submissions=13, rounds=2, folder=tmp_path_factory.mktemp("class"))


def test_class_is_divided_into_as_many_parts_as_there_are_rounds(course: bench.Class) -> None:
    assert [len(part) for part in course.parts] == [7, 6] and course.size == 13
    assert all(name.startswith(f"part-{number}-") for number, part in enumerate(course.parts, 1) for name in part)


def test_every_copy_of_a_submission_has_a_seed_of_its_own(course: bench.Class) -> None:
    texts = [path.read_text() for path in course.episode.root.glob("submitted/*/*/*.ipynb")]
    assert len(texts) == len(set(texts)) == 13
    assert all(any(f"set_random_seed({seed})" in text for text in texts) for seed in range(32, 45))


def test_solution_of_the_class_is_the_instructors_without_any_mark(repository: Path) -> None:
    source = read_notebook(find_episode(repository, "1").source)
    answers = solved(source).answers
    assert {"compile-and-fit", "save-model", "inspect-dataset"} <= set(answers)
    assert "history_intro = model_intro.fit(" in answers["compile-and-fit"]
    assert not any(mark in answer for answer in answers.values() for mark in ("SOLUTION", "MARK SCHEME", "#?"))


def test_floor_runs_the_hidden_tests_and_students_never_get_them(course: bench.Class) -> None:
    name = course.parts[0][0]
    floor = nbformat.read(course.folder / "floor" / f"{name}.ipynb", as_version=4)
    handed_in = nbformat.read(course.episode.submitted(name) / f"{course.episode.name}.ipynb", as_version=4)
    assert len(floor.cells) == len(handed_in.cells)
    assert sum("BEGIN HIDDEN TESTS" in cell.source for cell in floor.cells) == 4
    assert not any("HIDDEN TESTS" in cell.source for cell in handed_in.cells)


def test_another_seed_and_the_graders_tests_leave_the_notebook_that_was_given_as_it_is(course: bench.Class) -> None:
    notebook, before = read_notebook(course.episode.release), read_notebook(course.episode.release)
    reseeded(notebook, 7)
    as_graded(notebook, read_notebook(course.episode.source))
    assert notebook == before


def measured() -> Measured:
    found = Measured(40, phases={"run": 1.0}, light={2: [5.0, 5.2], 40: [24.0, 24.2], 400: [204.1]})
    for way, seconds in {"nbgrader": 100.0, "one job": 90.0, "two jobs": 50.0, "floor": 40.0, "again": 0.8}.items():
        for share in (20, 20) if way == "nbgrader" else (40, 40):
            found.add(way, Run(seconds * share / 20, 2**30, seconds), share)
    return found


def test_ratios_compare_what_a_submission_costs_however_many_each_way_has_graded() -> None:
    assert measured().ratios() == {
        "nbgrader_over_two_jobs": 2.0,
        "two_jobs_over_floor": 1.25,
        "one_job_over_two_jobs": 1.8,
        "regrade_over_first": 0.016,
        "cost_400_over_40": 1.0,
    }


def test_share_of_the_processor_tells_a_busy_machine_from_a_quiet_one() -> None:
    found = measured()
    assert found.processor_share() == 1
    found.jobs = [{"worker": 190.0, "grader": 10.0}, {"worker": 199.0, "grader": 1.0}]
    assert found.processor_share() == 0.25
    found.runs["two jobs"] = [Run(1.0, 0, 500.0)]
    assert found.processor_share() == 1


def test_ratio_of_a_way_that_was_left_out_is_not_made_up() -> None:
    found = measured()
    del found.runs["nbgrader"]
    assert "nbgrader_over_two_jobs" not in found.ratios() and "two_jobs_over_floor" in found.ratios()


def test_file_holds_what_the_table_shows(tmp_path: Path) -> None:
    data = record(measured(), bench.machine())
    write_json_whole(tmp_path / "bench" / "latest.json", data)
    again = json.loads((tmp_path / "bench" / "latest.json").read_text())
    assert again == data and {"ratios", "peak_memory_bytes", "phases_seconds", "machine", "versions"} <= set(again)
    assert set(again["ratios"]) == set(bench.TARGETS)
    assert [path.name for path in (tmp_path / "bench").iterdir()] == ["latest.json"]
    assert [table.row_count for table in tables(data)] == [5, 6, 1]


def test_a_time_counts_only_if_everybody_was_graded(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "autograder.jsonl"
    log.parent.mkdir()
    events = [{"kind": "graded", "student": "ada"}, {"kind": "graded", "student": "bob", "problem": "no kernel"}]
    log.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert len(bench.check_all_graded(tmp_path, ["ada"])) == 2
    with pytest.raises(RuntimeError, match=r"1 submissions were not graded, the first is bob: no kernel"):
        bench.check_all_graded(tmp_path, ["ada", "bob"])
    with pytest.raises(RuntimeError, match="nothing in the run log"):
        bench.check_all_graded(tmp_path, ["eve"])


def test_second_run_counts_only_if_it_ran_no_notebook(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "autograder.jsonl"
    log.parent.mkdir()
    first, again = ({"kind": "graded", "student": "ada", "fresh": fresh} for fresh in (True, False))
    log.write_text(f"{json.dumps(first)}\n{json.dumps(again)}\n")
    bench.check_nothing_graded(tmp_path, 1)
    log.write_text(f"{json.dumps(first)}\n{json.dumps(first)}\n")
    with pytest.raises(RuntimeError, match="graded submissions anew"):
        bench.check_nothing_graded(tmp_path, 1)


def test_floor_runs_each_notebook_in_a_bare_process_of_its_own(tmp_path: Path) -> None:
    cells = ["import os", "kept = 1", "raise ValueError", "open('mine', 'w').write('x')", "assert kept == 1"]
    shared = ["import os", "assert not os.path.exists('mine')", "kept"]
    for name, sources in {"first": cells, "second": shared, "dies": ["import os", "os._exit(3)"]}.items():
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    paths = [str(tmp_path / f"{name}.ipynb") for name in ("first", "second", "dies")]
    command = [sys.executable, "-m", "autograder.floor", *paths, "--jobs", "1", "--light"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["name"], one["cells"], one["failed"]) for one in found] == [
        ("first", 5, 1),
        ("second", 3, 1),
        ("dies", None, None),
    ]
    assert not (tmp_path / "mine").exists()
