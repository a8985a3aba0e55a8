"""The same corpus against plain nbgrader with its default preprocessors: `python -m tests.attacks.baseline`.

Each attack is graded by `nbgrader autograde` without any configuration, with an honest student after it, in a
throwaway container and a throwaway copy of the course. The result is `baseline.json`; it takes a quarter of an hour.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue

from . import classroom, container
from .corpus import HERE, Attack, Course, load, submission

DATA = HERE / "baseline.json"
PORT = 47654
WORKERS = 2

#: The honest student who is graded after the attacker.
LAST = classroom.HONEST[1]

#: Seconds for three notebooks; plain nbgrader ends a cell after 30 s, so that a batch that takes longer hangs.
WALL_SECONDS = {"01-attacks": 120, "02-model": 180}


@dataclass(frozen=True)
class Result:
    """What an attack did to plain nbgrader.

    Attributes:
        family: Family of the attack.
        points: Whether it got points that it did not earn.
        secrets: Which secrets it got hold of.
        harm: What it did to the batch, to others or to the machine.
    """

    family: str
    points: bool
    secrets: list[str]
    harm: list[str]


@contextmanager
def plain_course() -> Iterator[Course]:
    """The attacked course with nbgrader's own defaults, in a temporary folder that any user may reach."""
    with tempfile.TemporaryDirectory(prefix="plain-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        course = classroom.build(folder, PORT)
        (course.root / "nbgrader_config.py").unlink()
        kept = folder / "release"
        shutil.copytree(course.root / "release", kept)
        for episode in classroom.POINTS:
            made = _nbgrader(course, "generate_assignment", episode, "--force", wall_seconds=120)
            if made.status != 0:
                raise RuntimeError(f"nbgrader generate_assignment failed: {made.output[-2000:]}")
        shutil.rmtree(course.root / "release")
        # The same student notebooks for both graders.
        shutil.copytree(kept, course.root / "release")
        # As in every course folder of nbgrader's: without it, commands don't know the root.
        (course.root / "nbgrader_config.py").write_text("c = get_config()\n")
        yield course


#: One for each container that runs at the same time: a limit of processes counts all that a user has.
USERS: SimpleQueue[int] = SimpleQueue()
for number in range(WORKERS):
    USERS.put(container.USER + number)


def _nbgrader(course: Course, *arguments: str, wall_seconds: int, port: int = 0) -> container.Outcome:
    user = USERS.get()
    try:
        return container.run(
            [sys.executable, "-m", "nbgrader", *arguments],
            course.root,
            course.home,
            wall_seconds=wall_seconds,
            environment=classroom.environment(course),
            defenceless=True,
            port=port,
            user=user,
        )
    finally:
        USERS.put(user)


def attack_plain_nbgrader(template: Course, attack: Attack) -> Result:
    """Let plain nbgrader grade a class of one attacker and an honest student."""
    with tempfile.TemporaryDirectory(prefix="attacked-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(template.root, folder / "course")
        shutil.copytree(template.home, folder / "home")
        course = Course(folder / "course", folder / "home", template.port)
        classroom.hand_in(course, attack.episode, {classroom.student(attack): submission(attack, course)}, [LAST])
        before = classroom.fingerprint(course)
        outcome = _nbgrader(course, "autograde", attack.episode, wall_seconds=WALL_SECONDS[attack.episode], port=PORT)
        harm = []
        try:
            marks = classroom.marks(course, attack.episode)
        except Exception as error:
            marks = {}
            harm.append(f"destroyed the gradebook ({type(error).__name__})")
        found = classroom.examine(course, attack, marks.get(classroom.student(attack)), test_cells=False)
        harm += found.harm
        if outcome.status is None:
            harm.append("hung or ended the batch")
        if marks.get(LAST) != classroom.full_marks(attack.episode):
            harm.append("cost another student marks" if LAST in marks else "left another student ungraded")
        if classroom.fingerprint(course) != before:
            harm.append("changed files of the course or of other students")
        if outcome.left:
            harm.append("left processes behind")
        if outcome.files or classroom.traces(course, own=(classroom.student(attack),)):
            harm.append("left files behind")
        if outcome.reached:
            harm.append("reached the network")
        return Result(attack.family, bool(found.unearned), found.secrets, harm)


def main() -> None:
    """Run the attacks that are asked for and keep what came of them in `baseline.json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("attacks", nargs="*", help="ids of attacks; all when none is named")
    parser.add_argument("--missing", action="store_true", help="only those that baseline.json does not hold yet")
    options = parser.parse_args()
    record = json.loads(DATA.read_text()) if DATA.exists() else {}
    results = record.get("attacks", {})
    corpus = load()
    chosen = [a for a in corpus if not options.attacks or a.id in options.attacks]
    if options.missing:
        chosen = [a for a in chosen if a.id not in results]
    with plain_course() as template, ThreadPoolExecutor(WORKERS) as pool:
        tried = pool.map(partial(attack_plain_nbgrader, template), chosen)
        for attack, result in zip(chosen, tried, strict=True):
            results[attack.id] = asdict(result)
            print(f"{attack.id}: points {result.points}, secrets {result.secrets}, harm {result.harm}", flush=True)
            kept = {a.id: results[a.id] for a in corpus if a.id in results}
            DATA.write_text(json.dumps({"nbgrader": version("nbgrader"), "attacks": kept}, indent=1) + "\n")


if __name__ == "__main__":
    main()
