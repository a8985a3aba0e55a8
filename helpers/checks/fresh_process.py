"""Load a saved model in a new Python process and predict with it: the program that `checks.reloads` starts.

It is run by its path, in isolated mode, so that nothing which the calling process has changed or imported is there.
Importing Keras takes seconds. So where it is run without arguments it waits, with Keras imported and nothing run, and
forks a process for each model that it is asked for.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import NoReturn

IDLE_SECONDS = 300.0
"""It ends when it hasn't been asked for so long: it takes memory that a notebook may want."""

_NOT_NEEDED = ("matplotlib", "pandas", "sklearn")
"""Libraries that Keras imports because they are there, for seconds, and that no saved model needs."""


def outline(model: object) -> list[list[object]]:
    """What makes two models the same architecture: the kind of each layer and the shapes of its weights, in order.

    Layer names are left out: Keras numbers them by what else was made in the same process.
    """
    layers = getattr(model, "layers", [])
    return [[type(layer).__name__, [list(weight.shape) for weight in layer.weights]] for layer in layers]


def main(model_path: str, images_path: str, predictions_path: str, report_path: str) -> None:
    """Write the predictions as `.npy` and what the model is like as JSON.

    Args:
        model_path: The saved model.
        images_path: `.npy` file with a batch of images.
        predictions_path: Where the predictions go.
        report_path: Where the report goes: `{"error": ...}` if the model can't be loaded or used.
    """
    import keras
    import numpy as np

    report: dict[str, object] = {}
    try:
        model = keras.saving.load_model(model_path, safe_mode=True)
        report["outline"] = outline(model)
        report["optimizer"] = type(model.optimizer).__name__ if getattr(model, "optimizer", None) is not None else None
        images = np.load(images_path, allow_pickle=False)
        # As `model.predict`, without the dataset that it builds around its argument.
        pieces = [np.asarray(model(images[at : at + 256], training=False)) for at in range(0, len(images), 256)]
        np.save(predictions_path, np.concatenate(pieces), allow_pickle=False)
    except Exception as error:
        report["error"] = f"{type(error).__name__}: {error}"
    Path(report_path).write_text(json.dumps(report), encoding="utf-8")


def _import_keras() -> None:
    """Import Keras in half the time: without what no saved model needs, and without looking for garbage meanwhile."""
    for name in _NOT_NEEDED:
        sys.modules[name] = None  # type: ignore[assignment]  # not to be found, for the import system
    gc.disable()
    import keras  # noqa: F401

    gc.enable()


def serve() -> None:
    """Answer questions until there are none for a while, or until whoever asks is gone.

    A question is one line of JSON on the standard input, `{"arguments": [...], "folder": ..., "seconds": ...}`; the
    answer, on the standard output, is a line with the exit code, as `subprocess` counts it.
    """
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed is no answer
    questions = sys.stdin.buffer.raw
    while select.select([questions], [], [], IDLE_SECONDS)[0] and (line := questions.readline()):
        pid = os.fork()
        if pid == 0:
            _work(json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.write(answers, f"{code}\n".encode())


def _work(question: dict) -> NoReturn:
    code = 1
    with contextlib.suppress(Exception):
        signal.setitimer(signal.ITIMER_REAL, question["seconds"])
        os.chdir(question["folder"])
        main(*question["arguments"])
        code = 0
    os._exit(code)


if __name__ == "__main__":
    _import_keras()
    if sys.argv[1:]:
        main(*sys.argv[1:5])
    else:
        serve()
