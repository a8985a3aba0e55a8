"""What is known of answers from earlier runs of the bank: a line for each, so that an interrupted measuring goes on.

A line holds for the answer as long as nothing has changed that its verdict depends on: the cells up to the exercise's
tests, the checks that they use, the answer, the seed and the images.

Lines are written to `.autograder/bank/`. Those that hold are put into `bench/fidelity/` as well (`Ledger.publish`),
which belongs to the repository: measuring takes hours, so it goes on on any machine where it was left on another.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

import helpers
from autograder.bank import Job, Judged, Variant, exercises
from autograder.images import CourseImages, Digests
from autograder.student import is_test_cell
from autograder.whole import write_text_whole
from helpers.measurements import read_measurements

FOLDER = ".autograder/bank"
PUBLISHED = "bench/fidelity"
_VERSION = 2  # of what a line means
_HELPERS = Path(helpers.__file__).parent
_NAME = re.compile(r"\w+")
#: What a line says beside its key.
_FIELDS = ("state", "score", "max_score", "message", "test", "stopped", "failed_at", "needs_it")
#: What a published line leaves out, as it goes without saying.
_PLAIN = {
    "message": "",
    "stopped": "",
    "failed_at": None,
    "needs_it": False,
    "mutated": False,
    "seed": None,
    "measurements": [],
}


class Ledger:
    """Lines of one course. May be used from several threads.

    Args:
        root: The course folder.
        again: Measure everything anew; what comes of it is kept all the same.
    """

    def __init__(self, root: Path, *, again: bool = False) -> None:
        self.folder, self.published = root / FOLDER, root / PUBLISHED
        self.again = again
        self._digests = Digests(root / FOLDER / "digests.json")
        self._lines: dict[str, dict[str, dict[str, Any]]] = {}
        self._used: dict[str, set[str]] = {}
        self._pictures: dict[CourseImages, str] = {}
        self._lock = threading.Lock()

    def split(self, job: Job, source: NotebookNode) -> tuple[list[Judged], list[Variant]]:
        """What is known of a job's variants, and those of which something is not known.

        Args:
            job: The job.
            source: The instructor's notebook, with the job's seed.
        """
        keys, known, unknown = _Keys(job, source, self._images(job)), [], []
        lines = {} if self.again else self._of(job.episode.name)
        used = self._used.setdefault(job.episode.name, set())
        for variant in job.variants:
            names = [keys.of(variant, test) for test in keys.tests(variant)]
            found = [lines.get(name) for name in names]
            used.update(name for name in names if name in lines)
            if all(line is not None and (line["mutated"] or not job.mutate_tests) for line in found):
                known += [_judged(variant, line) for line in found if line is not None]
            else:
                unknown.append(variant)
        return known, unknown

    def seeds(self, episode: str) -> list[int]:
        """The seeds that an episode was graded with, whether or not that still holds."""
        return sorted({seed for line in self._of(episode).values() if (seed := line.get("seed")) is not None})

    def writer(self, job: Job, source: NotebookNode) -> Callable[[Judged], None]:
        """A function that keeps what came of one variant of a job, at once."""
        keys = _Keys(job, source, self._images(job))

        def keep(one: Judged) -> None:
            if one.score is None:
                return  # the grader failed: nothing is known
            line = {name: getattr(one, name) for name in _FIELDS}
            line |= {
                "key": keys.of(one.variant, one.test),
                "mutated": job.mutate_tests,
                "seed": job.seed,
                "measurements": [asdict(measured) for measured in one.measurements],
            }
            with self._lock:
                path = self.folder / f"{job.episode.name}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("a+b") as file:
                    file.seek(max(0, file.seek(0, 2) - 1))
                    cut = file.read(1) not in (b"", b"\n")  # by a kill, in the middle of a line
                    file.write(b"\n" * cut + json.dumps(line).encode() + b"\n")
                self._lines.setdefault(job.episode.name, {})[line["key"]] = line

        return keep

    def publish(self, episode: str, *, drop: bool) -> None:
        """Put the lines of an episode that were asked for, so that they hold, into `bench/fidelity/`.

        Where an answer's cell stopped is left out, as it may name folders of this machine, and so is the message of an
        answer that got full points.

        Args:
            episode: Its name.
            drop: Whether to drop lines that stand there and were not asked for. Not to be done where a set of images
                is missing, so that what was measured on them was not asked for.
        """
        lines, path = self._of(episode), self.published / f"{episode}.jsonl"
        names = set(self._used.get(episode, ())) | (set() if drop else set(_read(path)))
        texts = []
        for name in sorted(names):
            line = lines[name] | {"stopped": ""}
            if line["state"] == "passed":
                line["message"] = ""
            line = {field: value for field, value in line.items() if _PLAIN.get(field, ...) != value}
            texts.append(json.dumps(line, ensure_ascii=False) + "\n")
        write_text_whole(path, "".join(texts))

    def _of(self, episode: str) -> dict[str, dict[str, Any]]:
        with self._lock:
            if episode not in self._lines:
                self._lines[episode] = _read(self.published / f"{episode}.jsonl")
                self._lines[episode] |= _read(self.folder / f"{episode}.jsonl")
            return dict(self._lines[episode])

    def _images(self, job: Job) -> str:
        images = job.images or CourseImages.find()
        with self._lock:
            if images not in self._pictures:
                self._pictures[images] = self._digests.of(images.data) + self._digests.of(images.holdout)
            return self._pictures[images]


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """The lines of a file by their keys; a line that is damaged is left out."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for text in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                line = _PLAIN | json.loads(text)
                found[line["key"]] = line
    return found


def _judged(variant: Variant, line: dict[str, Any]) -> Judged:
    said = {name: line[name] for name in _FIELDS}
    return Judged(variant, **said, measurements=read_measurements(line["measurements"]))


class _Keys:
    """The keys of a job's variants: a digest of all that a verdict depends on."""

    def __init__(self, job: Job, source: NotebookNode, images: str) -> None:
        self._seed, self._images = job.seed, images
        self._context: dict[str, str] = {}
        self._tests: dict[str, list[str]] = {}
        for name, places in exercises(source).items():
            if any(variant.exercise == name for variant in job.variants):
                cells = [cell for cell in source.cells[: places[-1] + 1] if cell.cell_type == "code"]
                self._context[name] = digest_of_cells(cells)
                self._tests[name] = [
                    source.cells[at].metadata.nbgrader.grade_id for at in places if is_test_cell(source.cells[at])
                ]

    def tests(self, variant: Variant) -> list[str]:
        return self._tests.get(variant.exercise, [])

    def of(self, variant: Variant, test: str) -> str:
        parts = [_VERSION, self._context[variant.exercise], test, variant.answer, self._seed, self._images]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]


def digest_of_cells(cells: Iterable[NotebookNode]) -> str:
    """A digest of cells and of all of `helpers` that they use."""
    digest = hashlib.sha256()
    text = []
    for cell in cells:
        points = cell.metadata.get("nbgrader", {}).get("points")
        digest.update(json.dumps([cell.source, points]).encode())
        text.append(cell.source)
    for path in modules_used("\n".join(text)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


@functools.lru_cache(maxsize=256)
def modules_used(text: str) -> tuple[Path, ...]:
    """The modules of `helpers` that a text uses, by the names that stand in it, and those that they import."""
    words = set(_NAME.findall(text))
    waiting = [path for name, path in _exported().items() if name in words]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path)
    return tuple(sorted(found))


@functools.cache
def _exported() -> dict[str, Path]:
    """The names that `helpers` and `helpers.checks` offer, each with its module."""
    names = {}
    for init in (_HELPERS / "__init__.py", _HELPERS / "checks" / "__init__.py"):
        for node in ast.walk(ast.parse(init.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "helpers":
                names |= {alias.name: _path(f"helpers.{alias.name}") for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names |= {alias.name: _path(node.module or "") for alias in node.names}
    return {name: path for name, path in names.items() if path.is_file() and path.stem != "__init__"}


@functools.cache
def _imported(path: Path) -> list[Path]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("helpers"):
            found.append(_path(node.module or ""))
            for alias in node.names:
                found.append(_path(f"{node.module}.{alias.name}"))
                if alias.name in _exported():  # by way of the package, as in `from helpers.checks import holdout`
                    found.append(_exported()[alias.name])
    return [path for path in found if path.is_file() and path.stem != "__init__"]


def _path(module: str) -> Path:
    return _HELPERS.joinpath(*module.split(".")[1:]).with_suffix(".py") if "." in module else _HELPERS / "__init__.py"
