"""The lessons themselves, and the rules that look through them: parts, tests, words, links, reading level."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from autograder.build import build
from autograder.course import Episode, episodes
from autograder.errors import CourseError
from autograder.glossary import read_glossary
from autograder.lint import Lesson, lint
from autograder.reading import HARDEST_GRADE, measure, prose, table

LESSON = """\
# A small lesson

**Reading and running:** 5 minutes · **Exercises:** 10 minutes · **Points:** 20

**Questions**

- How do numbers add up?

**At the end of this episode you can**

- add numbers,
- say why their order does not matter.


## Start

A [*sum*](#Glossary) is what numbers make together.

```python
import keras

keras.utils.set_random_seed(1)
```

```python
plt.show()
```

*Alt text: three bars side by side, of which the one on the right is the highest.*


## Exercise: add up

Add the numbers. *(12 points. Hints: `helpers.hint("add-up")`)*

```python nbgrader={"grade_id": "add-up", "solution": true}
numbers = [1, 2, 3]
### BEGIN SOLUTION
#? total = ...        # the sum of the numbers
total = numbers[0] + numbers[1] + numbers[2]
### END SOLUTION
```

```python nbgrader={"grade_id": "add-up-test", "grade": true, "locked": true, "points": 12}
from helpers import checks

checks.attempted(total=total)
print("Added up.")
### BEGIN HIDDEN TESTS
checks.expect_number(total, "total", whole=True)
checks.fail_unless(total == 6, "total: expected another number")
### END HIDDEN TESTS
```

## Exercise: say why

Why does the order not matter? *(8 points. Hints: `helpers.hint("say-why")`)*

<!-- #region nbgrader={"grade_id": "say-why", "grade": true, "solution": true, "points": 8} -->
**Model answer.** Addition is commutative.

**Rubric.**

- 5 points: says that the sum is the same.
- 3 points: gives an example.
<!-- #endregion -->

## Key points

- Numbers have a sum.
- A sum is a number.
- The order does not matter.


## What comes next

Products.

---

*This text is licensed under CC BY 4.0.*
"""
SECOND = (
    LESSON.replace("add-up", "add-more")
    .replace("say-why", "say-more")
    .replace("small lesson", "second lesson")
    .replace("A [*sum*](#Glossary) is what numbers make together.", "The [*plus sign*](#Glossary) stands between them.")
)
GLOSSARY = """\
# Glossary

**plus sign** (2): what stands between two numbers that are added.

**sum, total** (1): what numbers make
together.
"""
HINTS = "\n\n".join(f"## {name}\n\nThink.\n\n---\n\nCount." for name in ("add-up", "say-why", "add-more", "say-more"))
README = "| 1 | A small lesson | 20 | 8 |\n| 2 | A second lesson | 20 | 8 |\n"


@pytest.fixture
def course(course_factory) -> Path:
    """A course of two lessons in which there is nothing to find."""
    root = course_factory({"01-small": LESSON, "02-second": SECOND})
    (root / "helpers" / "hints").mkdir(parents=True)
    (root / "helpers" / "hints" / "01-small.md").write_text(HINTS)
    (root / "docs" / "reference").mkdir(parents=True)
    (root / "docs" / "reference" / "glossary.md").write_text(GLOSSARY)
    (root / "README.md").write_text(README)
    for episode in episodes(root):
        build(episode)
    return root


def change(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    text = path.read_text(encoding="utf-8")
    assert old in text, "the change changes nothing"
    path.write_text(text.replace(old, new), encoding="utf-8")


def found(root: Path) -> list[str]:
    # A fault that keeps the notebooks from being made is the business of `build`; here they are made where they can be.
    for episode in episodes(root):
        build(episode)
    return [str(finding) for finding in lint(root)]


# --- the course ---


def test_there_is_nothing_to_find_in_the_course(repository):
    findings = [str(finding) for finding in lint(repository)]
    assert findings == [], "\n".join(findings)


def test_every_word_of_the_glossary_is_in_a_student_notebook(repository):
    explained = set()
    for path in sorted((repository / "release").glob("*/*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.id == "glossary":
                explained.update(re.findall(r"^- \*\*(.+?)\*\*: ", cell.source, re.MULTILINE))
    assert {
        ", ".join(term.names) for term in read_glossary(repository / "docs" / "reference" / "glossary.md")
    } == explained


def test_the_instructor_guide_states_the_reading_level_that_is_measured(repository):
    """A word more or less needs no new table; a tenth of a grade is what textstat rounds to."""
    guide = (repository / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    for episode in episodes(repository):
        one = measure(Lesson(episode))
        row = re.search(
            rf"^\| {one.number} \| {re.escape(one.title)} \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \|$", guide, re.M
        )
        assert row, f"docs/instructor-guide.md has no row such as:\n{table([one])}"
        words, length, grade = (float(number.replace(",", "")) for number in row.groups())
        assert abs(words - one.words) <= 0.05 * one.words, table([one])
        assert abs(length - one.words_per_sentence) <= 0.5, table([one])
        assert abs(grade - one.grade) <= 0.3, table([one])


def test_no_episode_is_harder_to_read_than_the_stated_grade(repository):
    guide = (repository / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    assert f"grade {HARDEST_GRADE:g} or below" in guide
    for episode in episodes(repository):
        assert measure(Lesson(episode)).grade <= HARDEST_GRADE, episode.name


def test_the_instructor_guide_has_the_times_points_and_rubrics_of_the_episodes(repository):
    guide = (repository / "docs" / "instructor-guide.md").read_text(encoding="utf-8")
    plain = " ".join(guide.split())
    for episode in episodes(repository):
        lesson = Lesson(episode)
        times = re.findall(r"(\d+) minutes", lesson.cells[0].source)
        row = f"| {lesson.number} | {lesson.title} | {times[0]} min | {times[1]} min | {lesson.points:g} | "
        assert f"{row}{lesson.written_points:g} |" in guide, f"docs/instructor-guide.md has no row '{row}'"
        assert f"### Episode {lesson.number}: {lesson.title}" in guide
        for exercise in lesson.exercises:
            if exercise.written:
                assert f"**Rubric of `{exercise.name}`** ({exercise.points:g} points)" in guide
                rubric = exercise.cell.source.partition("**Rubric.**")[2]
                for line in re.split(r"^- ", rubric, flags=re.MULTILINE)[1:]:
                    told = " ".join(line.split())
                    assert told in plain, f"instructor-guide.md, rubric of '{exercise.name}': expected '{told}'"


# --- the rules ---


def test_a_good_course_has_no_findings(course):
    assert found(course) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("# A small lesson", "## A small lesson", "it doesn't begin with a title"),
        (" · **Exercises:** 10 minutes", "", "no line with times and points below the title"),
        ("**Points:** 20", "**Points:** 19", "it says 19 points, it"),
        ("**Questions**", "**Asked**", "it has no part 'Questions'"),
        ("- add numbers,\n- say", "- say", "At the end of this episode you can'"),
        ("## Key points", "## Sum", "it has no part 'Key points'"),
        ("## What comes next", "## Then", "it has no part 'What comes next'"),
        ("CC BY 4.0", "a licence", "neither what it is based on nor its licence"),
        ("12 points.", "11 points.", "exercise 'add-up': its prompt tells of [(11, 'add-up')]"),
        ('(12 points. Hints: `helpers.hint("add-up")`)', "(12 points)", "tells of no points and no hint"),
        ('"grade_id": "add-up", ', '"grade_id": "other", ', "exercise 'add-up': no solution cell with this id"),
        ("## Exercise: add up", "## Add up", "exercise 'add-up': no heading '## Exercise: ...' before it"),
        ('"locked": true, "points": 12', '"locked": true, "points": 2', "10 points in all. Give it 18 to 22"),
        ("checks.attempted(total=total)\n", "", "test 'add-up-test': the visible part checks nothing"),
        ("HIDDEN TESTS", "OTHER TESTS", "test 'add-up-test': no hidden tests"),
        ("checks.attempted(total=total)\n", "checks.attempted(total=\n", "test 'add-up-test': the cell is no Python"),
        ('checks.expect_number(total, "total", whole=True)\n', "", "test 'add-up-test': 1 check(s) in the hidden part"),
        (
            'checks.fail_unless(total == 6, "total: expected another number")',
            'checks.expect_array([total], "total")',
            "it ends with checks.expect_array(...), which returns a value",
        ),
        ("**Model answer.** ", "", "written answer 'say-why': no model answer"),
        ("- 3 points:", "- 2 points:", "its rubric makes 7 points, the answer is worth 8"),
        ("*Alt text: three", "*Three", "cell 'small-003': a figure without alt text"),
        (": three bars side by side, of which the one on the right is the highest.", ": bars.", "says little"),
        ("Products.", "![](bars.png)", "the image bars.png has hardly any alt text"),
        ("Products.", "<img src='bars.png'>", "<img src='bars.png'> has no alt text"),
        ("keras.utils.set_random_seed(1)\n", "", "0 seed call(s)"),
        ("plt.show()", "plt.show()\nkeras.utils.set_random_seed(2)", "2 seed call(s)"),
        ("plt.show()", 'plt.show()\nkeras.utils.get_file("a", "b")', "'get_file(' would fetch something at run time"),
        ("plt.show()", "plt.show()\nkeras.applications.VGG16()", "'keras.applications' would fetch something"),
        ("plt.show()", "plt.show()\n!pip install torch", "'!pip' would fetch something at run time"),
        (
            "Add the numbers.",
            "Add the numbers:\n\n    total = numbers[0] + numbers[1] + numbers[2]\n\n",
            "it holds a line of the answer to 'add-up'",
        ),
        ("[*sum*](#Glossary)", "*sum*", "'sum' is in the glossary as a word of this episode, but has no link"),
        ("Products.", "The [*product*](#Glossary).", "'product' has a link to the glossary, and isn't there"),
        ("Products.", "The plus signs, soon.", "uses 'plus signs', which episode 2 explains later"),
        ("Products.", "[Products](#Products)", "the link [Products](#Products) leads to no heading"),
        ("Products.", "[Products](../../docs/products.md)", "leads nowhere from there"),
    ],
)
def test_a_fault_in_a_lesson_is_found_and_named(course, old, new, says):
    change(course, "course/01-small/01-small.md", old, new)
    findings = found(course)
    assert any(says in finding for finding in findings), findings
    assert all("01-small" in finding or "README" in finding or "glossary" in finding for finding in findings), findings


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("course/02-second/02-second.md", "say-more", "say-why", "01-small.md has an exercise of this id too"),
        ("course/02-second/02-second.md", "The [*plus", "The sign, the *sum*. The [*plus", "*sum* is set off"),
        ("README.md", "| 1 | A small lesson | 20 | 8 |", "| 1 | A small lesson | 20 | 6 |", "Write '| 1 | A small"),
        (
            "helpers/hints/01-small.md",
            "## add-up\n\nThink.\n\n---\n\n",
            "## add-up\n\n",
            "exercise 'add-up': 1 hint(s)",
        ),
        ("helpers/hints/01-small.md", "## add-more", "## add-moore", "hints for 'add-moore', which is no exercise"),
        (
            "docs/reference/glossary.md",
            "**plus sign** (2)",
            "**sum sign** (2)",
            "'sum sign' is in the glossary as a word of this",
        ),
        ("docs/reference/glossary.md", "**plus sign** (2)", "**tally, plus sign** (2)", "'sum' stands after 'tally'"),
        (
            "README.md",
            "| 1 |",
            "[The guide](docs/guide.md)\n| 1 |",
            "the link [The guide](docs/guide.md) leads to nothing",
        ),
        ("README.md", "| 1 |", "[Sums](docs/reference/glossary.md#sums)\n| 1 |", "leads to no heading of glossary.md"),
    ],
)
def test_a_fault_in_the_course_is_found_and_named(course, name, old, new, says):
    change(course, name, old, new)
    findings = found(course)
    assert any(says in finding for finding in findings), findings


def test_a_helper_that_fetches_something_is_found(course):
    (course / "helpers" / "more.py").write_text("from urllib.request import urlopen\n")
    assert any("helpers/more.py, line 1: urllib.request fetches something" in finding for finding in found(course))


def test_an_answer_that_got_into_a_release_is_found(course):
    """Nothing is built here: somebody edited the student notebook by hand."""
    change(course, "release/01-small/01-small.ipynb", "total = ...", "total = numbers[0] + numbers[1] + numbers[2]")
    findings = [str(finding) for finding in lint(course)]
    assert any("release/01-small/01-small.ipynb, cell 'add-up': it holds a line of the" in one for one in findings)


def test_a_line_that_the_lesson_has_shown_before_may_be_its_answer_too(course):
    line = "total = numbers[0] + numbers[1] + numbers[2]"
    change(course, "course/01-small/01-small.md", "plt.show()", f"{line}\nplt.show()")
    assert found(course) == []


def test_a_course_whose_points_are_far_from_the_total_is_found(course):
    for number in range(3, 8):
        name = f"0{number}-more"
        folder = course / "course" / name
        folder.mkdir()
        text = LESSON.replace("add-up", f"add-{number}").replace("say-why", f"say-{number}")
        text = (
            text.replace("[*sum*](#Glossary)", "thing").replace('"points": 12', '"points": 14').replace("12 p", "14 p")
        )
        (folder / f"{name}.md").write_text(text.replace("**Points:** 20", "**Points:** 22"))
    assert any("course/: 150 points in all. Expected 135 to 145" in finding for finding in found(course))


# --- the glossary in the student notebook ---


def test_a_student_notebook_ends_with_the_words_that_it_uses_and_no_word_of_a_later_episode(course):
    change(course, "course/01-small/01-small.md", "Products.", "A plus\nsign.")
    build(Episode(course, "01-small"))
    last = nbformat.read(course / "release/01-small/01-small.ipynb", as_version=4).cells[-1]
    assert last.id == "glossary"
    assert last.source.startswith("## Glossary\n")
    assert last.source.endswith("- **sum, total**: what numbers make together.")
    assert "plus sign" not in last.source


def test_a_word_of_an_earlier_episode_is_explained_again(course):
    change(course, "course/02-second/02-second.md", "Products.", "The total. Or sums.")
    build(Episode(course, "02-second"))
    last = nbformat.read(course / "release/02-second/02-second.ipynb", as_version=4).cells[-1]
    assert "**plus sign**" in last.source
    assert "**sum, total**" in last.source


def test_without_a_glossary_a_notebook_stays_as_it_is(course):
    (course / "docs" / "reference" / "glossary.md").unlink()
    build(Episode(course, "01-small"))
    cells = nbformat.read(course / "release/01-small/01-small.ipynb", as_version=4).cells
    assert all(cell.id != "glossary" for cell in cells)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("**plus sign** (2): ", "**plus sign**: ", "the entry '**plus sign**: what stands"),
        ("**plus sign** (2)", "**total** (2)", "'total' has two entries"),
    ],
)
def test_a_glossary_that_cannot_be_read_is_refused_with_the_reason(course, old, new, says):
    change(course, "docs/reference/glossary.md", old, new)
    with pytest.raises(CourseError, match=re.escape(says)):
        read_glossary(course / "docs" / "reference" / "glossary.md")


@pytest.mark.parametrize(
    ("name", "finds", "leaves"),
    [
        ("batch", ["batches", "Batch"], ["batched up", "batcher"]),
        ("leaky", ["leaky", "leakies"], ["leak"]),
        ("crop", ["cropped", "cropping", "crops"], ["crop-like"]),
        ("shuffle", ["shuffled", "shuffling"], ["reshuffle"]),
        ("neural network", ["neural\nnetworks"], ["neural net"]),
    ],
)
def test_a_word_is_found_in_the_plural_and_as_a_verb(tmp_path, name, finds, leaves):
    path = tmp_path / "glossary.md"
    path.write_text(f"**{name}** (1): a word.\n")
    pattern = read_glossary(path)[0].pattern()
    for text in finds:
        assert pattern.fullmatch(text), text
    for text in leaves:
        assert not pattern.fullmatch(text), text


# --- the reading level ---


def test_only_running_text_is_measured(course):
    text = prose(Lesson(Episode(course, "01-small")))
    assert "A sum is what numbers make together." in text
    for other in (
        "minutes",
        "How do",
        "Alt text",
        "bars",
        "import",
        "commutative",
        "Rubric",
        "Hints",
        "Key",
        "licence",
    ):
        assert other not in text, other


def test_longer_words_and_sentences_make_a_text_harder(course):
    easy = measure(Lesson(Episode(course, "01-small")))
    change(
        course,
        "course/01-small/01-small.md",
        "Products.",
        "Subsequently, multiplicative operations necessitate considerably more sophisticated arithmetical "
        "considerations, notwithstanding their superficially comparable characteristics.",
    )
    hard = measure(Lesson(Episode(course, "01-small")))
    assert hard.grade > easy.grade + 3
    assert hard.words > easy.words


def test_the_command_shows_findings_or_the_reading_level(course, monkeypatch, capsys):
    from autograder import cli

    monkeypatch.chdir(course)
    monkeypatch.setattr("sys.argv", ["autograder", "lint", "--reading"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    assert "| 1 | A small lesson | " in capsys.readouterr().out
    shutil.rmtree(course / "helpers" / "hints")
    monkeypatch.setattr("sys.argv", ["autograder", "lint", "1"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 1
    assert "exercise 'add-up': 0 hint(s)" in capsys.readouterr().out
