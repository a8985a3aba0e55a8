"""How `autograder data` gets the images: from a local server, from a file, and when something goes wrong."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import pickle
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autograder import cli, datasets
from autograder.datasets import ARCHIVE_SHA256, ARCHIVE_URL, CIFAR_CLASSES, Archive, make_images
from autograder.errors import CourseError
from helpers.data import CLASS_NAMES, find_holdout, is_standin, prepare_datasets

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


# A small archive in the publisher's format ----------------------------------------------------------------------------


class Python2Pickler(pickle._Pickler):
    """Writes text and bytes as Python 2 did, which the publisher used."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes
    dispatch[str] = lambda self, value: self.save_bytes(value.encode("latin-1"))


def pickled(batch: object) -> bytes:
    stream = io.BytesIO()
    Python2Pickler(stream, protocol=2).dump(batch)
    return stream.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def batches_of(images: int) -> dict[str, dict]:
    """Batches with so many images of each class; `test_batch` has three times as many as each of the others."""
    rng = np.random.default_rng(7)
    batches = {}
    for name in BATCHES:
        labels = np.repeat(np.arange(10), images * 3 if name == "test_batch" else images)
        rng.shuffle(labels)
        data = np.repeat(labels[:, None] * 20, 3072, axis=1).astype(np.uint8)
        data[:, ::8] = rng.integers(0, 256, (len(labels), 384), dtype=np.uint8)
        batches[name] = {b"batch_label": name.encode(), b"labels": labels.tolist(), b"data": data}
    return batches


def archive_of(batches: dict[str, dict]) -> bytes:
    return packed({f"cifar-10-batches-py/{name}": pickled(batch) for name, batch in batches.items()})


@pytest.fixture(scope="module")
def batches() -> dict[str, dict]:
    """With doubles: within a split, in two splits, and in two sources. 62 of each class, where 250 are needed."""
    made = batches_of(62)
    chosen = {name: np.flatnonzero(np.array(batch[b"labels"]) == 3) for name, batch in made.items()}
    first, second, test = (made[name][b"data"] for name in ("data_batch_1", "data_batch_2", "test_batch"))
    cats, other, test_cats = (chosen[name] for name in ("data_batch_1", "data_batch_2", "test_batch"))
    first[cats[1]] = first[cats[0]]
    second[other[0]] = first[cats[0]]
    made["data_batch_5"][b"data"][chosen["data_batch_5"][5]] = first[cats[3]]
    test[test_cats[0]] = first[cats[5]]
    test[test_cats[60]] = test[test_cats[1]]
    return made


@pytest.fixture(scope="module")
def content(batches) -> bytes:
    return archive_of(batches)


@pytest.fixture(autouse=True)
def no_images_from_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for name in ("CNN_COURSE_DATA", "CNN_COURSE_HOLDOUT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def archive_file(content, tmp_path) -> Path:
    file = tmp_path / "mine.tar.gz"
    file.write_bytes(content)
    return file


def sum_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# A local server -------------------------------------------------------------------------------------------------------


@dataclass
class Publisher:
    """A server on this machine, and how it behaves."""

    content: bytes
    url: str = ""
    cuts: list[int] = field(default_factory=list)
    """For each answer in turn, after how many bytes the connection is cut."""
    ranges: bool = True
    status: int | None = None
    asked: list[str | None] = field(default_factory=list)
    """The header Range of each request."""

    def source(self, sha256: str | None = None) -> Archive:
        return Archive(self.url, sha256 or sum_of(self.content), pause=0)


@pytest.fixture
def publisher(content) -> Iterator[Publisher]:
    state = Publisher(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            state.asked.append(asked)
            if state.status:
                self.send_error(state.status)
                return
            start = 0
            if asked and state.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(state.content):
                    self.send_error(416)
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            else:
                self.send_response(200)
            body = state.content[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cuts:
                body = body[: state.cuts.pop(0)]
                self.close_connection = True
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz"
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


# What is made ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(content, tmp_path_factory) -> Path:
    """The images made once, for the tests that only look at them."""
    folder = tmp_path_factory.mktemp("made")
    file = folder / "archive"
    file.write_bytes(content)
    make_images(folder / "data", archive_file=file, archive=Archive(sha256=sum_of(content)))
    return folder / "data"


def test_each_split_has_its_number_of_images_of_each_class_and_nothing_else_is_left(made):
    counts = Counter(path.parent.relative_to(made).as_posix() for path in made.rglob("*.png"))
    assert counts == {
        ("holdout/" if split == "holdout" else f"cifar10_images_small/{split}/") + name: number
        for split, number in {"train": 200, "val": 50, "test": 50, "holdout": 100}.items()
        for name in CLASS_NAMES
    }
    assert sorted(path.name for path in made.iterdir()) == ["cifar10_images_small", "holdout"]
    assert not list((made / "cifar10_images_small").rglob("*holdout*"))


def test_no_image_is_there_twice_though_the_archive_has_some_twice(made, batches):
    everything = np.concatenate([batch[b"data"] for batch in batches.values()])
    assert len(np.unique(everything, axis=0)) == len(everything) - 5
    pixels = [np.asarray(Image.open(path)).tobytes() for path in made.rglob("*.png")]
    assert len(pixels) == len(set(pixels)) == 2000


def test_an_image_is_named_for_its_place_in_the_archive_and_has_exactly_its_pixels(made, batches):
    train = np.concatenate([batches[name][b"data"] for name in BATCHES[:-1]])
    labels = np.concatenate([batches[name][b"labels"] for name in BATCHES[:-1]])
    for source, images, numbers in (
        ("cifar10_images_small/train", train, labels),
        ("cifar10_images_small/val", train, labels),
        ("cifar10_images_small/test", batches["test_batch"][b"data"], batches["test_batch"][b"labels"]),
        ("holdout", batches["test_batch"][b"data"], batches["test_batch"][b"labels"]),
    ):
        for path in (made / source).rglob("*.png"):
            place = int(path.stem)
            assert CIFAR_CLASSES[numbers[place]] == path.parent.name
            expected = images[place].reshape(3, 32, 32).transpose(1, 2, 0)
            assert np.array_equal(np.asarray(Image.open(path)), expected)


def test_the_first_images_of_a_class_are_chosen_in_the_publishers_order(made, batches):
    labels = np.concatenate([batches[name][b"labels"] for name in BATCHES[:-1]])
    dogs = [f"{place:05d}.png" for place in np.flatnonzero(labels == CIFAR_CLASSES.index("dog"))]
    for split, expected in (("train", dogs[:200]), ("val", dogs[200:250])):
        assert sorted(path.name for path in (made / "cifar10_images_small" / split / "dog").iterdir()) == expected


def test_the_lesson_reads_what_is_made(made, monkeypatch, capsys):
    monkeypatch.setenv("CNN_COURSE_DATA", str(made))
    prepare_datasets()
    assert capsys.readouterr().out.splitlines() == [
        f"Found {number} files belonging to 5 classes." for number in (1000, 250, 250)
    ]
    assert find_holdout() == made / "holdout"


def test_the_same_archive_always_gives_the_same_files(made, archive_file, content, tmp_path):
    make_images(tmp_path / "data", archive_file=archive_file, archive=Archive(sha256=sum_of(content)))
    assert files_of(tmp_path / "data") == files_of(made)


def test_a_download_gives_the_same_files_as_the_archive_from_a_file(made, publisher, tmp_path):
    result = make_images(tmp_path / "data", archive=publisher.source())
    assert result.folder == tmp_path / "data/cifar10_images_small" and not result.kept
    assert files_of(tmp_path / "data") == files_of(made)
    assert publisher.asked == [None]


# Downloads that go wrong ----------------------------------------------------------------------------------------------


def test_a_broken_connection_is_taken_up_again_where_it_stopped(publisher, tmp_path):
    publisher.cuts, lines = [300_000, 400_000], []
    file = datasets.download(publisher.source(), tmp_path / "archive", say=lines.append)
    assert file.read_bytes() == publisher.content
    first, second, third = publisher.asked
    assert first is None
    offsets = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in (second, third)]
    assert 0 < offsets[0] <= 300_000 < offsets[1] <= 700_000
    assert lines == ["The connection broke off. Trying again in 0 s."] * 2


def test_a_second_run_asks_only_for_what_the_first_one_did_not_get(made, publisher, tmp_path):
    publisher.cuts = [1_000_000] + [0] * 10
    with pytest.raises(CourseError, match=r"broke off\. .*MB have arrived and are kept; run `autograder data` again"):
        make_images(tmp_path / "data", archive=publisher.source())
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".download"]
    (part,) = (tmp_path / "data/.download").iterdir()
    arrived = part.stat().st_size
    assert part.name.endswith(".part") and 900_000 < arrived <= 1_000_000
    publisher.cuts, publisher.asked = [], []
    make_images(tmp_path / "data", archive=publisher.source())
    assert publisher.asked == [f"bytes={arrived}-"]
    assert files_of(tmp_path / "data") == files_of(made)


def test_a_server_that_cannot_resume_gives_all_of_it_again(publisher, tmp_path):
    publisher.cuts, publisher.ranges = [1_000_000], False
    file = datasets.download(publisher.source(), tmp_path / "archive")
    assert file.read_bytes() == publisher.content
    assert len(publisher.asked) == 2 and publisher.asked[1]


def test_a_download_that_was_whole_already_is_not_asked_for_twice(publisher, tmp_path):
    (tmp_path / "archive.part").write_bytes(publisher.content)
    file = datasets.download(publisher.source(), tmp_path / "archive")
    assert file.read_bytes() == publisher.content and len(publisher.asked) == 1
    datasets.download(publisher.source(), file)
    assert len(publisher.asked) == 1


def test_a_first_part_of_something_else_is_thrown_away(publisher, tmp_path):
    (tmp_path / "archive.part").write_bytes(b"something else" * 1000)
    file = datasets.download(publisher.source(), tmp_path / "archive")
    assert file.read_bytes() == publisher.content
    assert publisher.asked == ["bytes=14000-", None]


@pytest.mark.parametrize("damage", ["truncated", "one bit", "a login page"])
def test_an_archive_with_a_wrong_checksum_is_deleted_and_never_read(damage, publisher, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "read_archive", lambda file: pytest.fail("it was read"))
    source = publisher.source()
    whole = publisher.content
    publisher.content = {
        "truncated": whole[: len(whole) // 2],
        "one bit": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
        "a login page": b"<html>Please log in</html>",
    }[damage]
    with pytest.raises(CourseError) as problem:
        make_images(tmp_path / "data", archive=source)
    for part in (source.url, sum_of(publisher.content), source.sha256, "--archive FILE", "--stand-in"):
        assert part in str(problem.value)
    assert files_of(tmp_path / "data") == {}
    assert len(publisher.asked) == 1


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 4)])
def test_a_server_that_refuses_is_named_with_its_answer(status, tries, publisher, tmp_path):
    publisher.status = status
    with pytest.raises(CourseError, match=rf"the server answered {status} .*--archive FILE.*--stand-in"):
        make_images(tmp_path / "data", archive=publisher.source())
    assert len(publisher.asked) == tries
    assert files_of(tmp_path / "data") == {}


def test_a_server_that_says_nothing_is_not_waited_for_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_TIMEOUT", (0.2, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(CourseError, match="did not answer in time"):
            make_images(tmp_path / "data", archive=Archive(url, "0" * 64, pause=0))


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_a_network_the_command_says_in_one_line_what_to_do_instead(course_factory, monkeypatch, capsys):
    root = course_factory()
    url = f"http://127.0.0.1:{closed_port()}/cifar-10-python.tar.gz"
    monkeypatch.setattr(datasets, "Archive", lambda: Archive(url, "0" * 64, pause=0))
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["autograder", "data"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and url in said and "no connection to the server" in said
    assert "--archive FILE" in said and "--stand-in" in said
    assert list((root / "data").iterdir()) == []


def test_an_endless_answer_is_cut_off(publisher, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "_MOST_BYTES", 200_000)
    with pytest.raises(CourseError, match="not the archive that is expected") as problem:
        datasets.download(publisher.source("0" * 64), tmp_path / "archive")
    assert sum_of(publisher.content) not in str(problem.value)
    assert not list(tmp_path.glob("archive*"))


def test_an_archive_that_keras_has_downloaded_before_is_used(made, content, publisher, tmp_path):
    cached = tmp_path / "keras/datasets/cifar-10-batches-py-target_archive"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    make_images(tmp_path / "data", archive=publisher.source())
    assert publisher.asked == [] and cached.is_file()
    assert files_of(tmp_path / "data") == files_of(made)
    cached.write_bytes(content[:-1])
    make_images(tmp_path / "data", archive=publisher.source(), force=True)
    assert publisher.asked == [None]


# Archives that are not as they should be ------------------------------------------------------------------------------


def test_a_file_with_another_checksum_is_not_read_but_kept(archive_file, content, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "read_archive", lambda file: pytest.fail("it was read"))
    with pytest.raises(
        CourseError, match=f"mine.tar.gz: not the archive .*{sum_of(content)}, expected {ARCHIVE_SHA256}"
    ):
        make_images(tmp_path / "data", archive_file=archive_file)
    assert archive_file.read_bytes() == content
    assert files_of(tmp_path / "data") == {}


def test_an_archive_file_that_is_not_there_is_named(tmp_path):
    for place, what in ((tmp_path / "none.tar.gz", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(CourseError, match=f"{place}: {what}"):
            make_images(tmp_path / "data", archive_file=place)


class Harm:
    """A pickle that runs a command when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "kind", ["truncated", "no tar", "a batch missing", "too few", "harmful", "wrong shape", "labels"]
)
def test_a_bad_archive_whose_checksum_was_expected_is_refused_all_the_same(kind, content, tmp_path):
    small = batches_of(3)
    harmed = tmp_path / "harmed"
    if kind == "harmful":
        files = {f"cifar-10-batches-py/{name}": pickle.dumps(Harm(harmed), protocol=2) for name in BATCHES}
        bad = packed(files)
    elif kind == "a batch missing":
        bad = archive_of({name: small[name] for name in BATCHES[1:]})
    elif kind == "wrong shape":
        bad = archive_of({name: batch | {b"data": batch[b"data"][:, :3000]} for name, batch in small.items()})
    elif kind == "labels":
        bad = archive_of({name: batch | {b"labels": [10] * len(batch[b"labels"])} for name, batch in small.items()})
    else:
        bad = {"truncated": content[: len(content) // 2], "no tar": b"nothing" * 99, "too few": archive_of(small)}[kind]
    file = tmp_path / "bad.tar.gz"
    file.write_bytes(bad)
    expected = {
        "a batch missing": "it has no cifar-10-batches-py/data_batch_1",
        "too few": "15 different train images of the class",
        "harmful": "it asks for posix.mkdir",
    }.get(kind, r"bad\.tar\.gz: no CIFAR-10 archive, or a damaged one")
    with pytest.raises(CourseError, match=expected):
        make_images(tmp_path / "data", archive_file=file, archive=Archive(sha256=sum_of(bad)))
    assert not harmed.exists()
    assert files_of(tmp_path / "data") == {}


def test_an_archive_writes_nothing_outside_the_folder_of_images(batches, tmp_path):
    files = {f"cifar-10-batches-py/{name}": pickled(batch) for name, batch in batches.items()}
    bad = packed({"../escaped": b"1", str(tmp_path / "escaped"): b"2"} | files)
    file = tmp_path / "archive.tar.gz"
    file.write_bytes(bad)
    make_images(tmp_path / "a/data", archive_file=file, archive=Archive(sha256=sum_of(bad)))
    assert not list(tmp_path.rglob("escaped"))


# What was there before, and runs that end early -----------------------------------------------------------------------


def test_images_that_are_all_there_are_kept(made, publisher):
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    assert make_images(made, archive=publisher.source()).kept
    assert publisher.asked == []
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_images_that_are_not_all_there_are_made_anew_only_by_force(made, archive_file, content, tmp_path):
    data = shutil.copytree(made, tmp_path / "data")
    next(data.glob("holdout/cat/*.png")).unlink()
    source = Archive(sha256=sum_of(content))
    with pytest.raises(
        CourseError, match=r"holdout: there is images from CIFAR-10, of which some are missing.*--force"
    ):
        make_images(data, archive_file=archive_file, archive=source)
    make_images(data, archive_file=archive_file, archive=source, force=True)
    assert files_of(data) == files_of(made)


def test_a_folder_that_somebody_else_made_is_left_alone(archive_file, content, tmp_path):
    mine = tmp_path / "data/cifar10_images_small/train/cat/mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    for stand_in in (False, True):
        with pytest.raises(CourseError, match="cifar10_images_small: there is a folder that `autograder data` did not"):
            make_images(
                tmp_path / "data",
                archive_file=None if stand_in else archive_file,
                archive=Archive(sha256=sum_of(content)),
                stand_in=stand_in,
            )
    assert files_of(tmp_path / "data") == {"cifar10_images_small/train/cat/mine.png": b"mine"}


def test_a_run_that_failed_leaves_the_images_that_were_there(made, publisher, tmp_path):
    data = shutil.copytree(made, tmp_path / "data")
    publisher.status = 404
    with pytest.raises(CourseError):
        make_images(data, archive=publisher.source(), force=True)
    assert files_of(data) == files_of(made)


@pytest.mark.slow
def test_the_stand_in_is_drawn_and_gives_way_to_real_images_but_not_the_other_way(
    made, archive_file, content, standin_images, tmp_path
):
    data, source, lines = tmp_path / "data", Archive(sha256=sum_of(content)), []
    result = make_images(data, stand_in=True)
    assert is_standin(result.folder) and is_standin(result.holdout)
    assert files_of(data) == files_of(standin_images)
    assert make_images(data, stand_in=True).kept
    make_images(data, archive_file=archive_file, archive=source, say=lines.append)
    assert files_of(data) == files_of(made)
    assert f"{result.folder}: the stand-in gives way to the real images." in lines
    with pytest.raises(CourseError, match="--stand-in --force"):
        make_images(data, stand_in=True)
    assert files_of(data) == files_of(made)


def test_a_second_run_at_the_same_time_is_refused(publisher, tmp_path):
    tmp_path.joinpath("data").mkdir()
    with (
        datasets._alone_in(tmp_path / "data"),
        pytest.raises(CourseError, match="another `autograder data` is at work"),
    ):
        make_images(tmp_path / "data", archive=publisher.source())


@pytest.mark.parametrize("stage", ["Downloading", "Writing images"])
def test_a_run_that_is_killed_leaves_no_images_and_the_next_one_makes_them(stage, made, publisher, tmp_path):
    program = textwrap.dedent(
        f"""
        import os, signal
        from pathlib import Path
        from autograder.datasets import Archive, make_images

        def report(stage, done, total, unit):
            if stage == {stage!r} and done > total / 2:
                os.kill(os.getpid(), signal.SIGKILL)

        make_images(Path("data"), archive=Archive({publisher.url!r}, {sum_of(publisher.content)!r}), report=report)
        """
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert ended.returncode == -signal.SIGKILL
    data = tmp_path / "data"
    assert not (data / "cifar10_images_small").exists() and not (data / "holdout").exists()
    assert list(data.glob(".*"))
    publisher.asked = []
    make_images(data, archive=publisher.source())
    assert files_of(data) == files_of(made)
    assert sorted(path.name for path in data.iterdir()) == ["cifar10_images_small", "holdout"]
    assert publisher.asked == [] if stage == "Writing images" else publisher.asked[0].startswith("bytes=")


def test_ctrl_c_leaves_no_images_and_no_temporary_files(archive_file, content, tmp_path):
    def stop(stage: str, done: float, total: float, unit: str) -> None:
        if done > 1000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_images(tmp_path / "data", archive_file=archive_file, archive=Archive(sha256=sum_of(content)), report=stop)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of 1 MB, or, where only root could mount one, a shell that gives none."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        yield Path()
        return
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("way", ["download", "file"])
def test_a_full_disk_is_said_and_nothing_is_left_on_it(way, small_disk, archive_file, publisher, tmp_path, monkeypatch):
    data = small_disk / "data"
    if small_disk == Path():
        data = tmp_path / "data"
        monkeypatch.setattr(Path, "open", full_at(Path.open))
        monkeypatch.setattr(Image.Image, "save", full_at(Image.Image.save))
    with pytest.raises(CourseError, match=f"{data}: the disk is full. About 200 MB are needed"):
        make_images(data, archive_file=archive_file if way == "file" else None, archive=publisher.source())
    assert list(data.rglob("*")) == []


def full_at(write):
    """As `write`, but there is no room for anything new."""

    def failing(*arguments, **options):
        if write is not Path.open or {*arguments[1:2]} & {"wb", "ab"}:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments, **options)

    return failing


# Keras, and the command ----------------------------------------------------------------------------------------------


def test_address_and_checksum_are_those_of_keras():
    import keras

    known = keras.datasets.cifar10.load_data.__code__.co_consts
    assert {ARCHIVE_URL, ARCHIVE_SHA256} <= set(known)


@pytest.mark.slow
def test_images_and_labels_are_those_that_keras_reads_from_the_archive(tmp_path):
    rng = np.random.default_rng(3)
    full = {}
    for name in BATCHES:
        data = np.zeros((10_000, 3072), np.uint8)
        data[:, ::512] = rng.integers(0, 256, (10_000, 6))
        full[name] = {b"labels": rng.integers(0, 10, 10_000).tolist(), b"data": data}
    file = tmp_path / "keras/datasets/cifar-10-batches-py-target_archive"
    file.parent.mkdir(parents=True)
    file.write_bytes(archive_of(full))
    # Keras knows only the publisher's checksum. Here its check is told that this archive has it.
    program = textwrap.dedent(
        """
        import hashlib
        import numpy as np
        import keras
        from keras.src.utils import file_utils

        file_utils.validate_file = lambda *_, **__: True
        (train, train_labels), (test, test_labels) = keras.datasets.cifar10.load_data()
        for array in (train, test, train_labels.ravel().astype(np.int64), test_labels.ravel().astype(np.int64)):
            print(array.shape, hashlib.sha256(np.ascontiguousarray(array)).hexdigest())
        """
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    images = datasets.read_archive(file)
    arrays = [images["train"][0], images["test"][0], images["train"][1], images["test"][1]]
    assert done.stdout.splitlines() == [
        f"{array.shape} {hashlib.sha256(np.ascontiguousarray(array)).hexdigest()}" for array in arrays
    ]


def test_the_command_says_how_far_it_is_and_where_the_images_are(course_factory, publisher, made, monkeypatch, capsys):
    root = course_factory()
    source = publisher.source()
    monkeypatch.setattr(datasets, "Archive", lambda: source)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["autograder", "data"])
    cli.app(["data"], standalone_mode=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Downloading {publisher.url}"
    size = round(len(publisher.content) / 1e6)
    assert any(re.fullmatch(rf"Downloading: 1 of {size} MB, about \d+ s left", line) for line in lines)
    assert "Writing images: 2000 of 2000 images" in lines
    assert any(line.startswith("Writing images: 1000 of 2000 images, about ") for line in lines)
    assert lines[-2:] == [
        f"For students:     {root}/data/cifar10_images_small (train, val, test)",
        f"For graders only: {root}/data/holdout",
    ]
    assert len(lines) < 35
    assert files_of(root / "data") == files_of(made)
    cli.app(["data"], standalone_mode=False)
    assert "there already, all of them" in capsys.readouterr().out
