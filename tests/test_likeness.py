"""Which answers count as much alike, and which alikeness means nothing."""

from __future__ import annotations

import json

import pytest

from autograder.build import build
from autograder.course import find_episode
from autograder.likeness import fingerprints, pairs, pairs_of

STARTER = "largest = ...\nfor number in numbers:\n    pass\n"
ODD = """
def search(values, start=17):
    best, place = values[0], 0
    for position, value in enumerate(values[1:], start=1):
        if value * 3 - 2 > best * 3 - 2 and position % 97 != 96:
            best, place = value, position
    return {"best": best, "place": place, "seen": len(values) + start - 17}

largest = search(numbers)["best"]
"""
RENAMED = '''
# my own work
def find(xs, offset=17):
    """Finds the largest."""
    top, where = xs[0], 0
    for i, x in enumerate(xs[1:], start=1):

        if x * 3 - 2 > top * 3 - 2 and i % 97 != 96:
            top, where = x, i   # a better one
    return {"best": top, "place": where, "seen": len(xs) + offset - 17}
largest = find(numbers)["best"]
'''


def honest(number: int) -> str:
    """As many ways to do it as there are numbers."""
    steps = "".join(f"    total_{at} = numbers[{at}] * {number + at} - {number}\n" for at in range(4))
    return f"def way_{number}():\n{steps}    return max(numbers)\n\nlargest = way_{number}()\n"


def whole_class(*more: str, common: str = "") -> dict[str, dict[str, str]]:
    sources = [honest(number) + common for number in range(30)] + list(more)
    return {f"student-{at:02}": {"largest": source} for at, source in enumerate(sources)}


def test_a_copy_with_other_names_comments_and_layout_is_found():
    found = pairs(whole_class(ODD, RENAMED), {"largest": STARTER})
    assert [(pair.left, pair.right) for pair in found] == [("student-30", "student-31")]
    assert found[0].likeness > 0.95 and found[0].exercises == ("largest",)


def test_names_comments_and_layout_change_no_fingerprint():
    assert fingerprints(ODD) == fingerprints(RENAMED) != set()
    assert fingerprints(ODD) != fingerprints(ODD.replace("97", "96"))


def test_a_magic_inside_a_block_hides_no_copy():
    magic = ODD.replace("    return", "    if start > 5:\n        %timeit values\n    return", 1)
    assert len(fingerprints(magic) & fingerprints(ODD)) > 10


def test_the_likeness_of_a_pair_does_not_hang_on_the_order_of_a_set():
    found = pairs(whole_class(ODD, RENAMED, ODD), {"largest": STARTER})
    assert {pair.likeness for pair in found} == {1.0}


def test_different_ways_to_the_same_end_are_no_pair():
    assert pairs(whole_class(), {"largest": STARTER}) == []


def test_what_everybody_writes_is_no_sign_of_anything():
    everybody = "\n".join(f"step_{at} = [n + {at} for n in numbers if n % {at + 2} > {at}]" for at in range(20))
    assert pairs(whole_class(common=everybody), {"largest": STARTER}) == []


def test_the_starter_is_no_sign_of_anything():
    long_starter = STARTER + ODD
    few = {name: {"largest": long_starter} for name in ("ada", "grace")}
    assert pairs(few, {"largest": long_starter}) == []
    assert len(pairs(few, {"largest": STARTER})) == 1


def test_the_same_few_short_lines_are_no_sign_of_anything():
    assert pairs({name: {"largest": "largest = max(numbers)"} for name in ("ada", "grace")}, {}) == []


@pytest.mark.parametrize("source", ["def broken(:", "", "%matplotlib inline\n!ls", "\0", "(" * 5000])
def test_what_is_no_python_has_no_fingerprints(source):
    assert fingerprints(source) == set()


def test_the_pairs_of_a_graded_class_are_found_in_its_notebooks(course_factory):
    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    release = json.loads(episode.release.read_text())
    for student, source in {"ada": ODD, "grace": RENAMED, "emil": honest(3)}.items():
        for cell in release["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("grade_id") == "add-up":
                cell["source"] = source
        path = episode.autograded(student)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(release))
    broken = episode.autograded("broken")
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    assert [(pair.left, pair.right) for pair in pairs_of(episode)] == [("ada", "grace")]
