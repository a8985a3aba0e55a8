"""The simulation of large classes runs the real scheduling code, loses nothing, and made the document's figures."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest

from autograder import schedule, simulate
from autograder.errors import CourseError
from autograder.simulate import Assumptions, Clock, Costs, Failures, Plan, Report, SimulatedCluster, put_in, tables

EVEN = Costs(((10.0, 0.0),), {"gradebook": 5000})
NO_TROUBLE = Assumptions(start_seconds=0, failure_hours=math.inf, overhead_seconds=0)


def run(plan: Plan, costs: Costs = EVEN, assumptions: Assumptions = NO_TROUBLE, **options: int) -> Report:
    return simulate.simulate(plan, costs, assumptions, **options)


def test_scheduling_code_is_that_which_grades_real_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate.schedule is schedule.schedule
    monkeypatch.setattr(simulate, "schedule", lambda *_, **__: iter(()))
    with pytest.raises(AssertionError, match="7 submissions never came back"):
        run(Plan(7, 1, 2))


@pytest.mark.parametrize(("machines", "cores", "seconds"), [(1, 1, 1000), (1, 4, 250), (5, 4, 50), (100, 2, 10)])
def test_even_jobs_on_machines_that_never_die_take_what_can_be_worked_out(
    machines: int, cores: int, seconds: float
) -> None:
    report = run(Plan(100, machines, cores))
    assert report.seconds == pytest.approx(seconds)
    assert (report.graded, report.failed, report.tries) == (100, 0, 100)
    assert report.worker_busy == pytest.approx(1000 / (seconds * machines * cores))


def test_a_grader_that_is_slower_than_its_workers_sets_the_time() -> None:
    report = run(Plan(200, 10, 10), Costs(((1.0, 0.5),), {}))
    assert 100 <= report.seconds < 103
    assert report.grader_busy > 0.97 and report.worker_busy < 0.03
    four = run(Plan(200, 12, 10, graders=4), Costs(((1.0, 0.5),), {}))
    assert 25 <= four.seconds < 28


def test_starting_a_machine_takes_its_time_once() -> None:
    late = dataclasses.replace(NO_TROUBLE, start_seconds=120)
    assert run(Plan(100, 1, 4), assumptions=late).seconds == pytest.approx(250 + 120)


def test_when_machines_die_every_submission_still_comes_back_once() -> None:
    trouble = dataclasses.replace(NO_TROUBLE, failure_hours=0.05, notice_seconds=30, start_seconds=60)
    report = run(Plan(3000, 4, 8), assumptions=trouble)
    assert report.graded + report.failed == 3000
    assert report.tries > 3000 + 10
    assert report.seconds > run(Plan(3000, 4, 8)).seconds


def test_a_submission_whose_machines_all_die_is_without_a_result_after_three_tries() -> None:
    trouble = dataclasses.replace(NO_TROUBLE, failure_hours=0.0001)
    report = run(Plan(20, 2, 2), assumptions=trouble)
    assert (report.graded, report.failed, report.tries) == (0, 20, 60)


def test_the_same_seed_gives_the_same_report_and_another_one_does_not() -> None:
    costs = Costs(((1.0, 0.01), (2.0, 0.02), (5.0, 0.01)), {})
    trouble = dataclasses.replace(NO_TROUBLE, failure_hours=0.1)
    plan = Plan(500, 3, 2, graders=2)
    assert run(plan, costs, trouble) == run(plan, costs, trouble)
    assert run(plan, costs, trouble) != run(plan, costs, trouble, seed=33)


def test_no_grader_has_more_jobs_out_than_a_real_one_would() -> None:
    assert run(Plan(1000, 1, 2)).waiting == 64
    assert run(Plan(1000, 4, 8)).waiting == 128


def test_all_workers_of_a_machine_die_with_it() -> None:
    clock = Clock()
    failures = Failures(math.inf, 1)
    failures.next = lambda machine, after: 15.0 if machine == 0 and after < 15 else math.inf
    assumptions = dataclasses.replace(NO_TROUBLE, notice_seconds=5)
    cluster = SimulatedCluster(clock, 2, 2, lambda job: 10.0, failures, assumptions)
    futures = [cluster.submit(int, number) for number in range(8)]
    ended = {}
    while len(ended) < 8:
        for future in cluster.wait(futures):
            ended[futures.index(future)] = (clock.now, isinstance(future.exception(), schedule.WorkerLost))
    assert [ended[number] for number in range(4)] == [(10.0, False)] * 4
    assert sorted(ended[number] for number in range(4, 8)) == [(20.0, False), (20.0, False), (20.0, True), (20.0, True)]


def test_failures_come_as_often_as_they_should() -> None:
    failures, now, times = Failures(100.0, 5), 0.0, []
    for _ in range(4000):
        now = failures.next(0, now)
        times.append(now)
    assert times == sorted(set(times))
    assert now / len(times) == pytest.approx(100, rel=0.1)
    assert failures.next(0, times[7]) == times[8]


def test_a_grader_without_a_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a machine"):
        run(Plan(100, 2, 2, graders=3))


def test_measured_times_that_are_not_there_are_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match=r"latest.json holds no measured times .*Run `make bench` first"):
        Costs.read(tmp_path / "latest.json")
    nothing = {"jobs_seconds": [], "processor_share": 1, "bytes_per_submission": {}}
    (tmp_path / "latest.json").write_text(json.dumps(nothing))
    with pytest.raises(CourseError, match="the time of no submission"):
        Costs.read(tmp_path / "latest.json")


def test_times_of_a_busy_machine_are_cut_to_the_share_that_the_jobs_had(tmp_path: Path) -> None:
    found = {
        "jobs_seconds": [{"worker": 12.0, "grader": 0.4}],
        "processor_share": 0.25,
        "bytes_per_submission": {"gradebook": 5000},
    }
    (tmp_path / "latest.json").write_text(json.dumps(found))
    assert Costs.read(tmp_path / "latest.json") == Costs(((3.0, 0.1),), {"gradebook": 5000})


def test_tables_say_what_a_plan_takes_in_time_money_and_bytes() -> None:
    text = tables(EVEN, NO_TROUBLE, [Plan(7200, 1, 2)])
    assert "| 7,200 | 1 × 2 | 1 | 10.0 h | 20.0 | 1.00 | 0 | 0 | 100% | 0% |" in text
    assert "| gradebook | 5 kB | 36 MB |" in text


def test_tables_are_put_where_the_document_has_them_and_nowhere_else() -> None:
    text = f"before\n{simulate.BEGIN}\nold\n{simulate.END}\nafter\n"
    assert put_in(text, "new") == f"before\n{simulate.BEGIN}\n\nnew\n\n{simulate.END}\nafter\n"
    with pytest.raises(CourseError, match="found 0"):
        put_in("no place", "new")


@pytest.fixture(scope="module")
def measured(repository: Path) -> dict:
    return json.loads((repository / "bench" / "latest.json").read_text())


def test_simulated_class_of_the_benchmark_takes_about_what_the_real_one_took(repository: Path, measured: dict) -> None:
    costs = Costs.read(repository / "bench" / "latest.json")
    simulated = run(Plan(measured["submissions"], 1, 2), costs).seconds / measured["submissions"]
    real = measured["processor_share"] * measured["seconds_per_submission"]["two jobs"]
    assert 0.5 < simulated / real < 1.3


def test_figures_in_the_document_are_what_the_simulation_makes(repository: Path) -> None:
    text = (repository / "docs" / "explanation" / "scaling.md").read_text(encoding="utf-8")
    costs = Costs.read(repository / "bench" / "latest.json")
    inside = text[text.index(simulate.BEGIN) + len(simulate.BEGIN) : text.index(simulate.END)].strip()
    block, _, _ = inside.rpartition("\n\n<!-- seal: ")
    # The command has made just these figures, with just this code, from just these times ...
    assert simulate.sealed(costs, block) == inside, "run `python -m autograder.simulate --write`"
    # ... and makes them once more, as far as that takes seconds.
    quick = [plan for plan in simulate.PLANS if plan.submissions <= 10_000]
    rows = [line for line in tables(costs, plans=quick).split("\n") if "×" in line and "$" not in line]
    assert len(rows) == len(quick)
    assert set(rows) <= set(block.split("\n"))


def test_the_seal_breaks_with_a_figure_with_a_time_and_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulate.sealed(EVEN, "| 1 |")
    assert whole.startswith("| 1 |\n\n<!-- seal: ")
    others = [simulate.sealed(EVEN, "| 2 |"), simulate.sealed(Costs(((1.0, 1.0),), EVEN.bytes), "| 1 |")]
    monkeypatch.setattr(simulate, "amount", simulate.duration)
    others.append(simulate.sealed(EVEN, "| 1 |"))
    assert len({seal.partition("seal")[2] for seal in (whole, *others)}) == 4
