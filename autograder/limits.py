"""How much a student's notebook may use: one frozen set of numbers, checked when it is made.

`Limits` is what the sandbox and the student client read. `GradingLimits` is its face in `nbgrader_config.py`:

    c.GradingLimits.cell_seconds = 120
    c.GradingLimits.memory_bytes = 6 * 2**30
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from traitlets import Float, Integer
from traitlets.config import Config, Configurable

from autograder.errors import CourseError
from autograder.settings import made

KIB, MIB, GIB = 2**10, 2**20, 2**30


@dataclass(frozen=True)
class Limits:
    """Limits of one student kernel and of the notebook that runs in it.

    Times are wall-clock seconds unless said otherwise; sizes are bytes.

    Attributes:
        cell_seconds: One cell.
        notebook_seconds: All cells of one notebook together, replays after a restart included, judging not.
        cpu_seconds: Processor time of all processes of one kernel together.
        grace_seconds: What an interrupted cell has to come to its end before its kernel is killed.
        memory_bytes: Memory of all processes of one kernel together, shared pages counted once.
        processes: Processes and threads of one kernel together.
        file_bytes: One file.
        work_bytes: The work folder, with what was handed in.
        tmp_bytes: `/tmp`.
        shm_bytes: `/dev/shm`.
        files: Files and folders in the work folder, `/tmp` and `/dev/shm`, each.
        output_bytes: What one cell may leave in the notebook: text, figures and errors together.
        open_files: Files that one process may hold open.
        restarts: Fresh kernels that a notebook may have after its first one.
    """

    cell_seconds: float = 300
    notebook_seconds: float = 1200
    cpu_seconds: float = 2400
    grace_seconds: float = 5
    memory_bytes: int = 4 * GIB
    processes: int = 256
    file_bytes: int = 256 * MIB
    work_bytes: int = 512 * MIB
    tmp_bytes: int = 256 * MIB
    shm_bytes: int = 256 * MIB
    files: int = 20_000
    output_bytes: int = 8 * MIB
    open_files: int = 512
    restarts: int = 4

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, whole = getattr(self, field.name), field.type == "int"
            least = _LEAST[field.name]
            kind = "a whole number" if whole else "a number"
            ok = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
            if not ok or not least <= value < float("inf"):
                raise CourseError(
                    f"The limit `{field.name}` is {value!r}, but it must be {kind} of at least {least:g} "
                    f"({_UNITS[field.name]}). Change it in nbgrader_config.py: "
                    f"c.GradingLimits.{field.name} = {getattr(type(self), field.name):g}"
                )
        if self.cell_seconds > self.notebook_seconds:
            raise CourseError(
                f"The limit `cell_seconds` is {self.cell_seconds:g} s, more than `notebook_seconds`, "
                f"{self.notebook_seconds:g} s. One cell cannot have more time than the whole notebook: "
                "raise c.GradingLimits.notebook_seconds or lower c.GradingLimits.cell_seconds."
            )

    @property
    def message_bytes(self) -> int:
        """What one message of a kernel may have; a kernel gathers what is printed in quick succession into one."""
        return 4 * self.output_bytes + MIB

    @classmethod
    def from_config(cls, config: Config | None = None) -> Self:
        """The limits that `c.GradingLimits` of a traitlets configuration sets, defaults for the rest.

        Raises:
            CourseError: A value that is no such limit, or a name that is not known.
        """
        return made(GradingLimits, config).limits(cls)


_UNITS = {
    "cell_seconds": "seconds for one cell",
    "notebook_seconds": "seconds for all cells of a notebook",
    "cpu_seconds": "seconds of processor time of one kernel",
    "grace_seconds": "seconds between an interrupt and the kill",
    "memory_bytes": "bytes of memory of one kernel",
    "processes": "processes and threads of one kernel",
    "file_bytes": "bytes in one file",
    "work_bytes": "bytes in the work folder",
    "tmp_bytes": "bytes in /tmp",
    "shm_bytes": "bytes in /dev/shm",
    "files": "files in each writable folder",
    "output_bytes": "bytes of output of one cell",
    "open_files": "open files of one process",
    "restarts": "fresh kernels after the first",
}

#: Below these a kernel cannot start, or a limit makes no sense.
_LEAST = {
    "cell_seconds": 0.1,
    "notebook_seconds": 1,
    "cpu_seconds": 1,
    "grace_seconds": 0.1,
    "memory_bytes": 128 * MIB,
    "processes": 32,
    "file_bytes": MIB,
    "work_bytes": MIB,
    "tmp_bytes": MIB,
    "shm_bytes": MIB,
    "files": 100,
    "output_bytes": 4 * KIB,
    "open_files": 64,
    "restarts": 0,
}


class GradingLimits(Configurable):
    """Limits of a student's notebook, as options of nbgrader_config.py."""

    def limits(self, kind: type[Limits] = Limits) -> Limits:
        """These options as a frozen `Limits`."""
        return kind(**{name: getattr(self, name) for name in _UNITS})


def _add_traits() -> None:
    # The dataclass is the one place for names and defaults; the traits are made from it.
    traits: dict[str, Any] = {}
    for field in dataclasses.fields(Limits):
        trait = Integer if field.type == "int" else Float
        traits[field.name] = trait(field.default, help=f"Limit: {_UNITS[field.name]}.").tag(config=True)
    for name, trait in traits.items():
        setattr(GradingLimits, name, trait)
    GradingLimits.setup_class(dict(vars(GradingLimits)))


_add_traits()
