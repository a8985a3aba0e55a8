"""The fifth episode: its solution, other right answers, and the mistakes that a novice makes.

Its cells are run in this process, in a namespace and a folder of their own, which is what a kernel does at a fraction
of its cost. That they also run in a real kernel is shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import matplotlib.pyplot as plt
import nbformat
import pytest
from episode_run import Run, built_notebooks, singulars

from autograder.glossary import LINK
from helpers import checks, hints, memory

NAME = "05-evaluate-cnn"
TESTS = (
    "predict-test-set",
    "labels-by-argmax",
    "accuracy-twice",
    "never-wrong",
    "confusion-matrix",
    "mend-the-shuffle",
    "most-confused",
    "recall-per-class",
    "sure-and-wrong",
    "accuracy-interval",
)
WRITTEN = ("which-mistakes-matter",)


@pytest.fixture(scope="module")
def notebooks(repository, tmp_path_factory) -> tuple[nbformat.NotebookNode, nbformat.NotebookNode]:
    """The instructor's notebook and the student's, built from the lesson text."""
    return built_notebooks(repository, tmp_path_factory.mktemp("course"), NAME)


def exercise_of(cell: nbformat.NotebookNode) -> str:
    """The exercise that a cell belongs to; nothing if it belongs to none."""
    return cell.metadata.get("nbgrader", {}).get("grade_id", "").removesuffix("-test").removesuffix("-probe")


def made_in(code: str) -> set[str]:
    """The names that a cell gives values to."""
    top = [node for part in ast.parse(code).body for node in ast.walk(part) if not isinstance(part, ast.FunctionDef)]
    made = {node.id for node in top if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return made | {part.name for part in ast.parse(code).body if isinstance(part, ast.FunctionDef)}


def run_all(code_cells: list[nbformat.NotebookNode], starters: Mapping[str, str] | None = None) -> Run:
    """Run a whole notebook, test cells included, with the starters of some exercises."""
    outcome = Run()
    for cell in code_cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        code = (starters or {}).get(name, cell.source)
        try:
            exec(compile(code, name or "given", "exec"), outcome.values)
        except Exception as error:
            graded = cell.metadata.get("nbgrader", {}).get("grade")
            (outcome.failed if graded else outcome.broken)[exercise_of(cell) or code[:60]] = error
    plt.close("all")
    return outcome


@pytest.fixture(scope="module")
def code_cells(notebooks) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebooks[0].cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def solved(code_cells, data_folder) -> Run:
    """What the solution leaves behind: one run for all tests, since a model is trained in it."""
    return run_all(code_cells)


@pytest.fixture(scope="module")
def starters(notebooks) -> dict[str, str]:
    return {
        cell.metadata.nbgrader.grade_id: cell.source
        for cell in notebooks[1].cells
        if cell.cell_type == "code" and exercise_of(cell) == cell.metadata.get("nbgrader", {}).get("grade_id")
    }


@pytest.fixture
def answer(solved, code_cells, tmp_path, monkeypatch):
    """Give another answer to one exercise, in the solved notebook. Returns its error, if its test fails, and the run.

    The names that the exercise makes are gone before: what the answer doesn't make is missing.
    """

    def go(exercise: str, code: str) -> SimpleNamespace:
        monkeypatch.chdir(tmp_path)
        own = {cell.metadata.nbgrader.grade_id: cell.source for cell in code_cells if exercise_of(cell) == exercise}
        values: dict[str, Any] = dict(solved.values)
        for name in made_in(own[exercise]):
            values.pop(name, None)
        own[exercise] = code
        error = None
        for name, source in own.items():
            try:
                exec(compile(source, name, "exec"), values)
            except Exception as failure:
                # An answer that stops with an error of its own leaves names without a value, and its test says so.
                if isinstance(failure, checks.CheckError) or name != exercise:
                    error = failure
        plt.close("all")
        return SimpleNamespace(error=error, values=values)

    return go


# --- the episode as a whole ---


def test_the_episode_has_eleven_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    graded = {
        c.metadata.nbgrader.grade_id: c for c in notebooks[0].cells if c.metadata.get("nbgrader", {}).get("grade")
    }
    assert set(graded) == {f"{name}-test" for name in TESTS} | set(WRITTEN)
    assert sum(cell.metadata.nbgrader.points for cell in graded.values()) == 20
    assert {*TESTS, *WRITTEN} <= set(hints.all_hints())
    text = "\n".join(cell.source for cell in notebooks[0].cells).replace("\n", " ")
    for name, cell in graded.items():
        exercise, points = name.removesuffix("-test"), cell.metadata.nbgrader.points
        told = f'*({points} point{"s" if points > 1 else ""}. Hints: `helpers.hint("{exercise}")`)*'
        assert told in text, told


def test_the_written_answer_has_a_model_answer_and_a_rubric_that_adds_up(notebooks):
    for cell in notebooks[0].cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") in WRITTEN:
            assert "**Model answer.**" in cell.source
            points = [int(n) for n in re.findall(r"^- (\d+) points?:", cell.source, re.MULTILINE)]
            assert sum(points) == cell.metadata.nbgrader.points


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    text = "\n".join(cell.source for cell in notebooks[1].cells)
    for secret in (
        "SOLUTION",
        "HIDDEN",
        "Model answer",
        "Rubric",
        "#? ",
        "holdout(",
        "evaluated(",
        "argmax(probabilities",
        "argmax(test",
        "predicted] += 1",
        'suspect = "C"',
        'suspect == "C"',
        'trusted = "model_intro"',
        "matrix[number, :]",
        "flatnonzero(predicted",
        "1 - p) / n)\n",
    ):
        assert secret not in text, secret


def test_every_given_figure_is_followed_by_its_alternative_text(notebooks):
    draws = re.compile(r"plt\.show\(|helpers\.(plot_|show_images)")
    cells = notebooks[0].cells
    drawn = 0
    for number, cell in enumerate(cells):
        if cell.cell_type == "code" and draws.search(cell.source) and "nbgrader" not in cell.metadata:
            drawn += 1
            assert cells[number + 1].source.startswith("*Alt text: "), cell.source
    assert drawn == 9


def test_every_word_in_italics_is_in_the_glossary(notebooks, repository):
    glossary = re.sub(
        r"\W+", " ", (repository / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8").lower()
    )
    for cell in notebooks[0].cells:
        if cell.cell_type != "markdown" or "licensed under" in cell.source or "nbgrader" in cell.metadata:
            continue
        for word in LINK.findall(cell.source):
            assert re.sub(r"\W+", " ", word.lower()) in glossary, word
        for word in re.findall(r"(?<![*\[])\*([A-Za-z][A-Za-z ]+)\*(?!\*)", cell.source):
            if word not in EMPHASIS:
                assert any(one in glossary for one in singulars(word.lower())), word


# Italics that stress a word and introduce none.
EMPHASIS = {"starter", "test cell", "one", "place", "how often", "how", "was", "said", "for cats", "by heart"}
EMPHASIS |= {"that", "why", "exactly", "p", "n", "row", "column", "dog", "cat", "never wrong"}


def test_the_solution_passes(solved):
    assert not solved.failed
    assert not solved.broken


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(solved, code_cells, starters):
    assert set(starters) == set(TESTS)
    trains = next(cell for cell in code_cells if ".fit(" in cell.source)
    outcome = Run()
    # The given cells that load and train have run once; nothing else of the solution is there.
    given = {"helpers", "keras", "plt", "np", "class_names", "train_ds", "val_ds", "test_ds", "model_intro"}
    outcome.values.update({name: solved.values[name] for name in given})
    for cell in code_cells[code_cells.index(trains) + 1 :]:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        try:
            exec(compile(starters.get(name, cell.source), name or "given", "exec"), outcome.values)
        except Exception as error:
            graded = cell.metadata.get("nbgrader", {}).get("grade")
            (outcome.failed if graded else outcome.broken)[exercise_of(cell) or cell.source[:60]] = error
    plt.close("all")
    assert set(outcome.failed) == set(TESTS)
    for name, error in outcome.failed.items():
        assert isinstance(error, checks.NotAttempted), (name, error)
        assert str(error).startswith("not attempted yet: ")
    assert not outcome.broken


def test_the_riddle_is_at_chance_beside_a_good_accuracy(solved):
    """What the lesson says of the code on the web: its matrix is at chance, and so it is at every pass."""
    values = solved.values
    wrong = checks.counted(values["web_labels"], values["web_probabilities"].argmax(axis=1), 5)
    assert wrong.trace() / 250 < 0.32
    assert values["results"]["accuracy"] > 0.4
    assert checks.counted(values["mended_labels"], values["mended_predicted"], 5).trace() / 250 > 0.4


# --- right answers ---

PREDICT = """
test_probabilities = model_intro.predict(test_ds, verbose=0)
test_labels = np.concatenate([labels for images, labels in test_ds])
"""
ARGMAX = """
def most_probable_classes(probabilities):
    return np.argmax(probabilities, axis=1)
test_predicted = most_probable_classes(test_probabilities)
"""
ACCURACY = """
from sklearn.metrics import accuracy_score
def accuracy(true_labels, predicted_labels):
    return np.sum(true_labels == predicted_labels) / len(true_labels)
accuracy_by_hand = accuracy(test_labels, test_predicted)
accuracy_sklearn = accuracy_score(test_labels, test_predicted)
"""
NEVER = """
intro_train = model_intro.evaluate(train_ds, return_dict=True, verbose=0)["accuracy"]
intro_test = model_intro.evaluate(test_ds, return_dict=True, verbose=0)["accuracy"]
colleague_train = model_colleague.evaluate(train_ds, return_dict=True, verbose=0)["accuracy"]
colleague_test = model_colleague.evaluate(test_ds, return_dict=True, verbose=0)["accuracy"]
trusted = "model_intro"
"""
COUNT = """
def count_confusions(true_labels, predicted_labels, num_classes):
    matrix = np.zeros((num_classes, num_classes), dtype=int)
    for true, predicted in zip(true_labels, predicted_labels):
        matrix[true, predicted] += 1
    return matrix
test_matrix = count_confusions(test_labels, test_predicted, 5)
"""
DRAW = """
fig_matrix, ax = plt.subplots()
ax.imshow(test_matrix, cmap="cividis")
ax.set_xticks(range(5), class_names)
ax.set_yticks(range(5), class_names)
ax.set_xlabel("predicted class")
ax.set_ylabel("true class")
"""
MEND = """
suspect = "C"
def labels_and_predictions(model, dataset):
    all_labels, all_predicted = [], []
    for some_images, some_labels in dataset:
        all_labels.extend(some_labels.numpy())
        all_predicted.extend(most_probable_classes(model.predict(some_images, verbose=0)))
    return np.array(all_labels), np.array(all_predicted)
mended_labels, mended_predicted = labels_and_predictions(model_intro, web_ds)
"""
CONFUSED = """
def most_confused(matrix, class_names):
    largest = -1
    for true in range(len(class_names)):
        for predicted in range(len(class_names)):
            if true != predicted and matrix[true, predicted] > largest:
                largest = matrix[true, predicted]
                pair = class_names[true], class_names[predicted]
    return pair
worst_pair = most_confused(test_matrix, class_names)
"""
RECALL = """
def recall_per_class(matrix):
    recalls = []
    for number in range(len(matrix)):
        recalls.append(matrix[number, number] / matrix[number, :].sum())
    return recalls
test_recalls = recall_per_class(test_matrix)
weakest = class_names[np.argmin(test_recalls)]
"""
SURE = """
test_confidence = np.max(test_probabilities, axis=1)
sure_count = np.sum(test_confidence >= 0.8)
sure_wrong = np.sum((test_confidence >= 0.8) & (test_predicted != test_labels))
def surest_mistakes(probabilities, true_labels):
    predicted = most_probable_classes(probabilities)
    confidence = np.max(probabilities, axis=1)
    wrong = np.flatnonzero(predicted != true_labels)
    return sorted(wrong, key=lambda place: -confidence[place])
"""
INTERVAL = """
def accuracy_interval(correct, n):
    p = correct / n
    half = 1.96 * np.sqrt(p * (1 - p) / n)
    return p - half, p + half
test_interval = accuracy_interval(np.sum(test_labels == test_predicted), 250)
"""


@pytest.mark.parametrize(
    ("exercise", "code"),
    [
        (
            "predict-test-set",
            "test_probabilities, test_labels = [], []\nfor images, labels in test_ds:\n"
            "    test_probabilities += model_intro(images).numpy().tolist()\n    test_labels += list(labels.numpy())",
        ),
        (
            "predict-test-set",
            "import tensorflow as tf\n"
            "test_probabilities = tf.constant(model_intro.predict(test_ds, verbose=0))\n"
            "test_labels = tf.concat([y for _, y in test_ds], axis=0)",
        ),
        (
            "labels-by-argmax",
            ARGMAX.replace("np.argmax(probabilities, axis=1)", "[int(r.argmax()) for r in probabilities]"),
        ),
        (
            "labels-by-argmax",
            "import tensorflow as tf\nmost_probable_classes = lambda table: tf.argmax(table, axis=-1)\n"
            "test_predicted = most_probable_classes(test_probabilities)",
        ),
        (
            "accuracy-twice",
            ACCURACY.replace(
                "np.sum(true_labels == predicted_labels) / len(true_labels)", "np.mean(true_labels == predicted_labels)"
            ),
        ),
        (
            "accuracy-twice",
            ACCURACY.replace(
                "return np.sum(true_labels == predicted_labels) / len(true_labels)",
                "return sum(1 for t, p in zip(true_labels, predicted_labels) if t == p) / len(predicted_labels)",
            ),
        ),
        (
            "never-wrong",
            """
def measure(model, dataset):
    pairs = list(dataset)
    answers = model.predict(np.concatenate([images for images, labels in pairs]), verbose=0).argmax(axis=1)
    return np.mean(answers == np.concatenate([labels for images, labels in pairs]))
intro_train, intro_test = measure(model_intro, train_ds), measure(model_intro, test_ds)
colleague_train, colleague_test = measure(model_colleague, train_ds), measure(model_colleague, test_ds)
trusted = "model_intro"
""",
        ),
        (
            "confusion-matrix",
            """
import sklearn.metrics as m
def count_confusions(true_labels, predicted_labels, num_classes):
    return m.confusion_matrix(true_labels, predicted_labels, labels=range(num_classes))
test_matrix = count_confusions(test_labels, test_predicted, 5)
fig_matrix = m.ConfusionMatrixDisplay(test_matrix, display_labels=class_names).plot().figure_
""",
        ),
        (
            "confusion-matrix",
            COUNT + "fig_matrix = helpers.plot_confusion_matrix(test_labels, test_predicted, class_names)",
        ),
        (
            "confusion-matrix",
            COUNT.replace("dtype=int", "")
            + DRAW.replace("imshow", "matshow")
            .replace("true class", "Actual")
            .replace("predicted class", "What the model PREDICTS"),
        ),
        (
            "mend-the-shuffle",
            """
suspect = "C"
def labels_and_predictions(model, dataset):
    pairs = list(dataset)
    images = np.concatenate([images for images, labels in pairs])
    labels = np.concatenate([labels for images, labels in pairs])
    return labels, model.predict(images, verbose=0).argmax(axis=1)
mended_labels, mended_predicted = labels_and_predictions(model_intro, web_ds)
""",
        ),
        (
            "mend-the-shuffle",
            """
suspect = "C"
def labels_and_predictions(model, dataset):
    kept = dataset.cache()
    return [int(y) for _, labels in kept for y in labels], np.argmax(model.predict(kept, verbose=0), axis=1).tolist()
mended_labels, mended_predicted = labels_and_predictions(model_intro, web_ds)
""",
        ),
        (
            "mend-the-shuffle",
            MEND.replace("some_labels.numpy()", "some_labels").replace(
                "model.predict(some_images, verbose=0)", "model(some_images)"
            ),
        ),
        (
            "most-confused",
            """
def most_confused(matrix, class_names):
    mistakes = matrix - np.diag(np.diag(matrix))
    return [class_names[place] for place in np.unravel_index(mistakes.argmax(), mistakes.shape)]
worst_pair = most_confused(test_matrix, class_names)
""",
        ),
        (
            "recall-per-class",
            """
from sklearn.metrics import recall_score
recall_per_class = lambda matrix: np.diag(matrix) / np.sum(matrix, axis=1)
test_recalls = recall_score(test_labels, test_predicted, average=None)
weakest = min(zip(test_recalls, class_names))[1]
""",
        ),
        (
            "sure-and-wrong",
            """
sure = [(row.max(), row.argmax() != label) for row, label in zip(test_probabilities, test_labels) if row.max() >= 0.8]
sure_count, sure_wrong = len(sure), sum(wrong for _, wrong in sure)
def surest_mistakes(probabilities, true_labels):
    order = np.argsort(-probabilities.max(axis=1), kind="stable")
    return order[(probabilities.argmax(axis=1) != true_labels)[order]]
""",
        ),
        (
            "accuracy-interval",
            INTERVAL.replace("1.96", "1.959964").replace("np.sqrt(p * (1 - p) / n)", "(p * (1 - p) / n) ** 0.5"),
        ),
        (
            "accuracy-interval",
            """
from scipy.stats import binomtest
accuracy_interval = lambda correct, n: list(binomtest(correct, n).proportion_ci(0.95, method="wilson"))
test_interval = accuracy_interval(int(np.sum(test_labels == test_predicted)), 250)
""",
        ),
    ],
)
def test_a_right_answer_in_another_way_passes(answer, exercise, code):
    assert answer(exercise, code).error is None


def test_either_choice_passes_when_both_models_do_equally_well(answer, solved, monkeypatch):
    monkeypatch.setattr(memory, "colleagues_model", lambda images: solved.values["model_intro"])
    code = NEVER.replace("model_colleague.", "model_intro.")
    assert answer("never-wrong", code).error is None
    assert answer("never-wrong", code.replace('"model_intro"', '"model_colleague"')).error is None


# --- wrong answers: which test fails, and what it says ---

WRONG = [
    ("predict-test-set", PREDICT.replace("predict(test_ds", "predict(val_ds"), "expected what model_intro predicts"),
    (
        "predict-test-set",
        PREDICT.replace("predict(test_ds", "predict(train_ds"),
        "shape (250, 5), found shape (1000, 5)",
    ),
    ("predict-test-set", PREDICT.replace("in test_ds]", "in val_ds.take(7)]"), "expected 250 class numbers"),
    ("predict-test-set", PREDICT.replace("in test_ds]", "in web_ds]"), "test_labels: expected the labels of test_ds"),
    ("predict-test-set", PREDICT.replace("in test_ds]", "in train_ds][:8]"), "expected 250 class numbers"),
    ("predict-test-set", PREDICT.replace("[labels for", "[images for"), "one class number for each image"),
    ("predict-test-set", PREDICT.replace("model_intro.", "model_colleague."), "expected what model_intro predicts"),
    (
        "predict-test-set",
        PREDICT + "test_probabilities = test_probabilities[::-1]",
        "expected what model_intro predicts",
    ),
    (
        "predict-test-set",
        PREDICT + "test_probabilities = test_probabilities.round(2)",
        "probabilities that add up to 1",
    ),
    ("predict-test-set", PREDICT + "test_labels = ...", "not attempted yet: test_labels"),
    ("predict-test-set", PREDICT + "test_labels = test_probabilities", "are these probabilities?"),
    ("predict-test-set", PREDICT + "test_probabilities = model_intro.predict", "was it called"),
    ("labels-by-argmax", ARGMAX.replace(", axis=1", ""), "expected one class number for each image"),
    ("labels-by-argmax", ARGMAX.replace("axis=1", "axis=0"), "expected 2 class numbers, one for each image, found 3"),
    ("labels-by-argmax", ARGMAX.replace("np.argmax", "np.max"), "expected whole numbers"),
    ("labels-by-argmax", ARGMAX.replace("np.argmax", "np.argmin"), "most_probable_classes(table): expected 1 and 0"),
    ("labels-by-argmax", ARGMAX.replace("np.argmax(probabilities", "np.argmax(test_probabilities"), "found 250"),
    ("labels-by-argmax", ARGMAX.replace("np.argmax(probabilities", "np.argmax(table"), "a table of 6 rows"),
    ("labels-by-argmax", ARGMAX.replace("return ", ""), "is there a 'return' at its end"),
    ("labels-by-argmax", ARGMAX + "test_predicted = test_labels", "the class with the highest probability"),
    ("labels-by-argmax", ARGMAX + "test_predicted = val_labels", "the class with the highest probability"),
    ("labels-by-argmax", ARGMAX + "test_predicted = most_probable_classes(val_probabilities)", "highest probability"),
    ("labels-by-argmax", ARGMAX + "test_predicted = [class_names[i] for i in test_predicted]", "an array of numbers"),
    ("accuracy-twice", ACCURACY.replace("/ len(true_labels)", "/ 250"), "the four answers from above, 0.5"),
    ("accuracy-twice", ACCURACY.replace(" / len(true_labels)", ""), "an accuracy is a share"),
    ("accuracy-twice", ACCURACY.replace("return ", "return 100 * "), "an accuracy is a share, not per cent"),
    ("accuracy-twice", ACCURACY.replace("==", "!="), "expected the same as accuracy_by_hand, to the last digit"),
    ("accuracy-twice", ACCURACY.replace("len(true_labels)", "(len(true_labels) + 1)"), "expected the accuracy of"),
    (
        "accuracy-twice",
        ACCURACY.replace("(test_labels, test_predicted)\n", "(test_labels, test_labels)\n", 1),
        "accuracy_sklearn",
    ),
    (
        "accuracy-twice",
        ACCURACY.replace("(test_labels, test_predicted)", "(test_labels, test_labels)"),
        "of model_intro on the test",
    ),
    (
        "accuracy-twice",
        ACCURACY.replace("np.sum(true_labels == predicted_labels) / len(true_labels)", "0.5"),
        "expected the same as accuracy_by_hand",
    ),
    (
        "accuracy-twice",
        ACCURACY.replace(
            "np.sum(true_labels == predicted_labels) / len(true_labels)",
            "np.round(np.mean(true_labels == predicted_labels), 2)",
        ),
        "accuracy_by_hand, to the last digit",
    ),
    (
        "accuracy-twice",
        ACCURACY + "accuracy_by_hand = accuracy_sklearn = accuracy(val_labels[::-1], test_predicted)",
        "model_intro on the",
    ),
    ("accuracy-twice", ACCURACY + "accuracy_sklearn = accuracy_score", "was it called"),
    (
        "never-wrong",
        NEVER.replace("evaluate(train_ds", "evaluate(val_ds", 1),
        "intro_train: expected the accuracy of model_intro on train_ds",
    ),
    (
        "never-wrong",
        NEVER.replace("evaluate(test_ds", "evaluate(train_ds"),
        "intro_test: expected the accuracy of model_intro on test_ds",
    ),
    ("never-wrong", NEVER.replace("model_colleague.", "model_intro."), "colleague_train: expected"),
    (
        "never-wrong",
        NEVER.replace('"model_intro"', '"model_colleague"'),
        "expected the model that does better on images that neither has seen",
    ),
    ("never-wrong", NEVER.replace('"model_intro"', '"mine"'), "expected one of 'model_intro' and 'model_colleague'"),
    ("never-wrong", NEVER.replace('"model_intro"', "model_intro"), "trusted: expected text"),
    ("never-wrong", NEVER.replace('["accuracy"]', '["loss"]', 1), "intro_train"),
    ("never-wrong", NEVER.replace('["accuracy"]', "", 1), "intro_train: expected a number, found dict"),
    (
        "never-wrong",
        "intro_train, intro_test, colleague_train, colleague_test = 0.87, 0.57, 1.0, 0.4\ntrusted = 'model_intro'",
        "intro_",
    ),
    ("never-wrong", NEVER + "intro_test = round(intro_test, 1)", "intro_test: expected the accuracy"),
    (
        "confusion-matrix",
        COUNT.replace("[true, predicted]", "[predicted, true]") + DRAW,
        "found rows and columns swapped",
    ),
    (
        "confusion-matrix",
        COUNT.replace("+= 1", "= 1") + DRAW,
        "count_confusions(the twelve visitors): expected 12 images in all",
    ),
    (
        "confusion-matrix",
        COUNT.replace("+= 1", "+= 1 / len(true_labels)").replace("dtype=int", "") + DRAW,
        "shares instead of counts",
    ),
    ("confusion-matrix", COUNT.replace("zeros", "ones") + DRAW, "expected 12 images in all"),
    (
        "confusion-matrix",
        COUNT.replace("(num_classes, num_classes)", "(5, 5)") + DRAW,
        "count_confusions: expected a function that can be called, found IndexError",
    ),
    (
        "confusion-matrix",
        COUNT.replace("        matrix[", "        if true == predicted:\n            matrix[") + DRAW,
        "images in all",
    ),
    (
        "confusion-matrix",
        COUNT.replace("    return matrix\n", "") + DRAW.replace("test_matrix", "np.eye(5)"),
        "is there a 'return' at its end",
    ),
    (
        "confusion-matrix",
        COUNT.replace("(true_labels, predicted_labels)", "(test_labels, test_predicted)") + DRAW,
        "count_confusions",
    ),
    (
        "confusion-matrix",
        COUNT + "test_matrix = count_confusions(val_labels, most_probable_classes(val_probabilities), 5)" + DRAW,
        "test_matrix: expected to find each image",
    ),
    (
        "confusion-matrix",
        COUNT + DRAW.replace("imshow(test_matrix", "imshow(test_matrix.T"),
        "are rows and columns swapped?",
    ),
    ("confusion-matrix", COUNT + DRAW.replace("imshow(test_matrix", "imshow(test_matrix / 50"), "one of other numbers"),
    (
        "confusion-matrix",
        COUNT + DRAW.replace('ax.imshow(test_matrix, cmap="cividis")', "ax.plot([1])"),
        "expected an image",
    ),
    (
        "confusion-matrix",
        COUNT + DRAW.replace("ax.set_xticks(range(5), class_names)", ""),
        "names of the classes along the x axis",
    ),
    (
        "confusion-matrix",
        COUNT + DRAW.replace("ax.set_yticks(range(5), class_names)", "ax.set_yticks(range(5), class_names[::-1])"),
        "along the y axis",
    ),
    (
        "confusion-matrix",
        COUNT + DRAW.replace('ax.set_ylabel("true class")', ""),
        "expected a label for the y axis, found none",
    ),
    (
        "confusion-matrix",
        COUNT
        + DRAW.replace("predicted", "x").replace("true class", "predicted class").replace("x class", "true class"),
        "found them swapped",
    ),
    ("confusion-matrix", COUNT + DRAW.replace("predicted class", "class"), "that says 'predicted'"),
    ("confusion-matrix", COUNT + DRAW + "fig_matrix = plt.figure()", "nothing is drawn in fig_matrix"),
    ("confusion-matrix", COUNT + "fig_matrix = ...", "not attempted yet: fig_matrix"),
    ("mend-the-shuffle", MEND.replace('"C"', '"A"'), "found an innocent one"),
    ("mend-the-shuffle", MEND.replace('"C"', '"D"'), "look at the labels of the first batch of web_ds, twice"),
    ("mend-the-shuffle", MEND.replace('"C"', '"c"'), "suspect: expected one of 'A', 'B', 'C' and 'D'"),
    ("mend-the-shuffle", MEND.replace('suspect = "C"', "suspect = ..."), "not attempted yet: suspect"),
    (
        "mend-the-shuffle",
        'suspect = "C"\nlabels_and_predictions = ...\nmended_labels, mended_predicted = test_labels, test_predicted',
        "not attempted yet: labels_and_predictions",
    ),
    (
        "mend-the-shuffle",
        """
suspect = "C"
def labels_and_predictions(model, dataset):
    labels = np.concatenate([labels for images, labels in dataset])
    return labels, model.predict(dataset, verbose=0).argmax(axis=1)
mended_labels, mended_predicted = labels_and_predictions(model_intro, web_ds)
""",
        "do both come from one and the same pass?",
    ),
    (
        "mend-the-shuffle",
        'suspect = "C"\nlabels_and_predictions = lambda model, dataset: (test_labels, test_predicted)\n'
        "mended_labels, mended_predicted = labels_and_predictions(model_intro, web_ds)",
        "labels_and_predictions, the labels: expected 90 class numbers",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("model.predict", "model_intro.predict"),
        "labels_and_predictions: expected a function that can be called",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("in dataset:", "in web_ds:"),
        "labels_and_predictions: expected a function that can be called",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("most_probable_classes(model.predict(some_images, verbose=0))", "some_labels.numpy()"),
        "found other predictions",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("some_labels.numpy()", "most_probable_classes(model.predict(some_images, verbose=0))"),
        "found other labels",
    ),
    (
        "mend-the-shuffle",
        MEND.replace(
            "most_probable_classes(model.predict(some_images, verbose=0))", "model.predict(some_images, verbose=0)"
        ),
        "are these probabilities?",
    ),
    (
        "mend-the-shuffle",
        MEND.replace(
            "return np.array(all_labels), np.array(all_predicted)",
            "return np.array(all_predicted), np.array(all_labels)",
        ),
        "found other labels",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("return np.array(all_labels), ", "return "),
        "name 'mended_labels' is not defined",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("    return np.array(all_labels)", "        return np.array(all_labels)"),
        "expected 90 class numbers, one for each image, found 16",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("(model_intro, web_ds)", "(model_intro, val_ds)"),
        "mended_labels and mended_predicted: expected",
    ),
    ("mend-the-shuffle", MEND.replace("(model_intro, web_ds)", "(model_colleague, web_ds)"), "found other predictions"),
    (
        "mend-the-shuffle",
        MEND + "mended_labels = np.sort(mended_labels)",
        "found labels and predictions in different orders",
    ),
    (
        "mend-the-shuffle",
        MEND.replace("append", "").replace("all_labels.extend(some_labels.numpy())", "..."),
        "expected 90 class numbers",
    ),
    ("most-confused", CONFUSED.replace("true != predicted and ", ""), "twice; the diagonal holds no mistakes"),
    (
        "most-confused",
        CONFUSED.replace("class_names[true], class_names[predicted]", "class_names[predicted], class_names[true]"),
        "the true class first?",
    ),
    (
        "most-confused",
        CONFUSED.replace("class_names[true], class_names[predicted]", "true, predicted"),
        "expected text, found int",
    ),
    ("most-confused", CONFUSED.replace("                largest = matrix[true, predicted]\n", ""), "most_confused"),
    (
        "most-confused",
        CONFUSED.replace("> largest", "< largest").replace("largest = -1", "largest = 9**9"),
        "found one that is rarer",
    ),
    (
        "most-confused",
        CONFUSED.replace("    return pair", "    return largest"),
        "expected two names, the true class and the predicted one",
    ),
    (
        "most-confused",
        CONFUSED.replace("range(len(class_names))", "range(5)"),
        "expected a function that can be called, found IndexError",
    ),
    ("most-confused", CONFUSED.replace("matrix[true, predicted]", "test_matrix[true, predicted]"), "most_confused"),
    (
        "most-confused",
        "most_confused = lambda matrix, class_names: ('dog', 'cat')\nworst_pair = 'dog', 'cat'",
        "most_confused(a matrix of 5 classes)",
    ),
    (
        "most-confused",
        CONFUSED + "worst_pair = worst_pair[::-1]",
        "worst_pair: expected the mistake that happens most often",
    ),
    ("most-confused", CONFUSED + "worst_pair = 'dog taken for cat'", "worst_pair: expected two names"),
    ("most-confused", CONFUSED + "worst_pair = 'Dog', 'Cat'", "worst_pair: expected one of"),
    ("most-confused", CONFUSED.replace("    return pair\n", ""), "is there a 'return' at its end"),
    ("recall-per-class", RECALL.replace("matrix[number, :]", "matrix[:, number]"), "the cat: expected 0.6"),
    ("recall-per-class", RECALL.replace("matrix[number, :].sum()", "matrix.sum()"), "the cat: expected 0.6"),
    ("recall-per-class", RECALL.replace("matrix[number, :].sum()", "50"), "the cat: expected 0.6"),
    (
        "recall-per-class",
        RECALL.replace("matrix[number, number] /", "100 * matrix[number, number] /"),
        "the cat: expected 0.6",
    ),
    ("recall-per-class", RECALL.replace("range(len(matrix))", "range(5)"), "found IndexError"),
    (
        "recall-per-class",
        RECALL.replace("    return recalls", "    return np.mean(recalls)"),
        "expected shape (3,), found ()",
    ),
    (
        "recall-per-class",
        RECALL.replace("        recalls.append(matrix[number, number]", "        recalls.append(max(matrix[number])"),
        "recall_per_class(a matrix of 5 classes)",
    ),
    (
        "recall-per-class",
        RECALL.replace(
            "matrix[number, :].sum())",
            "matrix[number, :].sum() if len(matrix) == 3 else matrix[number, number] / matrix[:, number].sum())",
        ),
        "found that of each predicted class",
    ),
    ("recall-per-class", RECALL.replace("argmin", "argmax"), "weakest: expected the class with the lowest recall"),
    (
        "recall-per-class",
        RECALL.replace("class_names[np.argmin(test_recalls)]", "np.argmin(test_recalls)"),
        "weakest: expected text",
    ),
    (
        "recall-per-class",
        RECALL + "test_recalls = recall_per_class(test_matrix.T)",
        "found that of each predicted class, its column",
    ),
    ("recall-per-class", RECALL + "test_recalls = np.diag(test_matrix) / 250", "found shares of all images"),
    ("recall-per-class", RECALL + "test_recalls = np.diag(test_matrix)", "are they counts, or per cent?"),
    ("recall-per-class", RECALL + "test_recalls = np.round(np.array(test_recalls), 1) - 0.1", "test_recalls: expected"),
    (
        "sure-and-wrong",
        SURE.replace("sure_count = np.sum(test_confidence >= 0.8)", "sure_count = np.sum(test_probabilities >= 0.4)"),
        "sure_count: expected",
    ),
    (
        "sure-and-wrong",
        SURE.replace("sure_count = np.sum(test_confidence >= 0.8)", "sure_count = np.sum(test_confidence >= 0.7)"),
        "sure_count: expected how many",
    ),
    (
        "sure-and-wrong",
        SURE.replace(
            "sure_wrong = np.sum((test_confidence >= 0.8) & (test_predicted != test_labels))",
            "sure_wrong = np.sum(test_predicted != test_labels)",
        ),
        "sure_wrong: expected a whole number from 0 to",
    ),
    (
        "sure-and-wrong",
        SURE.replace("test_predicted != test_labels", "test_predicted == test_labels"),
        "sure_wrong: expected how many of those answers are wrong",
    ),
    ("sure-and-wrong", SURE + "sure_wrong = sure_wrong / sure_count", "sure_wrong: expected a whole number"),
    ("sure-and-wrong", SURE + "sure_count = sure_wrong = 0", "sure_count: expected how many"),
    ("sure-and-wrong", SURE.replace("-confidence[place]", "confidence[place]"), "found the least sure first"),
    (
        "sure-and-wrong",
        SURE.replace("return sorted(wrong, key=lambda place: -confidence[place])", "return wrong"),
        "found the least sure first",
    ),
    (
        "sure-and-wrong",
        SURE.replace("predicted != true_labels)", "predicted == true_labels)"),
        "the place of a right one",
    ),
    (
        "sure-and-wrong",
        SURE.replace("    return sorted(", "    return class_names or sorted("),
        "expected an array of numbers",
    ),
    (
        "sure-and-wrong",
        SURE.replace("-confidence[place])", "-confidence[place])[:1]"),
        "expected the places of all 2 wrong answers, found 1",
    ),
    (
        "sure-and-wrong",
        SURE.replace("return sorted(wrong, key=lambda place: -confidence[place])", "return predicted != true_labels"),
        "places in the table, whole numbers",
    ),
    (
        "sure-and-wrong",
        SURE.replace("wrong = np.flatnonzero(predicted != true_labels)", "wrong = ..."),
        "found TypeError",
    ),
    (
        "sure-and-wrong",
        SURE.replace("np.max(probabilities, axis=1)", "np.max(test_probabilities, axis=1)"),
        "surest_mistakes(",
    ),
    (
        "sure-and-wrong",
        SURE.replace("np.max(probabilities, axis=1)", "np.max(probabilities, axis=0)"),
        "found IndexError",
    ),
    ("accuracy-interval", INTERVAL.replace("1.96 * ", ""), "too narrow"),
    ("accuracy-interval", INTERVAL.replace("1.96", "2.58"), "too wide"),
    ("accuracy-interval", INTERVAL.replace("np.sqrt(p * (1 - p) / n)", "np.sqrt(p * (1 - p)) / n"), "too narrow"),
    ("accuracy-interval", INTERVAL.replace("np.sqrt(p * (1 - p) / n)", "p * (1 - p) / n"), "too narrow"),
    ("accuracy-interval", INTERVAL.replace("/ n)", "/ 250)"), "accuracy_interval(52, 80): expected"),
    ("accuracy-interval", INTERVAL.replace("p = correct / n", "p = 0.5"), "the accuracy isn't in the middle of"),
    ("accuracy-interval", INTERVAL.replace("p - half, p + half", "p + half, p - half"), "found the upper one first"),
    ("accuracy-interval", INTERVAL.replace("p - half, p + half", "half"), "expected shape (2,)"),
    (
        "accuracy-interval",
        INTERVAL.replace("p - half, p + half", "100 * (p - half), 100 * (p + half)"),
        "as shares from 0 to 1",
    ),
    ("accuracy-interval", INTERVAL.replace("(p * (1 - p) / n)", "(p * 1 - p / n)"), "as shares from 0 to 1"),
    (
        "accuracy-interval",
        INTERVAL + "test_interval = accuracy_interval(125, 250)",
        "test_interval: expected the lower and the upper end",
    ),
    ("accuracy-interval", INTERVAL + "test_interval = accuracy_interval(accuracy_by_hand, 250)", "test_interval"),
    (
        "accuracy-interval",
        "accuracy_interval = lambda correct, n: (0.438, 0.562)\ntest_interval = 0.51, 0.63",
        "accuracy_interval(52, 80)",
    ),
    ("accuracy-interval", INTERVAL.replace("return ", ""), "is there a 'return' at its end"),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("exercise", "code", "says"), WRONG)
def test_wrong_answers_fail_and_say_why(answer, exercise, code, says):
    outcome = answer(exercise, code)
    assert says in str(outcome.error)


def test_a_model_that_was_not_trained_earns_no_point_for_its_predictions(answer, solved):
    code = f"model_intro = helpers.create_model_intro()\n{PREDICT}"
    assert "an accuracy that luck can't explain" in str(answer("predict-test-set", code).error)


def test_an_answer_copied_from_the_text_does_not_pass_for_another_model(answer):
    """The numbers that the text shows are those of its own run; here the student's model is another one."""
    copied = "\nmodel_intro = model_colleague\ntest_recalls = [0.70, 0.58, 0.44, 0.36, 0.78]\nweakest = 'dog'\n"
    assert "test_recalls: expected" in str(answer("recall-per-class", RECALL + copied).error)
