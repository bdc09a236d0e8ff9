"""Splits know which rows they are of, and a few images can be had again without all the others."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evojax_prune.core.errors import UserError
from evojax_prune.core.scaling import scale_splits
from evojax_prune.data import (
    FeatureTable,
    ImageDataset,
    LoadOptions,
    find_source,
    load,
    make_splits,
)
from evojax_prune.data.decoding import decode_image
from evojax_prune.data.sources import folder as folders
from evojax_prune.features import BACKBONES, load_table, register_backbone


def table(given: tuple[str, ...], rows: int = 60) -> FeatureTable:
    rng = np.random.default_rng(0)
    return FeatureTable(
        "t",
        "1",
        ("a", "b", "c"),
        {name: rng.normal(size=(rows, 4)).astype(np.float32) for name in given},
        {name: (np.arange(rows) % 3).astype(np.int32) for name in given},
        {name: np.array([f"{name}{i // 3}" for i in range(rows)]) for name in given},
        "t",
        {name: tuple(f"{name}/{i}" for i in range(rows)) for name in given},
    )


@pytest.mark.parametrize("given", [("all",), ("train", "test")], ids=str)
@pytest.mark.parametrize("selection", ["holdout", "resampled", "test-half", "test", "kfold"])
def test_rows_are_those_that_the_features_are_of(given: tuple[str, ...], selection: str) -> None:
    data = table(given)
    for splits in make_splits(data, selection=selection, folds=3, seed=1):  # type: ignore[arg-type]
        scaled, _ = scale_splits(splits, "standard")
        for plain, split in zip(_three(splits), _three(scaled), strict=True):
            assert split.rows is plain.rows is not None
            name, numbers = split.rows.given.name, split.rows.numbers
            np.testing.assert_array_equal(plain.x, data.x[name][numbers])
            np.testing.assert_array_equal(plain.y, data.y[name][numbers])
            assert data.groups is not None
            np.testing.assert_array_equal(split.rows.groups, data.groups[name][numbers])
            assert split.rows.given.names == data.names[name]  # type: ignore[index]


def _three(splits: object) -> list[object]:
    return [getattr(splits, name) for name in ("train", "selection", "test")]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An image folder, and one of the files is not like the others."""
    rng = np.random.default_rng(0)
    for kind in ("ant", "bee"):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(0, 255, (5, 7, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / kind / f"{i}.png")
    return tmp_path / "images"


def test_images_of_a_folder_are_read_alone(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(BACKBONES)
    register_backbone("mean", lambda b: b.mean((1, 2)), image_size=8, version="1")
    try:
        for _ in range(2):  # extracted, and then from the cache
            features = load_table(str(images), backbone="mean")
            assert features.images is not None
            assert features.names is not None
            opened: list[Path] = []

            def decode(path: Path, opened: list[Path] = opened) -> np.ndarray:
                opened.append(path)
                return decode_image(path)

            with monkeypatch.context() as patched:
                patched.setattr(folders, "decode_image", decode)
                found = features.images("all", [7, 2])
            assert opened == [images / features.names["all"][row] for row in (7, 2)]
            for image, path in zip(found, opened, strict=True):
                np.testing.assert_array_equal(image, decode_image(path))
        opened[0].unlink()
        with pytest.raises(UserError, match="cannot be read as an image"):
            features.images("all", [7])
    finally:
        BACKBONES.clear()
        BACKBONES.update(known)


def same_images(dataset: str, options: LoadOptions, split: str, rows: list[int]) -> None:
    loaded = load(dataset, options)
    assert isinstance(loaded, ImageDataset)
    given = loaded.splits[split]
    everything = list(given.images())
    found = find_source(dataset).images(dataset, options, split, rows, given.paths)
    for row, image in zip(rows, found, strict=True):
        np.testing.assert_array_equal(image, everything[row])
    for row, image in zip(rows, given.pick(rows), strict=True):
        np.testing.assert_array_equal(image, everything[row])


def test_images_of_digits() -> None:
    same_images("digits", LoadOptions(), "all", [1796, 3, 3])


@pytest.mark.parametrize("form", ["array_record", pytest.param("tfrecord", marks=pytest.mark.slow)])
def test_images_of_a_named_data_set(shared_data: Path, tmp_path: Path, form: str) -> None:
    folder = tmp_path / "cifar10" / "3.0.2"
    shutil.copytree(shared_data / "tfds" / "cifar10" / "3.0.2", folder)
    if form == "tfrecord":
        import tensorflow_datasets as tfds

        for split in ("train", "test"):
            raw = tfds.builder_from_directory(folder).as_data_source(split).data_source
            records = raw.__getitems__(list(range(len(raw))))
            (folder / f"cifar10-{split}.tfrecord-00000-of-00001").write_bytes(
                b"".join(struct.pack("<Q4x", len(r)) + r + bytes(4) for r in records)
            )
        for file in folder.glob("*.array_record*"):
            file.unlink()
        info = json.loads((folder / "dataset_info.json").read_text())
        (folder / "dataset_info.json").write_text(json.dumps(info | {"fileFormat": "tfrecord"}))
    same_images("cifar10", LoadOptions(tmp_path), "test", [1999, 0, 64])
