"""Sources and backbones that users plug in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from features_cases import SIZE, insects, quick_backbones, table
from PIL import Image

from evojax_prune import data
from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones, load_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return insects(tmp_path / "insects")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return quick_backbones(monkeypatch)


class Mine(data.Source):
    """Features out of nowhere."""

    title = "my own data"

    def claims(self, dataset: str) -> bool:
        return dataset.startswith("mine:")

    def load(self, dataset: str, options: data.LoadOptions) -> data.FeatureTable:
        rows = int(dataset.partition(":")[2])
        return data.table_of(np.eye(rows), ["a", "b"] * (rows // 2), groups=np.arange(rows) // 2)


class MyImages(Mine):
    """Images out of nowhere."""

    reads = data.IMAGE_OPTIONS

    def identify(self, dataset: str, options: data.LoadOptions) -> dict[str, str]:
        return {"all": dataset}

    def load(self, dataset: str, options: data.LoadOptions) -> data.ImageDataset:
        levels = np.arange(int(dataset.partition(":")[2]), dtype=np.uint8)
        split = data.ImageSplit(
            "all",
            levels.astype(np.int32) % 2,
            dataset,
            None,
            levels,
            lambda v: np.full((9, 9, 3), v),
        )
        return data.ImageDataset("levels", "7", ("even", "odd"), {"all": split})


def test_a_source_of_features_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "mine", Mine())
    made = load_table("mine:8")
    assert made.x["train"].shape == (8, 8)
    assert made.classes == ("a", "b")
    with pytest.raises(
        UserError, match="--image-size does nothing with my own data, such as mine:8"
    ):
        load_table("mine:8", image_size=32)
    with pytest.raises(UserError, match="expected my own data, digits, a features file"):
        load_table("/nowhere")


def test_a_source_of_images_is_one_line(loads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "mine", MyImages())
    for _ in range(2):
        made = table("mine:12")
        np.testing.assert_array_equal(made.x["all"], np.arange(12)[:, None] * np.ones(3))
        assert made.source == "efficientnet-lite0 on levels 7"
    assert len(loads) == 1
    with pytest.raises(UserError, match="too few examples"):
        table("mine:2")


def test_a_new_source_comes_before_the_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    class Greedy(Mine):
        def claims(self, dataset: str) -> bool:
            return True

    monkeypatch.setitem(data.SOURCES, "greedy", Greedy())
    assert isinstance(data.find_source("digits"), Greedy)


def test_a_source_that_contradicts_itself_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(data.SOURCES, "mine", MyImages())
    monkeypatch.setattr(MyImages, "reads", frozenset())
    with pytest.raises(TypeError, match="its `reads` has no backbone"):
        load_table("mine:12")


def test_class_names_of_any_source_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice(Mine):
        def load(self, dataset: str, options: data.LoadOptions) -> data.FeatureTable:
            return dataclasses.replace(super().load(dataset, options), classes=("a", "a"))

    monkeypatch.setitem(data.SOURCES, "mine", Twice())
    with pytest.raises(UserError, match="arrays: 2 classes are named 'a'"):
        load_table("mine:8")


@pytest.fixture
def mine() -> Iterator[list[int]]:
    """A backbone of one's own, ``my-net``; the batch sizes that it was called with."""
    calls: list[int] = []

    def means(images: np.ndarray) -> np.ndarray:
        calls.append(len(images))
        return images.mean((1, 2), dtype=np.float64)

    backbones.register_backbone("my-net", means, image_size=SIZE, version="1")
    yield calls
    backbones.BACKBONES.pop("my-net")


def test_a_backbone_is_one_line(folder: Path, mine: list[int], cache_dir: Path) -> None:
    first = load_table(str(folder), backbone="My_Net")
    assert first.source.startswith("my-net on insects")
    path = sorted((folder / "test" / "bees").iterdir())[1]
    with Image.open(path) as image:
        small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    assert first.x["test"].dtype == np.float32
    np.testing.assert_allclose(first.x["test"][4], small.mean((0, 1)), rtol=1e-6)
    mine.clear()
    load_table(str(folder), backbone="my-net")
    assert not mine  # from the cache
    with pytest.raises(UserError, match="--backbone-weights does nothing with the backbone my-net"):
        load_table(str(folder), backbone="my-net", backbone_weights=path)


def test_another_version_is_another_backbone(folder: Path, mine: list[int]) -> None:
    before = load_table(str(folder), backbone="my-net")
    backbones.register_backbone(
        "my-net", lambda x: x.mean((1, 2, 3))[:, None], image_size=SIZE, version="2"
    )
    after = load_table(str(folder), backbone="my-net")
    assert (before.x["test"].shape[1], after.x["test"].shape[1]) == (3, 1)


@pytest.mark.parametrize(
    "made",
    [
        lambda x: x.mean((1, 2, 3)),
        lambda x: x[:, 0, 0].astype(str),
        lambda x: np.zeros((1 + len(x), 2)),
        lambda x: None,
    ],
)
def test_a_backbone_that_gives_no_features_is_named(
    folder: Path, mine: list[int], made: Any
) -> None:
    backbones.register_backbone("my-net", made, image_size=SIZE, version="3")
    with pytest.raises(
        UserError, match=r"backbone my-net gives .*expected numbers \[1, features\]"
    ):
        load_table(str(folder), backbone="my-net")


@pytest.mark.parametrize(("name", "size"), [("VGG-19", 32), ("", 32), ("my-net", 5000)])
def test_a_backbone_that_cannot_be_registered(mine: list[int], name: str, size: int) -> None:
    with pytest.raises(UserError):
        backbones.register_backbone(name, lambda x: x, image_size=size, version="1")
