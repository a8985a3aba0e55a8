"""What is kept of the bank's runs, the probabilities that follow, and the document made of both."""

from __future__ import annotations

import dataclasses
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from small_course import SMALL_EPISODE

from autograder import bank, fidelity
from autograder.bank import Equivalent, Row
from autograder.build import build
from autograder.course import find_episode
from autograder.errors import CourseError
from autograder.fidelity import Kept, Trained, false_fail, false_pass, power_of_ten, render
from autograder.images import CourseImages
from autograder.ledger import Ledger
from helpers import checks

N, NEEDED = 500, 129


# --- probabilities ---------------------------------------------------------------------------------------------------


def test_a_model_at_chance_passes_as_often_as_the_binomial_tail_says():
    assert false_pass(N, NEEDED, 0.2) == pytest.approx(sum(stats.binom.pmf(range(NEEDED, N + 1), N, 0.2)))
    assert false_pass(N, NEEDED, 0.2) < fidelity.MOST_FALSE_PASSES < false_pass(N, NEEDED - 1, 0.2)


def test_a_model_that_answers_alike_where_images_look_alike_passes_more_often():
    rng = np.random.default_rng(2)
    size = 1 / 0.01 - 1
    drawn = rng.binomial(N, rng.beta(0.2 * size, 0.8 * size, size=200_000)) >= NEEDED
    assert false_pass(N, NEEDED, 0.2, 0.01) == pytest.approx(drawn.mean(), rel=0.05)
    assert false_pass(N, 160, 0.2, fidelity.CORRELATION) < fidelity.MOST_FALSE_PASSES


def test_trainings_that_do_not_differ_more_than_luck_fail_as_often_as_the_binomial_says():
    assert false_fail([[200] * 50], N, NEEDED) == pytest.approx(stats.binom.cdf(NEEDED - 1, N, 0.4))


def test_the_probability_is_that_of_the_distribution_with_the_variance_measured():
    rng = np.random.default_rng(4)
    right = rng.binomial(N, rng.beta(40, 60, size=4000))
    expected = stats.betabinom.cdf(NEEDED - 1, N, 40, 60)
    assert expected < false_fail([right], N, NEEDED) < 1.5 * expected, "cautious, but with so many trainings not much"


def test_few_trainings_give_a_cautious_answer_and_one_gives_none():
    few, many = [170, 200, 230], [170, 200, 230] * 20
    assert false_fail([few], N, NEEDED) > 10 * false_fail([many], N, NEEDED)
    assert false_fail([[200]], N, NEEDED) is None is false_fail([[200], [210]], N, NEEDED)


def test_answers_of_different_quality_each_count_by_themselves_and_the_poorest_decides():
    rng = np.random.default_rng(5)
    poor, good = rng.normal(210, 8, 40).round(), rng.normal(300, 8, 40).round()
    both = false_fail([poor, good], N, NEEDED)
    assert both == pytest.approx(false_fail([poor], N, NEEDED), rel=0.9)
    assert both < false_fail([[*poor, *good]], N, NEEDED) / 100, "how far answers differ is no luck in training"
    assert false_fail([poor, good], N, NEEDED) > 1000 * false_fail([good, good], N, NEEDED)


@given(st.lists(st.lists(st.integers(0, N), min_size=2, max_size=30), min_size=1, max_size=4), st.integers(1, N - 1))
def test_the_probability_never_falls_when_more_is_needed(right, needed):
    low, high = false_fail(right, N, needed), false_fail(right, N, needed + 1)
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-9


@pytest.mark.parametrize(
    ("value", "text"), [(2.1e-5, "3e-05"), (3e-5, "3e-05"), (9.5e-4, "1e-03"), (0.25, "3e-01"), (1e-300, "< 1e-12")]
)
def test_probabilities_are_rounded_up(value, text):
    assert power_of_ten(value) == text


# --- partial credit --------------------------------------------------------------------------------------------------


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.01, 0.99), st.integers(1, 2000), st.floats(0, 20))
def test_points_never_fall_when_the_accuracy_rises(one, other, baseline, n, most):
    low, high = sorted((one, other))
    points = [checks.points_for(each, baseline=baseline, n=n, most=most) for each in (0, low, high, 1)]
    assert points == sorted(points) and points[0] >= 0 and points[-1] <= most


def judged(accuracy: float | None, score: float, verdict: bank.Verdict = "partial", points: float | None = None):
    from helpers.measurements import Measurement

    measured = () if accuracy is None else (Measurement("m", accuracy, 0.2, 0.258, N),)
    variant = bank.Variant("01-small", "add-up", verdict, f"{accuracy} {points}", "a", points=points)
    return bank.Judged(variant, "partial", score, 4, "", test="t", measurements=measured)


def test_an_answer_that_is_better_and_gets_less_is_found():
    fine = [judged(0.4, 1), judged(0.5, 1), judged(0.6, 4, "right"), judged(0.7, 0, "wrong"), judged(0.3, 0)]
    assert bank.disorder(bank.Outcome(fine)) == []
    assert "(0.600) got 1 points, less than" in bank.disorder(bank.Outcome([judged(0.5, 2), judged(0.6, 1)]))[0]
    alike = [judged(0.5, 3), judged(0.6, 3), judged(0.6, 1), judged(0.7, 2)]
    assert bank.disorder(bank.Outcome(alike)) == bank.disorder(bank.Outcome([alike[at] for at in (0, 2, 1, 3)])) != []
    stated = [judged(None, 2, points=1), judged(None, 1, points=2)]
    assert len(bank.disorder(bank.Outcome(stated))) == 1


# --- what is kept, and the document ----------------------------------------------------------------------------------


def kept() -> Kept:
    return Kept(
        "01-small",
        "abc",
        "def",
        "stand-in",
        {"add-up": Row(3, 0, 5, 0, 20, 19, 4, 3)},
        untried=2,
        mistakes=[],
        unneeded=[("add-up-test", "assert total\n== 6")],
        survivors=[("add-up", "line 3: 1 becomes 2")],
        equivalents=[Equivalent("add-up", f"line 2: '{a} | b' is dropped", "It changes nothing.") for a in "ac"],
        steady={"stand-in": {"answers": 3, "gradings": 9, "full": 9, "seeds": 3}},
        trained=[Trained("add-up", "model", "stand-in", N, NEEDED, 0.2, ((190, 210), (200,)))],
    )


def test_what_is_kept_is_read_back_and_a_damaged_file_is_named(tmp_path):
    kept().write(tmp_path)
    assert fidelity.read_all(tmp_path) == [kept()]
    (tmp_path / fidelity.KEPT / "01-small.json").write_text("{}")
    with pytest.raises(CourseError, match=r"01-small\.json cannot be used.*make bank"):
        fidelity.read_all(tmp_path)


def test_what_was_tried_elsewhere_counts_as_long_as_nothing_has_changed():
    older = kept()
    fewer = dataclasses.replace(
        older, exercises={"add-up": Row(3, 0, 6, 0, 1, 0, 4, 4)}, untried=9, survivors=[], steady={}, trained=[]
    )
    both = fidelity.with_older(fewer, older)
    assert both.exercises == {"add-up": Row(3, 0, 6, 0, 20, 19, 4, 4)}
    assert (both.untried, both.survivors) == (older.untried, older.survivors)
    assert (both.steady, both.trained) == (older.steady, older.trained)
    assert fidelity.with_older(older, fewer) == older, "here more is known"
    assert fewer.steady == {} and fewer.trained == [], "what was given stays as it was"
    for other in ({"fingerprint": "other"}, {"images": "photographs"}):
        seeds_alone = dataclasses.replace(fewer, steady=older.steady, trained=older.trained)
        assert fidelity.with_older(fewer, dataclasses.replace(older, **other)) == seeds_alone
    other = {"fingerprint": "other", "steady_fingerprint": "other"}
    assert fidelity.with_older(fewer, dataclasses.replace(older, **other)) == fewer


def test_the_document_says_all_that_is_kept():
    text = render([kept()])
    for part in (
        "| right answers failed | 0 of 3 |",
        "| wrong answers passed | 0 of 5 |",
        "| checks that some wrong answer needs | 3 of 4 (75.0%) |",
        "| mutants of model solutions caught | 19 of 20 (95.0%) |",
        "2 more mutants have not been tried yet",
        "| add-up | 3 of 3 | 5 of 5 | 19 of 20 (95%) | 3 of 4 (75%) |",
        "- 01-small, add-up: line 3: 1 becomes 2",
        "| add-up | line 2: 'a \\| b' is dropped; line 2: 'c \\| b' is dropped | It changes nothing. |",
        "- add-up-test: `assert total == 6`",
        "| 01-small | stand-in | 3 | 3 | 9 | 9 of 9 |",
        "| add-up, `model` | stand-in | 2 | 3 | 0.400 (0.020) | 0.380 | 0.258 |",
    ):
        assert part in text
    assert "Not measured yet: 02-more." in render([kept()], missing=["02-more"]) and "Not measured" not in text
    assert "changed since" not in text and "(changed since)" in render([kept()], ["01-small"])


def test_the_part_between_the_marks_is_made_anew_and_the_rest_stays():
    made = render([kept()])
    once = fidelity.with_results(f"before\n{fidelity._BEGIN}\nold\n{fidelity._END}\nafter\n", made)
    assert once == f"before\n{made}\nafter\n" == fidelity.with_results(once, made)
    with pytest.raises(CourseError, match="has no part between"):
        fidelity.with_results("text", made)


def test_the_figure_is_the_same_each_time(tmp_path):
    drawn = []
    for name in ("one.svg", "two.svg"):
        fidelity.draw([kept()], tmp_path / name)
        drawn.append((tmp_path / name).read_text())
    assert drawn[0] == drawn[1] and "add-up" in drawn[0]


def test_the_document_of_the_course_is_what_the_kept_results_make(repository):
    found = fidelity.read_all(repository)
    document = (repository / fidelity.DOCUMENT).read_text()
    changed = re.findall(r"^\| \*\*(\S+)\*\* \(changed since\)", document, re.MULTILINE)
    made = render(found, changed, fidelity.unmeasured(repository, found))
    assert fidelity.with_results(document, made) == document, "run `python -m autograder.fidelity`"


# --- from a run to the document --------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("needs_bubblewrap")
def test_runs_are_kept_and_go_on_where_they_stopped_and_a_change_makes_them_stale(
    course_factory, monkeypatch, standin_images, tmp_path
):
    seeded = "```python\nimport random\n\nset_random_seed = random.seed\nset_random_seed(1)\n```\n\n```python"
    root = course_factory({"01-small": SMALL_EPISODE.replace("```python", seeded, 1)})
    episode = find_episode(root, "1")
    build(episode)
    folder = root / bank.FOLDER / "01-small"
    folder.mkdir(parents=True)
    (folder / "add-up.md").write_text(
        "## right: by hand\n\n```python\nnumbers = [1, 2, 3]\ntotal = 1 + 2 + 3\n```\n\n"
        "## wrong: one too many\n\nOff by one.\n\n```python\nnumbers = [1, 2, 3]\ntotal = 7\n```\n"
    )
    images = CourseImages(standin_images / "cifar10_images_small", standin_images / "holdout")
    monkeypatch.setattr(fidelity, "image_sets", lambda root: {"stand-in": images})
    monkeypatch.setenv("CNN_COURSE_DATA", str(standin_images))
    monkeypatch.delenv("CNN_COURSE_HOLDOUT", raising=False)
    monkeypatch.chdir(root)

    ledger = Ledger(root)
    assert fidelity.collect(episode, ledger) is None
    jobs = [*bank.jobs_of(episode), bank.seed_job(episode, 2, images)]
    first = bank.run_all(jobs, ledger=ledger)
    monkeypatch.setattr(bank.Worker, "grade", lambda *args, **options: pytest.fail("nothing is left to run"))
    again = bank.run_all(jobs, ledger=Ledger(root))
    assert [set(outcome.judged) for _, outcome in first] == [set(outcome.judged) for _, outcome in again]

    found = fidelity.collect(episode, Ledger(root))
    assert found is not None and not found.mistakes
    row = found.exercises["add-up"]
    assert (row.right, row.right_failed, row.wrong, row.wrong_passed) == (1, 0, 2, 0)
    assert found.untried == len(bank.mutants_of(episode)) and row.mutants == 0
    assert found.steady == {"stand-in": {"answers": 2, "gradings": 2, "full": 2, "seeds": 1}}

    found.write(root)
    assert fidelity.main(["--check"]) == 0
    held = Ledger(root)
    fidelity.collect(episode, held)
    held.publish("01-small", drop=True)
    published = root / fidelity.KEPT / "01-small.jsonl"
    path = root / ".autograder" / "bank" / "01-small.jsonl"
    path.rename(tmp_path / "elsewhere")
    for job, outcome in bank.run_all(jobs, ledger=Ledger(root)):
        assert len(outcome.judged) == len(job.variants), "known from what was published, on any machine"
    assert {one.full for _, outcome in again for one in outcome.judged if one.variant.verdict == "right"} == {True}
    published.write_text(published.read_text() + '{"key": "of another time", "state": "passed", "score": 1}\n')
    for complete, stays in ((False, True), (True, False)):
        anew = Ledger(root)
        fidelity.collect(episode, anew)
        anew.publish("01-small", drop=complete)
        assert ("of another time" in published.read_text()) == stays
    (tmp_path / "elsewhere").rename(path)
    published.unlink()
    path.write_text(path.read_text()[:-20])  # as a kill leaves it
    known, unknown = Ledger(root).split(jobs[-1], bank.with_seed(bank.read_notebook(episode.source), 2))
    assert len(known) == 1 and len(unknown) == 1
    (folder / ".ipynb_checkpoints").mkdir()  # as JupyterLab makes it
    assert fidelity.main(["--check"]) == 0
    (folder / "add-up.md").write_text((folder / "add-up.md").read_text().replace("total = 7", "total = 8"))
    assert fidelity.main(["--check"]) == 1
    # One answer is new, so the episode is not judged to its end. What was measured with seeds holds all the same.
    (root / fidelity.DOCUMENT).parent.mkdir()
    (root / fidelity.DOCUMENT).write_text(f"{fidelity._BEGIN}{fidelity._END}")
    monkeypatch.setattr(fidelity, "image_sets", lambda root: {fidelity.PHOTOGRAPHS: images})
    seeds = [line for line in path.read_text().splitlines()[:-1] if json.loads(line)["seed"] == 2]
    published.write_text("".join(line + "\n" for line in seeds))
    assert fidelity.main([]) == 0
    kept_keys = {json.loads(line)["key"] for line in published.read_text().splitlines()}
    assert seeds and {json.loads(line)["key"] for line in seeds} <= kept_keys
    assert fidelity.collect(episode, Ledger(root)) is None


def test_a_key_changes_with_the_answer_the_seed_the_images_and_the_checks_that_are_used(
    course_factory, monkeypatch, tmp_path
):
    from autograder import ledger as keeping

    root = course_factory()
    episode = find_episode(root, "1")
    build(episode)
    source = bank.read_notebook(episode.source)
    variant = bank.Variant("01-small", "add-up", "right", "x", "total = 6")

    def key(answer: str = "total = 6", seed: int | None = None, images: str = "a", notebook=source) -> str:
        one = dataclasses.replace(variant, answer=answer)
        return keeping._Keys(bank.Job(episode, (one,), seed=seed), notebook, images).of(one, "add-up-test")

    changed = bank.read_notebook(episode.source)
    next(cell for cell in changed.cells if cell.cell_type == "code").source += "\nmore = 1"
    later = bank.read_notebook(episode.source)
    later.cells[-1].source += "\nafterwards"
    assert key() == key(notebook=later)
    assert len({key(), key("total = 7"), key(seed=1), key(images="b"), key(notebook=changed)}) == 5


def test_only_the_checks_that_cells_use_belong_to_their_fingerprint():
    from autograder.ledger import modules_used

    used = {path.stem for path in modules_used("checks.points_for(0.5)")}
    assert {"tuning", "predictions", "values"} <= used
    assert not {"sharing", "diagrams", "__init__"} & used
    assert modules_used("nothing of it") == ()
    leaky = {path.stem for path in modules_used("helpers.leaky_split(7)")}
    assert {"leaks", "images"} <= leaky, "also what a module imports by way of a package"


def test_what_is_kept_of_the_course_is_plain_data(repository):
    for path in sorted((repository / fidelity.KEPT).glob("*.json")):
        assert set(json.loads(path.read_text())) == set(Kept("", "", "", "", {}).__dict__)
