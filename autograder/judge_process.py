"""The judge: a process that runs test cells, hidden tests included, and never a student's code.

Forked from a zygote for judges (`inside/zygote.py`) that has imported everything, or started by `judge.Judge` as
`python -I -m autograder.judge_process`; in a sandbox of its own either way. Two processes work here:

- the *keeper* holds the pipe to the grader and the key that signs every answer. It imports what test cells need and
  never runs a test cell or reads a student's value;
- a *sitting*, forked from the keeper for each notebook, decodes the values and runs the cells. A sitting that hangs or
  dies is replaced in milliseconds, and a notebook never meets what an earlier one left behind.

Nothing that a test cell prints can be taken for an answer: descriptors 0, 1 and 2 lead nowhere, answers travel on
private descriptors, and each carries the nonce of its question and a signature.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import ctypes
import dataclasses
import hashlib
import hmac
import io
import json
import math
import os
import random
import resource
import secrets
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

FRAME = struct.Struct(">IQ")
KEY_BYTES = 32
MAC_BYTES = 32
MOST_HEADER = 8 << 20
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4


# --- frames: the one wire format, shared with `judge.Judge` ---------------------------------------------------------


def pack(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """A frame: the lengths, the header as JSON, the payload."""
    text = json.dumps(header).encode("utf-8")
    return FRAME.pack(len(text), len(payload)) + text + payload


def sign(key: bytes, frame: bytes) -> bytes:
    """The signature of a frame."""
    return hmac.new(key, frame, hashlib.sha256).digest()


def _read(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if data is None or len(data) != size:
        raise EOFError
    return data


def _read_frame(file: BinaryIO) -> tuple[dict[str, Any], bytes]:
    header, payload = FRAME.unpack(_read(file, FRAME.size))
    return json.loads(_read(file, header)), _read(file, payload) if payload else b""


def _read_until(descriptor: int, size: int, deadline: float) -> bytes:
    """Exactly `size` bytes, or TimeoutError, or EOFError."""
    parts = bytearray()
    while len(parts) < size:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        part = os.read(descriptor, min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


# --- the keeper -----------------------------------------------------------------------------------------------------


class Keeper:
    """Answers the grader's questions by handing them to the current sitting.

    Args:
        questions: Frames from the grader.
        answers: Where signed frames go.
        key: Signs the answers.
    """

    def __init__(self, questions: BinaryIO, answers: BinaryIO, key: bytes) -> None:
        self.questions, self.answers, self.key = questions, answers, key
        self.sitting: tuple[int, int, int] | None = None  # pid, questions to it, answers from it

    def serve(self) -> None:
        """Answer until the grader closes the pipe."""
        while True:
            try:
                header, payload = _read_frame(self.questions)
            except EOFError:
                self.end_sitting()
                return
            if header["do"] == "sit":
                self.end_sitting()
                answer = {"kind": "ready"}
            elif header["do"] == "judge":
                answer = self.ask(header, payload)
            else:
                answer = {"kind": "grader failed", "message": f"unknown question {header['do']!r}"}
            frame = pack({**answer, "nonce": header["nonce"]})
            self.answers.write(frame + sign(self.key, frame))
            self.answers.flush()

    def ask(self, header: dict[str, Any], payload: bytes) -> dict[str, Any]:
        """Let a sitting run one test cell, and replace it if it does not answer."""
        seconds = float(header["timeout"])
        if self.sitting is None:
            self.begin_sitting()
        assert self.sitting is not None
        _, to_sitting, from_sitting = self.sitting
        token = secrets.token_hex(16)  # else bytes that stray into the pipe could be taken for the answer
        deadline = time.monotonic() + seconds
        try:
            with os.fdopen(os.dup(to_sitting), "wb") as pipe:
                pipe.write(pack({**header, "token": token}, payload))
            length = FRAME.unpack(_read_until(from_sitting, FRAME.size, deadline))[0]
            if length > MOST_HEADER:
                raise ValueError
            answer = json.loads(_read_until(from_sitting, length, deadline))
            if not isinstance(answer, dict) or answer.pop("token", None) != token:
                raise ValueError
            return answer
        except TimeoutError:
            self.end_sitting()
            return {"kind": "grader failed", "message": f"the test did not end within {seconds:g} s"}
        except (EOFError, OSError):
            how = self.end_sitting()
            return {"kind": "grader failed", "message": f"the process that ran the test died ({how})"}
        except ValueError:
            self.end_sitting()
            return {"kind": "grader failed", "message": "the process that ran the test gave a damaged answer"}

    def begin_sitting(self) -> None:
        """Fork a fresh process from this one, which has imported everything and run nothing."""
        their_questions, our_questions = os.pipe()
        our_answers, their_answers = os.pipe()
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                libc = ctypes.CDLL(None)
                libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                libc.prctl(_PR_SET_DUMPABLE, 1)  # else a test could not read its own /proc/self
                if os.getppid() != keeper:
                    os._exit(1)
                os.close(our_questions)
                os.close(our_answers)
                self.questions.close()
                self.answers.close()
                self.key = b""
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                Sitting(their_questions, their_answers).serve()
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(1)
        os.close(their_questions)
        os.close(their_answers)
        self.sitting = (pid, our_questions, our_answers)

    def end_sitting(self) -> str:
        """Kill the current sitting with all that it started; say how it had ended."""
        if self.sitting is None:
            return "it had not started"
        pid, *descriptors = self.sitting
        self.sitting = None
        for descriptor in descriptors:
            os.close(descriptor)
        ended, status = os.waitpid(pid, os.WNOHANG)
        for kill in (os.killpg, os.kill) if not ended else (os.killpg,):
            with contextlib.suppress(ProcessLookupError):
                kill(pid, signal.SIGKILL)
        if not ended:
            os.waitpid(pid, 0)
        if os.getpid() == 1:
            _end_all_others()
        if not ended:
            return "stopped by the grader"
        code = os.waitstatus_to_exitcode(status)
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _end_all_others() -> None:
    """Kill and bury every other process, where this is the first one of its PID namespace."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


# --- the sitting ----------------------------------------------------------------------------------------------------


class _Stdout(io.TextIOBase):
    """Keeps the first characters of what a test cell prints."""

    def __init__(self, limit: int) -> None:
        self.parts: list[str] = []
        self.left = limit

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self.left > 0:
            self.parts.append(text[: self.left])
            self.left -= len(text)
            if self.left <= 0:
                self.parts.append("\n[The rest of the output was cut.]\n")
        return len(text)


class Sitting:
    """Runs the test cells of one notebook, each in a fresh namespace and an empty folder.

    Args:
        questions: Descriptor to read frames from.
        answers: Descriptor to write answers to.
    """

    def __init__(self, questions: int, answers: int) -> None:
        self.questions, self.answers = os.fdopen(questions, "rb"), os.fdopen(answers, "wb")
        self.home = Path.cwd()

    def serve(self) -> None:
        """Answer until the keeper closes the pipe."""
        self._keep_fresh_processes_at_hand()
        while True:
            try:
                header, payload = _read_frame(self.questions)
            except EOFError:
                os._exit(0)
            started = time.monotonic()
            try:
                answer = self.judge(header, payload)
            except BaseException as error:  # a defect of the harness: never the student's
                answer = _grader_failed(f"the grader itself failed: {type(error).__name__}: {error}")
            answer.update(seconds=time.monotonic() - started, token=header["token"])
            text = json.dumps(answer).encode("utf-8")
            self.answers.write(FRAME.pack(len(text), 0) + text)
            self.answers.flush()

    def _keep_fresh_processes_at_hand(self) -> None:
        """Let `checks.reloads` have its new process from a fork of this one, which has run nothing yet."""
        saved = sys.modules.get("helpers.checks.saved")
        if saved is None or "keras" not in sys.modules:
            return
        from autograder.fresh import Nursery
        from helpers.checks import fresh_process

        saved.run_fresh = Nursery(fresh_process.main, close=[self.questions.fileno(), self.answers.fileno()]).run

    def judge(self, header: dict[str, Any], payload: bytes) -> dict[str, Any]:
        """Decode the values, run the cell, and say what came of it."""
        from autograder.crossing import Bounds, Refused, decode, plain_text

        bounds = Bounds(**header["bounds"])
        if header.get("memory"):
            _limit_memory(header["memory"])
        try:
            body, last = compile_cell(header["source"])
        except SyntaxError as error:
            return _grader_failed(f"the test cell is not plain Python: {error.msg} (line {error.lineno})")

        if "keras" in sys.modules:
            import keras

            keras.backend.clear_session(free_memory=False)  # numbers in the names of layers start anew
        try:
            crossed = decode(payload, header["names"], header["files"], bounds, header["nonce"])
        except Refused as error:
            return _failed("ValuesUnreadable", f"Your values could not be read: {error}.")
        if crossed.refused:
            text = "\n".join(crossed.refused[name] for name in sorted(crossed.refused)[:3])
            return _failed("CannotCross", plain_text(text[:1].upper() + text[1:], bounds.text))

        folder = Path(tempfile.mkdtemp(prefix="test-", dir=self.home))
        stdout = _Stdout(header["stdout"])
        try:
            for name, content in crossed.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            os.chdir(folder)
            _fix_seeds(header["seed"])
            namespace = {"__name__": "__main__", "__builtins__": builtins, **crossed.values}
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(_Stdout(0)):
                try:
                    exec(body, namespace)
                    value = eval(last, namespace) if last is not None else None
                except BaseException as error:
                    answer = explain(error, crossed.missing, bounds.text)
                else:
                    answer = weigh(value)
        finally:
            os.chdir(self.home)
            shutil.rmtree(folder, ignore_errors=True)
        answer["stdout"] = plain_text("".join(stdout.parts), header["stdout"] + 100)
        answer["measurements"] = take_measurements()
        return answer


def take_measurements() -> list[dict[str, Any]]:
    """What the checks have measured since the last time, as plain data; nothing where no check was loaded."""
    noted = sys.modules.get("helpers.measurements")
    return [dataclasses.asdict(one) for one in noted.take()] if noted is not None else []


def compile_cell(source: str) -> tuple[Any, Any]:
    """The code of a cell, and that of its last expression if it ends with one.

    `optimize=0` keeps every `assert`, whatever flags the interpreter runs with.
    """
    tree = ast.parse(source, "<test cell>")
    last = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not source.rstrip().endswith(";"):
        expression = ast.Expression(tree.body.pop().value)
        last = compile(expression, "<test cell>", "eval", dont_inherit=True, optimize=0)
    return compile(tree, "<test cell>", "exec", dont_inherit=True, optimize=0), last


def weigh(value: Any) -> dict[str, Any]:
    """What the value of a cell's last expression means: nbgrader's partial credit, or nothing."""
    import numpy as np

    if isinstance(value, bool | np.bool_):
        return _grader_failed(f"the test cell ends with {bool(value)}, but points are a number")
    if isinstance(value, int | float | np.integer | np.floating):
        score = float(value)
        if not math.isfinite(score):
            return _grader_failed(f"the test cell ends with {score}, which is no number of points")
        return {"kind": "partial", "score": score}
    return {"kind": "passed"}


def explain(error: BaseException, missing: set[str], limit: int) -> dict[str, Any]:
    """Tell a student what went wrong, without the code of the test and without what it was compared with.

    Args:
        error: What the cell raised.
        missing: Names that the student's notebook does not define.
        limit: Most characters of a message.
    """
    from autograder.crossing import plain_text

    kind, text = type(error).__name__, plain_text(_text_of(error), limit).strip()
    if isinstance(error, AssertionError):
        frames = traceback.extract_tb(error.__traceback__)
        if frames and "/numpy/testing/" in frames[-1].filename:
            text = ""  # NumPy prints both arrays, and one of them may be the answer
        return _failed(kind, text or "A check in this test did not hold.")
    if isinstance(error, NameError) and error.name is not None and not isinstance(error, UnboundLocalError):
        if error.name in missing:
            return _failed(kind, f"`{error.name}` is not defined; run or complete the exercise above.")
        return _grader_failed(f"the test cell reads `{error.name}`, which it should import or define itself")
    if isinstance(error, ImportError):
        return _grader_failed(f"the test cell could not import what it needs: {text}")
    if type(error).__module__ == "helpers.data":
        return _grader_failed(f"the data of the course could not be read: {text}")
    if isinstance(error, SystemExit | KeyboardInterrupt):
        return _grader_failed(f"the test cell stopped the process ({kind})")
    if isinstance(error, MemoryError):
        return _failed(kind, "The test ran out of memory on your values.")
    if isinstance(error, RecursionError):
        return _failed(kind, "Your values are nested too deeply for the test.")
    first = text.splitlines()[0][:300] if text else ""
    return _failed(kind, f"The test could not use your values. Python says: {kind}{': ' + first if first else ''}")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _failed(name: str, message: str) -> dict[str, Any]:
    return {"kind": "failed", "ename": name, "message": message}


def _grader_failed(message: str) -> dict[str, Any]:
    return {"kind": "grader failed", "message": message[:2000]}


def _limit_memory(most: int) -> None:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)  # a sandbox may have set a lower one already
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _fix_seeds(seed: int) -> None:
    if "keras" in sys.modules:
        import keras

        keras.utils.set_random_seed(seed)
    else:
        import numpy as np

        random.seed(seed)
        np.random.seed(seed)


# --- start ----------------------------------------------------------------------------------------------------------


def _private(descriptor: int) -> int:
    """Move a standard descriptor out of the reach of prints, and out of children's hands."""
    return os.dup(descriptor)  # os.dup makes it non-inheritable


def read_images_ahead() -> None:
    """Read the course's images once for all sittings.

    Reading them runs TensorFlow, which does not outlive a fork; so a process of its own does it, and hands over arrays.
    What cannot be read here is left to the test that needs it, which says why.
    """
    from helpers.checks import images
    from helpers.data import SPLITS, find_data

    read: list[tuple[str, Any, Any]] = []
    with contextlib.suppress(Exception):
        if (place := find_data()) is not None:
            read.append(("_read_splits", place, lambda: {name: images._read_splits(place)[name] for name in SPLITS}))
    with contextlib.suppress(Exception):
        folder = images.find_holdout_folder()
        read.append(("_read_folder", folder, lambda: {"all": images._read_folder(folder)}))
    for function, key, reading in read:
        arrays = _in_another_process(reading)
        if arrays is None:
            continue
        known = arrays if function == "_read_splits" else arrays["all"]
        original = getattr(images, function)

        def remembered(asked: Path, key: Any = key, known: Any = known, original: Any = original) -> Any:
            return known if asked == key else original(asked)

        setattr(images, function, remembered)


def _in_another_process(reading: Any) -> dict[str, tuple[Any, Any]] | None:
    """Pairs of arrays that a function returns in a fork of this process, by name; None if it fails there."""
    import numpy as np

    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:
        path, unfinished = Path(folder, "read.npz"), Path(folder, "unfinished.npz")
        parent, child = os.getpid(), os.fork()
        if child == 0:
            try:
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1)
                if os.getppid() == parent:
                    flat = {f"{name}/{n}": part for name, pair in reading().items() for n, part in enumerate(pair)}
                    np.savez(unfinished, **flat)
                    unfinished.rename(path)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        if not path.exists():
            return None
        with np.load(path, allow_pickle=False) as found:
            names = {name.partition("/")[0] for name in found.files}
            return {name: (found[f"{name}/0"], found[f"{name}/1"]) for name in names}


_PREPARED: set[str] = set()


def prepare(modules: Sequence[str]) -> None:
    """Import what test cells need, and read the course's images; what was done before is not done again.

    Args:
        modules: Names of the modules that test cells import.
    """
    if _PREPARED and _PREPARED.issuperset(modules):
        return
    os.environ.update(
        TF_CPP_MIN_LOG_LEVEL="3", TF_DETERMINISTIC_OPS="1", CUDA_VISIBLE_DEVICES="-1", KERAS_BACKEND="tensorflow",
        MPLBACKEND="Agg", TF_ENABLE_ONEDNN_OPTS="0",
    )  # fmt: skip
    import numpy  # noqa: F401

    import autograder.crossing
    import autograder.model_files  # noqa: F401

    for module in modules:
        __import__(module)
    if "helpers.checks" in modules:
        read_images_ahead()
    _PREPARED.update(("numpy", *modules))


def keep(questions_from: int, answers_to: int) -> NoReturn:
    """Become the keeper: read the key, see that all is imported, and serve.

    Args:
        questions_from: Descriptor of the pipe from the grader.
        answers_to: Descriptor of the pipe to the grader.
    """
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)  # no sitting may look into the keeper's memory
    questions, answers = os.fdopen(questions_from, "rb"), os.fdopen(answers_to, "wb")
    key = _read(questions, KEY_BYTES)
    start, _ = _read_frame(questions)
    answer = {"kind": "ready"}
    try:
        prepare(start["modules"])
    except Exception as error:
        answer = _grader_failed(f"the judge could not start: {type(error).__name__}: {error}")
    frame = pack({**answer, "nonce": start["nonce"]})
    answers.write(frame + sign(key, frame))
    answers.flush()
    Keeper(questions, answers, key).serve()
    os._exit(0)


def main() -> NoReturn:
    """Take over the pipes, and keep."""
    questions, answers = _private(0), _private(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(nowhere, descriptor)
    keep(questions, answers)


if __name__ == "__main__":
    main()
