from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from autograder import student
from autograder.errors import CourseError
from autograder.limits import MIB, Limits
from autograder.sandbox import Sandbox
from autograder.student import HiddenTimeout, StudentClient, hidden_folders
from autograder.zygote import Zygote

pytestmark = pytest.mark.usefixtures("needs_bubblewrap")

QUICK = {"cell_seconds": 30, "grace_seconds": 1, "memory_bytes": 512 * MIB, "output_bytes": MIB}


class Judging(StudentClient):
    """Asks the student kernel for values where a test cell stands."""

    ask = "x = 1"
    seconds = 10.0

    async def judge_cell(self, cell, index):
        try:
            self.replies.append(await self.run_hidden(self.ask, self.seconds))
        except (TimeoutError, DeadKernelError) as error:
            self.replies.append(error)

    @property
    def replies(self):
        return self.__dict__.setdefault("_replies", [])


def test_cell(source="assert x == 1"):
    about = {"grade": True, "solution": False, "locked": True, "points": 1, "grade_id": "t", "schema_version": 3}
    return new_code_cell(source, metadata={"nbgrader": about})


test_cell.__test__ = False


class Kernels:
    """Where the kernels of `run` come from: a zygote that all tests share, or None."""

    zygote = None


@pytest.fixture(scope="module")
def shared_zygote(needs_bubblewrap):
    with Zygote(Sandbox(hidden=tuple(hidden_folders())), modules=()) as zygote:
        yield zygote


@pytest.fixture(autouse=True)
def kernels(request, shared_zygote):
    """Kernels are forked, as in grading, but where a test asks for those that are started anew too."""
    Kernels.zygote = shared_zygote if getattr(request, "param", "warm") == "warm" else None
    yield Kernels
    Kernels.zygote = None


warm_and_cold = pytest.mark.parametrize("kernels", ["warm", "cold"], indirect=True)


def run(*sources, kind=StudentClient, sandbox=True, files=None, nb=None, **limits):
    cells = [new_code_cell(source) if isinstance(source, str) else source for source in sources]
    nb = nb or new_notebook(cells=cells)
    client = kind(nb, limits=Limits(**{**QUICK, **limits}), sandbox=sandbox, data=None, files=files)
    client.zygote = Kernels.zygote if sandbox else None
    client.execute()
    nbformat.validate(nb)
    return nb.cells, client


def text(cell):
    return "".join(out.get("text", "") + out.get("data", {}).get("text/plain", "") for out in cell.outputs)


def errors(cell):
    return [out.ename for out in cell.outputs if out.output_type == "error"]


# --- what an honest notebook gets ------------------------------------------------------------------------------------


@warm_and_cold
def test_an_honest_notebook_runs_as_in_jupyter(tmp_path):
    (tmp_path / "mine.py").write_text("value = 41")
    (tmp_path / "random.py").write_text("raise RuntimeError('shadow')")
    (tmp_path / "01-introduction.ipynb").write_text("hidden tests")
    cells, client = run(
        "import mine\nprint('one'); mine.value + 1",
        "import sys; print('two', file=sys.stderr)",
        "1 / 0",
        "from IPython.display import display, HTML\n"
        "h = display(HTML('<b>a</b>'), display_id=True)\nh.update(HTML('<b>b</b>'))",
        "import os\nos.makedirs('models', exist_ok=True)\nopen('models/m', 'w').write('x')\n"
        "(os.getcwd(), sorted(os.listdir()))",
        "%matplotlib inline\nimport matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()",
        new_markdown_cell("words"),
        "",
        files=tmp_path,
    )
    assert text(cells[0]) == "one\n42" and cells[0].execution_count == 1
    assert cells[1].outputs[0].name == "stderr"
    assert errors(cells[2]) == ["ZeroDivisionError"]
    assert cells[3].outputs[0].data["text/html"] == "<b>b</b>" and len(cells[3].outputs) == 1
    assert "('/work'," in text(cells[4]) and "mine.py" in text(cells[4]) and "ipynb" not in text(cells[4])
    assert any("image/png" in out.get("data", {}) for out in cells[5].outputs)
    assert not errors(cells[5]) and client.log_lines == []


def test_a_notebook_gets_the_same_numbers_each_time():
    source = "import random, os\nprint(hash('word'), os.environ['TF_DETERMINISTIC_OPS'], sorted({'a', 'b', 'c'}))"
    first, _ = run(source)
    second, _ = run(source)
    assert text(first[0]) == text(second[0]) != ""


def test_settings_of_the_person_who_grades_are_not_read(tmp_path, monkeypatch):
    startup = tmp_path / ".ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "0.py").write_text("SEEN = 1")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / ".ipython"))
    for sandbox in (True, False):
        cells, _ = run("'SEEN' in globals()", sandbox=sandbox)
        assert text(cells[0]) == "False"


@pytest.mark.slow
def test_a_small_model_trains_and_is_saved_within_the_default_memory():
    cells, _ = run(
        "import numpy as np, keras\nkeras.utils.set_random_seed(1)\n"
        "from keras import layers\n"
        "inside = [layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(5)]\n"
        "m = keras.Sequential(inside)\n"
        "m.compile('adam', 'mse'); h = m.fit(np.zeros((64, 8, 8, 3)), np.zeros((64, 5)), verbose=0)\n"
        "m.save('model.keras'); keras.models.load_model('model.keras').count_params()",
        cell_seconds=120,
        memory_bytes=Limits().memory_bytes,
    )
    assert errors(cells[0]) == [] and text(cells[0]).endswith("837")


# --- limits are told in the cell that reached them, and the rest goes on ---------------------------------------------


def test_a_cell_that_takes_too_long_is_interrupted_and_the_next_one_finds_its_values():
    cells, client = run("x = 5", "import time\nx = 6\ntime.sleep(60)", "x", cell_seconds=2)
    assert errors(cells[1]) == ["KeyboardInterrupt", "TimeLimitReached"]
    assert "2 s" in cells[1].outputs[-1].evalue
    assert text(cells[2]) == "6" and client._restarts == 0


def test_a_loop_that_catches_the_interrupt_is_killed_and_earlier_cells_are_run_again_unseen():
    cells, client = run(
        "x = 5; print('once')",
        "x = 6; 1 / 0",
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\nwhile True: pass",
        "x",
        cell_seconds=2,
    )
    assert errors(cells[2]) == ["TimeLimitReached"] and "did not end" in cells[2].outputs[-1].evalue
    assert text(cells[0]) == "once\n" and len(cells[0].outputs) == 1
    assert text(cells[3]) == "5" and client._restarts == 1  # the cell with the error is not run again


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("import os; os._exit(0)", "the code ended it"),
        ("import os; os._exit(137)", "ended here"),
        ("import ctypes; ctypes.string_at(0)", "crashed"),
        ("import os, signal; os.abort()", "ended here"),
    ],
)
def test_the_death_of_a_kernel_is_told_in_its_cell_and_the_next_cell_runs(source, word):
    cells, _ = run("x = 5", source, "x")
    assert errors(cells[1]) == ["KernelDied"] and word in cells[1].outputs[-1].evalue
    assert text(cells[2]) == "5" and not errors(cells[0])


@warm_and_cold
def test_killing_everything_in_sight_kills_nothing_that_matters():
    cells, client = run("import os, signal\nos.kill(-1, signal.SIGKILL)", "import os\nos.kill(1, 9); 7")
    assert not any("KernelDied" in errors(cell) for cell in cells) or client._restarts <= 4
    assert text(cells[1]) == "7"


@warm_and_cold
def test_too_much_memory_is_an_error_in_the_cell_and_in_many_processes_the_end_of_the_kernel():
    cells, _ = run(
        "b = bytearray(1 << 30)",
        "import os, time\nfor _ in range(3):\n    if os.fork() == 0: b = bytearray(300 << 20); break\ntime.sleep(60)",
        "1",
    )
    assert errors(cells[0]) == ["MemoryError", "MemoryLimitReached"]
    assert "512 MB" in cells[0].outputs[-1].evalue
    assert errors(cells[1]) == ["LimitReached"] and "512 MB of memory" in cells[1].outputs[-1].evalue
    assert text(cells[2]) == "1"


@warm_and_cold
def test_a_fork_bomb_ends_with_its_cell():
    cells, _ = run(
        "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", "1", cell_seconds=3, processes=64
    )
    assert set(errors(cells[0])) & {"TimeLimitReached", "LimitReached", "KernelDied"}
    assert text(cells[1]) == "1"


def test_output_is_cut_while_it_streams_with_a_note_in_the_cell():
    cells, client = run("print('x' * 3_000_000)", "1")
    assert errors(cells[0]) == ["OutputLimitReached"] and "1 MB" in cells[0].outputs[-1].evalue
    assert 900_000 < len(text(cells[0])) <= MIB
    assert text(cells[1]) == "1" and client._restarts == 0


def test_an_endless_flood_of_output_is_stopped_long_before_the_time_limit():
    cells, client = run("while True: print('y' * 1000)", "1", cell_seconds=1000, notebook_seconds=1000)
    assert "OutputLimitReached" in errors(cells[0]) and client._spent < 100
    assert text(cells[1]) == "1"


@pytest.mark.parametrize(
    "source",
    [
        "from IPython.display import display\nfor _ in range(20): display({'image/png': 'A' * 200_000}, raw=True)",
        "from IPython.display import display\nfor _ in range(8000): display({'text/plain': ''}, raw=True)",
        "print('z' * 30_000_000)",
        "raise Exception('e' * 3_000_000)",
    ],
)
def test_giant_figures_and_swarms_of_outputs_count_as_output(source):
    cells, _ = run(source, "1")
    assert len(str(cells[0].outputs)) < 2 * MIB
    assert text(cells[1]) == "1"


def test_an_output_that_is_refused_is_told_also_when_the_kernel_ends_with_it():
    (cell,), _ = run(
        "import os, sys\nprint('z' * 30_000_000); sys.stdout.flush()\nimport time; time.sleep(1); os._exit(0)"
    )
    assert errors(cell) == ["OutputLimitReached", "KernelDied"]


def test_memory_that_runs_out_in_the_kernel_itself_is_told_in_the_cell():
    (cell,), _ = run("import sys; print('Exception in thread IOPub\\nMemoryError', file=sys.stderr)")
    assert errors(cell) == ["MemoryLimitReached"]


def test_asking_for_input_is_answered_at_once_by_a_clear_error():
    cells, client = run("name = input('name?')", "1")
    assert "NoInput" in errors(cells[0]) and "nobody sits at the keyboard" in cells[0].outputs[-1].evalue
    assert text(cells[1]) == "1" and client._spent < 15


def test_when_the_notebooks_time_is_used_up_the_rest_is_marked_as_not_run():
    cells, _ = run("x = 1", "import time; time.sleep(60)", "x", cell_seconds=2, notebook_seconds=2)
    assert "TimeLimitReached" in errors(cells[1]) and "whole notebook" in cells[1].outputs[-1].evalue
    assert errors(cells[2]) == ["NotRun"] and "2 s" in cells[2].outputs[0].evalue


def test_fresh_kernels_are_bounded_and_what_follows_is_marked_as_not_run():
    cells, client = run(*["import os; os._exit(1)"] * 4, "x = 1", restarts=2)
    assert client._restarts <= 2
    assert errors(cells[-1]) == ["NotRun"] and "ended 3 times" in cells[-1].outputs[0].evalue


def test_a_cell_that_kills_its_kernel_when_it_is_run_again_is_found_and_left_out():
    cells, _ = run(
        "import threading, os, time\nthreading.Timer(1.5, lambda: os._exit(1)).start()",
        "import time; time.sleep(3)",
        "y = 7",
        "y",
        restarts=4,
    )
    assert text(cells[3]) == "7"


# --- forged and malformed messages -----------------------------------------------------------------------------------

KERNEL = (
    "import json\nk = get_ipython().kernel; s = k.session\n"
    "def send(kind, content, parent=None):\n"
    "    s.send(k.iopub_socket, kind, content, parent=parent or k.get_parent(), ident=b'x')\n"
    "def signed(*parts): k.iopub_thread.send_multipart([b'x', b'<IDS|MSG>', s.sign(parts), *parts])\n"
    "def raw(kind, content):\n"
    "    head = s.msg_header(kind); head['date'] = '2020-01-01T00:00:00Z'\n"
    "    parent = {'msg_id': k.get_parent()['header']['msg_id']}\n"
    "    signed(json.dumps(head).encode(), json.dumps(parent).encode(), b'{}', content)\n"
    "def reply(content, parent):\n"
    "    s.send(k.shell_stream, 'execute_reply', content, parent=parent, ident=k._parent_ident['shell'])\n"
)


def test_outputs_of_other_cells_cannot_be_written():
    forged = (
        "send('stream', {'name': 'stdout', 'text': 'forged'}, first)\n"
        "about = {'data': {'text/plain': 'forged'}, 'metadata': {}, 'transient': {'display_id': 'd'}}\n"
        "send('update_display_data', about)\n"
        "import threading, time\n"
        "p = dict(k.get_parent())\n"
        "def later():\n"
        "    for _ in range(50): time.sleep(0.02); send('stream', {'name': 'stdout', 'text': 'late'}, p)\n"
        "threading.Thread(target=later).start()"
    )
    cells, _ = run(
        KERNEL
        + "first = dict(k.get_parent())\nfrom IPython.display import display\nh = display('mine', display_id='d')",
        test_cell(),
        KERNEL + forged,
        test_cell(),
        "import time; time.sleep(1.2); print('honest')",
    )
    assert "forged" not in str(cells[0].outputs) and "forged" not in str(cells[1].outputs)
    assert text(cells[4]) == "honest\n"
    for cell in (cells[1], cells[3]):
        assert [out.data["text/plain"] for out in cell.outputs] == ["This test is not run here: the judge runs it."]


def test_a_forged_reply_ends_its_own_cell_at_most():
    forge = "reply({'status': 'ok', 'execution_count': 10**6}, k.get_parent())\nimport time; time.sleep(3)\n"
    cells, client = run("x = 3", KERNEL + forge + "x = 4", "print(x)", test_cell(), "print('honest')", kind=Judging)
    assert text(cells[2]) == "4\n" and text(cells[4]) == "honest\n"
    assert cells[1].execution_count != 10**6 and client._restarts == 0 and client._spent >= 3


def test_a_reply_to_another_request_is_not_taken_for_this_ones():
    first = KERNEL + "old = dict(k.get_parent())"
    cells, _ = run(first, "reply({'status': 'ok'}, old)\nimport time; time.sleep(2); print('done')", "1")
    assert text(cells[1]) == "done\n" and text(cells[2]) == "1"


MALFORMED = [
    "k.iopub_thread.send_multipart([b'x', b'<IDS|MSG>', b'bad', b'{}', b'{}', b'{}', b'{}'])",
    "k.iopub_thread.send_multipart([b'x'])",
    "k.iopub_thread.send_multipart([b'x', b'<IDS|MSG>'])",
    "signed(b'{', b'{', b'{', b'{')",
    "signed(b'[]', b'[]', b'[]', b'[]')",
    "h = json.dumps({'msg_id': 'a', 'msg_type': 7, 'date': 'x' * 10}).encode()\n"
    "p = json.dumps({'msg_id': k.get_parent()['header']['msg_id']}).encode()\n"
    "signed(h, p, b'{}', b'[' * 100000); signed(h, p, b'{}', b'9' * 100000); signed(h, p, b'{}', b'{\"a\": NaN}')",
    "send('stream', {'name': 'stdout', 'text': 5})\nsend('stream', {'name': ['a'], 'text': 'x'})\nsend('stream', {})",
    'raw(\'stream\', b\'{"name": "stdout", "text": "bad \\\\ud800 text"}\')',
    'raw(\'display_data\', b\'{"data": {"text/plain": "\\\\ud800", "\\\\ud800/x": "a"}}\')',
    'raw(\'display_data\', b\'{"data": {"application/json": NaN, "a/json": 1e999}, "metadata": {"a": Infinity}}\')',
    'raw(\'error\', b\'{"ename": "\\\\udfff", "evalue": "\\\\udfff", "traceback": ["\\\\udfff", 3]}\')',
    "raw('display_data', b'{\"data\": {\"application/json\": ' + b'[' * 900 + b']' * 900 + b'}}')",
    "raw('stream', b'[]'); raw('stream', b'5'); raw('stream', b'null'); raw('stream', bytes(range(256)))",
    "d = {'application/json': float('nan'), 'text/plain': 7, 'x': 'y'}\n"
    "send('display_data', {'data': d, 'metadata': {'a': float('inf')}})",
    "d = []\nfor _ in range(500): d = [d]\nsend('display_data', {'data': {'application/json': d}, 'metadata': []})",
    "send('display_data', {'data': [], 'metadata': None, 'transient': 5})",
    "send('execute_result', {'execution_count': 'x', 'data': {'text/plain': 'a'}})",
    "send('error', {'ename': 5, 'evalue': None, 'traceback': 'abc'})\nsend('error', {})",
    "send('status', {'execution_state': ['x']})\nsend('clear_output', {'wait': 'x'})\nsend('comm_open', {})",
    "send('status', {'execution_state': 'idle'})",
    "send('update_display_data', {'data': 5, 'transient': {'display_id': []}})",
    "send('no such kind', {'x': 1})",
    "for n in (5, None, [], 'maybe'): reply({'status': n}, k.get_parent())",
]


def test_malformed_messages_never_stop_the_notebook():
    cells, client = run(*[KERNEL + source for source in MALFORMED], "print('honest')", cell_seconds=20)
    assert not any("Traceback" in text(cell) for cell in cells), "a forgery of this test failed by itself"
    assert text(cells[-1]) == "honest\n"
    assert client._restarts == 0
    nbformat.writes(new_notebook(cells=cells)).encode()
    for cell in cells:
        assert "TimeLimitReached" not in errors(cell), cell.source


@pytest.mark.parametrize(
    "source",
    [
        # a message larger than any output may be
        "send('stream', {'name': 'stdout', 'text': 'x' * 50_000_000})",
        # one message of parts without end
        "import zmq\nraw = k.iopub_thread.socket\nfor _ in range(3000): raw.send(b'x' * 1_000_000, zmq.SNDMORE)",
    ],
)
def test_a_message_of_absurd_size_is_refused_before_it_costs_memory(source):
    process = psutil.Process()
    before = process.memory_info().rss
    cells, client = run(KERNEL + source, "2", cell_seconds=10, memory_bytes=2048 * MIB)
    assert process.memory_info().rss - before < 300 * MIB
    assert text(cells[1]) == "2" or client._restarts


# --- the judge's side ------------------------------------------------------------------------------------------------


def test_a_test_cell_is_never_run_in_the_student_kernel():
    cells, client = run("y = 1", test_cell("y = 2"), "y", kind=Judging)
    assert text(cells[2]) == "1"
    assert client.replies == [{"status": "ok", "execution_count": 1}] or client.replies[0]["status"] == "ok"


@warm_and_cold
def test_hidden_code_leaves_no_output_and_can_write_the_outbox():
    class Collecting(Judging):
        ask = "print('seen'); open('/outbox', 'w').write(str(z)); z"

        async def judge_cell(self, cell, index):
            await super().judge_cell(cell, index)
            self.collected = self.outbox.read_text()

    cells, client = run("z = 9", test_cell(), "print('after')", kind=Collecting)
    assert client.collected == "9" and client.replies[0]["status"] == "ok"
    assert cells[1].outputs == [] and text(cells[2]) == "after\n"


def test_hidden_code_that_fails_hangs_or_dies_is_told_apart():
    class Asking(Judging):
        seconds = 2.0

        async def judge_cell(self, cell, index):
            self.ask = cell.source
            await super().judge_cell(cell, index)

    cells, client = run(
        "x = 3",
        test_cell("1 / 0"),
        test_cell("while True: pass"),
        test_cell("import os; os._exit(1)"),
        "x",
        kind=Asking,
    )
    assert client.replies[0]["ename"] == "ZeroDivisionError"
    assert isinstance(client.replies[1], HiddenTimeout)
    assert isinstance(client.replies[2], DeadKernelError)
    assert text(cells[4]) == "3"


# --- nothing is left behind ------------------------------------------------------------------------------------------


def leftovers():
    folders = {path for path in Path(tempfile.gettempdir()).glob("ag-*") if path.stat().st_uid == os.getuid()}
    return folders, {child.pid for child in psutil.Process().children(recursive=True)}


@pytest.mark.parametrize(
    ("kernels", "sandbox"), [("warm", True), ("cold", True), ("cold", False)], indirect=["kernels"]
)
def test_no_process_no_file_and_no_descriptor_is_left_behind(kernels, sandbox, shared_zygote):
    daemon = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    if os.fork() == 0: time.sleep(300)\n"
        "    os._exit(0)\n"
        "import threading; threading.Thread(target=time.sleep, args=(300,)).start()"
    )
    run("1", sandbox=sandbox)
    before, descriptors = leftovers(), psutil.Process().num_fds()
    threads = psutil.Process().num_threads()
    run(daemon, "import os; os._exit(1)", "1", sandbox=sandbox)
    assert leftovers()[1] <= before[1] | waiting(shared_zygote)
    assert psutil.Process().num_fds() <= descriptors + 2
    assert psutil.Process().num_threads() <= threads + 2
    mine = {pid for pid in psutil.pids() if _environment(pid).get("USER") == "student" and _parent_chain_ours(pid)}
    assert mine <= waiting(shared_zygote)


def waiting(zygote):
    """The zygote, and the one kernel that it has forked ahead."""
    members = zygote.process.members()
    assert len(members) <= 2
    return set(members)


def _environment(pid):
    try:
        return psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return {}


def _parent_chain_ours(pid):
    try:
        return os.getpid() in [parent.pid for parent in psutil.Process(pid).parents()]
    except psutil.Error:
        return False


def test_the_run_folder_is_removed_also_when_the_client_is_stopped_in_the_middle():
    class Stopping(StudentClient):
        async def judge_cell(self, cell, index):
            self.seen = (self.folder, self.process.members())
            raise KeyboardInterrupt

    nb = new_notebook(cells=[new_code_cell("1"), test_cell()])
    client = Stopping(nb, limits=Limits(**QUICK), data=None)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(client.async_execute())
    folder, members = client.seen
    assert not folder.exists() and not [pid for pid in members if psutil.pid_exists(pid)]


def test_a_kernel_that_cannot_start_is_the_graders_error_and_says_why(monkeypatch):
    monkeypatch.setattr("autograder.sandbox.INSIDE", Path("/usr/share"))
    nb = new_notebook(cells=[new_code_cell("1")])
    with pytest.raises(CourseError, match="could not be started"):
        StudentClient(nb, limits=Limits(**QUICK), data=None).execute()


def test_without_a_sandbox_the_notebook_runs_with_the_same_interface_and_a_warning(caplog):
    cells, client = run(
        "import os; print(os.getcwd())", "import os; os._exit(1)", "1", test_cell(), sandbox=False, kind=Judging
    )
    assert "rights of the person who grades" in caplog.text
    assert text(cells[0]).strip() != str(Path.cwd()) and text(cells[2]) == "1"
    assert client.replies[0]["status"] == "ok"


def test_the_seconds_of_a_phase_inside_of_another_count_to_that_one_alone(monkeypatch):
    ticks = iter([0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0])
    monkeypatch.setattr(student, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    client = StudentClient(new_notebook())
    with client.phase("start"):
        with client.phase("run"), client.phase("start"):
            pass
        with pytest.raises(KeyError), client.phase("judge"):
            raise KeyError
    assert next(ticks, None) is None
    assert client.phases == {"start": 1.0 + 4.0 + 16.0 + 64.0, "run": 2.0 + 8.0, "judge": 32.0}
