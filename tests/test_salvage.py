"""Reading notebook files in any state: `autograder.salvage`."""

from __future__ import annotations

import json

import pytest
from small_episode import ANSWERS, answered_notebook, to_bytes

from autograder import salvage
from autograder.salvage import Unrepairable, is_picture, read_cells

WHOLE = to_bytes(answered_notebook())
SOURCES = [cell.source for cell in answered_notebook().cells]


def sources(raw):
    return [cell.source for cell in read_cells(raw).cells]


def test_a_sound_file_is_read_without_a_note():
    result = read_cells(WHOLE)
    assert [cell.source for cell in result.cells] == SOURCES
    assert result.notes == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_byte_order_marks_and_wide_encodings_are_understood(encoding):
    result = read_cells(WHOLE.decode().encode(encoding))
    assert [cell.source for cell in result.cells] == SOURCES
    assert "UTF" in result.notes[0]


def test_a_file_written_by_an_old_windows_program_is_read():
    raw = WHOLE.replace(b"because size", "größe €".encode("cp1252"))
    assert any("größe €" in source for source in sources(raw))


def test_text_around_the_json_is_left_out_and_noted():
    result = read_cells(b"here it is:\n" + WHOLE + b"\n\nbye {}")
    assert [cell.source for cell in result.cells] == SOURCES
    assert "before and after" in result.notes[0]


def test_stray_commas_and_bad_escapes_are_mended():
    raw = rb'{"cells": [{"cell_type": "code", "source": "a = \d \\n \u00e9 \ux",},],}'
    assert sources(raw) == ["a = \\d \\n \u00e9 \\ux"]


def test_a_python_value_is_read():
    notebook = json.loads(WHOLE)
    notebook["cells"][0]["metadata"] = {"x": None, "y": True}
    result = read_cells(repr(notebook).encode())
    assert [cell.source for cell in result.cells] == SOURCES
    assert "single quotes" in result.notes[0]


@pytest.mark.parametrize("wrap", [lambda n: {"type": "notebook", "content": n}, lambda n: n["cells"], json.dumps])
def test_a_notebook_inside_another_value_is_found(wrap):
    assert sources(json.dumps(wrap(json.loads(WHOLE))).encode()) == SOURCES


def test_of_a_file_that_ends_too_early_the_whole_cells_and_lines_are_read():
    at = WHOLE.index(b"return x + x")
    result = read_cells(WHOLE[: at + 4])
    assert [cell.source for cell in result.cells] == SOURCES[:6]
    assert "ask the student" in result.notes[0]
    lines = json.loads(WHOLE)
    for cell in lines["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
    raw = json.dumps(lines, indent=1).encode()
    last = read_cells(raw[: raw.index(b"return x + x") + 4]).cells[-1]
    assert last.source == "".join(ANSWERS["double-it"].splitlines(keepends=True)[:2])
    assert last.grade_id == "double-it"


def test_cells_behind_a_damaged_cell_are_read_too():
    damaged = WHOLE.replace(b'"source": "print(total', b'"source": "print(" oops total')
    assert sources(damaged)[-4:] == SOURCES[-4:]


@pytest.mark.parametrize(
    ("source", "read"),
    [("a\nb", "a\nb"),
     (["a\n", "b"], "a\nb"), (["a", "b"], "a\nb"), (["a\r\n", None, 3, "b"], "a\nb"), ({"a": 1}, None),
     (None, None), (7, None), ("\ud83d\ude00 \ud800 \x00z", "\U0001f600 \ufffd z")],
)  # fmt: skip
def test_a_source_of_any_type_becomes_text(source, read):
    raw = json.dumps({"cells": [{"cell_type": "code", "source": source}]}).encode()
    assert sources(raw) == ([] if read is None else [read])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty"),
        (b" \n\x00", "is empty"),
        (b"PK\x03\x04rest", "zip archive"),
        (b"\x1f\x8brest", "gzip archive"),
        (b"%PDF-1.4", "PDF document"),
        (b"<!DOCTYPE html><html>", "saved web page"),
        (b"\n<html lang=en>", "saved web page"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b'{"url": "https://example.org", "doc_id": "1", "email": "x"}', "Google Drive"),
        (b"[" * 200_000, "not valid JSON"),
        (b"Dear teacher, my dog ate it.", "not valid JSON"),
    ],
)
def test_what_is_no_notebook_is_named_with_what_to_ask(raw, said):
    with pytest.raises(Unrepairable, match=f"{said}.*Ask the student"):
        read_cells(raw)


def test_sizes_are_bounded(monkeypatch):
    monkeypatch.setattr(salvage, "MAX_BYTES", 100)
    with pytest.raises(Unrepairable, match="MB are read"):
        read_cells(WHOLE)
    monkeypatch.undo()
    monkeypatch.setattr(salvage, "MAX_CELLS", 5)
    with pytest.raises(Unrepairable, match="at most 5"):
        read_cells(WHOLE)
    monkeypatch.undo()
    monkeypatch.setattr(salvage, "MAX_TEXT", 50)
    with pytest.raises(Unrepairable, match="of text"):
        read_cells(WHOLE)


def test_numbers_that_python_refuses_and_values_that_are_none_do_no_harm():
    raw = WHOLE.replace(b'"nbformat": 4', b'"x": NaN, "y": -Infinity, "z": ' + b"9" * 10_000 + b', "nbformat": 4')
    assert sources(raw) == SOURCES


def test_merge_marks_give_both_sides_or_the_one_that_can_be_read():
    one, other = b'{"cell_type": "code", "source": "a = 1"}', b'{"cell_type": "code", "source": "a = 2"}'
    text = b'{"cells": [\n<<<<<<< HEAD\n%s\n||||||| base\n{}\n=======\n%s\n>>>>>>> x\n]}'
    result = read_cells(text % (one, other))
    assert [cell.source for cell in result.cells] == ["a = 1"]
    assert [cell.source for cell in result.other_side] == ["a = 2"]
    broken = read_cells(text % (one, b'{"cell_type": '))
    assert [cell.source for cell in broken.cells] == ["a = 1"]
    assert broken.other_side is None


def test_only_real_pictures_count_as_pictures():
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    assert is_picture("image/png", png)
    assert not is_picture("image/jpeg", png)
    assert not is_picture("image/svg+xml", png)
    assert not is_picture("image/png", png + '" onerror="x')
