"""The command line: `autograder VERB`. Each command is thin and calls the module of its name."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from autograder.errors import CourseError, did_you_mean

if TYPE_CHECKING:
    from autograder.course import Episode
    from autograder.demo import Comparison, Sample
    from autograder.grade import Grading, StudentResult
    from autograder.likeness import Pair

app = typer.Typer(
    help="Build, grade and hand back the exercises of the image classification course.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=True)


def episode_names(incomplete: str) -> list[str]:
    """The episodes of the course here, for a shell that completes a name."""
    from autograder.course import episodes, find_root

    try:
        return [one.name for one in episodes(find_root()) if one.name.startswith(incomplete)]
    except CourseError:
        return []


def student_names(incomplete: str) -> list[str]:
    """The students who have handed in something, for a shell that completes a name."""
    from autograder.course import find_root

    try:
        folders = (find_root() / "submitted").glob("[!.]*")
        return sorted(folder.name for folder in folders if folder.is_dir() and folder.name.startswith(incomplete))
    except CourseError:
        return []


EpisodeName = Annotated[
    str,
    typer.Argument(
        help="An episode, as 01-introduction or 1; or all.", metavar="EPISODE|all", autocompletion=episode_names
    ),
]


class ExportFormat(StrEnum):
    """What `autograder export` writes."""

    csv = "csv"
    canvas = "canvas"
    moodle = "moodle"
    gradescope = "gradescope"


@app.callback()
def options(
    verbose: Annotated[bool, typer.Option("--verbose", help="Show the traceback of an error.")] = False,
) -> None:
    """Build, grade and hand back the exercises of the image classification course."""
    # `main` acts on the flag itself, so that it may stand anywhere on the line.


@app.command()
def build(
    episode: EpisodeName = "all",
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; say whether source/ and release/ are up to date."),
    ] = False,
) -> None:
    """Make the instructor notebooks (source/) and the student notebooks (release/) from the lesson texts (course/).

    Example: autograder build 1

    Exit code 0: done. 1: --check found a notebook that is out of date.
    """
    from autograder import build as building
    from autograder.course import find_episodes, find_root

    root = find_root()
    found = find_episodes(root, episode)
    if check:
        problems = [problem for one in found for problem in building.check(one)]
        for problem in problems:
            out.print(problem)
        if problems:
            raise typer.Exit(1)
        out.print(f"{len(found)} episode(s): source/ and release/ are as the lesson texts make them.")
        return
    for one in found:
        made = building.build(one)
        files = ", ".join(str(path.relative_to(root)) for path in made.changed) or "nothing changed"
        out.print(
            f"{one.name}: {made.exercises} graded questions, {made.points:g} points "
            f"({made.written_points:g} for written answers): {files}"
        )


@app.command()
def lint(
    episode: EpisodeName = "all",
    reading: Annotated[
        bool, typer.Option("--reading", help="Show how hard each episode is to read, instead of findings.")
    ] = False,
) -> None:
    """Look through the lessons: parts, points, hints, tests, alt text, words explained, links, answers given away.

    Example: autograder lint 1

    Exit code 0: nothing found. 1: something isn't as it should be.
    """
    from autograder.course import find_episodes, find_root
    from autograder.lint import Lesson
    from autograder.lint import lint as look_through
    from autograder.reading import measure, table

    root = find_root()
    chosen = find_episodes(root, episode)
    if reading:
        say(table([measure(Lesson(one)) for one in chosen]))
        return
    findings = look_through(root, chosen)
    for finding in findings:
        say(str(finding))
    if findings:
        raise typer.Exit(1)
    out.print(f"{len(chosen)} episode(s): nothing found.")


@app.command()
def bundle(
    episode: EpisodeName = "all",
    to: Annotated[
        Path | None, typer.Option("--to", help="The zip file to write; export/cnn-course.zip if not given.")
    ] = None,
    with_data: Annotated[
        bool,
        typer.Option("--with-data", help="Put the images in. CIFAR-10's may not be passed on beyond your class."),
    ] = False,
) -> None:
    """Write a zip file with all that a student needs: notebooks, helpers, requirements, and a page to start from.

    Example: autograder bundle --with-data
    """
    from autograder.bundle import bundle as write
    from autograder.course import find_episodes, find_root

    root = find_root()
    target = to or root / "export" / "cnn-course.zip"
    names = write(root, find_episodes(root, episode), target, with_data=with_data)
    say(f"Written: {target} ({target.stat().st_size / 1e6:.1f} MB, {len(names)} files)")
    out.print(
        "Students unpack it and type two commands: `cd cnn-course` and `python start.py`. START-HERE.html says so."
    )


@app.command()
def collect(
    source: Annotated[Path, typer.Argument(help="A zip file from Moodle, Canvas or elsewhere, or a folder.")],
    episode: Annotated[
        str | None, typer.Option("--episode", "-e", help="The episode, if all of it belongs to one; else it is found.")
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option("--roster", "-r", help="The class as CSV: a Moodle worksheet, a Canvas gradebook, or your own."),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", help="The zone of times that name none, for example Europe/Berlin.")
    ] = "UTC",
    file_times: Annotated[
        bool, typer.Option("--file-times", help="Take a file's time for that of handing in, where none is known.")
    ] = False,
) -> None:
    """Take in what students handed in: each student's files into submitted/STUDENT/EPISODE/, earlier attempts kept.

    Example: autograder collect download.zip --roster worksheet.csv

    Exit code 0: every file has its place. 1: some could not be matched or were refused; they are listed. 2: nothing was
    collected.
    """
    from autograder import incoming
    from autograder.course import episodes, find_episode, find_root, load_config
    from autograder.roster import Roster, read_roster, zone_of

    root = find_root()
    zone = zone_of(timezone)
    config = load_config(root)
    people = read_roster(roster, zone) if roster else None
    results, refused = incoming.collect(
        root,
        source,
        episodes(root),
        episode=find_episode(root, episode).name if episode else None,
        roster=Roster(people) if people is not None else None,
        config=config,
        zone=zone,
        file_times=file_times,
    )
    if people:
        incoming.register(config, people)
    for one in results:
        when = f", {one.submitted:%Y-%m-%d %H:%M %Z}" if one.submitted else ""
        late = ", late" if one.late else ""
        note = f" ({one.note})" if one.note else ""
        who = f"{one.student}, {one.episode}{when}{late}" if one.state != "unmatched" else "[red]nobody's[/]"
        out.print(f"{escape(one.origin)}: {who}: {one.state}{escape(note)}")
    for each in refused:
        out.print(f"{escape(each.name)}: [red]refused[/], {escape(each.reason)}")
    unmatched = [one for one in results if one.state == "unmatched"]
    out.print(f"{len(results) - len(unmatched)} submission(s) collected.")
    if roster is None and any(one.about == "Moodle" for one in results):
        out.print(
            "Moodle numbers students anew in each assignment, so a student's id made of the number is another one in "
            "the next episode. Give the class with --roster."
        )
    if unmatched:
        out.print(
            f"{len(unmatched)} could not be matched and lie in submitted/{incoming.UNMATCHED}/. Mend the roster or the "
            "names and collect once more."
        )
    if unmatched or refused:
        raise typer.Exit(1)


@app.command()
def grade(
    episode: EpisodeName,
    students: Annotated[
        list[str] | None, typer.Option("--students", "-s", help="Whom to grade: one id, or several with commas.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="How many at a time; what cores and memory allow if not given."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Grade again what was graded before.")] = False,
    share_identical: Annotated[
        bool, typer.Option("--share-identical", help="Run the notebooks of students with the same answers once.")
    ] = False,
    feedback: Annotated[bool, typer.Option("--feedback", help="Write the feedback pages too.")] = False,
    executor: Annotated[
        str | None, typer.Option("--executor", metavar="URL", help="Grade on a Dask cluster: dask://HOST:PORT.")
    ] = None,
    no_sandbox: Annotated[
        bool,
        typer.Option("--no-sandbox", help="Run students' code with your own rights. Only for code that you trust."),
    ] = False,
) -> None:
    """Grade what students handed in (submitted/STUDENT/EPISODE/): marks into the gradebook, notebooks into autograded/.

    Example: autograder grade 1 --feedback

    What has not changed since it was graded is not run again. Stopped at any moment, the same command goes on.

    Exit code 0: all graded. 1: graded, but something needs a person. 2: not graded to the end;
    the message says why. 130: stopped.
    """
    from autograder.course import find_episodes, find_root, submitting_students
    from autograder.executors import LazyPool
    from autograder.grade import prepare

    root = find_root()
    wanted = dict.fromkeys(find_episodes(root, episode), split_names(students))
    if episode == "all":
        handed_in = {one: submitting_students(one) for one in wanted}
        if not any(handed_in.values()):
            raise CourseError(
                "Nobody has handed in anything yet. Put each student's notebook at "
                "submitted/STUDENT/EPISODE/EPISODE.ipynb, for example "
                "submitted/ada/01-introduction/01-introduction.ipynb."
            )
        wanted = who_is_where(
            split_names(students),
            handed_in,
            "has not handed in any episode: there is no folder submitted/STUDENT/EPISODE/",
        )
    troubled, graded = 0, {}
    with contextlib.closing(LazyPool(executor, jobs, root)) as pool:
        for one, names in wanted.items():
            grading = prepare(
                one,
                names,
                force=force,
                sandbox=not no_sandbox,
                share_identical=share_identical,
                pool=pool,
            )
            results = grade_one(grading)
            troubled += sum(result.needs_a_person for result in results)
            graded[one] = [result.student for result in results if result.marks]
    for one, names in graded.items():
        if feedback and names:
            troubled += feedback_one(one, names, jobs)
    if troubled:
        out.print(f"{troubled} submission(s) need a person; the reasons stand above and in the class report.")
        raise typer.Exit(1)


def who_is_where(names: list[str], there: dict[Episode, list[str]], missing: str) -> dict[Episode, list[str]]:
    """The episodes that have anybody to work on, each with those of the named students who are there.

    Args:
        names: The students named; if none, nobody is left out, and no names stand with the episodes.
        there: Who is there in each episode.
        missing: What to say of a student who is in none of them.

    Raises:
        CourseError: A student named is in none of them.
    """
    everybody = {student for students in there.values() for student in students}
    for name in names:
        if name not in everybody:
            raise CourseError(f"Student '{name}' {missing}.{did_you_mean(name, everybody)}")
    chosen = {one: [name for name in names if name in students] for one, students in there.items() if students}
    return {one: found for one, found in chosen.items() if found or not names}


def much_alike(episode: Episode) -> list[Pair]:
    """The pairs for the class report; looked for only where the report is written anew."""
    from autograder.likeness import pairs_of

    return pairs_of(episode)


def grade_one(grading: Grading) -> list[StudentResult]:
    """Grade one episode with a bar, a summary and a class report."""
    from autograder.grade import Stopped, recorded
    from autograder.report import summary, write_report

    root, name = grading.episode.root, grading.episode.name
    if not grading.sandbox:
        out.print("[bold]Warning:[/] no sandbox. Students' code runs with your rights on this machine.")
    began, results = time.monotonic(), []
    try:
        with steps(f"Grading {name}", len(grading.students)) as done:
            for result in grading:
                results.append(result)
                done(result_line(result), failed=result.needs_a_person)
    except Stopped as stopped:
        out.print(
            f"Stopped. {stopped.done} submission(s) of {name} are graded and recorded, {stopped.left} are left. "
            f"Go on with the same command: it grades what is left, and nothing twice."
        )
        raise typer.Exit(130) from None
    results.sort(key=lambda result: result.student)
    of_class = recorded(grading.episode, grading.config, results)
    page = write_report(
        root / "export" / name / "report.html",
        name,
        of_class,
        sandbox=grading.sandbox and all(result.sandbox for result in of_class),
        alike=lambda: much_alike(grading.episode),
    )
    for line in summary(results, time.monotonic() - began):
        say(line)
    say(f"Class report: {page.relative_to(root)}")
    return results


@app.command()
def due(
    episode: EpisodeName = "all",
    date: Annotated[
        str | None,
        typer.Argument(help="The due date: 2026-12-01, which is the end of that day, or '2026-12-01 18:00'."),
    ] = None,
    timezone: Annotated[
        str, typer.Option("--timezone", help="The zone of the date, and of those shown; for example Europe/Berlin.")
    ] = "UTC",
    remove: Annotated[bool, typer.Option("--remove", help="Take the due date away.")] = False,
) -> None:
    """Set the due date of an episode; without a date, show due dates, extensions and who is late.

    Example: autograder due 1 "2026-12-01 18:00" --timezone Europe/Berlin
    """
    from autograder import late
    from autograder.course import find_episode, find_episodes, find_root, load_config
    from autograder.roster import zone_of

    root = find_root()
    zone, config = zone_of(timezone), load_config(root)
    if date is not None or remove:
        if date is not None and remove:
            raise CourseError("A date and --remove do not go together.")
        one = find_episode(root, episode)
        late.set_due_date(one, config, late.moment(date, zone) if date is not None else None)
    for dates in late.read_dates(find_episodes(root, episode), config):
        when = f"due {dates.due.astimezone(zone):%Y-%m-%d %H:%M %Z}" if dates.due else "no due date"
        say(f"{dates.episode}: {when}")
        for extension in dates.extensions:
            until = f"until {extension.until.astimezone(zone):%Y-%m-%d %H:%M %Z}" if extension.until else ""
            say(f"  {extension.student}: more time, {until or f'{extension.days:g} day(s)'}")
        for student, behind, points in dates.late:
            say(f"  {student}: {behind} late, {points:g} points taken off")
        if dates.unknown:
            say(f"  not known when they handed in, so not late: {', '.join(dates.unknown)}")


@app.command()
def extend(
    student: Annotated[str, typer.Argument(help="The student's id.", autocompletion=student_names)],
    episode: Annotated[str, typer.Argument(help="An episode, as 01-introduction or 1.", autocompletion=episode_names)],
    date: Annotated[
        str | None, typer.Argument(help="The date that counts for this student: 2026-12-08, or '2026-12-08 18:00'.")
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0, help="So many days more, instead of a date.")] = 0,
    timezone: Annotated[str, typer.Option("--timezone", help="The zone of the date, as Europe/Berlin.")] = "UTC",
    remove: Annotated[bool, typer.Option("--remove", help="Take the extension back.")] = False,
) -> None:
    """Give one student more time for an episode, before or after they hand in; kept in extensions.csv.

    Example: autograder extend ada 1 --days 3
    """
    from autograder import late
    from autograder.course import find_episode, find_root, load_config
    from autograder.roster import zone_of

    if (date is not None) + bool(days) + remove != 1:
        raise CourseError("Say one of these: a date, --days or --remove.")
    root = find_root()
    one = find_episode(root, episode)
    until = late.moment(date, zone_of(timezone)) if date is not None else None
    late.extend(one, load_config(root), student, until, days)
    more = f"until {until:%Y-%m-%d %H:%M %Z}" if until else f"{days:g} day(s) more" if days else "no extension any more"
    say(f"{student}, {one.name}: {more}. Kept in {late.EXTENSIONS}.")


@app.command()
def feedback(
    episode: EpisodeName,
    students: Annotated[
        list[str] | None, typer.Option("--students", "-s", help="For whom: one id, or several with commas.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="How many pages at a time; what the cores allow if not given."),
    ] = None,
) -> None:
    """Write the page that each student gets back (feedback/STUDENT/EPISODE/EPISODE.html).

    Example: autograder feedback 1 --students ada,grace

    Exit code 0: all written. 1: some could not be written; they are listed.
    """
    from autograder.course import find_episodes, find_root
    from autograder.feedback import graded_students

    root = find_root()
    wanted = dict.fromkeys(find_episodes(root, episode), split_names(students))
    if episode == "all":
        graded = {one: graded_students(one) for one in wanted}
        if not any(graded.values()):
            raise CourseError("Nobody was graded yet. Run `autograder grade` first.")
        wanted = who_is_where(
            split_names(students), graded, "was not graded in any episode: run `autograder grade` first"
        )
    if sum(feedback_one(one, names, jobs) for one, names in wanted.items()):
        raise typer.Exit(1)


def feedback_one(episode: Episode, students: list[str], jobs: int | None) -> int:
    """Write the feedback of one episode with a bar; how many pages could not be written."""
    from autograder.feedback import graded_students, write_feedback

    graded = graded_students(episode)
    chosen = [student for student in students if student in graded] if students else graded
    failed = 0
    pages = write_feedback(episode, students, jobs=jobs)
    with steps(f"Feedback on {episode.name}", len(chosen)) as done:
        for page in pages:
            failed += bool(page.problem)
            about = escape(page.problem) or str(page.path.relative_to(episode.root))
            done(f"{escape(page.student)}: {about}", failed=bool(page.problem))
    return failed


@app.command()
def report(episode: EpisodeName = "all") -> None:
    """Write the class report anew (export/EPISODE/report.html), with the marks that are in the gradebook now.

    Example: autograder report 1
    """
    from autograder.course import find_episodes, find_root, load_config
    from autograder.feedback import graded_students
    from autograder.grade import recorded
    from autograder.late import settle
    from autograder.report import write_report

    root = find_root()
    config, chosen = load_config(root), find_episodes(root, episode)
    if episode == "all":
        chosen = [one for one in chosen if graded_students(one)]
        if not chosen:
            raise CourseError("Nobody was graded yet. Run `autograder grade` first.")
    for one in chosen:
        settle(one, config)
        results = recorded(one, config)
        page = write_report(
            root / "export" / one.name / "report.html",
            one.name,
            results,
            sandbox=all(result.sandbox for result in results),
            alike=lambda one=one: much_alike(one),
        )
        say(f"Class report: {page.relative_to(root)}")


@app.command()
def export(
    episode: EpisodeName = "all",
    to: Annotated[Path | None, typer.Option("--to", help="The folder to write to; export/ if not given.")] = None,
    kind: Annotated[
        ExportFormat, typer.Option("--format", "-f", help="csv, or what Canvas, Moodle or Gradescope reads.")
    ] = ExportFormat.csv,
    into: Annotated[
        Path | None,
        typer.Option("--into", help="A gradebook that Canvas exported, or a Moodle worksheet: a copy is filled in."),
    ] = None,
) -> None:
    """Write the marks: as CSV (grades.csv, a row a student; exercises.csv, a row an exercise), or for another system.

    Example: autograder export 1 --format canvas --into gradebook.csv

    Exit code 0: written. 1: written, but some students are not in the file, or some marks are not complete; never
    for csv.
    """
    from autograder import formats
    from autograder.course import find_episodes, find_root, load_config
    from autograder.export import export as write

    root = find_root()
    chosen = find_episodes(root, episode)
    if kind is ExportFormat.csv:
        if into is not None:
            raise CourseError("--into goes with --format canvas or --format moodle.")
        for path in write(root, chosen, to):
            say(f"Written: {path}")
        return
    if episode == "all" and into is not None:
        raise CourseError("--into is about one episode; name it.")
    config, noted = load_config(root), 0
    for one in chosen:
        paths, notes = formats.write(kind.value, one, formats.totals(one, config), to or root / "export", into)
        for path in paths:
            say(f"Written: {path}")
        for note in notes:
            say(f"  {note}")
        noted += len(notes)
    if noted:
        raise typer.Exit(1)


@app.command()
def backup(
    file: Annotated[
        Path | None, typer.Argument(help="The archive to write; backups/course-DATE-TIME.tar.gz if not given.")
    ] = None,
) -> None:
    """Write one archive with all that nobody could make again: gradebook, submissions, graded notebooks, results.

    Example: autograder backup /media/stick/course.tar.gz

    Exit code 0: all of it is in the archive. 1: the gradebook is a database elsewhere, or a folder of the course is a
    link; the message says what to do.
    """
    from autograder.backup import backup as write
    from autograder.course import find_root, load_config

    root = find_root()
    kept = write(root, load_config(root), file)
    for name in kept.left_out:
        say(f"Left out, for it is a link or the like: {name}")
    say(f"Written and checked: {kept.path} ({kept.files} files, {kept.size / 1e6:.1f} MB unpacked)")
    out.print("It holds students' work, marks and hidden tests: keep it where only you can read it.")
    if kept.note:
        say(kept.note)
        raise typer.Exit(1)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="An archive that `autograder backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Replace what is there; it is kept in before-restore/.")
    ] = False,
) -> None:
    """Put the course back as an archive of `autograder backup` holds it.

    Example: autograder restore backups/course-20261201-180000.tar.gz
    """
    from autograder.backup import restore as put_back
    from autograder.course import find_root

    count, aside = put_back(find_root(), file, force=force)
    say(f"Put back and checked: {count} files.")
    if aside is not None:
        say(f"What was there before: {aside}")


@app.command()
def adopt(
    write: Annotated[
        bool, typer.Option("--write", help="Add to nbgrader_config.py what is needed; the file as it was is kept.")
    ] = False,
    attempt: Annotated[
        bool, typer.Option("--try", help="Run your own solutions before the judge, as if a student had handed them in.")
    ] = False,
    no_sandbox: Annotated[bool, typer.Option("--no-sandbox", help="Run your solutions with your own rights.")] = False,
) -> None:
    """Make an nbgrader course that exists already ready for this engine; without --write, only look.

    Example: autograder adopt --try --write

    Exit code 0: ready. 1: some things are left for a person to see to; they are listed.
    """
    from autograder import adopt as adopting

    root = Path.cwd()
    names, findings = adopting.assignments(root), adopting.examine(root)
    if attempt:
        findings += adopting.try_solutions(root, names, sandbox=not no_sandbox)
    for one in findings:
        say(f"{one.assignment}: {one.text}")
    if write:
        added = adopting.adopt(root)
        say("nbgrader_config.py: two lines added at its end." if added else "nbgrader_config.py: ready already.")
    say(f"{len(names)} assignment(s), {len(findings)} thing(s) for a person to see to.")
    if findings:
        raise typer.Exit(1)


@app.command()
def data(
    archive: Annotated[
        Path | None,
        typer.Option("--archive", help="The file cifar-10-python.tar.gz, if you have it; nothing is downloaded."),
    ] = None,
    stand_in: Annotated[bool, typer.Option("--stand-in", help="Draw pictures instead; needs no network.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Make the images anew, and replace what is there.")] = False,
) -> None:
    """Make the course's images (data/) from CIFAR-10, which is downloaded from its publisher.

    Example: autograder data --archive cifar-10-python.tar.gz

    170 MB arrive, of which 2,000 small images stay. A download that was broken off goes on where it stopped.
    """
    from autograder.course import find_root
    from autograder.datasets import make_images

    with amounts() as report:
        made = make_images(
            find_root() / "data", archive_file=archive, stand_in=stand_in, force=force, report=report, say=say
        )
    if made.kept:
        out.print("The images are there already, all of them; --force makes them anew.")
    say(f"For students:     {made.folder} (train, val, test)")
    say(f"For graders only: {made.holdout}")


@app.command()
def demo(
    no_sandbox: Annotated[
        bool, typer.Option("--no-sandbox", help="Run the samples' code with your own rights; they mean no harm.")
    ] = False,
) -> None:
    """Grade a class of sample submissions of episode 1 in a scratch folder (demo/), and compare the marks.

    Example: autograder demo

    Exit code 0: every mark is as it should be. 1: some are not.
    """
    from autograder.course import find_root
    from autograder.demo import compare, find_images, stage
    from autograder.feedback import write_feedback
    from autograder.report import write_report

    root = find_root()
    out.print("Setting up a class of sample submissions in demo/; the marks of your own course are not touched.")
    if find_images(root):
        out.print("No photos are here, so the class trains on a stand-in: drawn pictures of the same five classes.")
    grading, samples = stage(root, root / "demo", sandbox=not no_sandbox)
    began, results = time.monotonic(), []
    with steps(f"Grading {grading.episode.name}", len(samples)) as done:
        for result in grading:
            results.append(result)
            done(result_line(result), failed=result.needs_a_person)
    by_name = {result.student: result for result in results}
    compared = [list(compare(sample, by_name[sample.name])) for sample in samples]
    print_comparison(samples, compared)
    pages = list(write_feedback(grading.episode))
    report = write_report(grading.episode.root / "report.html", grading.episode.name, results, sandbox=grading.sandbox)
    out.print(f"Graded {len(results)} submissions in {(time.monotonic() - began) / 60:.1f} minutes.")
    out.print(f"Class report:  {report.relative_to(root)}")
    out.print(f"Feedback page: {pages[-1].path.relative_to(root)}, and one like it for each of the others")
    wrong = [(sample, one) for sample, found in zip(samples, compared, strict=True) for one in found if not one.agrees]
    for sample, one in wrong:
        out.print(
            f"[red]Not as expected:[/] {sample.name}, {escape(one.exercise)}: "
            f"expected {escape(one.expected)}, found {escape(one.actual)}"
        )
    if wrong:
        raise typer.Exit(1)
    out.print(f"All {len(samples)} submissions got the marks they should.")


@app.command()
def doctor(
    skip_sandbox: Annotated[
        bool, typer.Option("--skip-sandbox", help="Do not try to break out of the sandbox; saves some seconds.")
    ] = False,
) -> None:
    """Say what is installed, what is missing, what each missing part costs, and how to get it.

    Example: autograder doctor

    Exit code 0: nothing is missing that grading needs. 1: something is.
    """
    from autograder.doctor import examine, summary

    marks = {"fine": "[green]ok[/]     ", "missing": "[red]MISSING[/]", "optional": "[yellow]without[/]"}
    findings = []
    for finding in examine(sandbox=not skip_sandbox):
        findings.append(finding)
        out.print(f"{marks[finding.level]} {escape(finding.part)}: {escape(finding.found)}")
        if finding.cost:
            out.print(f"          costs:  {escape(finding.cost)}")
            out.print(f"          get it: {escape(finding.remedy)}")
    if not summary(findings, out.print):
        raise typer.Exit(1)


@app.command()
def bank(
    episode: EpisodeName = "all",
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Grade small changes to the model solutions too; takes much longer.")
    ] = False,
    exercise: Annotated[
        list[str] | None, typer.Option("--exercise", "-e", help="Only the answers to this exercise (repeatable).")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="How many notebooks at a time.")] = 2,
    seeds: Annotated[
        int, typer.Option("--seeds", min=0, help="Grade right answers with so many seeds, on each set of images.")
    ] = 0,
    solutions: Annotated[
        bool, typer.Option("--solutions", help="With --seeds: only the model solutions, not the bank's right answers.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Judge everything anew, also what nothing has changed for.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table for machines.")] = False,
) -> None:
    """Grade the bank of answers (tests/bank/): are right ones passed, wrong ones failed, and all checks needed?

    What is known from an earlier run, and still holds, is not run again; so it may be stopped and started.

    Example: autograder bank 1 --mutants --exercise compile-and-fit

    Example: autograder bank 1 --seeds 5 --solutions

    Exit code 0: every verdict as it should be. 1: some are not; they are listed.
    """
    from autograder import bank as banking
    from autograder.course import find_episodes, find_root
    from autograder.ledger import Ledger

    root = find_root()
    chosen = find_episodes(root, episode)
    only = banking.require_known(chosen, exercise) if exercise else None
    parts = -(-jobs // len(chosen))
    if seeds:
        from autograder.fidelity import image_sets

        plan = [
            banking.seed_job(one, seed, images, others=not solutions, only=only)
            for seed in range(1, seeds + 1)
            for images in image_sets(root).values()
            for one in chosen
        ]
    else:
        plan = [job for one in chosen for job in banking.jobs_of(one, mutants=mutants, parts=parts, only=only)]
    lines = Console(stderr=True, highlight=False, soft_wrap=True) if as_json else out

    def done(job: banking.Job, outcome: banking.Outcome, seconds: float) -> None:
        with_seed = f" with seed {job.seed}" if job.seed is not None else ""
        lines.print(f"{job.episode.name}: {len(outcome.judged)} answers judged{with_seed} in {seconds:.0f} s")

    try:
        outcomes = banking.run_all(plan, at_once=jobs, ledger=Ledger(root, again=again), done=done)
    except KeyboardInterrupt:
        lines.print("Stopped. What has been judged is kept. Go on with the same command.")
        raise typer.Exit(130) from None
    found = banking.by_episode(outcomes)
    rows, problems = {}, []
    for one in chosen:
        outcome = found.get(one.name, banking.Outcome())
        same = banking.read_equivalents(root, one.name)
        rows |= banking.table(outcome, same)
        problems += banking.mistakes(outcome)
        for judged in banking.survivors(outcome, same):
            lines.print(f"  survived: {escape(judged.variant.name)}")
        for test, text in () if seeds else banking.unneeded(outcome):
            lines.print(f"  not needed by any wrong answer: {escape(test)}: {escape(text)}")
    if as_json:
        print(banking.as_json(rows))
    else:
        say(banking.as_markdown(rows))
    for problem in problems:
        lines.print(f"[red]Mistaken:[/] {escape(problem)}")
    if problems:
        raise typer.Exit(1)


def print_comparison(samples: list[Sample], compared: list[list[Comparison]]) -> None:
    """Show what each sample got for each exercise; where that is not as it should be, the expected mark beside it."""
    longest = max(compared, key=len)
    table = Table(title="Marks of the sample class", title_justify="left")
    table.add_column("submission", min_width=30)
    for one in longest:
        if ", message" not in one.exercise:
            table.add_column(one.exercise.replace("-", "\n"), justify="center", vertical="middle", min_width=9)
    for sample, found in zip(samples, compared, strict=True):
        cells = [
            one.actual if one.agrees else f"[red]{escape(one.actual)}, not {escape(one.expected)}[/]"
            for one in found
            if ", message" not in one.exercise
        ]
        table.add_row(f"{sample.name}\n[dim]{escape(sample.about)}[/]", *cells)
        table.add_section()
    Console(highlight=False, width=max(out.width, 130) if not out.is_terminal else None).print(table)
    out.print(
        "Marks are as they should be, unless the expected one stands beside them. "
        "'waits': a written answer, which a person grades."
    )


def split_names(names: list[str] | None) -> list[str]:
    """Student ids as given on the command line: repeated, or with commas."""
    return [name.strip() for given in names or () for name in given.split(",") if name.strip()]


def result_line(result: StudentResult) -> str:
    """One student's result in one line."""
    if result.problem:
        return f"{escape(result.student)}: [red]not graded[/]. {escape(result.problem)}"
    line = f"{escape(result.student)}: {result.total:g} of {result.max_score:g} points"
    if result.penalty:
        line += f", {result.penalty:g} taken off for handing in late"
    if result.waiting:
        line += f", {result.waiting:g} more wait for a person"
    if not result.fresh:
        line += " (unchanged since it was graded)"
    if result.repairs:
        line += f" (repaired: {len(result.repairs)})"
    for mark in result.failures:
        line += f"\n  {mark.exercise}: [red]grader failed[/]. {escape(mark.message)}"
    return line


def say(line: str) -> None:
    """Print a line as it is."""
    out.print(escape(line))


@contextlib.contextmanager
def amounts() -> Iterator[Callable[[str, float, float, str], None]]:
    """Show a bar for each stage of a task with an estimate of the time left; elsewhere than on a terminal, some lines.

    Yields:
        A function that takes a stage, how much of it is done, how much there is in all (0: not known), and the unit
        (bytes if it is MB).
    """
    began: dict[str, tuple[float, float]] = {}
    tenths: dict[str, int] = {}

    def plain(stage: str, done: float, total: float, unit: str) -> None:
        now = time.monotonic()
        # A resumed download starts with much done already, which says nothing about the speed.
        start, had = began.setdefault(stage, (now, done))
        scale = 1e6 if unit == "MB" else 1
        tenth = int(10 * done / total) if total else int(done / scale / 20)
        if tenths.get(stage, -1) >= tenth:
            return
        tenths[stage] = tenth
        line = f"{stage}: {done / scale:.0f} {f'of {total / scale:.0f} ' if total else ''}{unit}"
        if done > had and done < total:
            line += f", about {(now - start) / (done - had) * (total - done):.0f} s left"
        say(line)

    if not out.is_terminal:
        yield plain
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    )
    tasks: dict[str, TaskID] = {}
    with bar:

        def drawn(stage: str, done: float, total: float, unit: str) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage, completed=done)
            bar.update(tasks[stage], completed=done, total=total or None)

        yield drawn


@contextlib.contextmanager
def steps(title: str, total: int) -> Iterator[Callable[..., None]]:
    """Show a bar with what is done, failed and left on a terminal, and plain lines elsewhere.

    Yields:
        A function that takes the line about the step that is done, and whether it `failed`.
    """
    if not out.is_terminal:
        out.print(f"{title}: {total} to do")

        def plain(line: str, *, failed: bool = False) -> None:
            out.print(line)

        yield plain
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} done, {task.fields[failed]} failed, {task.fields[left]} left; time left:"),
        TimeRemainingColumn(),
        console=out,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=total, failed=0, left=total)
        failures = 0

        def advance(line: str, *, failed: bool = False) -> None:
            nonlocal failures
            failures += failed
            bar.console.print(line)
            bar.advance(task)
            bar.update(task, failed=failures, left=total - int(bar.tasks[task].completed))

        yield advance


def main() -> None:
    """Run the command line; an error that a user can mend, or of a file, is printed as one message."""
    arguments = sys.argv[1:]
    verbose = "--verbose" in arguments
    # jsonschema, which nbformat loads, would compile grammars of addresses that no notebook is asked for: 1.4 s.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    # nbgrader's own queries set these off in great number; none of them is a fault that a user could mend.
    warnings.filterwarnings("ignore", message="Object of type <Submitted")
    # A request to end is met as Ctrl-C is, so that nothing stays behind: no process, and no folder.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app([argument for argument in arguments if argument != "--verbose"])
    except CourseError as problem:
        if verbose:
            raise
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"[red]Error:[/] {escape(str(problem))}")
        sys.exit(2)
    except OSError as problem:
        if verbose or problem.filename is None:
            raise
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(
            f"[red]Error:[/] {escape(str(problem.filename))}: {escape(problem.strerror or type(problem).__name__)}. "
            "See that it is there, that you may read and write it, and that the disk has room; --verbose tells where "
            "it happened."
        )
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped.")
        sys.exit(130)


if __name__ == "__main__":
    main()
