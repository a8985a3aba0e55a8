"""A course folder with one small episode that nbgrader grades with its own execution and our exporter."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbgrader.api import Gradebook
from nbgrader.converters import Autograde, GenerateAssignment
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from small_episode import NAME, source_notebook, to_bytes
from traitlets.config import Config

from autograder.exporter import RepairingExporter
from autograder.repair import NOTES_ID

FULL = {"sum-up-test": 2.0, "double-it-test": 3.0, "largest-test": 2.0}


@dataclass
class Course:
    """A course folder that nbgrader grades with its own execution and our exporter."""

    root: Path
    records: list[logging.LogRecord] = field(default_factory=list)

    def __post_init__(self):
        self.config = Config()
        self.config.CourseDirectory.root = str(self.root)
        self.config.CourseDirectory.assignment_id = NAME
        self.config.Autograde.exporter_class = RepairingExporter
        self.config.Execute.kernel_name = "python3"
        (self.root / "nbgrader_config.py").write_text("")
        self.add_source(NAME, source_notebook())

    def add_source(self, name, notebook):
        path = self.root / "source" / name / f"{name}.ipynb"
        path.parent.mkdir(parents=True)
        nbformat.write(notebook, path)
        config = copy.deepcopy(self.config)
        config.CourseDirectory.assignment_id = name
        config.LeaveStarter.text_stub = "YOUR ANSWER HERE"
        config.GenerateAssignment.preprocessors = [
            f"nbgrader.preprocessors.{step}" if "." not in step else step
            for step in ("LockCells", "autograder.starter.LeaveStarter", "ClearOutput", "ComputeChecksums", "SaveCells",
                         "ClearHiddenTests", "ComputeChecksums", "CheckCellMetadata")
        ]  # fmt: skip
        GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).start()

    def hand_in(self, student, files) -> Path:
        folder = self.root / "submitted" / student / NAME
        folder.mkdir(parents=True)
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else to_bytes(content))
        return folder

    def grade(self, student="*"):
        """Run nbgrader's Autograde; gives back its error's text, if it ends with one."""
        config = copy.deepcopy(self.config)
        config.CourseDirectory.student_id = student
        log = logging.getLogger(f"exporter-test-{id(self)}")
        log.handlers = [handler := logging.Handler()]
        handler.emit = self.records.append
        log.propagate = False
        converter = Autograde(coursedir=CourseDirectory(config=config, log=log), config=config, log=log)
        try:
            converter.start()
        except NbGraderException as problem:
            return str(problem)
        return None

    def graded(self, student) -> nbformat.NotebookNode:
        return nbformat.read(self.root / "autograded" / student / NAME / f"{NAME}.ipynb", as_version=4)

    def scores(self, student) -> dict[str, float]:
        with Gradebook(f"sqlite:///{self.root}/gradebook.db") as gradebook:
            notebook = gradebook.find_submission_notebook(NAME, NAME, student)
            return {grade.name: grade.auto_score for grade in notebook.grades if grade.name in FULL}

    def notes(self, student) -> str:
        top = self.graded(student).cells[0]
        return top.source if top.id == NOTES_ID else ""

    def events(self):
        log = self.root / "logs" / "autograder.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
