"""Late penalties as nbgrader's own steps, so that every face of nbgrader takes the same points off."""

from __future__ import annotations

from pathlib import Path

from nbconvert.exporters.exporter import ResourcesDict
from nbformat.notebooknode import NotebookNode
from nbgrader.api import Gradebook, SubmittedAssignment, SubmittedNotebook
from nbgrader.plugins import BasePlugin, LateSubmissionPlugin
from nbgrader.preprocessors import AssignLatePenalties
from traitlets import Float, Type, Unicode

from autograder.course import find_root
from autograder.late import Policy, amount, apply, read_extensions


class LatePenalty(LateSubmissionPlugin):
    """Points, or a share of the points earned, for each day that has begun since the due date.

    Without `per_day` it is nbgrader's own plugin.
    """

    per_day = Unicode("", help="What a day costs: '10%' of the points earned, or '2' points.").tag(config=True)
    most = Unicode("", help="What being late never costs more than: '50%' or points.").tag(config=True)
    grace_minutes = Float(0, min=0, help="Minutes after the due date that cost nothing.").tag(config=True)

    @property
    def policy(self) -> Policy:
        """The policy that the options describe."""
        return Policy(amount(self.per_day, "per_day"), amount(self.most, "most"), 60.0 * self.grace_minutes)

    def late_submission_penalty(self, student_id: str, score: float, total_seconds_late: float) -> float | None:
        """Points to take off, or None."""
        if self.policy.per_day is None:
            return super().late_submission_penalty(student_id, score, total_seconds_late)
        return self.policy.penalty(score, total_seconds_late)


class AssignPenalties(AssignLatePenalties):
    """nbgrader's step, which knows `extensions.csv` as well."""

    plugin_class = Type(LatePenalty, klass=BasePlugin, help="Works out the penalty of a notebook.").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: ResourcesDict) -> tuple[NotebookNode, ResourcesDict]:
        """Grant what `extensions.csv` grants, then take points off."""
        about = resources["nbgrader"]
        section = self.config.get("CourseDirectory", {})
        root = Path(section["root"]) if section.get("root") else find_root()
        for one in read_extensions(root):
            if (one.student, one.episode) == (about["student"], about["assignment"]):
                with Gradebook(about["db_url"]) as gradebook:
                    apply(gradebook.find_submission(one.episode, one.student), one)
                    gradebook.db.commit()
        return super().preprocess(nb, resources)

    def penalty_of(self, submission: SubmittedAssignment, notebook: SubmittedNotebook) -> float | None:
        """What `preprocess` would write for a notebook as it is marked now; `init_plugin` comes first."""
        if submission.assignment.duedate is None or submission.total_seconds_late <= 0:
            return None
        penalty = self.plugin_inst.late_submission_penalty(
            submission.student_id, notebook.score, submission.total_seconds_late
        )
        return None if penalty is None else self._check_late_penalty(notebook, penalty)
