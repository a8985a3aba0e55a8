"""The stand-in: complete, the same each time, whole or not there at all, and about as hard as photographs."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import calibrate, standin
from helpers.data import CLASS_NAMES, STANDIN_MARKER
from helpers.standin import draw_image, draw_standin


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in of few images, for tests of how it is written."""
    monkeypatch.setattr(standin, "IMAGES_PER_CLASS", {"train": 2, "val": 1, "test": 1, "holdout": 1})


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_has_the_layout_of_the_real_images(standin_images):
    places = {"train": 200, "val": 50, "test": 50}
    for folder, count in [
        (standin_images / "cifar10_images_small" / split, count) for split, count in places.items()
    ] + [(standin_images / "holdout", 100)]:
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == list(CLASS_NAMES)
        for name in CLASS_NAMES:
            assert len(list((folder / name).glob("*.png"))) == count
    assert sorted(path.name for path in standin_images.iterdir()) == ["cifar10_images_small", "holdout"]
    assert (standin_images / "cifar10_images_small" / STANDIN_MARKER).is_file()


def test_every_image_is_rgb_of_32_by_32_and_none_comes_twice(standin_images):
    seen = set()
    for path in standin_images.rglob("*.png"):
        with Image.open(path) as image:
            assert (image.mode, image.size) == ("RGB", (32, 32))
            seen.add(image.tobytes())
    assert len(seen) == 2000


def test_another_process_draws_the_same_files_byte_for_byte(tmp_path, few):
    code = (
        "import sys\nfrom helpers import standin\n"
        "standin.IMAGES_PER_CLASS = {'train': 2, 'val': 1, 'test': 1, 'holdout': 1}\n"
        "standin.draw_standin(sys.argv[1])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "there"], check=True)
    draw_standin(tmp_path / "here")
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_another_seed_draws_other_images(tmp_path, few):
    draw_standin(tmp_path / "one", seed=1)
    draw_standin(tmp_path / "two", seed=2)
    one, two = (set(contents(tmp_path / name).values()) for name in ("one", "two"))
    assert not one & two


def test_a_drawing_that_is_interrupted_leaves_nothing(tmp_path, few, monkeypatch):
    drawn_so_far = []

    def draw_three(name, rng):
        if len(drawn_so_far) == 3:
            raise KeyboardInterrupt
        drawn_so_far.append(name)
        return draw_image(name, rng)

    monkeypatch.setattr(standin, "draw_image", draw_three)
    with pytest.raises(KeyboardInterrupt):
        draw_standin(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_stand_in_that_is_there_is_left_as_it_is(tmp_path, few, monkeypatch):
    draw_standin(tmp_path)
    before = contents(tmp_path)
    monkeypatch.setattr(standin, "draw_image", lambda name, rng: pytest.fail("drawn again"))
    assert draw_standin(tmp_path) == tmp_path / "cifar10_images_small"
    assert contents(tmp_path) == before


def test_a_half_that_is_missing_is_drawn_again(tmp_path, few):
    draw_standin(tmp_path)
    before = contents(tmp_path)
    (tmp_path / "cifar10_images_small").rename(tmp_path.parent / "away")
    draw_standin(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["cifar10_images_small", "holdout"])
def test_other_images_are_never_overwritten(tmp_path, few, place):
    mine = tmp_path / place / "cat" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=place):
        draw_standin(tmp_path)
    assert list(tmp_path.rglob("*.*")) == [mine]


def test_a_stand_in_drawn_meanwhile_by_another_process_is_taken(tmp_path, few, monkeypatch):
    real_draw = standin.draw_split

    def draw_after_another(split, seed):
        if split == "holdout":  # the last
            monkeypatch.setattr(standin, "draw_split", real_draw)
            draw_standin(tmp_path, seed)
        yield from real_draw(split, seed)

    monkeypatch.setattr(standin, "draw_split", draw_after_another)
    assert draw_standin(tmp_path) == tmp_path / "cifar10_images_small"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar10_images_small", "holdout"]


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_images_of_a_class_vary_in_colour_and_place(name):
    images = np.stack([np.asarray(draw_image(name, np.random.default_rng(seed)), float) for seed in range(40)])
    assert images.mean(axis=(1, 2)).std(axis=0).min() > 10
    assert images.std(axis=0).min() > 20


@pytest.mark.slow
def test_the_first_model_learns_on_it_as_on_photographs_and_confuses_cats_with_dogs(standin_images):
    # One training alone strays by 0.04, and other processors stray otherwise; the mean of three is steady enough.
    learning = calibrate.learn(calibrate.Images.read(standin_images), seeds=range(3))
    for (model, measure), wanted in calibrate.ON_PHOTOGRAPHS.items():
        assert learning.mean(model, measure) == pytest.approx(wanted, abs=calibrate.TOLERANCE), (model, measure)
    assert learning.confused_pairs()[0][0] == "cat and dog"


def test_the_comparison_fails_when_an_accuracy_is_too_far_off():
    near, far = calibrate.Learning(), calibrate.Learning()
    for key, wanted in calibrate.ON_PHOTOGRAPHS.items():
        near.accuracies[key] = [wanted + 0.07]
        far.accuracies[key] = [wanted]
    near.confusion[2, 3] = far.confusion[3, 2] = 5
    far.accuracies["rescaled", calibrate.MEASURES[1]] = [0.9]
    assert calibrate.table(near, None)[1]
    assert not calibrate.table(far, None)[1]
    near.confusion[0, 1] = 9
    assert not calibrate.table(near, None)[1]
