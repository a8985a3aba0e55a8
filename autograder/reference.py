"""The parts of the reference that are made from the code while the site is built: commands, limits, helpers, checks.

A page says `<!-- made from the code: commands -->`, and the text stands there on the site. Nothing is written to disk,
so nothing can be out of date. Docstrings are read as they are, in Google's style, without importing TensorFlow.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

from autograder.cli import app as command_line
from autograder.environments import Bundle
from autograder.limits import _LEAST, _UNITS, Limits
from autograder.preprocessors import JudgedExecute

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"^<!-- made from the code: ([a-z ]+) -->$", re.MULTILINE)
PROGRAM = "autograder"
#: `Returns:` is one text, and not a line for each value.
_STYLE = {"returns_multiple_items": False, "returns_named_value": False, "warnings": False}


def command_group() -> Any:
    """The command line as a tree of commands."""
    return typer.main.get_command(command_line)


def commands() -> str:
    """Each command with its arguments, options, example and exit codes, as its `--help` has them."""
    return "\n\n".join("\n\n".join(_command(name, command)) for name, command in command_group().commands.items())


def _command(name: str, command: Any) -> Iterator[str]:
    about, examples, codes = parts_of_help(command.help or "")
    yield f"## {name}"
    yield about
    takes = [_usage(one) for one in command.params if one.param_type_name == "argument"]
    yield f"```text\n{' '.join([PROGRAM, name, '[OPTIONS]', *takes])}\n```"
    if rows := [_row(one) for one in command.params]:
        yield "\n".join(["| argument or option | what it does | if not given |", "| --- | --- | --- |", *rows])
    for example in examples:
        yield f"Example:\n\n```text\n{example}\n```"
    if codes:
        yield "\n".join(["| exit code | meaning |", "| --- | --- |", *(f"| {code} | {text} |" for code, text in codes)])


def parts_of_help(text: str) -> tuple[str, list[str], list[tuple[str, str]]]:
    """Take the help of a command apart.

    Returns:
        What it does; its examples, each a command; its exit codes with their meanings.
    """
    about, examples, codes = [], [], []
    for paragraph in re.split(r"\n\s*\n", text.replace("\b\n", "").strip()):
        flat = " ".join(paragraph.split())
        if re.match(r"Examples?:", flat):
            lines = paragraph.partition(":")[2].splitlines()
            examples += [line.strip() for line in lines if line.strip()]
        elif flat.startswith("Exit code"):
            found = re.split(r"(?:^|(?<=[.;]) )(?:Exit codes? )?(\d+): ", flat)
            codes += [(code, meaning.strip()) for code, meaning in zip(found[1::2], found[2::2], strict=True)]
        else:
            about.append(flat)
    return "\n\n".join(about), examples, codes


def _usage(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required else f"[{name}]"


def _row(one: Any) -> str:
    if one.param_type_name == "argument":
        names = f"`{one.metavar or one.name.upper()}`"
        names = names.replace("|", "\\|")
    else:
        names = ", ".join(f"`{name}`" for name in one.opts)
    default = "must be given" if one.required else "" if one.default in (None, False, ()) else f"`{one.default}`"
    text = (one.help or "").replace("|", "\\|") + (" May be given several times." if one.multiple else "")
    return f"| {names} | {text} | {default} |"


def limits() -> str:
    """The options of `c.GradingLimits`, with their defaults and the least that makes sense."""
    rows = [
        f"| `{field.name}` | {_UNITS[field.name]} | {_number(field.default)} | {_number(_LEAST[field.name])} |"
        for field in dataclasses.fields(Limits)
    ]
    return "\n".join(["| `c.GradingLimits.` | what | default | least |", "| --- | --- | ---: | ---: |", *rows])


def judging() -> str:
    """The options of `c.JudgedExecute`."""
    return _options(JudgedExecute)


def bundling() -> str:
    """The options of `c.Bundle`."""
    return _options(Bundle)


def _options(configurable: Any) -> str:
    inherited = {name for base in configurable.__mro__[1:] for name in getattr(base, "_traits", ())}
    rows = [
        f"| `{name}` | {trait.help} | {_number(trait.default())} |"
        for name, trait in configurable.class_traits(config=True).items()
        if name not in inherited
    ]
    return "\n".join([f"| `c.{configurable.__name__}.` | what | default |", "| --- | --- | ---: |", *sorted(rows)])


def _number(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1024 and value % 1024 == 0:
        for size, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
            if value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else f"`{value!r}`"


def helpers() -> str:
    """What `import helpers` gives a student, module by module."""
    package = _package()
    offered = [name for name in package.exports if name in package.members or name in ("checks",)]
    parts: dict[str, list[str]] = {}
    for name in sorted(offered, key=str.lower):
        member = _real(package[name])
        if member.is_module:
            parts.setdefault(member.path, [])
        else:
            parts.setdefault(member.module.path, []).append("\n\n".join(_member(member, f"helpers.{name}")))
    texts = []
    for path, members in sorted(parts.items()):
        if path == "helpers.checks":
            continue
        module = package[path.partition(".")[2]]
        texts += [f"## {path}", _text(module), *members]
    return "\n\n".join(texts)


def checks() -> str:
    """What `helpers.checks` offers to test cells, subject by subject."""
    package = _package()["checks"]
    parts: dict[str, list[str]] = {}
    for name in sorted(package.exports, key=str.lower):
        member = _real(package[name])
        parts.setdefault(member.module.path, []).append("\n\n".join(_member(member, f"checks.{name}")))
    texts = []
    for path, members in sorted(parts.items()):
        subject = path.rpartition(".")[2]
        texts += [f"## {subject}", _text(package[subject]), *members]
    return "\n\n".join(texts)


def _package() -> Any:
    import griffe  # where the site is built, and nowhere else

    return griffe.load(
        "helpers", search_paths=[ROOT], docstring_parser="google", docstring_options=_STYLE, resolve_aliases=True
    )


def _real(member: Any) -> Any:
    return member.final_target if member.is_alias else member


def _text(member: Any) -> str:
    return member.docstring.value if member.docstring else ""


def _member(member: Any, name: str) -> Iterator[str]:
    yield f"### {name}"
    if member.is_function or (member.is_class and "__init__" in member.members):
        yield f"```python\n{_signature(member, name)}\n```"
    for section in member.docstring.parsed if member.docstring else ():
        yield _section(section)
    if member.is_class:
        for method in member.members.values():
            if method.is_function and not method.name.startswith("_") and method.docstring:
                yield f"**`{_signature(method, method.name)}`**"
                for section in method.docstring.parsed:
                    yield _section(section)


def _signature(member: Any, name: str) -> str:
    function = member["__init__"] if member.is_class else member
    shown, starred = [], False
    for one in function.parameters:
        if one.name == "self":
            continue
        kind = one.kind.value if one.kind else ""
        if kind == "keyword-only" and not starred:
            shown.append("*")
            starred = True
        star = {"variadic positional": "*", "variadic keyword": "**"}.get(kind, "")
        starred = starred or star == "*"
        text = star + one.name
        if one.default is not None and not star:
            text += f"={one.default}"
        shown.append(text)
    return f"{name}({', '.join(shown)})"


def _section(section: Any) -> str:
    kind = section.kind.value
    if kind == "text":
        return section.value
    titles = {"parameters": "Args", "returns": "Returns", "yields": "Yields", "raises": "Raises"}
    title = titles.get(kind, kind.capitalize())
    if kind == "examples":
        body = "\n\n".join(text if part.value == "text" else f"```python\n{text}\n```" for part, text in section.value)
        return f"*{title}*\n\n{body}"
    if kind == "admonition":
        return f"*{section.title or title}*\n\n{section.value.description}"
    lines = []
    for item in section.value:
        what = getattr(item, "name", "") or (str(item.annotation) if kind == "raises" else "")
        description = " ".join(item.description.split())
        lines.append(f"- `{what}`: {description}" if what else f"- {description}")
    return f"*{title}*\n\n" + "\n".join(lines)


#: What a page may ask for.
PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "limits": limits,
    "judging": judging,
    "bundling": bundling,
    "helpers": helpers,
    "checks": checks,
}


def fill_in(text: str) -> str:
    """Put what is made from the code in the place of its marks.

    Raises:
        KeyError: A mark names a part that nobody makes.
    """
    return MARK.sub(lambda match: PARTS[match[1]](), text)


def setup(app: Any) -> dict[str, Any]:
    """Sphinx calls this."""

    def read(_: Any, __: str, source: list[str]) -> None:
        source[0] = fill_in(source[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
