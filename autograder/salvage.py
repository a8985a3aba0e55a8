"""Read the cells out of a notebook file, whatever state the file is in.

`read_cells` takes the bytes that a student handed in and gives back plain cells: kind, source and the marks by
which a cell can be recognised. Nothing else is kept: outputs, metadata and execution counts are claims, not answers.
Pure functions, no input or output.
"""

from __future__ import annotations

import ast
import base64
import binascii
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from autograder.errors import CourseError

#: A larger file is refused: with its outputs cleared a notebook of this course has less than 1 MB.
MAX_BYTES = 64 * 2**20
#: More cells than this are refused.
MAX_CELLS = 2000
#: More text than this, all cells together and outputs left out, is refused.
MAX_TEXT = 4 * 2**20
#: Guesswork on damaged text (Python literals, trailing commas, merge conflicts) stops at this size.
MAX_MENDED = 4 * 2**20
#: A script or Markdown export, or a Python value, is read up to this size.
MAX_EXPORT = 2**19
#: A picture in a written answer may have this many base64 characters.
MAX_PICTURE = 6 * 2**20

_ASK_AGAIN = (
    "Ask the student to open it in Jupyter, choose File > Save and Download > Notebook (.ipynb), and hand that file in."
)

_MARKS = ("grade", "locked", "solution", "task", "points")

_PICTURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}

_SIGNATURES = (
    (b"PK\x03\x04", "a zip archive (or an Office document)"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"{\\rtf", "a rich text document"),
    (b"\x89HDF", "a saved model or data file"),
    (b"SQLite format 3", "a database"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
)


class Unrepairable(CourseError):
    """A submission that holds no answers that can be found. The message says what to ask the student for."""


@dataclass
class Cell:
    """One cell as a student handed it in.

    Attributes:
        kind: `code`, `markdown` or `raw`.
        source: The text; its lines end in a line feed.
        grade_id: nbgrader's id of the cell, if the file names one.
        cell_id: The notebook format's id of the cell, if the file names one (Colab keeps it in the metadata).
        marks: What nbgrader's metadata of the cell claim (`grade`, `locked`, `solution`, `task`, `points`).
        attachments: Pictures pasted into a Markdown cell: file name -> {media type: base64 text}.
    """

    kind: str
    source: str
    grade_id: str | None = None
    cell_id: str | None = None
    marks: dict[str, bool | float] = field(default_factory=dict)
    attachments: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass
class Salvaged:
    """What was read from a file.

    Attributes:
        cells: The cells in the order of the file.
        notes: What had to be mended, one sentence each.
        other_side: The cells of the other side, when the file held a merge conflict and both sides can be read.
    """

    cells: list[Cell]
    notes: list[str] = field(default_factory=list)
    other_side: list[Cell] | None = None


def read_cells(raw: bytes) -> Salvaged:
    """Read the cells of a notebook file.

    Args:
        raw: The file's bytes.

    Returns:
        The cells, and notes on what was mended.

    Raises:
        Unrepairable: The bytes are no notebook, or too large, or too badly damaged.
    """
    if len(raw) > MAX_BYTES:
        raise Unrepairable(
            f"The notebook file has {len(raw) / 2**20:.0f} MB; at most {MAX_BYTES // 2**20} MB are read. "
            "Ask the student to clear all outputs, save and hand it in again."
        )
    if not raw.strip(b"\x00 \t\r\n"):
        raise Unrepairable(f"The notebook file is empty ({len(raw)} bytes). {_ASK_AGAIN}")
    for signature, what in _SIGNATURES:
        if raw.startswith(signature):
            raise Unrepairable(f"The notebook file is {what}, not a notebook. {_ASK_AGAIN}")
    text, notes = _decode(raw)
    head = text[:2000].lstrip().lower()
    if head.startswith(("<!doctype", "<html", "<?xml", "<head", "<svg")):
        raise Unrepairable(f"The notebook file is a saved web page, not a notebook. {_ASK_AGAIN}")

    found = _conflict(text)
    if found is not None:
        sides = [side for side in map(_read_side, found) if side]
        if sides:
            notes.append(
                "The file held the marks of an unfinished merge (<<<<<<<, >>>>>>>). "
                + ("Both sides could be read." if len(sides) == 2 else "One side could be read and was used.")
            )
            return Salvaged(_bounded(sides[0]), notes, _bounded(sides[1]) if len(sides) == 2 else None)

    cells, mended = _cells_of_text(text)
    return Salvaged(_bounded(cells), notes + mended)


def clean_text(text: str) -> str:
    """Make text safe to write: no NUL, no half surrogate pairs, line feeds at the line ends."""
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n")


def _bounded(cells: list[Cell]) -> list[Cell]:
    if len(cells) > MAX_CELLS:
        raise Unrepairable(
            f"The notebook holds {len(cells)} cells; at most {MAX_CELLS} are read. "
            "Ask the student to hand in the episode's notebook with their answers, and nothing else."
        )
    size = sum(len(cell.source) for cell in cells)
    if size > MAX_TEXT:
        raise Unrepairable(
            f"The notebook's cells hold {size / 2**20:.0f} MB of text; at most {MAX_TEXT // 2**20} MB are read. "
            "Ask the student to take pasted data out of the cells, save and hand it in again."
        )
    return cells


def _decode(raw: bytes) -> tuple[str, list[str]]:
    """Turn bytes into text: a byte-order mark wins, then UTF-8, then Windows' cp1252."""
    for mark, encoding, name in (
        (b"\xef\xbb\xbf", "utf-8", "UTF-8"),
        (b"\xff\xfe\x00\x00", "utf-32-le", "UTF-32"),
        (b"\x00\x00\xfe\xff", "utf-32-be", "UTF-32"),
        (b"\xff\xfe", "utf-16-le", "UTF-16"),
        (b"\xfe\xff", "utf-16-be", "UTF-16"),
    ):
        if raw.startswith(mark):
            text = raw[len(mark) :].decode(encoding, "replace")
            return text, [f"The file began with a byte-order mark ({name}); it was read as {name}."]
    start = raw.lstrip(b" \t\r\n")[:2]
    if start in (b"{\x00", b"\x00{"):
        encoding = "utf-16-le" if start == b"{\x00" else "utf-16-be"
        return raw.decode(encoding, "replace"), ["The file was written in UTF-16; it was read as that."]
    try:
        return raw.decode("utf-8"), []
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace"), [
            "The file was not written in UTF-8; it was read as Windows-1252, so some letters may be wrong."
        ]


# ---------------------------------------------------------------------------------------------------------------------
# Merge conflicts


#: A file with more conflicts than this is not worth guessing about.
_MAX_HUNKS = 200


def _hunks(text: str) -> list[str | tuple[str, str]]:
    """The text cut at its conflicts: plain text, and (ours, theirs) pairs. An unfinished conflict is plain text."""
    parts: list[str | tuple[str, str]] = []
    plain: list[str] = []
    sides: dict[str, list[str]] = {}
    side = ""
    for line in text.splitlines(keepends=True):
        if not side and re.match(r"<{7}(?:\s|$)", line):
            sides, side = {"ours": [], "base": [], "theirs": []}, "ours"
        elif side == "ours" and re.match(r"\|{7}(?:\s|$)", line):
            side = "base"
        elif side in ("ours", "base") and re.fullmatch(r"={7}\s*", line):
            side = "theirs"
        elif side == "theirs" and re.match(r">{7}(?:\s|$)", line):
            parts += ["".join(plain), ("".join(sides["ours"]), "".join(sides["theirs"]))]
            plain, side = [], ""
        else:
            (sides[side] if side else plain).append(line)
    return [*parts, "".join(plain)]


def _conflict(text: str) -> list[str] | None:
    """The readings of a file with merge-conflict marks, the first being 'ours'; None without marks."""
    if len(text) > MAX_MENDED or not re.search(r"^<{7}(?:\s|$)", text, re.M):
        return None
    parts = _hunks(text)
    count = sum(isinstance(part, tuple) for part in parts)
    if not 0 < count <= _MAX_HUNKS:
        return None

    def version(choice: Sequence[int]) -> str:
        picks = iter(choice)
        return "".join(part if isinstance(part, str) else part[next(picks)] for part in parts)

    uniform = [version([side] * count) for side in (0, 1)]
    if any(_loads(side) is not None for side in uniform) or count > 8:
        return uniform
    # A conflict may cut a cell so that neither pure side is valid; then a mixture is.
    for choice in itertools.product((0, 1), repeat=count):
        if _loads(mixture := version(choice)) is not None:
            return [mixture]
    return uniform


def _read_side(text: str) -> list[Cell] | None:
    data = _loads(text)
    return None if data is None else _cells_of_json(data)


# ---------------------------------------------------------------------------------------------------------------------
# Text to JSON


def _number(digits: str) -> int:
    # CPython refuses integers of more than 4300 digits with a ValueError; no number in a notebook matters here.
    return int(digits) if len(digits) < 20 else 0


_DECODER = json.JSONDecoder(parse_int=_number, parse_constant=lambda _: None, strict=False)


def _loads(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None


def _cells_of_text(text: str) -> tuple[list[Cell], list[str]]:
    text = text.strip().strip("\x00")
    data = _loads(text)
    if isinstance(data, str):
        data = _loads(data)
    if data is not None:
        return _cells_of_json(data), _format_notes(data)

    start = text.find("{")
    if start >= 0:
        try:
            data, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            pass
        else:
            if isinstance(data, dict) and ("cells" in data or "worksheets" in data):
                where = [name for name, extra in (("before", text[:start]), ("after", text[end:])) if extra.strip()]
                note = f"The file held text {' and '.join(where)} the notebook's JSON; it was left out."
                return _cells_of_json(data), [note, *_format_notes(data)]

    if len(text) <= MAX_MENDED:
        for mend, note in (
            (_mended, "The file was not valid JSON (stray commas or backslashes); it was mended."),
            (_python_literal, "The file was a Python value (single quotes), not JSON; it was read as that."),
        ):
            data = mend(text)
            if isinstance(data, dict) and ("cells" in data or "worksheets" in data):
                return _cells_of_json(data), [note, *_format_notes(data)]

    if re.search(r'"cell_type"\s*:', text):
        cells = _cells_of_damaged(text)
        if cells:
            note = (
                f"The file is damaged or ends too early; {len(cells)} cells could be read. "
                "If answers are missing, ask the student to hand in the notebook again."
            )
            return cells, [note]

    if len(text) <= MAX_EXPORT:
        cells = _cells_of_export(text)
        if cells:
            return cells, ["The file was an export of a notebook as plain text; its cells were read from that."]
    raise Unrepairable(f"The notebook file is not valid JSON, and no cells could be found in it. {_ASK_AGAIN}")


_STRING_OR_COMMA = re.compile(r'"(?:[^"\\]|\\.)*"|,(?=\s*[\]}])', re.S)
_BAD_ESCAPE = re.compile(r'\\\\|\\(?:u(?![0-9a-fA-F]{4})|[^"\\/bfnrtu])', re.S)


def _mended(text: str) -> Any:
    """Read JSON with trailing commas or with backslashes that escape nothing."""

    def mend(match: re.Match[str]) -> str:
        token = match[0]
        if token == ",":
            return ""
        # `\\.` pairs are consumed first, so that an escaped backslash is not taken for a bad escape.
        return _BAD_ESCAPE.sub(lambda m: m[0] if m[0] == r"\\" else "\\" + m[0], token)

    return _loads(_STRING_OR_COMMA.sub(mend, text))


def _python_literal(text: str) -> Any:
    if len(text) > MAX_EXPORT or not re.match(r"\{\s*'", text):
        return None
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


_CELL_START = re.compile(r'\{\s*"(?:cell_type|attachments|collapsed|execution_count|id|metadata|source)"\s*:')


def _cells_of_damaged(text: str) -> list[Cell]:
    """The whole cells of broken JSON, and what can be read of the broken ones."""
    opening = re.search(r'"cells"\s*:\s*\[', text)
    position = opening.end() if opening else 0
    cells: list[Cell] = []
    for _ in range(2 * MAX_CELLS):
        start = _CELL_START.search(text, position)
        if start is None:
            break
        try:
            data, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            following = re.compile(r'\{\s*"(?:attachments|cell_type|id)"\s*:').search(text, start.end())
            position = following.start() if following else len(text)
            data = _fragment(text[start.start() : position])
        if isinstance(data, dict) and "cell_type" in data and (cell := _cell(data)):
            cells.append(cell)
    return cells


def _fragment(text: str) -> dict[str, Any]:
    """What can be read of one broken cell: its kind, its marks and the lines of its source before the damage."""
    kind = re.search(r'"cell_type"\s*:\s*"(\w+)"', text)
    grade_id = re.search(r'"grade_id"\s*:\s*"([\w-]+)"', text)
    source = re.search(r'"(?:source|input)"\s*:\s*(\[\s*)?', text)
    lines: list[str] = []
    position = source.end() if source else len(text)
    while string := re.compile(r'\s*("(?:[^"\\]|\\.)*")\s*,?', re.S).match(text, position):
        lines.append(_loads(string[1]) or "")
        position = string.end()
        if source and not source[1]:
            break
    if not kind or not lines:
        return {}
    return {
        "cell_type": kind[1],
        "source": "".join(lines),
        "metadata": {"nbgrader": {"grade_id": grade_id[1]}} if grade_id else {},
    }


# ---------------------------------------------------------------------------------------------------------------------
# JSON to cells


def _notebook_in(data: Any) -> Any:
    """The notebook inside Jupyter's content model, or the data itself."""
    if isinstance(data, dict) and isinstance(data.get("content"), dict) and "cells" not in data:
        return data["content"]
    return data


def _raw_cells(data: Any) -> list[Any]:
    data = _notebook_in(data)
    if isinstance(data, list):
        return data if any(isinstance(cell, dict) and "cell_type" in cell for cell in data) else []
    if not isinstance(data, dict):
        return []
    cells = data.get("cells")
    if isinstance(cells, dict):
        cells = list(cells.values())
    cells = list(cells) if isinstance(cells, list) else []
    sheets = data.get("worksheets")
    for sheet in sheets if isinstance(sheets, list) else []:
        if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list):
            cells.extend(sheet["cells"])
    return cells


def _cells_of_json(data: Any) -> list[Cell]:
    inner = _notebook_in(data)
    if isinstance(inner, dict) and "doc_id" in inner:
        raise Unrepairable(
            "The file is a shortcut to a document in Google Drive, not the notebook. "
            "Ask the student to choose File > Download > Download .ipynb in Colab and hand that file in."
        )
    raw_cells = _raw_cells(data)
    if len(raw_cells) > 5 * MAX_CELLS:
        raise Unrepairable(f"The notebook holds {len(raw_cells)} cells; at most {MAX_CELLS} are read. {_ASK_AGAIN}")
    return [cell for cell in map(_cell, raw_cells) if cell is not None]


def _format_notes(data: Any) -> list[str]:
    data = _notebook_in(data)
    if not isinstance(data, dict):
        return []
    version = data.get("nbformat")
    if isinstance(version, int) and not isinstance(version, bool) and version in (1, 2, 3):
        return [f"The notebook was saved in the old format {version}; it was upgraded."]
    if "worksheets" in data:
        return ["The notebook was saved in an old format; it was upgraded."]
    return []


def _cell(data: Any) -> Cell | None:
    """One cell of any notebook format (1 to 4); None for what is no cell or has no text and no marks."""
    if not isinstance(data, dict):
        return None
    source = ""
    for key in ("source", "input", "code", "text"):
        if key in data:
            source = clean_text(_joined(data[key]))
            if source:
                break
    metadata = data.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    nbgrader = metadata.get("nbgrader")
    nbgrader = nbgrader if isinstance(nbgrader, dict) else {}
    grade_id = nbgrader.get("grade_id")
    cell_id = data.get("id") or metadata.get("id")
    kind = data.get("cell_type")
    if kind == "heading":
        level = data.get("level")
        level = level if isinstance(level, int) and 1 <= level <= 6 else 1
        kind, source = "markdown", "#" * level + " " + source
    elif kind in ("html", "rst", "text"):
        kind = "markdown"
    elif kind not in ("code", "markdown", "raw"):
        kind = "code" if "outputs" in data or "execution_count" in data else "markdown"
    if not source.strip() and not grade_id:
        return None
    return Cell(
        kind=kind,
        source=source,
        grade_id=grade_id if isinstance(grade_id, str) else None,
        cell_id=cell_id if isinstance(cell_id, str) else None,
        marks={key: nbgrader[key] for key in _MARKS if isinstance(nbgrader.get(key), bool | int | float)},
        attachments=_pictures(data.get("attachments")) if kind == "markdown" else {},
    )


def _joined(value: Any) -> str:
    """A source as one string: the formats allow a string or a list of lines, and some tools leave out the line ends."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    lines = [line for line in value if isinstance(line, str)]
    if len(lines) > 1 and not any(line.endswith("\n") for line in lines[:-1]):
        return "\n".join(lines)
    return "".join(lines)


def _pictures(value: Any) -> dict[str, dict[str, str]]:
    """The pictures pasted into a Markdown cell that really are pictures, of bounded size."""
    kept: dict[str, dict[str, str]] = {}
    for name, bundle in list(value.items())[:20] if isinstance(value, dict) else []:
        if not isinstance(bundle, dict) or not re.fullmatch(r"[\w.\- ]{1,200}", str(name)):
            continue
        for media, content in bundle.items():
            if media in _PICTURES and isinstance(content, str) and is_picture(media, content):
                kept[name] = {media: content}
    return kept


def is_picture(media: str, content: str) -> bool:
    """Whether `content` is base64 text of a picture of that media type, and not too large."""
    if media not in _PICTURES or len(content) > MAX_PICTURE:
        return False
    try:
        data = base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        return False
    return data.startswith(_PICTURES[media])


# ---------------------------------------------------------------------------------------------------------------------
# Text exports


def _cells_of_export(text: str) -> list[Cell]:
    """The cells of a notebook that was exported as a script or as Markdown."""
    text = text.replace("\r\n", "\n")
    if re.search(r"^# In\s?\[[\d ]*\]:", text, re.M):  # nbconvert's script export
        text, style = re.sub(r"^# In\s?\[[\d ]*\]:[ ]*$", "# %%", text, flags=re.M), "py:percent"
    elif re.search(r"^# ?%%", text, re.M):
        style = "py:percent"
    elif re.search(r"^# (?:\+|-)(?: |$)", text, re.M) and not re.search(r"^```", text, re.M):
        style = "py:light"
    elif re.search(r"^```\s*\{?(?:code-cell )?(?:i?python3?|py)\b", text, re.M):
        style = "md"
    else:
        return []
    import jupytext  # a part of the extra `grading`, slow to import and seldom needed

    try:
        notebook = jupytext.reads(text, fmt=style)
    except Exception:  # any failure of the reader means the same: this text is no export
        return []
    for cell in notebook.cells:
        cell.pop("id", None)  # jupytext draws it at random
    return [cell for cell in map(_cell, notebook.cells) if cell is not None]
