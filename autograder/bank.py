"""The bank of answers: does the grader pass what is right and fail what is wrong?

A *variant* is another answer to one exercise, with the verdict that it deserves and why. Variants stand in
`tests/bank/EPISODE/EXERCISE.md` (see `read_variants`). They are put into the instructor's notebook by code, many into
one. After the cells before an exercise have run, what the notebook's names hold and which files are there is
remembered; then each variant is run and judged, with the exercise's own probe and test cells, and all is put back as it
was. So one run of a notebook, by the same engine that grades students, judges every variant of an episode.

Two kinds of mutation show how good tests and bank are. A test is mutated by leaving out one of its checks: some wrong
answer has to pass then, else the check is of no use, or the bank lacks the answer that it is for. An answer is mutated
by small changes to the model solution: what still gets full points is either as good as the solution or shows a hole.

A check in the part of a test that students have serves them, not the mark: hidden tests often cover it once more. So
it is tried in that part alone, too: without it, some wrong answer has to look right to the student who runs it.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import hashlib
import itertools
import json
import re
import time
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from markdown_it import MarkdownIt
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from autograder.build import read_notebook
from autograder.course import Episode
from autograder.engine import GradingClient
from autograder.errors import CourseError
from autograder.giveaways import giveaways, given, secrets_of
from autograder.images import CourseImages
from autograder.judge import Answer, GraderFailed, JudgeLimits, Question
from autograder.limits import GIB, Limits
from autograder.mutate import located, located_source, mutants, without_checks, without_visible_check
from autograder.student import is_test_cell
from autograder.worker import Worker
from helpers.measurements import Measurement

if TYPE_CHECKING:
    from autograder.ledger import Ledger

Verdict = Literal["right", "wrong", "partial"]

FOLDER = "tests/bank"
NOT_ATTEMPTED = "not attempted"
_HEADING = re.compile(
    r"(?P<verdict>right|wrong|partial (?P<points>\d+(?:\.\d+)?)(?: to (?P<most>\d+(?:\.\d+)?))?)"
    r": *(?P<title>.+)"
)
_SAVED, _RESTORED = "bank-save-", "bank-restore-"
_SEED = re.compile(r"set_random_seed\(\d+\)")
_SNAPSHOT = (Path(__file__).resolve().parent / "inside" / "snapshot.py").read_text(encoding="utf-8")
#: A bank's notebook is many notebooks in one.
LIMITS = Limits(notebook_seconds=4 * 3600, cpu_seconds=8 * 3600, cell_seconds=600, memory_bytes=8 * GIB)


@dataclass(frozen=True)
class Variant:
    """Another answer to an exercise, and the verdict that it deserves.

    Attributes:
        episode: The episode's name.
        exercise: The exercise's id, which is the grade id of its solution cell.
        verdict: 'right' (full points), 'wrong' (none) or 'partial'.
        title: What it is, in a few words.
        answer: The source of the solution cell.
        why: Why it deserves the verdict.
        says: Texts that the message to the student must contain.
        points: What a partial one gets, or the least of it; None else.
        most: The most that a partial one gets, where that depends on how its training goes; None else.
        mutant: Whether code made it from the model solution; then the verdict is only what most of them deserve.
        own: Whether it is the model solution itself, which is judged where it stands.
    """

    episode: str
    exercise: str
    verdict: Verdict
    title: str
    answer: str
    why: str = ""
    says: tuple[str, ...] = ()
    points: float | None = None
    most: float | None = None
    mutant: bool = False
    own: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.episode}, {self.exercise}, {self.verdict}: {self.title}"


@dataclass(frozen=True)
class Judged:
    """What the grader made of a variant.

    Attributes:
        variant: The variant.
        state: 'passed', 'failed', 'partial' or 'grader failed'.
        score: Points; None if the grader failed.
        max_score: Points of the exercise.
        message: What the student would read.
        test: The grade id of the test cell.
        stopped: The error that its own cell, or a probe cell, stopped with; empty if none did.
        failed_at: The place of the check that a wrong answer failed at; None if it is not known.
        needs_it: Whether the answer would get more points without that check.
        measurements: What the checks measured.
        gives_away: What the message says of the model solution that it should not.
    """

    variant: Variant
    state: str
    score: float | None
    max_score: float
    message: str
    test: str = ""
    stopped: str = ""
    failed_at: int | None = None
    needs_it: bool = False
    measurements: tuple[Measurement, ...] = ()
    gives_away: tuple[str, ...] = ()

    @property
    def full(self) -> bool:
        """Whether it got all points."""
        return self.score is not None and self.score >= self.max_score

    @property
    def is_mistake(self) -> bool:
        """Whether the grader was wrong about a variant that a person wrote."""
        return bool(self.problem) and not self.variant.mutant

    @property
    def problem(self) -> str:
        """Why the grader was wrong about it; empty if it was right."""
        v = self.variant
        if self.score is None:
            return f"the grader failed: {self.message}"
        if v.verdict == "right" and not self.full:
            return f"a right answer got {self.score:g} of {self.max_score:g} points: {self.message}{self._why()}"
        if v.verdict == "wrong" and self.score > 0:
            return f"a wrong answer got {self.score:g} of {self.max_score:g} points"
        least = v.points or 0
        most = least if v.most is None else v.most
        if v.verdict == "partial" and not least - 1e-9 <= self.score <= most + 1e-9:
            wanted = f"{least:g}" if v.most is None else f"{least:g} to {most:g}"
            return f"it got {self.score:g} points, not {wanted}: {self.message}{self._why()}"
        if self.gives_away and not v.mutant:
            return f"the message gives away {', '.join(map(repr, self.gives_away))}: {self.message}"
        if v.verdict == "wrong" and not v.mutant:
            if not self.message.strip():
                return "a wrong answer got no message"
            for text in v.says:
                if text.casefold() not in self.message.casefold():
                    return f"the message does not say '{text}': {self.message}"
        return ""

    def _why(self) -> str:
        return f" (its cell stopped with {self.stopped})" if self.stopped else ""


@dataclass
class Outcome:
    """What came of an episode's variants.

    Attributes:
        judged: One for each variant.
        checks: For each test cell its checks, in order.
        broken: Why the run was given up; empty if it was not.
    """

    judged: list[Judged] = field(default_factory=list)
    checks: dict[str, list[str]] = field(default_factory=dict)
    broken: str = ""

    @property
    def needed(self) -> dict[str, set[int]]:
        """For each test cell the places of the checks without which some wrong answer gets more points."""
        found: dict[str, set[int]] = {test: set() for test in self.checks}
        for one in self.judged:
            if one.needs_it and one.failed_at is not None and one.test in found:
                found[one.test].add(one.failed_at)
        return found

    def add(self, other: Outcome) -> None:
        """Take over what came of other variants of the same episode."""
        self.judged += other.judged
        self.checks |= other.checks


# --- reading ---------------------------------------------------------------------------------------------------------


def read_variants(root: Path, episode: str) -> list[Variant]:
    """The variants of one episode, from `tests/bank/EPISODE/EXERCISE.md`.

    A file is Markdown: a heading of the second level for each variant, `right: title`, `wrong: title` or
    `partial 1.5: title`, or `partial 1 to 3: title` where luck in training decides; then why, in prose; for a wrong one
    quotations (`> text`) that the student's message has to contain; and the answer as a block of Python.

    Raises:
        CourseError: A file is not like that; the message names it and the line.
    """
    found = []
    for path in sorted((root / FOLDER / episode).glob("*.md")):
        found += _variants(path, episode)
    return found


def _variants(path: Path, episode: str) -> Iterator[Variant]:
    current: dict[str, Any] | None = None
    quoted = ""
    inside_heading = inside_quote = False
    for token in MarkdownIt().parse(path.read_text(encoding="utf-8")):
        line = (token.map or [0])[0] + 1
        if token.type in ("heading_open", "heading_close"):
            inside_heading = token.type == "heading_open" and token.tag == "h2"
        elif token.type in ("blockquote_open", "blockquote_close"):
            inside_quote = token.type == "blockquote_open"
        elif token.type == "inline" and inside_heading:
            if current is not None:
                yield _variant(path, episode, current)
            match = _HEADING.fullmatch(token.content.strip())
            if match is None:
                raise CourseError(
                    f"{path}, line {line}: '{token.content}' is no heading of a variant. "
                    "Expected 'right: ...', 'wrong: ...' or 'partial 1.5: ...'."
                )
            current = {"line": line, "why": [], "says": [], "answer": None, **match.groupdict()}
        elif token.type == "inline" and current is not None and inside_quote:
            quoted = " ".join(token.content.split())
            current["says"].append(quoted)
        elif token.type == "inline" and current is not None:
            current["why"].append(" ".join(token.content.split()))
        elif token.type == "fence" and current is not None:
            if token.info.strip() != "python" or current["answer"] is not None:
                raise CourseError(f"{path}, line {line}: expected one block of ```python in each variant.")
            current["answer"] = token.content.rstrip("\n")
    if current is not None:
        yield _variant(path, episode, current)


def _variant(path: Path, episode: str, found: dict[str, Any]) -> Variant:
    where = f"{path}, line {found['line']}"
    if found["answer"] is None:
        raise CourseError(f"{where}: '{found['title']}' has no answer. Expected a block of ```python.")
    if not found["why"] and found["verdict"] != "right":
        raise CourseError(f"{where}: '{found['title']}' does not say why. Expected a sentence before the answer.")
    verdict: Verdict = "partial" if found["points"] else found["verdict"]
    return Variant(
        episode=episode,
        exercise=path.stem,
        verdict=verdict,
        title=found["title"],
        answer=found["answer"],
        why=" ".join(found["why"]),
        says=tuple(found["says"]),
        points=float(found["points"]) if found["points"] else None,
        most=float(found["most"]) if found["most"] else None,
    )


def untouched(episode: Episode) -> list[Variant]:
    """What every bank holds without being told: each exercise as it was released."""
    release = read_notebook(episode.release)
    return [
        Variant(
            episode.name,
            name,
            "wrong",
            NOT_ATTEMPTED,
            _cell(release, name).source,
            "Nothing was done.",
            ("not attempted yet",),
        )
        for name in exercises(read_notebook(episode.source))
    ]


def solutions(episode: Episode) -> list[Variant]:
    """The model solutions of an episode, to be judged where they stand."""
    source = read_notebook(episode.source)
    return [
        Variant(episode.name, name, "right", "the model solution", _cell(source, name).source, own=True)
        for name in exercises(source)
    ]


def mutants_of(episode: Episode) -> list[Variant]:
    """Every mutant of every model solution of an episode."""
    source = read_notebook(episode.source)
    return [
        Variant(episode.name, name, "wrong", change, answer, "A small change to the model solution.", mutant=True)
        for name in exercises(source)
        for change, answer in mutants(_cell(source, name).source)
    ]


@dataclass(frozen=True)
class Equivalent:
    """A mutant of a model solution that deserves full points all the same, and why."""

    exercise: str
    change: str
    reason: str


def read_equivalents(root: Path, episode: str) -> list[Equivalent]:
    """The mutants that are as good as the solution, from `tests/bank/EPISODE/equivalent.toml`.

    Raises:
        CourseError: The file is damaged, or an entry lacks something.
    """
    path = root / FOLDER / episode / "equivalent.toml"
    if not path.is_file():
        return []
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", [])
        return [
            Equivalent(one["exercise"], change, one["reason"])
            for one in entries
            for change in one.get("changes") or [one["change"]]
        ]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as problem:
        raise CourseError(
            f"{path} cannot be used: {problem}. "
            "Expected [[equivalent]] with exercise, change (or changes, a list) and reason."
        ) from problem


# --- the notebook ----------------------------------------------------------------------------------------------------


def exercises(source: NotebookNode) -> dict[str, list[int]]:
    """The machine-graded exercises of an instructor's notebook: for each the places of its cells, solution first."""
    found: dict[str, list[int]] = {}
    place = 0
    while place < len(source.cells):
        about = source.cells[place].metadata.get("nbgrader", {})
        following = [place]
        if source.cells[place].cell_type == "code" and about.get("solution") and not about.get("grade"):
            for after in range(place + 1, len(source.cells)):
                cell = source.cells[after]
                marks = cell.metadata.get("nbgrader", {})
                if cell.cell_type != "code" or not marks.get("locked"):
                    break
                following.append(after)
            if any(is_test_cell(source.cells[at]) for at in following):
                found[about["grade_id"]] = following
        place = following[-1] + 1
    return found


def _cell(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id:
            return cell
    raise CourseError(f"There is no cell with the id {grade_id}.")


def lay_out(source: NotebookNode, variants: Sequence[Variant]) -> tuple[NotebookNode, dict[str, Variant]]:
    """The instructor's notebook with variants in it, up to the last exercise that has some.

    Args:
        source: The instructor's notebook; it is not changed.
        variants: Variants of its exercises.

    Returns:
        The notebook, and the variant that each added cell is about, by its grade id.

    Raises:
        CourseError: A variant is of an exercise that the notebook does not have.
    """
    notebook = copy.deepcopy(source)
    sections = exercises(source)
    for variant in variants:
        if variant.exercise not in sections:
            raise CourseError(
                f"{variant.episode} has no machine-graded exercise '{variant.exercise}'. "
                f"Found in {FOLDER}/{variant.episode}/; its exercises are: {', '.join(sections)}."
            )
    last = max(sections[variant.exercise][-1] for variant in variants)
    starts = {places[0]: name for name, places in sections.items()}
    cells: list[NotebookNode] = []
    about: dict[str, Variant] = {}
    for variant in variants:
        if variant.own:
            about |= {source.cells[at].metadata.nbgrader.grade_id: variant for at in sections[variant.exercise]}
    for place, cell in enumerate(notebook.cells[: last + 1]):
        name = starts.get(place)
        mine = [variant for variant in variants if variant.exercise == name and not variant.own]
        if mine:
            cells.append(_snapshot_cell(f"{_SAVED}{name}", "save"))
            for number, variant in enumerate(mine):
                for at in sections[name or ""]:
                    twin = copy.deepcopy(source.cells[at])
                    twin.id = f"bank-{at}-{number}"
                    marks = twin.metadata["nbgrader"]
                    marks["grade_id"] = f"{marks['grade_id']}--{number}"
                    if at == sections[variant.exercise][0]:
                        twin.source = variant.answer
                    about[marks["grade_id"]] = variant
                    cells.append(twin)
                cells.append(_snapshot_cell(f"{_RESTORED}{number}-{name}", "restore"))
        cells.append(cell)
    notebook.cells = cells
    return notebook, about


def _snapshot_cell(name: str, what: str) -> NotebookNode:
    # Names that begin with an underscore are not part of what is remembered.
    code = f"if '_bank' not in globals():\n    _bank = {{}}\n    exec({_SNAPSHOT!r}, _bank)\n_bank[{what!r}](globals())"
    return new_code_cell(code, id=name[:64])


# --- running ---------------------------------------------------------------------------------------------------------


class Broken(Exception):
    """A run of a bank that tells nothing any more; the message says which variant is to blame."""


class BankClient(GradingClient):
    """Judges variants, and each wrong one again without the check that it failed at.

    It gives up as soon as something shows that variants do not meet what students do.
    """

    def __init__(
        self,
        nb: NotebookNode,
        *,
        outcome: Outcome,
        about: dict[str, Variant],
        mutate: bool,
        keep: Callable[[Judged], None] | None,
        **options: Any,
    ) -> None:
        super().__init__(nb, **options)
        self.outcome, self.about, self.mutate, self.keep = outcome, about, mutate, keep
        self._question: Question | None = None
        self._bundle = b""
        self._last: Variant | None = None
        self._since: list[Variant] = []  # the variants of the present exercise that were run

    async def async_execute_cell(self, cell: NotebookNode, cell_index: int, *options: Any) -> NotebookNode:
        """Run or judge a cell, knowing which variant it is about."""
        variant = self.about.get(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        if variant is not None and variant is not self._last and not variant.own:
            if self._last is None or variant.exercise != self._last.exercise:
                self._since = []
            self._since.append(variant)
            self._last = variant
        cell = await super().async_execute_cell(cell, cell_index, *options)
        for output in cell.get("outputs", ()):
            if cell.id.startswith(_RESTORED) and output.output_type == "error":
                self._give_up(
                    "the state before the exercise could not be put back after it "
                    f"({output.ename}: {output.evalue.strip()}). Expected an answer that leaves a working kernel."
                )
        return cell

    async def _replay(self) -> None:
        self._give_up(
            "the kernel ended while it was run, and with it the state that the next variants need. "
            "Expected an answer that ends by itself, within the limits."
        )

    def _give_up(self, why: str) -> NoReturn:
        name = self._last.name if self._last is not None else "before the first variant"
        self.outcome.broken = f"{name}: {why}"
        raise Broken(self.outcome.broken)

    async def collect(self, question: Question) -> bytes:
        """Collect, and keep a copy for the mutants of the test."""
        self._question = None
        self._bundle = await super().collect(question)
        self._question = question
        return self._bundle

    async def judge_cell(self, cell: NotebookNode, index: int) -> None:
        """Judge a variant, and try it without the check that it failed at, unless that is known to be needed."""
        self._question = None
        await super().judge_cell(cell, index)
        grade_id = cell.metadata["nbgrader"]["grade_id"]
        verdict, variant = self.verdicts[grade_id], self.about.get(grade_id)
        if variant is None:
            if verdict.state != "passed" and (verdict.score or 0) < verdict.max_score:
                self.outcome.broken = self._unsound(grade_id, verdict.message)
                raise Broken(self.outcome.broken)
            return
        one = Judged(
            variant,
            verdict.state,
            verdict.score,
            verdict.max_score,
            verdict.message,
            test=grade_id.partition("--")[0],
            stopped=self._stopped(variant),
            measurements=verdict.measurements,
        )
        blamed = one.score is not None and not one.full and not variant.mutant and variant.verdict != "right"
        if self.mutate and blamed:
            one = await self._without_its_check(one, cell.source)
        self.outcome.judged.append(one)
        if self.keep is not None:
            self.keep(one)

    async def _without_its_check(self, one: Judged, source: str) -> Judged:
        """Find the check that an answer failed at, and judge the answer again without it.

        Checks run one after the other, so without any other check the answer would fail at this one as before. An
        answer needs the check if the test passes it without. Of a visible check that may be the test as students have
        it: what hidden ones would find as well is of no help to them.
        """
        if self._question is None or not self.outcome.checks.get(one.test):
            return one
        try:
            place = located((await self._ask(located_source(source))).stdout)
            # What is kept has to stand by itself, so there each answer is tried.
            if place is None or (self.keep is None and place in self.outcome.needed[one.test]):
                return one
        except GraderFailed:
            return one
        one = dataclasses.replace(one, failed_at=place)
        for test in (without_checks(source)[place][1], without_visible_check(source, place)):
            if test is None:
                continue
            try:
                answer = await self._ask(test)
            except GraderFailed:
                continue  # without this check the test does not run: it is more than a check
            if answer.kind == "passed" or (answer.kind == "partial" and (answer.score or 0) > (one.score or 0)):
                return dataclasses.replace(one, needs_it=True)
        return one

    def _stopped(self, variant: Variant) -> str:
        """The first error that the cells of a variant stopped with."""
        for cell in self.nb.cells:
            if self.about.get(cell.metadata.get("nbgrader", {}).get("grade_id", "")) is variant:
                for output in cell.get("outputs", ()):
                    if output.output_type == "error" and not is_test_cell(cell):
                        return f"{output.ename}: {output.evalue}"[:500]
        return ""

    async def _ask(self, source: str) -> Answer:
        assert self._question is not None
        return await asyncio.to_thread(self.judge.ask, dataclasses.replace(self._question, source=source), self._bundle)

    def _unsound(self, grade_id: str, message: str) -> str:
        found = f"{self._last.episode if self._last else 'The notebook'}: the model solution of {grade_id} did not pass"
        if self._last is None:
            return f"{found}, with no variant before it: {message}"
        ran = ", ".join(f"'{variant.title}'" for variant in self._since)
        return (
            f"{found} after the variants of {self._last.exercise}: {message} "
            f"One of them leaves something behind that cannot be put back: {ran}. "
            "Leave out one after the other to see which (docs/fidelity.md says what can be put back)."
        )


@dataclass(frozen=True)
class Job:
    """One notebook to run: an episode, and some variants of its exercises.

    Attributes:
        episode: The episode.
        variants: The variants.
        mutate_tests: Whether to look which checks the wrong ones need.
        seed: The seed of the notebook and of the judge; None leaves both as they are.
        images: Where the images are; found if None.
    """

    episode: Episode
    variants: tuple[Variant, ...]
    mutate_tests: bool = False
    seed: int | None = None
    images: CourseImages | None = None


def jobs_of(
    episode: Episode, *, mutants: bool = False, parts: int = 1, only: Collection[str] | None = None
) -> list[Job]:
    """All that there is to judge in an episode, in at most so many notebooks.

    Args:
        episode: The episode.
        mutants: Whether to try mutants of the model solutions too.
        parts: How many notebooks to make, at most; the cells of the episode itself are run in each.
        only: The exercises whose variants to try; all if None.

    Raises:
        CourseError: The bank of this episode is not as it should be.
    """
    variants = [*untouched(episode), *read_variants(episode.root, episode.name)]
    if mutants:
        variants += mutants_of(episode)
    _require_exercises(episode, variants)
    if only is not None:
        variants = [variant for variant in variants if variant.exercise in only]
    names = list(dict.fromkeys(variant.exercise for variant in variants))
    shares = [names[start::parts] for start in range(parts)]
    return [
        Job(episode, tuple(variant for variant in variants if variant.exercise in share), mutate_tests=True)
        for share in shares
        if share
    ]


def fair_sample(variants: Sequence[Variant], *, right: int, wrong: int) -> list[Variant]:
    """Some answers to each exercise: those that are to get a part of the points, and some right and some wrong ones.

    Which ones, a digest of their titles decides: nobody picks them, and they are the same each time. The exercise as
    it was released is always among the wrong ones.

    Args:
        variants: Answers, in any order.
        right: How many right ones of each exercise, at most.
        wrong: How many wrong ones, at most, beside the exercise as it was released.
    """
    groups: dict[tuple[str, str], list[Variant]] = {}
    for variant in variants:
        groups.setdefault((variant.exercise, variant.verdict), []).append(variant)
    chosen: set[Variant] = set()
    for (_, verdict), found in groups.items():
        most = {"right": right, "wrong": wrong}.get(verdict, len(found))
        found.sort(key=lambda one: hashlib.sha256(one.title.encode()).hexdigest())
        chosen.update(one for one in found if one.title == NOT_ATTEMPTED)
        chosen.update([one for one in found if one.title != NOT_ATTEMPTED][:most])
    return [variant for variant in variants if variant in chosen]


def seed_job(
    episode: Episode, seed: int, images: CourseImages, *, others: bool = True, only: Collection[str] | None = None
) -> Job:
    """What there is to judge to see that right answers stay right: with another seed, and on other images.

    Args:
        episode: The episode.
        seed: Of the notebook and of the judge.
        images: The images.
        others: Whether to try the right answers of the bank, besides the model solutions.
        only: The exercises whose answers to try; all if None.
    """
    variants = solutions(episode)
    if others:
        variants += [one for one in read_variants(episode.root, episode.name) if one.verdict == "right"]
    _require_exercises(episode, variants)
    chosen = [one for one in variants if only is None or one.exercise in only]
    return Job(episode, tuple(chosen), seed=seed, images=images)


def _require_exercises(episode: Episode, variants: Iterable[Variant]) -> None:
    there = exercises(read_notebook(episode.source))
    for variant in variants:
        if variant.exercise not in there:
            raise CourseError(
                f"{episode.name} has no machine-graded exercise '{variant.exercise}'. "
                f"Found in {FOLDER}/{episode.name}/; its exercises are: {', '.join(there)}."
            )


def require_known(episodes: Iterable[Episode], names: Collection[str]) -> set[str]:
    """The names, if each is that of a machine-graded exercise of one of the episodes.

    Raises:
        CourseError: One is not; the message lists those that there are.
    """
    there = [name for episode in episodes for name in exercises(read_notebook(episode.source))]
    for name in names:
        if name not in there:
            raise CourseError(f"There is no machine-graded exercise '{name}' here. Found: {', '.join(there)}.")
    return set(names)


def with_seed(notebook: NotebookNode, seed: int) -> NotebookNode:
    """A notebook that sets another seed at its top.

    Raises:
        CourseError: It does not set its seed exactly once.
    """
    notebook = copy.deepcopy(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and _SEED.search(cell.source)]
    if len(cells) != 1:
        raise CourseError(
            f"The notebook calls `set_random_seed` in {len(cells)} cells. Expected one, at its top, to try other seeds."
        )
    cells[0].source = _SEED.sub(f"set_random_seed({seed})", cells[0].source)
    return notebook


def run(job: Job, worker: Worker, ledger: Ledger | None = None) -> Outcome:
    """Judge some variants of one episode in one run of its notebook.

    Args:
        job: What to run.
        worker: Who runs it.
        ledger: What is known from earlier runs, and where to write what comes of this one; nothing is kept if None.

    Raises:
        CourseError: A variant is of an exercise that does not exist, or nothing can be graded at all.
    """
    source = read_notebook(job.episode.source)
    if job.seed is not None:
        source = with_seed(source, job.seed)
    outcome = Outcome(checks=checks_of(source, {variant.exercise for variant in job.variants}))
    todo = list(job.variants)
    if ledger is not None:
        known, todo = ledger.split(job, source)
        outcome.judged += known
    if todo:
        notebook, about = lay_out(source, todo)

        def make(nb: NotebookNode, **options: Any) -> BankClient:
            keep = ledger.writer(job, source) if ledger is not None else None
            return BankClient(nb, outcome=outcome, about=about, mutate=job.mutate_tests, keep=keep, **options)

        limits = JudgeLimits() if job.seed is None else JudgeLimits(seed=job.seed)
        graded = worker.grade(notebook, attempts=1, judge_limits=limits, make_client=make)
        if outcome.broken:
            raise CourseError(outcome.broken)
        for grade_id, verdict in graded.verdicts.items():
            if verdict.score is None and grade_id not in about:
                raise CourseError(f"{job.episode.name}: {grade_id} could not be judged: {verdict.message}")
    return judged_again(job.episode, source, outcome)


def checks_of(source: NotebookNode, names: Collection[str]) -> dict[str, list[str]]:
    """The checks of the test cells of some exercises, in order."""
    return {
        source.cells[at].metadata.nbgrader.grade_id: [text for text, _ in without_checks(source.cells[at].source)]
        for name, places in exercises(source).items()
        if name in names
        for at in places
        if is_test_cell(source.cells[at])
    }


def judged_again(episode: Episode, source: NotebookNode, outcome: Outcome) -> Outcome:
    """The outcome, with what each message gives away of the solution that stands there now."""
    release = read_notebook(episode.release)
    places = exercises(release)
    secrets = {
        name: secrets_of(_cell(source, name).source, given(release, places[name]))
        for name in {one.variant.exercise for one in outcome.judged if not one.variant.mutant}
    }
    outcome.judged = [
        dataclasses.replace(
            one, gives_away=tuple(giveaways(secrets[one.variant.exercise], one.message, one.variant.answer))
        )
        if not one.variant.mutant
        else one
        for one in outcome.judged
    ]
    return outcome


def run_all(
    jobs: Sequence[Job],
    *,
    at_once: int = 1,
    sandbox: bool = True,
    ledger: Ledger | None = None,
    done: Callable[[Job, Outcome, float], None] = lambda job, outcome, seconds: None,
) -> list[tuple[Job, Outcome]]:
    """Run jobs, some at a time, those with the most variants first.

    Args:
        jobs: What to run; several may be of one episode.
        at_once: How many at a time.
        sandbox: Run students' kernels and judges in sandboxes.
        ledger: What is known from earlier runs.
        done: Called for each job that is done, with its seconds.

    Returns:
        Each job with what came of its variants, in the order of `jobs`. The first one that fails ends the others, and
        so does Ctrl-C.
    """
    idle: dict[CourseImages, list[Worker]] = {}
    workers: list[Worker] = []

    def one(job: Job) -> Outcome:
        began = time.monotonic()
        images = job.images or CourseImages.find()
        try:
            worker = idle.setdefault(images, []).pop()
        except IndexError:
            worker = Worker(sandbox=sandbox, limits=LIMITS, images=images)
            workers.append(worker)
        outcome = run(job, worker, ledger)
        idle[images].append(worker)
        done(job, outcome, time.monotonic() - began)
        return outcome

    longest_first = sorted(range(len(jobs)), key=lambda at: -len(jobs[at].variants))
    try:
        with ThreadPoolExecutor(at_once) as pool:
            futures = {at: pool.submit(one, jobs[at]) for at in longest_first}
            try:
                for future in as_completed(futures.values()):
                    future.result()  # the first that fails ends all
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for worker in workers:  # what still runs ends with its worker
                    worker.close()
                raise
        return [(job, futures[at].result()) for at, job in enumerate(jobs)]
    finally:
        for worker in workers:
            worker.close()


def by_episode(outcomes: Iterable[tuple[Job, Outcome]]) -> dict[str, Outcome]:
    """For each episode what came of all its variants."""
    found: dict[str, Outcome] = {}
    for job, outcome in outcomes:
        found.setdefault(job.episode.name, Outcome()).add(outcome)
    return found


def mistakes(outcome: Outcome) -> list[str]:
    """What the grader got wrong: its verdicts and messages about answers that people wrote, and their order."""
    return [f"{one.variant.name}: {one.problem}" for one in outcome.judged if one.is_mistake] + disorder(outcome)


def disorder(outcome: Outcome) -> list[str]:
    """Where a better answer got less: pairs of answers to one exercise that earned points by how good they are.

    How good an answer is, the accuracy says that the checks measured; where they measured none, the points that the
    bank states. Answers that failed for another reason are left out.
    """
    found = []
    graded: dict[str, list[tuple[float, Judged]]] = {}
    for one in outcome.judged:
        if one.score and not one.variant.mutant:
            stated = one.variant.points if one.variant.points is not None else one.max_score
            quality = one.measurements[-1].accuracy if one.measurements else stated
            graded.setdefault(one.test, []).append((quality, one))
    for answers in graded.values():
        answers.sort(key=lambda pair: (pair[0], pair[1].score or 0))
        for (low, worse), (high, better) in itertools.pairwise(answers):
            if low < high and (worse.score or 0) > (better.score or 0):
                found.append(
                    f"{better.variant.name} ({high:.3f}) got {better.score:g} points, "
                    f"less than {worse.variant.title} ({low:.3f}) with {worse.score:g}"
                )
    return found


# --- the table -------------------------------------------------------------------------------------------------------


@dataclass
class Row:
    """What the bank says of one exercise; counts, named as in `autograder bank --json`."""

    right: int = 0
    right_failed: int = 0
    wrong: int = 0
    wrong_passed: int = 0
    mutants: int = 0
    mutants_caught: int = 0
    assertions: int = 0
    assertions_needed: int = 0

    def add(self, other: Row) -> None:
        """Count another one in."""
        for name, count in dataclasses.asdict(other).items():
            setattr(self, name, getattr(self, name) + count)


def table(outcome: Outcome, equivalents: Iterable[Equivalent] = ()) -> dict[str, Row]:
    """The counts for each exercise of an episode; equivalent mutants are left out of both of theirs."""
    same = {(one.exercise, one.change) for one in equivalents}
    rows: dict[str, Row] = {}
    for one in outcome.judged:
        variant = one.variant
        row = rows.setdefault(variant.exercise, Row())
        if variant.mutant:
            if (variant.exercise, variant.title) not in same:
                row.mutants += 1
                row.mutants_caught += not one.full
        elif variant.verdict == "right":
            row.right += 1
            row.right_failed += not one.full
        else:
            row.wrong += 1
            row.wrong_passed += one.full or (variant.verdict == "wrong" and bool(one.score))
    for test, checks in outcome.checks.items():
        row = rows.setdefault(test.removesuffix("-test"), Row())
        row.assertions += len(checks)
        row.assertions_needed += len(outcome.needed.get(test, ()))
    return rows


def survivors(outcome: Outcome, equivalents: Iterable[Equivalent] = ()) -> list[Judged]:
    """The mutants of model solutions that got full points and are not known to deserve them."""
    same = {(one.exercise, one.change) for one in equivalents}
    return [
        one
        for one in outcome.judged
        if one.variant.mutant and one.full and (one.variant.exercise, one.variant.title) not in same
    ]


def unneeded(outcome: Outcome) -> list[tuple[str, str]]:
    """The checks without which no wrong answer passes, each with its test cell."""
    return [
        (test, text)
        for test, checks in outcome.checks.items()
        for at, text in enumerate(checks)
        if at not in outcome.needed.get(test, ())
    ]


def as_markdown(rows: dict[str, Row]) -> str:
    """The table for people, with the sums at its end."""
    total = Row()
    for row in rows.values():
        total.add(row)
    lines = ["| exercise | right passed | wrong caught | mutants caught | checks needed |", "| --- " * 5 + "|"]
    return "\n".join([*lines, *(line(name, row) for name, row in [*rows.items(), ("**all**", total)])])


def line(name: str, row: Row) -> str:
    """One line of the table."""
    return (
        f"| {name} | {row.right - row.right_failed} of {row.right} | {row.wrong - row.wrong_passed} of {row.wrong} "
        f"| {_share(row.mutants_caught, row.mutants)} | {_share(row.assertions_needed, row.assertions)} |"
    )


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.0f}%)" if whole else "-"


def as_json(rows: dict[str, Row]) -> str:
    """The table for machines."""
    return json.dumps({"exercises": {name: dataclasses.asdict(row) for name, row in rows.items()}}, indent=2)
