"""nbgrader's options for this course, and the names of our own steps in its pipeline."""

from pathlib import Path

from autograder.course import environment_first

c = get_config()  # noqa: F821 - nbgrader defines it

environment_first()  # nbgrader starts `alembic` by name
c.CourseDirectory.root = str(Path(__file__).resolve().parent)
# The name that nbgrader gives a course of its own accord. Where it has none, PostgreSQL refuses the assignments.
c.CourseDirectory.course_id = "default_course"

# Student notebooks: nbgrader's own steps, with our starters in place of its ClearSolutions.
c.ClearSolutions.text_stub = "*Write your answer here.*"
c.GenerateAssignment.preprocessors = [
    "nbgrader.preprocessors.IncludeHeaderFooter",
    "nbgrader.preprocessors.InstantiateTests",
    "nbgrader.preprocessors.LockCells",
    "autograder.starter.LeaveStarter",
    "nbgrader.preprocessors.ClearOutput",
    "nbgrader.preprocessors.CheckCellMetadata",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.SaveCells",
    "nbgrader.preprocessors.ClearHiddenTests",
    "nbgrader.preprocessors.ClearMarkScheme",
    "nbgrader.preprocessors.ComputeChecksums",
    "nbgrader.preprocessors.CheckCellMetadata",
    "autograder.glossary.AddGlossary",
]
c.AddGlossary.path = str(Path(__file__).resolve().parent / "docs" / "reference" / "glossary.md")

# What an instructor's own run left beside a notebook, and what a student's did, must not pass for what a notebook does.
c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "models", "data"]

# Submissions are repaired from the release before nbgrader sees them: see docs/reference/repair.md.
c.Autograde.exporter_class = "autograder.exporter.RepairingExporter"

# Students' cells run in a sandbox, test cells before the judge, and points need its evidence:
# see docs/explanation/judge.md.
c.Autograde.autograde_preprocessors = [
    "autograder.preprocessors.JudgedExecute",
    "nbgrader.preprocessors.IgnorePattern",
    "nbconvert.preprocessors.ClearMetadataPreprocessor",
    "nbgrader.preprocessors.LimitOutput",
    "autograder.preprocessors.RecordMarks",
    "autograder.penalties.AssignPenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]

# What handing in late costs; nothing, unless you say so here: see docs/how-to/late.md.
c.LatePenalty.per_day = ""  # "10%" of the points earned, or "2" points, for each day that has begun
c.LatePenalty.most = ""  # what it never costs more than: "50%", or points
c.LatePenalty.grace_minutes = 0  # minutes after the due date that cost nothing

# Feedback shows what a test says, never the test; nothing that a student put out can act in a browser.
c.GenerateFeedback.preprocessors = [
    "autograder.feedback_cells.ShowMarks",
    "autograder.feedback_cells.HideTests",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
# The same for Formgrader's pages: the templates put a student's Markdown, HTML and metadata into them as they are.
c.HTMLExporter.preprocessors = ["autograder.feedback_cells.CleanOutputs"]
c.HTMLExporter.sanitize_html = True
c.HTMLExporter.filters = {
    "clean_html": "autograder.feedback_cells.clean_html",
    "markdown2html": "autograder.feedback_cells.clean_markdown",
}
