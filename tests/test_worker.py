"""A worker grades one notebook after the other, and nothing of one reaches the next."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from autograder import sandbox
from autograder.engine import GradingClient, grade_notebook
from autograder.images import CourseImages
from autograder.judge import JudgeLimits
from autograder.limits import MIB, Limits
from autograder.sandbox import Sandbox
from autograder.watch import inner_pid
from autograder.worker import Worker, WorkerPool
from autograder.zygote import KernelLost, Zygote, Zygotes

POOLED = {"sandbox": False, "limits": Limits(), "judge_limits": JudgeLimits(), "modules": (), "imports": ()}
IMAGES = CourseImages()


@pytest.fixture(scope="module")
def worker(needs_bubblewrap) -> Iterator[Worker]:
    """A worker with Keras, for all tests of this module."""
    with Worker(images=IMAGES, modules=(), limits=Limits(cell_seconds=100)) as worker:
        yield worker


@pytest.fixture
def light(needs_bubblewrap) -> Iterator[Worker]:
    """A worker that has imported nothing but what a kernel needs."""
    with Worker(images=IMAGES, modules=(), imports=()) as worker:
        yield worker


def notebook(*sources: str, test: str = "") -> NotebookNode:
    cells = [new_code_cell(source) for source in sources]
    if test:
        about = {"grade": True, "solution": False, "locked": True, "points": 1, "grade_id": "t", "schema_version": 3}
        cells.append(new_code_cell(test, metadata={"nbgrader": about}))
    return new_notebook(cells=cells)


def printed(nb: NotebookNode) -> list[str]:
    return ["".join(out.get("text", out.get("evalue", "")) for out in cell.outputs) for cell in nb.cells]


# --- nothing survives ------------------------------------------------------------------------------------------------

PROBE = """
import atexit, builtins, gc, glob, json, locale, os, random, resource, signal, socket, sys, threading, time, warnings
import keras, matplotlib, numpy as np, tensorflow as tf

def abstract():
    try:
        with socket.socket(socket.AF_UNIX) as probe: return probe.connect_ex('\\0planted') == 0
    except OSError: return False

def loopback():
    with socket.socket() as probe: return probe.connect_ex(('127.0.0.1', 5555)) == 0

def state(np=np, keras=keras):
    found = {}
    found['processes'] = [pid for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()]
    for folder in ('/work', '/tmp', '/dev/shm', '/dev/pts', '/dev/mqueue'):
        found[folder] = sorted(os.listdir(folder)) if os.path.isdir(folder) else None
    found['abstract socket'], found['port'] = abstract(), loopback()
    found['environment'] = {k: v for k, v in os.environ.items() if k not in ('COLUMNS', 'LINES')}
    found['modules'] = sorted(name for name in sys.modules if 'plant' in name)
    found['builtins'] = sorted(set(dir(builtins)) - {'__IPYTHON__'})
    found['numpy'] = [np.mean.__module__, np.mean.__name__, hasattr(np, 'planted')]
    found['keras'] = [keras.layers.Dense.call.__qualname__, hasattr(keras.Model, 'planted'), keras.config.floatx()]
    found['random states'] = [random.Random.__name__, hash(random.getstate()), hash(np.random.get_state()[1].tobytes())]
    found['keras names'] = keras.layers.Dense(1).name
    found['tensorflow'] = repr(tf.random.uniform((2,)).numpy().tolist())
    found['descriptors'] = sorted(
        os.readlink(f'/proc/self/fd/{n}') for n in set(os.listdir('/proc/self/fd')) - {os.readlink('/outbox')[-1]}
        if os.path.lexists(f'/proc/self/fd/{n}') and '/planted' in os.readlink(f'/proc/self/fd/{n}')
    )
    found['threads'] = sorted(t.name for t in threading.enumerate() if 'plant' in t.name)
    found['signals'] = [str(signal.getsignal(s)) for s in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM)]
    found['timer'] = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    found['exit handlers'] = sum('plant' in getattr(f, '__name__', '') for f in PLANTED_EXITS)
    mask = os.umask(0o22); os.umask(mask)
    found['umask'], found['folder'], found['zone'] = mask, os.getcwd(), time.tzname
    found['limits'] = [resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith('RLIMIT_')]
    found['nice'], found['affinity'] = os.nice(0), sorted(os.sched_getaffinity(0))
    found['path'] = [p for p in sys.path if 'plant' in p]
    found['collector'], found['recursion'] = gc.get_threshold(), sys.getrecursionlimit()
    found['switch'] = sys.getswitchinterval()
    found['warnings'] = [repr(f) for f in warnings.filters if 'plant' in repr(f)]
    found['matplotlib'] = matplotlib.rcParams['figure.dpi']
    found['ipython'] = [hasattr(get_ipython(), 'planted'), 'planted' in get_ipython().magics_manager.magics['line']]
    found['trace'] = sys.gettrace() is None
    found['name'] = open('/proc/self/comm').read()
    return found

PLANTED_EXITS = [getattr(sys, 'planted_exit', lambda: 0)]
print(json.dumps(state(), default=str))
"""

PLANTS = """
import subprocess, types
for path in ('/work/planted', '/tmp/planted', '/dev/shm/planted'): open(path, 'w').close()
held = [open('/work/planted'), open('/tmp/planted')]
os.environ['PLANTED'] = '1'; os.environ['TZ'] = 'Asia/Tokyo'; time.tzset()
sys.modules['planted'] = types.ModuleType('planted'); builtins.planted = 1; sys.path.append('/planted')
np.planted = 1; np.mean = max
keras.Model.planted = 1; keras.layers.Dense.call = lambda *a, **k: 0; keras.config.set_floatx('float64')
random.seed(7); np.random.seed(7); tf.random.set_seed(7)
ready, told = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(s, signal.SIG_IGN)
        listening = socket.socket(socket.AF_UNIX); listening.bind('\\0planted'); listening.listen()
        port = socket.create_server(('127.0.0.1', 5555))
        terminal = os.openpty()
        os.write(told, b'x')
        time.sleep(1000)
    os._exit(0)
os.read(ready, 1)
event = threading.Event(); threading.Thread(target=event.wait, name='planted').start()
for s in (signal.SIGUSR1, signal.SIGTERM, signal.SIGALRM): signal.signal(s, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 1000)
def planted_exit(): open('/work/at-exit', 'w').close(); time.sleep(1000)
sys.planted_exit = planted_exit; PLANTED_EXITS.append(planted_exit); atexit.register(planted_exit)
os.umask(0o77); os.chdir('/tmp'); os.nice(5); os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
gc.set_threshold(1); gc.set_threshold(9, 9, 9); sys.setrecursionlimit(777); sys.setswitchinterval(0.5)
warnings.filterwarnings('ignore', 'planted'); matplotlib.rcParams['figure.dpi'] = 7
get_ipython().planted = 1; get_ipython().register_magic_function(lambda line: 1, magic_name='planted')
open('/proc/self/comm', 'w').write('planted'); sys.settrace(lambda *a: None)
"""


@pytest.mark.slow
def test_nothing_that_a_notebook_leaves_is_there_for_the_next_one(worker):
    first = worker.grade(notebook(PROBE, PLANTS, "print(json.dumps(state(), default=str))")).notebook
    said = printed(first)
    clean, planted = json.loads(said[0]), json.loads(said[2])
    # Each kind of plant can be seen by the probe; what the machine has no place for is no plant.
    unseen = {name for name in clean if planted[name] == clean[name]}
    assert unseen <= {"/dev/mqueue", "affinity"}, said[1]
    for _ in range(2):
        found = json.loads(printed(worker.grade(notebook(PROBE)).notebook)[0])
        assert {name: (found[name], clean[name]) for name in clean if found[name] != clean[name]} == {}


def test_a_notebook_can_neither_see_nor_reach_the_zygote_nor_the_kernel_that_waits(light):
    code = (
        "import os\n"
        "def reach(pid):\n"
        "    try: os.kill(pid, 9)\n"
        "    except OSError: return False\n"
        "    return not os.path.exists(f'/proc/self/task/{pid}')  # a thread of its own does not count\n"
        "others = [pid for pid in os.listdir('/proc') if pid.isdigit() and pid != '1']\n"
        "print(os.getpid(), os.getppid(), others, [pid for pid in (-1, *range(2, 1000)) if reach(pid)])"
    )
    light.grade(notebook("1"))
    zygote = light.zygote.pid
    assert Path(f"/proc/{zygote}/mem").stat().st_uid == 0  # Linux's mark of a process that nobody may look into
    for _ in range(2):
        assert printed(light.grade(notebook(code)).notebook) == ["1 0 [] []\n"]
    assert light.zygote.pid == zygote


# --- the same marks as without ---------------------------------------------------------------------------------------

NUMBERS = """
import random
import numpy as np
import tensorflow as tf
import keras
from keras import layers
print(random.random(), np.random.rand(), float(tf.random.uniform(())), float(keras.random.uniform(())))
model = keras.Sequential([layers.Input((4,)), layers.Dense(8, activation='relu'), layers.Dropout(0.3), layers.Dense(1)])
model.compile(loss='mse', optimizer='adam')
x = np.random.rand(64, 4)
history = model.fit(x, x.sum(axis=1), epochs=2, verbose=0)
print(repr(history.history['loss']), model.name, [layer.name for layer in model.layers])
print([weights.tolist() for weights in model.get_weights()])
print(random.random(), np.random.rand())
"""
FIGURE = """
import matplotlib.pyplot as plt
fig, axes = plt.subplots(figsize=(1, 1))
axes.plot([1, 2]);
"""


@pytest.mark.slow
def test_a_forked_kernel_computes_bit_for_bit_what_one_that_starts_anew_does(worker):
    nb = notebook(
        NUMBERS, FIGURE, "plt.gca(); plt.hist([1, 2]); plt.show()", "helpers = None", test="assert model is not None"
    )
    warm = worker.grade(nb)
    cold = grade_notebook(nb, worker.judge, limits=worker.limits, data=None, hidden=list(worker.hidden))
    for cell in (*warm.notebook.cells, *cold.notebook.cells):
        # What TensorFlow says while it is imported is no result.
        cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    assert warm.notebook.cells == cold.notebook.cells
    assert warm.score == cold.score
    assert [out.output_type for out in warm.notebook.cells[1].outputs].count("display_data") == 1
    assert {**warm.phases}.keys() == {"start", "run", "collect", "judge"}
    assert sum(warm.phases.values()) <= warm.seconds + 0.01  # rounded


# --- a zygote that fails ---------------------------------------------------------------------------------------------


class KillsTheZygote(GradingClient):
    """Ends the zygote in the middle of the first attempt, as a machine that runs out of memory would."""

    left = 1

    async def judge_cell(self, cell: NotebookNode, index: int) -> None:
        if KillsTheZygote.left:
            KillsTheZygote.left -= 1
            os.kill(self.zygote.pid, signal.SIGKILL)
            self.zygote.process.wait(20)  # else the kernel might answer once more
        await super().judge_cell(cell, index)


def test_a_zygote_that_dies_is_replaced_and_the_submission_is_run_once_more(light, monkeypatch):
    monkeypatch.setattr(KillsTheZygote, "left", 1)
    nb = notebook("x = 1", test="assert x == 1")
    light.start()
    graded = light.grade(nb, make_client=KillsTheZygote)
    assert (graded.attempts, graded.score) == (2, 1)
    monkeypatch.setattr(KillsTheZygote, "left", 2)
    graded = light.grade(nb, make_client=KillsTheZygote)
    assert graded.attempts == 2
    (verdict,) = graded.verdicts.values()
    assert (verdict.state, verdict.score) == ("grader failed", None)
    assert "forked" in verdict.message
    assert light.grade(nb).score == 1


def test_a_zygote_that_grew_or_has_forked_often_is_replaced(light):
    nb = notebook("x = 1")
    light.grade(nb)
    first = light.zygote
    light.grade(nb)
    assert light.zygote is first
    first.most_growth = -1
    light.grade(nb)
    assert light.zygote is not first and first.process.poll() is not None
    second = light.zygote
    second.most_kernels = second.kernels
    light.grade(nb)
    assert light.zygote is not second


def test_limits_may_differ_from_one_notebook_to_the_next(light):
    code = (
        "import resource, os\nprint(resource.getrlimit(resource.RLIMIT_NOFILE)[0], os.statvfs('/work').f_blocks >> 8)"
    )
    for files, size in ((128, 16), (256, 32), (128, 16)):
        limits = Limits(open_files=files, work_bytes=size * MIB)
        assert printed(light.grade(notebook(code), limits=limits).notebook) == [f"{files} {size}\n"]


def test_memory_of_the_zygote_is_not_the_submissions(worker):
    # The zygote alone has more than this.
    limits = replace(worker.limits, memory_bytes=600 * MIB)
    code = "import numpy as np\nx = np.ones(40 << 20, np.uint8)\nprint(x.sum())\ny = bytearray(3 << 30)"
    said = printed(worker.grade(notebook(code, "print(x[0])"), limits=limits).notebook)
    assert str(40 << 20) in said[0] and "MemoryError" not in said[1] and said[1] == "1\n"


def test_the_end_of_the_zygote_is_the_end_of_its_kernels(needs_bubblewrap):
    policy = Sandbox()
    with Zygote(policy, ()) as zygote:
        child = zygote.program(["/usr/bin/env", "sleep", "600"], policy)
        while len(pids := zygote.process.members()) < 3 or not all(inner_pid(pid) == 1 for pid in pids):
            time.sleep(0.01)  # until the next one waits
        os.kill(zygote.pid, signal.SIGKILL)
        assert child.wait(20) == -9 and child.lost
        child.close()
        with pytest.raises(KernelLost):
            zygote.program(["/usr/bin/env", "true"], policy)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_where_no_kernel_can_be_forked_each_one_starts_anew_and_a_warning_says_so(
    needs_bubblewrap, monkeypatch, caplog
):
    # As where a system lets bubblewrap make namespaces, but not what runs in it.
    monkeypatch.setattr(Sandbox, "_namespaces", lambda self: sandbox._NAMESPACES)
    with Worker(images=IMAGES, modules=(), imports=()) as worker:
        graded = worker.grade(notebook("x = 1\nprint(x)", test="assert x == 1"))
        assert (graded.score, graded.attempts, worker.zygote) == (1, 1, None)
    assert "none can be forked here" in caplog.text


def test_when_the_grader_is_killed_its_zygote_and_all_kernels_end(needs_bubblewrap):
    code = (
        "import sys, time\n"
        "from autograder.sandbox import Sandbox\n"
        "from autograder.zygote import Zygote\n"
        "zygote = Zygote(Sandbox(), ())\n"
        "child = zygote.program(['/usr/bin/env', 'sleep', '600'], Sandbox())\n"
        "print(*zygote.process.members(), flush=True)\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as grader:
        members = [int(word) for word in grader.stdout.readline().split()]
        grader.kill()
    assert len(members) >= 2
    while any(Path(f"/proc/{pid}").exists() for pid in members):
        time.sleep(0.05)


def test_a_closed_worker_says_so_and_leaves_no_process(needs_bubblewrap):
    worker = Worker(images=IMAGES, modules=(), imports=())
    worker.grade(notebook("1"))
    members = worker.zygote.process.members()
    worker.close()
    worker.close()
    assert not [pid for pid in members if Path(f"/proc/{pid}").exists()]
    with pytest.raises(RuntimeError, match="closed"):
        worker.grade(notebook("1"))


# --- shared by several workers ---------------------------------------------------------------------------------------


def test_workers_of_one_process_share_their_zygotes_and_the_end_of_one_worker_is_not_that_of_the_others(
    needs_bubblewrap,
):
    zygotes = Zygotes()
    options = {"images": IMAGES, "modules": (), "imports": (), "zygotes": zygotes}
    first, second = Worker(**options), Worker(**options)
    try:
        for worker in (first, second):
            assert worker.grade(notebook("x = 1", test="assert x == 1")).score == 1
        assert first.zygote is second.zygote and first.judge is not second.judge
        ours, theirs = (set(worker.judge._process.process.members()) for worker in (first, second))
        assert ours and theirs and not ours & theirs
        first.close()
        assert not [pid for pid in ours if Path(f"/proc/{pid}").exists()]
        again = second.grade(notebook("x = 2", test="assert x == 2"))
        assert (again.score, again.attempts) == (1, 1)
    finally:
        zygotes.close()
        second.close()
    with pytest.raises(RuntimeError, match="closed"):
        zygotes.get(Sandbox(), ())


def test_a_zygote_that_is_replaced_ends_when_the_last_of_its_kernels_has(needs_bubblewrap):
    zygotes, policy = Zygotes(), Sandbox()
    try:
        old = zygotes.ready(policy, ())
        child = old.program(["/usr/bin/env", "sleep", "600"], policy)
        old.most_kernels = 1
        new = zygotes.ready(policy, ())
        assert new is not old and zygotes.ready(policy, ()) is new
        assert old.process.poll() is None and child.poll() is None
        child.close()
        assert zygotes.ready(policy, ()) is new
        assert old.process.poll() is not None
    finally:
        zygotes.close()
    assert new.process.poll() is not None


def test_a_judge_sees_no_other_process_and_nothing_of_one_notebook_is_left_for_the_next(light):
    others = "[pid for pid in os.listdir('/proc') if pid.isdigit() and int(pid) != os.getpid()]"
    leave = "subprocess.Popen(['/usr/bin/env', 'sleep', '600'], start_new_session=True)"
    test = f"import os, subprocess\nassert x\nprint({others}, os.getppid())\nleft = {leave}"
    for _ in range(2):
        assert printed(light.grade(notebook("x = 1", test=test)).notebook)[-1] == "['1'] 1\n"


# --- the pool --------------------------------------------------------------------------------------------------------


def test_a_worker_that_has_imported_more_than_is_needed_will_do():
    pool = WorkerPool()
    with pool.borrow(**{**POOLED, "modules": ("json",)}) as more:
        pass
    with pool.borrow(**POOLED) as less:
        assert less is more
    with pool.borrow(**{**POOLED, "modules": ("json", "csv")}) as other:
        assert other is not more
    with pool.borrow(**{**POOLED, "imports": ("numpy",)}) as another:
        assert another not in (more, other)
    pool.close()


def test_a_worker_that_nobody_borrows_ends():
    pool = WorkerPool(idle_seconds=0.1)
    with pool.borrow(**POOLED) as worker:
        worker.start()
        judge = worker.judge
        judge.begin()
        assert judge.pid is not None
    for _ in range(200):
        if judge.pid is None:
            break
        time.sleep(0.05)
    assert judge.pid is None


def test_a_pool_lends_each_worker_to_one_borrower_and_keeps_it_warm():
    pool = WorkerPool()
    with pool.borrow(**POOLED) as first, pool.borrow(**POOLED) as second:
        assert first is not second
    with pool.borrow(**POOLED) as again:
        assert again in (first, second)
        again.start()
        judge = again.judge
    with pytest.raises(ValueError, match="mine"), pool.borrow(**POOLED) as broken:
        raise ValueError("mine")
    assert broken is again
    assert judge.pid is None
    pool.close()
