"""How hard a lesson is to read: the Flesch-Kincaid grade of its prose.

The grade is that of Kincaid, Fishburne, Rogers and Chissom, *Derivation of New Readability Formulas* (1975):
0.39 words per sentence + 11.8 syllables per word - 15.59, as textstat computes it. A text of grade 8 is one that pupils
in their eighth year of school read without trouble. Only running text counts: no code, no headings, no tables, no alt
text, no head and no foot, and no model answers, which students don't see.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from autograder.errors import CourseError
from autograder.glossary import LINK, without_code
from autograder.lint import ALT_TEXT, Lesson

#: No episode is to be harder than this. The course is for people after their first workshop of Python.
HARDEST_GRADE = 6.0


@dataclass(frozen=True)
class Reading:
    """What was measured of one episode.

    Attributes:
        number: The number of the episode.
        title: Its title.
        words: How many words of prose it has.
        words_per_sentence: On average.
        grade: The Flesch-Kincaid grade.
    """

    number: int | None
    title: str
    words: int
    words_per_sentence: float
    grade: float


def prose(lesson: Lesson) -> str:
    """The running text of a lesson, a line for each paragraph or entry of a list; inline code is one short word."""
    return "\n".join(_sentences(lesson))


def _sentences(lesson: Lesson) -> Iterator[str]:
    for cell in lesson.cells[1:]:
        if cell.cell_type != "markdown" or "nbgrader" in cell.metadata:
            continue
        text = re.sub(r"`[^`\n]+`", "it", cell.source)
        for paragraph in re.split(r"\n\s*\n", without_code(text)):
            if paragraph.startswith(("#", "|", "---", "    ", ALT_TEXT)) or "CC BY" in paragraph:
                continue
            paragraph = re.sub(r"\*\(\d+ points?\..*?\)\*", "", paragraph, flags=re.DOTALL)
            for item in re.split(r"\n(?=\s*(?:[-*>] |\d+\. ))", paragraph):
                plain = LINK.sub(r"\1", item)
                plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", plain)
                plain = re.sub(r"^\s*(?:[->*]|\d+\.)\s+|[*_>]", "", plain)
                plain = " ".join(plain.split())
                if re.search(r"[A-Za-z]{2}", plain):
                    yield plain if plain[-1] in ".!?:" else f"{plain}."


def measure(lesson: Lesson) -> Reading:
    """Measure one episode.

    Raises:
        CourseError: textstat isn't installed.
    """
    try:
        import textstat
    except ImportError:
        raise CourseError(
            "The reading level is measured with textstat, which isn't installed. Run "
            "`pip install -c constraints.txt -e '.[grading,test]'`."
        ) from None
    # A colon before a list or an example ends a thought as a full stop does.
    text = re.sub(r":(?=\n|$)", ".", prose(lesson))
    words, sentences = textstat.lexicon_count(text), textstat.sentence_count(text)
    return Reading(
        lesson.number, lesson.title, words, round(words / sentences, 1), round(textstat.flesch_kincaid_grade(text), 1)
    )


def table(readings: Sequence[Reading]) -> str:
    """The measurements as a Markdown table."""
    rows = [
        f"| {one.number} | {one.title} | {one.words:,} | {one.words_per_sentence:.1f} | {one.grade:.1f} |"
        for one in readings
    ]
    head = ["| | episode | words | words a sentence | grade |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *rows])
