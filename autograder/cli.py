"""The command line: `autograder VERB`. Each command is thin and calls the module of its name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from autograder.errors import CourseError

app = typer.Typer(
    help="Build, grade and hand back the exercises of the image classification course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console(highlight=False, soft_wrap=True)

EpisodeName = Annotated[str, typer.Argument(help="An episode, as 01-introduction or 1; or all.", metavar="EPISODE|all")]


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
    """Make the instructor notebooks (source/) and the student notebooks (release/) from the lesson texts (course/)."""
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


def main() -> None:
    """Run the command line; an error that a user can mend is printed as one message."""
    arguments = sys.argv[1:]
    verbose = "--verbose" in arguments
    try:
        app([argument for argument in arguments if argument != "--verbose"])
    except CourseError as problem:
        if verbose:
            raise
        errors = Console(stderr=True, highlight=False, soft_wrap=True)
        errors.print(f"[red]Error:[/] {escape(str(problem))}")
        sys.exit(2)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped.")
        sys.exit(130)
