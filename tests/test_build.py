"""From lesson text to instructor notebook to student notebook."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import jupytext
import nbformat
import pytest
from small_course import SMALL_EPISODE

from autograder.build import build, check, read_text
from autograder.course import Episode, episodes, find_episode, find_root
from autograder.errors import CourseError


def small(root: Path) -> Episode:
    return find_episode(root, "01-small")


def text_with(old: str, new: str) -> dict[str, str]:
    assert old in SMALL_EPISODE
    return {"01-small": SMALL_EPISODE.replace(old, new)}


def test_a_release_holds_the_starter_and_neither_solution_nor_hidden_test_nor_model_answer(course_factory):
    episode = small(course_factory())
    build(episode)
    release = nbformat.read(episode.release, as_version=4)
    sources = {cell.id: cell.source for cell in release.cells}
    assert sources["add-up"] == "numbers = [1, 2, 3]\ntotal = ...        # the sum of the numbers"
    assert sources["say-why"] == "*Write your answer here.*"
    everything = episode.release.read_text()
    for secret in ("sum(numbers)", "isinstance", "commutative", "BEGIN", "#?", "jupytext"):
        assert secret not in everything


def test_a_region_without_a_starter_gets_the_stub_of_nbgrader(course_factory):
    episode = small(course_factory(text_with("#? total = ...        # the sum of the numbers\n", "")))
    build(episode)
    cell = next(cell for cell in nbformat.read(episode.release, as_version=4).cells if cell.id == "add-up")
    assert "raise NotImplementedError()" in cell.source


def test_two_regions_in_one_cell_get_their_own_starters_with_their_indents(course_factory):
    region = """\
def double(x):
    ### BEGIN SOLUTION
    #? result = ...
    #?
    #? return result
    return 2 * x
    ### END SOLUTION
### BEGIN SOLUTION
#? total = ...
total = double(3)
### END SOLUTION
"""
    old = SMALL_EPISODE[SMALL_EPISODE.index("### BEGIN SOLUTION") : SMALL_EPISODE.index("```\n\n```python")]
    episode = small(course_factory(text_with(old, region)))
    build(episode)
    cell = next(cell for cell in nbformat.read(episode.release, as_version=4).cells if cell.id == "add-up")
    assert cell.source == ("numbers = [1, 2, 3]\ndef double(x):\n    result = ...\n\n    return result\ntotal = ...")


def test_a_second_build_writes_nothing_and_a_fresh_one_gives_the_same_bytes(course_factory):
    first, second = small(course_factory()), small(course_factory())
    assert len(build(first).changed) == 2
    assert build(first).changed == ()
    build(second)
    assert first.source.read_bytes() == second.source.read_bytes()
    assert first.release.read_bytes() == second.release.read_bytes()


def test_who_reads_a_notebook_while_it_is_built_anew_has_the_whole_one_before(course_factory):
    episode = small(course_factory())
    build(episode)
    old = episode.release.read_bytes()
    episode.text.write_text(SMALL_EPISODE.replace("Add the numbers.", "Add up all of the numbers."))
    with episode.release.open("rb") as reader:
        assert episode.release in build(episode).changed
        assert reader.read() == old
    assert not [path for path in episode.release.parent.iterdir() if path != episode.release]


def test_the_notebooks_carry_stable_ids_no_outputs_and_no_counts(course_factory):
    episode = small(course_factory())
    build(episode)
    for path in (episode.source, episode.release):
        notebook = json.loads(path.read_text())
        ids = [cell["id"] for cell in notebook["cells"]]
        assert ids == ["small-000", "add-up", "add-up-test", "small-003", "say-why"]
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook["cells"])
        assert set(notebook["metadata"]) == {"kernelspec", "language_info"}


def test_check_names_the_file_that_is_out_of_date_and_writes_nothing(course_factory):
    episode = small(course_factory())
    assert any("is missing" in problem for problem in check(episode))
    build(episode)
    assert check(episode) == []
    episode.text.write_text(episode.text.read_text().replace("Add the numbers.", "Add them."))
    before = episode.release.read_bytes()
    problems = check(episode)
    assert len(problems) == 2 and "release/01-small/01-small.ipynb" in problems[1]
    assert episode.release.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"grade_id": "add-up"', '"grade_id": "add up"', "'add up'"),
        ('"grade_id": "add-up-test"', '"grade_id": "add-up"', "used for two cells"),
        (', "points": 2', "", "points are None"),
        ("### END SOLUTION\n", "", "no end solution statement"),
        ("### END HIDDEN TESTS\n", "", "nbgrader cannot make"),
        ("numbers = [1, 2, 3]", "#? numbers = ...", "outside a solution region"),
        ("Add the numbers.", "BEGIN SOLUTION\nEND SOLUTION", "non-solution cell"),
    ],
)
def test_a_faulty_text_is_refused_with_a_message_that_says_what_is_wrong(course_factory, old, new, said):
    episode = small(course_factory(text_with(old, new)))
    with pytest.raises(CourseError) as caught:
        build(episode)
    assert said.lower() in str(caught.value).lower()
    assert not episode.release.exists()


def test_a_hidden_line_copied_into_the_prose_is_found(course_factory):
    line = 'assert isinstance(total, int), "the total must be a whole number and nothing else"'
    episode = small(course_factory(text_with("Add the numbers.", f"Add them. {line}")))
    with pytest.raises(CourseError, match="must not see"):
        build(episode)


def test_nbgraders_own_command_makes_the_same_release(course_factory):
    root = course_factory()
    episode = small(root)
    build(episode)
    ours = episode.release.read_bytes()
    shutil.rmtree(root / "release")
    done = subprocess.run(
        ["nbgrader", "generate_assignment", episode.name], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert episode.release.read_bytes() == ours


def test_an_episode_without_text_is_released_from_its_instructor_notebook(course_factory):
    root = course_factory()
    episode = small(root)
    build(episode)
    ours = episode.release.read_bytes()
    shutil.rmtree(root / "course")
    episode.release.unlink()
    assert [one.name for one in episodes(root)] == ["01-small"]
    assert build(episode).changed == (episode.release,)
    assert episode.release.read_bytes() == ours


def test_pictures_beside_the_text_travel_to_source_and_release(course_factory):
    root = course_factory()
    episode = small(root)
    picture = episode.text.parent / "figures" / "dot.svg"
    picture.parent.mkdir()
    picture.write_text("<svg/>")
    assert len(build(episode).changed) == 4
    for step in ("source", "release"):
        assert (root / step / "01-small" / "figures" / "dot.svg").read_text() == "<svg/>"
    assert check(episode) == []
    (root / "release" / "01-small" / "figures" / "dot.svg").write_text("<svg>old</svg>")
    assert len(check(episode)) == 1


def test_a_file_beside_the_text_that_would_give_the_solution_away_is_refused(course_factory):
    episode = small(course_factory())
    build(episode)
    release = episode.release.read_bytes()
    for name in ("01-small.ipynb", "01-small.md.bak"):
        stray = episode.text.parent / name
        stray.write_bytes(episode.source.read_bytes() if name.endswith("ipynb") else episode.text.read_bytes())
        with pytest.raises(CourseError, match=f"course/01-small/{name} holds"):
            build(episode)
        stray.unlink()
    stray = episode.text.parent / "notes.txt"
    stray.write_bytes("### BEGIN SOLUTION, für später".encode("latin-1"))
    with pytest.raises(CourseError, match=r"notes\.txt holds 'BEGIN SOLUTION'"):
        build(episode)
    stray.unlink()
    (episode.text.parent / "01-small.ipynb").write_text("{}")
    with pytest.raises(CourseError, match="has the name of a notebook that is made"):
        check(episode)
    (episode.text.parent / "01-small.ipynb").unlink()
    (episode.text.parent / "01-small.md.orig").write_bytes(episode.text.read_bytes())  # as git leaves it
    (episode.text.parent / "noise.png").write_bytes(b"\x89PNG #? \xff")
    build(episode)
    assert episode.release.read_bytes() == release
    assert {path.name for path in episode.release.parent.iterdir()} == {"01-small.ipynb", "noise.png"}


def test_a_file_in_a_release_that_nothing_makes_is_found(course_factory):
    episode = small(course_factory())
    build(episode)
    (episode.release.parent / "solution.txt").write_text("6")
    assert check(episode) == ["release/01-small/solution.txt is made from nothing. Delete it, or students get it too."]


@pytest.mark.parametrize("name", ["01-small", "1", "01", "small", "01-small/"])
def test_an_episode_goes_by_its_name_or_its_number(course_factory, name):
    root = course_factory()
    assert find_episode(root, name).name == "01-small"


def test_an_unknown_episode_is_answered_with_the_names_there_are(course_factory):
    with pytest.raises(CourseError, match=r"Did you mean '01-small'\? The episodes are: 01-small"):
        find_episode(course_factory(), "01-smal")


def test_the_course_is_found_from_a_folder_below_it_and_nowhere_else(course_factory, tmp_path):
    root = course_factory()
    assert find_root(root / "course" / "01-small") == root
    with pytest.raises(CourseError, match="No course found"):
        find_root(tmp_path)


def test_the_pairing_of_jupytext_covers_course_and_source_only(course_factory, repository):
    root = course_factory()
    shutil.copy(repository / "jupytext.toml", root)
    episode = small(root)
    build(episode)
    config = jupytext.config.load_jupytext_configuration_file(str(root / "jupytext.toml"))
    assert config.default_formats(str(episode.text))
    assert config.default_formats(str(episode.source))
    assert not config.default_formats(str(episode.release))


def test_editing_the_instructor_notebook_in_a_paired_editor_keeps_the_metadata_of_the_text(course_factory, repository):
    root = course_factory()
    shutil.copy(repository / "jupytext.toml", root)
    episode = small(root)
    build(episode)
    before = read_text(episode.text)
    notebook = nbformat.read(episode.source, as_version=4)
    notebook.cells[0].source += "\n\nOne more line."
    nbformat.write(notebook, episode.source)
    subprocess.run(["jupytext", "--sync", str(episode.source)], cwd=root, check=True, capture_output=True)
    after = read_text(episode.text)
    assert "One more line." in after.cells[0].source
    assert [(cell.id, cell.metadata) for cell in after.cells] == [(cell.id, cell.metadata) for cell in before.cells]


def test_the_committed_notebooks_are_what_the_lesson_texts_make(repository):
    found = episodes(repository)
    assert found
    assert [problem for episode in found for problem in check(episode)] == []
