"""The class report: one page with every student's marks, for the instructor who has just graded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment

from autograder.grade import Mark, StudentResult
from autograder.jobs import PHASES

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ episode }}: class report</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; margin: 2rem auto; max-width: 80rem;
         padding: 0 1rem; }
  h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
  p.when { color: #555; margin-top: 0; }
  .warning { border-left: .4rem solid #d55e00; background: #fdf1e8; padding: .6rem 1rem; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .35rem .7rem; border-bottom: 1px solid #ddd; text-align: center; vertical-align: bottom; }
  th:first-child, td:first-child { text-align: left; white-space: nowrap; }
  thead th { font-weight: 600; border-bottom: 2px solid #888; }
  tfoot td { border-top: 2px solid #888; border-bottom: 0; color: #444; }
  .full { background: #d9ecf7; } .part { background: #fbf3d0; } .none { background: #fff; color: #8a3b00; }
  .wait { color: #555; font-style: italic; } .fail { background: #d55e00; color: #fff; font-weight: 600; }
  li { margin-bottom: .3rem; }
</style>
</head>
<body>
<h1>{{ episode }}: class report</h1>
<p class="when">{{ results | length }} submission{{ "" if results | length == 1 else "s" }}, written {{ when }}.</p>
{% if not sandbox %}
<p class="warning"><strong>Graded without the sandbox.</strong> Students' code ran with the rights of the person who
graded: it could read and change whatever that person can. Do not trust these marks further than you trust the code.</p>
{% endif %}
<div class="scroll">
<table>
<thead><tr><th scope="col">Student</th>
{% for exercise in exercises %}
<th scope="col">{{ exercise.exercise | replace("-test", "") }}<br>({{ "%g" | format(exercise.max_score) }})</th>
{% endfor %}
<th scope="col">so far</th><th scope="col">waiting</th></tr></thead>
<tbody>
{% for result in results %}
<tr><td>{{ result.student }}</td>
{% if result.problem %}
<td class="fail" colspan="{{ exercises | length + 2 }}">not graded, see below</td>
{% else %}
{% for mark in result.marks %}
{% if mark.state == "grader failed" %}<td class="fail">grader failed</td>
{% elif mark.state == "needs manual grading" %}<td class="wait">to grade</td>
{% else %}
<td class="{{ "full" if mark.score >= mark.max_score else "part" if mark.score > 0 else "none" }}">
{{ "%g" | format(mark.score) }}</td>
{% endif %}
{% endfor %}
<td><strong>{{ "%g" | format(result.score) }}</strong></td><td>{{ "%g" | format(result.waiting) }}</td>
{% endif %}
</tr>
{% endfor %}
</tbody>
{% if graded %}
<tfoot><tr><td>mean of {{ graded | length }}</td>
{% for exercise in exercises %}<td>{{ means[loop.index0] }}</td>
{% endfor %}<td>{{ mean }}</td><td></td></tr></tfoot>
{% endif %}
</table>
</div>
<p>Blue: full points. Yellow: some. “To grade”: a written answer that waits for a person; open it in Formgrader.</p>
{% if troubled %}
<h2>What needs a person</h2>
<ul>
{% for result in troubled %}
{% if result.problem %}<li><strong>{{ result.student }}</strong> was not graded: {{ result.problem }}</li>{% endif %}
{% for mark in result.failures %}
<li><strong>{{ result.student }}</strong>, {{ mark.exercise }}: the grader failed.
{{ mark.message or "The reason is in logs/autograder.jsonl." }} No points were taken off; grade it again or by
hand.</li>
{% endfor %}
{% endfor %}
</ul>
{% endif %}
{% if lost %}
<h2>Why points are missing</h2>
<ul>
{% for result, mark in lost %}
<li><strong>{{ result.student }}</strong>, {{ mark.exercise | replace("-test", "") }}: {{ mark.message }}</li>
{% endfor %}
</ul>
{% endif %}
{% if repaired %}
<h2>What was repaired</h2>
<ul>
{% for result in repaired %}
{% for repair in result.repairs %}<li><strong>{{ result.student }}</strong>: {{ repair }}</li>
{% endfor %}
{% endfor %}
</ul>
{% endif %}
</body>
</html>
""")


def write_report(path: Path, episode: str, results: Sequence[StudentResult], *, sandbox: bool = True) -> Path:
    """Write the class report of one episode as a web page that needs nothing but itself.

    Args:
        path: The file to write.
        episode: The episode's name.
        results: One for each student.
        sandbox: Whether students' code ran in the sandbox; the page warns if not.

    Returns:
        The path.
    """
    graded = [result for result in results if result.marks]
    exercises = graded[0].marks if graded else ()
    path.parent.mkdir(parents=True, exist_ok=True)
    page = PAGE.render(
        episode=episode,
        results=results,
        exercises=exercises,
        graded=graded,
        means=[mean([result.marks[at] for result in graded]) for at in range(len(exercises))],
        mean=f"{sum(result.score for result in graded) / max(1, len(graded)):.1f}",
        troubled=[result for result in results if result.needs_a_person],
        repaired=[result for result in results if result.repairs],
        lost=[
            (result, mark)
            for result in results
            for mark in result.marks
            if mark.state == "marked" and mark.message and (mark.score or 0) < mark.max_score
        ],
        sandbox=sandbox,
        when=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )
    path.write_text(page, encoding="utf-8")
    return path


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
        points = sum(result.score for result in graded) / len(graded)
        lines.append(f"Marks: {points:.1f} of {graded[0].max_score:g} points so far, on average.")
    counts = {
        "repaired": sum(bool(result.repairs) for result in results),
        "could not be graded": sum(bool(result.problem) for result in results),
        "with a failure of the grader": sum(bool(result.failures) for result in results),
    }
    if any(counts.values()):
        lines.append(f"Submissions: {', '.join(f'{count} {what}' for what, count in counts.items() if count)}.")
    waiting = sum(mark.state == "needs manual grading" for result in results for mark in result.marks)
    if waiting:
        lines.append(
            f"{waiting} written answer(s) wait for you in Formgrader: `jupyter lab`, menu Nbgrader > Formgrader."
        )
    phases = {phase: sum(result.phases.get(phase, 0.0) for result in results) for phase in PHASES}
    if any(phases.values()):
        spent = ", ".join(f"{phase} {spent:.1f} s" for phase, spent in phases.items() if spent)
        lines.append(f"Time by phase, all workers together: {spent}.")
    return lines


def mean(marks: Sequence[Mark]) -> str:
    """The mean of the marks that are there; a dash when none is."""
    scores = [mark.score for mark in marks if mark.score is not None]
    return f"{sum(scores) / len(scores):.1f}" if scores else "–"
