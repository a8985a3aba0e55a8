"""The roster: who is in the class, read from a CSV file of a school's or of a learning management system.

nbgrader's own import (`nbgrader db student import`), a Moodle grading worksheet or participants list and a Canvas
gradebook all name the same things in their own words; the columns are recognised by those words. A column `id` is the
student id, as nbgrader has it, but in a Canvas gradebook (`Student, ID, ...`) it is Canvas's number.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil import parser as dates

from autograder.errors import CourseError

#: What a student id may look like, for it becomes the name of a folder.
STUDENT_ID = re.compile(r"[^\W_][\w.@-]{0,99}")

# For each thing that is wanted, the columns that hold it, best first, as `plain` writes them.
_COLUMNS = {
    "student": ("studentid", "nbgraderid", "username", "sisloginid", "login", "idnumber", "sisuserid", "matriculation"),
    "name": ("fullname", "studentname", "name", "student"),
    "first": ("firstname", "givenname", "forename"),
    "last": ("lastname", "surname", "familyname"),
    "email": ("email", "emailaddress", "mail"),
    "number": ("identifier", "lmsuserid", "canvasid", "moodleid", "id"),
    "handed_in": ("lastmodifiedsubmission", "submissiontime", "submittedat"),
}
_NOT_STUDENTS = ("pointspossible", "studenttest", "teststudent")


@dataclass(frozen=True)
class Person:
    """One student of the class.

    Attributes:
        student: The id that nbgrader and the folders use.
        first: First name; empty if not known.
        last: Last name, or the whole name where the roster does not part it.
        email: E-mail address; empty if not known.
        number: The system's number; empty if not known. Canvas has one for each person, Moodle one for each person
            and assignment.
        keys: Everything that a submission may call this student besides the number, as `plain` writes it.
        handed_in: When the roster says that the submission was handed in; only a Moodle worksheet does.
    """

    student: str
    first: str = ""
    last: str = ""
    email: str = ""
    number: str = ""
    keys: frozenset[str] = frozenset()
    handed_in: datetime | None = None


def zone_of(name: str) -> tzinfo:
    """The time zone of a name, for example `Europe/Berlin`.

    Raises:
        CourseError: There is no such zone.
    """
    try:
        return UTC if name.upper() == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as problem:
        raise CourseError(f"There is no time zone '{name}'. Expected a name as Europe/Berlin, or UTC.") from problem


def plain(text: str) -> str:
    """Text as names are compared: letters and digits alone, without accents and case."""
    parts = unicodedata.normalize("NFKD", text).casefold()
    return "".join(c for c in parts if c.isalnum())


def name_keys(*words: str) -> set[str]:
    """A name in the orders in which systems write it: `ada lovelace`, `Lovelace, Ada`, Canvas's `lovelaceada`."""
    parts = [plain(word) for word in re.split(r"[\s,]+", " ".join(words)) if plain(word)]
    if not parts:
        return set()
    return {"".join(parts[turn:] + parts[:turn]) for turn in range(len(parts))}


def read_roster(path: Path, zone: tzinfo) -> list[Person]:
    """Read a roster.

    Args:
        path: A CSV file with a line of headings, separated by commas, semicolons or tabs.
        zone: The time zone of the times in it that name none.

    Returns:
        The students in the order of the file.

    Raises:
        CourseError: It cannot be read, lacks a column that tells students apart, or has the same id twice.
    """
    rows = read_table(path)
    heads = rows[0] if rows else []
    places = _places(heads)
    if all(places[wanted] is None for wanted in ("student", "email", "number")):
        raise CourseError(
            f"The roster {path} has no column that tells students apart. Found: {', '.join(heads) or 'an empty file'}. "
            "Expected one of: student_id, username, SIS Login ID, ID number, email, Identifier, ID."
        )
    people: dict[str, Person] = {}
    for person, _ in people_of(heads, rows[1:], zone):
        if not STUDENT_ID.fullmatch(person.student):
            raise CourseError(
                f"The roster {path}: {person.student!r} cannot be a student id, which is the name of a folder. "
                "Expected letters, digits and . @ - _ alone."
            )
        if person.student in people:
            raise CourseError(f"The roster {path}: the student id {person.student} stands there twice.")
        # A folder is called by the id, even where that is made of the number.
        people[person.student] = replace(person, keys=person.keys | {plain(person.student)})
    return list(people.values())


def people_of(
    heads: Sequence[str], rows: Iterable[list[str]], zone: tzinfo = UTC
) -> Iterator[tuple[Person, list[str]]]:
    """The students of a table, each with the row that they stand in; rows that are no student's are left out."""
    places = _places(heads)
    for row in rows:
        found = {w: row[at].strip() if at is not None and at < len(row) else "" for w, at in places.items()}
        person = _person(found, zone)
        if person is not None:
            yield person, row


def read_table(path: Path) -> list[list[str]]:
    """The rows of a CSV file, headings first, in whatever encoding and with whatever separator it was written.

    Raises:
        CourseError: It cannot be read.
    """
    try:
        text = _decoded(path.read_bytes())
    except OSError as problem:
        raise CourseError(f"The file {path} cannot be read: {problem.strerror}.") from problem
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    return [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(map(str.strip, row))]


def _places(heads: Sequence[str]) -> dict[str, int | None]:
    names = [plain(head) for head in heads]
    places = {
        wanted: next((names.index(name) for name in known if name in names), None) for wanted, known in _COLUMNS.items()
    }
    if places["student"] is None and "id" in names and "student" not in names:
        places["student"] = names.index("id")
        if places["number"] == places["student"]:
            places["number"] = None
    return places


def _decoded(data: bytes) -> str:
    for encoding in ("utf-8-sig", "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("cp1252", "replace")  # what Excel writes in western countries


def _person(found: dict[str, str], zone: tzinfo) -> Person | None:
    whole = found["name"] or f"{found['first']} {found['last']}".strip()
    if plain(whole) in _NOT_STUDENTS or not any(found[w] for w in ("student", "email", "number")):
        return None
    first, last = found["first"], found["last"]
    if not (first or last) and whole:
        last, comma, first = (part.strip() for part in whole.partition(","))
        if not comma:
            first, _, last = whole.rpartition(" ")
    number = re.sub(r"\D", "", found["number"])
    student = found["student"] or found["email"].partition("@")[0]
    keys = {plain(text) for text in (student, found["email"]) if text} | name_keys(whole) | name_keys(first, last)
    return Person(
        student or number, first, last, found["email"], number, frozenset(keys), _time(found["handed_in"], zone)
    )


def _time(text: str, zone: tzinfo) -> datetime | None:
    try:
        when = dates.parse(text) if re.search(r"\d", text) else None
    except (ValueError, OverflowError):
        return None
    return when.replace(tzinfo=zone) if when is not None and when.tzinfo is None else when


class Roster:
    """Finds the student whom a submission means.

    Args:
        people: The class.
    """

    def __init__(self, people: Iterable[Person]) -> None:
        self.people = {person.student: person for person in people}
        self._by_key: dict[str, set[str]] = {}
        self._by_number: dict[str, set[str]] = {}
        for person in self.people.values():
            for key in person.keys:
                self._by_key.setdefault(key, set()).add(person.student)
            if person.number:
                self._by_number.setdefault(person.number, set()).add(person.student)

    def find(self, *names: str, number: str = "") -> tuple[Person | None, str]:
        """The one student who goes by the first of these names that anybody goes by, and by this number.

        A number is compared with numbers alone, for it may look like somebody's id. It decides between students of one
        name; where it is one student's and the name another's, it comes from elsewhere, and nobody is found.

        Args:
            *names: Ids, addresses or names, the surest first.
            number: The number that the system has for the student; empty if it is not known.

        Returns:
            The student and an empty text, or None and the reason.
        """
        name, named = next(((name, found) for name in names if (found := self._named(name))), ("", set()))
        numbered = self._by_number.get(number, set()) if number else set()
        if named and numbered and not named & numbered:
            return None, (
                f"the number {number} is that of {', '.join(sorted(numbered))} in the roster, but '{name}' is "
                f"{', '.join(sorted(named))}; is the roster that of this assignment?"
            )
        students = named & numbered or numbered or named
        if len(students) == 1:
            return self.people[next(iter(students))], ""
        if students:
            return None, f"'{name or number}' may be any of {', '.join(sorted(students))}"
        known = [f"'{name}'" for name in (number, *names) if name]
        return None, f"nobody in the roster goes by {' or '.join(known) or 'no name'}"

    def _named(self, name: str) -> set[str]:
        keys = {plain(name)} | name_keys(name)
        return set().union(*(self._by_key.get(key, set()) for key in keys))
