"""The doctor: each missing part is named with what it costs and how to get it."""

from __future__ import annotations

import shutil
from importlib import metadata

import pytest

from autograder import doctor
from autograder.doctor import Finding, Package


def test_every_finding_that_is_not_fine_says_what_it_costs_and_how_to_get_it(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "jupyter_config_path", lambda: [])
    found = [finding for finding in doctor.examine(sandbox=False) if finding.level != "fine"]
    assert {"bubblewrap", "Chromium", "Formgrader", "alembic, for the gradebook"} <= {finding.part for finding in found}
    assert all(finding.cost and finding.remedy for finding in found)


def test_without_bubblewrap_grading_is_said_to_be_impossible_and_the_package_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    finding = doctor.bubblewrap()
    assert finding.level == "missing"
    assert "refuses to start" in finding.cost and "apt-get install bubblewrap" in finding.remedy


@pytest.mark.parametrize(
    ("extra", "level", "target"),
    [("", "missing", "'.'"), ("grading", "missing", "[grading]"), ("test", "optional", "[test]")],
)
def test_a_missing_package_is_named_with_the_part_of_the_installation_that_brings_it(monkeypatch, extra, level, target):
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    finding = doctor.python_package(Package("something", extra, "nothing works"))
    assert finding.level == level and target in finding.remedy


def test_what_is_installed_here_is_fine():
    assert doctor.python_package(Package("nbgrader", "", "")).level == "fine"
    assert doctor.programs_first().level == "fine"
    assert doctor.formgrader().level == "fine"
    assert doctor.further_packages().level == "fine"


def test_every_package_that_grading_needs_is_looked_for(monkeypatch):
    def version(name: str) -> str:
        if name == "rapidfuzz":
            raise metadata.PackageNotFoundError(name)
        return {"bleach": "1.0"}.get(name, found(name))

    found = metadata.version
    monkeypatch.setattr(metadata, "version", version)
    finding = doctor.further_packages()
    assert finding.level == "missing"
    assert "rapidfuzz: not installed" in finding.found and "bleach: 1.0, expected >=6" in finding.found


def test_another_environments_alembic_is_noticed(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/elsewhere/bin/alembic")
    finding = doctor.programs_first()
    assert finding.level == "missing" and "/elsewhere/bin/alembic" in finding.found


@pytest.mark.usefixtures("needs_bubblewrap")
@pytest.mark.slow
def test_the_sandbox_holds_against_every_attempt_of_the_doctor():
    found = list(doctor.break_outs())
    assert len(found) > 3
    assert [finding for finding in found if finding.level != "fine"] == []


def test_a_sandbox_that_does_not_hold_stands_in_the_way(monkeypatch):
    monkeypatch.setattr("autograder.sandbox.prove_sandbox", lambda: [("read the solutions", False, "read 12 bytes")])
    (finding,) = doctor.break_outs()
    assert finding.level == "missing" and "NOT held: read 12 bytes" in finding.found
    said: list[str] = []
    assert not doctor.summary([finding], said.append)
    assert "stand in the way" in said[0]


def test_parts_that_grading_can_do_without_do_not_stand_in_the_way():
    said: list[str] = []
    assert doctor.summary([Finding("Chromium", "optional", "none", "some tests", "get it")], said.append)
    assert said == ["All that grading needs is here.", "1 part(s) are missing that grading can do without."]


def test_a_folder_that_is_no_course_is_told_apart_from_one_that_is(course_factory, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [finding.level for finding in doctor.course_folder()] == ["missing"]
    monkeypatch.chdir(course_factory())
    found = list(doctor.course_folder())
    assert "1 episode" in found[0].found
    assert found[1].found == "not built: 01-small"
