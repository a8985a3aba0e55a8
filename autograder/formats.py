"""Marks in the formats of other systems: a Canvas gradebook, a Moodle grading worksheet, Gradescope's `results.json`.

Formats as their makers document them:
- Canvas: *How do I import grades in the Gradebook?* (columns Student, ID, SIS User ID, SIS Login ID, Section, then
  assignments; a line `Points Possible` below the headings);
- Moodle: *Assignment: offline grading worksheet* (the downloaded CSV with Grade filled in) and *Grade import* (one line
  a student, told apart by ID number or e-mail address);
- Gradescope: *Autograder specifications, output format* (`results.json`: `score`, `tests` with `score`, `max_score`,
  `name`, `output`, `status` and `visibility`).

A file that Canvas or Moodle made is never written to: its lines are copied, with the marks in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from traitlets.config import Config

from autograder.course import Episode
from autograder.errors import CourseError
from autograder.export import made_folder
from autograder.grade import Mark, read_class_marks
from autograder.gradebook import marks_url, open_gradebook
from autograder.late import settle
from autograder.roster import Person, Roster, people_of, plain, read_table
from autograder.whole import write_csv_whole, write_json_whole

Format = Literal["canvas", "moodle", "gradescope"]
CANVAS_COLUMNS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
MOODLE_COLUMNS = ("ID number", "Email address", "First name", "Last name")
_WAITS = "waits for a person"


@dataclass(frozen=True)
class Total:
    """One student's marks of one episode.

    Attributes:
        person: The student, as the gradebook knows them.
        score: Points, a late penalty taken off; never below 0.
        max_score: Points that the episode is worth.
        penalty: Points taken off for being late.
        marks: One for each graded question.
    """

    person: Person
    score: float
    max_score: float
    penalty: float
    marks: tuple[Mark, ...]

    @property
    def complete(self) -> bool:
        """Whether no question waits for a mark."""
        return all(mark.state == "marked" for mark in self.marks)


def totals(episode: Episode, config: Config) -> list[Total]:
    """The marks of everyone who was graded in an episode, in the order of their ids.

    Raises:
        CourseError: There are no marks of this episode.
    """
    marks_url(config, episode.root, [episode])
    settle(episode, config)
    found: list[tuple[Person, float]] = []
    with open_gradebook(config, episode.root) as gradebook:
        for submission in gradebook.assignment_submissions(episode.name):
            student = submission.student
            person = Person(
                student.id,
                student.first_name or "",
                student.last_name or "",
                student.email or "",
                student.lms_user_id or "",
            )
            found.append((person, float(submission.late_submission_penalty or 0)))
    result = []
    graded = read_class_marks(episode, config)
    for person, penalty in sorted(found, key=lambda each: each[0].student):
        marks = graded.get(person.student, ())
        raw = sum(mark.score or 0.0 for mark in marks)
        most = sum(mark.max_score for mark in marks)
        result.append(Total(person, max(0.0, raw - penalty), most, penalty, marks))
    return result


def write(
    kind: Format, episode: Episode, marks: Sequence[Total], folder: Path, template: Path | None = None
) -> tuple[list[Path], list[str]]:
    """Write the marks of one episode for another system.

    Args:
        kind: The format.
        episode: The episode.
        marks: What `totals` found.
        folder: Where the files go.
        template: A gradebook that Canvas exported, or a grading worksheet that Moodle did, to be filled in.

    Returns:
        The files, and what a person should know: marks that are not complete, students who are not in the template.

    Raises:
        CourseError: The template is not of that format, or counts other points; or the folder cannot be made.
    """
    made_folder(folder)
    notes = [
        f"{one.person.student}: {', '.join(m.exercise for m in one.marks if m.state != 'marked')} {_WAITS}; "
        "the points so far are written"
        for one in marks
        if not one.complete
    ]
    writers: dict[str, Callable[..., tuple[list[Path], list[str]]]] = {
        "canvas": _canvas,
        "moodle": _moodle,
        "gradescope": _gradescope,
    }
    paths, more = writers[kind](episode, marks, folder, template)
    return paths, notes + more


def _canvas(
    episode: Episode, marks: Sequence[Total], folder: Path, template: Path | None
) -> tuple[list[Path], list[str]]:
    heads: list[str]
    if template is None:
        heads, notes = [*CANVAS_COLUMNS, episode.name], []
        rows = [["    Points Possible", "", "", "", "", _points(_most(marks))]]
        for one in marks:
            person = one.person
            rows.append([_name(person), person.number, "", person.student, "", _points(one.score)])
    else:
        heads, *rows = read_table(template)
        if [plain(head) for head in heads[:2]] != ["student", "id"]:
            raise _not_a("gradebook that Canvas exported", template, heads, "Student, ID, ...")
        column = _column(heads, episode)
        if column is None:
            column = len(heads)
            heads = [*heads, episode.name]
        for row in rows:
            row += [""] * (len(heads) - len(row))
            if plain(row[0]) != "pointspossible":
                continue
            if not row[column].strip():
                row[column] = _points(_most(marks))
            elif not _is_number(row[column], _most(marks)):
                raise CourseError(
                    f"{template}: Canvas's points possible of {heads[column]} are {row[column]}, but {episode.name} is "
                    f"worth {_points(_most(marks))} points. Set the assignment's points to {_points(_most(marks))} and "
                    "export the gradebook again."
                )
        notes = _fill(heads, rows, marks, lambda row, one: row.__setitem__(column, _points(one.score)), numbers=True)
    return [write_csv_whole(folder / f"{episode.name}-canvas.csv", [heads, *rows])], notes


def _moodle(
    episode: Episode, marks: Sequence[Total], folder: Path, template: Path | None
) -> tuple[list[Path], list[str]]:
    if template is None:
        heads = [*MOODLE_COLUMNS, episode.name]
        rows = [[p.student, p.email, p.first, p.last, _points(one.score)] for one in marks for p in (one.person,)]
        return [write_csv_whole(folder / f"{episode.name}-moodle.csv", [heads, *rows])], []
    heads, *rows = read_table(template)
    names = [plain(head) for head in heads]
    if "identifier" not in names or "grade" not in names:
        raise _not_a("grading worksheet of Moodle", template, heads, "Identifier, ..., Grade, ...")
    most = names.index("maximumgrade") if "maximumgrade" in names else None

    def fill(row: list[str], one: Total) -> None:
        row += [""] * (len(heads) - len(row))
        if most is not None and row[most].strip() and not _is_number(row[most], one.max_score):
            raise CourseError(
                f"{template}: Moodle's maximum grade is {row[most]}, but {episode.name} is worth "
                f"{one.max_score:g} points. Set the assignment's maximum grade to {one.max_score:g} and download the "
                "worksheet again."
            )
        row[names.index("grade")] = _points(one.score)

    # Moodle numbers the participants of each assignment anew, so a number counts only where no row has a name.
    numbers = not any(person.last for person, _ in people_of(heads, rows))
    notes = _fill(heads, rows, marks, fill, numbers=numbers)
    return [write_csv_whole(folder / f"{episode.name}-moodle.csv", [heads, *rows])], notes


def _gradescope(
    episode: Episode, marks: Sequence[Total], folder: Path, template: Path | None
) -> tuple[list[Path], list[str]]:
    if template is not None:
        raise CourseError("Gradescope's results.json is not made from a template; leave --into out.")
    paths = []
    for one in marks:
        path = folder / f"{episode.name}-gradescope" / one.person.student / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        tests = []
        for mark in one.marks:
            test: dict[str, object] = {
                "name": mark.exercise,
                "max_score": mark.max_score,
                "score": mark.score or 0.0,
                "output": mark.message if mark.state == "marked" else f"This question {_WAITS}.",
                "visibility": "visible",
            }
            if mark.state == "marked":
                test["status"] = "passed" if (mark.score or 0) >= mark.max_score else "failed"
            tests.append(test)
        found = {"score": one.score, "tests": tests, "visibility": "visible", "stdout_visibility": "hidden"}
        if one.penalty:
            found["output"] = f"{one.penalty:g} points were taken off for handing in late."
        write_json_whole(path, found)
        paths.append(path)
    return paths, []


def _fill(
    heads: Sequence[str],
    rows: Sequence[list[str]],
    marks: Sequence[Total],
    fill: Callable[[list[str], Total], None],
    *,
    numbers: bool,
) -> list[str]:
    """Put marks into the lines of the students whom they belong to; say whose line is not there.

    With `numbers`, the system's numbers in the gradebook and in the file are the same.
    """
    lines = {person.student: row for person, row in people_of(heads, rows)}
    roster = Roster(person for person, _ in people_of(heads, rows))
    notes = []
    for one in marks:
        p = one.person
        names = (p.student, p.email, f"{p.first} {p.last}".strip())
        found, reason = roster.find(*filter(None, names), number=p.number if numbers else "")
        if found is None:
            notes.append(f"{p.student} is not in the file: {reason}")
        else:
            fill(lines[found.student], one)
    return notes


def _column(heads: Sequence[str], episode: Episode) -> int | None:
    """The column of an episode in a Canvas gradebook, which writes `Name (number)`."""
    wanted = {plain(episode.name), plain(episode.name.partition("-")[2])}
    for at, head in enumerate(heads[len(CANVAS_COLUMNS) :], start=len(CANVAS_COLUMNS)):
        if plain(head.rpartition(" (")[0] or head) in wanted or plain(head) in wanted:
            return at
    return None


def _not_a(what: str, template: Path, heads: Sequence[str], expected: str) -> CourseError:
    return CourseError(f"{template} is no {what}. Found the columns {', '.join(heads[:6])}; expected {expected}")


def _most(marks: Sequence[Total]) -> float:
    return max((one.max_score for one in marks), default=0.0)


def _is_number(text: str, number: float) -> bool:
    """Whether a cell holds this number: 1000 may be written as `1000.00`, `1000,00`, `1.000,00` or `1,000.00`."""
    if "," in text and "." in text:
        text = text.replace(min(",.", key=text.rfind), "")
    try:
        return math.isclose(float(text.replace(",", ".")), number, abs_tol=0.005)
    except ValueError:
        return False


def _points(points: float) -> str:
    return f"{points:.10g}"


def _name(person: Person) -> str:
    return ", ".join(filter(None, (person.last, person.first))) or person.student
