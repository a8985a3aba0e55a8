"""Hints on demand, and the small reader of hint files."""

from __future__ import annotations

from types import SimpleNamespace

import jupytext
import pytest

from helpers import hints
from helpers.hints import HintError, all_hints, hint, read_hints

TEXT = """\
A note to whoever edits this file.

## first-one

Think.

---

Think harder:

```python
## not-a-heading
---
```

## second-one
Only one hint.
"""


@pytest.fixture(autouse=True)
def nobody_was_told(monkeypatch):
    monkeypatch.setattr(hints, "_told", {})


def test_each_section_is_read_as_its_hints_in_order():
    assert read_hints(TEXT) == {
        "first-one": ["Think.", "Think harder:\n\n```python\n## not-a-heading\n---\n```"],
        "second-one": ["Only one hint."],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("## twice\na\n## twice\nb", "notes.md: 'twice' has two headings"),
        ("## empty\n\n## other\na", "notes.md: a hint for 'empty' is empty"),
        ("## gap\na\n---\n\n---\nb", "notes.md: a hint for 'gap' is empty"),
    ],
)
def test_a_malformed_hint_file_is_refused_by_name(text, message):
    with pytest.raises(HintError, match=message):
        read_hints(text, "notes.md")


def test_two_files_may_not_hold_hints_for_the_same_exercise(tmp_path):
    for name in ("01-a.md", "02-b.md"):
        (tmp_path / name).write_text("## shared\na hint\n")
    with pytest.raises(HintError, match=r"02-b\.md: another file has hints for 'shared'"):
        all_hints(tmp_path)


def test_repeated_demand_tells_more_until_the_last_hint(capsys):
    given = all_hints()["compile-and-fit"]
    assert len(given) == 3
    for number, text in enumerate(given, start=1):
        hint("compile-and-fit")
        said = capsys.readouterr().out
        assert f"Hint {number} of 3" in said
        assert text in said
    assert "last hint" in said
    hint("compile-and-fit")
    assert "Hint 3 of 3" in capsys.readouterr().out
    hint("compile-and-fit", start_again=True)
    assert "Hint 1 of 3" in capsys.readouterr().out


def test_exercises_do_not_share_their_place(capsys):
    hint("save-model")
    hint("predict-one-image")
    assert "Hint 1 of 3 for predict-one-image" in capsys.readouterr().out


@pytest.mark.parametrize("asked", ["compile-and-fti", "compile and fit", "Compile-And-Fit", "compile_and_fit"])
def test_a_mistyped_exercise_is_answered_with_the_nearest_names(asked):
    with pytest.raises(HintError, match='Did you mean "compile-and-fit"'):
        hint(asked)


@pytest.mark.parametrize("asked", ["zzzz", 7, None, ...])
def test_an_unknown_exercise_is_answered_with_all_names(asked):
    with pytest.raises(HintError, match=r"There are hints for: .*save-model"):
        hint(asked)


def test_every_exercise_of_every_episode_has_at_least_two_hints(repository):
    for path in (repository / "course").glob("*/*.md"):
        for cell in jupytext.read(path).cells:
            about = cell.metadata.get("nbgrader", {})
            if about.get("solution"):
                assert len(all_hints().get(about["grade_id"], [])) >= 2, f"{path.name}: {about['grade_id']}"


def test_in_a_notebook_a_hint_is_shown_as_the_markdown_that_it_is(monkeypatch, capsys):
    import IPython

    shown = []
    kernel = SimpleNamespace(kernel=object(), display_pub=SimpleNamespace(publish=shown.append))
    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    hint("show-nine-images")
    [content] = shown
    assert content["text/plain"].startswith("Hint 1 of 3 for show-nine-images\n\nThe inner loop")
    assert content["text/markdown"].startswith("**Hint 1 of 3 for show-nine-images**\n\nThe inner loop")
    assert capsys.readouterr().out == ""
