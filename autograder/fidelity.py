"""How right the grader is: what the bank's runs have shown, kept for each episode, and the document made of it.

    python -m autograder.fidelity            writes bench/fidelity/ from the runs, and docs/fidelity.md from that
    python -m autograder.fidelity --check    says which results are older than the lessons, tests or answers

`make bank` runs all that there is to run, and then this.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import io
import itertools
import json
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy import stats

from autograder import bank
from autograder.bank import Equivalent, Judged, Outcome, Row, Variant
from autograder.build import read_notebook
from autograder.course import Episode, find_episodes, find_root
from autograder.errors import CourseError
from autograder.images import CourseImages
from autograder.ledger import PUBLISHED, Ledger, digest_of_cells
from autograder.whole import write_text_whole, write_whole

KEPT, DOCUMENT, FIGURE = PUBLISHED, "docs/fidelity.md", "docs/fidelity.svg"
PHOTOGRAPHS, STAND_IN = "photographs", "stand-in"
#: What is promised: the probability that a right answer fails, and that a model at chance passes.
MOST_FALSE_FAILS, MOST_FALSE_PASSES = 1e-4, 1e-3
#: Between the answers of models with their first weights, 300 on each set of images: the larger of the two upper 95%
#: confidence limits (standard deviations 10.1 and 10.7 of 500 images; docs/explanation/calibration.md).
CORRELATION = 0.0013
_CONFIDENCE = 0.95
_BEGIN, _END = "<!-- made by `python -m autograder.fidelity` -->", "<!-- until here -->"


# --- probabilities ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """How good the models of right answers were that a check wants to be above chance.

    Attributes:
        exercise: The exercise.
        model: What the check calls the model.
        images: Which images: 'photographs' or 'stand-in'.
        n: How many held-out images.
        needed: How many have to be right.
        chance: The share that guessing gets.
        right: How many were right: for each answer, those of its trainings.
    """

    exercise: str
    model: str
    images: str
    n: int
    needed: int
    chance: float
    right: tuple[tuple[int, ...], ...]

    @property
    def all(self) -> tuple[int, ...]:
        """How many were right, for each training of any answer."""
        return tuple(itertools.chain(*self.right))

    @property
    def mean(self) -> float:
        """The mean accuracy."""
        return float(np.mean(self.all)) / self.n

    @property
    def deviation(self) -> float:
        """The standard deviation of the accuracies; 0 for one training."""
        return float(np.std(self.all, ddof=1)) / self.n if len(self.all) > 1 else 0.0

    @property
    def false_fail(self) -> float | None:
        """See `false_fail`."""
        return false_fail(self.right, self.n, self.needed)

    def false_pass(self, correlation: float = 0.0) -> float:
        """See `false_pass`."""
        return false_pass(self.n, self.needed, self.chance, correlation)


def false_fail(right: Sequence[Sequence[int]], n: int, needed: int) -> float | None:
    """The probability that the poorest of some right answers fails when it is trained once more.

    A model is right on `K` of `n` images. `K` is taken to be beta-binomial: binomial, with a probability that differs
    from training to training. Answers differ in how good they are (more epochs, another network), so each has its own
    mean. Around it, all are taken to scatter alike: the variance is the pooled one within answers, or rather its upper
    95% confidence limit (from the chi-squared distribution), so that few trainings give a cautious answer; and never
    less than the binomial one. The parameters follow from mean and variance by the method of moments.

    Source: N. L. Johnson, A. W. Kemp, S. Kotz, *Univariate Discrete Distributions*, 3rd edition, section 6.9.2 (the
    beta-binomial distribution); G. W. Snedecor, W. G. Cochran, *Statistical Methods*, 8th edition, chapters 5 (the
    confidence limits of a variance) and 12 (the variance within groups).

    Args:
        right: How many images were right: for each answer, those of its trainings, one or more.
        n: How many images there are.
        needed: How many have to be right.

    Returns:
        P(K < needed) for the answer with the lowest mean; None if no answer was trained twice.
    """
    free = sum(len(one) - 1 for one in right)
    if free < 1:
        return None
    squares = sum(float(np.sum((np.asarray(one) - np.mean(one)) ** 2)) for one in right)
    variance = squares / stats.chi2.ppf(1 - _CONFIDENCE, free)
    share = min(max(min(float(np.mean(one)) for one in right) / n, 1e-9), 1 - 1e-9)
    binomial = n * share * (1 - share)
    # variance = binomial * (1 + (n - 1) * correlation)
    correlation = min((variance / binomial - 1) / (n - 1), 1 - 1e-9)
    if correlation <= 1e-9:
        return float(stats.binom.cdf(needed - 1, n, share))
    size = 1 / correlation - 1
    return float(stats.betabinom.cdf(needed - 1, n, share * size, (1 - share) * size))


def false_pass(n: int, needed: int, chance: float, correlation: float = 0.0) -> float:
    """The probability that a model which has learned nothing is right on `needed` of `n` images.

    If each image is guessed by itself, the number is binomial. A model doesn't guess so: it answers alike where images
    look alike. Then the number is beta-binomial with the same mean; its variance is the binomial one, times
    `1 + (n - 1) * correlation`.

    Args:
        n: How many images there are.
        needed: How many have to be right.
        chance: The share that guessing gets.
        correlation: Between the answers to two images, that both are right; 0 if each is guessed by itself.

    Returns:
        The upper tail.
    """
    if not correlation:
        return float(stats.binom.sf(needed - 1, n, chance))
    size = 1 / correlation - 1
    return float(stats.betabinom.sf(needed - 1, n, chance * size, (1 - chance) * size))


# --- what is kept ----------------------------------------------------------------------------------------------------


@dataclass
class Kept:
    """What is known of one episode.

    Attributes:
        episode: Its name.
        fingerprint: Of the cells, the checks and the answers that were judged.
        steady_fingerprint: Of the cells, the checks and the right answers, which are graded with several seeds.
        images: On which images the bank was judged.
        exercises: The table's row of each exercise.
        untried: Mutants of model solutions that were not tried.
        mistakes: What the grader, or a message, got wrong.
        unneeded: Checks that no wrong answer needs, each with its test.
        survivors: Mutants that got full points, each with its exercise.
        equivalents: Those that deserve them, with the reason.
        steady: For each set of images: right answers, gradings of them, gradings with full points, seeds.
        trained: How good the models of right answers were.
    """

    episode: str
    fingerprint: str
    steady_fingerprint: str
    images: str
    exercises: dict[str, Row]
    untried: int = 0
    mistakes: list[str] = field(default_factory=list)
    unneeded: list[tuple[str, str]] = field(default_factory=list)
    survivors: list[tuple[str, str]] = field(default_factory=list)
    equivalents: list[Equivalent] = field(default_factory=list)
    steady: dict[str, dict[str, int]] = field(default_factory=dict)
    trained: list[Trained] = field(default_factory=list)

    def write(self, root: Path) -> None:
        """Keep it, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_text_whole(root / KEPT / f"{self.episode}.json", text + "\n")

    @classmethod
    def read(cls, path: Path) -> Kept:
        """What was kept.

        Raises:
            CourseError: The file is damaged.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            found["exercises"] = {name: Row(**row) for name, row in found["exercises"].items()}
            found["equivalents"] = [Equivalent(**one) for one in found["equivalents"]]
            found["trained"] = [
                Trained(**{**one, "right": tuple(map(tuple, one["right"]))}) for one in found["trained"]
            ]
            for name in ("unneeded", "survivors"):
                found[name] = [(first, second) for first, second in found[name]]
            return cls(**found)
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise CourseError(f"{path} cannot be used: {problem}. Make it again with `make bank`.") from problem


def read_all(root: Path) -> list[Kept]:
    """What is kept of all episodes, in their order."""
    return [Kept.read(path) for path in sorted((root / KEPT).glob("*.json"))]


def fingerprint(episode: Episode) -> str:
    """Changes with each cell of the episode, each check that it uses, and each answer of its bank."""
    digest = _digest_of_code(episode)
    folder = episode.root / bank.FOLDER / episode.name
    for path in sorted([*folder.glob("*.md"), *folder.glob("*.toml")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def steady_fingerprint(episode: Episode) -> str:
    """Changes with each cell of the episode, each check that it uses, and each right answer of its bank."""
    digest = _digest_of_code(episode)
    for variant in bank.read_variants(episode.root, episode.name):
        if variant.verdict == "right":
            digest.update(json.dumps([variant.exercise, variant.answer]).encode())
    return digest.hexdigest()[:16]


def _digest_of_code(episode: Episode) -> hashlib._Hash:
    source = read_notebook(episode.source)
    return hashlib.sha256(digest_of_cells(cell for cell in source.cells if cell.cell_type == "code").encode())


def stale(root: Path, kept: Iterable[Kept]) -> list[str]:
    """The episodes of which something has changed since they were measured, or nothing is kept."""
    known = {one.episode: one.fingerprint for one in kept}
    return [one.name for one in find_episodes(root, "all") if known.get(one.name) != fingerprint(one)]


def unmeasured(root: Path, kept: Iterable[Kept]) -> list[str]:
    """The episodes of which nothing is kept."""
    known = {one.episode for one in kept}
    return [one.name for one in find_episodes(root, "all") if one.name not in known]


def image_sets(root: Path) -> dict[str, CourseImages]:
    """The sets of images to grade on: the photographs where there are any, and the stand-in, drawn if need be."""
    from helpers.data import is_standin
    from helpers.standin import draw_standin

    found = CourseImages.find(root)
    sets = {PHOTOGRAPHS: found} if found.data is not None and not is_standin(found.data) else {}
    drawn = draw_standin(root / ".autograder" / "stand-in").resolve()
    sets[STAND_IN] = CourseImages(drawn, drawn.parent / "holdout")
    return sets


def collect(episode: Episode, ledger: Ledger) -> Kept | None:
    """What the runs have shown of one episode; None if its answers were not all judged since something changed."""
    source = read_notebook(episode.source)
    job = bank.jobs_of(episode, mutants=True)[0]
    judged, unknown = ledger.split(job, source)
    if any(not variant.mutant for variant in unknown):
        return None
    outcome = bank.judged_again(episode, source, Outcome(judged, bank.checks_of(source, bank.exercises(source))))
    equivalents = bank.read_equivalents(episode.root, episode.name)
    sets = image_sets(episode.root)
    steady, trained = _steadiness(episode, ledger, sets)
    return Kept(
        episode.name,
        fingerprint(episode),
        steady_fingerprint(episode),
        next(iter(sets)),
        bank.table(outcome, equivalents),
        len(unknown),
        bank.mistakes(outcome),
        bank.unneeded(outcome),
        [(one.variant.exercise, one.variant.title) for one in bank.survivors(outcome, equivalents)],
        equivalents,
        steady,
        trained,
    )


def with_older(found: Kept, older: Kept) -> Kept:
    """What is known of an episode from here and from earlier, on this machine or another.

    Args:
        found: What the runs here have shown.
        older: What was kept before.

    Returns:
        `found`. If nothing has changed since `older`, then with its mutants where more of them had been tried; if no
        right answer has, then with its seeds for each set of images where they had been graded more often.
    """
    known = dataclasses.replace(found, steady=dict(found.steady), trained=list(found.trained))
    same = found.fingerprint == older.fingerprint and found.images == older.images
    if same and older.untried < found.untried:
        known.untried, known.survivors = older.untried, older.survivors
        known.exercises = {}
        for name, row in found.exercises.items():
            before = older.exercises[name]
            tried = {"mutants": before.mutants, "mutants_caught": before.mutants_caught}
            known.exercises[name] = dataclasses.replace(row, **tried)
    for images, graded in older.steady.items() if found.steady_fingerprint == older.steady_fingerprint else ():
        if graded["gradings"] > known.steady.get(images, {"gradings": 0})["gradings"]:
            known.steady[images] = graded
            known.trained = [one for one in known.trained if one.images != images]
            known.trained += [one for one in older.trained if one.images == images]
    return known


def _steadiness(
    episode: Episode, ledger: Ledger, sets: Mapping[str, CourseImages]
) -> tuple[dict[str, dict[str, int]], list[Trained]]:
    steady: dict[str, dict[str, int]] = {}
    trained: list[Trained] = []
    source = read_notebook(episode.source)
    for name, images in sets.items():
        seen: list[Judged] = []
        seeds = 0
        for seed in ledger.seeds(episode.name):
            known, _ = ledger.split(bank.seed_job(episode, seed, images), bank.with_seed(source, seed))
            seen += known
            seeds += bool(known)
        if not seen:
            continue
        steady[name] = {
            "answers": len({one.variant for one in seen}),
            "gradings": len(seen),
            "full": sum(one.full for one in seen),
            "seeds": seeds,
        }
        trained += _trained(seen, name)
    return steady, trained


def _trained(seen: Iterable[Judged], images: str) -> list[Trained]:
    right: dict[tuple[str, str, int, int, float], dict[Variant, list[int]]] = {}
    for one in seen:
        for measured in one.measurements:
            needed = round(measured.needed * measured.n)
            key = (one.variant.exercise, measured.name, measured.n, needed, measured.chance)
            answers = right.setdefault(key, {})
            answers.setdefault(one.variant, []).append(round(measured.accuracy * measured.n))
    return [
        Trained(exercise, model, images, n, needed, chance, tuple(sorted(tuple(sorted(one)) for one in found.values())))
        for (exercise, model, n, needed, chance), found in right.items()
    ]


# --- the document ----------------------------------------------------------------------------------------------------


def render(kept: Sequence[Kept], changed: Collection[str] = (), missing: Collection[str] = ()) -> str:
    """The part of the document that is made from what is kept.

    Args:
        kept: Of each episode.
        changed: Episodes of which something has changed since.
        missing: Episodes of which nothing is kept.
    """
    notes = [f"Not measured yet: {', '.join(missing)}."] if missing else []
    parts = [
        *notes,
        _scores(kept),
        _table(kept, changed),
        *_mistakes(kept),
        *_mutants(kept),
        *_checks(kept),
        _steady(kept),
    ]
    return "\n\n".join([_BEGIN, *parts, *_probabilities(kept), _END])


def _sum(kept: Iterable[Kept]) -> Row:
    total = Row()
    for one in kept:
        for row in one.exercises.values():
            total.add(row)
    return total


def _percent(part: int, whole: int) -> str:
    return f"{part} of {whole} ({100 * part / whole:.1f}%)" if whole else "none"


def _scores(kept: Sequence[Kept]) -> str:
    total, untried = _sum(kept), sum(one.untried for one in kept)
    equivalents = sum(len(one.equivalents) for one in kept)
    rest = f" {untried} more mutants have not been tried yet." if untried else ""
    return (
        "| | |\n| --- | --- |\n"
        f"| right answers failed | {total.right_failed} of {total.right} |\n"
        f"| wrong answers passed | {total.wrong_passed} of {total.wrong} |\n"
        f"| checks that some wrong answer needs | {_percent(total.assertions_needed, total.assertions)} |\n"
        f"| mutants of model solutions caught | {_percent(total.mutants_caught, total.mutants)} |\n\n"
        f"Beside these mutants, {equivalents} deserve full points and are not counted; they are listed below.{rest}"
    )


def _table(kept: Sequence[Kept], changed: Collection[str]) -> str:
    lines = [
        "| exercise | right passed | wrong caught | mutants caught | checks needed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in kept:
        mark = " (changed since)" if one.episode in changed else ""
        lines.append(f"| **{one.episode}**{mark}, on {one.images} | | | | |")
        lines += [bank.line(name, row) for name, row in one.exercises.items()]
    return "\n".join([*lines, bank.line("**all**", _sum(kept))])


def _mistakes(kept: Sequence[Kept]) -> list[str]:
    lines = [f"- {mistake}" for one in kept for mistake in one.mistakes]
    return ["### Mistakes", "\n".join(lines)] if lines else []


def _mutants(kept: Sequence[Kept]) -> list[str]:
    survived = [f"- {one.episode}, {name}: {change}" for one in kept for name, change in one.survivors]
    changes: dict[tuple[str, str], list[str]] = {}
    for each in itertools.chain(*(one.equivalents for one in kept)):
        changes.setdefault((each.exercise, each.reason), []).append(_cell(each.change))
    same = [f"| {name} | {'; '.join(found)} | {_cell(why)} |" for (name, why), found in changes.items()]
    parts = ["### Mutants that got full points"]
    parts.append("\n".join(survived) if survived else "None, but for the equivalent ones.")
    if same:
        parts.append("\n".join(["| exercise | equivalent mutant | why |", "| --- | --- | --- |", *same]))
    return parts


def _checks(kept: Sequence[Kept]) -> list[str]:
    lines = [f"- {test}: `{' '.join(text.split())}`" for one in kept for test, text in one.unneeded]
    return ["### Checks that no wrong answer needs", "\n".join(lines) if lines else "None."]


def _steady(kept: Sequence[Kept]) -> str:
    lines = [
        "### Steadiness",
        "",
        "| episode | images | right answers | seeds | gradings | with full points |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in kept:
        for images, found in one.steady.items():
            full = f"{found['full']} of {found['gradings']}"
            lines.append(
                f"| {one.episode} | {images} | {found['answers']} | {found['seeds']} | {found['gradings']} | {full} |"
            )
        lines += [f"| {one.episode} | none yet | | | | |"] if not one.steady else []
    return "\n".join(lines)


def _probabilities(kept: Sequence[Kept]) -> list[str]:
    lines = [
        "| exercise, model | images | answers | trainings | accuracy: mean (sd) | lowest | needed "
        "| P(false fail) | P(false pass), guesses | learned nothing |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in kept:
        for each in one.trained:
            fail = each.false_fail
            lines.append(
                f"| {each.exercise}, `{each.model}` | {each.images} | {len(each.right)} | {len(each.all)} "
                f"| {each.mean:.3f} ({each.deviation:.3f}) "
                f"| {min(each.all) / each.n:.3f} | {each.needed / each.n:.3f} "
                f"| {'-' if fail is None else power_of_ten(fail)} "
                f"| {power_of_ten(each.false_pass())} | {power_of_ten(each.false_pass(CORRELATION))} |"
            )
    if len(lines) == 2:
        return ["### Accuracies of right answers", "None measured yet."]
    picture = f"![Accuracies of right answers beside the pass mark]({Path(FIGURE).name})"
    return ["### Accuracies of right answers", "\n".join(lines), picture, _alt_text(kept)]


def _alt_text(kept: Sequence[Kept]) -> str:
    margins = [((min(each.all) - each.needed) / each.n, each) for one in kept for each in one.trained]
    margin, least = min(margins, key=lambda pair: pair[0])
    return (
        "*Alt text: for each model a row of points, one for each training, "
        "and a bar at the accuracy that is needed. "
        f"The smallest distance is that of `{least.model}` in {least.exercise} on {least.images}: {margin:.3f}.*"
    )


def power_of_ten(value: float) -> str:
    """A small probability, rounded up to one digit: '3e-05'."""
    if value < 1e-12:
        return "< 1e-12"
    exponent = math.floor(math.log10(value))
    digit = math.ceil(value / 10**exponent - 1e-9)
    return f"{digit}e{exponent:03d}" if digit < 10 else f"1e{exponent + 1:03d}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def draw(kept: Sequence[Kept], path: Path) -> None:
    """Draw the accuracies beside the pass mark, as SVG; the same figure from the same numbers."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = [each for one in kept for each in one.trained]
    if not rows:
        return
    with matplotlib.rc_context({"svg.hashsalt": "fidelity", "font.size": 8}):
        figure = Figure(figsize=(7, 0.8 + 0.22 * len(rows)), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        for place, each in enumerate(reversed(rows)):
            colour = "#0072b2" if each.images == PHOTOGRAPHS else "#d55e00"
            accuracies = np.array(each.all) / each.n
            axes.plot(accuracies, np.full(len(accuracies), place), "o", color=colour, alpha=0.4, markersize=4)
            axes.plot([each.needed / each.n] * 2, [place - 0.4, place + 0.4], color="black")
        labels = [f"{each.exercise}, {each.model} ({each.images})" for each in reversed(rows)]
        axes.set_yticks(range(len(rows)), labels)
        axes.set(xlabel="accuracy on held-out images; the bar is what is needed", xlim=(0.15, 0.8))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    write_whole(path, drawn.getvalue(), private=False)


def with_results(document: str, made: str) -> str:
    """The document with the part between its marks made anew.

    Raises:
        CourseError: It has no such part.
    """
    before, begin, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise CourseError(f"{DOCUMENT} has no part between '{_BEGIN}' and '{_END}', where the results go.")
    return before + made + after


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep what the runs have shown, write the document, or say what is out of date."""
    parser = argparse.ArgumentParser(prog="python -m autograder.fidelity", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is out of date; exit code 1 if anything is")
    options = parser.parse_args(arguments)
    root = find_root()
    if options.check:
        late = stale(root, read_all(root))
        for name in late:
            print(f"{name}: changed since it was measured. Run `make bank` (or `autograder bank {name} --mutants`).")
        return 1 if late else 0
    ledger = Ledger(root)
    complete = PHOTOGRAPHS in image_sets(root)
    for episode in find_episodes(root, "all"):
        found = collect(episode, ledger)
        ledger.publish(episode.name, drop=complete and found is not None)
        if found is None:
            print(f"{episode.name}: not judged since it changed; what was kept stays. `autograder bank {episode.name}`")
            continue
        before = root / KEPT / f"{episode.name}.json"
        (with_older(found, Kept.read(before)) if before.is_file() else found).write(root)
    kept = read_all(root)
    missing = unmeasured(root, kept)
    changed = [name for name in stale(root, kept) if name not in missing]
    document = root / DOCUMENT
    write_text_whole(document, with_results(document.read_text(encoding="utf-8"), render(kept, changed, missing)))
    draw(kept, root / FIGURE)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CourseError as problem:
        print(problem, file=sys.stderr)
        sys.exit(2)
