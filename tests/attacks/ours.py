"""The corpus against this course's own grader: `python -m tests.attacks.ours`, and what the tests look at.

A class of all attackers and two honest students is graded by `autograder grade`, as it would be for a real class. The
command keeps the result in `ours.json`, for the table of the threat model.
"""

import json
import socket
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from . import classroom, container
from .corpus import HERE, Attack, Course, load, submission

DATA = HERE / "ours.json"
#: The same corpus through `nbgrader autograde` with this course's configuration.
THROUGH_NBGRADER = DATA.with_name("ours_through_nbgrader.json")

#: Limits that are low, so that the attacks which run into them do so soon. Keras needs more room and time.
LOW_LIMITS = {
    "01-attacks": {
        "cell_seconds": 4,
        "notebook_seconds": 16,
        "grace_seconds": 1,
        "cpu_seconds": 60,
        "memory_bytes": 1 << 30,
        "processes": 64,
        "work_bytes": 64 << 20,
        "file_bytes": 32 << 20,
        "tmp_bytes": 32 << 20,
        "shm_bytes": 32 << 20,
        "files": 5000,
        "output_bytes": 256 << 10,
    },
    "02-model": {"cell_seconds": 60, "notebook_seconds": 180, "grace_seconds": 1, "output_bytes": 256 << 10},
}
JUDGE_LIMITS = "c.JudgedExecute.test_timeout = 30\nc.JudgedExecute.collect_timeout = 10\n"

#: Seconds for a whole class; far above what the limits of its notebooks add up to.
WALL_SECONDS = 1500


@dataclass
class Class:
    """A graded class.

    Attributes:
        course: Its course folder.
        episode: What was graded.
        attacks: The attacks handed in, by id.
        outcome: How `autograder grade` ended.
        marks: Points by student and exercise.
        found: What came of each attack, by id.
        changed: Files of the course or of students that are not as they were.
        traces: Files that attacks left behind.
        reached: What the listener heard that nobody may reach.
    """

    course: Course
    episode: str
    attacks: dict[str, Attack]
    outcome: container.Outcome
    marks: dict[str, dict[str, float | None]]
    found: dict[str, classroom.Found]
    changed: list[str]
    traces: list[str]
    reached: list[str]


def grade(folder: Path, episode: str, attacks: list[Attack], *, with_nbgrader: bool = False) -> Class:
    """Build the course, hand in `attacks` between two honest students, grade, hand back, and look at what is there.

    Args:
        folder: An empty folder, reachable for any user.
        episode: The episode.
        attacks: Attacks on that episode.
        with_nbgrader: Whether nbgrader's own commands grade and hand back, with this course's configuration.
    """
    port = _free_port()
    reached: list[str] = []
    limits = (f"c.GradingLimits.{name} = {value}\n" for name, value in LOW_LIMITS[episode].items())
    course = classroom.build(folder, port, JUDGE_LIMITS + "".join(limits))
    with container.listening(port, reached, course.root):
        handed_in = {classroom.student(attack): submission(attack, course) for attack in attacks}
        classroom.hand_in(course, episode, handed_in)
        before = classroom.fingerprint(course)
        if with_nbgrader:
            made = _run(course, "nbgrader", "generate_assignment", episode, "--force")
            if made.status != 0:
                raise RuntimeError(f"nbgrader generate_assignment failed: {made.output[-2000:]}")
            before = classroom.fingerprint(course)
            outcome = _run(course, "nbgrader", "autograde", episode)
            _run(course, "nbgrader", "generate_feedback", episode)
        else:
            outcome = _run(course, "autograder", "grade", episode)
            _run(course, "autograder", "feedback", episode)
        marks = classroom.marks(course, episode)
        after = classroom.fingerprint(course)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        return Class(
            course=course,
            episode=episode,
            attacks={attack.id: attack for attack in attacks},
            outcome=outcome,
            marks=marks,
            found={
                attack.id: classroom.examine(course, attack, marks.get(classroom.student(attack)), test_cells=True)
                for attack in attacks
            },
            changed=changed,
            traces=[*outcome.files, *classroom.traces(course)],
            reached=list(reached),
        )


def _run(course: Course, program: str, *arguments: str) -> container.Outcome:
    return container.run(
        [str(classroom.PROGRAMS / program), *arguments],
        course.root,
        course.home,
        wall_seconds=WALL_SECONDS,
        environment=classroom.environment(course),
    )


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def record(graded: Class) -> dict[str, dict]:
    """What came of each attack in the form of `baseline.json`."""
    return {
        name: {
            "family": graded.attacks[name].family,
            "points": bool(found.unearned),
            "secrets": found.secrets,
            "harm": found.harm,
        }
        for name, found in graded.found.items()
    }


def grade_corpus(folder: Path, attacks: list[Attack], *, with_nbgrader: bool = False) -> list[Class]:
    """Grade attacks in classes, two at a time: two classes of the attacks without TensorFlow, one of those with it.

    Args:
        folder: Where the courses of the classes go.
        attacks: The attacks.
        with_nbgrader: Whether the command `nbgrader autograde` grades, with this course's configuration.
    """
    cheap = [attack for attack in attacks if attack.episode == "01-attacks"]
    classes = [cheap[0::2], cheap[1::2], [attack for attack in attacks if attack.episode == "02-model"]]

    def one(number: int) -> Class:
        place = folder / f"class-{number}"
        place.mkdir()
        return grade(place, classes[number][0].episode, classes[number], with_nbgrader=with_nbgrader)

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, [number for number, members in enumerate(classes) if members]))


def main() -> None:
    """Grade the whole corpus, or the attacks that are named, and keep the result.

    With `--nbgrader` as the first argument, the command `nbgrader autograde` grades, with this course's configuration.
    """
    wanted = sys.argv[1:]
    with_nbgrader = wanted[:1] == ["--nbgrader"]
    wanted = wanted[1:] if with_nbgrader else wanted
    data = THROUGH_NBGRADER if with_nbgrader else DATA
    results: dict[str, dict] = json.loads(data.read_text())["attacks"] if wanted and data.exists() else {}
    corpus = load()
    with tempfile.TemporaryDirectory(prefix="graded-") as name:
        Path(name).chmod(0o755)
        chosen = [attack for attack in corpus if not wanted or attack.id in wanted]
        for graded in grade_corpus(Path(name), chosen, with_nbgrader=with_nbgrader):
            results |= record(graded)
            print(graded.outcome.output)
            print("status", graded.outcome.status, "processes", graded.outcome.left, "changed", graded.changed)
            print("traces", graded.traces, "reached", graded.reached)
            print({student: marks for student, marks in graded.marks.items() if student in classroom.HONEST})
            for attack, found in graded.found.items():
                print(attack, found.unearned, "lost", found.lost, "waits", found.waits, found.secrets, found.harm)
    data.write_text(json.dumps({"attacks": {a.id: results[a.id] for a in corpus if a.id in results}}, indent=1) + "\n")


if __name__ == "__main__":
    main()
