"""What large classes take: measured times and failures, replayed through the scheduling code that grades for real.

`autograder.schedule` does not know what time it is, so it can be given an executor whose machines do not exist. Here
each job takes the time that a job of the benchmark took (`bench/latest.json`), machines die and come back, and the
clock is a number. A million submissions need a minute or two.

`python -m autograder.simulate` prints the tables of `docs/explanation/scaling.md`, and `--write` puts them there.
"""

from __future__ import annotations

import argparse
import heapq
import inspect
import json
import math
import random
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder import schedule as scheduling
from autograder.course import find_root
from autograder.errors import CourseError
from autograder.jobs import digest
from autograder.schedule import Outcome, WorkerLost, schedule

HOUR = 3600.0
BEGIN, END = "<!-- simulated: begin -->", "<!-- simulated: end -->"


@dataclass(frozen=True)
class Costs:
    """What grading a submission was measured to cost.

    Attributes:
        jobs: For each submission that was measured: seconds in a worker, and seconds in the grader's process, which
            sanitises and records.
        bytes: Bytes a submission by what keeps them, such as `gradebook`.
    """

    jobs: tuple[tuple[float, float], ...]
    bytes: Mapping[str, int]

    @classmethod
    def read(cls, path: Path) -> Costs:
        """The costs in a file of the benchmark.

        If other programs kept the machine busy meanwhile, times are cut to the share in which the jobs had a processor.

        Raises:
            CourseError: The file is not there, or holds no such times.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            share = float(found["processor_share"])
            jobs = tuple((share * job["worker"], share * job["grader"]) for job in found["jobs_seconds"])
            sizes = {str(name): int(size) for name, size in found["bytes_per_submission"].items()}
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise CourseError(
                f"{path} holds no measured times ({type(problem).__name__}: {problem}). Run `make bench` first."
            ) from None
        if not jobs:
            raise CourseError(f"{path} holds the time of no submission. Run `make bench` first.")
        return cls(jobs, sizes)

    @property
    def worker_seconds(self) -> float:
        """Seconds in a worker, on average."""
        return sum(worker for worker, _ in self.jobs) / len(self.jobs)

    @property
    def grader_seconds(self) -> float:
        """Seconds in the grader's process, on average."""
        return sum(grader for _, grader in self.jobs) / len(self.jobs)


@dataclass(frozen=True)
class Assumptions:
    """What was not measured.

    Attributes:
        price: US dollars for a core and an hour.
        start_seconds: From asking for a machine to its first job.
        failure_hours: Hours after which a machine dies, on average; at random.
        notice_seconds: Until the scheduler knows that a machine is dead, and its jobs go to others.
        bytes_per_second: Between the grader's machine and all workers together.
        overhead_seconds: For each job, on its way through the cluster's scheduler.
    """

    price: float = 0.05
    start_seconds: float = 120.0
    failure_hours: float = 24.0
    notice_seconds: float = 300.0
    bytes_per_second: float = 125e6
    overhead_seconds: float = 0.002


@dataclass(frozen=True)
class Plan:
    """A class, and what is to grade it.

    Attributes:
        submissions: How many.
        machines: How many machines run workers.
        cores: Cores of each, and workers: one a core.
        graders: How many grader's processes share the class, each with a gradebook and machines of its own.
    """

    submissions: int
    machines: int
    cores: int
    graders: int = 1


@dataclass
class Report:
    """What came of a plan.

    Attributes:
        plan: The plan.
        seconds: From the first command to the last mark.
        graded: Submissions with a result.
        failed: Submissions without one.
        tries: Jobs that were handed out, those that were lost included.
        worker_busy: Share of the workers' time in which they worked.
        grader_busy: Share of the time in which the busiest grader's process worked.
        waiting: The most jobs that one grader had out at a time.
    """

    plan: Plan
    seconds: float = 0.0
    graded: int = 0
    failed: int = 0
    tries: int = 0
    worker_busy: float = 0.0
    grader_busy: float = 0.0
    waiting: int = 0

    @property
    def core_hours(self) -> float:
        """Core-hours of all machines, from first to last."""
        return self.plan.machines * self.plan.cores * self.seconds / HOUR


class Clock:
    """The time of a simulation, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0


class Failures:
    """When machines die.

    Args:
        mean_seconds: Between two failures of one machine, on average.
        seed: Of the random numbers.
    """

    def __init__(self, mean_seconds: float, seed: int) -> None:
        self.mean_seconds, self.seed = mean_seconds, seed
        self._times: dict[int, list[float]] = {}
        self._chance: dict[int, random.Random] = {}

    def next(self, machine: int, after: float) -> float:
        """The first time after `after` at which a machine dies; infinity if it never does."""
        if not math.isfinite(self.mean_seconds):
            return math.inf
        times = self._times.setdefault(machine, [])
        chance = self._chance.setdefault(machine, random.Random(f"{self.seed} {machine}"))
        while not times or times[-1] <= after:
            times.append((times[-1] if times else 0.0) + chance.expovariate(1 / self.mean_seconds))
        return times[bisect_right(times, after)]


class SimulatedCluster(Executor):
    """Workers on machines that do not exist, which take the first job that waits, as real ones do.

    Args:
        clock: The time; `wait` puts it forward.
        machines: How many machines.
        cores: Workers on each.
        seconds: The time that a job takes, given the job.
        failures: When machines die.
        assumptions: What was not measured.
    """

    def __init__(
        self,
        clock: Clock,
        machines: int,
        cores: int,
        seconds: Callable[[Any], float],
        failures: Failures,
        assumptions: Assumptions,
    ) -> None:
        self.clock, self.seconds, self.failures, self.assumptions = clock, seconds, failures, assumptions
        start = assumptions.start_seconds
        self._free = [(start, worker, worker // cores) for worker in range(machines * cores)]
        self._ends: list[tuple[float, int, Future[Any], Any, BaseException | None]] = []
        self._number = 0
        self.busy = 0.0
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Give a job to the worker that is free first, and note when it will end, and how."""
        (job,) = args
        free, worker, machine = heapq.heappop(self._free)
        begin = max(free, self.clock.now)
        end = begin + self.seconds(job)
        dies = self.failures.next(machine, begin)
        future: Future[Any] = Future()
        self._number += 1
        if dies < end:
            self.busy += dies - begin
            lost = WorkerLost(f"machine {machine} died")
            heapq.heappush(self._ends, (dies + self.assumptions.notice_seconds, self._number, future, job, lost))
            heapq.heappush(self._free, (dies + self.assumptions.start_seconds, worker, machine))
        else:
            self.busy += end - begin
            heapq.heappush(self._ends, (end, self._number, future, job, None))
            heapq.heappush(self._free, (end, worker, machine))
        self.most = max(self.most, len(self._ends))
        return future

    def wait(self, futures: Collection[Future[Any]]) -> list[Future[Any]]:
        """Let time pass until a job ends, and end all that have ended by then."""
        if self._ends:
            self.clock.now = max(self.clock.now, self._ends[0][0])
        done = []
        while self._ends and self._ends[0][0] <= self.clock.now:
            _, _, future, job, lost = heapq.heappop(self._ends)
            if future.cancelled():
                continue
            if lost is None:
                future.set_result(job)
            else:
                future.set_exception(lost)
            done.append(future)
        return done


def simulate(
    plan: Plan, costs: Costs, assumptions: Assumptions | None = None, *, batch: int = 16, seed: int = 32
) -> Report:
    """Grade a class that does not exist, with the scheduling code that grades real ones.

    Args:
        plan: The class and the machines.
        costs: What was measured.
        assumptions: What was not.
        batch: How many results are recorded together.
        seed: Of the random numbers; the same seed gives the same report.

    Raises:
        ValueError: A grader would have no machine, or no submission.
    """
    assumptions = assumptions or Assumptions()
    if not 1 <= plan.graders <= min(plan.machines, plan.submissions):
        raise ValueError(f"every grader needs a machine and a submission, but there are {plan}")
    report = Report(plan)
    worked = grader = 0.0
    for number in range(plan.graders):
        mine = _Grader(
            _share(plan.submissions, plan.graders, number),
            _share(plan.machines, plan.graders, number),
            plan.cores,
            costs,
            assumptions,
            seed=seed * 1000 + number,
        )
        mine.run(batch)
        report.seconds = max(report.seconds, mine.clock.now)
        report.graded += mine.graded
        report.failed += mine.failed
        report.tries += mine.tries
        report.waiting = max(report.waiting, mine.cluster.most)
        worked += mine.cluster.busy
        grader = max(grader, mine.busy / mine.clock.now)
    report.worker_busy = worked / (plan.machines * plan.cores * report.seconds)
    report.grader_busy = grader
    return report


def _share(number: int, parts: int, at: int) -> int:
    return number // parts + (at < number % parts)


@dataclass
class _Grader:
    """One grader's process, which sanitises, hands out and records, one thing at a time."""

    submissions: int
    machines: int
    cores: int
    costs: Costs
    assumptions: Assumptions
    seed: int
    clock: Clock = field(default_factory=Clock)
    busy: float = 0.0
    graded: int = 0
    failed: int = 0
    tries: int = 0

    def run(self, batch: int) -> None:
        """Grade all of them."""
        chance = random.Random(self.seed)
        jobs, known = self.costs.jobs, len(self.costs.jobs)
        drawn = [chance.randrange(known) for _ in range(self.submissions)]
        moved = self.costs.bytes.get("handed in", 0) + self.costs.bytes.get("results", 0)
        way = self.assumptions.overhead_seconds + moved / self.assumptions.bytes_per_second
        self.cluster = SimulatedCluster(
            self.clock,
            self.machines,
            self.cores,
            lambda item: jobs[drawn[item]][0] + way,
            Failures(self.assumptions.failure_hours * HOUR, self.seed),
            self.assumptions,
        )
        workers = self.machines * self.cores
        seen = bytearray(self.submissions)

        def sanitised() -> Iterator[int]:
            for item in range(self.submissions):
                self._work(jobs[drawn[item]][1] / 2)  # half to sanitise, half to record
                yield item

        outcomes: list[Outcome[int, int]]
        for outcomes in schedule(
            sanitised(),
            lambda item: self.cluster.submit(int, item),
            in_flight=max(64, 4 * workers),
            batch=batch,
            key=lambda item: item,
            wait=self.cluster.wait,
        ):
            for outcome in outcomes:
                if seen[outcome.item]:
                    raise AssertionError(f"submission {outcome.item} came back twice")
                seen[outcome.item] = 1
                self.tries += outcome.tries
                self.graded += outcome.error is None
                self.failed += outcome.error is not None
                self._work(jobs[drawn[outcome.item]][1] / 2)
        if not all(seen):
            raise AssertionError(f"{seen.count(0)} submissions never came back")

    def _work(self, seconds: float) -> None:
        self.clock.now += seconds
        self.busy += seconds


# --- the tables of docs/explanation/scaling.md -----------------------------------------------------------------------

PLANS = (
    Plan(100, 1, 2),
    Plan(100, 1, 8),
    Plan(10_000, 1, 16),
    Plan(10_000, 4, 16),
    Plan(10_000, 16, 16),
    Plan(1_000_000, 16, 16),
    Plan(1_000_000, 128, 16, graders=32),
)


def tables(costs: Costs, assumptions: Assumptions | None = None, plans: Sequence[Plan] = PLANS) -> str:
    """The tables of the document, as Markdown."""
    assumptions = assumptions or Assumptions()
    lines = [
        f"Measured: {costs.worker_seconds:.2f} s of one core in a worker and {costs.grader_seconds:.3f} s in the "
        f"grader's process for one submission, on average over {len(costs.jobs)}.",
        "",
        "| submissions | machines × cores | graders | time | core-hours | US$ | jobs lost and run again | without a "
        "result | workers busy | grader busy |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for plan in plans:
        report = simulate(plan, costs, assumptions)
        lines.append(
            f"| {plan.submissions:,} | {plan.machines} × {plan.cores} | {plan.graders} | {duration(report.seconds)} "
            f"| {report.core_hours:,.1f} | {report.core_hours * assumptions.price:,.2f} "
            f"| {report.tries - plan.submissions:,} | {report.failed:,} | {report.worker_busy:.0%} "
            f"| {report.grader_busy:.0%} |"
        )
    sizes = sorted({plan.submissions for plan in plans})
    lines += ["", f"| bytes | one submission | {' | '.join(f'{size:,}' for size in sizes)} |"]
    lines += [f"| --- | ---: |{' ---: |' * len(sizes)}"]
    for name, each in costs.bytes.items():
        lines.append(f"| {name} | {amount(each)} | {' | '.join(amount(each * size) for size in sizes)} |")
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 3 * HOUR:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / HOUR:.1f} h"


def amount(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def sealed(costs: Costs, block: str) -> str:
    """The tables with a seal: a digest of them, of the code that made them and of the times that they are made from.

    So a test can tell, without a million simulated submissions, that no figure in the document is older than these.
    """
    code = (Costs, Assumptions, Plan, Report, Clock, Failures, SimulatedCluster, simulate, _share, _Grader, tables)
    made = [inspect.getsource(part) for part in (*code, duration, amount, scheduling)]
    return f"{block}\n\n<!-- seal: {digest(made, PLANS, costs.jobs, dict(costs.bytes), block)} -->"


def put_in(text: str, block: str) -> str:
    """The text of the document with its tables replaced.

    Raises:
        CourseError: It has no place for them.
    """
    made, times = re.subn(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: f"{BEGIN}\n\n{block}\n\n{END}", text, flags=re.DOTALL
    )
    if times != 1:
        raise CourseError(f"Expected one pair of {BEGIN} and {END} in docs/explanation/scaling.md, found {times}.")
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or write them into the document."""
    parser = argparse.ArgumentParser(
        prog="python -m autograder.simulate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/explanation/scaling.md")
    parser.add_argument("--measured", type=Path, help="the benchmark's file (bench/latest.json)")
    parser.add_argument(
        "--plan",
        nargs=4,
        type=int,
        metavar=("SUBMISSIONS", "MACHINES", "CORES", "GRADERS"),
        help="simulate this instead of the document's plans",
    )
    options = parser.parse_args(arguments)
    root = find_root()
    costs = Costs.read(options.measured or root / "bench" / "latest.json")
    plans = [Plan(*options.plan)] if options.plan else PLANS
    block = tables(costs, plans=plans)
    if options.write and not options.plan:
        path = root / "docs" / "explanation" / "scaling.md"
        path.write_text(put_in(path.read_text(encoding="utf-8"), sealed(costs, block)), encoding="utf-8")
    print(block)


if __name__ == "__main__":
    main()
