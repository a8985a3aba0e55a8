"""No attack of the corpus scores a point it did not earn, learns a secret, harms anybody or outlives its limits."""

import ast
import json
import re
import shutil
from pathlib import Path

import pytest
from attacks import baseline, classroom, ours, table
from attacks.corpus import Attack, load, submission

CORPUS = load()
CHEAP = [attack for attack in CORPUS if attack.episode == "01-attacks"]

#: What nbgrader's own command is tried with: one of each way to reach for points.
SAMPLE = (
    "ast-transformer",
    "always-equal",
    "patched-bincount",
    "silent-showtraceback",
    "do-execute-replaced",
    "write-gradebook",
    "skip-execution-tags",
)

FAMILIES = {
    "Dropping or rewriting asserts",
    "Always-equal and lying objects",
    "Patched Keras, NumPy and helpers",
    "Hooks, signals and sudden ends",
    "Forged kernel messages and replies",
    "Reading what is not theirs",
    "Writing where it may not",
    "Reaching the network",
    "Using everything up",
    "Hostile values for the judge",
    "Broken and forged notebooks",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory):
    """Make folders that the unprivileged user of a container may reach."""

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        for part in (folder, *folder.parents):
            if part.is_relative_to(tmp_path_factory.getbasetemp().parent):
                part.chmod(0o755)
        return folder

    return make


@pytest.fixture(scope="module")
def classes(folders, needs_bubblewrap) -> list[ours.Class]:
    """Every attack of the corpus, graded once."""
    return ours.grade_corpus(folders("corpus"), CORPUS)


def test_corpus_covers_every_family_with_at_least_sixty_attacks():
    assert len(CORPUS) >= 60
    assert {attack.family for attack in CORPUS} == FAMILIES


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack.id)
def test_attack_gets_only_what_it_earned_and_learns_nothing(attack: Attack, classes: list[ours.Class]):
    found = next(graded.found[attack.id] for graded in classes if attack.id in graded.found)
    assert not found.unearned, f"{attack.tries} It got points that it did not earn."
    assert not found.lost, f"{attack.tries} It lost points that it had earned."
    assert not found.secrets, f"{attack.tries} It read {found.secrets}."
    assert not found.harm, f"{attack.tries} It {found.harm}."
    assert bool(found.waits) == attack.waits, f"{attack.tries} A person has to look at {found.waits or 'nothing'}."
    # A flood of output meets the limit of output or, on a busy machine, another one first: that of time where it flows
    # slowly, that of memory where the kernel has to hold it. `test_student.py` holds that each is told by its own name.
    others = {"TimeLimitReached", "MemoryLimitReached", "LimitReached", "MemoryError"}
    accepted = {attack.says, *others} if attack.says == "OutputLimitReached" else {attack.says}
    assert any(says in found.text for says in accepted), (
        f"Its notebook does not say {attack.says}: {found.text[-2000:]}"
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_attackers_harm_nobody_and_leave_nothing_behind(classes: list[ours.Class]):
    for graded in classes:
        assert graded.outcome.status in (0, 1), graded.outcome.output[-3000:]
        for student in classroom.HONEST:
            assert graded.marks[student] == classroom.full_marks(graded.episode)
        assert graded.changed == []
        assert graded.outcome.left == []
        assert graded.traces == []
        assert graded.reached == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("attack", ["not-a-notebook", "empty-file"])
def test_notebook_that_cannot_be_graded_is_reported_and_makes_the_run_end_with_1(
    attack: str, classes: list[ours.Class]
):
    graded = next(graded for graded in classes if attack in graded.attacks)
    assert graded.outcome.status == 1
    assert f"{classroom.student(graded.attacks[attack])}: not graded" in graded.outcome.output


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_plain_nbgrader_command_with_this_courses_configuration_grades_alike(folders, needs_bubblewrap):
    attacks = [attack for attack in CORPUS if attack.id in SAMPLE]
    graded = ours.grade(folders("command"), "01-attacks", attacks, with_nbgrader=True)
    for attack in attacks:
        found = graded.found[attack.id]
        assert (found.unearned, found.lost, found.secrets, found.harm) == ({}, {}, [], []), attack.tries
    for student in classroom.HONEST:
        assert graded.marks[student] == classroom.full_marks("01-attacks")
    assert (graded.changed, graded.outcome.left, graded.traces, graded.reached) == ([], [], [], [])


@pytest.mark.slow
def test_plain_nbgrader_without_it_gives_full_marks_to_an_ast_transformer(folders, needs_bubblewrap):
    attack = next(attack for attack in CORPUS if attack.id == "ast-transformer")
    with baseline.plain_course() as course:
        assert baseline.attack_plain_nbgrader(course, attack).points


def test_every_attack_was_tried_against_plain_nbgrader_and_against_this_grader():
    ids = {attack.id for attack in CORPUS}
    assert set(json.loads(baseline.DATA.read_text())["attacks"]) == ids
    assert set(json.loads(ours.DATA.read_text())["attacks"]) == ids
    through_nbgrader = json.loads(ours.THROUGH_NBGRADER.read_text())["attacks"]
    assert set(through_nbgrader) == ids
    assert not [name for name, came in through_nbgrader.items() if came["points"] or came["secrets"] or came["harm"]]


def test_threat_model_shows_the_table_that_was_measured():
    document = table.DOCUMENT.read_text(encoding="utf-8")
    assert table.with_table(document) == document


def test_every_test_that_the_threat_model_names_exists():
    tests = Path(__file__).parent
    document = table.DOCUMENT.read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)\.py(?:::(test_\w+))?`", document))
    assert named
    for module, function in named:
        text = (tests / f"{module}.py").read_text(encoding="utf-8")
        assert not function or f"def {function}(" in text, f"{module}.py has no test {function}"


def test_submission_of_an_attack_holds_its_code_and_no_secret(tmp_path: Path):
    course = classroom.build(tmp_path, 1)
    for attack in CHEAP[:20]:
        written = tmp_path / "written"
        submission(attack, course).write(written)
        text = (written / "01-attacks.ipynb").read_text()
        assert not any(word in text for word in classroom.SECRETS.values())
        shutil.rmtree(written)


@pytest.mark.parametrize("attack", CORPUS, ids=lambda attack: attack.id)
def test_attack_is_python_that_a_cell_can_hold(attack: Attack):
    for name, code in attack.cells.items():
        compile(code.replace("@PORT@", "1"), f"{attack.id}/{name}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert attack.cells or attack.mangle
    assert set(attack.may_lose) <= set(attack.solves)
