"""What all tests share: limits on threads, small courses to grade, and the parts of the system a test needs."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_course import SMALL_EPISODE

# Two test processes share two cores; TensorFlow would otherwise start a thread for every core in each kernel.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "agg")
os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", os.defpath)

# Some tests press Ctrl-C. A shell has that switched off in what it starts in the background, and it is inherited.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests work in folders of their own, so a relative path would lead each of them elsewhere.
for _name in ("CNN_COURSE_DATA", "CNN_COURSE_HOLDOUT"):
    if os.environ.get(_name):
        os.environ[_name] = str(Path(os.environ[_name]).resolve())

REPOSITORY = Path(__file__).resolve().parent.parent

# What all episodes have to keep is asserted there; a failure shall show values, as in a test.
pytest.register_assert_rewrite("episode_run")


#: What takes longest is begun first, so that no process is left with it at the end.
LONGEST = ("test_attacks.py", "test_bank_of_answers.py", "test_notebooks.py", "test_demo.py")
#: Each notebook of the course is a run of its own there.
BY_EPISODE = ("test_notebooks.py", "test_bank_of_answers.py")


def unit(nodeid: str) -> str:
    """The tests that stay in one process: a file of them, but for the notebooks of the course, which are many runs."""
    name = nodeid.partition("::")[0]
    episode = re.search(r"\d\d-[a-z-]+", nodeid) if name.endswith(BY_EPISODE) else None
    return f"{name} {episode[0]}" if episode else name


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand tests out to processes unit by unit, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    class ByUnit(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit(nodeid)

    config.option.loadscopereorder = False
    return ByUnit(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder of this project."""
    return REPOSITORY


@pytest.fixture
def course_factory(tmp_path: Path) -> Callable[..., Path]:
    """Make a small course in a folder of its own: `course_factory({"01-small": text})` returns its root."""
    made = 0

    def make(texts: dict[str, str] | None = None, root: Path | None = None) -> Path:
        nonlocal made
        made += 1
        root = root or tmp_path / f"course-{made}"
        root.mkdir(parents=True)
        shutil.copy(REPOSITORY / "nbgrader_config.py", root)
        for name, text in (texts or {"01-small": SMALL_EPISODE}).items():
            path = root / "course" / name / f"{name}.md"
            path.parent.mkdir(parents=True)
            path.write_text(text, encoding="utf-8")
        return root

    return make


def missing_part(reason: str) -> None:
    """Skip a test whose system part is missing, but fail where every part is promised to be there."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def needs_bubblewrap() -> None:
    """The test needs bubblewrap, and a system that lets it make namespaces."""
    program = shutil.which("bwrap")
    if program is None:
        missing_part("bubblewrap is not installed (apt-get install bubblewrap)")
    trial = subprocess.run(
        [program, "--ro-bind", "/", "/", "--unshare-all", "true"], capture_output=True, text=True, check=False
    )
    if trial.returncode:
        missing_part(f"bubblewrap may not make namespaces here: {trial.stderr.strip()}")


@pytest.fixture(scope="session")
def needs_chromium() -> str:
    """The test needs a Chromium browser; its path."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if program := shutil.which(name):
            return program
    return missing_part("chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="session")
def needs_postgresql() -> Path:
    """The test needs the programs of a PostgreSQL server, and its Python client; the folder that holds the programs."""
    if importlib.util.find_spec("psycopg2") is None:
        missing_part("psycopg2 is not installed (pip install -e '.[cluster]')")
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        missing_part("setpriv is not installed, and PostgreSQL does not run as root (apt-get install util-linux)")
    on_path = shutil.which("postgres")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if all((folder / name).is_file() for name in ("postgres", "initdb")):
            return folder
    return missing_part("PostgreSQL is not installed (apt-get install postgresql)")


@pytest.fixture(scope="session")
def needs_distributed() -> None:
    """The test needs Dask's scheduler and workers."""
    if importlib.util.find_spec("distributed") is None:
        missing_part("distributed is not installed (pip install -e '.[cluster]')")


@pytest.fixture(scope="session")
def needs_real_images() -> Path:
    """The test needs the real images; the folder that holds `cifar10_images_small/`."""
    folder = os.environ.get("CNN_COURSE_DATA")
    if not folder:
        pytest.skip("CNN_COURSE_DATA is not set, so there are no real images to try")
    path = Path(folder).resolve()
    return path.parent if path.name == "cifar10_images_small" else path


@pytest.fixture(scope="session")
def standin_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in, drawn once for all tests; the folder that holds `cifar10_images_small/`."""
    from helpers.standin import draw_standin

    return draw_standin(tmp_path_factory.mktemp("stand-in")).parent


@pytest.fixture
def images(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real images where there are any, else the stand-in; CNN_COURSE_DATA names their folder."""
    folder = os.environ.get("CNN_COURSE_DATA") or request.getfixturevalue("standin_images")
    monkeypatch.setenv("CNN_COURSE_DATA", str(folder))
    return Path(folder)


@pytest.fixture(scope="module")
def data_folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """As `images`, for all tests of a module."""
    patch = pytest.MonkeyPatch()
    folder = os.environ.get("CNN_COURSE_DATA") or request.getfixturevalue("standin_images")
    patch.setenv("CNN_COURSE_DATA", str(folder))
    yield Path(folder)
    patch.undo()
