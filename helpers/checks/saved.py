"""Whether a saved model can be used by somebody else."""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from helpers.checks.images import arrays_of
from helpers.checks.models import expect_model
from helpers.checks.predictions import predict
from helpers.checks.values import CheckError, NotAttempted, attempted, fail_unless
from helpers.checks.wording import first_line, kind, listed

if TYPE_CHECKING:
    import keras

_FRESH_PROCESS = Path(__file__).with_name("fresh_process.py")
_SECONDS = 180.0  # that a new process may take
_ARCHIVE = b"PK\x03\x04"  # how a zip archive begins, which a `.keras` file is


class FreshProcessError(ImportError):
    """A new Python process could not be started or could not import Keras: no fault of the answer."""


def saved_file(path: str | Path, suffix: str = ".keras") -> Path:
    """Make sure that a file has been saved.

    Args:
        path: Where it should be.
        suffix: How its name should end.

    Returns:
        The path.

    Raises:
        NotAttempted: If there is nothing there.
        CheckError: If it is a folder, empty, or of another kind.
    """
    attempted(path=path)
    if not isinstance(path, str | Path):
        raise CheckError(f"path: expected the path of a file, found {kind(path)}")
    file = Path(path)
    fail_unless(file.suffix == suffix, f"{path}: expected a file whose name ends in {suffix}, found '{file.suffix}'")
    if not file.exists():
        raise NotAttempted(f"not attempted yet: there is no file {path}")
    fail_unless(file.is_file(), f"{path}: expected a file, found a folder")
    fail_unless(file.stat().st_size > 0, f"{path}: expected a saved model, found an empty file")
    if suffix == ".keras":
        # Keras finds the archive inside of other files too, a pickle of the model for one.
        with file.open("rb") as content:
            fail_unless(
                content.read(len(_ARCHIVE)) == _ARCHIVE,
                f"{path}: expected a file as the model's own `save` writes it, found one written in another way",
            )
    return file


def load_model(path: str | Path) -> keras.Model:
    """Load a saved model into this process, as data only: code in the file is refused.

    Args:
        path: The saved model, a `.keras` file.

    Returns:
        The model.

    Raises:
        NotAttempted: If there is no such file.
        CheckError: If it can't be loaded.
    """
    import keras

    file = saved_file(path)
    try:
        return keras.saving.load_model(file, safe_mode=True)
    except Exception as error:
        raise CheckError(f"{path}: expected a saved Keras model, found an error: {first_line(error)}") from None


@dataclass(frozen=True)
class Reloaded:
    """What a new process found in a saved model.

    Attributes:
        predictions: What the reloaded model returns for the dataset's images.
        optimizer: The class name of the optimizer it is compiled with, or None.
        outline: The kind of each layer and the shapes of its weights.
    """

    predictions: np.ndarray
    optimizer: str | None
    outline: list[list[Any]]


def reloads(
    path: str | Path,
    dataset: Any,
    model: Any = None,
    name: str = "model",
    *,
    tolerance: float = 1e-5,
    keeps_compile: bool = True,
) -> Reloaded:
    """Make sure that a saved model can be used by somebody else: it is loaded in a new Python process, which predicts.

    Args:
        path: The saved model, a `.keras` file.
        dataset: Images to predict: a `tf.data.Dataset` of images and labels, a pair of arrays, or an array of images.
        model: The model that was saved, to compare with: the same layers, the same predictions. Without it, what this
            process loads from the file is compared.
        name: What the model is called in the notebook.
        tolerance: How far two predictions may lie apart.
        keeps_compile: Whether the optimizer and loss must have been kept.

    Returns:
        What the new process found.

    Raises:
        NotAttempted: If there is no such file.
        CheckError: If the file isn't the saved model.
        FreshProcessError: If a new Python process can't be had, which says nothing about the answer.
    """
    file = saved_file(path)
    images = dataset if isinstance(dataset, np.ndarray) else arrays_of(dataset)[0]
    compare = None if model is None else expect_model(model, name)

    found = _reloaded(
        str(file.resolve()), _digest(file), np.ascontiguousarray(images).tobytes(), images.shape, str(images.dtype)
    )
    if isinstance(found, str):
        raise CheckError(f"{path}: expected a model that a new Python can load and use, found an error: {found}")
    if compare is None:
        compare = load_model(file)
    from helpers.checks.fresh_process import outline

    fail_unless(
        json.loads(json.dumps(outline(compare))) == found.outline,
        f"{path}: expected the same layers, of the same sizes, as in {name}, found others: "
        f"{listed(layer for layer, _ in found.outline if layer != 'InputLayer')}",
    )
    own = predict(compare, images, name)
    same = own.shape == found.predictions.shape and bool(
        np.max(np.abs(own - found.predictions), initial=0.0) <= tolerance
    )
    fail_unless(
        same,
        f"{path}: expected the reloaded model to predict the same numbers as {name}, found others; "
        f"was it saved before {name} was trained, or trained again after it was saved?",
    )
    if keeps_compile:
        fail_unless(
            found.optimizer is not None,
            f"{path}: expected the optimizer and loss to be kept in the file, found a model that is not compiled",
        )
    return found


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


class _FreshPython:
    """A new Python that has imported Keras and run nothing, and forks a process of itself for each model."""

    def __init__(self) -> None:
        self.made_by = (os.getpid(), sys.executable)
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_FRESH_PROCESS)],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        atexit.register(self.close)

    @property
    def usable(self) -> bool:
        """Whether it is still there, and belongs to this process and not to one that this was forked from."""
        return self.made_by == (os.getpid(), sys.executable) and self._process.poll() is None

    def run(self, arguments: Sequence[str], folder: str, seconds: float) -> int:
        """As `new_python`, without the last line.

        Raises:
            OSError: It is gone.
            subprocess.TimeoutExpired: It does not answer.
        """
        question = {"arguments": list(arguments), "folder": folder, "seconds": seconds}
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        if not select.select([self._process.stdout], [], [], 2 * seconds)[0]:  # its own start takes time, too
            self.close()
            raise subprocess.TimeoutExpired("a new Python", seconds)
        answer = self._process.stdout.readline()
        if not answer:
            raise OSError("it ended")
        return int(answer)

    def close(self) -> None:
        """End it."""
        if self.made_by[0] == os.getpid():
            self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()


_fresh_python: _FreshPython | None = None


def new_python(arguments: Sequence[str], folder: str, seconds: float) -> tuple[int, str]:
    """Run `fresh_process.py` in a new Python process.

    On Linux one new Python, which has imported Keras and run nothing, is kept for some minutes, and each process is
    forked from it: a notebook that saves three models doesn't wait three times for the import.

    Args:
        arguments: As its `main` takes them.
        folder: The folder to run in.
        seconds: How long it may take.

    Returns:
        The exit code and the last line that the process wrote to stderr.
    """
    if sys.platform == "linux":
        global _fresh_python
        if _fresh_python is None or not _fresh_python.usable:
            _fresh_python = _FreshPython()
        return _fresh_python.run(arguments, folder, seconds), ""
    done = subprocess.run(
        [sys.executable, "-I", str(_FRESH_PROCESS), *arguments],
        cwd=folder,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
        check=False,
    )
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


#: How `fresh_process.main` gets a process that has run nothing. A grader that has such processes at hand puts its own
#: way here, for a new Python needs seconds to import TensorFlow.
run_fresh: Callable[[Sequence[str], str, float], tuple[int, str]] = new_python


@cache
def _reloaded(path: str, digest: str, pixels: bytes, shape: tuple[int, ...], dtype: str) -> Reloaded | str:
    """Run `fresh_process.py`. Cached by content: the visible and the hidden half of a test share one new process."""
    with tempfile.TemporaryDirectory() as folder:
        images, predictions, report = (Path(folder) / name for name in ("images.npy", "predictions.npy", "report.json"))
        np.save(images, np.frombuffer(pixels, dtype).reshape(shape), allow_pickle=False)
        arguments = [path, str(images), str(predictions), str(report)]
        try:
            code, last = run_fresh(arguments, folder, _SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FreshProcessError(f"a new Python process could not be used: {first_line(error)}") from None
        if not report.exists():
            raise FreshProcessError(
                f"a new Python process ended before it could load a model: {last or f'exit code {code}'}"
            )
        told = json.loads(report.read_text(encoding="utf-8"))
        if "error" in told:
            return first_line(told["error"])
        return Reloaded(np.load(predictions, allow_pickle=False), told["optimizer"], told["outline"])
