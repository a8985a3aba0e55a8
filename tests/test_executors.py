"""Who runs submissions: how many at a time, with what, and what a machine of a cluster must be before it is given any.

A real Dask cluster is in test_dask; real kernels that are killed are in test_resume.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder import executors
from autograder.course import load_config
from autograder.engine import GradedNotebook, Verdict
from autograder.errors import CourseError
from autograder.executors import GIB_OF_WORKER, LazyPool, LocalPool, Workers, default_jobs, limits_of, run_job
from autograder.grade import likely_options
from autograder.images import CourseImages, pack_images
from autograder.jobs import Job, Options
from autograder.judge import JudgeLimits
from autograder.limits import Limits
from autograder.recording import options_from
from autograder.schedule import WorkerLost


def job(student="ada", files=(), source="total = 6", **changes) -> Job:
    notebook = nbformat.writes(new_notebook(cells=[new_code_cell(source)]))
    whole = json.dumps(nbformat.reads(notebook, as_version=4))
    return Job("key-of-" + student, student, "01-small", whole, files, **changes)


class Stub:
    """A worker that says what it was given."""

    def __init__(self, **made):
        self.made, self.seen, self.closed, self.started = made, [], False, False
        self.thread = threading.current_thread().name

    def grade(self, notebook, files, **options):
        found = sorted(str(p.relative_to(files)) for p in files.rglob("*") if p.is_file()) if files else None
        self.seen.append((notebook.cells[0].source, found, files, options))
        return GradedNotebook(notebook, {"t": Verdict("t", "passed", 1.0, 1.0)}, seconds=0.5)

    def start(self):
        self.started = True

    def close(self):
        self.closed = True


@pytest.fixture
def stubs(monkeypatch):
    """Workers without kernels, in the order in which they were made."""
    made = []

    def make(images, hidden, *, keras, **options):
        made.append(Stub(images=images, hidden=hidden, keras=keras, **options))
        return made[-1]

    monkeypatch.setattr(executors, "make_worker", make)
    return made


def test_a_job_brings_its_files_and_limits_and_leaves_no_file_behind():
    worker = Stub()
    options = Options(
        judge={"cell_seconds": 7.0, "bounds": JudgeLimits().bounds.to_dict()},
        limits={"cell_seconds": 3.0},
        attempts=1,
        client={"startup_timeout": 9},
    )
    result = run_job(job(files=(("a/notes.txt", b"one"), ("b.csv", b"two")), options=options), worker)
    source, files, folder, given = worker.seen[0]
    assert (source, files) == ("total = 6", ["a/notes.txt", "b.csv"]) and not folder.exists()
    assert given["limits"] == Limits(cell_seconds=3.0) and given["judge_limits"] == JudgeLimits(cell_seconds=7.0)
    assert given["attempts"] == 1 and given["startup_timeout"] == 9
    assert result.key == "key-of-ada" and result.verdicts[0]["state"] == "passed" and result.seconds == 0.5


def test_each_thread_keeps_a_worker_of_its_own_from_one_job_to_the_next(stubs, tmp_path):
    pool = LocalPool(2, tmp_path, CourseImages())
    both = threading.Barrier(2, timeout=30)

    def work(one):
        both.wait()
        return pool.work(one)

    list(pool.executor.map(work, [job(str(number)) for number in range(6)]))
    pool.close()
    assert len(stubs) == 2 and sum(len(stub.seen) for stub in stubs) == 6
    assert len({stub.thread for stub in stubs}) == 2
    assert all(stub.made["hidden"] == (tmp_path,) and stub.closed for stub in stubs)


def test_workers_start_their_kernels_ahead_of_the_first_job_and_keep_them_for_it(stubs, tmp_path):
    pool = LocalPool(3, tmp_path, CourseImages())
    pool.warm_up(2, "import keras", Options(sandbox=False, limits={"cell_seconds": 3.0}, judge={"seed": 5}))
    pool.executor.submit(pool.work, job()).result()
    pool.executor.shutdown(wait=True)
    started = [stub for stub in stubs if stub.started]
    assert len(started) == 2 and len({stub.thread for stub in started}) == 2
    assert all(stub.made["keras"] and stub.made["limits"].cell_seconds == 3.0 for stub in started)
    assert all(stub.made["judge_limits"].seed == 5 and not stub.made["sandbox"] for stub in started)


def test_what_is_likely_to_be_asked_of_kernels_is_what_is_asked(monkeypatch, repository, tmp_path):
    config = load_config(repository)
    config.JudgedExecute.seed, config.GradingLimits.cell_seconds = 7, 11.0
    likely, real = likely_options(config, sandbox=True), options_from(config, sandbox=True)
    assert limits_of(likely) == limits_of(real)
    assert limits_of(likely)[1].seed == 7 and limits_of(likely)[0].cell_seconds == 11.0


def test_kernels_import_keras_only_for_notebooks_that_use_it(stubs):
    workers = Workers(CourseImages())
    workers.run(job())
    workers.run(job(source="from tensorflow import keras"))
    workers.run(job())
    workers.close()
    assert [stub.made["keras"] for stub in stubs] == [False, True]
    assert len(stubs[1].seen) == 2 and stubs[0].closed


def test_a_result_that_comes_when_the_workers_are_closed_is_none_either(stubs, monkeypatch):
    workers = Workers(CourseImages())

    def grade_on(stub, notebook, files, **options):
        workers.close()  # meanwhile: Ctrl-C kills the kernels, and the cells after that fail
        return GradedNotebook(notebook, {"t": Verdict("t", "failed", 0.0, 1.0)})

    monkeypatch.setattr(Stub, "grade", grade_on)
    with pytest.raises(WorkerLost, match="closed"):
        workers.run(job())


def test_what_ends_because_the_workers_were_closed_is_no_result(stubs, monkeypatch):
    workers = Workers(CourseImages())
    monkeypatch.setattr(Stub, "grade", lambda self, notebook, files, **_: workers.close())
    with pytest.raises(WorkerLost):
        workers.run(job())
    with pytest.raises(WorkerLost):
        workers.run(job())


@pytest.mark.parametrize(("cores", "gib", "jobs"), [(8, 64, 8), (8, 4, 2), (2, 23, 2), (4, 1, 1), (1, 0.2, 1)])
def test_there_are_as_many_workers_as_cores_and_memory_allow_and_one_at_least(monkeypatch, cores, gib, jobs):
    monkeypatch.setattr(executors, "cores", lambda: cores)
    monkeypatch.setattr(executors, "free_memory", lambda: int(gib * 2**30))
    assert GIB_OF_WORKER == 1.5
    assert default_jobs() == jobs


def test_a_containers_share_of_cores_and_memory_counts(tmp_path):
    (tmp_path / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert executors.cores(tmp_path) == 1 and executors.free_memory(tmp_path) == 2**20 - 1000
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert executors.cores(tmp_path) >= 1 and executors.free_memory(tmp_path) > 2**20


def test_no_scheduler_at_the_address_is_said_with_what_to_start(tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")

    def refuse(address, **_):
        raise OSError(f"Timed out trying to connect to {address}")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(CourseError, match=r"No Dask scheduler answers at localhost:1.*dask scheduler"):
        LazyPool("dask://localhost:1", None, tmp_path).get(CourseImages(), "")


def test_a_worker_with_other_programs_is_refused_and_what_differs_is_named(monkeypatch):
    mine = {"tensorflow": "2.21.0", "numpy": "2.0.0"}
    monkeypatch.setattr(executors, "environment", lambda: mine)
    pool = executors.DaskPool.__new__(executors.DaskPool)
    pool.client = SimpleNamespace(
        run=lambda function: {"tcp://b:1": mine, "tcp://c:1": {**mine, "tensorflow": "2.20.0"}}
    )
    with pytest.raises(CourseError, match=r"tcp://c:1.*tensorflow 2\.20\.0 instead of 2\.21\.0"):
        pool._check()


def test_a_job_for_other_programs_is_refused_by_the_worker_too():
    with pytest.raises(CourseError, match="other programs"):
        executors.run_on_cluster(job(environment="another"))


def test_a_process_of_a_cluster_is_set_up_once_and_gives_a_job_away_when_it_is_not(stubs, tmp_path, monkeypatch):
    (tmp_path / "cifar10_images_small" / "train").mkdir(parents=True)
    (tmp_path / "cifar10_images_small" / "train" / "1.png").write_bytes(b"picture")
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    mine = job(images="d" * 64, environment=executors.environment_digest())
    with pytest.raises(WorkerLost, match="has no images"):
        executors.run_on_cluster(mine)
    packed = pack_images(CourseImages(tmp_path / "cifar10_images_small"))
    executors.set_up(packed, "d" * 64)
    executors.set_up(packed, "d" * 64)
    try:
        assert executors.run_on_cluster(mine).key == "key-of-ada"
        (stub,) = stubs
        assert (stub.made["images"].data / "train" / "1.png").read_bytes() == b"picture"
        assert stub.made["images"].data != tmp_path / "cifar10_images_small"
    finally:
        executors.tear_down("d" * 64)
    assert stub.closed


def test_a_folder_for_images_that_others_can_write_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    import os

    (tmp_path / f"{executors.CACHE}-{os.getuid()}").mkdir()
    Path(tmp_path / f"{executors.CACHE}-{os.getuid()}").chmod(0o777)
    with pytest.raises(CourseError, match="not a folder of ours alone"):
        executors.set_up(pack_images(CourseImages()), "e" * 64)
