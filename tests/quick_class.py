"""A small class that is graded through everything but kernels: a worker that runs its light cells in this process."""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import nbformat
from small_course import SMALL_EPISODE

from autograder.build import build
from autograder.course import Episode, find_episode
from autograder.jobs import Job, Result
from autograder.schedule import WorkerLost

REPOSITORY = Path(__file__).resolve().parent.parent
#: Answers of a class: right, wrong, raising, untouched, right in another way.
ANSWERS = {
    "ada": "total = 1 + 2 + 3",
    "bob": "total = 7",
    "cyd": "raise RuntimeError('stuck')",
    "dee": None,
    "eve": "numbers = [1, 2, 3]\ntotal = sum(numbers)",
    "fay": "total = 6.0",
}


class QuickPool:
    """Workers without kernels, for notebooks that one trusts.

    Args:
        executed: A file that gets a line for each notebook that is run.
        jobs: How many threads.
    """

    def __init__(self, executed: Path, jobs: int = 2) -> None:
        self.executed, self.workers, self.in_flight, self.name = executed, jobs, 2 * jobs, "threads"
        self.executor: Executor = ThreadPoolExecutor(jobs)

    def get(self, images: object, digest: str) -> QuickPool:
        return self

    def work(self, job: Job) -> Result:
        # One write to a file opened for appending, which a kill leaves there or not.
        handle = os.open(self.executed, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(handle, f"{job.student} {job.key}\n".encode())
        os.close(handle)
        return run_here(job)

    def warm_up(self, workers: int, notebook: str, options: object) -> None:
        pass

    def lost(self, error: BaseException) -> bool:
        return isinstance(error, WorkerLost)

    def close(self) -> None:
        self.executor.shutdown(wait=True, cancel_futures=True)

    def runs(self) -> list[str]:
        """Whose notebooks were run, in order."""
        lines = self.executed.read_text().splitlines() if self.executed.exists() else []
        return [line.split()[0] for line in lines]


def run_here(job: Job) -> Result:
    notebook, space, verdicts = json.loads(job.notebook), {}, []
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        marks = cell["metadata"].get("nbgrader", {})
        message = ""
        try:
            exec(cell["source"], space)
        except Exception as error:
            message = str(error) or type(error).__name__
            cell["outputs"] = [
                {"output_type": "error", "ename": type(error).__name__, "evalue": message, "traceback": [message]}
            ]
        if marks.get("grade"):
            state = "failed" if message else "passed"
            score = 0.0 if message else marks["points"]
            verdicts.append(
                {
                    "grade_id": marks["grade_id"],
                    "state": state,
                    "score": score,
                    "max_score": marks["points"],
                    "message": message,
                    "seconds": 0.0,
                }
            )
    return Result(job.key, json.dumps(notebook), tuple(verdicts), phases={"run": 0.5, "judge": 0.25}, seconds=0.75)


def make_class(root: Path, answers: dict[str, str | None] = ANSWERS, text: str = SMALL_EPISODE) -> Episode:
    """A course with one episode, built, and a class that has handed in."""
    root.mkdir(parents=True, exist_ok=True)
    shutil.copy(REPOSITORY / "nbgrader_config.py", root)
    path = root / "course" / "01-small" / "01-small.md"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    episode = find_episode(root, "1")
    build(episode)
    for student, answer in answers.items():
        hand_in(episode, student, answer)
    return episode


def hand_in(episode: Episode, student: str, answer: str | None, why: str = "Because it commutes.") -> Path:
    """Put a student's copy of the release, with an answer in it, into `submitted/`, in the place of an earlier one."""
    notebook = nbformat.read(episode.release, as_version=4)
    for cell in notebook.cells:
        if cell.id == "add-up" and answer is not None:
            cell.source = answer
        if cell.id == "say-why" and answer is not None:
            cell.source = why
    path = episode.submitted(student) / f"{episode.name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path
