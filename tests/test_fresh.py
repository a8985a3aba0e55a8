"""Fresh processes from a nursery know nothing of what came after it, and keep to the limits of whoever asks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from autograder.fresh import Nursery

LATER: list[str] = []


def tell(path: str, *words: str) -> None:
    """What a fresh process does in these tests: write down what it knows."""
    import resource

    told = {
        "pid": os.getpid(),
        "folder": os.getcwd(),  # noqa: PTH109
        "words": words,
        "later": LATER,
        "variable": os.environ.get("NURSERY_TEST"),
        "file size": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
    }
    Path(path).write_text(json.dumps(told))
    if "raise" in words:
        raise ValueError("what went wrong\nin the end")
    if "hang" in words:
        signal.pause()
    if "die" in words:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def nursery() -> Nursery:
    nursery = Nursery(tell)
    yield nursery
    os.kill(nursery.pid, signal.SIGKILL)
    os.waitpid(nursery.pid, 0)


def test_fresh_process_does_not_know_what_happened_since_the_nursery_was_made(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "LATER", ["something"])
    told = []
    for word in ("one", "two"):
        assert nursery.run([str(tmp_path / word), word], str(tmp_path), 60) == (0, "")
        told.append(json.loads((tmp_path / word).read_text()))
    assert [one["words"] for one in told] == [["one"], ["two"]]
    assert [one["later"] for one in told] == [[], []]
    assert len({one["pid"] for one in told} | {os.getpid(), nursery.pid}) == 4
    assert told[0]["folder"] == str(tmp_path)
    assert told[0]["descriptors"] == told[1]["descriptors"]


def test_fresh_process_has_the_environment_and_the_limits_of_whoever_asks(
    nursery: Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NURSERY_TEST", "set later")
    script = (
        "import resource, sys; sys.path[:0] = [sys.argv[2]]; from test_fresh import Nursery, tell;"
        "nursery = Nursery(tell); resource.setrlimit(resource.RLIMIT_FSIZE, (12345, 12345));"
        "print(nursery.run([sys.argv[1]], '/', 60))"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "told"), str(Path(__file__).parent)], check=True, cwd=tmp_path
    )
    told = json.loads((tmp_path / "told").read_text())
    assert (told["file size"], told["variable"], told["folder"]) == (12345, "set later", "/")


def test_end_of_a_fresh_process_is_told_as_a_subprocess_would(nursery: Nursery, tmp_path: Path) -> None:
    told = str(tmp_path / "told")
    assert nursery.run([told, "raise"], "/", 60) == (1, "ValueError: what went wrong\nin the end")
    assert nursery.run([told, "die"], "/", 60) == (-signal.SIGKILL, "")
    assert nursery.run([told, "hang"], "/", 0.2) == (-signal.SIGALRM, "")
    assert nursery.run([told], "/", 60) == (0, "")


def test_a_nursery_that_is_gone_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    nursery = Nursery(tell)
    os.kill(nursery.pid, signal.SIGKILL)
    os.waitpid(nursery.pid, 0)
    with pytest.raises(OSError):
        nursery.run([str(tmp_path / "told")], "/", 60)


def test_nursery_and_fresh_process_end_with_the_process_that_made_them(tmp_path: Path) -> None:
    script = (
        "import sys; sys.path[:0] = [sys.argv[2]]; from test_fresh import Nursery, tell;"
        "nursery = Nursery(tell); print(nursery.pid, flush=True); nursery.run([sys.argv[1], 'hang'], '/', 600)"
    )
    told = tmp_path / "told"
    maker = subprocess.Popen(
        [sys.executable, "-c", script, str(told), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
    )
    nursery = psutil.Process(int(maker.stdout.readline()))
    while not told.exists() or not told.read_text():
        assert maker.poll() is None
    (fresh,) = nursery.children()
    maker.kill()
    maker.wait()
    assert psutil.wait_procs([nursery, fresh], timeout=60)[1] == []


def test_judge_reloads_a_saved_model_without_a_new_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f"""
import sys
import keras, helpers.checks
from autograder.judge_process import Sitting
import numpy as np, os
reading, writing = os.pipe()
sitting = Sitting(reading, writing)
sitting._keep_fresh_processes_at_hand()
sys.executable = "/no/such/python"
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.layers.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
model.compile("adam", "mse")
model.save({str(tmp_path / "model.keras")!r})
images = np.ones((3, 4, 4, 1), "float32")
found = helpers.checks.reloads({str(tmp_path / "model.keras")!r}, images, model)
assert found.predictions.shape == (3, 2) and found.optimizer == "Adam"
print("reloaded", flush=True)
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.endswith("reloaded\n"), done.stderr
