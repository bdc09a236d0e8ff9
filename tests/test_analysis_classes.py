"""Data with fewer classes keep their rows and get labels without gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evojax_prune.analysis import added_in_turn, left_out, share_of, with_classes
from evojax_prune.core.splits import FeatureSplits, Split

NAMES = ("ant", "bee", "cat", "dog")


def splits() -> FeatureSplits:
    rng = np.random.default_rng(0)

    def split(rows: int) -> Split:
        y = rng.permutation(np.arange(rows, dtype=np.int32) % 4)
        # a row says what class it was
        return Split(np.stack([y, np.arange(rows)], 1).astype("f4"), y)

    return FeatureSplits(split(20), split(8), split(12), NAMES)


@given(st.sets(st.integers(0, 3), min_size=2))
def test_rows_of_the_classes_are_kept_and_relabelled(kept: set[int]) -> None:
    whole = splits()
    some = with_classes(whole, list(kept))
    assert some.classes == tuple(NAMES[c] for c in sorted(kept))
    for before, after in (
        (whole.train, some.train),
        (whole.selection, some.selection),
        (whole.test, some.test),
    ):
        np.testing.assert_array_equal(after.x, before.x[np.isin(before.y, list(kept))])
        np.testing.assert_array_equal(np.sort(list(kept))[after.y], after.x[:, 0])
        assert after.y.dtype == np.int32


def test_each_class_is_left_out_once() -> None:
    found = dict(left_out(splits()))
    assert list(found) == list(NAMES)
    for name, some in found.items():
        assert set(some.classes) == set(NAMES) - {name}


def test_classes_are_added_until_the_set_is_whole() -> None:
    *some, (last, whole) = added_in_turn(splits(), order=[2, 0, 3, 1])
    assert [s.classes for _, s in some] == [("ant", "cat"), ("ant", "cat", "dog")]
    assert last == "bee"
    np.testing.assert_array_equal(whole.train.x, splits().train.x)


def test_a_share_grows_within_one_class() -> None:
    whole = splits()
    before: set[int] = set()
    for share in (0.2, 0.6, 1.0):
        some = share_of(whole, 1, share, seed=3).train
        rows = set(some.x[some.y == 1][:, 1].astype(int))
        assert len(rows) == round(share * 5)
        assert before <= rows
        assert (some.y != 1).sum() == 15
        before = rows
    np.testing.assert_array_equal(some.x, whole.train.x)


def test_too_few_classes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least two"):
        with_classes(splits(), [1])
