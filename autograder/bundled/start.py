"""Install what the course needs into a folder of its own, once, and open the first notebook: python start.py

Needs Python 3.11, 3.12 or 3.13, and for the first start a network and about 2 GB. The standard library only.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = HERE / ".venv"
READY = ENVIRONMENT / "ready.txt"
# Menus of the instructor's side of nbgrader; students need 'Validate' alone.
HIDDEN = ("formgrader", "course-list", "create-assignment", "assignment-list")


def program(name):
    """A program of the environment."""
    windows = os.name == "nt"
    return ENVIRONMENT / ("Scripts" if windows else "bin") / (name + (".exe" if windows else ""))


def wanted():
    """What the environment has to hold, in short."""
    files = [HERE / "requirements.txt", HERE / "constraints.txt", *sorted((HERE / "helpers").rglob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def install():
    """Make the environment, or bring it up to date; what is there already stays."""
    if READY.is_file() and READY.read_text() == wanted():
        return
    print("Setting up the course in", ENVIRONMENT)
    print("This takes some minutes the first time, and may be stopped and started again.")
    if not program("python").exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = [program("python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "-c", "constraints.txt", "-r", "requirements.txt", "."], cwd=HERE, check=True)
    settings = ENVIRONMENT / "etc" / "jupyter" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text(json.dumps({"disabledExtensions": {f"@jupyter/nbgrader:{name}": True for name in HIDDEN}}))
    READY.write_text(wanted())


def main():
    """Set up what is missing, then open JupyterLab; further arguments are JupyterLab's."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        sys.exit(
            f"This is Python {sys.version.split()[0]}, but the course needs 3.11, 3.12 or 3.13. "
            "Get it from python.org and start again: python3.12 start.py"
        )
    try:
        install()
    except subprocess.CalledProcessError as problem:
        sys.exit(
            f"The installation ended with {problem.returncode}; what went wrong stands above. Is there a network, and "
            "are 2 GB free? Start again: it goes on where it was."
        )
    first = sorted((HERE / "notebooks").glob("*/*.ipynb"))[0]
    lab = [program("python"), "-m", "jupyterlab", str(first.relative_to(HERE)), *sys.argv[1:]]
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(subprocess.run(lab, cwd=HERE, check=False).returncode)


if __name__ == "__main__":
    main()
