"""What a result depends on, and that what was kept is whole after any crash."""

from __future__ import annotations

import copy
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from small_episode import answered_notebook

from autograder import results, whole
from autograder.images import CourseImages, Digests, pack_images, unpack_images
from autograder.jobs import Options, Result
from autograder.results import Entry, Ledger, ResultStore, submission_key, submission_stamp

WHAT = {"options": Options(), "images": "images", "environment": "programs", "student": "ada"}


def key(notebook=None, files=(("notes.txt", b"one"),), **changes) -> str:
    return submission_key(notebook or answered_notebook(), files, **{**WHAT, **changes})


def edited(change) -> dict:
    notebook = copy.deepcopy(answered_notebook())
    change(notebook)
    return notebook


def cell(notebook, name):
    return next(one for one in notebook.cells if one.id == name)


CHANGES = {
    "an answer": {"notebook": edited(lambda nb: cell(nb, "sum-up").update(source="total = 14"))},
    "a cell that the student added": {"notebook": edited(lambda nb: nb.cells.pop(2))},
    "a test": {"notebook": edited(lambda nb: cell(nb, "sum-up-test").update(source="assert True"))},
    "the points": {"notebook": edited(lambda nb: cell(nb, "sum-up-test").metadata.nbgrader.update(points=9))},
    "a file's content": {"files": [("notes.txt", b"two")]},
    "a file's name": {"files": [("other.txt", b"one")]},
    "the images": {"images": "others"},
    "the programs": {"environment": "newer"},
    "a limit": {"options": Options(limits={"cell_seconds": 1})},
    "the seed": {"options": Options(judge={"seed": 1})},
    "the sandbox": {"options": Options(sandbox=False)},
    "the student": {"student": "bob"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_result_does_not_hold_any_more_when_this_changes(what):
    assert key(**CHANGES[what]) != key()


def test_a_result_holds_for_the_same_answers_with_other_outputs_and_cell_ids():
    def run_and_saved_elsewhere(notebook):
        for number, one in enumerate(notebook.cells):
            one.id = f"id-{number}"
            if one.cell_type == "code":
                one.execution_count, one.outputs = 7, [{"output_type": "stream", "name": "stdout", "text": "x"}]

    assert key(edited(run_and_saved_elsewhere)) == key()


def test_shared_results_have_a_key_without_a_student():
    assert key(student=None) == key(student=None) != key(student="ada")


def test_the_environment_names_the_versions_and_the_code_of_grader_and_helpers():
    known = results.environment()
    assert {"python", "tensorflow", "keras", "numpy", "autograder", "helpers"} <= set(known)


def result(name="k" * 64, **changes) -> Result:
    verdict = {
        "grade_id": "t", "state": "passed", "score": 1.0, "max_score": 1.0, "message": "", "seconds": 0.1, **changes
    }  # fmt: skip
    return Result(name, '{"cells": []}', (verdict,), phases={"run": 1.5})


def test_a_kept_result_comes_back_as_it_was_and_only_its_owner_can_read_it(tmp_path):
    store = ResultStore(tmp_path)
    assert store.get("k" * 64) is None
    store.put(result())
    assert store.get("k" * 64) == result() and store.has("k" * 64)
    (path,) = tmp_path.rglob("*.json")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert all(stat.S_IMODE(folder.stat().st_mode) == 0o700 for folder in (tmp_path / ".autograder").rglob("*/"))


def test_a_result_in_which_the_grader_failed_is_not_kept(tmp_path):
    store = ResultStore(tmp_path)
    store.put(result(state="grader failed", score=None))
    assert store.get("k" * 64) is None


@pytest.mark.parametrize("content", ["", '{"key": "', "[]", '{"key": "another"}', "\x00" * 100])
def test_a_damaged_result_counts_as_none(tmp_path, content):
    store = ResultStore(tmp_path)
    store.put(result())
    (path,) = tmp_path.rglob("*.json")
    path.write_text(content)
    assert store.get("k" * 64) is None


def test_a_result_under_the_name_of_another_counts_as_none(tmp_path):
    store = ResultStore(tmp_path)
    store.put(result())
    (path,) = tmp_path.rglob("*.json")
    store.put(result("j" * 64))
    path.write_bytes(next(one for one in tmp_path.rglob("*.json") if one != path).read_bytes())
    assert store.get("k" * 64) is None and store.get("j" * 64) is not None


def test_a_write_that_fails_midway_leaves_the_file_before_and_nothing_that_passes_for_it(tmp_path, monkeypatch):
    store = ResultStore(tmp_path)
    store.put(result())

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        whole.write_whole(next(tmp_path.rglob("*.json")), b"half")
    monkeypatch.undo()
    assert store.get("k" * 64) == result()
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_the_last_entry_of_a_student_counts(tmp_path):
    ledger = Ledger(tmp_path, "01-small")
    assert ledger.read() == {}
    ledger.add([Entry("ada", "one", messages={"t": "wrong"}), Entry("bob", "one")])
    ledger.add([Entry("ada", "two", "key", (3, 4), repairs=("mended",))])
    assert ledger.read() == {"ada": Entry("ada", "two", "key", (3, 4), repairs=("mended",)), "bob": Entry("bob", "one")}


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_that_a_crash_cut_short_costs_that_line_alone(tmp_path, cut):
    ledger = Ledger(tmp_path, "01-small")
    ledger.add([Entry("ada", "one")])
    ledger.add([Entry("bob", "one")])
    ledger.path.write_bytes(ledger.path.read_bytes()[:-cut])
    ledger.add([Entry("cyd", "one")])
    assert {"ada", "cyd"} <= set(ledger.read())


def test_a_ledger_that_has_grown_is_made_short_again(tmp_path):
    ledger = Ledger(tmp_path, "01-small")
    for number in range(300):
        ledger.add([Entry("ada", str(number))])
    assert ledger.read()["ada"].stamp == "299"
    assert len(ledger.path.read_text().splitlines()) == 1
    assert ledger.read()["ada"].stamp == "299"


def test_the_stamp_of_a_submission_changes_with_a_file_whose_size_and_date_were_set_back(tmp_path):
    path = tmp_path / "answer.txt"
    path.write_text("one")
    before, status = submission_stamp(tmp_path), path.stat()
    while path.stat().st_ctime_ns == status.st_ctime_ns:  # the clock of a file system may be coarse
        path.write_text("two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_mtime_ns == status.st_mtime_ns
    assert submission_stamp(tmp_path) != before


def test_the_stamp_of_a_submission_follows_no_link_and_opens_no_pipe(tmp_path):
    folder = tmp_path / "ada"
    folder.mkdir()
    (folder / "a.ipynb").write_text("{}")
    os.mkfifo(folder / "pipe")
    (folder / "out").symlink_to("/etc")
    names = [name for name, *_ in submission_stamp(folder)]
    assert names == ["a.ipynb", "out", "pipe"]


def test_the_digest_of_a_folder_is_of_what_the_files_hold_and_is_remembered(tmp_path, monkeypatch):
    folder = tmp_path / "images"
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.png").write_bytes(b"picture")
    digests = Digests(tmp_path / "digests.json")
    first = digests.of(folder)
    assert Digests(tmp_path / "digests.json").of(folder) == first and digests.of(None) == ""
    copied = tmp_path / "copy"
    (copied / "train").mkdir(parents=True)
    (copied / "train" / "a.png").write_bytes(b"picture")
    assert digests.of(copied) == first
    (folder / "train" / "a.png").write_bytes(b"other one")
    assert Digests(tmp_path / "digests.json").of(folder) != first


def test_images_arrive_on_another_machine_as_they_were_sent(tmp_path):
    for name in ("cifar10_images_small/train/cat", "holdout/cat"):
        (tmp_path / "here" / name).mkdir(parents=True)
        (tmp_path / "here" / name / "1.png").write_bytes(name.encode())
    here = CourseImages(tmp_path / "here" / "cifar10_images_small", tmp_path / "here" / "holdout")
    there = unpack_images(pack_images(here), tmp_path / "there" / "digest")
    digests = Digests()
    assert digests.of(there.data) == digests.of(here.data) and digests.of(there.holdout) == digests.of(here.holdout)
    assert unpack_images(b"not looked at, for they are there", tmp_path / "there" / "digest") == there


def images_on_the_way(folder: Path) -> bytes:
    (folder / "data" / "train").mkdir(parents=True)
    (folder / "data" / "train" / "1.png").write_bytes(b"picture")
    return pack_images(CourseImages(folder / "data"))


def test_the_slower_of_two_workers_that_unpack_the_same_images_leaves_no_copy_of_its_own(tmp_path, monkeypatch):
    packed, folder = images_on_the_way(tmp_path / "here"), tmp_path / "there" / "digest"
    rename = Path.rename

    def beaten(self, target):
        shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", beaten)
    found = unpack_images(packed, folder)
    assert (found.data / "train" / "1.png").read_bytes() == b"picture"
    assert [path.name for path in folder.parent.iterdir()] == ["digest"]


def test_what_an_ended_worker_left_is_not_in_the_way_of_one_with_its_number(tmp_path):
    packed, folder = images_on_the_way(tmp_path / "here"), tmp_path / "there" / "digest"
    folder.with_name(f"digest.{os.getpid()}").mkdir(parents=True)
    assert (unpack_images(packed, folder).data / "train" / "1.png").is_file()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_a_text_for_everybody_is_written_whole_with_the_rights_of_the_one_before(tmp_path):
    path = whole.write_text_whole(tmp_path / "new" / "marks.csv", "a,b\r\n")
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    path.chmod(0o664)
    with path.open("rb") as before:
        whole.write_text_whole(path, "c,d\r\n")
        assert before.read() == b"a,b\r\n"
    assert path.read_bytes() == b"c,d\r\n" and stat.S_IMODE(path.stat().st_mode) == 0o664


def test_results_survive_the_way_through_json():
    assert Result.from_json(result().to_json()) == result()
    with pytest.raises(ValueError, match="not a result"):
        Result.from_json(json.dumps({"verdicts": [], "key": "k", "unknown": 1}))
