"""The grading engine as nbgrader preprocessors, so that every face of nbgrader grades alike.

`JudgedExecute` takes the place of nbgrader's `Execute`, and `RecordMarks` that of `SaveAutoGrades`, in
`Autograde.autograde_preprocessors`. Between the two the verdicts travel in the `resources`.
"""

from __future__ import annotations

from pathlib import Path

from nbconvert.exporters.exporter import ResourcesDict
from nbformat.notebooknode import NotebookNode
from nbgrader import utils as nbgrader_utils
from nbgrader.api import MissingEntry
from nbgrader.preprocessors import NbGraderPreprocessor, SaveAutoGrades
from traitlets import Bool, Dict, Float, Integer

from autograder import runlog
from autograder.engine import GradedNotebook, Verdict
from autograder.judge import JudgeLimits, modules_for
from autograder.limits import Limits
from autograder.student import is_test_cell
from autograder.worker import WORKERS, Worker
from autograder.zygote import imports_for

RESOURCE = "autograder_verdicts"
#: Where a notebook that was executed elsewhere already stands in the resources, as a `GradedNotebook`.
GRADED = "autograder_graded"


class JudgedExecute(NbGraderPreprocessor):
    """Runs a submission in the student kernel and its test cells before the judge."""

    sandbox = Bool(
        True,
        help="Run the student kernel and the judge in sandboxes. If False, a student's code can read and change "
        "whatever the person who grades can.",
    ).tag(config=True)
    attempts = Integer(2, min=1, help="How often to run a notebook in which the grader itself failed.").tag(config=True)
    test_timeout = Float(120, help="Seconds that the judge may spend on one test cell.").tag(config=True)
    collect_timeout = Float(60, help="Seconds that the student kernel may take to hand over values.").tag(config=True)
    judge_memory = Integer(6 << 30, help="Bytes of memory that the judge may use for one notebook.").tag(config=True)
    seed = Integer(32, help="Seed that is set before every test cell.").tag(config=True)
    client_options = Dict(
        help="Further options of `autograder.student.StudentClient`, but for a cell's time, which is "
        "`c.GradingLimits.cell_seconds`."
    ).tag(config=True)

    def limits(self) -> JudgeLimits:
        """The limits of the judge, from this preprocessor's options."""
        return JudgeLimits(cell_seconds=self.test_timeout, memory_bytes=self.judge_memory, seed=self.seed)

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        """Execute and judge `nb`; the verdicts are in `resources[RESOURCE]` afterwards."""
        graded: GradedNotebook | None = resources.pop(GRADED, None)
        if graded is not None:
            resources[RESOURCE] = graded.verdicts
            self._log(graded, resources)
            return graded.notebook, resources
        code = [cell for cell in nb.cells if cell.cell_type == "code"]
        with WORKERS.borrow(
            sandbox=self.sandbox,
            limits=Limits.from_config(self.config),
            judge_limits=self.limits(),
            modules=modules_for(cell.source for cell in code if is_test_cell(cell)),
            imports=imports_for(cell.source for cell in code if not is_test_cell(cell)),
        ) as worker:
            graded = self.grade(nb, resources, worker)
        resources[RESOURCE] = graded.verdicts
        self._log(graded, resources)
        return graded.notebook, resources

    def grade(self, nb: NotebookNode, resources: ResourcesDict, worker: Worker) -> GradedNotebook:
        """Grade one notebook with a worker at hand."""
        path = (resources or {}).get("metadata", {}).get("path")
        return worker.grade(
            nb,
            Path(path) if path and Path(path).is_dir() else None,
            attempts=self.attempts,
            collect_seconds=self.collect_timeout,
            resources=resources,
            parent=self,
            **self.client_options,
        )

    def _log(self, graded: GradedNotebook, resources: ResourcesDict) -> None:
        about = resources.get("nbgrader", {})
        for verdict in graded.grader_failures:
            self.log.error("The grader failed on test `%s`: %s", verdict.grade_id, verdict.message)
            runlog.event(
                "grader failed",
                student=about.get("student"),
                assignment=about.get("assignment"),
                test=verdict.grade_id,
                reason=verdict.message,
            )
        runlog.event(
            "judged",
            student=about.get("student"),
            assignment=about.get("assignment"),
            attempts=graded.attempts,
            seconds=graded.seconds,
            verdicts=[verdict.to_dict() for verdict in graded.verdicts.values()],
        )


class RecordMarks(SaveAutoGrades):
    """Writes marks into the gradebook, points only where there is evidence for them.

    nbgrader gives full marks to a test cell that shows no error. Here the score is what the judge's verdict says. Where
    there is none, or the grader failed, there is no automatic score, and the cell waits for a person.
    """

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        """Record the marks of one notebook."""
        self._reasons: dict[str, str] = {}
        self._solution: NotebookNode | None = None
        return super().preprocess(nb, resources)

    def preprocess_cell(
        self, cell: NotebookNode, resources: ResourcesDict, cell_index: int
    ) -> tuple[NotebookNode, ResourcesDict]:
        """Record score and comment of one cell."""
        cell, resources = super().preprocess_cell(cell, resources, cell_index)
        if nbgrader_utils.is_solution(cell):
            self._solution = cell
        elif is_test_cell(cell):
            reason = self._reasons.get(cell.metadata["nbgrader"]["grade_id"])
            if reason is not None and self._solution is not None:
                self._explain(self._solution, reason)
        return cell, resources

    def _add_score(self, cell: NotebookNode, resources: ResourcesDict) -> None:
        if not is_test_cell(cell):
            super()._add_score(cell, resources)  # written answers and the like, as nbgrader defines
            return
        grade_id = cell.metadata["nbgrader"]["grade_id"]
        grade = self.gradebook.find_grade(grade_id, self.notebook_id, self.assignment_id, self.student_id)
        verdict: Verdict | None = resources.get(RESOURCE, {}).get(grade_id)
        if verdict is None:
            reason = "no judge has seen it"
            self.log.error("There is no evidence for test `%s`; it gets no automatic mark.", grade_id)
        else:
            reason = verdict.message
        if verdict is None or verdict.state == "grader failed":
            grade.auto_score = None
            self._reasons[grade_id] = f"The test `{grade_id}` could not be run and is not marked yet: {reason}."
        else:
            grade.auto_score = verdict.score
        grade.needs_manual_grade = grade.manual_score is not None or grade.auto_score is None
        self.gradebook.db.commit()

    def _explain(self, solution: NotebookNode, reason: str) -> None:
        """Say at the answer above a test why the test has no mark; nbgrader keeps no comments for test cells."""
        try:
            comment = self.gradebook.find_comment(
                solution.metadata["nbgrader"]["grade_id"], self.notebook_id, self.assignment_id, self.student_id
            )
        except MissingEntry:
            return
        comment.auto_comment = "\n\n".join(filter(None, [comment.auto_comment, reason]))
        self.gradebook.db.commit()
