"""Who runs submissions: threads of this machine, each with a pair of kernels of its own, or the workers of a cluster.

Either is a `concurrent.futures.Executor`, with a function that it can run on a `Job`. Workers know no database and no
course folder. On a cluster (`dask://HOST:PORT`) they need no file system in common with us either: the images are sent
to each of them once, by content.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autograder.errors import CourseError
from autograder.images import CourseImages, pack_images, unpack_images
from autograder.jobs import Job, Options, Result
from autograder.results import environment, environment_digest
from autograder.schedule import WorkerLost

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from autograder.engine import GradedNotebook
    from autograder.judge import JudgeLimits
    from autograder.limits import Limits
    from autograder.zygote import Zygotes

#: Memory that one pair of kernels may well need beside what all share, and that the rest of the machine should keep.
GIB_OF_WORKER, GIB_TO_SPARE = 1.5, 1.0
#: Where a machine of a cluster keeps what it was sent, in the folder for temporary files.
CACHE = "autograder-images"


class Pool(Protocol):
    """Workers, ready to be given jobs.

    Attributes:
        executor: Takes the jobs.
        workers: How many work at a time.
        in_flight: How many jobs it should have at a time.
        name: What it is, for people.
    """

    executor: Executor
    workers: int
    in_flight: int
    name: str

    def work(self, job: Job) -> Result:
        """What the executor is to call with a job."""

    def warm_up(self, workers: int, notebook: str, options: Options) -> None:
        """Get some workers ready for notebooks like this one, without waiting for them."""

    def lost(self, error: BaseException) -> bool:
        """Whether an error means that a worker was lost."""

    def close(self) -> None:
        """End all workers at once, with the kernels that they have, whatever they are at."""


class Grades(Protocol):
    """What runs one notebook after the other: `autograder.worker.Worker`."""

    def grade(self, notebook: NotebookNode, files: Path | None, **options: Any) -> GradedNotebook:
        """Run a notebook and judge its test cells."""

    def start(self) -> None:
        """Start its kernels, and do not wait for them."""

    def close(self) -> None:
        """End its kernels; may be called from any thread."""


def run_job(job: Job, worker: Grades) -> Result:
    """Run one job with a worker.

    Args:
        job: The job.
        worker: Has the kernels.

    Raises:
        CourseError: Nothing can be graded here at all, for example because there is no sandbox.
    """
    import json

    import nbformat

    options = job.options
    limits, judge = limits_of(options)
    with _beside(job) as files:
        graded = worker.grade(
            nbformat.from_dict(json.loads(job.notebook)),
            files,
            sandbox=options.sandbox,
            attempts=options.attempts,
            collect_seconds=options.collect_seconds,
            judge_limits=judge,
            limits=limits,
            **options.client,
        )
    return Result(
        job.key,
        json.dumps(graded.notebook, ensure_ascii=False),
        tuple(verdict.to_dict() for verdict in graded.verdicts.values()),
        graded.attempts,
        dict(getattr(graded, "phases", {})),
        graded.seconds,
        f"{socket.gethostname()}:{os.getpid()}:{threading.current_thread().name}",
    )


def limits_of(options: Options) -> tuple[Limits, JudgeLimits]:
    """The limits of the student kernel and of the judge."""
    from autograder.crossing import Bounds
    from autograder.judge import JudgeLimits
    from autograder.limits import Limits

    judge = dict(options.judge)
    if "bounds" in judge:
        judge["bounds"] = Bounds(**judge["bounds"])
    return Limits(**options.limits), JudgeLimits(**judge)


@contextlib.contextmanager
def _beside(job: Job) -> Iterator[Path | None]:
    """The files of a job in a folder of their own."""
    if not job.files:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        for name, content in job.files:
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        yield Path(folder)


class Workers:
    """Workers by thread: each thread that asks has its own, which stays until all are closed. They share their zygotes.

    Args:
        images: What they see.
        hidden: Folders that they must not see.
    """

    def __init__(self, images: CourseImages, hidden: tuple[Path, ...] = ()) -> None:
        self.images, self.hidden = images, hidden
        self._mine = threading.local()
        self._zygotes: Zygotes | None = None
        self._all: list[Grades] = []
        self._lock = threading.Lock()
        self.closed = False

    def run(self, job: Job) -> Result:
        """Run a job with the worker of this thread.

        Raises:
            WorkerLost: All were closed meanwhile.
        """
        try:
            result = run_job(job, self._worker(needs_keras(job.notebook)))
        except Exception as error:
            if self.closed:
                raise WorkerLost("the workers were closed") from error
            raise
        if self.closed:  # what its end looks like is no result
            raise WorkerLost("the workers were closed")
        return result

    def start(self, keras: bool, options: Options) -> None:
        """Start the kernels of this thread's worker."""
        limits, judge = limits_of(options)
        self._worker(keras, sandbox=options.sandbox, limits=limits, judge_limits=judge).start()

    def _worker(self, keras: bool, **options: Any) -> Grades:
        """The worker of this thread; one that has imported more than is needed will do."""
        mine = self._mine
        if getattr(mine, "worker", None) is not None and (mine.keras or not keras):
            return mine.worker
        if getattr(mine, "worker", None) is not None:
            mine.worker.close()
        with self._lock:
            if self._zygotes is None:
                self._zygotes = make_zygotes()
        mine.worker = make_worker(self.images, self.hidden, keras=keras, zygotes=self._zygotes, **options)
        mine.keras = keras
        with self._lock:
            self._all.append(mine.worker)
        if self.closed:
            mine.worker.close()
        return mine.worker

    def close(self) -> None:
        """End all of them, with their kernels."""
        self.closed = True
        with self._lock:
            workers, self._all = self._all, []
            zygotes = self._zygotes
        if zygotes is not None:
            zygotes.close()
        for worker in workers:
            worker.close()


def make_zygotes() -> Zygotes:
    """What all workers of this process have their kernels from."""
    from autograder.zygote import Zygotes

    return Zygotes()


def needs_keras(notebook: str) -> bool:
    """Whether a notebook is likely to use Keras, which takes seconds to import; a wrong guess costs these, no more."""
    from autograder.zygote import imports_for

    return bool(imports_for([notebook]))


def make_worker(images: CourseImages, hidden: tuple[Path, ...], *, keras: bool, **options: Any) -> Grades:
    """A worker for this thread, whose kernels have Keras imported or not."""
    from autograder.judge import KERAS_MODULES, LIGHT_MODULES
    from autograder.worker import Worker
    from autograder.zygote import MODULES

    return Worker(
        images=images,
        hidden=hidden,
        modules=KERAS_MODULES if keras else LIGHT_MODULES,
        imports=MODULES if keras else (),
        **options,
    )


# ---------------------------------------------------------------------------------------------------------------------
# This machine


class LocalPool:
    """Threads of this process, each with kernels of its own.

    Args:
        jobs: How many; as many as this machine can take if None.
        root: The course folder, which notebooks must not see.
        images: The images that they see.
    """

    def __init__(self, jobs: int | None, root: Path, images: CourseImages) -> None:
        self.workers = jobs or default_jobs()
        self.in_flight = 2 * self.workers
        self.name = f"{self.workers} worker{'s' if self.workers > 1 else ''} on this machine"
        self.executor: Executor = ThreadPoolExecutor(self.workers, thread_name_prefix="worker")
        self._workers = Workers(images, (root,))

    def warm_up(self, workers: int, notebook: str, options: Options) -> None:
        """Start the kernels of some workers, ahead of the first job and without waiting for them.

        Args:
            workers: Of how many.
            notebook: A notebook like those to come, to tell what kernels should import.
            options: How they will be run. Where they turn out to be others, the kernels are started once more.
        """
        workers = min(workers, self.workers)
        together = threading.Barrier(workers, timeout=30)  # so that no thread takes the turn of another
        for _ in range(workers):
            self.executor.submit(self._warm_up, together, needs_keras(notebook), options)

    def _warm_up(self, together: threading.Barrier, keras: bool, options: Options) -> None:
        # What is wrong here is said by the first job.
        with contextlib.suppress(Exception):
            together.wait()
            self._workers.start(keras, options)

    def work(self, job: Job) -> Result:
        """Run a job in the thread that calls."""
        return self._workers.run(job)

    def lost(self, error: BaseException) -> bool:
        """Whether the worker is gone rather than the job at fault."""
        return isinstance(error, WorkerLost)

    def close(self) -> None:
        """End all kernels; the threads end when they notice."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._workers.close()


def default_jobs() -> int:
    """How many workers this machine can take: one a core, as far as there is memory, and one at least."""
    return max(1, min(cores(), int((free_memory() / 2**30 - GIB_TO_SPARE) // GIB_OF_WORKER)))


def cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many cores this process may use, a container's share included."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (cgroup / "cpu.max").read_text().split()
        found = min(found, max(1, int(quota) // int(period)))
    return found


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of memory that are free for us, a container's limit included."""
    import psutil

    free = psutil.virtual_memory().available
    with contextlib.suppress(OSError, ValueError):
        most = int((cgroup / "memory.max").read_text())
        free = min(free, most - int((cgroup / "memory.current").read_text()))
    return free


# ---------------------------------------------------------------------------------------------------------------------
# A cluster


class LazyPool:
    """Workers that are sought when the first submission needs them, and serve one episode after the other.

    Args:
        url: `dask://HOST:PORT` of a scheduler; this machine if None.
        jobs: How many workers on this machine; as many as it can take if None.
        root: The course folder.

    Raises:
        CourseError: The address is none.
    """

    def __init__(self, url: str | None, jobs: int | None, root: Path) -> None:
        if url is not None and not re.fullmatch(r"dask://[^/\s]+:\d+", url):
            raise CourseError(f"'{url}' is no executor: expected dask://HOST:PORT, the address of a Dask scheduler.")
        if url and jobs is not None:
            raise CourseError("--jobs is for this machine. How many workers a cluster has is said where they start.")
        self.url, self.jobs, self.root = url, jobs, root
        self._pool: Pool | None = None

    def get(self, images: CourseImages, images_digest: str) -> Pool:
        """The workers.

        Raises:
            CourseError: Nothing answers at the address, or its workers would not give the same marks.
        """
        if self._pool is None:
            if self.url is None:
                self._pool = LocalPool(self.jobs, self.root, images)
            else:
                self._pool = DaskPool(self.url.removeprefix("dask://"), images, images_digest)
        return self._pool

    def close(self) -> None:
        """End the workers, if there are any."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()


class DaskPool:
    """The workers of a Dask cluster.

    Args:
        address: HOST:PORT of the scheduler.
        images: The images, which are sent to each worker.
        images_digest: Their digest.
    """

    def __init__(self, address: str, images: CourseImages, images_digest: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise CourseError(
                "--executor dask://... needs the package `distributed`. Install it: pip install -e '.[grading,cluster]'"
            ) from None
        try:
            self.client = Client(f"tcp://{address}", timeout=20, set_as_default=False)
        except (OSError, ValueError) as problem:
            raise CourseError(
                f"No Dask scheduler answers at {address}: {problem}. Start one there with `dask scheduler`, "
                "and workers with `dask worker`."
            ) from problem
        try:
            self._check()
            self.client.register_plugin(_plugin(pack_images(images), images_digest))
        except BaseException:
            self.client.close()
            raise
        self.workers = sum(self.client.nthreads().values())
        # Workers may join later, and a job waits in the scheduler for a time that we do not know.
        self.in_flight = max(64, 4 * self.workers)
        self.name = f"{self.workers} workers of the Dask cluster at {address}"
        self.executor: Executor = self.client.get_executor(pure=False)
        self.work: Callable[[Job], Result] = run_on_cluster

    def warm_up(self, workers: int, notebook: str, options: Options) -> None:
        """Nothing: the workers of a cluster may be busy with other things."""

    def _check(self) -> None:
        """Refuse workers whose programs are not ours: their marks could be others."""
        mine = environment()
        for worker, theirs in self.client.run(environment).items():
            other = sorted(name for name in {*mine, *theirs} if mine.get(name) != theirs.get(name))
            if other:
                versions = [f"{name} {_short(theirs.get(name))} instead of {_short(mine.get(name))}" for name in other]
                raise CourseError(
                    f"The worker {worker} has other programs than this machine, so its marks could be others: "
                    f"{', '.join(versions)}. Install the same there (pip install -c constraints.txt)."
                )

    def lost(self, error: BaseException) -> bool:
        """Whether the worker is gone rather than the job at fault."""
        from distributed.comm import CommClosedError
        from distributed.scheduler import KilledWorker

        return isinstance(error, (WorkerLost, KilledWorker, CommClosedError))

    def close(self) -> None:
        """Give up what is in flight; the workers stay for others."""
        self.executor.shutdown(wait=False)  # which cancels, and knows no other word for it
        self.client.close()


def _short(version: str | None) -> str:
    return "none" if version is None else version[:12]


#: What a worker process of a cluster has: by digest of the images.
_ON_CLUSTER: dict[str, Workers] = {}


def _plugin(packed: bytes, digest: str) -> Any:
    """What each worker process of a cluster, the present and the future ones, is set up with."""
    from distributed import WorkerPlugin

    class Kernels(WorkerPlugin):
        name = f"autograder-{digest[:16]}"

        def __init__(self) -> None:
            self.packed, self.digest = packed, digest

        def setup(self, worker: Any) -> None:
            from autograder import executors

            executors.set_up(self.packed, self.digest)

        def teardown(self, worker: Any) -> None:
            from autograder import executors

            executors.tear_down(self.digest)

    return Kernels()


def set_up(packed: bytes, digest: str) -> None:
    """Make this process ready for jobs with the images of that digest."""
    if digest in _ON_CLUSTER:
        return
    folder = Path(tempfile.gettempdir()) / f"{CACHE}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise CourseError(f"{folder} is not a folder of ours alone. Remove it on the machine {socket.gethostname()}.")
    _ON_CLUSTER[digest] = Workers(unpack_images(packed, folder / digest[:32]))


def tear_down(digest: str) -> None:
    """End the kernels of this process."""
    workers = _ON_CLUSTER.pop(digest, None)
    if workers is not None:
        workers.close()


def run_on_cluster(job: Job) -> Result:
    """Run a job in a worker process of a cluster.

    Raises:
        CourseError: This process has other programs than the grader.
        WorkerLost: It was not set up.
    """
    if job.environment != environment_digest():
        raise CourseError(f"The worker on {socket.gethostname()} has other programs than the grader's machine.")
    if job.images not in _ON_CLUSTER:
        raise WorkerLost(f"the worker on {socket.gethostname()} has no images yet")
    return _ON_CLUSTER[job.images].run(job)
