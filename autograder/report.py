"""The class report: one page about one episode, for the instructor who has just graded."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from autograder.grade import StudentResult
from autograder.jobs import PHASES, digest
from autograder.whole import write_text_whole

if TYPE_CHECKING:
    from autograder.likeness import Pair
    from helpers.measurements import Measurement

_TEMPLATES = Path(__file__).resolve().parent / "templates"
#: Failed checks that are listed, the most frequent first.
MOST_FAILURES = 15
#: Submissions that are listed because they took longest.
MOST_SLOW = 3


@dataclass(frozen=True)
class Failure:
    """A check that failed for some students, with what it said to the first of them."""

    exercise: str
    message: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A picture for the page: SVG in base64, what it shows in words, and its height in pixels."""

    svg: str
    alt: str
    height: int = 240


@dataclass(frozen=True)
class Reached:
    """The accuracies of one model of the episode, one for each student.

    Attributes:
        exercise: The test that measured them.
        name: What the model is called there.
        chance: What guessing gets.
        needed: What the test asks for.
        n: The number of images.
        accuracies: Of each student whose model could be measured, 0 to 1.
    """

    exercise: str
    name: str
    chance: float
    needed: float
    n: int
    accuracies: Mapping[str, float]

    @property
    def below(self) -> tuple[str, ...]:
        """Who did not reach what the test asks for."""
        return tuple(student for student, accuracy in self.accuracies.items() if accuracy < self.needed)

    @property
    def spread(self) -> tuple[float, float, float]:
        """The lowest accuracy, the median and the highest."""
        found = self.accuracies.values()
        return min(found), median(found), max(found)


def write_report(
    path: Path,
    episode: str,
    results: Sequence[StudentResult],
    *,
    sandbox: bool = True,
    alike: Callable[[], Sequence[Pair]] = tuple,
) -> Path:
    """Write the class report of one episode as a web page that needs nothing but itself.

    A page that says all this already stays as it is: what draws it is not even loaded then.

    Args:
        path: The file to write.
        episode: The episode's name.
        results: One for each student.
        sandbox: Whether students' code ran in the sandbox; the page warns if not.
        alike: Finds the pairs of submissions that are much alike.

    Returns:
        The path.
    """
    stamp = digest(episode, sandbox, [_said(result) for result in results])
    if path.is_file() and f'content="{stamp}"' in path.read_text(encoding="utf-8"):
        return path
    from jinja2 import Environment, FileSystemLoader

    from autograder.itemanalysis import analyse

    templates = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    pairs = alike()
    graded = [result for result in results if result.marks]
    attention, failures = who_needs_a_person(results), common_failures(results)
    repaired = [result for result in results if result.repairs]
    reached = accuracies(results)
    slowest = sorted((result for result in graded if result.ran), key=lambda one: -one.ran)[:MOST_SLOW]
    parts = [("overview", "Overview"), ("attention", "Who needs you"), ("marks", "Marks"), ("exercises", "Exercises")]
    parts += [("accuracies", "Accuracies"), ("failed", "What went wrong most"), ("alike", "Much alike")]
    parts += [("time", "Time"), ("repaired", "What was repaired")]
    there = {
        "attention": attention,
        "exercises": graded,
        "accuracies": reached,
        "failed": failures,
        "alike": pairs,
        "time": slowest,
        "repaired": repaired,
    }
    page = templates.get_template("report.html").render(
        episode=episode,
        results=results,
        parts=[part for part in parts if there.get(part[0], True)],
        cards=cards(results),
        histogram=histogram(graded),
        attention=attention,
        exercises=graded[0].marks if graded else (),
        analysis=analyse(results),
        reached=reached,
        strips=strips(reached),
        failures=failures,
        alike=pairs,
        slowest=slowest,
        stamp=stamp,
        repaired=repaired,
        sandbox=sandbox,
        when=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    return write_text_whole(path, page)


def _said(result: StudentResult) -> dict[str, object]:
    """What the page says of a student: everything but when and how fast it was found out."""
    return {name: value for name, value in asdict(result).items() if name not in ("fresh", "seconds", "phases")}


def summary(results: Sequence[StudentResult], seconds: float) -> list[str]:
    """What came of grading a class, in a few lines.

    Args:
        results: One for each student.
        seconds: Wall time of the run.
    """
    graded = [result for result in results if result.marks]
    run = sum(result.fresh for result in results if result.marks)
    lines = [f"{len(graded)} of {len(results)} submission(s) graded in {seconds:.1f} s, {run} of them run just now."]
    if graded:
        points = sum(result.total for result in graded) / len(graded)
        lines.append(f"Marks: {points:.1f} of {graded[0].max_score:g} points so far, on average.")
    counts = {
        "repaired": sum(bool(result.repairs) for result in results),
        "could not be graded": sum(bool(result.problem) for result in results),
        "with a failure of the grader": sum(bool(result.failures) for result in results),
    }
    if any(counts.values()):
        lines.append(f"Submissions: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}.")
    waiting = sum(result.unread for result in results)
    if waiting:
        lines.append(
            f"{waiting} written answer(s) wait for you in Formgrader: `jupyter lab`, menu Nbgrader > Formgrader."
        )
    phases = {phase: sum(result.phases.get(phase, 0.0) for result in results) for phase in PHASES}
    if any(phases.values()):
        spent = ", ".join(f"{phase} {spent:.1f} s" for phase, spent in phases.items() if spent)
        lines.append(f"Time by phase, all workers together: {spent}.")
    return lines


def cards(results: Sequence[StudentResult]) -> list[tuple[str, str]]:
    """The figures at the top of the page, each with its name."""
    graded = [result for result in results if result.marks]
    found = [("submissions", str(len(results)))]
    if graded:
        scores = [result.total for result in graded]
        most = graded[0].max_score
        found += [("mean so far", f"{mean(scores):.1f} of {most:g}"), ("median so far", f"{median(scores):g}")]
    waiting = sum(result.unread for result in results)
    found += [
        ("written answers to grade", str(waiting)),
        ("repaired", str(sum(bool(result.repairs) for result in results))),
        ("need a person", str(sum(result.needs_a_person for result in results))),
    ]
    late = sum(bool(result.penalty) for result in results)
    if late:
        found.append(("points off for being late", str(late)))
    seconds = [result.ran for result in results if result.ran]
    if seconds:
        found.append(("time a submission", f"{median(seconds):.1f} s"))
    return found


def who_needs_a_person(results: Sequence[StudentResult]) -> list[tuple[str, str]]:
    """The students whom somebody has to see to, each with the reason."""
    found = []
    for result in results:
        if result.problem:
            found.append((result.student, f"not graded. {result.problem}"))
        for mark in result.failures:
            why = (mark.message or "The reason is in logs/autograder.jsonl").rstrip(".")
            found.append(
                (
                    result.student,
                    f"{mark.exercise}: the grader failed. {why}. No points were taken off; grade it again or by hand.",
                )
            )
    for result in results:
        machine = [mark for mark in result.marks if not mark.written and mark.state == "marked"]
        if machine and not any(mark.score for mark in machine):
            untouched = all("not attempted yet" in mark.message for mark in machine if mark.message)
            found.append((result.student, "no points yet" + (": nothing was attempted" if untouched else "")))
    return found


def common_failures(results: Sequence[StudentResult]) -> list[Failure]:
    """The checks that failed, the most frequent first; messages that differ in numbers alone count as one."""
    found: dict[tuple[str, str], tuple[str, list[str]]] = {}
    for result in results:
        for mark in result.marks:
            if mark.state == "marked" and mark.message and (mark.score or 0) < mark.max_score:
                key = (mark.exercise, re.sub(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", "#", mark.message))
                found.setdefault(key, (mark.message, []))[1].append(result.student)
    failures = [Failure(name, message, tuple(students)) for (name, _), (message, students) in found.items()]
    return sorted(failures, key=lambda one: -len(one.students))[:MOST_FAILURES]


def accuracies(results: Sequence[StudentResult]) -> list[Reached]:
    """The accuracies that tests have measured, by test and model, in the order of the notebook."""
    found: dict[tuple[str, str], tuple[Measurement, dict[str, float]]] = {}
    for result in results:
        for mark in result.marks:
            for one in mark.measurements:
                found.setdefault((mark.exercise, one.name), (one, {}))[1][result.student] = one.accuracy
    return [Reached(test, name, one.chance, one.needed, one.n, theirs) for (test, name), (one, theirs) in found.items()]


def strips(reached: Sequence[Reached]) -> Figure | None:
    """A row for each model, with a dot for each student, and lines for chance and for what was needed."""
    if not reached:
        return None
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas

    height = 1.1 + 0.45 * len(reached)
    figure = Canvas(figsize=(6.4, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for row, one in enumerate(reached):
        values = sorted(one.accuracies.values())
        # Dots that would lie on each other are spread a little, the same way each time.
        offsets = [0.12 * (at % 3 - 1) for at in range(len(values))]
        axes.scatter(values, [row + off for off in offsets], s=18, color="#0072b2", alpha=0.6, linewidths=0)
        axes.vlines(one.chance, row - 0.35, row + 0.35, color="#555555", linestyle="dotted")
        axes.vlines(one.needed, row - 0.35, row + 0.35, color="#d55e00")
    axes.set(xlabel="accuracy on held-out images", xlim=(0, 1), ylim=(len(reached) - 0.5, -0.5))
    axes.set_yticks(range(len(reached)), [one.name if len(one.name) < 40 else one.name[:39] + "…" for one in reached])
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    words = "; ".join(
        f"{one.name}: {len(one.accuracies)} from {one.spread[0]:.2f} to {one.spread[2]:.2f}, {one.needed:.2f} needed"
        for one in reached
    )
    alt = f"Dots for the accuracies of students' models, one row for each model. {words}."
    return Figure(base64.b64encode(drawn.getvalue()).decode(), alt, round(100 * height))


def histogram(graded: Sequence[StudentResult]) -> Figure | None:
    """The distribution of points so far; None where nobody has any marks."""
    if not graded:
        return None
    import numpy as np
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    most, scores = graded[0].max_score, [result.total for result in graded]
    edges = np.linspace(0, max(most, 1, *scores), 11)  # extra credit may lead beyond the most points
    counts, _ = np.histogram(scores, edges)
    figure = Canvas(figsize=(6.4, 2.4), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color="#0072b2", edgecolor="white")
    axes.set(xlabel="points so far", ylabel="students", xlim=(0, edges[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    bars = ", ".join(
        f"{count} from {low:g} to {high:g}" for count, low, high in zip(counts, edges, edges[1:], strict=False) if count
    )
    return Figure(base64.b64encode(drawn.getvalue()).decode(), f"Bar chart of points. Students: {bars}.")
