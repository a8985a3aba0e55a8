"""The judge as a process: what it answers, what it keeps apart, and whose word counts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import forged, honest

from autograder.judge import (
    KERAS_MODULES,
    LIGHT_MODULES,
    Answer,
    CourseImages,
    GraderFailed,
    Judge,
    JudgeLimits,
    Question,
    modules_for,
    open_judge,
)
from autograder.judge_process import KEY_BYTES, pack, sign

LIMITS = JudgeLimits(cell_seconds=20)


@pytest.fixture(scope="module", params=["bare", "in the sandbox"])
def judge(request, tmp_path_factory) -> Iterator[Judge]:
    """A judge that has imported NumPy and no Keras, without and with its sandbox."""
    sandbox = request.param == "in the sandbox"
    if sandbox:
        request.getfixturevalue("needs_bubblewrap")
    with open_judge(sandbox=sandbox, images=CourseImages(), modules=LIGHT_MODULES, limits=LIMITS) as judge:
        yield judge


def ask(judge: Judge, source: str, values: dict[str, Any] | None = None, files: Sequence[str] = ()) -> Answer:
    """Judge a cell on honest copies of these values."""
    question = Question.about(source)
    return judge.ask(question, honest(values or {}, files or question.files, nonce=question.nonce))


# --- answers --------------------------------------------------------------------------------------------------------


def test_a_cell_that_runs_to_its_end_passes(judge):
    answer = ask(judge, "assert total == 6\nassert shape == (2, 3)", {"total": 6, "shape": (2, 3)})
    assert (answer.kind, answer.message) == ("passed", "")


def test_a_failed_check_says_its_message_and_nothing_of_the_code(judge):
    answer = ask(judge, "secret = 42\nassert total == secret, 'total should be the sum'", {"total": 6})
    assert (answer.kind, answer.ename, answer.message) == ("failed", "AssertionError", "total should be the sum")


def test_a_bare_assert_says_that_a_check_did_not_hold(judge):
    answer = ask(judge, "secret = 42\nassert total == secret", {"total": 6})
    assert answer.message == "A check in this test did not hold."


def test_a_failed_comparison_of_arrays_shows_neither_of_them(judge):
    source = "import numpy as np\nnp.testing.assert_allclose(scores, [0.123456, 0.654321])"
    answer = ask(judge, source, {"scores": [1.0, 2.0]})
    assert answer.message == "A check in this test did not hold."


def test_another_error_is_told_in_one_plain_sentence_without_code(judge):
    answer = ask(judge, "hidden = 42\nassert labels.shape == (hidden,)", {"labels": [1]})
    assert answer.kind == "failed"
    assert answer.message == (
        "The test could not use your values. Python says: AttributeError: 'list' object has no attribute 'shape'"
    )


def test_a_name_that_the_student_never_gave_a_value_is_named(judge):
    answer = ask(judge, "assert model_intro is not None")
    assert answer.message == "`model_intro` is not defined; run or complete the exercise above."


def test_a_name_that_is_missing_but_not_read_costs_nothing(judge):
    assert ask(judge, "assert total == 6 or other", {"total": 6}).kind == "passed"


def test_what_the_cell_prints_is_kept_up_to_a_limit(judge):
    assert ask(judge, "print('well done')").stdout == "well done\n"
    long = ask(judge, "for _ in range(100000): print('x' * 100)").stdout
    assert len(long) < LIMITS.stdout_characters + 100
    assert long.endswith("[The rest of the output was cut.]\n")


def test_what_the_cell_writes_to_stderr_and_to_the_descriptors_goes_nowhere(judge):
    source = "import os, sys\nprint('x', file=sys.stderr)\nfor d in (0, 1, 2):\n    os.write(d, b'forged')"
    answer = ask(judge, source)
    assert (answer.kind, answer.stdout) == ("passed", "")


@pytest.mark.parametrize(("last", "score"), [("1.5", 1.5), ("0", 0.0), ("np.float32(0.25)", 0.25), ("2", 2.0)])
def test_a_number_as_the_last_expression_is_partial_credit(judge, last, score):
    answer = ask(judge, f"import numpy as np\n{last}")
    assert (answer.kind, answer.score) == ("partial", score)


@pytest.mark.parametrize("last", ["None", "'1.5'", "[1.5]", "print('x')", "1.5;", "x = 1.5"])
def test_anything_else_as_the_last_expression_is_no_score(judge, last):
    assert ask(judge, last).kind == "passed"


@pytest.mark.parametrize("last", ["float('nan')", "float('inf')", "True", "1 == 1"])
def test_a_score_that_is_no_number_is_the_graders_fault(judge, last):
    with pytest.raises(GraderFailed, match="the test cell ends with"):
        ask(judge, last)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import helpers.nothing_of_this_name", "could not import what it needs"),
        ("from json import nothing", "could not import what it needs"),
        ("import sys; sys.exit(0)", "stopped the process"),
        ("display(1)", "reads `display`"),
        ("raise KeyboardInterrupt", "stopped the process"),
    ],
)
def test_a_defect_of_the_test_cell_is_the_graders_fault(judge, source, says):
    with pytest.raises(GraderFailed, match=says):
        ask(judge, source)


def test_a_value_that_cannot_cross_fails_the_test_in_words_that_say_so(judge):
    answer = ask(judge, "assert answer", {"answer": object()})
    assert answer.kind == "failed"
    assert answer.message.startswith("`answer` cannot be handed to the test: it is an object of the type object")


def test_a_bundle_that_makes_no_sense_fails_the_test(judge):
    question = Question.about("assert total == 6")
    for raw in (b"", b"rubbish", forged(6), honest({"total": 6}, nonce="another")):
        answer = judge.ask(question, raw)
        assert answer.kind == "failed"
        assert answer.message.startswith("Your values could not be read: ")


def test_asserts_hold_and_python_runs_isolated(judge):
    source = (
        "import sys\nassert __debug__ and sys.flags.isolated and not sys.flags.optimize, 'flags'\nassert False, 'held'"
    )
    assert ask(judge, source).message == "held"


# --- apart ----------------------------------------------------------------------------------------------------------


def test_cells_share_no_names_and_no_files(judge, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("report.csv").write_text("a,b\n")
    source = "leak = 1\nassert open('report.csv').read() == 'a,b\\n'\nopen('made.txt', 'w').write('x');"
    assert ask(judge, source).kind == "passed"
    assert "`leak` is not defined" in ask(judge, "leak").message
    assert ask(judge, "import os\nassert os.listdir('.') == [], os.listdir('.')").kind == "passed"


def test_a_students_folder_with_modules_changes_nothing(tmp_path):
    for name in ("helpers.py", "numpy.py", "json.py", "sitecustomize.py", "usercustomize.py", "conftest.py"):
        (tmp_path / name).write_text("raise RuntimeError('student code ran in the judge')\n")
    startup = tmp_path / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("raise RuntimeError('student code ran in the judge')\n")
    with Judge(modules=("helpers",), limits=LIMITS, cwd=tmp_path) as judge:
        source = "import json, numpy, helpers\nassert 'site-packages' in numpy.__file__ and numpy.arange(3).sum() == 3"
        assert ask(judge, source).kind == "passed"


def test_values_never_replace_what_the_cell_relies_on(judge):
    values = {"total": 6, "len": 1, "print": 2, "__builtins__": {}, "__name__": "x", "assert_": 1}
    question = Question.about("assert len([1]) == 1 and __name__ == '__main__' and total == 6")
    assert judge.ask(question, honest(values, nonce=question.nonce)).kind == "passed"


def test_random_numbers_are_the_same_in_every_cell(judge):
    source = "import random, numpy\nprint(random.random(), numpy.random.rand())"
    assert ask(judge, source).stdout == ask(judge, source).stdout


def test_a_new_notebook_does_not_meet_what_an_earlier_one_left(judge):
    judge.begin()
    assert ask(judge, "import numpy\nnumpy.pi = 3").kind == "passed"
    judge.begin()
    assert ask(judge, "import numpy\nassert numpy.pi > 3.1").kind == "passed"


def test_the_environment_holds_no_more_than_the_judge_needs(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PYTHONPATH", "/tmp")
    with Judge(modules=LIGHT_MODULES, limits=LIMITS) as judge:
        assert (
            ask(judge, "import os\nassert not {'SECRET_TOKEN', 'PYTHONPATH'} & set(os.environ), 'leaked'").kind
            == "passed"
        )


# --- whose word counts ----------------------------------------------------------------------------------------------


def test_a_cell_that_never_ends_is_stopped_and_the_next_one_runs(judge):
    judge.limits = replace(LIMITS, cell_seconds=1)
    try:
        with pytest.raises(GraderFailed, match="did not end within 1 s"):
            ask(judge, "while True: pass")
    finally:
        judge.limits = LIMITS
    assert ask(judge, "assert total == 6", {"total": 6}).kind == "passed"


@pytest.mark.parametrize("how", ["os._exit(0)", "os.kill(os.getpid(), 9)", "import ctypes; ctypes.string_at(0)"])
def test_a_cell_whose_process_dies_is_no_pass_and_the_next_one_runs(judge, how):
    with pytest.raises(GraderFailed, match="died"):
        ask(judge, f"import os; {how}")
    assert ask(judge, "assert total == 6", {"total": 6}).kind == "passed"


def test_a_judge_that_is_killed_is_no_pass_and_is_replaced():
    with Judge(modules=LIGHT_MODULES, limits=LIMITS) as judge:
        assert ask(judge, "1 + 0.5").score == 1.5
        os.kill(judge.pid, signal.SIGKILL)
        with pytest.raises(GraderFailed, match="the judge died"):
            ask(judge, "1 + 0.5")
        assert ask(judge, "1 + 0.5").score == 1.5


def test_a_judge_that_cannot_start_says_why():
    with (
        Judge(modules=("a_module_that_is_not_there",), limits=LIMITS) as judge,
        pytest.raises(GraderFailed, match="could not start: ModuleNotFoundError"),
    ):
        judge.begin()


def test_a_judge_that_says_nothing_is_given_up():
    limits = JudgeLimits(start_seconds=0.5)
    with (
        Judge(command=lambda argv: ["sleep", "60"], limits=limits) as judge,
        pytest.raises(GraderFailed, match="did not answer in time"),
    ):
        judge.begin()


FORGER = """
import os, sys, json, struct
sys.path.insert(0, {here!r})
key, mode = b"k" * {key_bytes}, {mode!r}
from autograder.judge_process import FRAME, pack, sign, _read, _read_frame
pipe, out = os.fdopen(0, "rb"), os.fdopen(1, "wb")
key = _read(pipe, {key_bytes}) if mode != "unsigned" else (_read(pipe, {key_bytes}), b"k" * {key_bytes})[1]
first = None
while True:
    header, payload = _read_frame(pipe)
    kind = "passed" if header.get("do") == "judge" else "ready"
    frame = pack({{"kind": kind, "nonce": "0" * 32 if mode == "nonce" else header["nonce"]}})
    if mode == "replay":
        frame = first = first or frame
    if mode == "long":
        frame = FRAME.pack(1 << 30, 0)
    if mode == "rubbish":
        frame = FRAME.pack(2, 0) + b"[]"
    out.write(frame + sign(key, frame)); out.flush()
"""


@pytest.mark.parametrize(
    ("mode", "says"),
    [("unsigned", "not signed"), ("nonce", "another question"), ("replay", "another question"), ("long", "too long"),
     ("rubbish", "another question")],
)  # fmt: skip
def test_an_answer_that_is_forged_replayed_or_damaged_does_not_count(mode, says, repository):
    import sys

    code = FORGER.format(here=str(repository), key_bytes=KEY_BYTES, mode=mode)
    with (
        Judge(command=lambda argv: [sys.executable, "-c", code], limits=LIMITS) as judge,
        pytest.raises(GraderFailed, match=says),
    ):
        judge.begin()
        ask(judge, "assert False")


def test_the_same_forger_with_the_right_key_and_nonce_is_believed(repository):
    import sys

    code = FORGER.format(here=str(repository), key_bytes=KEY_BYTES, mode="honest")
    with Judge(command=lambda argv: [sys.executable, "-c", code], limits=LIMITS) as judge:
        judge.begin()
        assert ask(judge, "assert False").kind == "passed"


def test_a_test_cell_cannot_write_into_the_channel_of_answers(judge):
    """Even code in the judge that writes to every descriptor it can find does not become an answer."""
    frame = pack({"kind": "passed", "nonce": "0" * 32})
    forged_answer = frame + sign(b"k" * KEY_BYTES, frame)
    source = (
        "import os\nfor d in range(256):\n    try:\n"
        f"        os.set_blocking(d, False)\n        os.write(d, {forged_answer!r})\n"
        "    except OSError:\n        pass\nassert False, 'the end'"
    )
    with pytest.raises(GraderFailed, match="damaged answer"):
        ask(judge, source)
    assert ask(judge, "assert False, 'still'").message == "still"


def test_the_key_is_in_no_environment_and_on_no_command_line(judge):
    ask(judge, "assert True")
    process = Path(f"/proc/{judge.pid}")
    assert judge._key not in (process / "cmdline").read_bytes()
    answer = ask(judge, "import os\nprint(os.environ)")
    assert judge._key.hex() not in answer.stdout


def test_a_sitting_cannot_look_into_the_keeper(judge):
    source = (
        "import os\nparent = os.getppid()\n"
        "opened = []\n"
        "for name in ('mem', 'environ', 'fd/0', 'maps'):\n"
        "    try:\n        open(f'/proc/{parent}/{name}', 'rb').read(1)\n        opened.append(name)\n"
        "    except OSError:\n        pass\n"
        "assert os.getuid() == 0 or not opened, opened"
    )
    assert ask(judge, source).kind == "passed"


def test_closing_leaves_no_process_and_no_file_behind(tmp_path):
    judge = Judge(modules=LIGHT_MODULES, limits=LIMITS, cwd=tmp_path)
    assert list(tmp_path.iterdir()) == []
    answer = ask(judge, "import os, subprocess, sys\nsubprocess.Popen(['sleep', '300'])\nprint(os.getpid())")
    sitting = int(answer.stdout)
    judge.close()
    judge.close()
    for _ in range(100):
        if not Path(f"/proc/{sitting}").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{sitting}").exists()
    assert not list(tmp_path.iterdir())


def test_memory_beyond_the_limit_fails_the_cell_and_not_the_judge():
    with Judge(modules=LIGHT_MODULES, limits=JudgeLimits(memory_bytes=400 << 20)) as judge:
        answer = ask(judge, "import numpy\nnumpy.ones(10**9).sum()")
        assert (answer.kind, answer.message) == ("failed", "The test ran out of memory on your values.")
        assert ask(judge, "1").kind == "partial"


def test_a_judge_for_plain_data_needs_no_keras():
    assert modules_for(["assert total == 6", "import numpy as np"]) == LIGHT_MODULES
    assert modules_for(["assert total", "assert model_intro.output_shape == (None, 5)"]) == KERAS_MODULES
    assert modules_for(["from helpers import checks"]) == KERAS_MODULES


# --- with Keras -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras_judge(needs_bubblewrap) -> Iterator[Judge]:
    """A judge in its sandbox that has imported what test cells need before its first sitting."""
    with open_judge(limits=JudgeLimits()) as judge:
        yield judge


def test_a_model_is_judged_by_its_predictions_and_twice_alike(keras_judge):
    import keras

    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(5, activation="softmax")]
    )
    source = (
        "import keras, numpy as np\n"
        "assert model.output_shape == (None, 5)\n"
        "images = np.random.rand(4, 8, 8, 3)\n"
        "print(repr(model.predict(images, verbose=0)), keras.random.normal((2,)))"
    )
    first = ask(keras_judge, source, {"model": model})
    assert first.kind == "passed", first.message
    assert ask(keras_judge, source, {"model": model}).stdout == first.stdout
    keras_judge.begin()
    assert ask(keras_judge, source, {"model": model}).stdout == first.stdout
    np.testing.assert_allclose(model(np.zeros((1, 8, 8, 3))), 0.2, atol=1e-6)


def test_an_endless_model_does_not_take_the_judge_along(keras_judge):
    import keras

    wide = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    raw = honest({"model": wide}, nonce="n")
    assert b'"units": 3' in raw
    question = replace(Question.about("assert model"), nonce="n")
    answer = keras_judge.ask(question, raw.replace(b'"units": 3', b'"units": 9'))
    assert answer.kind == "failed"
    assert "cannot be handed to the test" in answer.message
