"""Features in memory: every type that is taken, and each bad array as one clear sentence."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from evojax_prune.core.errors import UserError
from evojax_prune.data import make_splits, table_of

X = np.random.default_rng(0).normal(size=(6, 3))
Y = np.array([0, 1, 2, 0, 1, 2])
DELETED = jnp.ones((6, 3))
DELETED.delete()


class Frame:
    """As a pandas object is seen by NumPy."""

    def __init__(self, values: np.ndarray):
        self.values = values

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["f2", "f4", "f8", "longdouble", "i1", "u1", "i8", "u8", "bool", ">f4", jnp.bfloat16]
)
def test_features_of_any_numeric_type(dtype: Any) -> None:
    given = (X > 0).astype(dtype)
    x = table_of(given, Y).x["train"]
    assert x.dtype == np.float32
    assert x.flags.c_contiguous
    np.testing.assert_array_equal(x, (X > 0).astype(np.float32))


def test_lists_frames_and_jax_arrays() -> None:
    expected = table_of(X, Y)
    for x in (X.tolist(), Frame(X), Frame(X.astype(object)), jnp.asarray(X, jnp.float32)):
        np.testing.assert_array_equal(table_of(x, Y).x["train"], expected.x["train"])
    assert table_of(X.tolist(), Y.tolist()).version == expected.version


LABELS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "integers": (Y, ("0", "1", "2")),
    "integers with gaps": (np.array([7, -1, 90, 7, -1, 90]), ("-1", "7", "90")),
    "large integers": (np.array([2**64 - 1, 0] * 3, np.uint64), ("0", str(2**64 - 1))),
    "bools": (np.array([True, False] * 3), ("False", "True")),
    "strings": (np.array(["b", "a", "c"] * 2), ("a", "b", "c")),
    "bytes": (np.array(["ö".encode(), b"a"] * 3), ("a", "ö")),
    "strings of any length": (np.array(["b", "a"] * 3, np.dtypes.StringDType()), ("a", "b")),
    "objects": (np.array(["b", "a"] * 3, object), ("a", "b")),
    "integer objects": (Frame(np.array([1, 2] * 3, object)), ("1", "2")),
    "a list": (["b", "a"] * 3, ("a", "b")),
    "a list of bools": ([True, False] * 3, ("False", "True")),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_of_any_type(case: str) -> None:
    labels, classes = LABELS[case]
    table = table_of(X, labels)
    assert table.classes == classes
    y = table.y["train"]
    assert y.dtype == np.int32
    found, expected = np.unique(np.asarray(labels), return_inverse=True)
    assert len(found) == len(classes)
    np.testing.assert_array_equal(y, expected)


@given(
    hnp.arrays(
        st.sampled_from(["i1", "i8", "u4", "bool", "<U3"]),
        st.integers(2, 30),
        elements=None,
    )
)
def test_classes_are_the_sorted_labels(labels: np.ndarray) -> None:
    found, expected = np.unique(labels, return_inverse=True)
    x = np.zeros((len(labels), 1))
    names = [str(label) for label in found]
    if len(found) < 2 or not all(name.strip() for name in names):
        with pytest.raises(UserError):
            table_of(x, labels)
        return
    table = table_of(x, labels)
    assert list(table.classes) == names
    np.testing.assert_array_equal(table.y["train"], expected)


def test_class_names() -> None:
    assert table_of(X, Y, classes=["x", "y", "z"]).classes == ("x", "y", "z")
    table = table_of(X, list("abcabc"), classes=("c", "a", "b"))
    assert table.classes == ("c", "a", "b")
    assert table.y["train"].tolist() == [1, 2, 0, 1, 2, 0]


def test_a_test_split_and_groups() -> None:
    table = table_of(
        X, list("abcabc"), X[:2], list("ca"), groups=[1, 1, 2, 2, 3, 3], groups_test=["p", "q"]
    )
    assert table.y["test"].tolist() == [2, 0]
    assert table.groups is not None
    assert table.groups["train"].tolist() == ["1", "1", "2", "2", "3", "3"]
    assert table.groups["test"].tolist() == ["p", "q"]
    assert (table.name, table.source) == ("arrays", "arrays")
    assert table_of(X, Y).version != table_of(X, Y, groups=Y).version


def test_what_is_given_is_not_changed_and_splits_can_be_cut() -> None:
    x = np.random.default_rng(1).normal(size=(40, 3)).astype(np.float32)
    before = x.copy()
    (splits,) = make_splits(table_of(x, np.arange(40) % 2), selection="holdout", seed=0)
    np.testing.assert_array_equal(x, before)
    assert [len(s) for s in (splits.train, splits.selection, splits.test)] == [26, 6, 8]


@pytest.mark.parametrize("types", [(np.int64, np.uint64), (np.uint64, np.int64)])
def test_large_labels_of_two_types_are_told_apart(types: tuple[type, type]) -> None:
    """NumPy would compare them as float64, for which the first two are equal."""
    y = np.array([2**62, 2**62 + 1, 5] * 2)
    table = table_of(X, y.astype(types[0]), X, y[::-1].astype(types[1]))
    np.testing.assert_array_equal(table.y["train"], [1, 2, 0] * 2)
    np.testing.assert_array_equal(table.y["test"], [0, 2, 1] * 2)


def test_names_and_labels_may_be_bytes() -> None:
    table = table_of(X, np.array([b"a", b"b", b"c"] * 2), classes=np.array([b"c", b"b", b"a"]))
    assert table.classes == ("c", "b", "a")
    np.testing.assert_array_equal(table.y["train"], [2, 1, 0] * 2)


NAN = np.where(np.eye(6, 3) > 0, np.nan, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": NAN}, "3 rows of x hold NaN or infinite numbers.*first is row 0"),
        ({"x": np.where(np.arange(6)[:, None] == 4, 1e300, X)}, "1 rows of x .*first is row 4"),
        ({"x": np.full((6, 3), -np.inf)}, "6 rows of x hold"),
        ({"x": np.ones(6)}, r"x has shape \[6\], expected \[rows, features\]"),
        ({"x": np.ones((0, 3))}, r"x has shape \[0, 3\]"),
        ({"x": np.ones((6, 0))}, r"x has shape \[6, 0\]"),
        ({"x": np.full((6, 3), "1")}, "x has type <U1, expected numbers"),
        ({"x": [[1, 2], [3]]}, "x cannot be made an array"),
        ({"x": np.full((6, 3), None)}, "x has type object, expected numbers"),
        ({"x": np.full((6, 3), "1", object)}, "x has type object, expected numbers"),
        ({"x": X.astype(complex)}, "x has type complex128, expected numbers"),
        ({"x": X.astype("M8[s]")}, "expected numbers"),
        ({"x": None}, "x missing"),
        ({"y": None}, "y missing"),
        ({"y": "012012"}, r"y has shape \[\], expected \[6\]: one label per row of x"),
        ({"y": np.arange(5)}, r"y has shape \[5\], expected \[6\]"),
        ({"y": Y[:, None]}, r"y has shape \[6, 1\], expected \[6\]"),
        ({"y": Y / 2}, "y has type float64, expected integers, bools or strings"),
        ({"y": [0, 1, 2, "0", 1, 2]}, "y holds '0' in row 3, expected every label"),
        ({"y": [0, 1, 2, None, 1, 2]}, "y holds None in row 3, expected every label"),
        ({"y": [0, 1, 2, 0.5, 1, 2]}, "y holds 0.5 in row 3, expected every label"),
        ({"y": [2**64, 1, 2, 0, 1, 2]}, "y holds integers that do not fit into 64 bits"),
        ({"y": [2**63, -1, 2, 0, 1, 2]}, "y holds integers that do not fit into 64 bits"),
        (
            {
                "y": np.array([2**64 - 1, 1, 2] * 2, np.uint64),
                "x_test": X,
                "y_test": [-1, 1, 2] * 2,
            },
            "y and y_test hold integers that do not fit",
        ),
        ({"y": ["a", "a\0", "b"] * 2}, "a label cannot end with a NUL"),
        (
            {"x": scipy.sparse.csr_array(X)},
            r"x of type csr_array cannot be used, .*: give x.toarray\(\)",
        ),
        (
            {"y": (i for i in range(6))},
            "y of type generator cannot be used, expected one label per row",
        ),
        ({"x": DELETED}, "x cannot be made an array .Array has been deleted"),
        ({"y": list("abcabc"), "classes": [["a"], "b"]}, "classes cannot be made an array"),
        ({"y": np.array([b"\xff", b"a"] * 3)}, "y holds bytes that are not UTF-8"),
        ({"y": ["a", ""] * 3}, "y: the name of class 0 is empty"),
        ({"y": ["a", " "] * 3}, "y: the name of class 0 is empty"),
        ({"y": np.full(6, 3)}, "y holds the one label 3, expected two or more"),
        ({"x_test": X}, "y_test missing"),
        ({"y_test": Y}, "x_test missing"),
        ({"x_test": X[:, :2], "y_test": Y}, "x_test has 2 features and x 3"),
        ({"x_test": X, "y_test": Y + 1}, "label 3 of y_test is not in y"),
        ({"x_test": X, "y_test": list("abcabc")}, "y_test holds strings and y integers"),
        ({"groups": ["a"]}, r"groups has shape \[1\], expected \[6\]: one group per row of x"),
        ({"groups": np.ones(6)}, "groups has type float64, expected integers, bools or strings"),
        ({"groups": Y, "groups_test": Y}, "groups_test is given without x_test"),
        ({"groups": Y, "x_test": X, "y_test": Y}, "groups_test missing"),
        ({"classes": ["x", "y"]}, "classes must name the labels 0 to 2 of y"),
        ({"classes": [1, 2, 3]}, "classes must name the labels 0 to 2 of y"),
        ({"classes": ["x", "y", "x"]}, "classes: 2 classes are named 'x'"),
        ({"classes": ["x", "", "z"]}, "classes: the name of class 1 is empty"),
        ({"y": list("abcabc"), "classes": list("abd")}, "must hold each of the 3 labels of y"),
    ],
)
def test_bad_arrays(changed: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"x": X, "y": Y} | changed
    with pytest.raises(UserError, match=message) as caught:
        table_of(**given)
    assert "\n" not in str(caught.value)
