"""Handing in late: due dates, extensions for single students, and what being late costs.

Due dates, extensions and penalties stand where nbgrader keeps them, in the gradebook. nbgrader works a penalty out
once, when it runs a notebook. Here that is done anew whenever marks are graded, handed back or exported, so that it is
right as well after a person has graded a written answer, or an extension was granted.

nbgrader can hold an extension only for what has been handed in. So extensions stand in `extensions.csv` in the course
folder as well, from where they reach the gradebook as soon as there is a submission.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from traitlets.config import Config

from autograder.course import Episode, find_episode
from autograder.errors import CourseError
from autograder.gradebook import database_url, may_be_late, open_gradebook
from autograder.runlog import event
from autograder.settings import require_known
from autograder.whole import write_csv_whole

if TYPE_CHECKING:
    from nbgrader.api import SubmittedAssignment

EXTENSIONS = "extensions.csv"
COLUMNS = ("student", "episode", "until", "days")
_DAY = 86_400.0


# ---------------------------------------------------------------------------------------------------------------------
# The policy


@dataclass(frozen=True)
class Amount:
    """Points, or a share of the points that a student earned."""

    value: float
    percent: bool

    def of(self, score: float) -> float:
        """The amount in points."""
        return score * self.value / 100 if self.percent else self.value


@dataclass(frozen=True)
class Policy:
    """What handing in late costs.

    Attributes:
        per_day: For each day that has begun since the due date; None if being late costs nothing.
        most: What it never costs more than; None if there is no such bound.
        grace: Seconds after the due date that cost nothing.
    """

    per_day: Amount | None = None
    most: Amount | None = None
    grace: float = 0.0

    def penalty(self, score: float, seconds_late: float) -> float | None:
        """Points to take off; None if there is nothing to take off.

        Args:
            score: The points that the student earned.
            seconds_late: Since the due date, extension included.
        """
        if self.per_day is None or seconds_late <= self.grace:
            return None
        points = math.ceil(seconds_late / _DAY) * self.per_day.of(score)
        bounds = [score] if self.most is None else [score, self.most.of(score)]
        return round(min(points, *bounds), 6)


def amount(text: str, option: str) -> Amount | None:
    """Read `10%` or `2`; nothing for an empty text.

    Raises:
        CourseError: It is neither.
    """
    if not text.strip():
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|points?|)", text.strip())
    if found is None or (found[2] == "%" and float(found[1]) > 100):
        raise CourseError(
            f"nbgrader_config.py: c.LatePenalty.{option} is {text!r}. Expected a share of the points earned, "
            "for example '10%', or points, for example '2'."
        )
    return Amount(float(found[1]), found[2] == "%")


# ---------------------------------------------------------------------------------------------------------------------
# Dates


def moment(text: str, zone: tzinfo = UTC) -> datetime:
    """Read a date with or without a time; a date alone means the end of that day.

    Args:
        text: For example `2026-12-01 18:00`, `2026-12-01` or `2026-12-01T18:00+01:00`.
        zone: The time zone, where the text names none.

    Raises:
        CourseError: It is no date.
    """
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise CourseError(
            f"'{text}' is no date. Expected year, month and day, for example 2026-12-01, or with a time, as "
            "2026-12-01 18:00."
        ) from None
    if len(text.strip()) <= len("2026-12-01"):
        found = datetime.combine(found.date(), time(23, 59, 59))
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _stored(when: datetime) -> datetime:
    """A time as nbgrader's gradebook holds it: UTC, without saying so."""
    return when.astimezone(UTC).replace(tzinfo=None)


def set_due_date(episode: Episode, config: Config, when: datetime | None) -> None:
    """Write an episode's due date into the gradebook; None takes it away."""
    from autograder.grade import make_ready

    make_ready(episode, config)
    with open_gradebook(config, episode.root) as gradebook:
        assignment = gradebook.find_assignment(episode.name)
        assignment.duedate = _stored(when) if when else None
        for submission in assignment.submissions if when is None else ():
            submission.extension = None  # nbgrader cannot extend what is not there
        gradebook.db.commit()
    event("due date set", root=episode.root, episode=episode.name, due=when.isoformat() if when else None)
    settle(episode, config)


# ---------------------------------------------------------------------------------------------------------------------
# Extensions


@dataclass(frozen=True)
class Extension:
    """More time for one student in one episode.

    Attributes:
        student: The student's id.
        episode: The episode's name.
        until: The date that counts instead of the due date; None if `days` says it.
        days: How many days more.
    """

    student: str
    episode: str
    until: datetime | None = None
    days: float = 0.0

    def beyond(self, due: datetime) -> timedelta:
        """How much later than the due date (UTC, as in the gradebook) it is; never less than nothing."""
        if self.until is None:
            return timedelta(days=self.days)
        return max(timedelta(0), _stored(self.until) - due)


def read_extensions(root: Path) -> list[Extension]:
    """The extensions of `extensions.csv`; none where there is no such file.

    Raises:
        CourseError: It, or a line of it, is not as it should be.
    """
    from autograder.roster import read_table

    path = root / EXTENSIONS
    if not path.is_file():
        return []
    found = []
    heads, *rows = read_table(path) or [[]]  # as a spreadsheet may have saved it: in another encoding, with semicolons
    names = [head.strip() for head in heads]
    if not {"student", "episode"} <= set(names):
        raise CourseError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {', '.join(names) or 'none'}.")
    for cells in rows:
        row = dict(zip(names, (cell.strip() for cell in cells), strict=False))
        place = f"{path}, the line `{','.join(cells)}`"
        until, days = row.get("until", ""), row.get("days", "")
        if bool(until) == bool(days):
            raise CourseError(f"{place}: expected a date in `until` or a number in `days`, one of the two.")
        try:
            more = float(days or 0)
        except ValueError:
            raise CourseError(f"{place}: expected a number in `days`, found '{days}'.") from None
        if not 0 <= more < 10_000:
            raise CourseError(f"{place}: expected a number of days from 0 on, found {days}.")
        try:
            episode, date = find_episode(root, row.get("episode", "")).name, moment(until) if until else None
        except CourseError as problem:
            raise CourseError(f"{place}: {problem}") from None
        found.append(Extension(row.get("student", ""), episode, date, more))
    return found


def write_extensions(root: Path, extensions: Sequence[Extension]) -> None:
    """Write `extensions.csv` anew."""
    rows = [
        (one.student, one.episode, one.until.isoformat() if one.until else "", "" if one.until else f"{one.days:g}")
        for one in sorted(extensions, key=lambda each: (each.episode, each.student))
    ]
    write_csv_whole(root / EXTENSIONS, [COLUMNS, *rows])


def extend(episode: Episode, config: Config, student: str, until: datetime | None = None, days: float = 0.0) -> None:
    """Give a student more time; an earlier extension is replaced, and taken back where neither is given.

    Raises:
        CourseError: There is no due date that could be extended, or the new date is not after it.
    """
    with open_gradebook(config, episode.root) as gradebook:
        due = {one.name: one.duedate for one in gradebook.assignments}.get(episode.name)
        known = {one.id for one in gradebook.students} | {
            folder.name for folder in (episode.root / "submitted").glob("[!.]*") if folder.is_dir()
        }
    if due is None:
        raise CourseError(
            f"{episode.name} has no due date that could be extended. Set one: autograder due {episode.name} DATE"
        )
    if student not in known:
        raise CourseError(
            f"Nobody in the gradebook or in submitted/ is called '{student}'. Take in the class first: "
            "autograder collect SOURCE --roster FILE"
        )
    if until is not None and _stored(until) <= due:
        raise CourseError(
            f"{until:%Y-%m-%d %H:%M %Z} is not after the due date of {episode.name}, {due:%Y-%m-%d %H:%M} UTC."
        )
    others = [one for one in read_extensions(episode.root) if (one.student, one.episode) != (student, episode.name)]
    # Taken back, it stays in the file as no days at all, so that the gradebook hears of it too.
    write_extensions(episode.root, [*others, Extension(student, episode.name, until, days)])
    event(
        "extension", root=episode.root, episode=episode.name, student=student,
        until=until.isoformat() if until else None, days=days,
    )  # fmt: skip
    settle(episode, config)


# ---------------------------------------------------------------------------------------------------------------------
# Putting both into the gradebook


def settle(episode: Episode, config: Config) -> list[str]:
    """Bring extensions and penalties of one episode in the gradebook up to date.

    Where nobody is late, has an extension or a penalty, this is one query and loads nothing of nbgrader.

    Returns:
        The students for whom something changed.

    Raises:
        CourseError: The policy or `extensions.csv` is not as it should be.
    """
    granted = {one.student: one for one in read_extensions(episode.root) if one.episode == episode.name}
    policy_of(config)
    if not may_be_late(database_url(config, episode.root), episode.name, bool(granted)):
        return []
    from autograder.build import nbgrader_log
    from autograder.penalties import AssignPenalties

    if not _assigns_penalties(config):
        return []
    changed = []
    with nbgrader_log(episode.root), open_gradebook(config, episode.root) as gradebook:
        step = AssignPenalties(config=config)
        step.init_plugin()
        for submission in gradebook.assignment_submissions(episode.name):
            before = (submission.extension, [one.late_submission_penalty for one in submission.notebooks])
            if submission.student_id in granted:
                apply(submission, granted[submission.student_id])
            for notebook in submission.notebooks:
                notebook.late_submission_penalty = step.penalty_of(submission, notebook)
            if before != (submission.extension, [one.late_submission_penalty for one in submission.notebooks]):
                changed.append(submission.student_id)
        gradebook.db.commit()
    for student in changed:
        event("late penalty", root=episode.root, episode=episode.name, student=student)
    return changed


def apply(submission: SubmittedAssignment, extension: Extension) -> None:
    """Put an extension into a submission's row of the gradebook, if the episode has a due date."""
    due = submission.assignment.duedate
    submission.extension = (extension.beyond(due) or None) if due is not None else None


def policy_of(config: Config) -> Policy:
    """What the configuration says that handing in late costs.

    Raises:
        CourseError: It says something that is no amount, or sets something that is no option.
    """
    require_known(config, "LatePenalty", ("per_day", "most", "grace_minutes"))
    section = config.get("LatePenalty", {})
    grace = section.get("grace_minutes", 0)
    if not isinstance(grace, int | float) or grace < 0:
        raise CourseError(f"nbgrader_config.py: c.LatePenalty.grace_minutes is {grace!r}. Expected minutes, as 15.")
    per_day, most = (amount(str(section.get(name, "")), name) for name in ("per_day", "most"))
    return Policy(per_day, most, 60.0 * grace)


def _assigns_penalties(config: Config) -> bool:
    steps = config.get("Autograde", {}).get("autograde_preprocessors")
    names = [step if isinstance(step, str) else step.__name__ for step in steps or ["AssignLatePenalties"]]
    return any(name.rpartition(".")[2] in ("AssignLatePenalties", "AssignPenalties") for name in names)


@dataclass(frozen=True)
class Dates:
    """What is known about an episode's dates, for a person to read.

    Attributes:
        episode: The episode's name.
        due: Its due date; None if it has none.
        extensions: The students with another date.
        late: The students who are late, with points taken off.
        unknown: The students of whom nobody knows when they handed in.
    """

    episode: str
    due: datetime | None
    extensions: tuple[Extension, ...] = ()
    late: tuple[tuple[str, timedelta, float], ...] = ()
    unknown: tuple[str, ...] = ()


def read_dates(chosen: Sequence[Episode], config: Config) -> list[Dates]:
    """The dates of episodes, and who is late."""
    if not chosen:
        return []
    granted = [one for one in read_extensions(chosen[0].root) if one.until or one.days]
    found = []
    with open_gradebook(config, chosen[0].root) as gradebook:
        known = {one.name: one for one in gradebook.assignments}
        for episode in chosen:
            assignment = known.get(episode.name)
            due = assignment.duedate if assignment is not None else None
            late, unknown = [], []
            for one in assignment.submissions if due is not None else ():
                if one.timestamp is None:
                    unknown.append(one.student_id)
                elif one.total_seconds_late > 0:
                    seconds = timedelta(seconds=round(one.total_seconds_late))
                    late.append((one.student_id, seconds, float(one.late_submission_penalty or 0)))
            theirs = tuple(one for one in granted if one.episode == episode.name)
            zoned = due.replace(tzinfo=UTC) if due is not None else None
            found.append(Dates(episode.name, zoned, theirs, tuple(sorted(late)), tuple(sorted(unknown))))
    return found
