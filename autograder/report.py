"""The class report: one page about one episode, for the instructor who has just graded."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader

from autograder.grade import StudentResult
from autograder.itemanalysis import analyse
from autograder.likeness import Pair

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).resolve().parent / "templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
#: Failed checks that are listed, the most frequent first.
MOST_FAILURES = 15


@dataclass(frozen=True)
class Failure:
    """A check that failed for some students, with what it said to the first of them."""

    exercise: str
    message: str
    students: tuple[str, ...]


@dataclass(frozen=True)
class Figure:
    """A picture for the page: SVG in base64, and what it shows in words."""

    svg: str
    alt: str


def write_report(
    path: Path,
    episode: str,
    results: Sequence[StudentResult],
    *,
    sandbox: bool = True,
    alike: Sequence[Pair] = (),
) -> Path:
    """Write the class report of one episode as a web page that needs nothing but itself.

    Args:
        path: The file to write.
        episode: The episode's name.
        results: One for each student.
        sandbox: Whether students' code ran in the sandbox; the page warns if not.
        alike: Pairs of submissions that are much alike.

    Returns:
        The path.
    """
    graded = [result for result in results if result.marks]
    attention, failures = who_needs_a_person(results), common_failures(results)
    repaired = [result for result in results if result.repairs]
    parts = [("overview", "Overview"), ("attention", "Who needs you"), ("marks", "Marks"), ("exercises", "Exercises")]
    parts += [("failed", "What went wrong most"), ("alike", "Much alike"), ("repaired", "What was repaired")]
    there = {
        "attention": attention,
        "exercises": graded,
        "failed": failures,
        "alike": alike,
        "repaired": repaired,
    }
    page = _TEMPLATES.get_template("report.html").render(
        episode=episode,
        results=results,
        parts=[part for part in parts if there.get(part[0], True)],
        cards=cards(results),
        histogram=histogram(graded),
        attention=attention,
        exercises=graded[0].marks if graded else (),
        analysis=analyse(results),
        failures=failures,
        alike=alike,
        repaired=repaired,
        sandbox=sandbox,
        when=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(page, encoding="utf-8")
    return unfinished.replace(path)


def cards(results: Sequence[StudentResult]) -> list[tuple[str, str]]:
    """The figures at the top of the page, each with its name."""
    graded = [result for result in results if result.marks]
    found = [("submissions", str(len(results)))]
    if graded:
        scores = [result.score for result in graded]
        most = graded[0].max_score
        found += [("mean so far", f"{np.mean(scores):.1f} of {most:g}"), ("median so far", f"{np.median(scores):g}")]
    waiting = sum(mark.state == "needs manual grading" for result in results for mark in result.marks)
    found += [
        ("written answers to grade", str(waiting)),
        ("repaired", str(sum(bool(result.repairs) for result in results))),
        ("need a person", str(sum(result.needs_a_person for result in results))),
    ]
    seconds = [result.seconds for result in results if result.seconds]
    if seconds:
        found.append(("time a submission", f"{np.median(seconds):.1f} s"))
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


def histogram(graded: Sequence[StudentResult]) -> Figure | None:
    """The distribution of points so far; None where nobody has any marks."""
    if not graded:
        return None
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Canvas
    from matplotlib.ticker import MaxNLocator

    most, scores = graded[0].max_score, [result.score for result in graded]
    edges = np.linspace(0, max(most, 1), 11)
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
