"""The second episode: its solution, other right answers, and the mistakes that a novice makes.

The instructor's notebook is run once, cell by cell in this process. Each other answer starts from what it left, and
runs the cells of its own exercise: the answer, the probe and the test. That the notebook also runs in a real kernel is
shown by the tests of grading and by nbval.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from episode_run import (
    Run,
    assert_exercises_are_told,
    assert_not_attempted,
    assert_release_is_clean,
    assert_rubrics_add_up,
    code_cells,
    given_cell,
    grade_id,
    marked_cells,
    notebooks_of,
    starters_of,
)

import helpers
from helpers import checks, leaky_split

NAME = "02-image-data"
TESTS = (
    "read-image",
    "red-and-crop",
    "count-folders",
    "load-test-set",
    "count-per-class",
    "brightest-and-colours",
    "spot-leak",
)
WRITTEN = ("what-the-leak-does", "balanced-clear-fair")


notebooks = notebooks_of(NAME)


@pytest.fixture(scope="module")
def solved(notebooks, data_folder) -> Iterator[Run]:
    """What the instructor's notebook leaves behind."""
    forget()
    outcome = Run(values={"__name__": "__main__"})
    for cell in code_cells(notebooks[0]):
        outcome.execute(cell)
    yield outcome
    forget()


@pytest.fixture(scope="module")
def attempt(notebooks, solved):
    """Give another answer to one exercise, and return what its test says: an error, or None."""
    marked, starters = marked_cells(notebooks[0]), starters_of(notebooks[1])

    def go(exercise: str, answer: str) -> Exception | None:
        outcome = Run(values=dict(solved.values))
        outcome.execute(marked[exercise], starters[exercise] if answer == "STARTER" else answer)
        assert not outcome.broken, outcome.broken
        for name in (f"{exercise}-probe", f"{exercise}-test"):
            if name in marked:
                outcome.execute(marked[name])
        return outcome.failed.get(exercise)

    return go


def forget() -> None:
    """The checks remember images by the folder they work in, which stays the same while the images change."""
    from helpers.checks import images

    images._read_splits.cache_clear()
    images._read_folder.cache_clear()


# --- the episode as a whole ---


def test_the_episode_has_nine_exercises_worth_twenty_points_and_hints_for_each(notebooks):
    assert len(TESTS) + len(WRITTEN) == 9
    assert_exercises_are_told(notebooks[0], TESTS, WRITTEN)


def test_the_written_answers_have_model_answers_and_rubrics_that_add_up(notebooks):
    assert_rubrics_add_up(notebooks[0], WRITTEN)


def test_the_release_holds_no_answers_and_no_hidden_tests(notebooks):
    assert_release_is_clean(notebooks[1], "course_images(", "tobytes", "bincount")


def test_every_test_cell_has_visible_and_hidden_tests(notebooks):
    for cell in notebooks[0].cells:
        if grade_id(cell).endswith("-test"):
            visible, hidden = cell.source.split("### BEGIN HIDDEN TESTS")
            assert "checks.attempted(" in visible
            assert hidden.count("checks.same_values(") + hidden.count("checks.fail_unless(") >= 2


# --- right answers ---


def test_the_solution_passes_every_test(solved):
    assert not solved.failed
    assert not solved.broken
    assert len(solved.values["leaks"]) == len(set(solved.values["leaks"])) > 0
    assert solved.values["own_leaks"] == []


def test_the_leak_lifts_the_accuracy_and_without_it_there_is_little_left(solved):
    values = solved.values
    assert values["leaky_accuracy"] > values["honest_accuracy"] + 0.15
    assert values["right"][values["leaked"]].all()
    assert values["right"][~values["leaked"]].mean() < values["leaky_accuracy"] - 0.15


@pytest.mark.parametrize("words", ["filled(brightest, class_colours)", "leaked[leaks] = True", "own_leaks ="])
def test_cells_that_need_an_answer_say_so_kindly_while_it_is_a_blank(notebooks, words, capsys):
    names = {"helpers": helpers, "brightest": ..., "class_colours": ..., "leaks": ...}
    exec(given_cell(notebooks[1], words), names)
    assert capsys.readouterr().out.startswith("Nothing to show yet.")


@pytest.mark.parametrize("exercise", TESTS)
def test_an_untouched_starter_is_not_attempted_yet(attempt, exercise):
    assert_not_attempted(Run(failed={exercise: attempt(exercise, "STARTER")}), [exercise])


RIGHT = {
    "read-image": [
        "def read_image(path):\n    with Image.open(path) as file:\n        return np.asarray(file.convert('RGB'))\n"
        "truck = read_image(truck_file)",
        "import tensorflow as tf\ndef read_image(path):\n"
        "    return keras.utils.img_to_array(keras.utils.load_img(path))\ntruck = read_image(str(truck_file))",
        "import tensorflow as tf\ndef read_image(path):\n"
        "    return tf.io.decode_image(tf.io.read_file(str(path)), channels=3)\ntruck = read_image(truck_file)",
    ],
    "red-and-crop": [
        "def red_channel(image):\n    return image[..., 0].copy()\n"
        "def middle(image):\n    h, w, _ = image.shape\n    return image[h // 4:3 * h // 4, w // 4:3 * w // 4, :]\n"
        "cat_red = red_channel(cat).tolist()\ncat_middle = cat[8:24, 8:24]",
        "def red_channel(image):\n    return np.split(image, 3, axis=2)[0][:, :, 0]\n"
        "def middle(image):\n    h, w = image.shape[:2]\n"
        "    return image[int(h / 4):-int(h / 4), int(w / 4):-int(w / 4)]\n"
        "cat_red = red_channel(cat)\ncat_middle = middle(cat)",
    ],
    "count-folders": [
        "def count_images(place):\n"
        "    return {f.name: sum(1 for _ in f.iterdir()) for f in place.iterdir() if f.is_dir()}\n"
        "num_classes = np.int64(5)\nsplit_sizes = {'test': 250, 'train': np.array(1000), 'val': 250.0}",
        "import os\ndef count_images(place):\n"
        "    return {name: len(os.listdir(place / name)) for name in os.listdir(place)}\n"
        "num_classes = len(class_names)\n"
        "split_sizes = {s: sum(count_images(folder / s).values()) for s in ('train', 'val', 'test')}",
    ],
    "load-test-set": [
        "def load_in_order(place):\n    ds = keras.utils.image_dataset_from_directory("
        "place, image_size=(32, 32), batch_size=None, shuffle=False)\n"
        "    names = ds.class_names\n    ds = ds.batch(32).prefetch(2)\n    ds.class_names = names\n    return ds\n"
        "test_ds = load_in_order(folder / 'test')",
    ],
    "count-per-class": [
        "def count_per_class(dataset, num_classes):\n"
        "    labels = np.concatenate([labels for _, labels in dataset])\n"
        "    return np.bincount(labels, minlength=num_classes)\ntrain_counts = count_per_class(train_ds, 5)",
        "def count_per_class(dataset, num_classes):\n    counts = np.zeros(num_classes)\n"
        "    for _, label in dataset.unbatch():\n        counts[int(label)] += 1\n    return counts\n"
        "train_counts = tuple(count_per_class(train_ds, 5))",
    ],
    "brightest-and-colours": [
        "def brightest_image(images):\n    best = 0\n    for i in range(len(images)):\n"
        "        if images[i].sum() > images[best].sum():\n            best = i\n    return best\n"
        "def mean_colours(images, labels, num_classes):\n"
        "    return [[images[labels == c][..., k].mean() for k in range(3)] for c in range(num_classes)]\n"
        "brightest = brightest_image(train_images)\n"
        "class_colours = np.array(mean_colours(train_images, train_labels, 5))",
    ],
    "spot-leak": [
        "def find_leaks(train_images, test_images):\n    known = {image.tobytes() for image in train_images}\n"
        "    return np.array([i for i, image in enumerate(test_images) if image.tobytes() in known], dtype=int)\n"
        "leaks = find_leaks(leaky.train_images, leaky.test_images)[::-1]",
        "def find_leaks(train_images, test_images):\n"
        "    return [i for i, image in enumerate(test_images)\n"
        "            if (train_images == image).all(axis=(1, 2, 3)).any()]\n"
        "leaks = find_leaks(leaky.train_images, leaky.test_images)",
    ],
}


@pytest.mark.parametrize(("exercise", "answer"), [(name, answer) for name in RIGHT for answer in RIGHT[name]])
def test_a_right_answer_in_another_way_passes(attempt, exercise, answer):
    assert attempt(exercise, answer) is None


# --- wrong answers, and what their test says ---

READ = "def read_image(path):\n    return np.array(Image.open(path).convert('RGB'))\ntruck = read_image(truck_file)\n"
CROP = """
def red_channel(image):
    return image[:, :, 0]
def middle(image):
    h, w = image.shape[:2]
    return image[h // 4:h - h // 4, w // 4:w - w // 4]
cat_red, cat_middle = red_channel(cat), middle(cat)
"""
COUNT = """
def count_images(place):
    return {f.name: len(list(f.iterdir())) for f in place.iterdir()}
num_classes = len(count_images(folder / "train"))
split_sizes = {s: sum(count_images(folder / s).values()) for s in ("train", "val", "test")}
"""
LOAD = """
def load_in_order(place):
    return keras.utils.image_dataset_from_directory(place, image_size=(32, 32), batch_size=32, shuffle=False)
test_ds = load_in_order(folder / "test")
"""
LABELS = """
def count_per_class(dataset, num_classes):
    counts = [0] * num_classes
    for images, labels in dataset:
        for label in labels.numpy():
            counts[label] += 1
    return counts
train_counts = count_per_class(train_ds, 5)
"""
COLOUR = """
def brightest_image(images):
    return images.mean(axis=(1, 2, 3)).argmax()
def mean_colours(images, labels, num_classes):
    return np.array([images[labels == c].mean(axis=(0, 1, 2)) for c in range(num_classes)])
brightest = brightest_image(train_images)
class_colours = mean_colours(train_images, train_labels, 5)
"""
LEAKS = """
def find_leaks(train_images, test_images):
    return [i for i, b in enumerate(test_images) if any(np.array_equal(a, b) for a in train_images)]
leaks = find_leaks(leaky.train_images, leaky.test_images)
"""

WRONG: Mapping[str, list[tuple[str, str]]] = {
    "read-image": [
        (READ.replace(".convert('RGB')", ""), "read_image(path), for an image in shades of grey: expected shape"),
        (READ.replace("RGB", "L"), "truck: expected shape (32, 32, 3), found (32, 32)"),
        (READ.replace("open(path)", "open(truck_file)"), "for an image 20 pixels high and 48 wide: expected shape"),
        (READ.replace("np.array(Image", "(Image"), "truck: expected an array, found Image"),
        (READ + "truck = read_image(cat_file)", "truck: expected the image in truck_file, unchanged"),
        (READ + "truck = truck / 255", "truck: expected the image in truck_file, unchanged"),
        (READ.replace("return np", "np"), "truck: expected an array, found NoneType"),
        (
            "def read_image(path):\n    return np.array(Image.open(path).resize((32, 32)).convert('RGB'))\n"
            "truck = read_image(truck_file)",
            "expected shape (20, 48, 3), found (32, 32, 3)",
        ),
        (
            "def read_image(path):\n    w, h = Image.open(path).size\n    return np.zeros((h, w, 3), 'uint8')\n"
            "truck = np.array(Image.open(truck_file))",
            "read_image(path): expected the pixels of the file at path",
        ),
        (
            "truck = read_image(truck_file)\ndef read_image():\n    return truck",
            "expected a function that can be called",
        ),
    ],
    "red-and-crop": [
        (CROP.replace("[:, :, 0]", "[:, :, 2]"), "cat_red: expected the red values"),
        (CROP.replace("[:, :, 0]", "[:, :, :1]"), "cat_red: expected shape (32, 32), found (32, 32, 1)"),
        (CROP.replace("[:, :, 0]", "[0]"), "cat_red: expected shape (32, 32), found (32, 3)"),
        (CROP.replace("image[:, :, 0]", "cat[:, :, 0]"), "red_channel(image), for an image 24 pixels high"),
        (
            CROP.replace("[h // 4:h - h // 4, w // 4:w - w // 4]", "[8:24, 8:24]"),
            "middle(image), for an image 24 pixels high and 40 wide: expected shape (12, 20, 3)",
        ),
        (
            CROP.replace("[h // 4:h - h // 4, w // 4:w - w // 4]", "[:h // 2, :w // 2]"),
            "cat_middle: expected the middle of cat",
        ),
        (
            CROP.replace("image[h // 4:h - h // 4, w // 4:w - w // 4]", "image[::2, ::2]"),
            "cat_middle: expected the middle of cat",
        ),
        (CROP.replace("h, w = ", "w, h = "), "expected shape (12, 20, 3)"),
        (
            CROP + "cat_red, red_channel = cat[..., 0], lambda image: np.zeros(image.shape[:2])",
            "red_channel(image): exp",
        ),
        (CROP + "middle = cat_middle", "middle: expected a function"),
    ],
    "count-folders": [
        (COUNT.replace("len(list(f.iterdir()))", "200"), "split_sizes['val']: expected the number of images"),
        (
            "def count_images(place):\n    return dict.fromkeys(class_names, 200)\nnum_classes = 5\n"
            "split_sizes = {'train': 1000, 'val': 250, 'test': 250}",
            "expected the names of the class folders in the folder that it is given",
        ),
        (
            "def count_images(place):\n    return {f.name: 200 for f in place.iterdir()}\nnum_classes = 5\n"
            "split_sizes = {'train': 1000, 'val': 250, 'test': 250}",
            "found other numbers for a folder that it hadn't seen before",
        ),
        (COUNT.replace("in place.iterdir()", "in (folder / 'train').iterdir()"), "expected the number of images"),
        (COUNT + "num_classes = count_images(folder / 'train')", "num_classes: expected a whole number, found dict"),
        (COUNT + "num_classes = 3", "num_classes: expected the number of class folders"),
        (COUNT + "split_sizes = [1000, 250, 250]", "split_sizes: expected a dict with the keys"),
        (
            COUNT + "split_sizes = {s: count_images(folder / s) for s in split_sizes}",
            "expected a whole number, found dict",
        ),
        (COUNT + "split_sizes['val'] = ...", "not attempted yet: split_sizes"),
        (COUNT.replace("len(list(f.iterdir()))", "len(f.name)"), "expected the number of images"),
        (
            COUNT + "def count_images(place):\n    return [len(list(f.iterdir())) for f in place.iterdir()]",
            "expected a dict, found list",
        ),
    ],
    "load-test-set": [
        (LOAD.replace("shuffle=False", "shuffle=True"), "test_ds: expected the same order at each pass"),
        (LOAD.replace(", shuffle=False", ""), "test_ds: expected the same order at each pass"),
        (
            LOAD + "test_ds = keras.utils.image_dataset_from_directory(folder / 'test', image_size=(32, 32)).cache()",
            "test_ds: expected the images class by class",
        ),
        (LOAD.replace("batch_size=32", "batch_size=16"), "test_ds: expected batches of 32, found batches of"),
        (LOAD.replace("batch_size=32", "batch_size=None"), "found images that come one by one"),
        (LOAD.replace("(32, 32)", "(64, 64)"), "test_ds: expected images of shape (32, 32, 3), found (64, 64, 3)"),
        (
            LOAD.replace('folder / "test"', 'folder / "val"'),
            "the images of test_ds: expected the images in folder / 'test'",
        ),
        (LOAD.replace('folder / "test"', 'folder / "train"'), "the labels of test_ds: expected shape"),
        (LOAD.replace('folder / "test"', "folder"), "the labels of test_ds: expected shape"),
        (LOAD.replace("(place,", "(folder / 'test',"), "the labels of load_in_order(split_folder)"),
        (LOAD.replace("(32, 32), batch", "(32, 32), color_mode='grayscale', batch"), "found (32, 32, 1)"),
        (LOAD.replace("(32, 32), batch", "(32, 32), labels=None, batch"), "found one without labels"),
        (LOAD.replace("(32, 32), batch", "(32, 32), label_mode='categorical', batch"), "expected one class number"),
        (
            LOAD + "names = test_ds.class_names\ntest_ds = test_ds.map(lambda a, b: (a / 255, b))\n"
            "test_ds.class_names = names",
            "with pixels from 0 to 255, found other values",
        ),
        (LOAD + "test_ds = folder / 'test'", "test_ds: expected a tf.data.Dataset of images and labels"),
        (
            LOAD + "test_ds = helpers.prepare_datasets()[2]\ndef load_in_order(place):\n    return ...",
            "not attempted yet: load_in_order",
        ),
    ],
    "count-per-class": [
        (
            LABELS.replace("in dataset:", "in dataset.take(1):"),
            "train_counts: expected the number of images of each class",
        ),
        (LABELS.replace("counts[label] += 1", "counts[label] = 1"), "train_counts: expected the number of images"),
        (LABELS.replace("in dataset:", "in train_ds:"), "count_per_class: expected a function that can be called"),
        (
            LABELS.replace("* num_classes", "* 5"),
            "count_per_class: expected a function that can be called, found IndexError",
        ),
        (LABELS.replace("* num_classes", "* 9") + "train_counts = train_counts[:5]", "expected shape (3,), found (9,)"),
        (
            "def count_per_class(dataset, num_classes):\n    return [200] * num_classes\n"
            "train_counts = count_per_class(train_ds, 5)",
            "count_per_class(dataset, 3): expected the number of images",
        ),
        (
            "def count_per_class(dataset, num_classes):\n"
            "    return np.bincount(np.concatenate([labels for _, labels in dataset]))\n"
            "train_counts = count_per_class(train_ds, 5)",
            "count_per_class(dataset, 7): expected shape (7,)",
        ),
        (
            LABELS.replace("    return counts", "    print(counts)"),
            "train_counts: expected an array of numbers, found None",
        ),
        (LABELS.replace("    return counts", "        return counts"), "over all batches of train_ds"),
        (
            LABELS + "train_counts = count_per_class(val_ds if 'val_ds' in globals() else test_ds, 5)",
            "train_counts: exp",
        ),
        (LABELS.replace("    return counts", "    return sum(counts)"), "train_counts: expected shape (5,), found ()"),
    ],
    "brightest-and-colours": [
        (COLOUR.replace(".argmax()", ".argmin()"), "the image at place brightest: expected the training image"),
        (COLOUR.replace(".argmax()", ".max()"), "brightest: expected a whole number"),
        (COLOUR.replace("axis=(1, 2, 3)).argmax()", "axis=(1, 2))[:, 0].argmax()"), "with the highest mean"),
        (
            COLOUR.replace("images.mean(axis=(1, 2, 3))", "images.max(axis=(1, 2, 3))"),
            "the image at place brightest: expected",
        ),
        (COLOUR.replace("return images.mean(", "return train_images.mean("), "brightest_image(images), for 20 images"),
        (COLOUR + "brightest_image = lambda images: 5", "brightest_image(images): expected the place of the image"),
        (COLOUR + "brightest = train_images[brightest]", "brightest: expected a whole number"),
        (COLOUR.replace("labels == c", "labels == 0"), "class_colours: expected the mean red, green and blue of each"),
        (COLOUR.replace("axis=(0, 1, 2)", "axis=(1, 2)"), "class_colours: expected"),
        (COLOUR.replace("images[labels == c]", "images"), "class_colours: expected the mean red"),
        (COLOUR + "class_colours = class_colours / 255", "class_colours: expected the mean red, green and blue"),
        (COLOUR + "class_colours = class_colours[:, ::-1]", "class_colours: expected the mean red, green and blue"),
        (COLOUR.replace("range(num_classes)", "range(5)"), "mean_colours(images, labels, 3): expected"),
        (
            COLOUR + "mean_colours = lambda images, labels, num_classes: class_colours[:num_classes]",
            "mean_colours(images, labels, 3): expected the mean red",
        ),
    ],
    "spot-leak": [
        (LEAKS + "leaks = []", "leaks: expected the places of some test images, found none"),
        (LEAKS + "leaks = list(range(150))", "leaks: expected the places of some test images, found all of them"),
        (LEAKS + "leaks = list(range(63))", "leaks: expected the places of all test images"),
        (LEAKS + "leaks = leaks[1:]", "leaks: expected the places of all test images"),
        (LEAKS + "leaks = len(leaks)", "leaks: expected shape"),
        (LEAKS + "leaks = [leaky.test_images[i] for i in leaks]", "leaks: expected shape"),
        (LEAKS + "found = list(leaks)\nfind_leaks = lambda a, b: found", "for a split with leaks, expected the places"),
        (LEAKS.replace("in train_images)", "in leaky.train_images)"), "find_leaks(train_images, test_images): for"),
        (
            LEAKS.replace("np.array_equal(a, b)", "a.mean() == b.mean()"),
            "expected the places",
        ),
        (LEAKS + "leaks = find_leaks(leaky.test_images, leaky.train_images)", "leaks: expected"),
        (LEAKS.replace("return [i for", "return [b for"), "leaks: expected"),
        (LEAKS.replace("    return [", "    places = ["), "leaks: expected an array of numbers, found None"),
        (LEAKS + "find_leaks = ...", "not attempted yet: find_leaks"),
    ],
}


@pytest.mark.parametrize(
    ("exercise", "answer", "says"), [(name, answer, says) for name in WRONG for answer, says in WRONG[name]]
)
def test_wrong_answers_fail_and_say_why(attempt, exercise, answer, says):
    error = attempt(exercise, answer)
    assert isinstance(error, checks.CheckError), error
    assert says in str(error)
    assert len(str(error)) < 300


def test_no_message_tells_a_count_or_a_list_that_the_exercise_asks_for(attempt):
    """A message that names what was found must not name what it should have been."""
    assert not re.search(r"\d", str(attempt("spot-leak", LEAKS + "leaks = leaks[1:]")))
    assert "1000" not in str(attempt("count-folders", COUNT + "split_sizes['train'] = 999"))


# --- the split with a leak ---


@pytest.mark.parametrize("seed", [7, 17, 3])
def test_a_leaky_split_is_balanced_and_differs_with_its_seed(images, seed):
    forget()
    split = leaky_split(seed)
    assert np.bincount(split.train_labels).tolist() == [70] * 5
    assert np.bincount(split.test_labels).tolist() == [30] * 5
    known = {image.tobytes(): label for image, label in zip(split.train_images, split.train_labels, strict=True)}
    leaks = [place for place, image in enumerate(split.test_images) if image.tobytes() in known]
    assert 40 <= len(leaks) <= 100
    assert all(known[split.test_images[place].tobytes()] == split.test_labels[place] for place in leaks)
    again, other = leaky_split(seed), leaky_split(seed + 1)
    assert np.array_equal(again.test_images, split.test_images)
    assert not np.array_equal(other.test_images, split.test_images)
    forget()
