"""Features files: what is read, and each bad one as one clear sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.data import load_features_file


def arrays(**changed: Any) -> dict[str, Any]:
    """A good file's arrays with some changed, or left out where None."""
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.normal(size=(6, 3)),
        "y_train": np.array([0, 1, 2, 0, 1, 2]),
        "x_test": rng.normal(size=(4, 3)).astype(np.float16),
        "y_test": np.array([2, 1, 0, 0], np.uint8),
        "groups_train": np.array(["a", "a", "b", "b", "c", "c"]),
        "groups_test": np.array([1, 1, 2, 2]),
    }
    return {key: value for key, value in (good | changed).items() if value is not None}


@pytest.fixture
def file(tmp_path: Path):
    def save(**changed: Any) -> Path:
        path = tmp_path / "clip.npz"
        np.savez(path, **arrays(**changed))
        return path

    return save


def test_whole_file(file) -> None:
    table = load_features_file(file())
    assert (table.name, table.classes, table.source) == (
        "clip",
        ("0", "1", "2"),
        "features file clip.npz",
    )
    assert {key: (x.dtype, x.shape) for key, x in table.x.items()} == {
        "train": (np.float32, (6, 3)),
        "test": (np.float32, (4, 3)),
    }
    assert table.y["test"].tolist() == [2, 1, 0, 0]
    assert table.y["test"].dtype == np.int32
    assert table.groups["test"].tolist() == ["1", "1", "2", "2"]


def test_training_data_alone(file) -> None:
    table = load_features_file(file(x_test=None, y_test=None, groups_train=None, groups_test=None))
    assert list(table.x) == list(table.y) == ["train"]
    assert table.groups is None


def test_labels_need_not_start_at_0(file) -> None:
    table = load_features_file(
        file(y_train=np.array([7, 1, 9, 7, 1, 9]), y_test=np.array([9, 9, 7, 1]))
    )
    assert table.classes == ("1", "7", "9")
    assert table.y["train"].tolist() == [1, 0, 2, 1, 0, 2]
    assert table.y["test"].tolist() == [2, 2, 1, 0]


def test_class_names(file) -> None:
    assert load_features_file(file(classes=np.array(["x", "y", "z"]))).classes == ("x", "y", "z")


def test_version_follows_the_content(file) -> None:
    first = load_features_file(file()).version
    assert load_features_file(file()).version == first
    assert load_features_file(file(y_test=np.array([0, 0, 0, 0]))).version != first


NAN = np.where(np.eye(6, 3) > 0, np.nan, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_train": NAN}, "3 rows of x_train hold NaN or infinite numbers, the first is row 0"),
        ({"x_test": np.full((4, 3), 1e300)}, "4 rows of x_test hold NaN or infinite"),
        ({"x_train": np.ones(6)}, r"x_train has shape \[6\], expected \[rows, features\]"),
        ({"x_train": np.ones((0, 3))}, r"x_train has shape \[0, 3\]"),
        ({"x_train": np.full((6, 3), "a")}, "x_train has type <U1, expected numbers"),
        ({"x_test": np.ones((4, 2))}, "x_test has 2 features and x_train 3"),
        ({"y_train": np.arange(5)}, r"y_train has shape \[5\], expected \[6\]"),
        ({"y_train": np.zeros((6, 1), int)}, r"y_train has shape \[6, 1\], expected \[6\]"),
        ({"y_train": np.arange(6) / 2}, "y_train has type float64, expected integers"),
        ({"y_test": np.array(list("abcd"))}, "y_test has type <U1, expected integers"),
        ({"y_train": np.array([0, 1, 2, 0, 1, -1])}, "y_train holds -1"),
        ({"y_test": np.array([0, 1, 2, 3])}, "label 3 of y_test is not in y_train"),
        (
            {"y_train": np.full(6, 3), "y_test": np.full(4, 3)},
            "y_train holds the one label 3, expected two or more",
        ),
        ({"x_train": None}, "lacks x_train"),
        ({"y_test": None}, "lacks y_test"),
        ({"groups_test": None}, "lacks groups_test"),
        ({"groups_train": np.array(["a"])}, r"groups_train has shape \[1\], expected \[6\]"),
        ({"groups_test": np.ones(4)}, "groups_test has type float64"),
        ({"x_val": np.ones((2, 3))}, "holds x_val, which means nothing here"),
        ({"classes": np.array(["x", "y"])}, "classes must name the labels 0 to 2"),
        ({"y_train": np.array([0, 1, 2, 0, 1, None])}, "cannot be read as an .npz file"),
    ],
)
def test_bad_file(file, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_features_file(file(**changed))
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no features file"):
        load_features_file(tmp_path / "nothing.npz")


@pytest.mark.parametrize("content", [b"", b"not a zip file", b"PK\x03\x04broken"])
def test_no_npz_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "features.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as an \.npz file"):
        load_features_file(path)


def test_single_array(tmp_path: Path) -> None:
    with open(tmp_path / "features.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(UserError, match="holds one array"):
        load_features_file(tmp_path / "features.npz")
