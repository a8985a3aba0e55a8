"""Where else the course can run: descriptions for conda and Binder, Docker, dev containers, and a first cell for Colab.

The bundle holds those of a student, the repository those of a grader. `python -m autograder.environments --write` puts
the latter where they belong; a test compares them. Versions stand in `constraints.txt` alone, which all of them use.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell
from traitlets import Unicode
from traitlets.config import Config, Configurable

from autograder.settings import made

Whose = Literal["bundle", "repository"]

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "3.11"
#: What `pip install` is told, beside the constraints.
WANTED: dict[Whose, tuple[str, ...]] = {
    "bundle": ("-r requirements.txt", "."),
    "repository": ("-e .[grading,cluster,docs,test]",),
}
FIRST_CELL_ID = "set-up-elsewhere"
#: Modules that notebooks import and that places such as Colab lack, with the packages that bring them.
LACKING = {"keras_tuner": "keras-tuner"}


class Bundle(Configurable):
    """The student's zip file, as `nbgrader_config.py` sets it up."""

    address = Unicode(
        "",
        help="The public address of the zip file, from which the first cell of a notebook installs `helpers` where "
        "they are missing, as on Colab. Empty: there is none, and the cell says so.",
    ).tag(config=True)


def environment_yml(whose: Whose) -> str:
    """An environment for conda, mamba and Binder."""
    folder = " notebooks" if whose == "bundle" else ""
    lines = [
        f"# conda env create -f environment.yml && conda activate cnn-course && jupyter lab{folder}",
        "name: cnn-course",
        "channels: [conda-forge]",
        "dependencies:",
        f"  - python={PYTHON}",
        "  - pip",
        "  - pip:",
        "      - -c constraints.txt",
        *(f"      - {wanted}" for wanted in WANTED[whose]),
    ]
    return "\n".join(lines) + "\n"


def dockerfile(whose: Whose) -> str:
    """An image that opens JupyterLab, as a user without rights."""
    if whose == "bundle":
        return f"""\
# docker build -t cnn-course .
# docker run --rm -p 127.0.0.1:8888:8888 -v "$PWD/notebooks:/course/notebooks" cnn-course
FROM python:{PYTHON}-slim
WORKDIR /course
COPY requirements.txt constraints.txt pyproject.toml ./
COPY helpers helpers
RUN pip install --no-cache-dir -c constraints.txt -r requirements.txt .
COPY . .
RUN python -c "import pathlib, sys, start; start.configure(pathlib.Path(sys.prefix, 'etc'))"
RUN useradd --create-home student && chown -R student /course
USER student
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser", "notebooks"]
"""
    return f"""\
# docker build -t cnn-course-grader .
# docker run --rm -p 127.0.0.1:8888:8888 cnn-course-grader
# The sandbox makes namespaces, which Docker forbids unless it is told otherwise: see docs/how-to/run-elsewhere.md.
FROM python:{PYTHON}-slim
RUN apt-get update && apt-get install -y --no-install-recommends bubblewrap git make \\
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home grader && install -d -o grader /course
WORKDIR /course
USER grader
RUN python -m venv .venv
COPY --chown=grader . .
RUN .venv/bin/pip install --no-cache-dir -c constraints.txt -e '.[grading,cluster,docs,test]'
ENV PATH=/course/.venv/bin:$PATH
EXPOSE 8888
CMD ["jupyter", "lab", "--ip=0.0.0.0", "--no-browser"]
"""


def devcontainer(whose: Whose) -> str:
    """A dev container, for VS Code and Codespaces."""
    description: dict[str, object] = {
        "name": "cnn-course",
        "build": {"dockerfile": "../Dockerfile", "context": ".."},
        "customizations": {"vscode": {"extensions": ["ms-toolsai.jupyter", "ms-python.python"]}},
    }
    if whose == "repository":
        # The sandbox needs namespaces of its own, and a /proc in them.
        description["runArgs"] = [
            f"--security-opt={part}=unconfined" for part in ("seccomp", "apparmor", "systempaths")
        ]
    return json.dumps(description, indent=2) + "\n"


def dockerignore(whose: Whose) -> str:
    """What doesn't go into an image; in a repository, nothing that students handed in or that is secret."""
    if whose == "bundle":
        return ".venv\n"
    handed_in = ("submitted/*", "autograded/*", "feedback/*", "gradebook.db*", ".autograder", "extensions.csv")
    results = ("backups", "before-restore", "export", "logs", "demo", "build")
    return "\n".join((".venv", "data", *handed_in, *results)) + "\n"


def files(whose: Whose) -> dict[str, str]:
    """The descriptions by their paths."""
    return {
        "environment.yml": environment_yml(whose),
        "Dockerfile": dockerfile(whose),
        ".dockerignore": dockerignore(whose),
        ".devcontainer/devcontainer.json": devcontainer(whose),
    }


def first_cell(config: Config | None = None) -> str:
    """The code that looks for what the course needs and, where it is missing, installs it from the bundle's address."""
    address = made(Bundle, config).address
    packages = {"helpers": address, **{module: _pinned(name) for module, name in LACKING.items()}}
    return f"""\
# Where the course is installed, this cell does nothing. Elsewhere, as on Google Colab, it installs what is missing.
import importlib.util
import subprocess
import sys

needed = {json.dumps(packages)}
missing = {{name: package for name, package in needed.items() if importlib.util.find_spec(name) is None}}
if "helpers" in missing and not missing["helpers"]:
    raise ModuleNotFoundError(
        "This notebook needs the course's folder 'helpers', which is not here. Start the course as START-HERE.html "
        "says, or put the folder 'helpers' from the course's zip file beside this notebook, and run this cell again."
    )
if missing:
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *missing.values()], check=True)
    importlib.invalidate_caches()"""


def _pinned(name: str) -> str:
    try:
        return f"{name}=={version(name)}"
    except PackageNotFoundError:
        return name


def with_first_cell(notebook: NotebookNode, config: Config | None = None) -> NotebookNode:
    """Put that cell before the first code cell of a notebook; the grader takes it for one of the student's own."""
    at = next((at for at, cell in enumerate(notebook.cells) if cell.cell_type == "code"), len(notebook.cells))
    notebook.cells.insert(at, new_code_cell(first_cell(config), id=FIRST_CELL_ID))
    return notebook


def main(arguments: Sequence[str] | None = None) -> int:
    """Say which descriptions of the repository are not up to date, or write them."""
    parser = argparse.ArgumentParser(prog="python -m autograder.environments", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write them")
    write = parser.parse_args(arguments).write
    old = [name for name, text in files("repository").items() if _text(ROOT / name) != text]
    for name in old:
        if write:
            (ROOT / name).parent.mkdir(exist_ok=True)
            (ROOT / name).write_text(files("repository")[name], encoding="utf-8")
        print(f"{name}: {'written' if write else 'out of date'}")
    return int(bool(old) and not write)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
