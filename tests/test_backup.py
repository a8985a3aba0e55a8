"""Backup and restore: nothing is lost, nothing is half there, nothing leads out of the course folder."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import stat
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
from quick_class import QuickPool, hand_in, make_class

from autograder import backup as backing
from autograder.backup import MANIFEST, backup, check, restore
from autograder.course import find_episode, load_config
from autograder.errors import CourseError
from autograder.grade import prepare, read_class_marks


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A course with a graded class."""
    root = tmp_path_factory.mktemp("class") / "course"
    episode = make_class(root, {"ada": "total = 6", "bob": "total = 7"})
    (episode.submitted("bob") / "elsewhere").symlink_to("/etc/passwd")
    (root / "submitted" / "eve" / episode.name).mkdir(parents=True)
    (root / "extensions.csv").write_text("student,episode,until,days\nada,1,,2\n")
    for name in ("helpers/hints/01-small.md", "tests/bank/01-small/add-up.md", "docs/reference/glossary.md"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("of this course alone")
    assert len(list(prepare(episode, sandbox=False, pool=QuickPool(root.parent / "executed")))) == 3
    return root


@pytest.fixture(scope="module")
def archive(course) -> Path:
    return backup(course, load_config(course), course.parent / "kept" / "course.tar.gz").path


@pytest.fixture
def copy(course, tmp_path) -> Path:
    """A copy of the course that a test may harm."""
    return Path(shutil.copytree(course, tmp_path / "copy", symlinks=True))


def files(root: Path) -> dict[str, str]:
    """All files of the course that a backup keeps, with a digest of each."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink() and any(path.is_relative_to(root / part) for part in backing.PARTS)
    }


def held(archive: Path) -> set[str]:
    """The names of the files in an archive, but for its manifest."""
    with tarfile.open(archive) as found:
        return {member.name for member in found if member.isreg()} - {MANIFEST}


def empty_course(folder: Path, course: Path) -> Path:
    folder.mkdir()
    shutil.copy(course / "nbgrader_config.py", folder)
    return folder


def test_a_restored_course_is_the_same_and_grading_it_runs_nothing_again(course, archive, tmp_path):
    other = empty_course(tmp_path / "other", course)
    count, aside = restore(other, archive)
    assert aside is None and not (other / backing.ASIDE).exists()
    here, there = files(course), files(other)
    gradebook = here.pop("gradebook.db"), there.pop("gradebook.db")
    for each in (here, there):
        each.pop("logs/autograder.jsonl")
    assert here == there and all(gradebook) and count == len(here) + 2
    assert (other / "submitted" / "eve" / "01-small").is_dir()
    episode = find_episode(other, "1")
    pool = QuickPool(tmp_path / "executed")
    results = {one.student: one for one in prepare(episode, sandbox=False, pool=pool)}
    assert pool.runs() == [] and not any(one.fresh for one in results.values() if one.marks)
    for student in ("ada", "bob"):
        assert read_class_marks(episode)[student] == read_class_marks(find_episode(course, "1"))[student] != ()


@pytest.mark.parametrize("where", ["..", "backups", ".", "../elsewhere"])
def test_an_archive_holds_every_part_wherever_it_is_written(copy, monkeypatch, where):
    monkeypatch.chdir(copy)
    kept = backup(copy, load_config(copy), Path(where, "kept.tar.gz"))
    assert held(kept.path) == set(files(copy)) and kept.files == len(files(copy))
    parts = {part for part in backing.PARTS if any(Path(name).is_relative_to(part) for name in held(kept.path))}
    assert set(backing.PARTS) - parts == {"feedback", "autograder/samples"}, "this course has none of those"


@pytest.mark.parametrize("where", ["submitted", "submitted/ada", ".autograder", "course/../release"])
def test_an_archive_that_would_lie_in_what_it_holds_is_refused(copy, where):
    with pytest.raises(CourseError, match=r"which the archive holds\. Give another"):
        backup(copy, load_config(copy), copy / where / "kept.tar.gz")
    assert not list(copy.rglob("kept.tar.gz"))


def test_a_part_that_is_a_link_elsewhere_is_told_as_not_in_the_archive(copy, tmp_path):
    (copy / "submitted").rename(tmp_path / "big-disk")
    (copy / "submitted").symlink_to(tmp_path / "big-disk")
    kept = backup(copy, load_config(copy), tmp_path / "kept.tar.gz")
    assert f"{copy / 'submitted'} is a link to {tmp_path / 'big-disk'}" in kept.note
    assert "is not in this archive" in kept.note


def test_only_the_owner_can_read_an_archive_and_links_are_left_out_and_named(course, archive, tmp_path):
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    kept = backup(course, load_config(course), tmp_path / "again.tar.gz")
    assert kept.left_out == ("submitted/bob/01-small/elsewhere",) and kept.note == ""
    with tarfile.open(archive) as found:
        assert found.getnames()[-1] == MANIFEST
        assert b"root:" not in found.extractfile(MANIFEST).read()


def test_the_gradebook_is_kept_as_it_was_before_somebodys_unfinished_change(copy, tmp_path):
    writer = sqlite3.connect(copy / "gradebook.db", isolation_level=None)
    (before,) = writer.execute("SELECT COUNT(*) FROM grade").fetchone()
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM grade")
    try:
        kept = backup(copy, load_config(copy), tmp_path / "kept.tar.gz").path
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    other = empty_course(tmp_path / "other", copy)
    restore(other, kept)
    with sqlite3.connect(other / "gradebook.db") as found:
        assert found.execute("SELECT COUNT(*) FROM grade").fetchone() == (before,)
    assert before > 0


def test_a_damaged_gradebook_is_told_and_no_archive_is_written(copy, tmp_path):
    (copy / "gradebook.db").write_bytes(b"SQLite format 3\0" + b"rubbish" * 1000)
    with pytest.raises(CourseError, match=r"gradebook .* is damaged"):
        backup(copy, load_config(copy), tmp_path / "kept" / "kept.tar.gz")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_backup_that_is_killed_leaves_no_archive(course, tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from autograder import backup, course\n"
        "add, seen = backup._add_file, []\n"
        "def killed(*args):\n"
        "    seen.append(1)\n"
        "    if len(seen) == 4: os._exit(9)\n"
        "    add(*args)\n"
        "backup._add_file = killed\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "backup.backup(root, course.load_config(root), pathlib.Path(sys.argv[2]))\n"
    )
    target = tmp_path / "kept.tar.gz"
    done = subprocess.run([sys.executable, "-c", code, str(course), str(target)], check=False)
    assert done.returncode == 9 and not target.exists()
    # What it left is in the way of nothing.
    assert backup(course, load_config(course), target).path == target


def test_a_backup_that_fails_leaves_nothing_at_all(course, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backing, "_add_file", full)
    with pytest.raises(OSError, match="No space left"):
        backup(course, load_config(course), tmp_path / "kept" / "kept.tar.gz")
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_archive_that_is_there_is_not_written_over(course, archive):
    with pytest.raises(CourseError, match="there already"):
        backup(course, load_config(course), archive)


def test_a_gradebook_in_another_database_is_said_with_the_tool_that_keeps_it(copy, tmp_path):
    config = load_config(copy)
    config.CourseDirectory.db_url = "postgresql://grader:secret@db.example.org/course"
    kept = backup(copy, config, tmp_path / "kept.tar.gz")
    assert "db.example.org/course" in kept.note and "pg_dump" in kept.note and "secret" not in kept.note
    with tarfile.open(kept.path) as found:
        assert "gradebook.db" not in found.getnames()


def damaged(data: bytes, place: int) -> bytes:
    """The archive with another byte at `place`, or at the next one that matters: a few say the same either way."""
    other = data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]
    try:
        harmless = gzip.decompress(other) == gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        harmless = False
    return damaged(data, place + 1) if harmless else other


@pytest.mark.parametrize("where", [0.001, 0.3, 0.6, 0.99])
def test_a_damaged_archive_changes_nothing(archive, copy, tmp_path, where):
    data = archive.read_bytes()
    (tmp_path / "damaged.tar.gz").write_bytes(damaged(data, int(where * len(data))))
    before = files(copy)
    with pytest.raises(CourseError, match=r"damaged|broken off|refused|no backup"):
        restore(copy, tmp_path / "damaged.tar.gz", force=True)
    assert files(copy) == before and not list(copy.glob(".restore-*"))


def test_damage_to_what_the_manifest_does_not_name_is_found_too(archive, copy, tmp_path):
    """A file's time, of which only the sum of all bytes at the archive's end knows."""
    data = gzip.compress(gzip.decompress(archive.read_bytes()), compresslevel=0)
    start = data.index(b" mtime=") + len(b" mtime=")
    later = bytes([data[start] ^ 1])
    (tmp_path / "damaged.tar.gz").write_bytes(data[:start] + later + data[start + 1 :])
    before = files(copy)
    with pytest.raises(CourseError, match="damaged"):
        restore(copy, tmp_path / "damaged.tar.gz", force=True)
    assert files(copy) == before


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_an_archive_that_was_cut_short_changes_nothing(archive, copy, tmp_path, share):
    (tmp_path / "short.tar.gz").write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    before = files(copy)
    with pytest.raises(CourseError, match=r"damaged|broken off"):
        restore(copy, tmp_path / "short.tar.gz", force=True)
    assert files(copy) == before


def forged(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], *, manifest: bool = True) -> Path:
    """An archive with these members and a manifest that fits them."""
    said = {
        member.name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for member, data in members
        if member.isreg()
    }
    with tarfile.open(path, "w:gz") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        if manifest:
            text = json.dumps({"version": 1, "made": "", "files": said}).encode()
            last = tarfile.TarInfo(MANIFEST)
            last.size = len(text)
            archive.addfile(last, io.BytesIO(text))
    return path


def link(name: str, kind: bytes, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize(
    "member",
    [
        tarfile.TarInfo("../outside"),
        tarfile.TarInfo("submitted/../../outside"),
        tarfile.TarInfo("/tmp/outside"),
        tarfile.TarInfo("submitted\\..\\outside"),
        tarfile.TarInfo("autograder/cli.py"),
        tarfile.TarInfo(".git/hooks/post-checkout"),
        link("submitted/link", tarfile.SYMTYPE, "/etc"),
        link("submitted/link", tarfile.LNKTYPE, "/etc/passwd"),
        link("submitted/pipe", tarfile.FIFOTYPE, ""),
        link("submitted/device", tarfile.CHRTYPE, ""),
    ],
    ids=lambda member: f"{member.name} {member.type.decode()}",
)
def test_an_archive_that_leads_elsewhere_is_refused(course, tmp_path, member):
    other = empty_course(tmp_path / "other", course)
    path = forged(tmp_path / "forged.tar.gz", [(tarfile.TarInfo("submitted/a.txt"), b"a"), (member, b"")])
    with pytest.raises(CourseError, match="is refused"):
        restore(other, path, force=True)
    assert [path.name for path in other.iterdir()] == ["nbgrader_config.py"] and not (tmp_path / "outside").exists()


def test_an_archive_without_a_manifest_or_with_another_content_is_refused(tmp_path):
    one = [(tarfile.TarInfo("submitted/a.txt"), b"a")]
    with pytest.raises(CourseError, match="broken off"):
        check(forged(tmp_path / "a.tar.gz", one, manifest=False))
    with pytest.raises(CourseError, match="is refused"):
        check(forged(tmp_path / "b.tar.gz", one * 2))
    assert check(forged(tmp_path / "c.tar.gz", one)) == 1


def test_folders_and_files_come_back_with_the_rights_that_they_had(copy, tmp_path):
    rights = {"submitted": 0o755, "submitted/ada": 0o770, "submitted/ada/01-small": 0o750, ".autograder": 0o700}
    for name, mode in rights.items():
        (copy / name).chmod(mode)
    notebook = "submitted/ada/01-small/01-small.ipynb"
    (copy / notebook).chmod(0o640)
    other = empty_course(tmp_path / "other", copy)
    restore(other, backup(copy, load_config(copy), tmp_path / "kept.tar.gz").path)
    found = {name: stat.S_IMODE((other / name).stat().st_mode) for name in (*rights, notebook)}
    assert found == rights | {notebook: 0o640}


@pytest.fixture
def kept_elsewhere(copy, tmp_path) -> tuple[Path, Path]:
    """A course with its gradebook in another folder, and that gradebook."""
    gradebook = tmp_path / "databases" / "grades.db"
    gradebook.parent.mkdir()
    (copy / "gradebook.db").rename(gradebook)
    with (copy / "nbgrader_config.py").open("a") as config:
        config.write(f"\nc.CourseDirectory.db_url = 'sqlite:///{gradebook}'\n")
    return copy, gradebook


def students(gradebook: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(gradebook)) as found:
        return {name for (name,) in found.execute("SELECT id FROM student")}


def test_a_gradebook_that_is_kept_elsewhere_is_put_back_there_and_the_old_one_kept(kept_elsewhere, tmp_path):
    course, gradebook = kept_elsewhere
    before = students(gradebook)
    kept = backup(course, load_config(course), tmp_path / "kept.tar.gz").path
    with contextlib.closing(sqlite3.connect(gradebook)) as changed:
        changed.execute("INSERT INTO student (id) VALUES ('zoe')")
        changed.commit()
    with pytest.raises(CourseError, match=r"grades\.db is not what"):
        restore(course, kept)
    _, aside = restore(course, kept, force=True)
    assert students(gradebook) == before and students(aside / "gradebook.db") == {*before, "zoe"}
    assert not (course / "gradebook.db").exists()


def test_a_lost_gradebook_goes_where_the_configuration_in_the_archive_has_it(course, kept_elsewhere, tmp_path):
    mine, gradebook = kept_elsewhere
    kept, before = backup(mine, load_config(mine), tmp_path / "kept.tar.gz").path, students(gradebook)
    shutil.rmtree(gradebook.parent)
    other = empty_course(tmp_path / "other", course)
    restore(other, kept, force=True)
    assert students(gradebook) == before and not (other / "gradebook.db").exists()


def test_a_gradebook_as_a_file_does_not_take_the_place_of_a_database(archive, copy):
    with (copy / "nbgrader_config.py").open("a") as config:
        config.write("\nc.CourseDirectory.db_url = 'postgresql://grader@db.example.org/course'\n")
    before = files(copy)
    with pytest.raises(CourseError, match=r"which a file cannot replace\. Nothing"):
        restore(copy, archive)
    assert files(copy) == before


def test_what_is_there_is_not_replaced_unless_forced_and_then_kept(archive, copy):
    hand_in(find_episode(copy, "1"), "ada", "total = 5 + 1")
    newer, before = (copy / "submitted/ada/01-small/01-small.ipynb").read_bytes(), files(copy)
    with pytest.raises(CourseError, match=r"is not what .* holds.* --force"):
        restore(copy, archive)
    assert files(copy) == before
    (copy / "gradebook.db-journal").write_text("of the old one")
    _, aside = restore(copy, archive, force=True)
    assert (aside / "submitted/ada/01-small/01-small.ipynb").read_bytes() == newer
    assert (aside / "submitted/bob/01-small/elsewhere").is_symlink() and (aside / "gradebook.db").is_file()
    assert (aside / "gradebook.db-journal").is_file() and not (copy / "gradebook.db-journal").exists()
    assert newer != (copy / "submitted/ada/01-small/01-small.ipynb").read_bytes()


def test_putting_back_what_is_there_already_changes_nothing_and_the_log_goes_on(archive, copy):
    (copy / "submitted" / "bob" / "01-small" / "elsewhere").unlink()
    before = files(copy)
    log = (copy / "logs" / "autograder.jsonl").read_bytes()
    assert restore(copy, archive)[1] is None and not (copy / backing.ASIDE).exists()
    after = files(copy)
    for each in (before, after):
        del each["gradebook.db"], each["logs/autograder.jsonl"]
    assert before == after
    assert (copy / "logs" / "autograder.jsonl").read_bytes().startswith(log)


def test_a_restore_that_fails_on_the_way_puts_everything_back(archive, copy, monkeypatch):
    before, rename = files(copy), Path.rename

    def failing(self, target):
        if self.name == "feedback" or (self.name == "course" and ".restore-" in str(self)):
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="Input/output"):
        restore(copy, archive, force=True)
    assert files(copy) == before
