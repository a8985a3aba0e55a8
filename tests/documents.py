"""The commands in the documents: where they stand, how each is to be run, and whether it exists at all.

A fence of `bash` holds commands, one a line. A fence of `console` holds commands after `$ `, each with what it prints
below it; `...` stands for anything. Two comments are for the tests, and unseen by readers:

    <!-- not run by tests: why the next fence isn't run -->
    <!-- by hand: a command that does what the text tells a person to do -->
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from markdown_it import MarkdownIt

from autograder.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
NOT_RUN = re.compile(r"<!-- not run by tests: (.+?) -->", re.DOTALL)
BY_HAND = re.compile(r"<!-- by hand: (.+?) -->", re.DOTALL)
#: What a fence may hold besides commands.
OTHER = ("python", "text", "markdown", "json", "yaml", "{toctree}", "{code-block}")
#: Programs from elsewhere, of which only the name is looked at.
FOREIGN = ("git", "docker", "conda", "cd", "cp", "mkdir", "chmod", "sudo", "pg_dump", "pg_restore")


@dataclass(frozen=True)
class Step:
    """One command in a document.

    Attributes:
        page: The document, from the repository.
        line: Its line there; that of the fence.
        command: What is typed.
        shows: What is printed, if the document shows it.
        reason: Why tests don't run it; empty where they do.
    """

    page: str
    line: int
    command: str
    shows: str = ""
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}: {self.command}"


def pages() -> list[Path]:
    """All documents for people, in order."""
    return [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


def tokens(path: Path) -> list[Any]:
    """What a Markdown file consists of."""
    return MarkdownIt("commonmark").enable("table").parse(path.read_text(encoding="utf-8"))


def steps(path: Path) -> Iterator[Step]:
    """The commands of a document, in its order.

    Raises:
        AssertionError: A fence that doesn't say what it holds.
    """
    page, reason = str(path.relative_to(REPOSITORY)), ""
    for token in tokens(path):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            if found := NOT_RUN.search(token.content):
                reason = " ".join(found[1].split())
            if found := BY_HAND.search(token.content):
                yield Step(page, line, found[1].strip())
        elif token.type == "fence":
            kind = token.info.split()[0] if token.info else ""
            if kind in ("bash", "sh"):
                joined = token.content.replace("\\\n", " ")
                script = re.search(r"^(case|for|if|while) ", joined, re.MULTILINE)
                lines = [joined] if script else joined.splitlines()
                for command in filter(None, map(without_comment, lines)):
                    yield Step(page, line, command, reason=reason)
            elif kind == "console":
                for command, shows in prompts(token.content):
                    yield Step(page, line, command, shows, reason)
            else:
                assert kind in OTHER, f"{page}, line {line}: a fence of {kind!r}; say bash, console, text"
            reason = ""
        elif token.type == "code_block":
            raise AssertionError(f"{page}, line {line}: indented code; use a fence that says what it holds")


def without_comment(line: str) -> str:
    """A line of a script without the comment at its end."""
    return re.sub(r"(^|\s)#.*$", "", line, flags=re.MULTILINE).strip()


def prompts(text: str) -> Iterator[tuple[str, str]]:
    """The commands of a console, each with what it prints."""
    parts = re.split(r"^\$ (.+)$\n?", text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"this console doesn't begin with '$ ': {text}"
    yield from zip(parts[1::2], parts[2::2], strict=True)


def spoken_of(path: Path) -> Iterator[tuple[str, int]]:
    """The commands of this project that a document names within its text, with their lines."""
    for token in tokens(path):
        for child in token.children or ():
            if child.type == "code_inline" and re.match(r"(autograder|make) \S", child.content):
                yield child.content, (token.map or [0])[0] + 1


def problem_with(command: str, *, whole: bool = True) -> str:
    """What is wrong with a command that is not run: an unknown program, option, target or file; empty if nothing is.

    Args:
        command: The command.
        whole: Arguments that must be given are missing: that is a problem, too.
    """
    words = shlex.split(re.sub(r"[|&;].*", "", command), comments=True)
    program, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if program == "autograder":
        return problem_with_arguments(rest, whole=whole)
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        return next((f"make has no target {word}" for word in rest if "=" not in word and word not in targets), "")
    if program.startswith("python") and rest[:1] == ["-m"]:
        return "" if importlib.util.find_spec(rest[1]) else f"there is no module {rest[1]}"
    if program.startswith("python"):
        there = (REPOSITORY / rest[0], REPOSITORY / "autograder" / "bundled" / rest[0])
        return "" if any(path.is_file() for path in there) else f"there is no {rest[0]}"
    if program == "pip":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*?)\]", " ".join(rest))))
        return next((f"there is no extra {name}" for name in wanted if name not in extras), "")
    if program in ("pytest", "jupyter"):
        paths = [word for word in rest if "/" in word and not word.startswith("-")]
        return next((f"there is no {path}" for path in paths if not (REPOSITORY / path).exists()), "")
    if program == "nbgrader":
        from nbgrader.apps.nbgraderapp import NbGraderApp

        return "" if rest[0] in NbGraderApp.subcommands else f"nbgrader has no command {rest[0]}"
    if program == "dask":
        module = importlib.import_module(f"distributed.cli.dask_{rest[0]}")
        known = {option for parameter in module.main.params for option in parameter.opts}
        return next((f"dask has no {word}" for word in rest if word.startswith("--") and word not in known), "")
    if program == ".":
        return ""
    return "" if program in FOREIGN else f"nobody knows the program {program}"


def problem_with_arguments(words: list[str], *, whole: bool = True) -> str:
    """Why `autograder` would not take these arguments; empty if it would. Words in capitals stand for something."""
    group = typer.main.get_command(app)
    words = [word for word in words if word != "--verbose"]
    if not words or words[0] in ("COMMAND", "VERB", "--help"):
        return ""
    if words[0] in [option for parameter in group.params for option in parameter.opts]:
        return ""
    if words[0] not in group.commands:
        return f"there is no command {words[0]}"
    arguments = ["1" if word.isupper() and not word.startswith("-") else word for word in words[1:]]
    if {"-h", "--help"} & set(arguments):
        return ""
    try:
        group.commands[words[0]].make_context(words[0], arguments, parent=group.make_context("autograder", [words[0]]))
    except Exception as problem:
        if not whole and type(problem).__name__ == "MissingParameter":
            return ""
        return f"autograder {' '.join(words)}: {getattr(problem, 'message', problem)}"
    return ""
