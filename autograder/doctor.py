"""Doctor: what is installed, what is missing, what each missing part costs, and how to get it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from jupyter_core.paths import jupyter_config_path
from packaging.requirements import Requirement

from autograder.course import environment_first, episodes, find_root
from autograder.errors import CourseError

Level = Literal["fine", "missing", "optional"]


@dataclass(frozen=True)
class Finding:
    """One thing that the doctor looked at.

    Attributes:
        part: What was looked at.
        level: `fine`; `missing` if grading cannot do without it; `optional` if only something at the edge suffers.
        found: What was found.
        cost: What does not work while it is missing; empty if fine.
        remedy: How to get it; empty if fine.
    """

    part: str
    level: Level
    found: str
    cost: str = ""
    remedy: str = ""


@dataclass(frozen=True)
class Package:
    """A Python package and what it is for."""

    name: str
    extra: str
    purpose: str


PACKAGES = (
    Package("tensorflow", "", "models cannot be trained, by students or by the grader"),
    Package("jupyterlab", "", "notebooks cannot be opened"),
    Package("nbgrader", "", "nothing can be released or graded"),
    Package("matplotlib", "", "figures cannot be drawn"),
    Package("scikit-learn", "", "confusion matrices and scores cannot be computed"),
    Package("pandas", "", "tables of results cannot be made"),
    Package("jupytext", "grading", "lesson texts cannot be built into notebooks"),
    Package("h5py", "grading", "saved models cannot be looked into before they are loaded"),
    Package("psutil", "grading", "leftover processes of a notebook cannot be found"),
    Package("distributed", "cluster", "grading on several machines is not possible; one machine works"),
    Package("pytest", "test", "the test suite cannot run"),
    Package("ruff", "test", "the style of the code cannot be checked"),
    Package("playwright", "test", "pages cannot be tested in a browser"),
)
#: The extras without which nothing is graded; "" stands for what is always installed.
NEEDED = ("", "grading")


def examine(sandbox: bool = True) -> Iterator[Finding]:
    """Look at everything the course needs, one finding after the other.

    Args:
        sandbox: Whether to try to break out of the sandbox, which takes some seconds.
    """
    yield python_version()
    for package in PACKAGES:
        yield python_package(package)
    yield further_packages()
    yield programs_first()
    yield formgrader()
    yield bubblewrap()
    if sandbox:
        yield from break_outs()
    yield browser()
    yield from course_folder()
    yield from images()
    yield memory()


def python_version() -> Finding:
    """The Python that runs this; the installation made sure that it is new enough."""
    return Finding("Python", "fine", f"{'.'.join(map(str, sys.version_info[:3]))}, {sys.executable}")


def python_package(package: Package) -> Finding:
    """One package of this environment."""
    try:
        return Finding(package.name, "fine", metadata.version(package.name))
    except metadata.PackageNotFoundError:
        target = f".[{package.extra}]" if package.extra else "."
        level: Level = "optional" if package.extra in ("cluster", "test") else "missing"
        return Finding(
            package.name, level, "not installed", package.purpose, f"pip install -c constraints.txt -e '{target}'"
        )


def further_packages() -> Finding:
    """Whatever else the course and grading need: each package in a version that will do."""
    named, wrong, count = {package.name for package in PACKAGES}, [], 0
    for requirement in map(Requirement, metadata.requires("cnn-course") or ()):
        if requirement.name in named or not any(_is_for(requirement, extra) for extra in NEEDED):
            continue
        count += 1
        try:
            found = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            wrong.append(f"{requirement.name}: not installed")
        else:
            if not requirement.specifier.contains(found, prereleases=True):
                wrong.append(f"{requirement.name}: {found}, expected {requirement.specifier}")
    name = f"{count} further packages"
    if not wrong:
        return Finding(name, "fine", "all there")
    needed = "what they are for cannot be done, grading perhaps"
    return Finding(name, "missing", "; ".join(wrong), needed, "pip install -c constraints.txt -e '.[grading]'")


def _is_for(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def programs_first() -> Finding:
    """Nbgrader starts `alembic` by name, so it must be this environment's."""
    environment_first()
    program = shutil.which("alembic")
    if program and Path(program).parent == Path(sys.executable).parent:
        return Finding("alembic, for the gradebook", "fine", "this environment's")
    return Finding(
        "alembic, for the gradebook",
        "missing",
        "not found" if not program else f"another one, {program}",
        "a new gradebook cannot be made",
        "pip install -c constraints.txt -e '.[grading]'",
    )


def formgrader() -> Finding:
    """The server extension that shows written answers and marks to the instructor."""
    for folder in jupyter_config_path():
        if any(Path(folder).glob("jupyter_server_config.d/nbgrader*.json")):
            return Finding("Formgrader", "fine", "enabled in Jupyter")
    return Finding(
        "Formgrader",
        "missing",
        "not enabled in Jupyter",
        "written answers can only be graded by `nbgrader` commands",
        "jupyter server extension enable --sys-prefix nbgrader.server_extensions.formgrader",
    )


def bubblewrap() -> Finding:
    """The program that the sandbox is made of."""
    program = shutil.which("bwrap")
    if program:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.strip()
        return Finding("bubblewrap", "fine", version.removeprefix("bubblewrap "))
    return Finding(
        "bubblewrap",
        "missing",
        "no program bwrap",
        "students' code cannot be run safely, so `autograder grade` refuses to start",
        "apt-get install bubblewrap, or dnf install bubblewrap (Linux only)",
    )


def break_outs() -> Iterator[Finding]:
    """Run code in the sandbox that tries to break out of it, and say whether it held."""
    from autograder.sandbox import prove_sandbox

    try:
        attempts = prove_sandbox()
    except CourseError as problem:
        yield Finding("sandbox", "missing", "cannot be made", "`autograder grade` refuses to start", str(problem))
        return
    for attempt, held, detail in attempts:
        if held:
            yield Finding(f"sandbox: {attempt}", "fine", f"held ({detail})" if detail else "held")
        else:
            yield Finding(
                f"sandbox: {attempt}",
                "missing",
                f"NOT held: {detail}",
                "a student's code could do this while it is graded",
                "grade on another machine, and see docs/explanation/security.md",
            )


def browser() -> Finding:
    """A browser for the tests that look at pages."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return Finding("Chromium", "fine", name)
    return Finding(
        "Chromium",
        "optional",
        "not installed",
        "the tests that look at pages in a browser are skipped",
        "apt-get install chromium",
    )


def course_folder() -> Iterator[Finding]:
    """The course that the working directory belongs to."""
    try:
        root = find_root()
    except CourseError as problem:
        yield Finding("course folder", "missing", "none here", "there is nothing to grade", str(problem))
        return
    found = episodes(root)
    yield Finding("course folder", "fine", f"{root} ({len(found)} episode{'' if len(found) == 1 else 's'})")
    unreleased = [episode.name for episode in found if not episode.release.is_file()]
    if unreleased:
        yield Finding(
            "release/",
            "optional",
            f"not built: {', '.join(unreleased)}",
            "students cannot be given these episodes",
            "autograder build",
        )
    if not os.access(root, os.W_OK):
        yield Finding(
            "course folder",
            "missing",
            "cannot be written to",
            "marks cannot be kept",
            f"give yourself the right to write in {root}",
        )


def images() -> Iterator[Finding]:
    """The images that students train on, and those that only the grader sees."""
    from helpers import data

    try:
        folder = data.find_data()
    except Exception as problem:
        yield Finding("images", "missing", str(problem), "no model can be trained", "autograder data")
        return
    if folder is None:
        yield Finding(
            "images",
            "optional",
            "none yet",
            "the stand-in is drawn into data/ when it is first needed",
            "autograder data",
        )
        return
    if data.is_standin(folder):
        yield Finding(
            "images", "optional", f"the stand-in, in {folder}", "students train on drawn images", "autograder data"
        )
    else:
        yield Finding("images", "fine", str(folder))
    try:
        yield Finding("held-out images", "fine", str(data.find_holdout()))
    except Exception as problem:
        yield Finding(
            "held-out images",
            "missing",
            str(problem),
            "hidden tests of accuracy cannot run, so they are reported as 'grader failed'",
            "autograder data, or set CNN_COURSE_HOLDOUT",
        )


def memory() -> Finding:
    """A notebook with TensorFlow and its judge take about 2 GB together."""
    try:
        import psutil
    except ImportError:  # which is a finding of its own
        return Finding("free memory", "optional", "unknown", "psutil tells it", "see psutil above")
    gigabytes = psutil.virtual_memory().available / 2**30
    if gigabytes >= 2:
        return Finding("free memory", "fine", f"{gigabytes:.1f} GB")
    return Finding(
        "free memory",
        "optional",
        f"{gigabytes:.1f} GB",
        "a notebook and its judge take about 2 GB, so grading may be slow or stop",
        "close other programs",
    )


def summary(findings: list[Finding], say: Callable[[str], None]) -> bool:
    """Say in a few lines what to do; whether grading can go ahead."""
    missing = [finding for finding in findings if finding.level == "missing"]
    optional = [finding for finding in findings if finding.level == "optional"]
    if missing:
        say(f"{len(missing)} thing(s) stand in the way of grading; see 'get it' above.")
    else:
        say("All that grading needs is here.")
    if optional:
        say(f"{len(optional)} part(s) are missing that grading can do without.")
    return not missing
