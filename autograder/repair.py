"""Put a student's answers back into the notebook that was released to them.

Notebooks come back with test cells deleted, edited, moved, doubled or turned into text, with metadata lost, in other
formats and encodings, merged badly or under another name. `repair` reads whatever was handed in (`autograder.salvage`)
and lays the student's answers, and the student's own further cells, into a fresh copy of the release. Everything that
decides about points (locked cells, their order, grade ids, points, types, the kernel) comes from the release.

`docs/repair.md` tells the rules to instructors. Pure functions, no input or output.
"""

from __future__ import annotations

import ast
import copy
import re
import warnings
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import dedent
from types import MappingProxyType

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import is_grade, is_locked, is_solution, is_task
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from autograder.salvage import Cell, Salvaged, Unrepairable, read_cells

__all__ = ["NOTES_ID", "Repaired", "Unrepairable", "add_notes", "repair"]

# A doubtful escape in a student's string is no news for whoever grades it.
warnings.filterwarnings("ignore", module="<student cell>")

#: The id of the Markdown cell that lists the repairs.
NOTES_ID = "grader-notes"
_NOTES_TITLE = "### Notes from the grader"

#: Text is compared up to this many characters; more would only cost time.
_COMPARED = 4000
#: From this similarity on (0 to 100), an unmarked cell is taken for an edited copy of a locked or a lesson cell.
_SAME = 80
#: From this similarity on, or when it gives half of the names that the starter gives, a cell is taken for an answer.
_ALIKE = 60
#: A text of fewer characters is too common to recognise a cell by.
_TELLING = 30


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
    _refuse_other_episode(salvaged.cells, release, others)
    placed = _place(salvaged.cells, release)
    if salvaged.other_side is not None:
        placed = _merged(placed, _place(salvaged.other_side, release))
    return _finished(placed, salvaged, release)


def add_notes(notebook: NotebookNode, notes: Sequence[str]) -> None:
    """Put the list of repairs into a Markdown cell at the top of the notebook; nothing when there are none."""
    if not notes:
        return
    lines = [_NOTES_TITLE, "", "Your notebook was mended before it was graded:", ""]
    lines += [f"- {note}" for note in notes]
    cell = nbformat.v4.new_markdown_cell("\n".join(lines), id=NOTES_ID)
    cell.metadata = NotebookNode(deletable=False, editable=False)
    notebook.cells.insert(0, cell)


# ---------------------------------------------------------------------------------------------------------------------
# Reading code


def _comparable(text: str) -> str:
    """Text without what editors change: trailing blanks, blank lines at the ends."""
    return "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n")).strip("\n")


def _similarity(left: str, right: str, at_least: float = 0) -> float:
    """The likeness of two texts in comparable form, 0 to 100; 0 if it is less than `at_least`."""
    return fuzz.ratio(left[:_COMPARED], right[:_COMPARED], score_cutoff=at_least)


def _words(source: str) -> set[str]:
    return set(re.findall(r"[^\W\d]\w*", source))


def _tree(source: str) -> ast.Module | None:
    """The syntax tree of a code cell, magics left out; None when it is no Python."""
    if len(source) > 200_000:
        return None
    plain = re.sub(r"^(\s*)[%!?].*$", r"\1pass", source, flags=re.M)
    try:
        return ast.parse(plain, filename="<student cell>")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def bound_names(source: str) -> set[str]:
    """The names that a code cell gives at its top level, by assignment, definition or import.

    Args:
        source: The text of the cell; text that is no Python is searched for assignments line by line.

    Returns:
        The names.
    """
    tree = _tree(source)
    if tree is None:
        return set(re.findall(r"^(\w+)\s*=(?!=)", source, re.M)) | set(
            re.findall(r"^(?:def|class)\s+(\w+)", source, re.M)
        )
    names: set[str] = set()
    stack: list[ast.AST] = list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.split(".")[0])
        stack.extend(ast.iter_child_nodes(node))
    return names


def _is_prose(cell: Cell) -> bool:
    """Whether a cell is words rather than code: Markdown, raw text, or a code cell without a statement."""
    if cell.kind != "code":
        return True
    tree = _tree(cell.source)
    if tree is None:
        return len(re.findall(r"[^\W\d_]{2,}\s+[^\W\d_]{2,}", cell.source)) >= 2 and not bound_names(cell.source)
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)


def _added_lines(original: str, changed: str) -> str:
    """The lines of `changed` that `original` has not, in order, without common indentation."""
    before, after = _comparable(original).split("\n"), _comparable(changed).split("\n")
    added: list[str] = []
    for step in Indel.opcodes(before, after):
        if step.tag in ("insert", "replace"):
            added += after[step.dest_start : step.dest_end]
    return dedent("\n".join(added)).strip("\n")


def _quoted(text: str) -> str:
    """Text as a fenced block that it cannot end itself."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return f"{fence}text\n{text}\n{fence}"


def _unfenced(text: str) -> str:
    """Code without the Markdown fence around it, if there is one."""
    match = re.fullmatch(r"\s*```[^\n]*\n(.*?)\n?```\s*", text, re.S)
    return match[1] if match else text


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(f"`{one}`" for one in ids)


# ---------------------------------------------------------------------------------------------------------------------
# The release


@dataclass(eq=False)
class _Slot:
    """One cell of the release.

    Attributes:
        index: Its place in the release.
        cell: The released cell.
        role: `locked` (a test, a probe or read-only text), `answer`, or `plain` (the lesson's unmarked cells).
        grade_id: nbgrader's id, if it has one.
        text: Its text in comparable form.
        names: The names that its code gives.
    """

    index: int
    cell: NotebookNode
    role: str
    grade_id: str | None
    text: str
    names: frozenset[str]

    @property
    def is_code(self) -> bool:
        return self.cell.cell_type == "code"

    @property
    def label(self) -> str:
        return self.grade_id or self.cell.get("id", f"cell {self.index + 1}")


def _slots(release: NotebookNode) -> list[_Slot]:
    slots = []
    for index, cell in enumerate(release.cells):
        role = "answer" if is_solution(cell) else "locked" if is_locked(cell) or is_task(cell) else "plain"
        names = bound_names(cell.source) if cell.cell_type == "code" else set()
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        slots.append(_Slot(index, cell, role, grade_id, _comparable(cell.source), frozenset(names)))
    return slots


def _kind_of_locked(slot: _Slot) -> str:
    if not slot.is_code:
        return "locked text"
    return "test cell" if is_grade(slot.cell) else "probe cell"


# ---------------------------------------------------------------------------------------------------------------------
# Matching


@dataclass(eq=False)
class _Piece:
    """One cell of the submission, and the release's cell that it was found to be.

    Attributes:
        cell: What the student handed in.
        slot: The release's cell, or None for a cell of the student's own.
        how: How it was found: `id`, `cell id`, `text` or `likeness`.
        dropped: Whether nothing of it goes into the result.
        ours: Whether it is a note that the repair wrote.
    """

    cell: Cell
    slot: _Slot | None = None
    how: str = ""
    dropped: bool = False
    ours: bool = False
    _read: tuple[str, str] = ("", "")

    @property
    def free(self) -> bool:
        return self.slot is None and not self.dropped and not self.ours

    @property
    def text(self) -> str:
        """The text in comparable form, kept for as long as the source is the same."""
        if self._read[0] is not self.cell.source:
            self._read = (self.cell.source, _comparable(self.cell.source))
        return self._read[1]


@dataclass
class _Placing:
    """The work on one submission: the pieces in the student's order, the slots, and the notes so far."""

    slots: list[_Slot]
    pieces: list[_Piece]
    notes: list[str] = field(default_factory=list)

    def claims(self, slot: _Slot) -> list[_Piece]:
        return [piece for piece in self.pieces if piece.slot is slot and not piece.dropped]

    def is_answered(self, slot: _Slot) -> bool:
        return any(not _is_untouched(slot, piece) for piece in self.claims(slot))

    def answer_before(self, slot: _Slot) -> _Slot | None:
        """The answer cell that a test or probe cell belongs to: the nearest one before it."""
        return next((s for s in reversed(self.slots[: slot.index]) if s.role == "answer"), None)

    def region(self, slot: _Slot) -> range:
        """Where in the submission a missing cell would stand: between its nearest neighbours that were found."""
        at = {
            piece.slot.index: i
            for i, piece in reversed(list(enumerate(self.pieces)))
            if piece.slot and not piece.dropped
        }
        low = max((i for i in at if i < slot.index), default=None)
        high = min((i for i in at if i > slot.index), default=None)
        start = 0 if low is None else at[low] + 1
        stop = len(self.pieces) if high is None else at[high]
        return range(start, stop)


def _is_untouched(slot: _Slot, piece: _Piece) -> bool:
    """Whether an answer cell holds only the starter, or nothing at all."""
    return piece.text == slot.text or not piece.text.strip()


def _refuse_other_episode(cells: Sequence[Cell], release: NotebookNode, others: Mapping[str, NotebookNode]) -> None:
    ids = {cell.grade_id for cell in cells if cell.grade_id}
    texts = {_comparable(cell.source) for cell in cells}

    def share(notebook: NotebookNode) -> float:
        marked = [slot for slot in _slots(notebook) if slot.role != "plain"]
        found = [s for s in marked if s.grade_id in ids or (len(s.text) >= _TELLING and s.text in texts)]
        return len(found) / max(1, len(marked))

    here = share(release)
    there = {name: share(notebook) for name, notebook in others.items()}
    best = max(there, key=there.__getitem__, default=None)
    if best is not None and there[best] >= 1 / 3 and here < there[best] / 2 and here < 1 / 3:
        raise Unrepairable(
            f"The notebook is the one of episode '{best}', not of this episode. "
            "Ask the student for this episode's notebook, and whether the other one was meant to be handed in there."
        )


def _place(cells: Sequence[Cell], release: NotebookNode) -> _Placing:
    """Find out what each cell of a submission is."""
    slots = _slots(release)
    pieces = [
        _Piece(cell)
        for cell in cells
        if not (cell.kind == "markdown" and cell.source.startswith(_NOTES_TITLE))  # a notebook that came back from us
    ]
    work = _Placing(slots, pieces)
    _claim_exact_locked(work)
    _cut_merged_cells(work)
    _claim_by_grade_id(work)
    _claim_by_cell_id(work)
    _claim_by_text(work)
    _claim_locked_by_likeness(work)
    _take_students_part_of_locked_cells(work)
    _claim_code_answers_by_likeness(work)
    _claim_plain_by_likeness(work)
    _claim_written_answers_by_place(work)
    if not any(work.claims(slot) for slot in slots if slot.role == "answer"):
        raise Unrepairable(
            f"None of the {sum(slot.role == 'answer' for slot in slots)} answer cells of this episode could be found "
            f"in the notebook ({len(cells)} cells). Ask the student whether this is the right file, and for the "
            "notebook of this episode with their answers in it."
        )
    _settle_duplicates(work)
    _gather_written_answers(work)
    return work


def _claim_exact_locked(work: _Placing) -> None:
    """A cell with the very text of a locked cell is that cell, whatever its metadata say."""
    by_text: dict[str, list[_Slot]] = {}
    for slot in work.slots:
        if slot.role == "locked":
            by_text.setdefault(slot.text, []).append(slot)
    for piece in work.pieces:
        same = by_text.get(piece.text)
        if not same:
            continue
        named = [slot for slot in same if slot.grade_id == piece.cell.grade_id]
        if not named and len(piece.text) < _TELLING:
            continue
        unclaimed = [slot for slot in same if not work.claims(slot)]
        piece.slot = (named or unclaimed or same)[0]
        piece.how = "id" if named else "text"


def _cut_merged_cells(work: _Placing) -> None:
    """Cut out a locked cell's text that was merged into another cell, and keep what stands before and after it."""
    locked = [s for s in work.slots if s.role == "locked" and s.is_code and len(s.text) >= _TELLING]
    waiting = list(reversed(work.pieces))
    done: list[_Piece] = []
    while waiting:
        piece = waiting.pop()
        found = None
        if piece.slot is None and piece.cell.kind == "code":
            framed = f"\n{piece.text}\n"
            found = next((s for s in locked if len(s.text) < len(piece.text) and f"\n{s.text}\n" in framed), None)
        if found is None:
            done.append(piece)
            continue
        before, after = framed.split(f"\n{found.text}\n", 1)
        own = found.grade_id is not None and piece.cell.grade_id == found.grade_id
        first = Cell(
            "code",
            before.strip("\n"),
            grade_id=None if own else piece.cell.grade_id,
            cell_id=None if own else piece.cell.cell_id,
        )
        work.notes.append(f"The {_kind_of_locked(found)} `{found.label}` was joined with other code; they were parted.")
        if after.strip():
            waiting.append(_Piece(Cell("code", after.strip("\n"))))
        waiting.append(_Piece(Cell("code", found.text, grade_id=found.grade_id), slot=found, how="text"))
        if first.source.strip():
            waiting.append(_Piece(first))
    work.pieces = done


def _claim_by_grade_id(work: _Placing) -> None:
    by_id = {slot.grade_id: slot for slot in work.slots if slot.grade_id}
    for piece in work.pieces:
        slot = by_id.get(piece.cell.grade_id) if piece.cell.grade_id else None
        if piece.slot is None and slot is not None and not _answers_another(work, piece, slot):
            piece.slot, piece.how = slot, "id"


def _answers_another(work: _Placing, piece: _Piece, slot: _Slot) -> bool:
    """Whether a cell with this slot's id gives none of its names but all of another answer's.

    Copying an answer cell in JupyterLab copies its id, too: the copy may then be used for another answer.
    """
    if slot.role != "answer" or not slot.names or _is_untouched(slot, piece) or piece.cell.kind != "code":
        return False
    names = bound_names(piece.cell.source)
    others = (s for s in work.slots if s.role == "answer" and s is not slot and s.names)
    return not names & slot.names and any(s.names <= names for s in others)


def _claim_by_cell_id(work: _Placing) -> None:
    by_id = {slot.cell.get("id"): slot for slot in work.slots if slot.cell.get("id")}
    texts = {slot.text for slot in work.slots if len(slot.text) >= _TELLING}
    for piece in work.pieces:
        slot = by_id.get(piece.cell.cell_id) if piece.cell.cell_id else None
        if not piece.free or slot is None or work.claims(slot):
            continue
        # Some tools number cells anew: an id counts only if the text does not say that it is another cell.
        if piece.text != slot.text and piece.text in texts:
            continue
        if slot.role == "answer":
            sure = not _answers_another(work, piece, slot)
        else:
            sure = _similarity(piece.text, slot.text) >= _ALIKE / 2
        if sure:
            piece.slot, piece.how = slot, "cell id"


def _claim_by_text(work: _Placing) -> None:
    """Cells whose text did not change. Where several are alike, the one in the right place is taken."""
    free: dict[str, list[_Piece]] = {}
    for piece in work.pieces:
        if piece.free:
            free.setdefault(piece.text, []).append(piece)
    for slot in work.slots:
        same = [piece for piece in free.get(slot.text, ()) if piece.free]
        if not same or work.claims(slot):
            continue
        if len(same) > 1 or len(slot.text) < _TELLING:
            region = work.region(slot)
            near = [piece for piece in same if work.pieces.index(piece) in region]
            same = near or (same if len(slot.text) >= _TELLING else [])
        if same:
            same[0].slot, same[0].how = slot, "text"


def _claim_locked_by_likeness(work: _Placing) -> None:
    for slot in work.slots:
        if slot.role == "locked" and len(slot.text) >= _TELLING and not work.claims(slot):
            _claim_most_alike(work, slot)


def _claim_plain_by_likeness(work: _Placing) -> None:
    for slot in work.slots:
        if slot.role == "plain" and len(slot.text) >= _TELLING and not work.claims(slot):
            _claim_most_alike(work, slot)


def _claim_most_alike(work: _Placing, slot: _Slot) -> None:
    region = work.region(slot)
    best, best_score = None, _SAME - 0.1
    for i, piece in enumerate(work.pieces):
        if not piece.free or piece.cell.kind != slot.cell.cell_type:
            continue
        score = _similarity(piece.text, slot.text, _SAME - 5) + (5 if i in region else 0)
        if score > best_score:
            best, best_score = piece, score
    if best is not None:
        best.slot, best.how = slot, "likeness"


def _take_students_part_of_locked_cells(work: _Placing) -> None:
    """Keep what a student wrote inside a locked cell.

    Code that gives a name the locked cell does not give is kept as a cell of its own: before the locked cell if the
    answer cell of that exercise holds no answer (so it may be one), else after it. All else is kept as text, not run.
    """
    done: list[_Piece] = []
    for piece in work.pieces:
        slot = piece.slot
        if slot is None or slot.role != "locked" or piece.text == slot.text:
            done.append(piece)
            continue
        what = f"{_kind_of_locked(slot)} `{slot.label}`"
        alike = _similarity(piece.text, slot.text) >= _ALIKE / 2
        part = _added_lines(slot.cell.source, piece.cell.source) if alike else piece.text
        work.notes.append(f"Your changes to the {what} were not used; the released version was put back.")
        if not part.strip():
            done.append(piece)
            continue
        owner = work.answer_before(slot)
        useful = bound_names(part) - slot.names if piece.cell.kind == "code" and _tree(part) is not None else set()
        if useful:
            kept = _Piece(Cell("code", part))
            early = owner is not None and not work.is_answered(owner)
            done += [kept, piece] if early else [piece, kept]
            work.notes.append(f"The code that you wrote in the {what} was kept in a cell of its own.")
        elif slot.is_code:
            text = f"What you wrote in the {what} was not run:\n\n{_quoted(part)}"
            done += [piece, _Piece(Cell("markdown", text), ours=True)]
        else:
            done += [piece, _Piece(Cell("markdown", part, attachments=piece.cell.attachments))]
    work.pieces = done


def _claim_code_answers_by_likeness(work: _Placing) -> None:
    """Find answers that lost their ids: by the names they give, by likeness to the starter and by their place."""
    open_slots = [s for s in work.slots if s.role == "answer" and s.is_code and not work.is_answered(s)]
    regions = {slot: work.region(slot) for slot in open_slots}
    candidates = []
    for i, piece in enumerate(work.pieces):
        if not piece.free or not piece.text.strip():
            continue
        source = piece.cell.source if piece.cell.kind == "code" else _unfenced(piece.cell.source)
        if piece.cell.kind != "code" and _tree(source) is None:
            continue
        names, text = bound_names(source), _comparable(source)
        for slot in open_slots:
            found_untouched = bool(work.claims(slot))
            share = len(slot.names & names) / len(slot.names) if slot.names else 0.0
            likeness = _similarity(text, slot.text) if len(slot.text) >= _TELLING else 0.0
            near = i in regions[slot]
            by_place = near and not slot.names and piece.cell.kind == "code" and bool(names)
            if found_untouched and (near or not share):
                continue  # the starter and the answer below it run in this order, as they did for the student
            if share >= 0.5 or (likeness >= _ALIKE and not slot.names) or by_place:
                score = 60 * share + 0.4 * likeness + 20 * near
                candidates.append((score, -slot.index, i, slot, piece))
    for _, _, _, slot, piece in sorted(candidates, key=lambda c: c[:3], reverse=True):
        if piece.free and not work.is_answered(slot):
            for starter in work.claims(slot):
                starter.dropped = True
            piece.slot, piece.how = slot, "likeness"


def _claim_written_answers_by_place(work: _Placing) -> None:
    """A written answer without its id is the text that stands where it should."""
    for slot in work.slots:
        if slot.role != "answer" or slot.is_code or work.claims(slot):
            continue
        for i in work.region(slot):
            piece = work.pieces[i]
            if piece.free and _is_prose(piece.cell):
                piece.slot, piece.how = slot, "likeness"


def _settle_duplicates(work: _Placing) -> None:
    """Leave one cell for each answer; untouched copies go, other code stays where the student ran it."""
    for slot in work.slots:
        claims = work.claims(slot)
        if slot.role == "plain":
            for copy_ in claims[1:]:
                copy_.slot = None
            continue
        if slot.role == "locked":
            for copy_ in claims[1:]:
                copy_.dropped = True
            if len(claims) > 1:
                work.notes.append(
                    f"The {_kind_of_locked(slot)} `{slot.label}` stood {len(claims)} times; it was kept once."
                )
            continue
        if len(claims) < 2:
            continue
        edited = [piece for piece in claims if not _is_untouched(slot, piece)]
        for piece in claims:
            if piece not in edited and (edited or piece is not claims[0]):
                piece.dropped = True
        if not edited:
            work.notes.append(f"The answer cell `{slot.label}` stood {len(claims)} times, untouched; it was kept once.")
            continue
        if slot.is_code:
            chosen = _as_run(work, slot, edited)
            for piece in edited:
                if piece is not chosen:
                    piece.slot = None
            if len(edited) == 1:
                work.notes.append(f"Untouched copies of the answer cell `{slot.label}` were left out.")
            else:
                work.notes.append(
                    f"The answer cell `{slot.label}` stood {len(edited)} times with different text; "
                    "all were kept and run in your order."
                )
        else:
            chosen = edited[0]
            _join_text(chosen, edited)
            if len(edited) > 1:
                work.notes.append(f"The written answer `{slot.label}` stood in {len(edited)} cells; they were joined.")


def _as_run(work: _Placing, slot: _Slot, edited: Sequence[_Piece]) -> _Piece:
    """Of several code answers the one that 'Run All' leaves in force at the tests: the last in the right place."""
    others = _Placing(work.slots, [p for p in work.pieces if p.slot is not slot or p in edited])
    for piece in edited:
        piece.slot = None
    region = others.region(slot)
    near = [piece for piece in edited if others.pieces.index(piece) in region]
    for piece in edited:
        piece.slot = slot
    return (near or edited)[-1]


def _join_text(chosen: _Piece, parts: Sequence[_Piece]) -> None:
    texts = list(dict.fromkeys(piece.text for piece in parts if piece.text.strip()))
    attachments: dict[str, dict[str, str]] = {}
    for piece in parts:
        attachments.update(piece.cell.attachments)
        if piece is not chosen:
            piece.dropped = True
    chosen.cell.source = "\n\n".join(texts)
    chosen.cell.attachments = attachments


def _gather_written_answers(work: _Placing) -> None:
    """Fill an untouched written answer from text beside it, or from text written into its prompt.

    nbgrader gives an untouched written answer 0 by itself, so that a person would never see what stands beside it.
    """
    for slot in work.slots:
        claims = work.claims(slot)
        if slot.role != "answer" or slot.is_code or not claims or work.is_answered(slot):
            continue
        at = work.pieces.index(claims[0])
        beside: list[_Piece] = []
        for step in (-1, 1):
            i = at + step
            while 0 <= i < len(work.pieces) and (work.pieces[i].dropped or work.pieces[i].slot is None):
                if work.pieces[i].free and _is_prose(work.pieces[i].cell):
                    beside.append(work.pieces[i])
                i += step
        beside.sort(key=work.pieces.index)
        if beside:
            _join_text(claims[0], [*beside, claims[0]] if not claims[0].text.strip() else beside)
            for piece in beside:
                piece.dropped = True
            work.notes.append(
                f"The answer cell `{slot.label}` was untouched; the text that you wrote beside it was moved in."
            )
            continue
        prompt = next((p for p in reversed(work.pieces[:at]) if p.slot is not None), None)
        if prompt is not None and prompt.slot is not None and prompt.slot.role == "plain" and not prompt.slot.is_code:
            written = _added_lines(prompt.slot.cell.source, prompt.cell.source)
            if len(written) >= _TELLING / 2:
                claims[0].cell.source = written
                work.notes.append(
                    f"The answer cell `{slot.label}` was untouched; what you wrote in its question was copied in."
                )


# ---------------------------------------------------------------------------------------------------------------------
# Merge conflicts


def _merged(ours: _Placing, theirs: _Placing) -> _Placing:
    """Both sides of a merge conflict in one: the fuller side, with the answers that only the other side has."""

    def answers(side: _Placing) -> int:
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
                base.pieces.insert(base.region(slot).start, _Piece(theirs_piece.cell, slot, "id"))
            base.notes.append(f"The answer `{slot.label}` was taken from the other side of the merge.")
        elif claims[0].text != theirs_piece.text:
            text = f"The other side of the merge answered `{slot.label}` so (not run):\n\n{_quoted(theirs_piece.text)}"
            base.pieces.insert(base.pieces.index(claims[0]) + 1, _Piece(Cell("markdown", text), ours=True))
            base.notes.append(
                f"The sides of the merge answer `{slot.label}` differently; one was used, the other kept beside it."
            )
    texts = {piece.text for piece in base.pieces}
    for piece in other.pieces:
        if piece.free and piece.text.strip() and piece.text not in texts:
            text = f"A cell from the other side of the merge (not run):\n\n{_quoted(piece.text)}"
            base.pieces.append(_Piece(Cell("markdown", text), ours=True))
    return base


# ---------------------------------------------------------------------------------------------------------------------
# Laying out the result


def _finished(work: _Placing, salvaged: Salvaged, release: NotebookNode) -> Repaired:
    answered = tuple(slot.label for slot in work.slots if slot.role == "answer" and work.is_answered(slot))
    notebook = nbformat.v4.new_notebook(cells=_laid_out(work), metadata=copy.deepcopy(release.metadata))
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return Repaired(notebook, list(dict.fromkeys([*salvaged.notes, *work.notes])), answered)


def _laid_out(work: _Placing) -> list[NotebookNode]:
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


def _own_cells_by_place(work: _Placing) -> tuple[list[_Piece], dict[int, list[_Piece]], dict[int, list[_Piece]]]:
    """Where the student's own cells go: to the top, before or after a cell of the release (by its index)."""
    top: list[_Piece] = []
    before: dict[int, list[_Piece]] = {slot.index: [] for slot in work.slots}
    after: dict[int, list[_Piece]] = {slot.index: [] for slot in work.slots}
    previous: _Piece | None = None
    run: list[_Piece] = []

    def settle(following: _Piece | None) -> None:
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


def _belongs_to(run: Sequence[_Piece], previous: _Piece, following: _Piece) -> bool:
    """Whether own cells go with the cell after them: only where cells were moved and that cell needs their names."""
    if previous.slot is None or following.slot is None or following.slot.index > previous.slot.index:
        return False
    given = {name for piece in run if piece.cell.kind == "code" for name in bound_names(piece.cell.source)}
    return previous.slot.role == "locked" or bool(given & _words(following.cell.source))


def _keep_locked_runs_whole(work: _Placing, before: dict[int, list[_Piece]], after: dict[int, list[_Piece]]) -> None:
    """Let no cell of the student's stand between a probe and its test, where it could change what was probed."""
    start = 0
    while start < len(work.slots):
        stop = start
        while stop < len(work.slots) and work.slots[stop].role == "locked" and work.slots[stop].is_code:
            stop += 1
        if stop - start > 1:
            inside: list[_Piece] = []
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


def _note_marks(work: _Placing, found: Mapping[_Slot, _Piece]) -> None:
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
            work.notes.append(text.format(_listed(slot.label for slot in sorted(group, key=lambda s: s.index))))


def _note_moves(work: _Placing) -> None:
    """Name the cells that do not stand in the released order: those outside a longest rising sequence."""
    order = [p.slot for p in work.pieces if p.slot is not None and not p.dropped and p.slot.role != "plain"]
    best: list[list[_Slot]] = []  # best[k]: the rising sequence of k + 1 cells with the lowest end
    for slot in order:
        k = bisect_left([sequence[-1].index for sequence in best], slot.index)
        best[k : k + 1] = [[*(best[k - 1] if k else []), slot]]
    kept = set(best[-1]) if best else set()
    moved = sorted((slot for slot in order if slot not in kept), key=lambda s: s.index)
    if moved:
        work.notes.append(
            f"These cells had been moved and were put back in their places: {_listed(s.label for s in moved)}."
        )


class _PutBack:
    """Decides what stands in the place of a cell of the release that the submission lacks."""

    def __init__(self, work: _Placing):
        code = [p for p in work.pieces if not p.dropped and (p.cell.kind == "code" or (p.slot and p.slot.is_code))]
        self.given = {name for piece in code for name in bound_names(_unfenced(piece.cell.source))}
        self.used = set().union(*(_words(piece.cell.source) for piece in code))
        self.used |= set().union(*(_words(slot.cell.source) for slot in work.slots if slot.role == "locked"))
        self._labels: dict[str, list[str]] = {}

    def notes(self) -> list[str]:
        return [text.format(_listed(labels)) for text, labels in self._labels.items()]

    def _note(self, text: str, slot: _Slot) -> None:
        self._labels.setdefault(text, []).append(slot.label)

    def cell(self, slot: _Slot) -> NotebookNode | None:
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

    def starter(self, slot: _Slot) -> NotebookNode:
        """The untouched starter; a mere comment where it would undo what another cell of the student's gives."""
        cell = _released(slot)
        if slot.is_code and slot.names & self.given:
            self._note("These answer cells were missing; what they should give is given in other cells: {}.", slot)
            cell.source = f"# The answer cell {slot.label} was missing; its names are given in another cell."
        else:
            self._note("No answer was found for these cells; the released starter stands there: {}.", slot)
        return cell


def _released(slot: _Slot) -> NotebookNode:
    cell = copy.deepcopy(slot.cell)
    if slot.is_code:
        cell.outputs, cell.execution_count = [], None
    return cell


def _found_cell(slot: _Slot, piece: _Piece, put_back: _PutBack) -> NotebookNode:
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
        source = _unfenced(source)
    cell.source = source
    if not slot.is_code:
        cell.pop("attachments", None)
        if piece.cell.attachments:
            cell.attachments = piece.cell.attachments
    return cell


def _own_cell(piece: _Piece, ids: set[str | None]) -> NotebookNode:
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
