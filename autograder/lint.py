"""What must hold of every lesson, beyond what a build needs: `autograder lint`.

Each rule is a function that yields findings. A finding names the file, the exercise or cell, what was found and what to
do. The rules read the lesson texts, the committed student notebooks, the hints, the glossary, the documents and the
code of `helpers`; nothing is run.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.build import SECRET_MARKS, read_notebook, read_text
from autograder.course import EPISODE_NAME, Episode, episodes
from autograder.glossary import HEADING, LINK, PLACE, Term, read_glossary, without_code
from autograder.matching import syntax_tree

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Points that an episode may have, and the whole course once it is complete.
EPISODE_POINTS = range(18, 23)
COURSE_POINTS = range(135, 146)
COURSE_LENGTH = 7
HINTS = 2
#: Calls of checks that the hidden part of a test makes at least: two independent properties.
HIDDEN_CHECKS = 2
ALT_TEXT = "*Alt text: "
ALT_TEXT_LENGTH = 60
#: A line of a solution that is shorter than this gives nothing away.
TELLING_LINE = 25

#: Words that mean something else, or the same, in everyday English. They may stand in a text before they are explained.
EVERYDAY = frozenset(
    """array balanced block call chance class confidence crop export filter fit function image kernel label layer map
    mean model patch precision predict recall repeat resize score search share shape shuffle split train trial tune
    weight window""".split()  # noqa: SIM905 - easier to read and to add to than a list
)

_TELLS_NOTHING = ("#", '"""', "import ", "from ")
_DRAWS = re.compile(r"plt\.show\(|plt\.(?:figure|subplots)\(|helpers\.(?:plot_\w+|show_images|compare_histories)\(")
_SEED = re.compile(r"\bset_random_seed\(")
_FETCHES = re.compile(
    r"https?://|\burllib\b|\brequests\.|\bget_file\(|keras\.(?:datasets|applications)|weights\s*=\s*[\"']imagenet|^\s*[!%]\s*(?:pip|wget|curl)\b",
    re.MULTILINE,
)
_FETCHING_MODULES = {"urllib.request", "requests", "http.client", "httpx", "aiohttp", "ftplib", "socket"}
_MARKDOWN_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)[^)]*\)")
_ASIDE = re.compile(r"\*\((?P<points>\d+) points?\.\s+Hints:\s+`helpers\.hint\(\"(?P<exercise>[\w-]+)\"\)`\)\*")
_TIMES = re.compile(
    r"\*\*Reading and running:\*\* (\d+) minutes · \*\*Exercises:\*\* (\d+) minutes · \*\*Points:\*\* (\d+)"
)
_ITALICS = re.compile(r"(?<![*\w\[])\*([A-Za-z][^*\n]*?)\*(?![*\w])")


@dataclass(frozen=True)
class Finding:
    """Something in the course that isn't as it should be.

    Attributes:
        place: The file, and the exercise or cell in it.
        found: What is wrong there.
        remedy: What to do.
    """

    place: str
    found: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.found}. {self.remedy}"


@dataclass(frozen=True)
class Exercise:
    """One graded question of a lesson.

    Attributes:
        name: Its id, as students know it: `conv-layer`.
        points: What it is worth.
        written: Whether a person grades it.
        place: Where its graded cell stands among the cells.
        cell: The graded cell: the test, or the model answer.
    """

    name: str
    points: float
    written: bool
    place: int
    cell: NotebookNode


@dataclass(frozen=True)
class Lesson:
    """One episode with what the rules look at."""

    episode: Episode

    @property
    def number(self) -> int | None:
        """The number in its name."""
        match = EPISODE_NAME.fullmatch(self.episode.name)
        return int(match[1]) if match else None

    @property
    def where(self) -> str:
        """The file that an author would edit."""
        path = self.episode.text if self.episode.text.is_file() else self.episode.source
        return str(path.relative_to(self.episode.root))

    @cached_property
    def cells(self) -> list[NotebookNode]:
        """The cells of the instructor notebook, made anew from the text."""
        text = self.episode.text
        return (read_text(text) if text.is_file() else read_notebook(self.episode.source)).cells

    @cached_property
    def released(self) -> list[NotebookNode]:
        """The cells of the student notebook, as it lies in `release/`; none if it isn't there."""
        return read_notebook(self.episode.release).cells if self.episode.release.is_file() else []

    @cached_property
    def exercises(self) -> list[Exercise]:
        """The graded questions, in order."""
        return [
            Exercise(
                cell.metadata.nbgrader.grade_id.removesuffix("-test"),
                cell.metadata.nbgrader.points,
                bool(cell.metadata.nbgrader.solution),
                place,
                cell,
            )
            for place, cell in enumerate(self.cells)
            if cell.metadata.get("nbgrader", {}).get("grade")
        ]

    @cached_property
    def title(self) -> str:
        """What stands after the first `# `."""
        match = re.match(r"# (.+)", self.cells[0].source) if self.cells else None
        return match[1].strip() if match else ""

    @property
    def points(self) -> float:
        """Points in all."""
        return sum(exercise.points for exercise in self.exercises)

    @property
    def written_points(self) -> float:
        """Points for written answers."""
        return sum(exercise.points for exercise in self.exercises if exercise.written)

    def markdown(self) -> str:
        """All text of the lesson that students see, without model answers and code."""
        return "\n\n".join(
            without_code(cell.source)
            for cell in self.cells
            if cell.cell_type == "markdown" and "nbgrader" not in cell.metadata
        )


# --- rules for one lesson ---


def has_its_parts(lesson: Lesson) -> Iterator[Finding]:
    """A lesson states its times and points, asks its questions, names its objectives, and sums up at its end."""
    head = lesson.cells[0].source if lesson.cells else ""
    if not lesson.title:
        yield Finding(lesson.where, "it doesn't begin with a title", "Begin with '# ' and the title.")
    times = _TIMES.search(head)
    if times is None:
        yield Finding(
            lesson.where,
            "no line with times and points below the title",
            "Write '**Reading and running:** 35 minutes · **Exercises:** 40 minutes · **Points:** 20'.",
        )
    elif int(times[3]) != lesson.points:
        yield Finding(
            lesson.where, f"it says {times[3]} points, its exercises make {lesson.points:g}", "Make them agree."
        )
    text = lesson.markdown()
    for heading, least in (
        ("**Questions**", 1),
        ("**At the end of this episode you can**", 2),
        ("## Key points", 3),
        ("## What comes next", 0),
    ):
        start = text.find(heading)
        if start < 0:
            yield Finding(lesson.where, f"it has no part '{heading.strip('#* ')}'", "Add it.")
            continue
        listed = re.match(r"\s*((?:- .*\n?(?: +.*\n?)*)*)", text[start + len(heading) :])
        entries = len(re.findall(r"^- ", listed[1], re.MULTILINE)) if listed else 0
        if entries < least:
            yield Finding(
                lesson.where, f"too few entries in the list '{heading.strip('#* ')}'", f"Write {least} or more."
            )
    if not lesson.released:
        yield Finding(lesson.where, "no student notebook", f"Run `autograder build {lesson.episode.name}`.")
    if "CC BY 4.0" not in text:
        yield Finding(lesson.where, "its foot says neither what it is based on nor its licence", "Add the attribution.")


def points_are_about_twenty(lesson: Lesson) -> Iterator[Finding]:
    """An episode is worth about 20 points."""
    if lesson.points not in EPISODE_POINTS:
        yield Finding(
            lesson.where,
            f"{lesson.points:g} points in all",
            f"Give it {EPISODE_POINTS.start} to {EPISODE_POINTS.stop - 1}.",
        )


def exercises_are_complete(lesson: Lesson) -> Iterator[Finding]:
    """Each exercise has a prompt with points and hint, and an answer cell or a written answer under the same id."""
    ids = {
        cell.metadata.nbgrader.grade_id: place for place, cell in enumerate(lesson.cells) if "nbgrader" in cell.metadata
    }
    for exercise in lesson.exercises:
        where = f"{lesson.where}, exercise '{exercise.name}'"
        if exercise.points <= 0:
            yield Finding(where, "it is worth no points", "Give it at least one.")
        if not exercise.written and ids.get(exercise.name, exercise.place) >= exercise.place:
            yield Finding(where, "no solution cell with this id before its test", "Give the solution cell this id.")
        start = max((other.place for other in lesson.exercises if other.place < exercise.place), default=0)
        before = lesson.cells[start + 1 : exercise.place]
        text = "\n\n".join(
            cell.source for cell in before if cell.cell_type == "markdown" and "nbgrader" not in cell.metadata
        )
        prompt = re.split(r"^## Exercise: ", text, flags=re.MULTILINE)[1:]
        if not prompt:
            yield Finding(where, "no heading '## Exercise: ...' before it", "Add one.")
            continue
        told = [(int(match["points"]), match["exercise"]) for match in _ASIDE.finditer(prompt[-1])]
        if told != [(exercise.points, exercise.name)]:
            plural = "" if exercise.points == 1 else "s"
            yield Finding(
                where,
                f"its prompt tells of {told or 'no points and no hint'}",
                f'Expected *({exercise.points:g} point{plural}. Hints: `helpers.hint("{exercise.name}")`)*, once.',
            )


def tests_have_a_visible_and_a_hidden_part(lesson: Lesson) -> Iterator[Finding]:
    """A test tells students what is wrong, and keeps back at least two properties that a guess doesn't have."""
    for exercise in lesson.exercises:
        if exercise.written:
            continue
        where = f"{lesson.where}, test '{exercise.name}-test'"
        lines = exercise.cell.source.splitlines()
        if "### BEGIN HIDDEN TESTS" not in lines:
            yield Finding(
                where, "no hidden tests", "Put them between '### BEGIN HIDDEN TESTS' and '### END HIDDEN TESTS'."
            )
            continue
        tree = syntax_tree(exercise.cell.source)
        if tree is None:
            yield Finding(where, "the cell is no Python", "Run it, and mend what Python complains about.")
            continue
        begin = lines.index("### BEGIN HIDDEN TESTS") + 1
        end = lines.index("### END HIDDEN TESTS") + 1 if "### END HIDDEN TESTS" in lines else len(lines) + 1
        checks = [node.lineno for node in ast.walk(tree) if _is_check(node)]
        hidden = sum(begin < line < end for line in checks)
        loops = any(isinstance(node, ast.For | ast.While) and begin < node.lineno < end for node in ast.walk(tree))
        if not any(line < begin for line in checks):
            yield Finding(where, "the visible part checks nothing", "Say there what is wrong with a wrong answer.")
        if not hidden or (hidden < HIDDEN_CHECKS and not loops):
            yield Finding(
                where,
                f"{hidden} check(s) in the hidden part",
                f"Check at least {HIDDEN_CHECKS} properties that don't depend on each other.",
            )
        if name := _shown_value(tree):
            yield Finding(
                where,
                f"it ends with checks.{name}(...), which returns a value that would be shown, or taken for points",
                "Give the value a name, or end with a print.",
            )


def _is_check(node: ast.AST) -> bool:
    """Whether a piece of code calls a check, or asserts."""
    return isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and ast.unparse(node.func).startswith("checks."))


def _shown_value(cell: ast.Module) -> str:
    """The check whose value a notebook would show below the cell, if the cell ends with one."""
    from helpers import checks

    last = cell.body[-1] if cell.body else None
    if not (isinstance(last, ast.Expr) and isinstance(last.value, ast.Call)):
        return ""
    called = ast.unparse(last.value.func)
    if not called.startswith("checks."):
        return ""
    function = getattr(checks, called.removeprefix("checks."), None)
    returns = inspect.signature(function).return_annotation if callable(function) else None
    return "" if returns in (None, "None") else called.removeprefix("checks.")


def written_answers_have_a_model_and_a_rubric(lesson: Lesson) -> Iterator[Finding]:
    """A person can grade a written answer: it has a model answer, and a rubric that adds up to its points."""
    for exercise in lesson.exercises:
        if not exercise.written:
            continue
        where = f"{lesson.where}, written answer '{exercise.name}'"
        if "**Model answer.**" not in exercise.cell.source:
            yield Finding(where, "no model answer", "Begin it with '**Model answer.**'.")
        rubric = exercise.cell.source.partition("**Rubric.**")[2]
        points = [float(given) for given in re.findall(r"^- ([\d.]+) points?:", rubric, re.MULTILINE)]
        if sum(points) != exercise.points:
            yield Finding(
                where,
                f"its rubric makes {sum(points):g} points, the answer is worth {exercise.points:g}",
                "After '**Rubric.**', write lines such as '- 1 point: names the reason.' that add up.",
            )


def pictures_have_alt_text(lesson: Lesson) -> Iterator[Finding]:
    """Each figure that the lesson draws, and each image, is described for those who don't see it."""
    for place, cell in enumerate(lesson.cells):
        where = f"{lesson.where}, cell '{cell.id}'"
        if cell.cell_type == "code" and "nbgrader" not in cell.metadata and _DRAWS.search(cell.source):
            after = lesson.cells[place + 1] if place + 1 < len(lesson.cells) else None
            text = after.source.split("\n\n")[0] if after is not None and after.cell_type == "markdown" else ""
            if not text.startswith(ALT_TEXT):
                yield Finding(where, "a figure without alt text", f"Begin the next cell with '{ALT_TEXT}...*'.")
            elif len(text) < ALT_TEXT_LENGTH:
                yield Finding(where, f"the alt text {text!r} says little", "Say what one would see.")
        elif cell.cell_type == "markdown":
            for match in _MARKDOWN_LINK.finditer(cell.source):
                if match["image"] and len(match["text"]) < ALT_TEXT_LENGTH // 2:
                    yield Finding(where, f"the image {match['target']} has hardly any alt text", "Describe it.")
            for tag in re.findall(r"<img[^>]*>", cell.source):
                if not re.search(r"alt=[\"'][^\"']{10,}", tag):
                    yield Finding(where, f"{tag} has no alt text", "Describe it in alt='...'.")


def one_seed_at_the_top(lesson: Lesson) -> Iterator[Finding]:
    """Random numbers are the same at each run, and one line changes them all."""
    code = [cell.source for cell in lesson.cells if cell.cell_type == "code"]
    calls = [len(_SEED.findall(source)) for source in code]
    if sum(calls) != 1 or not calls[0]:
        yield Finding(
            lesson.where,
            f"{sum(calls)} seed call(s), {calls[0] if calls else 0} of them in the first code cell",
            "Call keras.utils.set_random_seed(...) once, in the first code cell.",
        )


def nothing_is_fetched(lesson: Lesson) -> Iterator[Finding]:
    """A lesson runs without a network."""
    for cell in lesson.cells:
        if cell.cell_type == "code" and (match := _FETCHES.search(cell.source)):
            yield Finding(
                f"{lesson.where}, cell '{cell.id}'",
                f"'{match[0].strip()}' would fetch something at run time",
                "Bring what is needed with helpers.",
            )


def release_holds_no_solution(lesson: Lesson) -> Iterator[Finding]:
    """What stands in `release/` gives no answer away, unless the lesson itself shows that line before."""
    where = str(lesson.episode.release.relative_to(lesson.episode.root))
    shown: set[str] = set()
    secret: dict[str, str] = {}
    for cell in lesson.cells:
        solution, hidden, open_to_all = _parts(cell)
        grading = cell.metadata.get("nbgrader", {})
        # What a lesson shows may be used in the answers after it; what a test shows may be used in its hidden part.
        secret.update({line: cell.id for line in solution - shown})
        secret.update({line: cell.id for line in hidden - shown - open_to_all})
        if cell.cell_type == "code" and not grading.get("solution") and not grading.get("grade"):
            shown |= open_to_all
    for cell in lesson.released:
        for line in sorted(line for line in secret if line in cell.source):
            yield Finding(
                f"{where}, cell '{cell.id}'",
                f"it holds a line of the answer to '{secret[line]}': {line!r}",
                "Remove it.",
            )
        for mark in SECRET_MARKS:
            if mark in cell.source:
                yield Finding(f"{where}, cell '{cell.id}'", f"it holds the mark '{mark.strip()}'", "Build it anew.")


def _parts(cell: NotebookNode) -> tuple[set[str], set[str], set[str]]:
    """The telling lines of a cell: of its solution or model answer, of its hidden tests, and those open to all.

    A line that a starter has too is open to all.
    """
    grading = cell.metadata.get("nbgrader", {})
    written = bool(grading.get("grade") and grading.get("solution"))
    solution: set[str] = set()
    hidden: set[str] = set()
    shown: set[str] = set()
    part = solution if written else shown
    for line in cell.source.split("\n"):
        line = line.strip()
        if line.startswith("### BEGIN"):
            part = hidden if "HIDDEN" in line else solution
        elif line.startswith("### END"):
            part = shown
        elif line.startswith("#?"):
            shown.add(line[2:].strip())
        elif len(line) >= TELLING_LINE and not line.endswith(",") and not line.startswith(_TELLS_NOTHING):
            part.add(line)
    return solution - shown, hidden, shown


LESSON_RULES: Sequence[Callable[[Lesson], Iterator[Finding]]] = (
    has_its_parts,
    points_are_about_twenty,
    exercises_are_complete,
    tests_have_a_visible_and_a_hidden_part,
    written_answers_have_a_model_and_a_rubric,
    pictures_have_alt_text,
    one_seed_at_the_top,
    nothing_is_fetched,
    release_holds_no_solution,
)


# --- rules for the whole course ---


def ids_are_unique(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """A hint, a mark and a feedback line name an exercise by its id alone."""
    first: dict[str, str] = {}
    for lesson in lessons:
        for exercise in lesson.exercises:
            if exercise.name in first:
                yield Finding(
                    f"{lesson.where}, exercise '{exercise.name}'",
                    f"{first[exercise.name]} has an exercise of this id too",
                    "Give it another id.",
                )
            first.setdefault(exercise.name, lesson.where)


def course_points_add_up(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """The course is worth about 140 points, and the README says how they are spread."""
    total = sum(lesson.points for lesson in lessons)
    if len(lessons) == COURSE_LENGTH and total not in COURSE_POINTS:
        yield Finding(
            "course/", f"{total:g} points in all", f"Expected {COURSE_POINTS.start} to {COURSE_POINTS.stop - 1}."
        )
    readme = root / "README.md"
    rows = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    for lesson in lessons:
        row = f"| {lesson.number} | {lesson.title} | {lesson.points:g} | {lesson.written_points:g} |"
        if rows and row not in rows:
            yield Finding(
                "README.md", f"its table has no row for {lesson.episode.name}, or another one", f"Write '{row}'."
            )


def exercises_have_hints(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """Each exercise has at least two hints, and each hint belongs to an exercise."""
    from helpers.hints import HintError, all_hints

    folder = root / "helpers" / "hints"
    try:
        hints = dict(all_hints(folder))
    except HintError as problem:
        yield Finding("helpers/hints", str(problem), "Correct that file.")
        return
    names = {exercise.name for lesson in lessons for exercise in lesson.exercises}
    for lesson in lessons:
        for exercise in lesson.exercises:
            if len(hints.get(exercise.name, [])) < HINTS:
                yield Finding(
                    f"{lesson.where}, exercise '{exercise.name}'",
                    f"{len(hints.get(exercise.name, []))} hint(s)",
                    f"Write {HINTS} or more in helpers/hints/{lesson.episode.name}.md, below '## {exercise.name}'.",
                )
    own = {path.stem for path in folder.glob("*.md")} - {lesson.episode.name for lesson in lessons}
    stray = {name for stem in own for name in all_hints_of(folder / f"{stem}.md")}
    for name in sorted(hints.keys() - names - stray):
        yield Finding(
            "helpers/hints/", f"hints for '{name}', which is no exercise", "Mend the heading, or remove them."
        )


def all_hints_of(path: Path) -> set[str]:
    """The exercises in one file of hints."""
    from helpers.hints import read_hints

    return set(read_hints(path.read_text(encoding="utf-8"), path.name))


def words_are_explained_before_they_are_used(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """A word of the glossary stands first where its link is, in the episode that the glossary names."""
    path = root / PLACE
    if not path.is_file():
        return
    terms = read_glossary(path)
    names = [term.names[0].lower() for term in terms]
    for before, after in itertools.pairwise(names):
        if after < before:
            yield Finding(str(PLACE), f"'{after}' stands after '{before}'", "Keep the order of the alphabet.")
    told = {lesson.number: lesson for lesson in lessons}
    texts = {lesson.number: _paragraphs(lesson) for lesson in lessons}
    for term in terms:
        where = f"{PLACE}, '{term.names[0]}'"
        if term.episode not in told:
            if len(lessons) == COURSE_LENGTH:
                yield Finding(where, f"there is no episode {term.episode}", "Name the episode that explains the word.")
            continue
        lesson = told[term.episode]
        links = [place for place, text in enumerate(texts[term.episode]) if _links_to(text, term)]
        if not links:
            yield Finding(
                f"{lesson.where}",
                f"'{term.names[0]}' is in the glossary as a word of this episode, but has no link",
                f"Where it is explained, write [*{term.names[0]}*](#{HEADING}); or change the number in {PLACE}.",
            )
            continue
        for number in sorted(number for number in texts if number is not None and number <= term.episode):
            earlier = texts[number][: links[0]] if number == term.episode else texts[number]
            for text in earlier:
                found = term.pattern().search(LINK.sub("", text))
                if found and found[0].lower() not in EVERYDAY and term.names[0] not in EVERYDAY:
                    yield Finding(
                        told[number].where,
                        f"'{_around(text, found[0])}' uses '{found[0]}', which episode {term.episode} explains later",
                        "Explain it there, or say it in other words.",
                    )
                    break
    for lesson in lessons:
        known = [term for term in terms if lesson.number is None or term.episode <= lesson.number]
        for word in dict.fromkeys(LINK.findall(lesson.markdown())):
            if word != HEADING and not any(term.pattern().fullmatch(word) for term in known):
                yield Finding(
                    lesson.where, f"'{word}' has a link to the glossary, and isn't there", f"Explain it in {PLACE}."
                )
        text = LINK.sub("", "\n\n".join(_paragraphs(lesson)))
        linked = {word.lower() for word in LINK.findall(lesson.markdown())}
        for word in dict.fromkeys(_ITALICS.findall(text)):
            for term in known:
                if term.pattern().fullmatch(word) and not any(term.pattern().fullmatch(one) for one in linked):
                    yield Finding(
                        lesson.where,
                        f"*{word}* is set off, is a word of the glossary, and has no link",
                        f"Write [*{word}*](#{HEADING}) where it first stands.",
                    )


def _links_to(text: str, term: Term) -> bool:
    return any(term.pattern().fullmatch(word) for word in LINK.findall(text))


def _around(text: str, word: str) -> str:
    place = text.find(word)
    return " ".join(text[max(0, place - 25) : place + len(word) + 25].split())


def _paragraphs(lesson: Lesson) -> list[str]:
    """The running text of a lesson: without its head, which looks ahead, headings, tables and alt text."""
    found = []
    for cell in lesson.cells[1:]:
        if cell.cell_type != "markdown" or "nbgrader" in cell.metadata:
            continue
        for paragraph in re.split(r"\n\s*\n", without_code(cell.source)):
            if not paragraph.startswith(("#", "|", ALT_TEXT)):
                found.append(paragraph)
    return found


def links_lead_somewhere(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """Links within the course and its documents lead to what is there, from where students have it."""
    for lesson in lessons:
        where = str(lesson.episode.release.relative_to(root))
        text = "\n\n".join(cell.source for cell in lesson.released if cell.cell_type == "markdown")
        headings = {heading.strip().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
        for match in _MARKDOWN_LINK.finditer(without_code(text)):
            target = match["target"]
            if target.startswith("#"):
                if target[1:] not in headings:
                    yield Finding(where, f"the link {match[0]} leads to no heading", "Name one of this notebook.")
            elif (
                not target.startswith(("https://", "http://"))
                and not (lesson.episode.release.parent / target).is_file()
            ):
                yield Finding(where, f"the link {match[0]} leads nowhere from there", "Link to what students have.")
    for path in (*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))):
        text = without_code(path.read_text(encoding="utf-8"))
        for match in _MARKDOWN_LINK.finditer(text):
            name, _, anchor = match["target"].partition("#")
            if name.startswith(("http:", "https:", "mailto:")):
                continue
            there = (path.parent / name).resolve() if name else path
            if not there.exists():
                found = "leads to nothing"
            elif anchor and there.suffix == ".md" and anchor not in _anchors(there):
                found = f"leads to no heading of {there.name}"
            else:
                continue
            yield Finding(str(path.relative_to(root)), f"the link {match[0]} {found}", "Mend its target.")


def _anchors(path: Path) -> set[str]:
    """The headings of a Markdown file as GitHub links to them."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def helpers_fetch_nothing(root: Path, lessons: Sequence[Lesson]) -> Iterator[Finding]:
    """What a student imports needs no network."""
    for path in sorted((root / "helpers").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
                if isinstance(node, ast.ImportFrom)
                else [ast.unparse(node.func)]
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("get_file", "urlopen"))
                else []
            )
            for name in names:
                if name in _FETCHING_MODULES or name.endswith(("get_file", "urlopen")):
                    yield Finding(
                        f"{path.relative_to(root)}, line {node.lineno}",
                        f"{name} fetches something",
                        "Do without a network.",
                    )


COURSE_RULES: Sequence[Callable[[Path, Sequence[Lesson]], Iterator[Finding]]] = (
    ids_are_unique,
    course_points_add_up,
    exercises_have_hints,
    words_are_explained_before_they_are_used,
    links_lead_somewhere,
    helpers_fetch_nothing,
)


def lint(root: Path, only: Sequence[Episode] = ()) -> list[Finding]:
    """Look through a course.

    Args:
        root: The course folder.
        only: The episodes to look at one by one; all when empty. Rules about the whole course always see all of it.

    Returns:
        What isn't as it should be, lesson by lesson, then what concerns the whole.

    Raises:
        CourseError: A text, a notebook or the glossary cannot be read.
    """
    lessons = [Lesson(episode) for episode in episodes(root)]
    chosen = {episode.name for episode in only} or {lesson.episode.name for lesson in lessons}
    found = [
        finding
        for lesson in lessons
        if lesson.episode.name in chosen
        for rule in LESSON_RULES
        for finding in rule(lesson)
    ]
    return found + [finding for rule in COURSE_RULES for finding in rule(root, lessons)]
