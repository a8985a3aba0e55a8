"""The course's glossary: the file that holds it, and the part of it that stands at the end of each student notebook.

`docs/reference/glossary.md` is edited by people: a paragraph for each word, `**stride** (3): how far ...`, where the
number says in which episode the word is explained. There, the lesson text links it to the heading `Glossary`:
`[*stride*](#Glossary)`. The student notebook ends with a section of that name, made from the words that the episode
uses, so the links work wherever the notebook is opened, without a network and without any other file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.notebooknode import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from autograder.course import EPISODE_NAME
from autograder.errors import CourseError

PLACE = Path("docs") / "reference" / "glossary.md"
#: The heading in the student notebook, which is also the target of the links.
HEADING = "Glossary"
CELL_ID = "glossary"
#: A link to the glossary: the first group is the word as it stands in the text.
LINK = re.compile(rf"\[\*+([^*\]]+?)\*+\]\(#{HEADING}\)")

_ENTRY = re.compile(r"\*\*(?P<names>[^*]+)\*\* \((?P<episode>\d+)\): (?P<text>.+)", re.DOTALL)
_CODE = re.compile(r"^```.*?^```$|^~~~.*?^~~~$|`[^`\n]+`", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Term:
    """One entry of the glossary.

    Attributes:
        names: The word, and others for the same thing: `("convolutional neural network", "CNN")`.
        episode: The number of the episode that explains it.
        text: What it means.
    """

    names: tuple[str, ...]
    episode: int
    text: str

    def pattern(self) -> re.Pattern[str]:
        """What finds the word in a text, in the plural and as a verb too, if it doesn't stand within another word."""
        forms = "|".join(_forms(name) for name in self.names)
        return re.compile(rf"(?<![\w-])(?:{forms})(?![\w-])", re.IGNORECASE)


def _forms(name: str) -> str:
    """A word with the endings that it may have; spaces may be line ends."""
    stem = re.sub(r"\\? ", r"\\s+", re.escape(name))
    if name[-1] == "y":
        return rf"{stem}|{stem[:-1]}ies"
    if name[-1] == "e":
        return rf"{stem}(?:s|d)?|{stem[:-1]}ing"
    return rf"{stem}(?:s|es|{re.escape(name[-1])}?(?:ed|ing))?"


def read_glossary(path: Path) -> list[Term]:
    """Read the glossary.

    Raises:
        CourseError: An entry is malformed, or a word has two entries.
    """
    terms: list[Term] = []
    seen: set[str] = set()
    for paragraph in re.split(r"\n\s*\n", path.read_text(encoding="utf-8")):
        if not paragraph.startswith("**"):
            continue
        match = _ENTRY.fullmatch(paragraph.strip())
        if match is None:
            raise CourseError(
                f"{path}: the entry {paragraph[:50]!r} cannot be read. Expected '**word** (1): what it means.', with "
                "the number of the episode that explains it."
            )
        names = tuple(name.strip() for name in match["names"].split(","))
        for name in names:
            if name.lower() in seen:
                raise CourseError(f"{path}: '{name}' has two entries. Make one of them.")
            seen.add(name.lower())
        terms.append(Term(names, int(match["episode"]), " ".join(match["text"].split())))
    return terms


def without_code(text: str) -> str:
    """Markdown without the code in it."""
    return _CODE.sub("", text)


def terms_used(terms: Iterable[Term], notebook: NotebookNode, episode: int | None = None) -> list[Term]:
    """The words that stand in a notebook's text, without those that only a later episode explains."""
    text = "\n\n".join(without_code(cell.source) for cell in notebook.cells if cell.cell_type == "markdown")
    return [
        term
        for term in terms
        if (episode is None or term.episode <= episode) and term.pattern().search(text) is not None
    ]


class AddGlossary(NbGraderPreprocessor):
    """Put the words of the episode at the end of the student notebook, where the links in the text lead."""

    path = Unicode("", help="The file with the course's glossary; a notebook without one stays as it is.").tag(
        config=True
    )

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        """Add the section, unless no word of the glossary stands in the notebook."""
        if not self.path or not Path(self.path).is_file():
            return nb, resources
        match = EPISODE_NAME.fullmatch(resources.get("nbgrader", {}).get("assignment", ""))
        terms = terms_used(read_glossary(Path(self.path)), nb, int(match[1]) if match else None)
        if terms:
            lines = [f"- **{', '.join(term.names)}**: {term.text}" for term in terms]
            cell = nbformat.v4.new_markdown_cell(
                f"## {HEADING}\n\nThe words of the course that this episode uses.\n\n" + "\n".join(lines)
            )
            cell.id = CELL_ID
            nb.cells.append(cell)
        return nb, resources
