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
# The instructor's side of nbgrader, of which students need 'Validate' alone; and the question whether to fetch news.
HIDDEN = (
    *(
        f"@jupyter/nbgrader:{name}"
        for name in ("formgrader", "course-list", "create-assignment", "assignment-list", "menu")
    ),
    "@jupyterlab/apputils-extension:announcements",
)
OFF = ("formgrader", "course_list", "assignment_list")


def program(name):
    """A program of the environment."""
    windows = os.name == "nt"
    return ENVIRONMENT / ("Scripts" if windows else "bin") / (name + (".exe" if windows else ""))


def wanted():
    """What the environment has to hold, in short."""
    files = [HERE / name for name in ("start.py", "requirements.txt", "constraints.txt")]
    files += sorted((HERE / "helpers").rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def has_pip():
    """Whether the environment is there, and whole enough to install into."""
    if not program("python").exists():
        return False
    asked = subprocess.run([program("python"), "-m", "pip", "--version"], capture_output=True, check=False)
    return asked.returncode == 0


def install():
    """Make the environment, or bring it up to date; what is there already stays."""
    if READY.is_file() and READY.read_text() == wanted():
        return
    print("Setting up the course in", ENVIRONMENT)
    print("This takes some minutes the first time, and may be stopped and started again.")
    if not has_pip():
        # As `python -m venv` does it. What was stopped before it had pip is made anew.
        venv.create(ENVIRONMENT, with_pip=True, clear=True, symlinks=os.name != "nt")
    pip = [program("python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    subprocess.run([*pip, "-c", "constraints.txt", "-r", "requirements.txt", "."], cwd=HERE, check=True)
    configure(ENVIRONMENT / "etc")
    READY.write_text(wanted())


def configure(folder):
    """Write the settings of JupyterLab and its kernels for students."""
    settings = {
        "jupyter/labconfig/page_config.json": {"disabledExtensions": dict.fromkeys(HIDDEN, True)},
        "jupyter/jupyter_server_config.json": {
            "ServerApp": {"jpserver_extensions": {f"nbgrader.server_extensions.{name}": False for name in OFF}}
        },
        # Validate gives a cell as long as the grader does, in place of 30 seconds.
        "jupyter/nbgrader_config.json": {"Execute": {"timeout": 300}},
        # Errors that a cell too early brings are followed by a line in plain words.
        "ipython/ipython_kernel_config.json": {"InteractiveShellApp": {"extensions": ["helpers.explain"]}},
    }
    for name, content in settings.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=2))


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
            "are 2 GB free? Debian and Ubuntu also need the package python3-venv. Start again: it goes on where it was."
        )
    first = sorted((HERE / "notebooks").glob("*/*.ipynb"))[0]
    # Given the file alone, JupyterLab would show the folder that it stands in and nothing above it.
    place = [f"--ServerApp.root_dir={HERE}", f"--LabApp.default_url=/lab/tree/{first.relative_to(HERE).as_posix()}"]
    lab = [program("python"), "-m", "jupyterlab", *place, *sys.argv[1:]]
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(subprocess.run(lab, cwd=HERE, check=False).returncode)


if __name__ == "__main__":
    main()
