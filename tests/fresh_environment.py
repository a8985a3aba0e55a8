"""A fresh virtual environment that holds what a pip install of some requirements would put there, without a network.

`python -m venv` makes it. Then each distribution that the requirements need, directly or through another, is linked
into it file by file, as its RECORD lists them: modules, programs, JupyterLab's extensions, server settings. So what the
requirements do not ask for is not there, and an installation by pip finds everything satisfied. What this leaves
untried is the download, and whether a package index has a wheel for each system.
"""

from __future__ import annotations

import os
import re
import shutil
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

from packaging.requirements import Requirement

#: Headers for programs in C++, a third of all files; nothing in Python reads them.
UNREAD = re.compile(r"tensorflow/include/")
LARGE = 10_000_000


def needed(texts: list[str]) -> dict[str, Distribution]:
    """The distributions that these requirements need, by their names in lower case."""
    found: dict[tuple[str, frozenset[str]], Distribution] = {}
    waiting = [Requirement(text) for text in texts]
    while waiting:
        wanted = waiting.pop()
        key = (re.sub(r"[-_.]+", "-", wanted.name).lower(), frozenset(wanted.extras))
        if key in found:
            continue
        found[key] = distribution(wanted.name)
        for text in found[key].requires or ():
            further = Requirement(text)
            extras = wanted.extras or {""}
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(further)
    return {name: found[name, extras] for name, extras in found}


def make_environment(folder: Path, requirements: Path) -> Path:
    """Make the environment.

    Args:
        folder: Where; it must not exist.
        requirements: A file as pip reads it, with one requirement a line.

    Returns:
        Its Python.
    """
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*")) / "site-packages"
    lines = [line.strip() for line in requirements.read_text(encoding="utf-8").splitlines()]
    made: set[Path] = set()
    for found in needed([line for line in lines if line and not line.startswith("#")]).values():
        if found.name in ("pip", "setuptools"):  # the environment's own
            continue
        for path in found.files or ():
            if not UNREAD.match(path.as_posix()):
                _link(
                    Path(os.path.normpath(found.locate_file(path))), Path(os.path.normpath(site / path)), python, made
                )
    return python


def _link(here: Path, there: Path, python: Path, made: set[Path]) -> None:
    if there.parent not in made:
        there.parent.mkdir(parents=True, exist_ok=True)
        made.add(there.parent)
    if there.exists() or not here.exists():
        return
    if there.parent == python.parent:  # a program names the Python that it runs with in its first line
        _, _, rest = here.read_bytes().partition(b"\n")
        # As pip writes it where the path has a space, which a line of '#!' can't have.
        first = b"#!/bin/sh\n'''exec' \"%b\" \"$0\" \"$@\"\n' '''\n"
        there.write_bytes(first % os.fsencode(python) + rest)
        there.chmod(0o755)
    else:
        try:
            there.hardlink_to(here)
        except OSError:  # on another file system
            # JupyterLab serves no file that leads out of its folders, and what is large is none of those.
            if here.stat().st_size > LARGE:
                there.symlink_to(here)
            else:
                shutil.copy2(here, there)
