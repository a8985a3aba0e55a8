"""The seventh episode: what it has to keep, its pictures, and what depends on the model that a student happens to have.

Its cells are run one by one in this process. Other right answers, and the mistakes that novices make, stand in
`tests/bank/07-share-cnn/`.
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
    given_cell,
    given_cells,
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


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def trained_once() -> dict[str, Any]:
    """What given cells leave behind, the same for every run: imports, images, the trained model, the recalls."""
    return {}


@pytest.fixture
def run(notebooks, data_folder, trained_once, tmp_path, monkeypatch):
    """Run the exercises that some tests need, with other code in some solution cells."""
    source, release = notebooks
    starters, marked = starters_of(release), marked_cells(source)

    def go(answers: Mapping[str, str] | None = None, tests=TESTS) -> Run:
        answers = dict(answers or {})
        assert set(answers) <= set(TESTS), "an answer for an exercise that isn't there"
        monkeypatch.chdir(tmp_path)
        for folder in ("models", "pictures"):
            (tmp_path / folder).mkdir(exist_ok=True)
        if not trained_once:
            for code in [*given_cells(source)[:4], given_cell(source, "def recall_per_class")]:
                exec(code, trained_once)
            trained_once["saved"] = trained_once["model_intro"].get_weights()
        namespace = dict(trained_once)
        namespace["model_intro"].set_weights(namespace["saved"])
        outcome = Run(values=namespace)
        for name, cell in marked.items():
            if exercise_of(cell) in tests:
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


# --- what depends on the model ---


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
