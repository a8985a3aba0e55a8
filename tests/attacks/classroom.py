"""A class full of attackers: the course folder, what they hand in, and what is found after it was graded."""

import base64
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import numpy as np
from nbgrader import utils as nbgrader_utils
from nbgrader.api import Gradebook
from PIL import Image

from .corpus import HERE, POINTS, Attack, Course, HandIn, honest

#: Words that stand only where no student may look, by what they give away.
SECRETS = {
    "solutions": "canary-solution-4b1d",
    "hidden tests": "canary-hidden-51c9",
    "held-out data": "canary-holdout-90e2",
    "other submissions": "canary-neighbour-",
    "environment variables": "canary-environment-c7f0",
    "home folder": "canary-home-2a68",
}

#: The two students who do nothing wrong: the first and the last to be graded.
HONEST = ("aa-honest", "zz-honest")

#: The name that attacks give to what they leave behind.
TRACE = "attack-was-here"

PROGRAMS = Path(sys.executable).parent


def environment(course: Course) -> dict[str, str]:
    """Environment variables of whoever grades: where the data are, and one that is nobody else's business."""
    return {
        "CNN_COURSE_DATA": str(course.root / "data"),
        "CNN_COURSE_HOLDOUT": str(course.root / "data" / "holdout"),
        "ATTACK_CANARY": SECRETS["environment variables"],
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
    }


def build(folder: Path, port: int, configuration: str = "") -> Course:
    """Build the attacked course in `folder` with the real `autograder build`.

    Args:
        folder: Where `course/` and `home/` are made.
        port: Port of the listener that no attack may reach.
        configuration: Python text that is added to the course's `nbgrader_config.py`.
    """
    course = Course(folder / "course", folder / "home", port)
    shutil.copytree(HERE / "course", course.root)
    repository = HERE.parent.parent
    config = (repository / "nbgrader_config.py").read_text(encoding="utf-8")
    (course.root / "nbgrader_config.py").write_text(f"{config}\n{configuration}", encoding="utf-8")
    _draw_data(course.root / "data")
    course.home.mkdir()
    (course.home / "secret.txt").write_text(SECRETS["home folder"])
    subprocess.run(
        [PROGRAMS / "autograder", "build", "all"],
        cwd=course.root,
        env={**os.environ, **environment(course)},
        check=True,
        capture_output=True,
    )
    return course


def _draw_data(folder: Path) -> None:
    """Two images for each class and split, and a table of held-out brightnesses."""
    noise = np.random.default_rng(32)
    splits = [folder / "cifar10_images_small" / split for split in ("train", "val", "test")]
    for split in [*splits, folder / "holdout"]:
        for name in ("airplane", "bird", "cat", "dog", "truck"):
            (split / name).mkdir(parents=True)
            for number in range(2):
                Image.fromarray(noise.integers(0, 256, (32, 32, 3), np.uint8)).save(split / name / f"{number}.png")
    rows = [
        "brightness,time,note",
        *(f"{0.1 * n:.1f},{'night' if n < 5 else 'day'},x" for n in (1, 2, 3, 4, 6, 7, 8, 9)),
    ]
    (folder / "holdout" / "brightness.csv").write_text(
        "\n".join(rows).replace(",x", f",{SECRETS['held-out data']}") + "\n"
    )


def student(attack: Attack) -> str:
    """The id under which an attack is handed in."""
    return f"mm-{attack.id}"


def hand_in(course: Course, episode: str, submissions: dict[str, HandIn], students: Iterable[str] = HONEST) -> None:
    """Put submissions into `submitted/`, with those of honest students."""
    for name in students:
        submissions = {**submissions, name: honest(course, episode, f"canary-neighbour-{name}")}
    for name, submission in submissions.items():
        submission.write(course.root / "submitted" / name / episode)


def marks(course: Course, episode: str) -> dict[str, dict[str, float | None]]:
    """Points of every student by machine-graded exercise; None where a person has to look."""
    found: dict[str, dict[str, float | None]] = {}
    with closing(Gradebook(f"sqlite:///{course.root}/gradebook.db")) as gradebook:
        for submission in gradebook.assignment_submissions(episode):
            found[submission.student.id] = exercises = {}
            for notebook in submission.notebooks:
                for grade in notebook.grades:
                    if grade.cell.name.endswith("-test"):
                        waits = grade.needs_manual_grade and grade.auto_score is None and grade.manual_score is None
                        points = None if waits else grade.score + (grade.extra_credit or 0)
                        exercises[grade.cell.name.removesuffix("-test")] = points
    return found


def fingerprint(course: Course) -> dict[str, str]:
    """A hash of every file that grading has no business to change."""
    kept = ("source", "release", "course", "submitted", "data", "nbgrader_config.py")
    hashes = {}
    for place in [*(course.root / name for name in kept), course.home / "secret.txt"]:
        for path in [place, *place.rglob("*")] if place.is_dir() else [place]:
            if path.is_symlink():
                hashes[str(path)] = str(path.readlink())
            elif path.is_file():
                hashes[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashes


@dataclass
class Found:
    """What came of one attack.

    Attributes:
        unearned: Points above what the submission deserves, by exercise.
        lost: Points that it deserved and did not get, by exercise.
        waits: Exercises that wait for a person.
        secrets: Kinds of secret found in what the student would get back.
        harm: What else it did, in words: to the batch, to others, to the machine.
        text: All text of the graded notebook and its feedback.
    """

    unearned: dict[str, float] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    waits: list[str] = field(default_factory=list)
    secrets: list[str] = field(default_factory=list)
    harm: list[str] = field(default_factory=list)
    text: str = ""


def examine(course: Course, attack: Attack, given: dict[str, float | None] | None, *, test_cells: bool) -> Found:
    """Look at the marks and the graded files of one attack.

    Args:
        course: The course.
        attack: The attack.
        given: Its points by exercise, or None if the gradebook has none.
        test_cells: Whether the outputs of test cells count as places where a secret may not be.
    """
    found = Found()
    worth = attack.worth()
    for exercise, deserved in worth.items():
        # A student without any marks was listed as not graded: a person has to look.
        points = None if given is None else given.get(exercise, 0)
        if points is None:
            found.waits.append(exercise)
        elif points > deserved + 1e-9:
            found.unearned[exercise] = points
        elif points < deserved - 1e-9 and exercise not in attack.may_lose:
            found.lost[exercise] = deserved - points
    for exercise, points in (given or {}).items():
        if exercise not in worth and points:
            found.unearned[exercise] = points
    handed_back = text_of(course, attack, test_cells=test_cells)
    found.text = "\n".join(handed_back)
    for kind, word in SECRETS.items():
        if any(form in text for text in handed_back for form in _forms(word)):
            found.secrets.append(kind)
    if found.lost:
        found.harm.append(f"lost deserved points of {', '.join(found.lost)}")
    if any(worth[exercise] and exercise not in attack.may_lose for exercise in found.waits):
        found.harm.append("left deserved points to a person")
    for step in ("autograded", "feedback"):
        found.harm += [f"left {what}" for what in odd_files(course.root / step / student(attack))]
    return found


def text_of(course: Course, attack: Attack, *, test_cells: bool = True) -> list[str]:
    """Everything that is handed back for an attack but the sources of its notebook's cells."""
    folder = course.root / "autograded" / student(attack) / attack.episode
    texts = []
    for path in _regular_files([folder]):
        if path.name == f"{attack.episode}.ipynb":
            notebook = nbformat.read(path, as_version=4)
            for cell in notebook.cells:
                if cell.get("outputs") and (test_cells or not nbgrader_utils.is_grade(cell)):
                    texts.append(json.dumps(cell.outputs, ensure_ascii=False))
                if cell.cell_type == "markdown" and cell.get("id", "").startswith("grader"):
                    texts.append(cell.source)
        else:
            texts.append(path.read_bytes()[:5_000_000].decode(errors="replace"))
    for path in _regular_files([course.root / "feedback" / student(attack)]):
        texts.append(path.read_text(errors="replace"))
    return texts


def _regular_files(folders: Iterable[Path]) -> list[Path]:
    return [
        path
        for folder in folders
        for path in (folder.rglob("*") if folder.exists() else ())
        if not path.is_symlink() and path.is_file()
    ]


def _forms(word: str) -> list[str]:
    """The word as it is, backwards, in hexadecimal and in base 64 at each of the three offsets."""
    forms = [word, word[::-1], word.encode().hex()]
    for offset in range(3):
        coded = base64.b64encode(b"\0" * offset + word.encode()).decode()
        forms.append(coded[4 if offset else 0 : -4])
    return forms


def odd_files(folder: Path) -> list[str]:
    """Links, devices, FIFOs, sockets and files with more than one name below `folder`."""
    odd = []
    for path in folder.rglob("*") if folder.exists() else ():
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            continue
        if not stat.S_ISREG(status.st_mode):
            odd.append(f"{path.name}, which is no regular file")
        elif status.st_nlink > 1:
            odd.append(f"{path.name}, a hard link")
    return odd


def traces(course: Course, own: Iterable[str] = ()) -> list[str]:
    """Files that an attack left anywhere but in the folders of the students `own`."""
    left = []
    for folder in (course.root, course.home):
        for path in folder.rglob("*"):
            parts = path.relative_to(folder).parts
            if TRACE in path.name and not (len(parts) > 1 and parts[1] in own):
                left.append(str(path))
    return left


def full_marks(episode: str) -> dict[str, float]:
    """What an honest student gets."""
    return dict(POINTS[episode])
