"""A whole notebook through the student kernel and the judge, with a verdict for every test cell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from nbgrader.utils import determine_grade

from autograder.engine import GradedNotebook, GradingClient, Verdict, grade_notebook, weigh
from autograder.errors import CourseError
from autograder.judge import LIGHT_MODULES, Answer, CourseImages, GraderFailed, Judge, JudgeLimits, open_judge
from autograder.sandbox import SandboxUnavailable
from autograder.student import is_test_cell

LIMITS = JudgeLimits(cell_seconds=20)


def graded_cell(grade_id: str, source: str, points: float = 2, **flags: Any) -> NotebookNode:
    cell = new_code_cell(source)
    cell.metadata["nbgrader"] = {
        "grade": True, "solution": False, "locked": True, "task": False, "grade_id": grade_id, "points": points,
        "schema_version": 3, **flags,
    }  # fmt: skip
    return cell


def notebook(*parts: str | tuple[str, str] | NotebookNode) -> NotebookNode:
    """A notebook of a student's cells (a source) and test cells (an id and a source)."""
    nb = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}})
    for part in parts:
        if isinstance(part, tuple):
            nb.cells.append(graded_cell(*part))
        else:
            nb.cells.append(new_code_cell(part) if isinstance(part, str) else part)
    return nb


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge(modules=LIGHT_MODULES, limits=LIMITS) as judge:
        yield judge


@pytest.fixture
def grade(judge, tmp_path):
    """Grade a notebook without the sandbox, which has tests of its own."""

    def run(*parts: Any, **options: Any) -> GradedNotebook:
        options = {"sandbox": False, "data": None, "resources": {"metadata": {"path": str(tmp_path)}}, **options}
        graded = grade_notebook(notebook(*parts), options.pop("judge", judge), **options)
        nbformat.validate(graded.notebook)
        return graded

    return run


def states(graded: GradedNotebook) -> dict[str, str]:
    return {name: verdict.state for name, verdict in graded.verdicts.items()}


def outputs(graded: GradedNotebook, grade_id: str) -> list[NotebookNode]:
    return next(
        cell.outputs for cell in graded.notebook.cells if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


# --- verdicts -------------------------------------------------------------------------------------------------------


def test_right_wrong_partial_and_missing_answers_get_what_they_deserve(grade):
    graded = grade(
        "total = 6\nhalf = 0.5",
        ("right", "assert total == 6"),
        ("wrong", "assert total == 7, f'total should be 7; yours is {total}'"),
        ("partial", "2 * half"),
        ("missing", "assert model is not None"),
        ("again", "assert total == 6"),
    )
    assert states(graded) == {
        "right": "passed", "wrong": "failed", "partial": "partial", "missing": "failed", "again": "passed",
    }  # fmt: skip
    assert [v.score for v in graded.verdicts.values()] == [2, 0, 1, 0, 2]
    assert graded.score == 5
    assert graded.attempts == 1
    assert graded.verdicts["wrong"].message == "total should be 7; yours is 6"
    assert "`model` is not defined" in graded.verdicts["missing"].message
    assert all(v.seconds > 0 for v in graded.verdicts.values())


def test_the_outcome_stands_in_the_cell_as_nbgrader_reads_it(grade):
    graded = grade(
        "total, half = 6, 0.5",
        ("right", "print('seen')\nassert total == 6"),
        ("wrong", "print('seen')\nsecret = 7\nassert total == secret"),
        ("partial", "2 * half"),
    )
    marks = {c.metadata["nbgrader"]["grade_id"]: determine_grade(c) for c in graded.notebook.cells if is_test_cell(c)}
    assert marks == {"right": (2, 2), "wrong": (0, 2), "partial": (1, 2)}
    assert [o.output_type for o in outputs(graded, "right")] == ["stream"]
    seen, error = outputs(graded, "wrong")
    assert seen.text == "seen\n"
    assert (error.ename, error.evalue) == ("AssertionError", "A check in this test did not hold.")
    assert "secret" not in str(error)


def test_a_notebook_that_was_handed_in_is_not_changed(grade, judge):
    nb = notebook("x = 1", ("a", "assert x"))
    before = nb.copy()
    grade_notebook(nb, judge, sandbox=False)
    assert nb == before
    assert nb.cells[1].outputs == []


def test_written_answers_and_code_for_a_person_are_not_judged(grade):
    written = new_markdown_cell("Because.")
    written.metadata["nbgrader"] = {"grade": True, "solution": True, "grade_id": "why", "points": 3, "locked": False}
    code = graded_cell("open", "print('mine')", solution=True, locked=False)
    graded = grade(written, code, ("a", "assert True"))
    assert list(graded.verdicts) == ["a"]
    assert outputs(graded, "open")[0].text == "mine\n"


def test_warnings_on_stderr_cost_nothing(grade):
    graded = grade(
        "import sys; total = 6; print('student warning', file=sys.stderr)",
        ("a", "import sys, warnings\nwarnings.warn('x')\nprint('x', file=sys.stderr)\nassert total == 6"),
    )
    assert states(graded) == {"a": "passed"}
    assert outputs(graded, "a") == []


def test_a_variable_named_like_a_builtin_does_not_trouble_the_collector(grade):
    graded = grade(
        "exec = compile = globals = open = len = vars = dict = 3",
        "total = [1, 2]",
        ("a", "assert len(total) == 2"),
    )
    assert states(graded) == {"a": "passed"}


def test_collecting_leaves_no_name_behind(grade):
    graded = grade(
        "total = 6\nbefore = sorted(n for n in globals() if not n.startswith('_'))",
        ("a", "assert total == 6"),
        "after = sorted(n for n in globals() if not n.startswith('_') and n != 'before')",
        ("b", "assert set(after) == set(before) - {'after'}, set(after) ^ set(before)"),
    )
    assert states(graded) == {"a": "passed", "b": "passed"}


def test_files_in_the_work_folder_cross(grade):
    graded = grade(
        "import os\nos.makedirs('models', exist_ok=True)\nopen('models/notes.txt', 'w').write('hello')",
        ("a", "assert open('models/notes.txt').read() == 'hello'"),
        ("b", "assert open('absent.txt').read() == 'hello'"),
    )
    assert states(graded) == {"a": "passed", "b": "failed"}


# --- evidence: what a student's code may do and does not get --------------------------------------------------------

ATTACKS = {
    "an AST transformer that drops asserts": """
import ast
class Drop(ast.NodeTransformer):
    def visit_Assert(self, node): return ast.Pass()
get_ipython().ast_transformers.append(Drop())
""",
    "an input transformer": "get_ipython().input_transformers_cleanup.append(lambda lines: ['pass\\n'])",
    "an AssertionError that is none": "import builtins\nbuiltins.AssertionError = type('A', (BaseException,), {})",
    "an object that equals everything": """
class Yes:
    def __eq__(self, other): return True
    def __class__(self): return int
total = Yes()
""",
    "an int that equals everything": """
class Yes(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
total = Yes(5)
""",
    "a hook that rewrites the outcome": """
def forget(*args):
    import sys; sys.modules['__main__'].total = 6
get_ipython().events.register('pre_execute', lambda: None)
get_ipython().showtraceback = lambda *a, **k: None
""",
    "a trace function": "import sys\nsys.settrace(lambda *a: None)",
    "a collector that lies": "import math\nmath.isfinite = lambda value: True",
    "forged evidence on the outbox": """
import threading, time
def write():
    while True:
        for path in ('/outbox',):
            try: open(path, 'r+b').write(b'{"kind": "passed"}')
            except OSError: pass
        time.sleep(0.001)
threading.Thread(target=write, daemon=True).start()
""",
    "a process that is gone": "import os; os._exit(0)",
    "exit": "import sys; sys.exit(0)",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_an_attack_earns_nothing_and_a_later_right_answer_is_not_lost(grade, attack):
    graded = grade("total = 5", attack, ("forged", "secret = 6\nassert total == secret"))
    assert states(graded) == {"forged": "failed"}
    assert graded.score == 0


UNREADABLE = {
    "a kernel that dies while it is asked": (
        "import math, os\nmath.isfinite = lambda value: os._exit(1)",
        "Your values could not be read: The kernel ended here",
    ),
    "a kernel that hangs while it is asked": (
        "import math, time\nmath.isfinite = lambda value: time.sleep(3600)",
        "Your values could not be read: copying them took more than 3 s",
    ),
    "a collector that raises": (
        "import math\ndef isfinite(value): raise OSError('mine')\nmath.isfinite = isfinite",
        "`total` could not be copied for the test: OSError: mine",
    ),
    "a collector that is swallowed": (
        "import builtins\nbuiltins.exec = lambda *a: None",
        "Your values could not be read: nothing arrived",
    ),
}


@pytest.mark.parametrize(("code", "says"), UNREADABLE.values(), ids=UNREADABLE)
def test_values_that_cannot_be_read_fail_this_test_and_are_no_failure_of_the_grader(grade, code, says):
    graded = grade("total = 6.0", code, ("a", "assert total == 6"), ("b", "assert 1 == 1"), collect_seconds=3)
    assert states(graded) == {"a": "failed", "b": "passed"}
    assert graded.verdicts["a"].message.startswith(says)
    assert graded.attempts == 1


# --- when the grader fails ------------------------------------------------------------------------------------------

KILL_ONCE = """
import os, pathlib
marker = pathlib.Path({path!r})
if not marker.exists():
    marker.write_text('tried')
    os.kill(os.getpid(), 9)
assert total == 6
"""


def test_a_judge_that_dies_once_is_asked_again_in_fresh_kernels(grade, tmp_path):
    cell = KILL_ONCE.format(path=str(tmp_path / "marker"))
    graded = grade("total = 6", ("before", "assert total == 6"), ("dies", cell), ("after", "assert total == 6"))
    assert states(graded) == {"before": "passed", "dies": "passed", "after": "passed"}
    assert graded.attempts == 2


def test_a_judge_that_dies_twice_is_reported_and_gives_neither_points_nor_zero(grade):
    graded = grade(
        "total = 6",
        ("before", "assert total == 6"),
        ("dies", "import os; os.kill(os.getpid(), 9)"),
        ("after", "assert total"),
    )
    assert states(graded) == {"before": "passed", "dies": "grader failed", "after": "passed"}
    verdict = graded.verdicts["dies"]
    assert (verdict.score, verdict.max_score) == (None, 2)
    assert "died" in verdict.message
    assert [v.grade_id for v in graded.grader_failures] == ["dies"]
    assert graded.attempts == 2
    (note,) = outputs(graded, "dies")
    assert "through no fault of yours" in note["data"]["text/plain"]


def test_the_whole_judge_killed_in_the_middle_of_a_cell_is_replaced(grade, judge):
    source = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)"
    graded = grade("total = 6", ("dies", source), ("after", "assert total == 6"))
    assert states(graded) == {"dies": "grader failed", "after": "passed"}


def test_a_test_cell_that_hangs_is_no_pass_and_the_rest_goes_on(grade, judge):
    judge.limits = replace(LIMITS, cell_seconds=1)
    try:
        graded = grade("total = 6", ("hangs", "while True: pass"), ("after", "assert total == 6"))
    finally:
        judge.limits = LIMITS
    assert states(graded) == {"hangs": "grader failed", "after": "passed"}


@pytest.mark.parametrize(
    ("source", "says"),
    [("float('nan')", "no number of points"), ("3", "gives between 0 and 2"), ("-1", "gives between 0 and 2"),
     ("True", "ends with True"), ("%matplotlib inline", "not plain Python"), ("assert (", "not plain Python")],
)  # fmt: skip
def test_a_defect_of_a_test_cell_goes_to_the_instructor(grade, source, says):
    graded = grade(("a", source), ("b", "2"), attempts=1)
    assert states(graded) == {"a": "grader failed", "b": "partial"}
    assert says in graded.verdicts["a"].message


def test_two_test_cells_with_one_id_are_reported(grade):
    graded = grade(("a", "assert True"), ("a", "assert False"), attempts=1)
    assert states(graded) == {"a": "grader failed"}


def test_a_kernel_that_cannot_start_is_the_graders_failure_in_every_cell(judge):
    class Broken(GradingClient):
        async def _start(self):
            raise CourseError("no kernel today")

    graded = grade_notebook(notebook("x = 1", ("a", "assert x")), judge, make_client=Broken, sandbox=False)
    assert states(graded) == {"a": "grader failed"}
    assert "no kernel today" in graded.verdicts["a"].message
    assert graded.attempts == 2


def test_without_a_sandbox_nothing_is_graded(judge):
    class Open(GradingClient):
        async def _start(self):
            raise SandboxUnavailable("install bubblewrap")

    with pytest.raises(SandboxUnavailable, match="install bubblewrap"):
        grade_notebook(notebook(("a", "assert True")), judge, make_client=Open)


def test_a_verdict_that_one_of_two_runs_reached_counts(judge, tmp_path):
    runs = []

    class Flaky(GradingClient):
        async def _answer(self, source):
            runs.append(source)
            if len(runs) in (1, 4):  # the first test of the first run, the second test of the second run
                raise GraderFailed("bad luck")
            return await super()._answer(source)

    graded = grade_notebook(
        notebook("x = 1", ("a", "assert x"), ("b", "assert not x, 'b is wrong'")),
        judge,
        make_client=Flaky,
        sandbox=False,
    )
    assert states(graded) == {"a": "passed", "b": "failed"}
    assert outputs(graded, "b")[0].evalue == "b is wrong"


def test_the_same_notebook_gets_the_same_verdicts_and_outputs_every_time(grade):
    parts = (
        "import random; x = 1",
        ("a", "import random, numpy\nprint(random.random(), numpy.random.rand())"),
        ("b", "0.5"),
    )
    first, second = grade(*parts), grade(*parts)
    assert [v.score for v in first.verdicts.values()] == [v.score for v in second.verdicts.values()]
    assert outputs(first, "a") == outputs(second, "a")


DRAWS = "import random\nimport numpy as np\n{}\nnumbers = [random.random(), float(np.random.rand())]"


def _drawn(graded: GradedNotebook) -> str:
    assert states(graded) == {"a": "passed"}, graded.verdicts
    return outputs(graded, "a")[0].text


def test_random_numbers_of_a_notebook_without_a_seed_are_the_same_every_time(grade):
    cells = (DRAWS.format(""), ("a", "print(numbers)"))
    assert _drawn(grade(*cells)) == _drawn(grade(*cells))


def test_a_seed_of_the_notebooks_own_counts(grade):
    own = [f"random.seed({seed}); np.random.seed({seed})" for seed in (1, 2, 1)]
    printed = [_drawn(grade(DRAWS.format(line), ("a", "print(numbers)"))) for line in own]
    assert printed[0] == printed[2] != printed[1]


# --- both in their sandboxes, with Keras ----------------------------------------------------------------------------

KERAS_NOTEBOOK = (
    """
import keras, numpy as np, tensorflow as tf
from pathlib import Path
images = np.random.default_rng(1).uniform(0, 255, (60, 8, 8, 3)).astype("float32")
labels = (images.mean(axis=(1, 2, 3)) > 127.5).astype("int32")
train_ds = tf.data.Dataset.from_tensor_slices((images, labels)).batch(20)
train_ds.class_names = ["dark", "light"]
""",
    """
model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(),
                          keras.layers.Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(train_ds, epochs=2, verbose=0)
Path("models").mkdir(exist_ok=True)
model.save("models/model.keras")
""",
    ("shape", "assert model.output_shape == (None, 2)\nassert train_ds.class_names == ['dark', 'light']"),
    (
        "history",
        "assert len(history.history['loss']) == 2 and history.epoch == [0, 1]\n"
        "print([float(w.sum()) for w in model.get_weights()])",
    ),
    (
        "file",
        "import keras, numpy as np\nagain = keras.models.load_model('models/model.keras')\n"
        "for pictures, _ in train_ds:\n    assert np.allclose(again(pictures), model(pictures), atol=1e-6)",
    ),
    "own = keras.Sequential([keras.Input((3,)), keras.layers.Lambda(lambda x: x)])",
    ("lambda", "assert own"),
    (
        "apart",
        "import os\nassert 'images' not in globals() and not os.path.exists('/outbox') and os.listdir('.') == []",
    ),
)


@pytest.mark.slow
def test_a_notebook_with_keras_goes_from_one_sandbox_into_another_and_comes_out_alike_twice(needs_bubblewrap):
    with open_judge(images=CourseImages()) as judge:
        graded, again = (grade_notebook(notebook(*KERAS_NOTEBOOK), judge, data=None) for _ in range(2))
    assert states(graded) == {
        "shape": "passed", "history": "passed", "file": "passed", "lambda": "failed", "apart": "passed",
    }, graded.verdicts  # fmt: skip
    assert "`own` cannot be handed to the test: it contains a lambda" in graded.verdicts["lambda"].message
    assert outputs(graded, "history") == outputs(again, "history") != []


# --- pieces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("score", "counts"), [(0.0, 0.0), (2.0, 2.0), (1.25, 1.25), (2 + 1e-12, 2.0), (-1e-12, 0.0)])
def test_partial_credit_lies_between_nothing_and_everything(score, counts):
    assert weigh("a", Answer("partial", score), 2.0).score == counts


@pytest.mark.parametrize(
    "answer", [Answer("partial", 2.1), Answer("partial", -0.1), Answer("partial"), Answer("PASSED")]
)
def test_no_other_answer_earns_anything(answer):
    with pytest.raises(GraderFailed):
        weigh("a", answer, 2.0)


def test_a_verdict_survives_a_log():
    verdict = Verdict("a", "failed", 0.0, 2.0, "why", 1.5)
    assert Verdict.from_dict(verdict.to_dict()) == verdict
