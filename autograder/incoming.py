"""Collecting: from what a learning management system hands out, or a folder, to `submitted/STUDENT/EPISODE/`.

What comes in was packed by strangers. It is unpacked into a scratch folder inside `submitted/`, file by file within
bounds, never through a link or a path that leads elsewhere. Then every file is one student's, or is listed as nobody's:

- the newest attempt takes its place in `submitted/`, an older one goes to `submitted/.attempts/STUDENT/EPISODE/`;
- what cannot be matched goes to `submitted/.unmatched/`, and the run ends with 1.

The content of a file is never changed. Neither folder that begins with a dot is graded.
"""

from __future__ import annotations

import errno
import filecmp
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path, PurePosixPath
from typing import Literal

from nbgrader.api import Gradebook
from nbgrader.coursedir import CourseDirectory
from nbgrader.plugins import FileNameCollectorPlugin
from nbgrader.utils import parse_utc
from traitlets.config import Config

from autograder.course import Episode, find_episode
from autograder.errors import CourseError
from autograder.roster import STUDENT_ID, Person, Roster, plain
from autograder.runlog import event
from autograder.staging import MAX_FILE_BYTES, plain_name, read_regular_file

State = Literal["new", "newer", "older attempt", "without a notebook", "unchanged", "unmatched"]

#: Bounds of one download: a large class, each member with a notebook and a saved model.
MAX_ENTRIES = 100_000
MAX_BYTES = 20 * 2**30
#: A member that unpacks to more than this many times its size in the archive, and to more than a MB, is a zip bomb.
MAX_RATIO = 200

#: What goes wrong where the names of files in an archive do not go together, or are too long for the disk.
_NO_PLACE = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)

ATTEMPTS, UNMATCHED = ".attempts", ".unmatched"
_TIMESTAMP = "timestamp.txt"
_OWN_TIME = "when it was handed in is not for the student to say"
#: What a notebook is called that was saved or downloaded as something else.
_LIKE_NOTEBOOKS = (".json", ".txt", ".py", ".md")
_NOISE = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", ".ipynb_checkpoints")

# Moodle, 'Download all submissions', with a folder for each student or without.
_MOODLE = re.compile(r"(?P<name>.+)_(?P<number>\d+)_assignsubmission_(?P<kind>file|onlinetext)(?:_(?P<file>.*))?", re.S)
# Canvas, 'Download submissions': lastfirst[_LATE]_user_submission_file, the file's name with -2 and so on later on.
_CANVAS = re.compile(r"(?P<name>[^_]+?)(?P<late>_LATE)?_(?P<number>\d+)_(?P<submission>\d+)_(?P<file>.+)", re.S)
# Blackboard's grade centre.
_BLACKBOARD = re.compile(
    r".+_(?P<number>[^_]+)_attempt_(?P<time>\d{4}(?:-\d\d){5})(?:_(?P<file>.+)|(?P<about>\.txt))", re.S
)
# A later attempt: as Canvas marks it, and as a browser does.
_CANVAS_ATTEMPT = re.compile(r"(?P<stem>.+)-(?P<number>\d{1,3})(?P<ending>\.[^.]+)")
_BROWSER_ATTEMPT = re.compile(r"(?P<stem>.+?) ?\((?P<number>\d{1,3})\)(?P<ending>\.[^.]+)")


@dataclass(frozen=True)
class Entry:
    """One file that came in.

    Attributes:
        name: Its path in the archive or folder.
        file: Where it lies now.
        modified: When it was last changed, if that is known.
    """

    name: PurePosixPath
    file: Path
    modified: datetime | None


@dataclass
class Upload:
    """What one student handed in at one time.

    Attributes:
        origin: Its place in the download, for people.
        claims: Ids or names of whose it is, the surest first.
        about: Where the names of this download come from: `Moodle`, `Canvas`, `Blackboard`, `nbgrader` or `names`.
        number: The number by which Moodle or Canvas knows the student.
        files: What it holds, by the path that each file had on the student's side.
        attempt: Counts the attempts of single files, where their names tell.
        submitted: When it was handed in, where the download tells.
        late: Whether the system marked it as late.
    """

    origin: str
    claims: tuple[str, ...]
    about: str
    number: str = ""
    files: dict[PurePosixPath, Entry] = field(default_factory=dict)
    attempt: int = 0
    submitted: datetime | None = None
    late: bool = False


@dataclass(frozen=True)
class Collected:
    """What became of one upload.

    Attributes:
        origin: Its place in the download.
        state: `new`, `newer` (it took an earlier one's place), `older attempt`, `without a notebook` (it is kept among
            the earlier attempts, for it would take a notebook's place), `unchanged` or `unmatched`.
        student: Whose it is; empty if unmatched.
        episode: Which episode it answers; empty if that is not known.
        place: Where it lies now.
        submitted: When it was handed in, if that is known.
        late: Whether the system marked it as late.
        note: Why it is unmatched, or what else a person should know.
        about: Where the names of the download come from, as in `Upload`.
    """

    origin: str
    state: State
    student: str = ""
    episode: str = ""
    place: Path | None = None
    submitted: datetime | None = None
    late: bool = False
    note: str = ""
    about: str = ""


@dataclass
class Refused:
    """A file that was not taken from the download, and why."""

    name: str
    reason: str


def collect(
    root: Path,
    source: Path,
    episodes: Sequence[Episode],
    *,
    episode: str | None = None,
    roster: Roster | None = None,
    config: Config | None = None,
    zone: tzinfo = UTC,
    file_times: bool = False,
) -> tuple[list[Collected], list[Refused]]:
    """Take in what students handed in.

    Args:
        root: The course folder.
        source: A zip file, a folder or a single notebook.
        episodes: The episodes of the course, to tell from a notebook which one it answers.
        episode: The episode, where all of it belongs to one.
        roster: The class; without one, ids come from the names in the download.
        config: nbgrader's configuration; `c.FileNameCollectorPlugin.named_regexp` in it is tried before anything else.
        zone: The time zone of times that name none.
        file_times: Take the time of a file for the time of handing in, where nothing better is known.

    Returns:
        What became of each upload, and the files that were not taken at all.

    Raises:
        CourseError: The source cannot be read, or is refused as a whole.
    """
    submitted = root / "submitted"
    submitted.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".incoming-", dir=submitted) as scratch:
        refused: list[Refused] = []
        entries = list(_unpack(source, Path(scratch), refused, zone))
        if not entries and not refused:
            raise CourseError(f"{source} holds no files. Expected a zip file or a folder with students' notebooks.")
        known = Path(scratch, "ordered")
        results = []
        for upload in _ordered(_uploads(entries, refused, episodes, config, zone), file_times):
            results.append(_settle(upload, submitted, episodes, episode, roster, known, refused))
    for one in results:
        event(
            "collected",
            root=root,
            origin=one.origin,
            state=one.state,
            student=one.student,
            episode=one.episode,
            submitted=one.submitted.isoformat() if one.submitted else None,
            late=one.late,
            note=one.note,
        )
    return results, refused


def register(config: Config, people: Sequence[Person]) -> None:
    """Put the class into nbgrader's gradebook, names and addresses included; marks are not touched."""
    with Gradebook(CourseDirectory(config=config).db_url) as gradebook:
        for person in people:
            known = {"first_name": person.first, "last_name": person.last, "email": person.email}
            known = {name: value for name, value in known.items() if value}
            if person.number:
                known["lms_user_id"] = person.number
            gradebook.update_or_create_student(person.student, **known)


# --- unpacking -------------------------------------------------------------------------------------------------------


@dataclass
class _Taken:
    """How much a download has held so far, the zip files in it unpacked.

    Attributes:
        files: Number of files.
        size: Their bytes.
    """

    files: int = 0
    size: int = 0

    def leaves_room(self, files: int, size: int) -> bool:
        """Whether so much more stays within the bounds of a download."""
        return self.files + files <= MAX_ENTRIES and self.size + size <= MAX_BYTES

    def add(self, size: int) -> None:
        """Count one more file."""
        self.files += 1
        self.size += size


def _unpack(source: Path, scratch: Path, refused: list[Refused], zone: tzinfo) -> Iterator[Entry]:
    taken = _Taken()
    if source.is_dir():
        found = _from_folder(source, scratch, refused, taken)
    elif zipfile.is_zipfile(source):
        found = _from_zip(source, str(source), scratch, refused, zone, taken)
    elif source.is_file() and source.suffix == ".ipynb":
        found = iter([_copied(source, PurePosixPath(source.name), scratch, 0)])
    elif source.exists():
        raise CourseError(f"{source} is no zip file, folder or notebook. Expected one of these.")
    else:
        raise CourseError(f"{source} is not there. Expected a zip file, a folder or a notebook.")
    for entry in found:
        if entry.name.suffix.lower() == ".zip" and zipfile.is_zipfile(entry.file):
            inner = scratch / f"inside-{entry.file.name}"
            inner.mkdir()
            stem = entry.name.with_suffix("")
            shown = plain_name(str(entry.name))
            try:
                unpacked = list(_from_zip(entry.file, shown, inner, refused, zone, taken))
            except CourseError as problem:
                # It is one student's file, and the class is collected all the same.
                refused.append(Refused(shown, f"not unpacked, kept as it is: {problem.__cause__ or problem}"))
                yield entry
                continue
            for each in unpacked:
                name = stem / _without_single_folder(each.name, stem)
                if name.name == _TIMESTAMP:
                    refused.append(Refused(plain_name(str(name)), _OWN_TIME))
                    continue
                yield Entry(name, each.file, each.modified or entry.modified)
        else:
            yield entry


def _without_single_folder(name: PurePosixPath, stem: PurePosixPath) -> PurePosixPath:
    """A zip often holds one folder of its own name; the files then lie one level too deep."""
    return PurePosixPath(*name.parts[1:]) if len(name.parts) > 1 and name.parts[0] == stem.name else name


def _from_folder(source: Path, scratch: Path, refused: list[Refused], taken: _Taken) -> Iterator[Entry]:
    number = 0
    for folder, names, files in os.walk(source):
        names[:] = sorted(n for n in names if n not in _NOISE)
        for name in list(names):
            if (Path(folder) / name).is_symlink():
                refused.append(Refused(str(Path(folder, name).relative_to(source)), "a link to another place"))
                names.remove(name)
        for name in sorted(files):
            path = Path(folder) / name
            inside = PurePosixPath(path.relative_to(source).as_posix())
            if name in _NOISE:
                continue
            try:
                number += 1
                entry = _copied(path, inside, scratch, number)
            except CourseError as problem:
                refused.append(Refused(str(inside), str(problem)))
                continue
            taken.add(entry.file.stat().st_size)
            if not taken.leaves_room(0, 0):
                raise CourseError(f"{source} holds more than {MAX_ENTRIES} files or {MAX_BYTES >> 30} GB.")
            yield entry


def _copied(path: Path, name: PurePosixPath, scratch: Path, number: int) -> Entry:
    target = scratch / f"file-{number}"
    target.write_bytes(read_regular_file(path, MAX_FILE_BYTES))
    return Entry(name, target, datetime.fromtimestamp(path.stat().st_mtime, UTC))


def _from_zip(
    source: Path, shown: str, scratch: Path, refused: list[Refused], zone: tzinfo, taken: _Taken
) -> Iterator[Entry]:
    try:
        with zipfile.ZipFile(source) as archive:
            members = [each for each in archive.infolist() if not each.is_dir()]
            size = sum(each.file_size for each in members)
            if not taken.leaves_room(len(members), size):
                raise CourseError(
                    f"{shown} is refused: it would unpack to {len(members)} files with {size / 2**30:.1f} GB. Of a "
                    f"whole download at most {MAX_ENTRIES} files and {MAX_BYTES >> 30} GB are taken."
                )
            for number, member in enumerate(members):
                name = _name_of(member)
                parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".")]
                if any(part in _NOISE for part in parts):
                    continue
                if reason := _refusal(member, name, parts):
                    refused.append(Refused(plain_name(name), reason))
                    continue
                target = scratch / f"member-{number}"
                if reason := _extract(archive, member, target):
                    refused.append(Refused(plain_name(name), reason))
                    continue
                taken.add(member.file_size)
                yield Entry(PurePosixPath(*parts), target, _time_of(member, zone))
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as problem:
        raise CourseError(
            f"{shown} cannot be unpacked: {problem}. Was the download broken off? Fetch it again."
        ) from problem


def _name_of(member: zipfile.ZipInfo) -> str:
    """The member's name; without the UTF-8 mark `zipfile` takes it for code page 437, which hardly anybody means."""
    if member.flag_bits & 0x800:
        return member.filename
    raw = member.filename.encode("cp437", "replace")
    for encoding in ("utf-8", "cp1252"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return member.filename


def _refusal(member: zipfile.ZipInfo, name: str, parts: Sequence[str]) -> str:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if not parts or name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        return "its path leads out of the archive"
    if kind not in (0, stat.S_IFREG):
        return "not a regular file"
    if member.flag_bits & 0x1:
        return "it is encrypted"
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        # `zipfile` unpacks the others in whole chunks, whatever size is stated.
        return "it is packed by another method than deflate; pack it anew as an ordinary zip file"
    if member.file_size > MAX_FILE_BYTES:
        return f"{member.file_size / 2**20:.0f} MB; at most {MAX_FILE_BYTES / 2**20:.0f} MB are taken"
    if member.file_size > 2**20 and member.file_size > MAX_RATIO * max(1, member.compress_size):
        times = member.file_size / max(1, member.compress_size)
        return f"it would unpack to {times:.0f} times its size, as a zip bomb does"
    if len(parts) > 20 or any(len(part.encode()) > 255 for part in parts):
        return "its path is too long"
    return ""


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> str:
    """Unpack one member; say what is wrong, if anything.

    `zipfile` stops at the size that the archive states, and compares checksums at the end.
    """
    try:
        with archive.open(member) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, RuntimeError, ValueError) as problem:
        target.unlink(missing_ok=True)
        return f"it is damaged ({problem})"
    return ""


def _time_of(member: zipfile.ZipInfo, zone: tzinfo) -> datetime | None:
    try:
        return datetime(*member.date_time, tzinfo=zone) if member.date_time[0] > 1980 else None
    except ValueError:
        return None


# --- whose is it? ----------------------------------------------------------------------------------------------------


def _uploads(
    entries: Sequence[Entry],
    refused: list[Refused],
    episodes: Sequence[Episode],
    config: Config | None,
    zone: tzinfo,
) -> list[Upload]:
    """Sort the files into uploads by the names that systems give them."""
    entries = _unwrapped(entries, {episode.name for episode in episodes})
    pattern = _named_pattern(config)
    found: dict[tuple[object, ...], Upload] = {}
    for entry in entries:
        key, claimed, name = _claim(entry, episodes, pattern, zone)
        upload = found.setdefault(key, claimed)
        if name == PurePosixPath(_TIMESTAMP):
            if claimed.about == "names":
                upload.submitted = _stamp(entry.file) or upload.submitted
            else:  # from these systems it comes only from the student
                refused.append(Refused(plain_name(str(entry.name)), _OWN_TIME))
        elif str(name) != ".":
            upload.files[_free(name, upload.files)] = entry
    for upload in found.values():
        if upload.about == "Canvas":
            upload.files = _without_attempts(upload.files)
    return [upload for upload in found.values() if upload.files]


def _free(name: PurePosixPath, taken: Collection[PurePosixPath]) -> PurePosixPath:
    """The name, or a like one that is not taken."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = name.with_name(f"{name.stem} ({number}){name.suffix}")
    return free


def _without_attempts(files: Mapping[PurePosixPath, Entry]) -> dict[PurePosixPath, Entry]:
    """The files of one student without the mark that Canvas gave to those of this attempt.

    Of `work-1.ipynb`, `table-1.csv` and `cnn-64.keras` the last is called so by the student: the notebook tells. What
    is in a zip file Canvas does not rename.
    """
    own = [name for name in files if len(name.parts) == 1]
    attempts = {_attempt(name, _CANVAS_ATTEMPT)[1] for name in own if name.suffix.lower() == ".ipynb"}
    plain_names: dict[PurePosixPath, Entry] = {}
    for name, entry in files.items():
        bare, attempt = _attempt(name, _CANVAS_ATTEMPT)
        marked = name in own and attempt in attempts and bare not in files and bare not in plain_names
        plain_names[bare if marked else name] = entry
    return plain_names


def _unwrapped(entries: Sequence[Entry], episodes: set[str]) -> list[Entry]:
    """Without a folder that holds everything and is no student's: the name of a zip file or of the assignment."""
    while entries and all(len(entry.name.parts) > 1 for entry in entries):
        tops = {entry.name.parts[0] for entry in entries}
        below = {entry.name.parts[1] for entry in entries}
        top = next(iter(tops))
        folders = all(len(entry.name.parts) > 2 for entry in entries)
        wraps = top in episodes or top == "submitted" or (folders and len(below) > 1 and not below & episodes)
        known = below & episodes or any(_MOODLE.fullmatch(name) or _CANVAS.fullmatch(name) for name in below)
        if len(tops) > 1 or _MOODLE.fullmatch(top) or not (wraps or (known and not below & episodes)):
            break
        entries = [Entry(PurePosixPath(*entry.name.parts[1:]), entry.file, entry.modified) for entry in entries]
    return list(entries)


def _named_pattern(config: Config | None) -> re.Pattern[str] | None:
    """The instructor's own pattern, as for `nbgrader zip_collect`."""
    text = FileNameCollectorPlugin(config=config or Config()).named_regexp
    try:
        return re.compile(text) if text else None
    except re.error as problem:
        raise CourseError(
            f"nbgrader_config.py: c.FileNameCollectorPlugin.named_regexp cannot be read as a pattern: {problem}. Found "
            f"{text!r}; expected a regular expression with (?P<student_id>...) and (?P<file_id>...)."
        ) from problem


def _claim(
    entry: Entry, episodes: Sequence[Episode], pattern: re.Pattern[str] | None, zone: tzinfo
) -> tuple[tuple[object, ...], Upload, PurePosixPath]:
    """The upload that a file belongs to, and the path that it had on the student's side."""
    top, rest = entry.name.parts[0], PurePosixPath(*entry.name.parts[1:])
    origin = plain_name(top, 120)
    if pattern is not None and (match := pattern.match(entry.name.name)):
        about = match.groupdict()
        when = _compact_time(about.get("timestamp"), zone)
        person = about.get("student_id") or ""
        name = PurePosixPath(about.get("file_id") or entry.name.name)
        name = name if name.suffix else name.with_suffix(entry.name.suffix)
        names = (person, about.get("email") or "", f"{about.get('first_name') or ''} {about.get('last_name') or ''}")
        claims = tuple(claim for claim in names if claim.strip())
        whose = claims or (entry.name,)
        return ("nbgrader", whose, when), Upload(origin, claims, "nbgrader", submitted=when), name
    if match := _MOODLE.fullmatch(top):
        name = rest if rest.parts else PurePosixPath(match["file"] or "onlinetext.html")
        # With groups, Moodle writes 'Group-Name'; the name that matches is found from the right.
        names = match["name"].split("-")
        whole = tuple("-".join(names[at:]).strip() for at in range(len(names)))
        return ("Moodle", match["number"]), Upload(origin, whole, "Moodle", match["number"]), name
    if not rest.parts and (match := _BLACKBOARD.fullmatch(top)):
        when = _compact_time(match["time"], zone)
        name = PurePosixPath(match["file"] or ".")
        return (
            ("Blackboard", match["number"], when),
            Upload(origin, (match["number"],), "Blackboard", submitted=when),
            name,
        )
    if match := _CANVAS.fullmatch(top):
        upload = Upload(origin, (match["name"],), "Canvas", match["number"], late=bool(match["late"]))
        if upload.late:
            # Canvas says that it is late, not how late. The time of the download is the latest that it can have been.
            upload.submitted = entry.modified
        return ("Canvas", match["number"]), upload, PurePosixPath(match["file"], *rest.parts)
    if rest.parts:
        folder = rest.parts[0]
        if len(rest.parts) > 1 and folder in {episode.name for episode in episodes}:
            # nbgrader's own layout: STUDENT/EPISODE/
            return ("names", top, folder), Upload(f"{origin}/{folder}", (top,), "names"), rest.relative_to(folder)
        return ("names", top), Upload(origin, (top,), "names"), rest
    # A number at the end may be part of the id (`student-3`); it counts attempts only of a student who has none.
    name, attempt = _attempt(entry.name, _BROWSER_ATTEMPT)
    bare, again = _attempt(name, _CANVAS_ATTEMPT)
    claims = tuple(dict.fromkeys(_without_episode(each.stem, episodes) for each in (name, bare)))
    return ("names", entry.name), Upload(origin, claims, "names", attempt=attempt or again), name


def _without_episode(text: str, episodes: Sequence[Episode]) -> str:
    """The student in a name such as `01-small_ada`."""
    for episode in episodes:
        text = re.sub(rf"(?i)[\s_-]*{re.escape(episode.name)}[\s_-]*", " ", text).strip() or text
    return text


def _attempt(name: PurePosixPath, pattern: re.Pattern[str]) -> tuple[PurePosixPath, int]:
    """A name without what is added to that of a later attempt, and the number of the attempt; 0 if nothing is."""
    match = pattern.fullmatch(name.name)
    return (name.with_name(match["stem"] + match["ending"]), int(match["number"])) if match else (name, 0)


def _compact_time(text: str | None, zone: tzinfo) -> datetime | None:
    numbers = [int(number) for number in re.findall(r"\d+", text or "")]
    try:
        return datetime(*numbers[:6], tzinfo=zone) if len(numbers) >= 5 else None  # type: ignore[misc,arg-type]
    except ValueError:
        return None


def _stamp(file: Path) -> datetime | None:
    """The time in nbgrader's `timestamp.txt`."""
    try:
        with file.open("rb") as opened:
            return parse_utc(opened.read(100).decode().strip()).replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _ordered(uploads: Sequence[Upload], file_times: bool) -> list[Upload]:
    """Older attempts first, so that the newest ends up on top."""
    if file_times:
        for upload in uploads:
            times = [entry.modified for entry in upload.files.values() if entry.modified]
            upload.submitted = upload.submitted or max(times, default=None)
    oldest = datetime.min.replace(tzinfo=UTC)
    return sorted(uploads, key=lambda upload: (upload.submitted or oldest, upload.attempt, upload.origin))


# --- settling --------------------------------------------------------------------------------------------------------


def _settle(
    upload: Upload,
    submitted: Path,
    episodes: Sequence[Episode],
    chosen: str | None,
    roster: Roster | None,
    scratch: Path,
    refused: list[Refused],
) -> Collected:
    """Put one upload where it belongs."""
    person, reason = _person(upload, roster)
    name = chosen or _episode_of(upload, episodes)
    if person is not None and person.handed_in is not None and (upload.submitted is None or upload.about == "Moodle"):
        upload.submitted = person.handed_in
    if person is None or name is None:
        state: State = "unmatched"
        student, note = "", reason or "its notebook is none of this course's; name the episode with --episode"
        place = _keep(submitted / UNMATCHED / (name or "unknown-episode"), upload, scratch, refused)
    else:
        student, note = person.student, ""
        made = _lay_out(upload, name, scratch, refused)
        earlier = submitted / ATTEMPTS / student / name
        state, place = _put(made, submitted / student / name, earlier, upload.submitted)
        if upload.late and upload.about == "Canvas":
            note = "marked as late; its time is that of the download"
    return Collected(
        upload.origin, state, student, name or "", place, upload.submitted, upload.late, note, upload.about
    )


def _put(made: Path, target: Path, earlier: Path, when: datetime | None) -> tuple[State, Path]:
    """Let what was made take its place at the target or among the earlier attempts; say what it is, and where."""
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        return "new", made.rename(target)
    before = _stamp(target / _TIMESTAMP) if (target / _TIMESTAMP).is_file() else None
    known = before is not None and when is not None
    same = _same(made, target)
    if same and before is None and when is not None:
        (made / _TIMESTAMP).replace(target / _TIMESTAMP)
    # Who hands in again what an earlier attempt was wants it back; without times, it is only collected again.
    again = not (known and when > before) and any(_same(made, one) for one in earlier.glob("*"))
    if same or again:
        shutil.rmtree(made)
        return "unchanged", target
    if known and when < before:
        return "older attempt", _set_aside(made, earlier)
    if _has_notebook(target) and not _has_notebook(made):
        return "without a notebook", _set_aside(made, earlier)
    _set_aside(target, earlier)
    return "newer", made.rename(target)


def _person(upload: Upload, roster: Roster | None) -> tuple[Person | None, str]:
    if not upload.claims:
        return None, "the pattern c.FileNameCollectorPlugin.named_regexp found no student in this name"
    if roster is not None:
        # An id as it is written comes before one that is only alike: `ada-2` is ada's second file, not that of `ada2`.
        claims = sorted(upload.claims, key=lambda claim: claim not in roster.people)
        return roster.find(*claims, number=upload.number)
    claim = upload.claims[0]
    if upload.number:
        # Two people may share a name, and nobody knows a number by heart: so the id has both.
        words = [plain(word) for word in re.split(r"\W+", claim) if plain(word)]
        claim = "-".join([*words, upload.number])
    elif not STUDENT_ID.fullmatch(claim):
        claim = "-".join(plain(word) for word in re.split(r"\W+", claim) if plain(word))
    if not STUDENT_ID.fullmatch(claim):
        return None, f"'{plain_name(upload.claims[0])}' cannot be a student id; give a roster with --roster"
    return Person(claim), ""


def _episode_of(upload: Upload, episodes: Sequence[Episode]) -> str | None:
    """The episode whose graded cells a notebook of the upload has; else the one that its name or place names."""
    best, most = None, 0.0
    for path, entry in upload.files.items():
        if path.suffix.lower() not in (".ipynb", *_LIKE_NOTEBOOKS):
            continue
        marks = _grade_ids(entry.file)
        for episode, ids in _released_ids(episodes).items():
            share = len(marks & ids) / max(1, len(ids))
            if share > most:
                best, most = episode, share
    if best is not None:
        return best
    for path in upload.files:
        for word in (path.stem, upload.origin.rpartition("/")[2]):
            try:
                return find_episode(episodes[0].root, word).name if episodes else None
            except CourseError:
                for episode in episodes:
                    if episode.name in word:
                        return episode.name
    return None


def _grade_ids(file: Path) -> set[str]:
    # By pattern, for the file may be damaged; the grader repairs it.
    return {
        found.decode() for found in re.findall(rb'grade_id\\?"\s*:\s*\\?"([a-zA-Z0-9_-]{1,100})', file.read_bytes())
    }


def _released_ids(episodes: Sequence[Episode]) -> Mapping[str, set[str]]:
    return {episode.name: _grade_ids(episode.release) for episode in episodes if episode.release.is_file()}


def _lay_out(upload: Upload, episode: str | None, scratch: Path, refused: list[Refused]) -> Path:
    """The folder of an upload as it will stand in `submitted/`, in the scratch folder; None keeps every name."""
    scratch.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=scratch))
    made.chmod(0o755)
    now = datetime.now(UTC)
    for path, name in _places(list(upload.files), episode).items():
        entry, target = upload.files[path], made / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry.file, target)
        except OSError as problem:
            if problem.errno not in _NO_PLACE:
                raise
            refused.append(
                Refused(f"{upload.origin}: {plain_name(str(path))}", f"cannot be written: {problem.strerror}")
            )
            continue
        # Of several notebooks with equally many answers the grader takes the newest.
        changed = (entry.modified or now).timestamp()
        os.utime(target, (changed, changed))
    if upload.submitted is not None:
        when = upload.submitted.astimezone(UTC)
        (made / _TIMESTAMP).write_text(f"{when:%Y-%m-%d %H:%M:%S} UTC\n", encoding="utf-8")
    return made


def _places(paths: Sequence[PurePosixPath], episode: str | None) -> dict[PurePosixPath, PurePosixPath]:
    """Where each file of an upload goes: a lone notebook to the top, by the released name, with what is beside it."""
    places = {path: path for path in paths}
    notebooks = [path for path in paths if path.suffix.lower() == ".ipynb"]
    if episode is None or len(notebooks) != 1:
        return places
    folder = notebooks[0].parent
    beside = {path: path.relative_to(folder) for path in paths if path.is_relative_to(folder)}
    above = {path.parts[0] for path in paths if path not in beside}
    if not above.union([_TIMESTAMP]) & {place.parts[0] for place in beside.values()}:
        places.update(beside)
    # The grader looks for the released name, and for others only where that is not there.
    places[notebooks[0]] = PurePosixPath(f"{episode}.ipynb")
    return places


def _same(left: Path, right: Path) -> bool:
    """Whether two folders hold the same files, times of handing in aside."""
    names = [
        sorted(path.relative_to(top) for path in top.rglob("*") if path.is_file() and path.name != _TIMESTAMP)
        for top in (left, right)
    ]
    return names[0] == names[1] and all(filecmp.cmp(left / name, right / name, shallow=False) for name in names[0])


def _has_notebook(folder: Path) -> bool:
    """Whether a folder holds a notebook, be it under another name or damaged."""
    return any(
        path.suffix.lower() == ".ipynb" or (path.suffix.lower() in _LIKE_NOTEBOOKS and _grade_ids(path))
        for path in folder.rglob("*")
        if path.is_file()
    )


def _set_aside(folder: Path, earlier: Path) -> Path:
    earlier.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(path.name) for path in earlier.iterdir() if path.name.isdecimal()), default=0)
    return folder.rename(earlier / str(number))


def _keep(folder: Path, upload: Upload, scratch: Path, refused: list[Refused]) -> Path:
    """Keep what is nobody's under its name in the download; the same again is kept once."""
    made = _lay_out(upload, None, scratch, refused)
    name = re.sub(r"[^\w.@ -]", "_", upload.origin).encode()[:200].decode(errors="ignore")
    wish = folder / (name.strip(". ") or "unnamed")
    place, number = wish, 1
    while place.exists():
        if _same(made, place):
            shutil.rmtree(made)
            return place
        number += 1
        place = wish.with_name(f"{wish.name} ({number})")
    folder.mkdir(parents=True, exist_ok=True)
    return made.rename(place)
