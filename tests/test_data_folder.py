"""Image folders: layouts, identity, and each bad input as one clear sentence."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evojax_prune import data as source
from evojax_prune.core.errors import UserError
from evojax_prune.data import ImageDataset, LoadOptions, identify


def paint(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 3), (level, level, level)).save(path)


def truncate(path: Path) -> None:
    """Make it an image with a good head of which the end is missing."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:4000])


@pytest.fixture
def single(tmp_path: Path) -> Path:
    """DIR/<class>/*: 3 cats and 4 dogs."""
    for i in range(3):
        paint(tmp_path / "pets" / "cat" / f"{i}.png", i)
    for i in range(4):
        paint(tmp_path / "pets" / "dog" / f"{i}.png", 100 + i)
    return tmp_path / "pets"


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """DIR/train/<class>/* and DIR/test/<class>/*."""
    for split, count in (("train", 3), ("test", 2)):
        for name in ("cat", "dog"):
            for i in range(count):
                paint(tmp_path / "pets" / split / name / f"{i}.png", i)
    return tmp_path / "pets"


def load(folder: Path | str, **options: Any) -> ImageDataset:
    data = source.load(str(folder), LoadOptions(**options))
    assert isinstance(data, ImageDataset)
    return data


def test_one_folder(single: Path) -> None:
    data = load(single)
    assert (data.name, data.classes, list(data.splits)) == ("pets", ("cat", "dog"), ["all"])
    split = data.splits["all"]
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert split.labels.dtype == np.int32
    assert split.paths[0] == "cat/0.png"
    for _ in range(2):  # it may be iterated over again
        assert [image[0, 0, 0] for image in split.images()] == [0, 1, 2, 100, 101, 102, 103]
    assert [image.shape for image in split.images(lambda x: x[:2])] == [(2, 4, 3)] * 7


def test_train_and_test_folders(parted: Path) -> None:
    data = load(parted)
    assert {name: split.paths[-1] for name, split in data.splits.items()} == {
        "train": "train/dog/2.png",
        "test": "test/dog/1.png",
    }


def test_folders_below_the_class_and_upper_case(parted: Path) -> None:
    (parted / "train").rename(parted / "Train")
    paint(parted / "Train" / "cat" / "patient7" / "a.png")
    assert "Train/cat/patient7/a.png" in load(parted).splits["train"].paths


def test_validation_joins_training(parted: Path, caplog: pytest.LogCaptureFixture) -> None:
    paint(parted / "val" / "cat" / "9.png")
    (parted / "extra").mkdir()
    with caplog.at_level("INFO", "evojax_prune"):
        train = load(parted).splits["train"]
    assert "val/cat/9.png" in train.paths
    assert len(train) == 7
    assert "val joins the training images" in caplog.text
    assert "not used: extra" in caplog.text


def test_validation_is_the_test_split_where_there_is_none(
    parted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (parted / "test").rename(parted / "validation")
    with caplog.at_level("INFO", "evojax_prune"):
        data = load(parted)
    assert data.splits["test"].paths[0] == "validation/cat/0.png"
    assert "there is no test split, so validation is used as one" in caplog.text


def test_train_folder_alone_is_one_folder(parted: Path) -> None:
    (parted / "test").rename(parted.parent / "gone")
    assert list(load(parted).splits) == ["all"]


def test_train_may_be_a_class(single: Path) -> None:
    for i in range(3):
        paint(single / "train" / f"{i}.png")
    assert load(single).classes == ("cat", "dog", "train")


def test_an_image_beside_the_classes_is_told_of(
    single: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (single / "README.txt").write_text("")
    load(single)
    assert "outside" not in caplog.text
    paint(single / "stray.PNG")
    load(single)
    assert "1 file outside the class folders is not used" in caplog.text


def test_side_files_are_passed_over(parted: Path) -> None:
    before = identify(str(parted))
    for name in (".DS_Store", "train/cat/.hidden.png", "train/cat/Thumbs.db", "test/desktop.ini"):
        (parted / name).write_bytes(b"no image")
    (parted / ".git" / "objects").mkdir(parents=True)
    assert identify(str(parted)) == before
    assert len(load(parted).splits["train"]) == 6


def test_identity_follows_the_content(parted: Path, tmp_path: Path) -> None:
    first = identify(str(parted))
    data = load(parted)
    assert {name: split.identity for name, split in data.splits.items()} == first
    moved = parted.rename(tmp_path / "elsewhere")
    os.utime(moved / "train" / "cat" / "0.png", (1, 1))
    assert identify(str(moved)) == first
    paint(moved / "train" / "cat" / "0.png", 77)
    altered = identify(str(moved))
    assert altered["train"] != first["train"]
    assert altered["test"] == first["test"]
    (moved / "train" / "cat").rename(moved / "train" / "bird")
    (moved / "test" / "cat").rename(moved / "test" / "bird")
    assert identify(str(moved))["test"] != first["test"]
    assert identify(str(moved), LoadOptions(skip_unreadable=True)) != identify(str(moved))


def test_real_folder(shared_data: Path) -> None:
    data = load(shared_data / "hymenoptera", groups=r"ants|bees")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 245, "test": 153}
    assert data.classes == ("ants", "bees")
    image = next(data.splits["train"].images())
    assert image.dtype == np.uint8
    assert min(image.shape[:2]) == 256


# Bad input


def refused(folder: Path, pattern: str, **options: Any) -> None:
    with pytest.raises(UserError, match=pattern) as caught:
        load(folder, **options)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    refused(
        tmp_path / "nothing",
        "nothing' is not there, expected digits, a features file .* or a TensorFlow Datasets name",
    )


def test_empty_folder(tmp_path: Path) -> None:
    refused(tmp_path, "no class folders with images")


def test_empty_class(single: Path) -> None:
    (single / "mouse").mkdir()
    refused(single, "mouse holds no images")


def test_images_without_class_folders(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    refused(tmp_path, "no class folders")


def test_empty_test_folder(parted: Path) -> None:
    for path in sorted((parted / "test").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    refused(parted, "test holds no class folders")


def test_one_class(tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "a.png")
    refused(tmp_path, "has 1 class folder,")


def test_a_class_with_one_image(single: Path) -> None:
    paint(single / "mouse" / "a.png")
    refused(single, r"too few examples of class 'mouse' \(1\).*at least 3")


def test_a_training_class_with_one_image(parted: Path) -> None:
    paint(parted / "train" / "mouse" / "a.png")
    refused(parted, r"class 'mouse' \(1\): each class needs at least 2")


def test_a_class_only_in_test(parted: Path) -> None:
    paint(parted / "test" / "mouse" / "a.png")
    refused(parted, "'mouse' of the test folder")


def test_two_test_folders(parted: Path) -> None:
    paint(parted / "testing" / "cat" / "a.png")
    refused(parted, "several folders of one use")


def test_file_instead_of_folder(single: Path) -> None:
    refused(single / "cat" / "0.png", "is a file")


def test_no_image_is_named_at_once(parted: Path) -> None:
    (parted / "train" / "cat" / "notes.txt").write_text("not an image")
    refused(parted, r"train/cat/notes.txt cannot be read as an image .*--skip-unreadable")


def test_truncated_image_is_named_when_its_turn_comes(parted: Path) -> None:
    truncate(parted / "test" / "dog" / "0.png")
    images = load(parted).splits["test"].images()
    next(images)
    with pytest.raises(UserError, match=r"test/dog/0.png cannot be read"):
        list(images)


def test_skip_unreadable(parted: Path, caplog: pytest.LogCaptureFixture) -> None:
    (parted / "train" / "cat" / "notes.txt").write_text("not an image")
    truncate(parted / "train" / "dog" / "0.png")
    data = load(parted, skip_unreadable=True)
    assert data.skipped == ("train/cat/notes.txt", "train/dog/0.png")
    assert data.splits["train"].labels.tolist() == [0, 0, 0, 1, 1]
    assert len(list(data.splits["train"].images())) == 5
    assert "2 unreadable files left out" in caplog.text
    assert (
        data.splits["train"].identity
        == identify(str(parted), LoadOptions(skip_unreadable=True))["train"]
    )


def test_skipping_may_leave_too_few(parted: Path) -> None:
    for i in range(2):
        (parted / "train" / "cat" / f"{i}.png").write_text("not an image")
    refused(parted, r"class 'cat' \(1\)", skip_unreadable=True)


def test_class_names_are_names(single: Path) -> None:
    (single / "cat").rename(single / " ")
    refused(single, "pets: the name of class 0 is empty")


def test_what_is_not_a_regular_file(parted: Path, caplog: pytest.LogCaptureFixture) -> None:
    cats = parted / "train" / "cat"
    for i in range(3):
        paint(cats / f"more{i}.png")
    os.mkfifo(cats / "pipe.png")
    (cats / "device.png").symlink_to("/dev/zero")
    (cats / "gone.png").symlink_to("nowhere")
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(cats / "socket.png"))
        refused(
            parted, r"device.png cannot be read as an image \(it is a device, expected .* file\)"
        )
        with pytest.raises(UserError, match="it is a device"):
            identify(str(parted))
        data = load(parted, skip_unreadable=True)
    names = ("device", "gone", "pipe", "socket")
    assert data.skipped == tuple(f"train/cat/{name}.png" for name in names)
    assert data.splits["train"].labels.tolist() == [0] * 6 + [1] * 3
    assert time.monotonic() - began < 5
    assert "4 unreadable files left out" in caplog.text


def test_a_name_that_no_file_can_have() -> None:
    for name in ("a" * 5000, "/x\0y", ""):
        refused(Path(name) if name else Path("/dev/null"), "expected digits, a features file")


def test_groups_pattern_is_checked_early(parted: Path) -> None:
    refused(parted, "matches none of", groups="hand(.)")
    refused(parted, "is not a regular expression", groups="(")
    load(parted, groups=r"(train|test)/.*?(\d)")


def test_digits_are_rgb() -> None:
    data = load("digits")
    split = data.splits["all"]
    assert (data.name, len(split), len(data.classes)) == ("digits", 1797, 10)
    assert identify("digits") == {"all": split.identity}
    images = np.stack(list(split.images()))
    assert images.shape == (1797, 8, 8, 3)
    assert images.dtype == np.uint8
    assert images.max() == 255
    with pytest.raises(UserError, match="needs file names"):
        load("digits", groups="(.)")
