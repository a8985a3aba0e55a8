"""One submission as a job of plain data, and what comes of it: all that passes between the grader and its workers.

A job names no folder and no database, so that a worker may be a thread of this process or a process of another machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: The parts of a submission's time, in order. `sanitise` and `record` pass in the main process, the others in a worker.
PHASES = ("sanitise", "start", "run", "collect", "judge", "record")


@dataclass(frozen=True)
class Options:
    """How a submission is run and judged, from `nbgrader_config.py`.

    Attributes:
        sandbox: Whether both kernels run in sandboxes.
        attempts: How often to run a notebook in which the grader itself failed.
        collect_seconds: What the student kernel may take to hand over the values of one test cell.
        judge: Numbers of `autograder.judge.JudgeLimits`.
        limits: Numbers of `autograder.limits.Limits`.
        client: Further options of `autograder.student.StudentClient`.
    """

    sandbox: bool = True
    attempts: int = 2
    collect_seconds: float = 60.0
    judge: Mapping[str, Any] = field(default_factory=dict)
    limits: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The options as plain data."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class Job:
    """One submission, ready to be run.

    Attributes:
        key: What the result depends on, as one digest; see `autograder.results`.
        student: Whose submission it is; for messages alone.
        episode: Its episode; for messages alone.
        notebook: The repaired and sanitised notebook as JSON, with the hidden tests in its test cells.
        files: What was handed in beside it: names, relative to the notebook, and contents.
        images: Digest of the images that it is to be run with.
        environment: Digest of the programs that it is to be run with.
        options: How to run it.
    """

    key: str
    student: str
    episode: str
    notebook: str
    files: tuple[tuple[str, bytes], ...] = ()
    images: str = ""
    environment: str = ""
    options: Options = field(default_factory=Options)


@dataclass(frozen=True)
class Result:
    """What a worker found.

    Attributes:
        key: The key of its job.
        notebook: The notebook with its outputs, as JSON.
        verdicts: One for each test cell, as plain data; see `autograder.engine.Verdict`.
        attempts: How often the notebook was run.
        phases: Seconds by phase, as far as the worker measures them.
        seconds: Wall time of all of it in the worker.
        worker: Who did it.
    """

    key: str
    notebook: str
    verdicts: tuple[Mapping[str, Any], ...] = ()
    attempts: int = 1
    phases: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    worker: str = ""

    @property
    def grader_failed(self) -> bool:
        """Whether some test could not be run; such a result is recorded, and never used again."""
        return any(verdict["state"] == "grader failed" for verdict in self.verdicts)

    def to_json(self) -> str:
        """The result as one JSON text."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """The inverse of `to_json`.

        Raises:
            ValueError: The text is no such result.
        """
        try:
            record = json.loads(text)
            return cls(**{**record, "verdicts": tuple(record["verdicts"])})
        except (KeyError, TypeError) as problem:
            raise ValueError(f"not a result: {problem}") from None


def digest(*parts: Any) -> str:
    """A SHA-256 of plain data. Equal data give equal digests on every machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()
