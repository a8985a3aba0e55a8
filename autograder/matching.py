"""Find out which cell of a release each cell of a submission is.

The marks that a file carries are looked at first, the text second, the place last; no mark is believed against the
text. `place` does it all; the rest is its steps, in their order. Pure functions, no input or output.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from textwrap import dedent

from nbformat import NotebookNode
from nbgrader.utils import is_grade, is_locked, is_solution, is_task
from rapidfuzz import fuzz
from rapidfuzz.distance import Indel

from autograder.salvage import Cell, Unrepairable

# A doubtful escape in a student's string is no news for whoever grades it.
warnings.filterwarnings("ignore", module="<student cell>")

#: The first line of the Markdown cell that lists the repairs.
NOTES_TITLE = "### Notes from the grader"

#: Text is compared up to this many characters; more would only cost time.
_COMPARED = 4000
#: A longer cell is not parsed: no answer is, and pasted data would take long.
_PARSED = 50_000
#: From this similarity on (0 to 100), an unmarked cell is taken for an edited copy of a locked or a lesson cell.
_SAME = 80
#: From this similarity on, or when it gives half of the names that the starter gives, a cell is taken for an answer.
_ALIKE = 60
#: A text of fewer characters is too common to recognise a cell by.
_TELLING = 30


# ---------------------------------------------------------------------------------------------------------------------
# Reading code


def comparable(text: str) -> str:
    """Text without what editors change: trailing blanks, blank lines at the ends."""
    return "\n".join(line.rstrip() for line in text.expandtabs(4).split("\n")).strip("\n")


def similarity(left: str, right: str, at_least: float = 0) -> float:
    """The likeness of two texts in comparable form, 0 to 100; 0 if it is less than `at_least`."""
    return fuzz.ratio(left[:_COMPARED], right[:_COMPARED], score_cutoff=at_least)


def words(source: str) -> set[str]:
    """The words of a text that could be names."""
    return set(re.findall(r"[^\W\d]\w*", source))


def syntax_tree(source: str) -> ast.Module | None:
    """The syntax tree of a code cell, magics left out; None when it is no Python."""
    if len(source) > _PARSED:
        return None
    plain = re.sub(r"^(\s*)[%!?].*$", r"\1pass", source, flags=re.M)
    try:
        return ast.parse(plain, filename="<student cell>")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@lru_cache(maxsize=512)
def bound_names(source: str) -> frozenset[str]:
    """The names that a code cell gives at its top level, by assignment, definition or import.

    Args:
        source: The text of the cell; text that is no Python is searched for assignments line by line.

    Returns:
        The names.
    """
    tree = syntax_tree(source)
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
    return frozenset(names)


def is_prose(cell: Cell) -> bool:
    """Whether a cell is words rather than code: Markdown, raw text, or a code cell without a statement."""
    if cell.kind != "code":
        return True
    tree = syntax_tree(cell.source)
    if tree is None:
        return len(re.findall(r"[^\W\d_]{2,}\s+[^\W\d_]{2,}", cell.source)) >= 2 and not bound_names(cell.source)
    return all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in tree.body)


def added_lines(original: str, changed: str) -> str:
    """The lines of `changed` that `original` has not, in order, without common indentation."""
    before, after = comparable(original).split("\n"), comparable(changed).split("\n")
    added: list[str] = []
    for step in Indel.opcodes(before, after):
        if step.tag in ("insert", "replace"):
            added += after[step.dest_start : step.dest_end]
    return dedent("\n".join(added)).strip("\n")


def quoted(text: str) -> str:
    """Text as a fenced block that it cannot end itself."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", text))])
    return f"{fence}text\n{text}\n{fence}"


def unfenced(text: str) -> str:
    """Code without the Markdown fence around it, if there is one."""
    match = re.fullmatch(r"\s*```[^\n]*\n(.*?)\n?```\s*", text, re.S)
    return match[1] if match else text


def listed(ids: Iterable[str]) -> str:
    """Ids as they stand in a sentence."""
    return ", ".join(f"`{one}`" for one in ids)


# ---------------------------------------------------------------------------------------------------------------------
# The release


@dataclass(eq=False)
class Slot:
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
        """Whether it was released as a code cell."""
        return self.cell.cell_type == "code"

    @property
    def label(self) -> str:
        """What to call it in a message."""
        return self.grade_id or self.cell.get("id", f"cell {self.index + 1}")


def slots_of(release: NotebookNode) -> list[Slot]:
    """The cells of a release."""
    slots = []
    for index, cell in enumerate(release.cells):
        role = "answer" if is_solution(cell) else "locked" if is_locked(cell) or is_task(cell) else "plain"
        names = bound_names(cell.source) if cell.cell_type == "code" else frozenset()
        grade_id = cell.metadata.get("nbgrader", {}).get("grade_id")
        slots.append(Slot(index, cell, role, grade_id, comparable(cell.source), names))
    return slots


def kind_of_locked(slot: Slot) -> str:
    """What to call a locked cell in a message."""
    if not slot.is_code:
        return "locked text"
    return "test cell" if is_grade(slot.cell) else "probe cell"


# ---------------------------------------------------------------------------------------------------------------------
# Matching


@dataclass(eq=False)
class Piece:
    """One cell of the submission, and the release's cell that it was found to be.

    Attributes:
        cell: What the student handed in.
        slot: The release's cell, or None for a cell of the student's own.
        how: How it was found: `id`, `cell id`, `text` or `likeness`.
        dropped: Whether nothing of it goes into the result.
        ours: Whether it is a note that the repair wrote.
    """

    cell: Cell
    slot: Slot | None = None
    how: str = ""
    dropped: bool = False
    ours: bool = False
    _read: tuple[str, str] = ("", "")

    @property
    def free(self) -> bool:
        """Whether it was not found to be anything yet."""
        return self.slot is None and not self.dropped and not self.ours

    @property
    def text(self) -> str:
        """The text in comparable form, kept for as long as the source is the same."""
        if self._read[0] is not self.cell.source:
            self._read = (self.cell.source, comparable(self.cell.source))
        return self._read[1]


@dataclass
class Placing:
    """The work on one submission: the pieces in the student's order, the slots, and the notes so far."""

    slots: list[Slot]
    pieces: list[Piece]
    notes: list[str] = field(default_factory=list)

    def claims(self, slot: Slot) -> list[Piece]:
        """The pieces that were found to be this cell, in the student's order."""
        return [piece for piece in self.pieces if piece.slot is slot and not piece.dropped]

    def is_answered(self, slot: Slot) -> bool:
        """Whether more than the starter was found for this answer cell."""
        return any(not is_untouched(slot, piece) for piece in self.claims(slot))

    def answer_before(self, slot: Slot) -> Slot | None:
        """The answer cell that a test or probe cell belongs to: the nearest one before it."""
        return next((s for s in reversed(self.slots[: slot.index]) if s.role == "answer"), None)

    def region(self, slot: Slot) -> range:
        """Where in the submission a missing cell would stand: between its nearest neighbours that were found."""
        at: dict[int, int] = {}
        for i, piece in enumerate(self.pieces):
            if piece.slot is not None and not piece.dropped:
                at.setdefault(piece.slot.index, i)
        if not at:
            return range(0)  # without a neighbour no place says anything
        low = max((i for i in at if i < slot.index), default=None)
        high = min((i for i in at if i > slot.index), default=None)
        start = 0 if low is None else at[low] + 1
        stop = len(self.pieces) if high is None else at[high]
        return range(start, stop)


def is_untouched(slot: Slot, piece: Piece) -> bool:
    """Whether an answer cell holds only the starter, or nothing at all."""
    return piece.text == slot.text or not piece.text.strip()


def refuse_other_episode(cells: Sequence[Cell], release: NotebookNode, others: Mapping[str, NotebookNode]) -> None:
    """Raise an error that names the episode when a notebook is clearly another one's.

    Raises:
        Unrepairable: A third or more of the marked cells are another episode's, and at most half as many are ours.
    """
    ids = {cell.grade_id for cell in cells if cell.grade_id}
    texts = {comparable(cell.source) for cell in cells}

    def share(notebook: NotebookNode) -> float:
        marked = [slot for slot in slots_of(notebook) if slot.role != "plain"]
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


def place(cells: Sequence[Cell], release: NotebookNode) -> Placing:
    """Find out what each cell of a submission is."""
    slots = slots_of(release)
    pieces = [
        Piece(cell)
        for cell in cells
        if not (cell.kind == "markdown" and cell.source.startswith(NOTES_TITLE))  # a notebook that came back from us
    ]
    work = Placing(slots, pieces)
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


def _claim_exact_locked(work: Placing) -> None:
    """A cell with the very text of a locked cell is that cell, whatever its metadata say."""
    by_text: dict[str, list[Slot]] = {}
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


def _cut_merged_cells(work: Placing) -> None:
    """Cut out a locked cell's text that was merged into another cell, and keep what stands before and after it."""
    locked = [s for s in work.slots if s.role == "locked" and s.is_code and len(s.text) >= _TELLING]
    waiting = list(reversed(work.pieces))
    done: list[Piece] = []
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
        work.notes.append(f"The {kind_of_locked(found)} `{found.label}` was joined with other code; they were parted.")
        if after.strip():
            waiting.append(Piece(Cell("code", after.strip("\n"))))
        waiting.append(Piece(Cell("code", found.text, grade_id=found.grade_id), slot=found, how="text"))
        if first.source.strip():
            waiting.append(Piece(first))
    work.pieces = done


def _claim_by_grade_id(work: Placing) -> None:
    by_id = {slot.grade_id: slot for slot in work.slots if slot.grade_id}
    for piece in work.pieces:
        slot = by_id.get(piece.cell.grade_id) if piece.cell.grade_id else None
        if piece.slot is None and slot is not None and not _answers_another(work, piece, slot):
            piece.slot, piece.how = slot, "id"


def _answers_another(work: Placing, piece: Piece, slot: Slot) -> bool:
    """Whether a cell with this slot's id gives none of its names but all of another answer's.

    Copying an answer cell in JupyterLab copies its id, too: the copy may then be used for another answer.
    """
    if slot.role != "answer" or not slot.names or is_untouched(slot, piece) or piece.cell.kind != "code":
        return False
    names = bound_names(piece.cell.source)
    others = (s for s in work.slots if s.role == "answer" and s is not slot and s.names)
    return not names & slot.names and any(s.names <= names for s in others)


def _claim_by_cell_id(work: Placing) -> None:
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
            sure = similarity(piece.text, slot.text) >= _ALIKE / 2
        if sure:
            piece.slot, piece.how = slot, "cell id"


def _claim_by_text(work: Placing) -> None:
    """Cells whose text did not change. Where several are alike, the one in the right place is taken."""
    free: dict[str, list[Piece]] = {}
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


def _claim_locked_by_likeness(work: Placing) -> None:
    for slot in work.slots:
        if slot.role == "locked" and len(slot.text) >= _TELLING and not work.claims(slot):
            _claim_most_alike(work, slot)


def _claim_plain_by_likeness(work: Placing) -> None:
    for slot in work.slots:
        if slot.role == "plain" and len(slot.text) >= _TELLING and not work.claims(slot):
            _claim_most_alike(work, slot)


def _claim_most_alike(work: Placing, slot: Slot) -> None:
    region = work.region(slot)
    best, best_score = None, _SAME - 0.1
    for i, piece in enumerate(work.pieces):
        if not piece.free or piece.cell.kind != slot.cell.cell_type:
            continue
        score = similarity(piece.text, slot.text, _SAME - 5) + (5 if i in region else 0)
        if score > best_score:
            best, best_score = piece, score
    if best is not None:
        best.slot, best.how = slot, "likeness"


def _take_students_part_of_locked_cells(work: Placing) -> None:
    """Keep what a student wrote inside a locked cell.

    Code that gives a name the locked cell does not give is kept as a cell of its own: before the locked cell if the
    answer cell of that exercise holds no answer (so it may be one), else after it. All else is kept as text, not run.
    """
    done: list[Piece] = []
    for piece in work.pieces:
        slot = piece.slot
        if slot is None or slot.role != "locked" or piece.text == slot.text:
            done.append(piece)
            continue
        what = f"{kind_of_locked(slot)} `{slot.label}`"
        alike = similarity(piece.text, slot.text) >= _ALIKE / 2
        part = added_lines(slot.cell.source, piece.cell.source) if alike else piece.text
        work.notes.append(f"Your changes to the {what} were not used; the released version was put back.")
        if not part.strip():
            done.append(piece)
            continue
        owner = work.answer_before(slot)
        useful = (
            bound_names(part) - slot.names if piece.cell.kind == "code" and syntax_tree(part) is not None else set()
        )
        if useful:
            kept = Piece(Cell("code", part))
            early = owner is not None and not work.is_answered(owner)
            done += [kept, piece] if early else [piece, kept]
            work.notes.append(f"The code that you wrote in the {what} was kept in a cell of its own.")
        elif slot.is_code:
            text = f"What you wrote in the {what} was not run:\n\n{quoted(part)}"
            done += [piece, Piece(Cell("markdown", text), ours=True)]
        else:
            done += [piece, Piece(Cell("markdown", part, attachments=piece.cell.attachments))]
    work.pieces = done


def _claim_code_answers_by_likeness(work: Placing) -> None:
    """Find answers that lost their ids: by the names they give, by likeness to the starter and by their place."""
    open_slots = [s for s in work.slots if s.role == "answer" and s.is_code and not work.is_answered(s)]
    regions = {slot: work.region(slot) for slot in open_slots}
    candidates = []
    for i, piece in enumerate(work.pieces):
        if not piece.free or not piece.text.strip():
            continue
        source = piece.cell.source if piece.cell.kind == "code" else unfenced(piece.cell.source)
        if piece.cell.kind != "code" and syntax_tree(source) is None:
            continue
        names, text = bound_names(source), comparable(source)
        for slot in open_slots:
            found_untouched = bool(work.claims(slot))
            share = len(slot.names & names) / len(slot.names) if slot.names else 0.0
            likeness = similarity(text, slot.text) if len(slot.text) >= _TELLING else 0.0
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


def _claim_written_answers_by_place(work: Placing) -> None:
    """A written answer without its id is the text that stands where it should."""
    for slot in work.slots:
        if slot.role != "answer" or slot.is_code or work.claims(slot):
            continue
        for i in work.region(slot):
            piece = work.pieces[i]
            if piece.free and is_prose(piece.cell):
                piece.slot, piece.how = slot, "likeness"


def _settle_duplicates(work: Placing) -> None:
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
                    f"The {kind_of_locked(slot)} `{slot.label}` stood {len(claims)} times; it was kept once."
                )
            continue
        if len(claims) < 2:
            continue
        edited = [piece for piece in claims if not is_untouched(slot, piece)]
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


def _as_run(work: Placing, slot: Slot, edited: Sequence[Piece]) -> Piece:
    """Of several code answers the one that 'Run All' leaves in force at the tests: the last in the right place."""
    others = Placing(work.slots, [p for p in work.pieces if p.slot is not slot or p in edited])
    for piece in edited:
        piece.slot = None
    region = others.region(slot)
    near = [piece for piece in edited if others.pieces.index(piece) in region]
    for piece in edited:
        piece.slot = slot
    return (near or edited)[-1]


def _join_text(chosen: Piece, parts: Sequence[Piece]) -> None:
    texts = list(dict.fromkeys(piece.text for piece in parts if piece.text.strip()))
    attachments: dict[str, dict[str, str]] = {}
    for piece in parts:
        attachments.update(piece.cell.attachments)
        if piece is not chosen:
            piece.dropped = True
    chosen.cell.source = "\n\n".join(texts)
    chosen.cell.attachments = attachments


def _gather_written_answers(work: Placing) -> None:
    """Fill an untouched written answer from text beside it, or from text written into its prompt.

    nbgrader gives an untouched written answer 0 by itself, so that a person would never see what stands beside it.
    """
    for slot in work.slots:
        claims = work.claims(slot)
        if slot.role != "answer" or slot.is_code or not claims or work.is_answered(slot):
            continue
        at = work.pieces.index(claims[0])
        beside: list[Piece] = []
        for step in (-1, 1):
            i = at + step
            while 0 <= i < len(work.pieces) and (work.pieces[i].dropped or work.pieces[i].slot is None):
                if work.pieces[i].free and is_prose(work.pieces[i].cell):
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
            written = added_lines(prompt.slot.cell.source, prompt.cell.source)
            if len(written) >= _TELLING / 2:
                claims[0].cell.source = written
                work.notes.append(
                    f"The answer cell `{slot.label}` was untouched; what you wrote in its question was copied in."
                )
