"""The images of the course: found, checked and read; every fault named with its path."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers import data
from helpers.data import CLASS_NAMES, SPLITS, DataError, find_data, find_holdout, prepare_datasets


def write_images(root: Path, per_class: int = 3, suffix: str = "png") -> Path:
    """A small set of images in the layout of the course; returns the folder `cifar10_images_small`."""
    rng = np.random.default_rng(0)
    folder = root / "cifar10_images_small"
    for place in (*(folder / split for split in SPLITS), root / "holdout"):
        for name in CLASS_NAMES:
            (place / name).mkdir(parents=True)
            for index in range(per_class):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / name / f"{index:04d}.{suffix}")
    return folder


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root)
    return root


@pytest.fixture
def images(pristine: Path, tmp_path: Path) -> Path:
    """A copy to spoil: the folder that holds `cifar10_images_small`."""
    return shutil.copytree(pristine, tmp_path / "copy")


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variables, and a working folder without images in it or above."""
    monkeypatch.delenv(data.DATA_VARIABLE, raising=False)
    monkeypatch.delenv(data.HOLDOUT_VARIABLE, raising=False)
    empty = tmp_path / "elsewhere"
    empty.mkdir()
    monkeypatch.chdir(empty)


def labels_of(dataset) -> list[int]:
    return np.concatenate([labels for _, labels in dataset.as_numpy_iterator()]).tolist()


def pixels_of(dataset) -> np.ndarray:
    return np.concatenate([pixels for pixels, _ in dataset.as_numpy_iterator()])


def problem_with(directory: Path) -> str:
    with pytest.raises(DataError) as caught:
        prepare_datasets(directory)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_it_prints_the_three_lines_of_keras_and_nothing_else(pristine, capfd):
    prepare_datasets(pristine)
    out, err = capfd.readouterr()
    assert out == "Found 15 files belonging to 5 classes.\n" * 3
    assert err == ""


def test_each_dataset_has_class_names_and_batches_of_images(pristine):
    for dataset in prepare_datasets(pristine, image_size=(16, 24), batch_size=4):
        assert dataset.class_names == ["airplane", "bird", "cat", "dog", "truck"]
        assert len(dataset) == 4
        pixels, labels = next(iter(dataset))
        assert pixels.shape == (4, 16, 24, 3)
        assert pixels.dtype.name == "float32"
        assert labels.shape == (4,)


def test_the_test_and_validation_images_keep_their_order(pristine):
    _, val, test = prepare_datasets(pristine)
    for dataset in (val, test):
        for _ in range(2):
            assert labels_of(dataset) == sorted(labels_of(dataset))


def test_pixels_and_labels_are_those_of_the_files(pristine):
    _, _, test = prepare_datasets(pristine)
    paths = sorted((pristine / "cifar10_images_small" / "test").glob("*/*.png"))
    assert np.array_equal(pixels_of(test), np.stack([np.asarray(Image.open(path)) for path in paths]))
    assert [CLASS_NAMES[label] for label in labels_of(test)] == [path.parent.name for path in paths]


def test_training_images_come_in_a_new_order_each_pass_and_the_same_orders_for_the_same_seed(pristine):
    def orders(seed: int) -> list[list[float]]:
        train, _, _ = prepare_datasets(pristine, seed=seed)
        return [pixels_of(train)[:, 0, 0, 0].tolist() for _ in range(3)]

    first = orders(1)
    assert first == orders(1)
    assert first != orders(2)
    assert first[0] != first[1] != first[2]
    assert sorted(first[0]) == sorted(first[1])


@pytest.mark.parametrize("stop_early", [False, True])
def test_no_file_is_read_after_the_datasets_are_prepared(images, stop_early):
    datasets = prepare_datasets(images)
    if stop_early:
        for dataset in datasets:
            next(iter(dataset.take(1)))
    shutil.rmtree(images)
    for dataset in datasets:
        assert len(labels_of(dataset)) == len(labels_of(dataset)) == 15


def test_images_are_found_in_data_in_a_folder_above(pristine, tmp_path, monkeypatch):
    shutil.copytree(pristine, tmp_path / "course" / "data")
    below = tmp_path / "course" / "release" / "01"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert find_data() == tmp_path / "course" / "data" / "cifar10_images_small"
    assert find_holdout() == tmp_path / "course" / "data" / "holdout"


def test_the_argument_comes_before_the_variable_and_the_variable_before_the_working_folder(
    pristine, tmp_path, monkeypatch
):
    named, argued = (shutil.copytree(pristine, tmp_path / name) for name in ("named", "argued"))
    shutil.copytree(pristine, Path.cwd() / "data")
    assert find_data() == Path.cwd() / "data" / "cifar10_images_small"
    monkeypatch.setenv(data.DATA_VARIABLE, str(named))
    assert find_data() == named / "cifar10_images_small"
    assert find_data(argued) == argued / "cifar10_images_small"


def test_the_folder_itself_may_be_named(pristine):
    folder = pristine / "cifar10_images_small"
    assert find_data(folder) == folder


def test_a_named_folder_that_is_not_there_is_an_error_that_says_who_named_it(tmp_path, monkeypatch):
    missing = tmp_path / "nowhere"
    assert str(missing) in problem_with(missing)
    monkeypatch.setenv(data.DATA_VARIABLE, str(missing))
    with pytest.raises(DataError, match=r"nowhere.*no such place.*CNN_COURSE_DATA"):
        prepare_datasets()


def test_a_named_folder_without_images_is_an_error(tmp_path):
    (tmp_path / "wrong").mkdir()
    assert "no such folder in it" in problem_with(tmp_path / "wrong")


def test_a_missing_split_is_named(images):
    split = images / "cifar10_images_small" / "val"
    shutil.rmtree(split)
    assert problem_with(images).startswith(f"{split}: no such folder")


def test_a_missing_class_is_named(images):
    missing = images / "cifar10_images_small" / "val" / "cat"
    shutil.rmtree(missing)
    assert problem_with(images).startswith(f"{missing}: the folder of this class is missing")


def test_a_class_without_images_is_named(images):
    folder = images / "cifar10_images_small" / "train" / "dog"
    for path in folder.iterdir():
        path.unlink()
    assert problem_with(images).startswith(f"{folder}: no images of this class")


@pytest.mark.parametrize("keep_folders", [False, True])
def test_an_empty_split_is_named(images, keep_folders):
    split = images / "cifar10_images_small" / "test"
    for folder in list(split.iterdir()):
        shutil.rmtree(folder)
        if keep_folders:
            folder.mkdir()
    assert problem_with(images).startswith(f"{split}: no images in it")


def test_a_class_too_many_is_named(images):
    extra = images / "cifar10_images_small" / "train" / "frog"
    shutil.copytree(extra.with_name("cat"), extra)
    assert problem_with(images).startswith(f"{extra}: an unexpected folder")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_damaged_image_is_named(tmp_path, suffix):
    path = write_images(tmp_path / suffix, suffix=suffix) / "train" / "bird" / f"0001.{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert problem_with(tmp_path / suffix).startswith(f"{path}: a damaged image")


def test_a_text_file_that_calls_itself_an_image_is_named(images):
    path = images / "cifar10_images_small" / "test" / "truck" / "0000.png"
    path.write_text("not a truck")
    assert problem_with(images).startswith(f"{path}: no image, though its name says so")


def test_an_empty_file_is_named(images):
    path = images / "cifar10_images_small" / "val" / "truck" / "0002.png"
    path.write_bytes(b"")
    assert problem_with(images).startswith(f"{path}: an empty file")


def test_a_file_of_another_kind_among_the_images_is_named(images):
    path = images / "cifar10_images_small" / "train" / "cat" / "notes.txt"
    path.write_text("remember the milk")
    assert problem_with(images).startswith(f"{path}: a file that is no image")


def test_a_folder_among_the_images_is_named(images):
    path = images / "cifar10_images_small" / "train" / "cat" / "more"
    path.mkdir()
    assert problem_with(images).startswith(f"{path}: a folder, where only images")


def test_what_desktops_leave_behind_does_no_harm(images):
    (images / "cifar10_images_small" / "train" / ".DS_Store").write_bytes(b"x")
    (images / "cifar10_images_small" / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (images / "cifar10_images_small" / "train" / "dog" / "Thumbs.db").write_bytes(b"x")
    (images / "cifar10_images_small" / "train" / ".ipynb_checkpoints").mkdir()
    train, _, _ = prepare_datasets(images)
    assert len(labels_of(train)) == 15


def test_the_error_is_a_value_error():
    assert issubclass(DataError, ValueError)


def test_held_out_images_are_found_beside_in_or_where_the_variable_says(images, tmp_path, monkeypatch):
    monkeypatch.setenv(data.DATA_VARIABLE, str(images))
    assert find_holdout() == images / "holdout"
    inside = images / "cifar10_images_small" / "holdout"
    shutil.move(images / "holdout", inside)
    assert find_holdout() == inside
    other = shutil.copytree(inside, tmp_path / "other")
    monkeypatch.setenv(data.HOLDOUT_VARIABLE, str(other))
    assert find_holdout() == other


def test_missing_held_out_images_are_an_error_that_names_the_path(images, tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no held-out images here"):
        find_holdout()
    monkeypatch.setenv(data.DATA_VARIABLE, str(images))
    shutil.rmtree(images / "holdout" / "dog")
    with pytest.raises(DataError, match=r"holdout/dog: the folder of this class is missing"):
        find_holdout()
    shutil.rmtree(images / "holdout")
    with pytest.raises(DataError, match=r"holdout: no held-out images, neither there nor in"):
        find_holdout()
    monkeypatch.setenv(data.HOLDOUT_VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(DataError, match=r"gone: no such folder.*CNN_COURSE_HOLDOUT"):
        find_holdout()


def test_the_stand_in_is_drawn_where_there_is_nothing_and_each_use_says_so(tmp_path, monkeypatch, capsys):
    # Fewer images than the real stand-in has: what is tested is when it is drawn, not how much of it.
    monkeypatch.setattr("helpers.standin.IMAGES_PER_CLASS", {"train": 3, "val": 2, "test": 2, "holdout": 1})
    assert find_data() is None
    folder = Path.cwd() / "data" / "cifar10_images_small"
    for _ in range(2):
        prepare_datasets()
        note, *found = capsys.readouterr().out.splitlines()
        assert "stand-in" in note and str(folder) in note and "autograder data" in note
        assert found == [f"Found {count} files belonging to 5 classes." for count in (15, 10, 10)]
    assert data.is_standin(folder)
    assert find_holdout() == folder.parent / "holdout"


def test_a_stand_in_drawn_beside_a_notebook_does_not_hide_real_images_put_above_it_later(monkeypatch):
    above, here = Path.cwd(), Path.cwd() / "notebooks" / "01-introduction"
    drawn = here / "data" / "cifar10_images_small"
    drawn.mkdir(parents=True)
    (drawn / data.STANDIN_MARKER).touch()
    monkeypatch.chdir(here)
    assert find_data() == drawn
    (above / "data" / "cifar10_images_small").mkdir(parents=True)
    assert find_data() == above / "data" / "cifar10_images_small"


def test_a_folder_that_cannot_be_written_to_is_named_when_the_stand_in_is_needed():
    (Path.cwd() / "data").write_text("a file in the way")
    with pytest.raises(DataError, match=r"data: no images were found, and the stand-in could not be written"):
        prepare_datasets()
