"""Put a student's answers back into the notebook that was released to them.

Notebooks come back with test cells deleted, edited, moved, doubled or turned into text, with metadata lost, in other
formats and encodings, merged badly or under another name. `repair` reads whatever was handed in (`autograder.salvage`)
and lays the student's answers, and the student's own further cells, into a fresh copy of the release. Everything that
decides about points (locked cells, their order, grade ids, points, types, the kernel) comes from the release.

`docs/reference/repair.md` tells the rules to instructors. Pure functions, no input or output.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import nbformat
from nbformat import NotebookNode

from autograder.matching import (
    NOTES_TITLE,
    Piece,
    Placing,
    Slot,
    bound_names,
    listed,
    place,
    quoted,
    refuse_other_episode,
    unfenced,
    words,
)
from autograder.salvage import Cell, Salvaged, Unrepairable, read_cells

__all__ = ["NOTES_ID", "Repaired", "Unrepairable", "add_notes", "repair"]

#: The id of the Markdown cell that lists the repairs.
NOTES_ID = "grader-notes"


@dataclass(frozen=True)
class Repaired:
    """A notebook that is fit for grading.

    Attributes:
        notebook: The release's cells with the student's answers in them, nbformat 4.5, without outputs.
        repairs: What was done, one sentence each; empty for a notebook that needed nothing.
        answered: The grade ids of the answer cells that hold something else than the starter.
    """

    notebook: NotebookNode
    repairs: list[str]
    answered: tuple[str, ...]


def repair(raw: bytes, release: NotebookNode, *, others: Mapping[str, NotebookNode] = MappingProxyType({})) -> Repaired:
    """Lay what a student handed in into a copy of the release.

    Args:
        raw: The bytes of the file that was handed in.
        release: The notebook as it was released. It is not changed.
        others: The other episodes' releases by name, to tell a student who handed in the wrong one.

    Returns:
        The repaired notebook and the list of repairs.

    Raises:
        Unrepairable: The file is no notebook, is another episode's, or holds none of the answer cells.
    """
    salvaged = read_cells(raw)
    refuse_other_episode(salvaged.cells, release, others)
    if salvaged.other_side is None:
        return _finished(place(salvaged.cells, release), salvaged, release)
    sides, problems = [], []
    for cells in (salvaged.cells, salvaged.other_side):
        try:
            sides.append(place(cells, release))
        except Unrepairable as problem:
            problems.append(problem)
    if not sides:
        raise problems[0]
    return _finished(_merged(*sides) if len(sides) == 2 else sides[0], salvaged, release)


def add_notes(notebook: NotebookNode, notes: Sequence[str]) -> None:
    """Put the list of repairs into a Markdown cell at the top of the notebook; nothing when there are none."""
    if not notes:
        return
    lines = [NOTES_TITLE, "", "Your notebook was mended before it was graded:", ""]
    lines += [f"- {note}" for note in notes]
    cell = nbformat.v4.new_markdown_cell("\n".join(lines), id=NOTES_ID)
    cell.metadata = NotebookNode(deletable=False, editable=False)
    notebook.cells.insert(0, cell)


# ---------------------------------------------------------------------------------------------------------------------
# Merge conflicts


def _merged(ours: Placing, theirs: Placing) -> Placing:
    """Both sides of a merge conflict in one: the fuller side, with the answers that only the other side has."""

    def answers(side: Placing) -> int:
        return sum(side.is_answered(slot) for slot in side.slots if slot.role == "answer")

    base, other = (theirs, ours) if answers(theirs) > answers(ours) else (ours, theirs)
    for slot, twin in zip(base.slots, other.slots, strict=True):
        if slot.role != "answer" or not other.is_answered(twin):
            continue
        theirs_piece = other.claims(twin)[0]
        claims = base.claims(slot)
        if not base.is_answered(slot):
            if claims:
                claims[0].cell = theirs_piece.cell
            else:
                base.pieces.insert(base.region(slot).start, Piece(theirs_piece.cell, slot, "id"))
            base.notes.append(f"The answer `{slot.label}` was taken from the other side of the merge.")
        elif claims[0].text != theirs_piece.text:
            text = f"The other side of the merge answered `{slot.label}` so (not run):\n\n{quoted(theirs_piece.text)}"
            base.pieces.insert(base.pieces.index(claims[0]) + 1, Piece(Cell("markdown", text), ours=True))
            base.notes.append(
                f"The sides of the merge answer `{slot.label}` differently; one was used, the other kept beside it."
            )
    texts = {piece.text for piece in base.pieces}
    for piece in other.pieces:
        if piece.free and piece.text.strip() and piece.text not in texts:
            text = f"A cell from the other side of the merge (not run):\n\n{quoted(piece.text)}"
            base.pieces.append(Piece(Cell("markdown", text), ours=True))
    return base


# ---------------------------------------------------------------------------------------------------------------------
# Laying out the result


def _finished(work: Placing, salvaged: Salvaged, release: NotebookNode) -> Repaired:
    answered = tuple(slot.label for slot in work.slots if slot.role == "answer" and work.is_answered(slot))
    notebook = nbformat.v4.new_notebook(cells=_laid_out(work), metadata=copy.deepcopy(release.metadata))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return Repaired(notebook, list(dict.fromkeys([*salvaged.notes, *work.notes])), answered)


def _laid_out(work: Placing) -> list[NotebookNode]:
    """The cells of the result: the release's in the release's order, the student's own next to what they followed."""
    top, before, after = _own_cells_by_place(work)
    _keep_locked_runs_whole(work, before, after)
    found = {piece.slot: piece for piece in work.pieces if piece.slot is not None and not piece.dropped}
    _note_marks(work, found)
    _note_moves(work)
    put_back = _PutBack(work)

    ids = {slot.cell.get("id") for slot in work.slots} | {NOTES_ID}
    cells = [_own_cell(piece, ids) for piece in top]
    for slot in work.slots:
        cells += [_own_cell(piece, ids) for piece in before[slot.index]]
        piece = found.get(slot)
        cell = put_back.cell(slot) if piece is None else _found_cell(slot, piece, put_back)
        if cell is not None:
            if not cell.get("id"):
                cell["id"] = _fresh_id(f"cell-{slot.index}", ids)
            cells.append(cell)
        cells += [_own_cell(piece, ids) for piece in after[slot.index]]
    work.notes += put_back.notes()
    return cells


def _own_cells_by_place(work: Placing) -> tuple[list[Piece], dict[int, list[Piece]], dict[int, list[Piece]]]:
    """Where the student's own cells go: to the top, before or after a cell of the release (by its index)."""
    top: list[Piece] = []
    before: dict[int, list[Piece]] = {slot.index: [] for slot in work.slots}
    after: dict[int, list[Piece]] = {slot.index: [] for slot in work.slots}
    previous: Piece | None = None
    run: list[Piece] = []

    def settle(following: Piece | None) -> None:
        if previous is None or previous.slot is None:
            top.extend(run)
        elif following is not None and following.slot is not None and _belongs_to(run, previous, following):
            before[following.slot.index].extend(run)
        else:
            after[previous.slot.index].extend(run)
        run.clear()

    for piece in work.pieces:
        if piece.dropped:
            continue
        if piece.slot is not None:
            settle(piece)
            previous = piece
        elif piece.text.strip():
            run.append(piece)
    settle(None)
    return top, before, after


def _belongs_to(run: Sequence[Piece], previous: Piece, following: Piece) -> bool:
    """Whether own cells go with the cell after them: only where cells were moved and that cell needs their names."""
    if previous.slot is None or following.slot is None or following.slot.index > previous.slot.index:
        return False
    given = {name for piece in run if piece.cell.kind == "code" for name in bound_names(piece.cell.source)}
    return previous.slot.role == "locked" or bool(given & words(following.cell.source))


def _keep_locked_runs_whole(work: Placing, before: dict[int, list[Piece]], after: dict[int, list[Piece]]) -> None:
    """Let no cell of the student's stand between a probe and its test, where it could change what was probed."""
    start = 0
    while start < len(work.slots):
        stop = start
        while stop < len(work.slots) and work.slots[stop].role == "locked" and work.slots[stop].is_code:
            stop += 1
        if stop - start > 1:
            inside: list[Piece] = []
            for i in range(start, stop):
                if i > start:
                    inside += before[i]
                    before[i] = []
                if i < stop - 1:
                    inside += after[i]
                    after[i] = []
            owner = work.answer_before(work.slots[start])
            if owner is not None and not work.is_answered(owner):
                before[start] += inside
            else:
                after[stop - 1] = inside + after[stop - 1]
        start = max(stop, start + 1)


def _note_marks(work: Placing, found: Mapping[Slot, Piece]) -> None:
    lost, changed, retyped = [], [], []
    for slot, piece in found.items():
        if not slot.grade_id or piece.ours:
            continue
        if piece.cell.grade_id != slot.grade_id:
            lost.append(slot)
        elif any(value != slot.cell.metadata.nbgrader.get(key, value) for key, value in piece.cell.marks.items()):
            changed.append(slot)
        if piece.cell.kind != slot.cell.cell_type and piece.cell.source.strip():
            retyped.append(slot)
    for group, text in (
        (
            lost,
            "These cells had lost nbgrader's marks; they were found by their cell id or text, and marked again: {}.",
        ),
        (changed, "The points, type or lock of these cells had been changed; the released ones were used: {}."),
        (retyped, "These cells had been turned into another type of cell and were turned back: {}."),
    ):
        if group:
            work.notes.append(text.format(listed(slot.label for slot in sorted(group, key=lambda s: s.index))))


def _note_moves(work: Placing) -> None:
    """Name the cells that do not stand in the released order: those outside a longest rising sequence."""
    order = [p.slot for p in work.pieces if p.slot is not None and not p.dropped and p.slot.role != "plain"]
    best: list[list[Slot]] = []  # best[k]: the rising sequence of k + 1 cells with the lowest end
    for slot in order:
        k = bisect_left([sequence[-1].index for sequence in best], slot.index)
        best[k : k + 1] = [[*(best[k - 1] if k else []), slot]]
    kept = set(best[-1]) if best else set()
    moved = sorted((slot for slot in order if slot not in kept), key=lambda s: s.index)
    if moved:
        work.notes.append(
            f"These cells had been moved and were put back in their places: {listed(s.label for s in moved)}."
        )


class _PutBack:
    """Decides what stands in the place of a cell of the release that the submission lacks."""

    def __init__(self, work: Placing):
        code = [p for p in work.pieces if not p.dropped and (p.cell.kind == "code" or (p.slot and p.slot.is_code))]
        self.given = {name for piece in code for name in bound_names(unfenced(piece.cell.source))}
        self.used = set().union(*(words(piece.cell.source) for piece in code))
        self.used |= set().union(*(words(slot.cell.source) for slot in work.slots if slot.role == "locked"))
        self._labels: dict[str, list[str]] = {}

    def notes(self) -> list[str]:
        return [text.format(listed(labels)) for text, labels in self._labels.items()]

    def _note(self, text: str, slot: Slot) -> None:
        self._labels.setdefault(text, []).append(slot.label)

    def cell(self, slot: Slot) -> NotebookNode | None:
        """The cell for an empty place, or None for lesson text and code that nothing needs."""
        if slot.role == "locked":
            self._note("These locked cells were missing and were put back: {}.", slot)
            return _released(slot)
        if slot.role == "answer":
            return self.starter(slot)
        if slot.is_code and (slot.names - self.given) & self.used:
            self._note(
                "These cells of the lesson were missing and were put back, because later cells need them: {}.", slot
            )
            return _released(slot)
        return None

    def starter(self, slot: Slot) -> NotebookNode:
        """The untouched starter; a mere comment where it would undo what another cell of the student's gives."""
        cell = _released(slot)
        if slot.is_code and slot.names & self.given:
            self._note("These answer cells were missing; what they should give is given in other cells: {}.", slot)
            cell.source = f"# The answer cell {slot.label} was missing; its names are given in another cell."
        else:
            self._note("No answer was found for these cells; the released starter stands there: {}.", slot)
        return cell


def _released(slot: Slot) -> NotebookNode:
    cell = copy.deepcopy(slot.cell)
    if slot.is_code:
        cell.outputs, cell.execution_count = [], None
    return cell


def _found_cell(slot: Slot, piece: Piece, put_back: _PutBack) -> NotebookNode:
    cell = _released(slot)
    if slot.role == "locked":
        return cell
    source = piece.cell.source
    if slot.role == "plain":
        if piece.text == slot.text:
            return cell
        if piece.cell.kind != cell.cell_type:
            own = _new_cell(piece.cell)
            own["id"] = cell.get("id", own["id"])
            return own
    elif not piece.text.strip():
        return put_back.starter(slot)
    elif piece.text == slot.text:
        return cell
    if slot.is_code and piece.cell.kind != "code":
        source = unfenced(source)
    cell.source = source
    if not slot.is_code:
        cell.pop("attachments", None)
        if piece.cell.attachments:
            cell.attachments = piece.cell.attachments
    return cell


def _own_cell(piece: Piece, ids: set[str | None]) -> NotebookNode:
    cell = _new_cell(piece.cell)
    wish = piece.cell.cell_id or ""
    valid = re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", wish) and wish not in ids
    cell["id"] = _fresh_id(wish if valid else "repair-note" if piece.ours else "own-cell", ids)
    return cell


def _new_cell(cell: Cell) -> NotebookNode:
    if cell.kind == "code":
        return nbformat.v4.new_code_cell(cell.source)
    if cell.kind == "raw":
        return nbformat.v4.new_raw_cell(cell.source)
    fresh = nbformat.v4.new_markdown_cell(cell.source)
    if cell.attachments:
        fresh.attachments = cell.attachments
    return fresh


def _fresh_id(wish: str, ids: set[str | None]) -> str:
    """The wished id, numbered if it is taken; ids are not drawn at random, so that a run can be repeated."""
    fresh, number = wish, 1
    while fresh in ids:
        number += 1
        fresh = f"{wish}-{number}"
    ids.add(fresh)
    return fresh
