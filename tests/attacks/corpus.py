"""The corpus as data: every attack of `corpus/*.toml`, and the notebook that hands it in."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell

from . import mangle

HERE = Path(__file__).parent

#: Points of each machine-graded exercise, by episode.
POINTS = {
    "01-attacks": {"start": 2, "mean": 3, "histogram": 3, "steps": 4, "squares": 2, "threshold": 3},
    "02-model": {"double": 3, "saved": 2},
}


@dataclass(frozen=True)
class Attack:
    """One dishonest submission.

    Attributes:
        family: The family's name, as the threat model prints it.
        id: Its name within the corpus; the student's id in the class is made of it.
        tries: What it tries, in a sentence.
        episode: The episode that it is handed in to.
        cells: Code by exercise; `top` and `end` are cells of the student's own.
        solves: Exercises that it also answers rightly.
        earns: Points by exercise that it deserves.
        may_lose: Exercises whose points it may lose by its own doing.
        says: Text that the graded notebook must hold, or ''.
        waits: Whether no mark is right, because a person has to ask the student for another file.
        mangle: Name of a function of `mangle` that changes the submission as a whole, or ''.
    """

    family: str
    id: str
    tries: str
    episode: str = "01-attacks"
    cells: dict[str, str] = field(default_factory=dict)
    solves: tuple[str, ...] = ("histogram",)
    earns: dict[str, float] = field(default_factory=dict)
    may_lose: tuple[str, ...] = ()
    says: str = ""
    waits: bool = False
    mangle: str = ""

    def worth(self) -> dict[str, float]:
        """Points that the submission deserves, for each machine-graded exercise of its episode."""
        points = POINTS[self.episode]
        return {name: self.earns.get(name, points[name] if name in self.solves else 0) for name in points}


def load(folder: Path = HERE / "corpus") -> list[Attack]:
    """Read every attack, family by family; a name that is used twice or an unknown key is an error."""
    attacks: list[Attack] = []
    for path in sorted(folder.glob("*.toml")):
        family = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in family["attack"]:
            episode = entry.get("episode", "01-attacks")
            solves = tuple(entry.pop("solves", ["histogram"] if episode == "01-attacks" else []))
            attacks.append(
                Attack(
                    family=family["family"],
                    solves=solves,
                    may_lose=tuple(entry.pop("may_lose", ())),
                    **entry,
                )
            )
    names = [attack.id for attack in attacks]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise ValueError(f"attack ids used twice: {sorted(doubled)}")
    return attacks


@dataclass
class HandIn:
    """What lies in a student's folder.

    Attributes:
        notebook: The notebook, written out as JSON unless `raw` is given.
        name: Its file name.
        raw: The bytes of the notebook file, where it is no notebook any more.
        files: Further files by name.
        links: Symbolic links by name: their targets.
    """

    notebook: nbformat.NotebookNode
    name: str
    raw: bytes | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the submission into `folder`, which is made."""
        folder.mkdir(parents=True)
        raw = self.raw if self.raw is not None else nbformat.writes(self.notebook).encode()
        (folder / self.name).write_bytes(raw)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        for name, target in self.links.items():
            (folder / name).symlink_to(target)


@dataclass(frozen=True)
class Course:
    """A built course folder, as the corpus needs to know it."""

    root: Path
    home: Path
    port: int

    def notebook(self, kind: str, episode: str) -> nbformat.NotebookNode:
        """The notebook of `episode` in `source` or `release`."""
        return nbformat.read(self.root / kind / episode / f"{episode}.ipynb", as_version=4)

    def fill_in(self, text: str) -> str:
        """Put this course's paths and port in the place of the corpus's words for them."""
        return (
            text.replace("@COURSE@", str(self.root)).replace("@HOME@", str(self.home)).replace("@PORT@", str(self.port))
        )


def grade_id(cell: nbformat.NotebookNode) -> str:
    """The cell's nbgrader id, or ''."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def honest(course: Course, episode: str, mark: str) -> HandIn:
    """A submission with every answer right; `mark` is a text of the student's own that nobody else may see."""
    points = POINTS[episode]
    return _filled(course, episode, {next(iter(points)): f"# {mark}"}, tuple(points))


def submission(attack: Attack, course: Course) -> HandIn:
    """The submission that carries out `attack`."""
    cells = {name: course.fill_in(code) for name, code in attack.cells.items()}
    hand_in = _filled(course, attack.episode, cells, attack.solves)
    if attack.mangle:
        getattr(mangle, attack.mangle)(hand_in, course)
    return hand_in


def _filled(course: Course, episode: str, cells: dict[str, str], solves: tuple[str, ...]) -> HandIn:
    notebook = course.notebook("release", episode)
    answers = {grade_id(cell): cell.source for cell in course.notebook("source", episode).cells if grade_id(cell)}
    unknown = set(cells) - set(answers) - {"top", "end"}
    if unknown:
        raise ValueError(f"no such solution cell in {episode}: {sorted(unknown)}")
    for cell in notebook.cells:
        name = grade_id(cell)
        if cell.cell_type != "code" or not cell.metadata.get("nbgrader", {}).get("solution"):
            continue
        if name in solves:
            # The model answer, without what the course keeps for itself.
            kept = [line for line in answers[name].splitlines() if "###" not in line and "#?" not in line]
            cell.source = "\n".join(line for line in kept if "canary" not in line)
        if name in cells:
            cell.source = cells[name] if name not in solves else f"{cells[name]}\n{cell.source}"
    if "top" in cells:
        notebook.cells.insert(0, new_code_cell(cells["top"]))
    if "end" in cells:
        notebook.cells.append(new_code_cell(cells["end"]))
    return HandIn(notebook, f"{episode}.ipynb")
