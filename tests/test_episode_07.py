"""The seventh episode: its solution, other right answers, and the mistakes that a novice makes.

Its cells are run in this process, in a namespace and a folder of their own, which is what a kernel does at a fraction
of its cost. That they also run in a real kernel is shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_figures_have_texts,
    assert_not_attempted,
    assert_release_is_clean,
    assert_rubrics_add_up,
    exercise_of,
    given_cells,
    is_graded,
    marked_cells,
    notebooks_of,
    singulars,
    starters_of,
)
from PIL import Image

import helpers
from helpers import checks
from helpers.checks import sharing

NAME = "07-share-cnn"
TESTS = (
    "save-reload",
    "same-predictions",
    "classify-image",
    "find-mistakes",
    "sure-of-anything",
    "model-card",
    "final-model",
    "final-card",
)
WRITTEN = ("pictures-of-anything",)
NAMES = ["airplane", "bird", "cat", "dog", "truck"]

#: How the given cells begin that an exercise stands on, and the exercises that it does.
GIVEN = {"find-mistakes": ["ways = "], "model-card": ["def recall"], "final-card": ["def recall"]}
BEFORE = {"same-predictions": ["save-reload"], "final-card": ["final-model"]}


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Any]:
    """What the notebook's first cells leave behind, the same for every run: imports, images, the trained model."""
    return {}


@pytest.fixture
def run(notebooks, data_folder, trained_once, tmp_path, monkeypatch):
    """Run the exercises that some tests need, with other code in some solution cells."""
    source, release = notebooks
    starters, given, marked = starters_of(release), given_cells(source), marked_cells(source)

    def go(answers: Mapping[str, str] | None = None, tests=TESTS) -> Run:
        answers = dict(answers or {})
        assert set(answers) <= set(TESTS), "an answer for an exercise that isn't there"
        monkeypatch.chdir(tmp_path)
        for folder in ("models", "pictures"):
            (tmp_path / folder).mkdir(exist_ok=True)
        if not trained_once:
            for code in given[:4]:
                exec(code, trained_once)
            trained_once["saved"] = trained_once["model_intro"].get_weights()
        namespace = dict(trained_once)
        namespace["model_intro"].set_weights(namespace["saved"])
        needed = set(tests) | {before for name in tests for before in BEFORE.get(name, ())}
        outcome = Run(values=namespace)
        for name, cell in marked.items():
            exercise = exercise_of(cell)
            if exercise not in needed or (is_graded(cell) and exercise not in tests):
                continue
            if name == exercise:
                for start in GIVEN.get(name, []):
                    exec(next(code for code in given if code.startswith(start)), namespace)
            code = answers.get(name)
            outcome.execute(cell, starters[name] if code == "STARTER" else code)
        return outcome

    return go


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 9
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answer_has_a_model_answer_and_a_rubric_that_adds_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(
        notebooks[1],
        "above_chance",
        "card_is_true",
        '"a": "colours swapped"',
        "highest >= at_least",
        'convert("RGB").resize',
        "np.abs(first_answers",
        '["wrong shape", "wrong range"]',
    )


def test_every_given_figure_is_followed_by_its_alternative_text(notebooks):
    assert_figures_have_texts(notebooks[0], count=5)


def test_every_word_that_links_to_the_glossary_is_in_it(notebooks, repository):
    glossary = re.sub(
        r"\W+", " ", (repository / "docs" / "reference" / "glossary.md").read_text(encoding="utf-8").lower()
    )
    text = "\n".join(cell.source for cell in notebooks[1].cells if cell.cell_type == "markdown")
    words = set(re.findall(r"\[\*([^*]+)\*\]\(#Glossary\)", text)) - {"Glossary"}
    assert {"alpha channel", "model card", "transfer learning"} <= words
    for word in words:
        assert any(one in glossary for one in singulars(word.lower())), word


def test_nothing_is_fetched_at_run_time(notebooks):
    code = "\n".join(cell.source for cell in notebooks[0].cells if cell.cell_type == "code")
    assert not re.search(r"https?://|imagenet|keras\.applications|get_file|urllib|requests", code)


def test_the_untouched_release_fails_every_machine_graded_test_as_not_attempted_yet(run):
    assert_not_attempted(run({name: "STARTER" for name in TESTS}), TESTS)


# --- right answers ---


@pytest.mark.slow
def test_the_solution_passes(run):
    outcome = run()
    assert not outcome.failed
    assert not outcome.broken


RIGHT = {
    "other ways to save, load and compare": {
        "save-reload": """
keras.saving.save_model(model_intro, os.path.join("models", "model_intro.keras"))
model_again = tf.keras.models.load_model("models/model_intro.keras")
""",
        "same-predictions": """
def largest_difference(first, second, images):
    largest = 0.0
    for row, other in zip(np.array(first(images)), np.array(second(images))):
        for a, b in zip(row, other):
            largest = max(largest, abs(float(a) - float(b)))
    return largest
difference = tf.constant(largest_difference(model_again, model_intro, test_images))
""",
    },
    "a picture by Keras": {
        "classify-image": """
def classify_image(path):
    picture = keras.utils.load_img(path, target_size=(32, 32))
    shares = model_intro.predict(keras.utils.img_to_array(picture)[None], verbose=0)[0]
    return [class_names[int(shares.argmax())], float(shares.max())]
""",
    },
    "a picture by TensorFlow, and a model from a file": {
        "classify-image": """
model_intro.save("models/model_intro.keras")
def classify_image(path):
    model = keras.saving.load_model("models/model_intro.keras")
    picture = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
    shares = model(tf.image.resize(picture, (32, 32))[tf.newaxis])[0]
    return class_names[tf.argmax(shares)], tf.reduce_max(shares)
""",
    },
    "a see-through picture on white, and a fine filter": {
        "classify-image": """
def classify_image(path):
    layer = Image.open(path).convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    pixels = np.asarray(picture.resize((32, 32), Image.Resampling.LANCZOS)).reshape(1, 32, 32, 3)
    shares = model_intro.predict(pixels.astype("float32"), verbose=0).ravel().tolist()
    return class_names[shares.index(max(shares))], max(shares)
""",
    },
    "a guard with other conditions": {
        "find-mistakes": """
diagnosis = dict(zip("abcde", ["colours swapped", "cut, not resized", "fine", "rescaled twice", "on its side"]))
def check_batch(batch):
    batch = np.asarray(batch)
    if len(batch.shape) == 4 and tuple(batch.shape)[1:4] == (32, 32, 3):
        return "looks fine" if 1 < np.max(batch) <= 255 and not (batch < 0).any() else "wrong range"
    return "wrong shape"
""",
    },
    "shares counted one by one": {
        "sure-of-anything": """
strange_pictures = helpers.strange_pictures(240, seed=1)
def share_answered(model, images, at_least):
    count = 0
    for row in model.predict(images, verbose=0):
        if max(row) > at_least:
            count += 1
    return count / len(images)
photos_answered, strange_answered = [share_answered(model_intro, x, 0.6) for x in (test_images, strange_pictures)]
""",
    },
    "a card with rounded numbers": {
        "model-card": """
measured = recall_per_class(model_intro, test_images, test_labels)
recall_intro = {name: round(share, 2) for name, share in measured.items()}
accuracy_intro = np.round(np.mean(model_intro.predict(test_images, verbose=0).argmax(axis=1) == test_labels), 2)
worst = sorted(recall_intro, key=recall_intro.get)[0]
card_intro = dict(name="Intro", made_for="To learn from, nothing else", classes=tuple(class_names),
    input_shape=model_intro.input_shape[1:], pixel_values=(0.0, 255.0), parameters=18453,
    data=dict(source="drawn", training=1000, validation=250, test=len(test_images)),
    metrics=dict(test_accuracy=accuracy_intro, chance=0.20, recall=recall_intro, tested_on="the test set"),
    limits=("Worst of all is the " + worst.upper() + ".", "Never ask it about anything else.",
            "It was trained on very small pictures."), license="CC BY 4.0")
""",
    },
}


@pytest.mark.parametrize("way", RIGHT)
def test_a_right_answer_in_another_way_passes(run, way):
    outcome = run(RIGHT[way], tests=tuple(RIGHT[way]))
    assert not outcome.broken
    assert not outcome.failed


@pytest.mark.slow
def test_a_final_project_of_another_kind_passes(run):
    outcome = run(
        {
            "final-model": """
train, val, _ = helpers.prepare_datasets(batch_size=20)
model_final = tf.keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 127.5, offset=-1),
    layers.SeparableConv2D(24, 3), layers.ReLU(), layers.AveragePooling2D(4), layers.Flatten(), layers.Dense(5),
    layers.Softmax()])
model_final.compile(keras.optimizers.Adam(0.002), keras.losses.SparseCategoricalCrossentropy(), metrics=["acc"])
history_final = model_final.fit(train, epochs=5, verbose=0, validation_data=val,
    callbacks=[keras.callbacks.EarlyStopping(patience=3, restore_best_weights=True)])
model_final.save("models/model_final.keras")
""",
            "final-card": """
from pathlib import Path
recall = recall_per_class(model_final, test_images, test_labels)
card_final = {"name": "model_final", "made_for": "A small test of a course", "classes": class_names,
    "input_shape": (32, 32, 3), "pixel_values": (0, 255), "parameters": model_final.count_params(),
    "data": {"source": "the course", "training": 1000, "validation": 250, "test": 250},
    "metrics": {"test_accuracy": sum(recall.values()) / 5, "chance": 1 / 5, "recall": recall},
    "limits": [f"Do not trust it with any {name}, it may be wrong." for name in class_names]}
Path("models/model_final_card.json").write_text(json.dumps(card_final))
""",
        },
        tests=("final-model", "final-card"),
    )
    assert not outcome.broken
    assert not outcome.failed


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "small",
    [
        lambda path: Image.open(path).convert("RGB").resize((32, 32)),
        lambda path: Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.NEAREST),
        lambda path: Image.open(path).convert("RGBA").resize((32, 32)).convert("RGB"),
    ],
)
def test_any_usual_way_to_resize_gives_an_answer_that_counts(run, monkeypatch, seed, small):
    """Whichever photos the weights pick."""
    model = run(tests=()).values["model_intro"]
    monkeypatch.setattr(sharing, "seed_of", lambda _: seed)

    def classify(path):
        shares = model(np.asarray(small(path), dtype="float32")[np.newaxis]).numpy()[0]
        return NAMES[shares.argmax()], shares.max()

    answers = checks.file_answers(checks.call_on_files(classify, model), model, "classify_image", NAMES)
    checks.answers_of_model(answers, model, NAMES)
    assert len(answers) == 12


def test_the_files_are_of_many_kinds_and_others_for_another_model(run):
    values = run(tests=()).values
    first, again, other = (
        sharing.picture_files(checks.seed_of(values[name])) for name in ("model_intro", "model_intro", "model_other")
    )
    opened = [file.opened() for file in first]
    assert {picture.mode for picture in opened} == {"RGB", "L", "RGBA", "LA", "P"}
    assert {picture.format for picture in opened} == {"PNG", "JPEG", "BMP"}
    assert min(picture.width for picture in opened) < 32 < max(picture.width for picture in opened)
    assert [file.content for file in first] == [file.content for file in again]
    assert not {file.content for file in first} & {file.content for file in other}


# --- wrong answers: which test fails, and what it says ---

CLASSIFY = """
def classify_image(path):
    picture = Image.open(path).convert("RGB")
    small = picture.resize((32, 32))
    batch = np.expand_dims(np.array(small), axis=0)
    shares = model_intro.predict(batch, verbose=0)[0]
    return class_names[np.argmax(shares)], np.max(shares)
"""
GUARD = """
diagnosis = {"a": "colours swapped", "b": "cut, not resized", "c": "fine", "d": "rescaled twice", "e": "on its side"}
def check_batch(batch):
    if batch.ndim != 4 or batch.shape[1:] != (32, 32, 3):
        return "wrong shape"
    if batch.max() <= 1 or batch.min() < 0 or batch.max() > 255:
        return "wrong range"
    return "looks fine"
"""
DIFFERENCE = """
def largest_difference(first, second, images):
    a = first.predict(images, verbose=0)
    b = second.predict(images, verbose=0)
    return np.max(np.abs(a - b))
difference = largest_difference(model_intro, model_again, test_images)
"""
ANSWERED = """
strange_pictures = helpers.strange_pictures(240, seed=1)
def share_answered(model, images, at_least):
    shares = model.predict(images, verbose=0)
    return np.mean(shares.max(axis=1) >= at_least)
photos_answered = share_answered(model_intro, test_images, 0.6)
strange_answered = share_answered(model_intro, strange_pictures, 0.6)
"""
CARD = """
recall_intro = recall_per_class(model_intro, test_images, test_labels)
worst_class = min(recall_intro, key=recall_intro.get)
best_class = max(recall_intro, key=recall_intro.get)
accuracy_intro = float(np.mean(model_intro.predict(test_images, verbose=0).argmax(axis=1) == test_labels))
card_intro = {
    "name": "model_intro", "made_for": "To learn from, nothing else.", "classes": class_names,
    "input_shape": [32, 32, 3], "pixel_values": [0, 255], "parameters": 18453,
    "data": {"source": "CIFAR-10", "training": 1000, "validation": 250, "test": 250},
    "metrics": {"test_accuracy": accuracy_intro, "chance": 0.2, "recall": recall_intro},
    "limits": [f"It is worst at the class {worst_class}.", "It is sure of anything at all.",
        "It was tested on tiny photos."],
}
"""


@pytest.mark.parametrize(
    ("exercise", "code", "says"),
    [
        ("save-reload", "model_again = keras.Model", "there is no file models/model_intro.keras"),
        (
            "save-reload",
            "model_intro.save('models/model_intro.keras')\nmodel_again = model_intro",
            "found model_intro itself under a second name",
        ),
        (
            "save-reload",
            "model_intro.save('models/model_intro.keras')\nmodel_again = 'models/model_intro.keras'",
            "model_again: expected a Keras model, found str",
        ),
        ("save-reload", "model_intro.save('models/model_intro.keras')\nmodel_again = ...", "not attempted yet"),
        ("same-predictions", DIFFERENCE.replace("np.abs", ""), "largest_difference"),
        ("same-predictions", DIFFERENCE.replace("np.max", "np.mean"), "the largest difference between two prob"),
        ("same-predictions", DIFFERENCE.replace("np.max(np.abs(a - b))", "0.0"), "the largest difference between two"),
        (
            "same-predictions",
            DIFFERENCE.replace("first.predict", "model_intro.predict").replace("second.predict", "model_again.predict"),
            "the largest difference between two",
        ),
        (
            "same-predictions",
            DIFFERENCE.replace("predict(images", "predict(test_images"),
            "the largest difference between two",
        ),
        ("same-predictions", DIFFERENCE.replace("np.max(np.abs(a - b))", "np.abs(a - b)"), "expected a number, found"),
        ("same-predictions", DIFFERENCE.replace("    return", "    answer ="), "is there a 'return' at its end"),
        ("same-predictions", DIFFERENCE + "difference = 0.8", "difference: expected next to nothing"),
        ("same-predictions", DIFFERENCE + "difference = largest_difference", "difference: expected a number"),
        ("classify-image", CLASSIFY.replace("np.array(small)", "np.array(small) / 255"), "it was done twice"),
        ("classify-image", CLASSIFY.replace("np.array(small)", "np.array(small)[..., ::-1]"), "red and blue swapped"),
        ("classify-image", CLASSIFY.replace("np.array(small)", "np.array(small).transpose(1, 0, 2)"), "rows and"),
        ("classify-image", CLASSIFY.replace('.convert("RGB")', ""), "expected a function that can be called, found"),
        ("classify-image", CLASSIFY.replace("picture.resize((32, 32))", "picture"), "a large PNG in colour"),
        (
            "classify-image",
            CLASSIFY.replace("picture.resize((32, 32))", "picture.crop((0, 0, 32, 32))"),
            "a corner of it: cut, where it should be resized",
        ),
        ("classify-image", CLASSIFY.replace('convert("RGB")', 'convert("L").convert("RGB")'), "in red, green and blue"),
        ("classify-image", CLASSIFY.replace("np.expand_dims(np.array(small), axis=0)", "np.array(small)"), "(a PNG in"),
        ("classify-image", CLASSIFY.replace(", np.max(shares)", ""), "expected two things, a class name and a prob"),
        (
            "classify-image",
            CLASSIFY.replace("class_names[np.argmax(shares)]", "np.argmax(shares)"),
            "the first thing returned: expected text",
        ),
        (
            "classify-image",
            CLASSIFY.replace("np.max(shares)\n", "100 * np.max(shares)\n"),
            "the second thing returned: expected a number from 0 to 1",
        ),
        ("classify-image", CLASSIFY.replace("np.max(shares)\n", "np.min(shares)\n"), "another class or probability"),
        ("classify-image", CLASSIFY.replace("np.max(shares)\n", "shares\n"), "expected a number, found an array"),
        ("classify-image", CLASSIFY.replace("model_intro.predict", "model_other.predict"), "another class or prob"),
        ("classify-image", "classify_image = lambda path: ('airplane', 0.84)", "classify_image(a PNG in colour"),
        (
            "classify-image",
            CLASSIFY.replace("open(path)", "open('pictures/my_picture.png')"),
            "expected a function that can be called, found FileNotFoundError",
        ),
        ("classify-image", CLASSIFY + "classify_image = 'airplane'", "classify_image: expected a function, found str"),
        ("find-mistakes", GUARD.replace('"a": "colours swapped"', '"a": "fine"'), "found one twice"),
        (
            "find-mistakes",
            GUARD.replace("colours swapped", "X").replace("on its side", "colours swapped").replace("X", "on its side"),
            "compare the pictures again",
        ),
        ("find-mistakes", GUARD.replace('"a": "colours swapped"', '"a": "blue"'), "diagnosis['a']: expected one of"),
        ("find-mistakes", GUARD.replace('"e": "on its side"', ""), "expected one entry for each of a, b, c, d and e"),
        ("find-mistakes", GUARD.replace("(32, 32, 3)", "(32, 32, 4)"), "expected 'looks fine' for one image"),
        ("find-mistakes", GUARD.replace("batch.shape[1:] != (32, 32, 3)", "False"), "for an image with 4 channels"),
        ("find-mistakes", GUARD.replace("batch.shape[1:]", "batch.shape[1:3] + (3,)"), "for an image with 4 channels"),
        ("find-mistakes", GUARD.replace("batch.shape[1:] != (32,", "batch.shape != (1, 32,"), "for six sound images"),
        ("find-mistakes", GUARD.replace("batch.ndim != 4 or batch.shape[1:] != (32, 32, 3)", "len(batch) < 1"), "4 ch"),
        ("find-mistakes", GUARD.replace("batch.max() <= 1 or ", ""), "for values from 0 to 1"),
        ("find-mistakes", GUARD.replace("batch.max() <= 1", "batch.max() <= 30"), "a dark image"),
        ("find-mistakes", GUARD.replace(" or batch.max() > 255", ""), "for values far above 255"),
        ("find-mistakes", GUARD.replace("batch.min() < 0 or ", ""), "for values from -138 to 115"),
        ("find-mistakes", GUARD.replace('return "looks fine"', "pass"), "expected text, found None"),
        ("find-mistakes", GUARD.replace('return "wrong range"', "return False"), "check_batch(batch): expected text"),
        ("sure-of-anything", ANSWERED.replace("np.mean", "np.sum"), "expected a number from 0 to 1"),
        ("sure-of-anything", ANSWERED.replace(".max(axis=1)", ""), "whose highest probability is large"),
        ("sure-of-anything", ANSWERED.replace(".max(axis=1)", ".min(axis=1)"), "whose highest probability is large"),
        ("sure-of-anything", ANSWERED.replace(".max(axis=1)", ".max(axis=0)"), "whose highest probability is large"),
        ("sure-of-anything", ANSWERED.replace(">=", "<="), "1: any probability is large enough"),
        ("sure-of-anything", ANSWERED.replace(">= at_least", ">= 0.6"), "1: any probability is large enough"),
        ("sure-of-anything", ANSWERED.replace("model.predict", "model_intro.predict"), "share_answered: expected"),
        ("sure-of-anything", ANSWERED.replace("predict(images", "predict(test_images"), "share_answered: expected"),
        ("sure-of-anything", ANSWERED + "photos_answered = 0.9", "photos_answered: expected the share"),
        ("sure-of-anything", ANSWERED.replace("test_images, 0.6", "val_images[:3], 0.6"), "photos_answered: expected"),
        ("sure-of-anything", ANSWERED.replace("strange_pictures, 0.6", "strange_pictures, 0.5"), "strange_answered"),
        ("model-card", CARD.replace("accuracy_intro, ", "0.9, "), "['test_accuracy']: expected the model's accuracy"),
        ("model-card", CARD.replace("test_images, test_labels)", "val_images, val_labels)"), "['recall']["),
        ("model-card", CARD.replace("18453", "18435"), "['parameters']: expected the number of the model's parameters"),
        ("model-card", CARD.replace("18453", "'many'"), "['parameters']: expected a whole number, found str"),
        ("model-card", CARD.replace("[0, 255]", "[0, 1]"), "before the model rescales it, found [0, 1]"),
        ("model-card", CARD.replace("[32, 32, 3]", "model_intro.input_shape"), "card_intro['input_shape']: expected"),
        ("model-card", CARD.replace("[32, 32, 3]", "[3, 32, 32]"), "the shape of one image for the model"),
        ("model-card", CARD.replace('"training": 1000', '"training": 1250'), "the number of images in that set"),
        ("model-card", CARD.replace('"chance": 0.2', '"chance": 0.5'), "the accuracy that guessing gets"),
        ("model-card", CARD.replace('"chance": 0.2, ', ""), "found none called chance"),
        ("model-card", CARD.replace("{worst_class}", "{best_class}"), "name the class with the lowest recall"),
        ("model-card", CARD.replace('"It is sure of anything at all.",', ""), "3 different sentences, found 2"),
        ("model-card", CARD.replace("It is sure of anything at all.", "None."), "expected at least 5 words, found 1"),
        ("model-card", CARD.replace("It is sure of anything at all.", "It was tested on tiny photos."), "found 2"),
        ("model-card", CARD.replace('"classes": class_names', '"classes": class_names[::-1]'), "in the order of their"),
        ("model-card", CARD.replace('"recall": recall_intro', '"recall": 0.5'), "['recall']: expected a dict"),
        ("model-card", CARD.replace('"CIFAR-10"', "..."), "card_intro['data']['source'] is still a blank"),
        ("model-card", CARD.replace('"To learn from, nothing else."', '""'), "card_intro['made_for'] is still a blank"),
        ("model-card", "card_intro = 'a fine model'", "card_intro: expected a dict with the entries name, made_for"),
    ],
)  # fmt: skip
def test_wrong_answers_fail_and_say_why(run, exercise, code, says):
    outcome = run({exercise: code}, tests=(exercise,))
    assert isinstance(outcome.failed[exercise], checks.CheckError)
    assert says in str(outcome.failed[exercise])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "says"),
    [
        (
            "model_again = helpers.create_model_intro()\nmodel_again.save('models/model_intro.keras')",
            "expected the reloaded model to predict the same numbers as model_intro",
        ),
        (
            "model_intro.save('models/model_intro.keras')\nmodel_again = helpers.create_model_intro()",
            "model_again: expected what model_intro predicts",
        ),
    ],
)
def test_another_model_than_the_saved_one_is_found_out(run, code, says):
    outcome = run({"save-reload": code}, tests=("save-reload",))
    assert says in str(outcome.failed["save-reload"])


FINAL = """
model_final = keras.Sequential([keras.Input((32, 32, 3)), layers.Rescaling(1 / 255),
    layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(4), layers.Flatten(),
    layers.Dense(5, activation="softmax")])
model_final.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history_final = model_final.fit(train_ds, validation_data=val_ds, epochs=1, verbose=0)
model_final.save("models/model_final.keras")
"""


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FINAL.replace(", validation_data=val_ds", ""), "history_final: expected 'val_loss' to be recorded"),
        (FINAL.replace(', metrics=["accuracy"]', ""), "history_final: expected 'accuracy' to be recorded"),
        (FINAL.replace("Dense(5", "Dense(10"), "returns arrays of shape (None, 5), found (None, 10)"),
        (FINAL.replace("layers.Conv2D(8, 3, activation=\"relu\"), layers.MaxPooling2D(4), ", ""), "expected a Conv2D"),
        (FINAL.replace("models/model_final", "model_final"), "there is no file models/model_final.keras"),
        (FINAL.replace("history_final = ", "history_final = model_final\n"), "expected what model.fit returns"),
        (
            FINAL.split("model_final.compile")[0] + """
history_final = history_intro
model_final.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
model_final.save("models/model_final.keras")
""",
            "found one whose weights have never been adjusted",
        ),
        (
            FINAL.replace("fit(train_ds,", "fit(test_images[:64], np.random.default_rng(0).integers(0, 5, 64),"),
            "model_final: expected an accuracy that luck can't explain",
        ),
        (FINAL.replace('activation="softmax"', 'activation="sigmoid"'), "what model_final predicts: expected prob"),
        (
            "model_intro.save('models/model_final.keras')\nhistory_final = history_intro\n"
            "model_final = keras.saving.load_model('models/model_final.keras')",
            "expected a model of your own",
        ),
    ],
)  # fmt: skip
def test_wrong_final_models_fail_and_say_why(run, code, says):
    outcome = run({"final-model": code}, tests=("final-model",))
    assert says in str(outcome.failed["final-model"])


FINAL_CARD = (
    CARD.replace("_intro", "_final")
    + """
with open("models/model_final_card.json", "w") as file:
    json.dump(card_final, file)
"""
)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (FINAL_CARD, "card_final['parameters']: expected the number of the model's parameters, found 18453"),
        (FINAL_CARD.replace("model_final_card.json", "card.json"), "there is no file models/model_final_card.json"),
        (FINAL_CARD.replace("dump(card_final", "dump(class_names"), "expected the entries of card_final, found others"),
        (FINAL_CARD.replace("json.dump(card_final, file)", "file.write(str(card_final))"), "as JSON, found an error"),
        (FINAL_CARD + "card_final['name'] = 'better'", "was card_final changed afterwards?"),
        (CARD + FINAL_CARD.split("\n}")[1].replace("card_final", "card_intro") + "card_final = ...", "not attempted"),
        (
            FINAL_CARD.replace("18453", "model_final.count_params()").replace(
                "recall_per_class(model_final", "recall_per_class(model_intro"
            ),
            "card_final['metrics']['recall']",
        ),
    ],
)
def test_wrong_final_cards_fail_and_say_why(run, code, says):
    outcome = run({"final-model": FINAL, "final-card": code}, tests=("final-card",))
    assert says in str(outcome.failed["final-card"])


def test_a_model_that_was_trained_after_its_probe_is_told_so(run):
    outcome = run(tests=("classify-image",))
    assert not outcome.failed
    calls, model = outcome.values["file_calls"], outcome.values["model_intro"]
    model.set_weights([weight + 0.01 for weight in model.get_weights()])
    with pytest.raises(checks.CheckError, match="trained since; run that cell again"):
        checks.file_answers(calls, model, "classify_image", NAMES)


# --- the pictures that the lesson draws ---


def test_strange_pictures_are_of_each_kind_in_turn_and_the_same_for_a_seed():
    pictures = helpers.strange_pictures(12, seed=3)
    assert pictures.shape == (12, 32, 32, 3) and pictures.dtype == np.uint8
    assert np.array_equal(pictures, helpers.strange_pictures(12, seed=3))
    assert not np.array_equal(pictures, helpers.strange_pictures(12, seed=4))
    colours = [len(np.unique(picture.reshape(-1, 3), axis=0)) for picture in pictures]
    assert colours[1] == colours[7] == 1 and colours[2] == colours[3] == 2 and colours[4] == 3
    assert min(colours[0], colours[6]) > 1000 and len(helpers.strange_pictures(0)) == 0


def test_only_one_way_to_prepare_a_picture_is_right():
    pixels = np.random.default_rng(5).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels).resize((96, 96), Image.Resampling.NEAREST)
    wanted = np.asarray(picture.resize((32, 32)), dtype="float32")[np.newaxis]
    made = {name: prepare(picture) for name, prepare in helpers.ways_to_prepare().items()}
    assert {name for name, batch in made.items() if np.array_equal(batch, wanted)} == {"c"}
    assert all(batch.shape == (1, 32, 32, 3) and batch.dtype == np.float32 for batch in made.values())
    assert np.array_equal(made["a"][..., ::-1], wanted) and np.array_equal(made["e"].transpose(0, 2, 1, 3), wanted)
    assert np.allclose(made["d"] * 255, wanted) and np.array_equal(
        made["b"][0, :3, :3, 0], np.full((3, 3), pixels[0, 0, 0])
    )
