"""Repairing what students hand in: `autograder.repair`."""

from __future__ import annotations

import copy
import json
import random

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_raw_cell
from nbgrader.nbgraderformat import MetadataValidator
from small_episode import (
    ANSWERS,
    LOCKED,
    answered_notebook,
    by_id,
    position,
    release_notebook,
    to_bytes,
    without_marks,
)

from autograder.errors import CourseError
from autograder.repair import NOTES_ID, Unrepairable, add_notes, repair

RELEASE = release_notebook()
ORDER = [cell.metadata.nbgrader.grade_id for cell in RELEASE.cells if "nbgrader" in cell.metadata]


def repaired(notebook):
    """Repair a notebook and check what must hold for every result."""
    raw = notebook if isinstance(notebook, bytes) else to_bytes(notebook)
    result = repair(raw, RELEASE)
    assert_sound(result.notebook)
    return result


def assert_sound(notebook):
    nbformat.validate(notebook)
    MetadataValidator().validate_nb(notebook)
    assert notebook.metadata == RELEASE.metadata
    marked = [cell.metadata.nbgrader.grade_id for cell in notebook.cells if "nbgrader" in cell.metadata]
    assert marked == ORDER
    for grade_id in ORDER:
        cell, released = by_id(notebook, grade_id), by_id(RELEASE, grade_id)
        assert cell.metadata == released.metadata
        assert cell.cell_type == released.cell_type
        assert cell.id == released.id
        if grade_id in LOCKED:
            assert cell == released
    assert position(notebook, "double-it-test") == position(notebook, "double-it-probe") + 1
    assert all(not cell.get("outputs") for cell in notebook.cells)


def answers_of(result):
    return {grade_id: by_id(result.notebook, grade_id).source for grade_id in ANSWERS}


def run_all(notebook, *, upto=None):
    """Run the code cells in one namespace as 'Run All' would; give it back with the errors by cell id."""
    space, errors = {}, {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            try:
                exec(compile(cell.source, cell.id, "exec"), space)
            except Exception as error:
                errors[cell.id] = error
        if upto is not None and cell.id == upto:
            break
    return space, errors


# ---------------------------------------------------------------------------------------------------------------------
# Notebooks that need nothing


def test_an_answered_notebook_comes_back_as_it_is_without_repairs():
    result = repaired(answered_notebook())
    assert result.notebook.cells == answered_notebook().cells
    assert result.repairs == []
    assert set(result.answered) == set(ANSWERS)


def test_an_untouched_notebook_comes_back_untouched_and_counts_no_answers():
    result = repaired(RELEASE)
    assert result.notebook.cells == RELEASE.cells
    assert (result.repairs, result.answered) == ([], ())


def test_the_release_that_is_given_is_not_changed():
    release = release_notebook()
    repair(to_bytes(without_marks(answered_notebook())), release)
    assert release == release_notebook()


def test_own_cells_stay_where_they_were():
    notebook = answered_notebook()
    notebook.cells.insert(4, new_code_cell("mine = total + 1", id="mine"))
    notebook.cells.insert(0, new_markdown_cell("My name is Ada.", id="hello"))
    result = repaired(notebook)
    assert [cell.id for cell in result.notebook.cells] == [cell.id for cell in notebook.cells]
    assert result.repairs == []


def test_claims_of_outputs_counts_and_metadata_are_dropped():
    notebook = answered_notebook()
    cell = by_id(notebook, "sum-up-test")
    cell.outputs = [{"output_type": "stream", "name": "stdout", "text": "all points"}]
    cell.execution_count = 99
    mine = new_code_cell("1 + 1", metadata={"tags": ["skip-execution"], "nbgrader": {"grade": True, "points": 100}})
    notebook.cells.append(mine)
    result = repaired(notebook)
    assert result.notebook.cells[-1].metadata == {}
    assert all(cell.get("execution_count") is None for cell in result.notebook.cells)


@pytest.mark.parametrize("garbage", [None, 7, "x", [1], {"output_type": "nonsense"}, [{"data": {"text/html": 3}}]])
def test_outputs_of_any_shape_do_no_harm(garbage):
    notebook = json.loads(to_bytes(answered_notebook()))
    for cell in notebook["cells"]:
        cell["outputs"] = garbage
        cell["attachments"] = garbage
    result = repaired(json.dumps(notebook).encode())
    assert result.notebook.cells == answered_notebook().cells


# ---------------------------------------------------------------------------------------------------------------------
# Locked cells


@pytest.mark.parametrize("grade_id", LOCKED)
def test_a_deleted_locked_cell_is_put_back_in_its_place(grade_id):
    notebook = answered_notebook()
    notebook.cells.remove(by_id(notebook, grade_id))
    result = repaired(notebook)
    assert result.notebook.cells == answered_notebook().cells
    assert result.repairs == [f"These locked cells were missing and were put back: `{grade_id}`."]


@pytest.mark.parametrize("grade_id", LOCKED)
def test_an_edited_locked_cell_is_restored_and_the_student_is_told(grade_id):
    notebook = answered_notebook()
    by_id(notebook, grade_id).source = "pass"
    result = repaired(notebook)
    assert any(f"`{grade_id}` were not used" in note for note in result.repairs)


@pytest.mark.parametrize("grade_id", LOCKED)
@pytest.mark.parametrize("kind", ["markdown", "raw", "code", "heading", "nonsense"])
def test_a_retyped_locked_cell_gets_its_type_back(grade_id, kind):
    notebook = answered_notebook()
    by_id(notebook, grade_id)["cell_type"] = kind
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS


@pytest.mark.parametrize("grade_id", LOCKED)
@pytest.mark.parametrize("keep_marks", [True, False])
def test_a_doubled_locked_cell_is_kept_once(grade_id, keep_marks):
    notebook = answered_notebook()
    double = copy.deepcopy(by_id(notebook, grade_id))
    double.id = "copied"
    if not keep_marks:
        double.metadata = {}
    notebook.cells.append(double)
    result = repaired(notebook)
    assert result.notebook.cells == answered_notebook().cells
    assert any("stood 2 times" in note for note in result.repairs)


def test_moved_cells_go_back_to_the_released_order():
    notebook = answered_notebook()
    notebook.cells.insert(0, notebook.cells.pop(position(notebook, "double-it-test")))
    notebook.cells.append(notebook.cells.pop(position(notebook, "sum-up")))
    result = repaired(notebook)
    assert result.notebook.cells == answered_notebook().cells
    assert result.repairs == [
        "These cells had been moved and were put back in their places: `sum-up`, `double-it-test`."
    ]


def test_points_locks_and_types_are_never_the_students():
    notebook = answered_notebook()
    by_id(notebook, "sum-up-test").metadata.nbgrader.update(points=1000)
    by_id(notebook, "double-it-test").metadata.nbgrader.update(locked=False, solution=True)
    by_id(notebook, "double-it-test").source = "assert True"
    result = repaired(notebook)
    assert any("points, type or lock" in note and "`sum-up-test`" in note for note in result.repairs)


def test_a_split_test_cell_is_whole_again():
    notebook = answered_notebook()
    at = position(notebook, "largest-test")
    first, second = notebook.cells[at].source.split("\n")
    notebook.cells[at].source = first
    notebook.cells.insert(at + 1, new_code_cell(second))
    result = repaired(notebook)
    assert run_all(result.notebook)[1] == {}


def test_an_answer_and_its_test_joined_into_one_cell_are_parted():
    notebook = answered_notebook()
    answer, test = by_id(notebook, "sum-up"), by_id(notebook, "sum-up-test")
    answer.source += "\n\n" + test.source
    notebook.cells.remove(test)
    result = repaired(notebook)
    assert result.notebook.cells == answered_notebook().cells
    assert any("were parted" in note for note in result.repairs)


def test_three_cells_joined_into_one_give_both_answers():
    notebook = answered_notebook()
    double, test, largest = (by_id(notebook, name) for name in ("double-it", "double-it-test", "largest"))
    double.source = "\n\n".join(cell.source for cell in (double, test, largest))
    notebook.cells.remove(test)
    notebook.cells.remove(largest)
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS


def test_an_answer_typed_into_the_test_cell_counts_when_the_answer_cell_is_untouched():
    notebook = answered_notebook({**ANSWERS, "sum-up": RELEASE.cells[3].source})
    test = by_id(notebook, "sum-up-test")
    test.source = "total = sum(measurements)\n" + test.source
    result = repaired(notebook)
    space, errors = run_all(result.notebook)
    assert errors == {}
    assert space["total"] == 14


def test_an_answer_that_replaced_the_test_cell_is_found():
    notebook = answered_notebook({**ANSWERS, "largest": RELEASE.cells[12].source})
    by_id(notebook, "largest-test").source = "largest = max(measurements)\nsmallest = min(measurements)"
    result = repaired(notebook)
    space, errors = run_all(result.notebook)
    assert errors == {}
    assert (space["largest"], space["smallest"]) == (5, 1)


def test_what_was_written_into_a_test_cell_cannot_undo_the_answer_before_that_test():
    notebook = answered_notebook()
    test = by_id(notebook, "sum-up-test")
    test.source += "\ntotal = 0\nextra = 1"
    result = repaired(notebook)
    space, errors = run_all(result.notebook, upto="sum-up-test")
    assert space["total"] == 14
    assert not errors
    assert "extra" in "".join(cell.source for cell in result.notebook.cells)


def test_a_changed_check_is_kept_as_text_that_does_not_run():
    notebook = answered_notebook()
    by_id(notebook, "largest-test").source = 'assert largest is not ..., "not attempted yet"\nassert True  # ```<b>'
    result = repaired(notebook)
    (note,) = (cell for cell in result.notebook.cells if "was not run" in cell.source)
    assert note.cell_type == "markdown"
    assert "````text\nassert True  # ```<b>\n````" in note.source


def test_nothing_of_the_student_runs_between_a_probe_and_its_test():
    notebook = answered_notebook()
    notebook.cells.insert(position(notebook, "double-it-test"), new_code_cell("probed = [2, 4, 20]", id="forged"))
    probe = by_id(notebook, "double-it-probe")
    probe.source += "\nprobed = [2, 4, 20]; more = 1"
    result = repaired(notebook)  # `assert_sound` looks at the two cells
    assert any(cell.id == "forged" for cell in result.notebook.cells)


def test_swapped_ids_of_an_answer_and_a_test_are_seen_through():
    notebook = answered_notebook()
    answer, test = by_id(notebook, "sum-up"), by_id(notebook, "sum-up-test")
    answer.metadata, test.metadata = test.metadata, answer.metadata
    answer.id, test.id = test.id, answer.id
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS


# ---------------------------------------------------------------------------------------------------------------------
# Answer cells


@pytest.mark.parametrize("keep_ids", [True, False])
def test_answers_are_found_when_all_marks_are_lost(keep_ids):
    result = repaired(without_marks(answered_notebook(), ids=keep_ids))
    assert result.notebook.cells == answered_notebook().cells
    assert any("lost nbgrader's marks" in note for note in result.repairs)


def test_answers_without_marks_are_found_out_of_order_and_among_own_cells():
    notebook = without_marks(answered_notebook())
    answers = [cell for cell in notebook.cells if cell.source in ANSWERS.values()]
    code = [cell for cell in answers if cell.cell_type == "code"]
    for cell in code:
        notebook.cells.remove(cell)
    notebook.cells += [new_code_cell("print('scratch')"), *reversed(code)]
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS


def test_a_notebook_of_answers_alone_is_completed():
    notebook = without_marks(answered_notebook())
    notebook.cells = [c for c in notebook.cells if c.source in ANSWERS.values() and c.cell_type == "code"]
    result = repaired(notebook)
    space, errors = run_all(result.notebook)
    assert errors == {}
    assert space["probed"] == [2, 4, 20]
    assert any("later cells need them: `load`" in note for note in result.repairs)


def test_an_answer_rewritten_in_a_new_cell_after_the_starter_was_deleted_is_found():
    notebook = answered_notebook()
    at = position(notebook, "largest")
    notebook.cells[at] = new_code_cell("ordered = sorted(measurements)\nsmallest, *_, largest = ordered")
    result = repaired(notebook)
    assert "ordered" in answers_of(result)["largest"]


def test_an_answer_split_over_several_cells_runs_in_its_order():
    notebook = answered_notebook()
    at = position(notebook, "largest")
    by_id(notebook, "largest").source = "ordered = sorted(measurements)"
    notebook.cells[at + 1 : at + 1] = [new_code_cell("largest = ordered[-1]"), new_code_cell("smallest = ordered[0]")]
    result = repaired(notebook)
    assert run_all(result.notebook)[1] == {}


def test_an_answer_split_with_its_marks_on_both_halves_runs_in_its_order():
    notebook = answered_notebook()
    at = position(notebook, "largest")
    second = copy.deepcopy(notebook.cells[at])
    notebook.cells[at].source = "ordered = sorted(measurements)"
    second.source, second.id = "largest, smallest = ordered[-1], ordered[0]", "half"
    notebook.cells.insert(at + 1, second)
    result = repaired(notebook)
    assert run_all(result.notebook)[1] == {}
    assert any("`largest` stood 2 times with different text" in note for note in result.repairs)


@pytest.mark.parametrize("first", [True, False])
def test_an_untouched_copy_of_an_answer_cell_does_not_undo_the_answer(first):
    notebook = answered_notebook()
    copied = copy.deepcopy(by_id(RELEASE, "sum-up"))
    copied.id = "copied"
    notebook.cells.insert(position(notebook, "sum-up") + (0 if first else 1), copied)
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS
    assert run_all(result.notebook)[0]["total"] == 14


def test_of_two_edited_copies_the_one_in_the_right_place_counts_for_its_test():
    notebook = answered_notebook()
    copied = copy.deepcopy(by_id(notebook, "sum-up"))
    copied.id, copied.source = "copied", "total = 0  # playing"
    notebook.cells.append(copied)
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS
    assert run_all(result.notebook, upto="sum-up-test")[0]["total"] == 14
    assert "total = 0  # playing" in [cell.source for cell in result.notebook.cells]


def test_a_copy_with_the_id_of_one_answer_used_for_another_is_seen_through():
    notebook = answered_notebook()
    copied = copy.deepcopy(by_id(notebook, "sum-up"))
    copied.id, copied.source = "copied", ANSWERS["largest"]
    notebook.cells[position(notebook, "largest")] = copied
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS


def test_a_missing_answer_is_named_and_gets_its_starter_back():
    notebook = answered_notebook()
    notebook.cells.remove(by_id(notebook, "largest"))
    result = repaired(notebook)
    assert by_id(result.notebook, "largest").source == by_id(RELEASE, "largest").source
    assert any(note.startswith("No answer was found") and "`largest`" in note for note in result.repairs)
    assert "largest" not in result.answered


def test_a_starter_that_is_put_back_does_not_undo_names_given_elsewhere():
    notebook = answered_notebook()
    by_id(notebook, "sum-up").source += "\n\n" + ANSWERS["largest"]
    notebook.cells.remove(by_id(notebook, "largest"))
    result = repaired(notebook)
    assert run_all(result.notebook)[1] == {}


def test_a_code_answer_turned_into_text_is_code_again():
    notebook = answered_notebook()
    for name, source in (("sum-up", ANSWERS["sum-up"]), ("largest", f"```python\n{ANSWERS['largest']}\n```")):
        by_id(notebook, name).source = source
        by_id(notebook, name)["cell_type"] = "markdown"
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS
    assert any("turned into another type" in note for note in result.repairs)


def test_a_written_answer_turned_into_code_is_text_again():
    notebook = answered_notebook()
    by_id(notebook, "why-mean")["cell_type"] = "code"
    assert answers_of(repaired(notebook)) == ANSWERS


@pytest.mark.parametrize("kind", ["markdown", "raw", "code"])
def test_a_written_answer_below_its_untouched_cell_is_moved_in(kind):
    notebook = answered_notebook({**ANSWERS, "why-mean": "YOUR ANSWER HERE"})
    new = {"markdown": new_markdown_cell, "raw": new_raw_cell, "code": new_code_cell}[kind]
    notebook.cells.insert(position(notebook, "why-mean") + 1, new(ANSWERS["why-mean"]))
    result = repaired(notebook)
    assert answers_of(result) == ANSWERS
    assert "why-mean" in result.answered


def test_a_written_answer_typed_into_its_question_is_copied_in():
    notebook = answered_notebook({**ANSWERS, "what-next": "YOUR ANSWER HERE"})
    notebook.cells[position(notebook, "what-next") - 1].source += "\n\n" + ANSWERS["what-next"]
    assert answers_of(repaired(notebook)) == ANSWERS


def test_a_written_answer_in_two_marked_cells_is_joined():
    notebook = answered_notebook()
    second = copy.deepcopy(by_id(notebook, "why-mean"))
    second.id, second.source = "second", "And when there are two groups."
    notebook.cells.insert(position(notebook, "why-mean") + 1, second)
    assert answers_of(repaired(notebook))["why-mean"] == ANSWERS["why-mean"] + "\n\nAnd when there are two groups."


def test_a_picture_in_a_written_answer_is_kept_and_a_script_is_not():
    png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    notebook = answered_notebook()
    by_id(notebook, "why-mean").attachments = {
        "drawing.png": {"image/png": png},
        "x.svg": {"image/svg+xml": "<svg onload=alert(1)>"},
        "y.png": {"image/png": "<script>alert(1)</script>"},
    }
    result = repaired(notebook)
    assert by_id(result.notebook, "why-mean").attachments == {"drawing.png": {"image/png": png}}


def test_a_deleted_cell_of_the_lesson_comes_back_when_later_cells_need_it_and_only_then():
    notebook = answered_notebook()
    notebook.cells = [cell for cell in notebook.cells if cell.id not in ("load", "look", "intro")]
    result = repaired(notebook)
    ids = [cell.id for cell in result.notebook.cells]
    assert "load" in ids
    assert "look" not in ids
    replaced = answered_notebook()
    replaced.cells[1] = new_code_cell("import math\nmeasurements = list((3, 1, 4, 1, 5))", id="own")
    result = repaired(replaced)
    assert run_all(result.notebook)[1] == {}
    assert sum("measurements =" in cell.source for cell in result.notebook.cells) == 1


def test_an_edited_cell_of_the_lesson_stays_edited():
    notebook = answered_notebook()
    notebook.cells[1].source += "\nmeasurements = sorted(measurements)"
    result = repaired(notebook)
    assert result.notebook.cells[1].source.endswith("sorted(measurements)")


def test_a_helper_above_a_moved_answer_moves_with_it():
    notebook = answered_notebook({**ANSWERS, "sum-up": "total = add(measurements)"})
    answer = notebook.cells.pop(position(notebook, "sum-up"))
    at = position(notebook, "double-it")
    notebook.cells[at + 1 : at + 1] = [new_code_cell("def add(numbers):\n    return sum(numbers)"), answer]
    result = repaired(notebook)
    assert run_all(result.notebook)[1] == {}


def test_repairing_a_repaired_notebook_changes_nothing():
    notebook = without_marks(answered_notebook())
    notebook.cells.insert(2, new_code_cell("own = 1"))
    first = repaired(notebook)
    add_notes(first.notebook, first.repairs)
    assert first.notebook.cells[0].id == NOTES_ID
    second = repaired(first.notebook)
    assert second.notebook.cells == first.notebook.cells[1:]
    assert second.repairs == []


def test_cell_ids_in_the_result_are_unique_and_valid_whatever_the_file_says():
    notebook = answered_notebook()
    for wish in ("sum-up", NOTES_ID, "same", "same", "", "no spaces allowed", "x" * 65, 7, None, ["x"]):
        notebook.cells.append({"cell_type": "code", "source": f"own = {wish!r}", "id": wish, "metadata": {}})
    result = repaired(notebook)
    ids = [cell.id for cell in result.notebook.cells]
    assert len(set(ids)) == len(ids) == len(notebook.cells)


# ---------------------------------------------------------------------------------------------------------------------
# As other tools leave notebooks


def as_colab(notebook):
    """Colab: format 4.0, the cell's id in the metadata, sources as lists, its own metadata everywhere."""
    cells = []
    for cell in notebook.cells:
        metadata = {"id": cell.id, **({"outputId": "5a1b-77"} if cell.cell_type == "code" else {})}
        if cell.cell_type == "code":
            metadata["colab"] = {"base_uri": "https://localhost:8080/", "height": 35}
        data = {"cell_type": cell.cell_type, "source": cell.source.splitlines(keepends=True), "metadata": metadata}
        if cell.cell_type == "code":
            data |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["14\n"]}]}
        cells.append(data)
    return {
        "nbformat": 4,
        "nbformat_minor": 0,
        "metadata": {"colab": {"provenance": [], "toc_visible": True}, "kernelspec": {"name": "python3"}},
        "cells": cells,
    }


def as_classic_v3(notebook):
    """Jupyter's old format 3: worksheets, `input` for code, heading cells."""
    cells = []
    for cell in notebook.cells:
        metadata = dict(cell.metadata)
        if cell.cell_type == "code":
            cells.append(
                {
                    "cell_type": "code",
                    "input": cell.source.splitlines(keepends=True),
                    "language": "python",
                    "collapsed": False,
                    "prompt_number": 1,
                    "metadata": metadata,
                    "outputs": [{"output_type": "pyout", "prompt_number": 1, "text": ["14"]}],
                }
            )
        elif cell.source.startswith("# "):
            cells.append({"cell_type": "heading", "level": 1, "source": cell.source[2:], "metadata": metadata})
        else:
            cells.append({"cell_type": "markdown", "source": cell.source, "metadata": metadata})
    return {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {"name": "Untitled"},
        "worksheets": [{"cells": cells, "metadata": {}}],
    }


def as_vscode(notebook):
    """VS Code: no nbgrader metadata on pasted cells, a language id of its own, fresh ids."""
    cells = []
    for i, cell in enumerate(notebook.cells):
        metadata = {"vscode": {"languageId": "python"}} if cell.cell_type == "code" else {}
        data = {"cell_type": cell.cell_type, "id": f"{i * 2654435761 % 2**32:08x}", "metadata": metadata}
        data["source"] = cell.source.splitlines(keepends=True)
        if cell.cell_type == "code":
            data |= {"execution_count": None, "outputs": []}
        cells.append(data)
    return {"nbformat": 4, "nbformat_minor": 2, "metadata": {"language_info": {"name": "python"}}, "cells": cells}


@pytest.mark.parametrize("tool", [as_colab, as_classic_v3, as_vscode])
def test_a_notebook_that_went_through_another_tool_is_graded_as_it_was(tool):
    result = repaired(json.dumps(tool(answered_notebook())).encode())
    assert result.notebook.cells == answered_notebook().cells


def test_cells_pasted_into_a_new_notebook_with_prose_left_out_are_found():
    pasted = without_marks(answered_notebook())
    pasted.cells = [cell for cell in pasted.cells if cell.cell_type == "code" or cell.source in ANSWERS.values()]
    pasted.metadata = {}
    result = repaired(pasted)
    assert answers_of(result) == ANSWERS


def test_the_old_format_is_named_among_the_repairs():
    result = repaired(json.dumps(as_classic_v3(answered_notebook())).encode())
    assert result.repairs == ["The notebook was saved in the old format 3; it was upgraded."]


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 4, 5])
def test_every_minor_version_of_format_4_is_read(minor):
    notebook = answered_notebook()
    if minor < 5:
        for cell in notebook.cells:
            del cell["id"]
    notebook.nbformat_minor = minor
    result = repaired(notebook)
    assert result.notebook.cells == answered_notebook().cells
    assert result.notebook.nbformat_minor == 5


def test_a_markdown_export_and_a_script_export_are_read():
    import jupytext

    marked = answered_notebook()
    for style in ("py:percent", "md", "py:light"):
        result = repaired(jupytext.writes(marked, fmt=style).encode())
        assert answers_of(result) == ANSWERS, style
    bare = without_marks(answered_notebook())
    for style in ("py:percent", "md"):
        result = repaired(jupytext.writes(bare, fmt=style).encode())
        assert answers_of(result) == ANSWERS, style


# ---------------------------------------------------------------------------------------------------------------------
# Wrong files


def other_episode():
    other = release_notebook()
    for cell in other.cells:
        cell.source = cell.source[::-1]
        cell.id = "o-" + cell.id
        if "nbgrader" in cell.metadata:
            cell.metadata.nbgrader.grade_id = "o-" + cell.metadata.nbgrader.grade_id
    return other


def test_the_notebook_of_another_episode_is_named():
    with pytest.raises(Unrepairable, match=r"episode '02-other', not of this episode.*Ask the student"):
        repair(to_bytes(other_episode()), RELEASE, others={"02-other": other_episode()})


def test_a_few_cells_of_another_episode_in_the_right_notebook_are_own_cells():
    notebook = answered_notebook()
    notebook.cells += other_episode().cells[:8]
    result = repair(to_bytes(notebook), RELEASE, others={"02-other": other_episode()})
    assert set(result.answered) == set(ANSWERS)


def test_a_notebook_with_nothing_of_the_episode_is_reported_with_what_to_ask():
    stranger = nbformat.v4.new_notebook(cells=[new_markdown_cell("A recipe for soup."), new_code_cell("1 + 1")])
    with pytest.raises(Unrepairable, match=r"None of the 5 answer cells.*Ask the student"):
        repair(to_bytes(stranger), RELEASE)


def test_unrepairable_is_an_error_that_the_command_line_prints_in_one_line():
    assert issubclass(Unrepairable, CourseError)
    with pytest.raises(CourseError) as caught:
        repair(b"", RELEASE)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------------------------------
# Merge conflicts


def conflicting(ours, theirs):
    """The text of a notebook file with one conflict over its cells."""
    mine, other = (json.dumps(notebook.cells, indent=1)[1:-1] for notebook in (ours, theirs))
    return (
        '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [\n'
        f"<<<<<<< HEAD\n{mine}\n=======\n{other}\n>>>>>>> theirs\n]}}\n"
    ).encode()


def test_each_answer_of_a_merge_conflict_is_taken_from_the_side_that_has_it():
    ours = answered_notebook({"sum-up": ANSWERS["sum-up"], "double-it": ANSWERS["double-it"]})
    theirs = answered_notebook({name: ANSWERS[name] for name in ("largest", "why-mean", "what-next")})
    result = repaired(conflicting(ours, theirs))
    assert answers_of(result) == ANSWERS
    assert any("unfinished merge" in note for note in result.repairs)


def test_two_different_answers_of_a_merge_conflict_are_both_kept_and_one_runs():
    result = repaired(conflicting(answered_notebook(), answered_notebook({**ANSWERS, "sum-up": "total = 0"})))
    assert answers_of(result) == ANSWERS
    assert any("total = 0" in cell.source and cell.cell_type == "markdown" for cell in result.notebook.cells)


# ---------------------------------------------------------------------------------------------------------------------
# Fuzz

answer_texts = st.sampled_from(
    ["# Ün {}", "value_{} = 1", "total = {}", "def double(x):\n    return {}", "text {} text"]
)
mangled = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.integers(), max_size=3),
    st.dictionaries(st.sampled_from(["nbgrader", "id", "tags", "grade_id"]), st.text(max_size=5), max_size=2),
    st.fixed_dictionaries(
        {"nbgrader": st.dictionaries(
            st.sampled_from(["grade_id", "grade", "locked", "solution", "points", "schema_version", "task"]),
            st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.sampled_from(ORDER)),
        )}
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_shuffled_dropped_doubled_and_mangled_no_answer_is_lost_and_locked_cells_are_the_released(data):
    cells = json.loads(to_bytes(release_notebook()))["cells"]
    written = []
    for i, cell in enumerate(cells):
        if cell["id"] in ANSWERS and data.draw(st.booleans()):
            cell["source"] = f"{ANSWERS[cell['id']]}\n" + data.draw(answer_texts).format(i)
    for step in data.draw(
        st.lists(st.sampled_from(["drop", "double", "move", "mangle", "retype", "strip", "id", "lines"]), max_size=12)
    ):
        if not cells:
            break
        at = data.draw(st.integers(0, len(cells) - 1))
        cell = cells[at]
        if step == "drop":
            cells.pop(at)
        elif step == "double":
            cells.insert(data.draw(st.integers(0, len(cells))), copy.deepcopy(cell))
        elif step == "move":
            cells.insert(data.draw(st.integers(0, len(cells) - 1)), cells.pop(at))
        elif step == "mangle":
            cell["metadata"] = data.draw(mangled)
        elif step == "retype":
            cell["cell_type"] = data.draw(st.sampled_from(["code", "markdown", "raw", "heading", "", None, 3]))
        elif step == "strip":
            cell.pop("metadata", None)
            cell.pop("id", None)
        elif step == "id":
            cell["id"] = data.draw(st.one_of(st.none(), st.integers(), st.text(max_size=4), st.sampled_from(ORDER)))
        elif step == "lines":
            cell["source"] = str(cell["source"]).splitlines(keepends=True)
    starters = {cell.source for cell in RELEASE.cells}
    for cell in cells:
        text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
        if text not in starters:
            written.append(text)
    raw = json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode()
    try:
        result = repair(raw, RELEASE)
    except Unrepairable:
        kept = {(c.get("metadata") or {}).get("nbgrader", {}).get("grade_id") if isinstance(c.get("metadata"), dict)
                and isinstance(c["metadata"].get("nbgrader"), dict) else None for c in cells}  # fmt: skip
        assert not written
        assert not kept & set(ANSWERS)
        return
    assert_sound(result.notebook)
    everything = "\n".join(cell.source for cell in result.notebook.cells)
    for text in written:
        for line in text.strip().splitlines():
            assert line.rstrip() in everything


KEYS = ["cells", "worksheets", "cell_type", "source", "input", "metadata", "nbgrader", "grade_id", "id", "content"]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(max_size=30), st.just("code")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=6,
        ),
    ),
    max_leaves=30,
)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(value=JSON)
def test_any_json_is_repaired_or_refused_with_a_course_error(value):
    try:
        result = repair(json.dumps(value).encode(), RELEASE)
    except Unrepairable:
        return
    assert_sound(result.notebook)


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32), cuts=st.integers(0, 6))
def test_a_file_with_bytes_cut_out_or_put_in_is_repaired_or_refused(seed, cuts):
    rng = random.Random(seed)
    raw = bytearray(to_bytes(answered_notebook()))
    for _ in range(cuts):
        at = rng.randrange(len(raw))
        if rng.random() < 0.5:
            del raw[at : at + rng.choice([1, 10, 1000])]
        else:
            raw[at:at] = rng.choice(
                [b'"', b"\\", b"{", b"]", b"\xff", b"\x00", b"\n<<<<<<< x\n", b"\n=======\n", b"\n>>>>>>> y\n"]
            )
    try:
        result = repair(bytes(raw), RELEASE)
    except Unrepairable:
        return
    assert_sound(result.notebook)
