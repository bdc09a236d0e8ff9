"""Data with fewer classes, or a share of one, keep their rows and get labels without gaps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable, with_shares
from evojax_prune.run.config import validated
from evojax_prune.run.data import make_problem

NAMES = ("ant", "bee", "cat", "dog")


def table() -> FeatureTable:
    rng = np.random.default_rng(0)
    y = {split: rng.permutation(np.arange(n, dtype=np.int32) % 4) for split, n in SIZES.items()}
    # a row says what class and what number it was; its image has its number in it
    x = {split: np.stack([own, np.arange(len(own))], 1).astype("f4") for split, own in y.items()}

    def images(split: str, rows: Sequence[int]) -> list[np.ndarray]:
        return [np.full((2, 2, 3), row, np.uint8) for row in rows]

    return FeatureTable(
        "zoo", "1", NAMES, x, y,
        {split: np.array([f"g{i}" for i in range(n)]) for split, n in SIZES.items()},
        "a zoo",
        {split: tuple(f"{i}.png" for i in range(n)) for split, n in SIZES.items()},
        images,
    )  # fmt: skip


SIZES = {"train": 40, "test": 12}


@given(st.sets(st.integers(0, 3), min_size=2))
def test_rows_of_the_classes_are_kept_and_relabelled(kept: set[int]) -> None:
    whole = table()
    some = with_shares(whole, {NAMES[c]: 0.0 for c in range(4) if c not in kept})
    assert some.classes == tuple(NAMES[c] for c in sorted(kept))
    for split, y in whole.y.items():
        rows = np.flatnonzero(np.isin(y, list(kept)))
        np.testing.assert_array_equal(some.x[split], whole.x[split][rows])
        np.testing.assert_array_equal(np.sort(list(kept))[some.y[split]], some.x[split][:, 0])
        assert some.y[split].dtype == np.int32


def test_what_is_known_of_a_row_goes_with_it() -> None:
    some = with_shares(table(), {"bee": 0.0, "dog": 0.5})
    assert some.groups is not None
    assert some.names is not None
    assert some.images is not None
    for split, x in some.x.items():
        numbers = x[:, 1].astype(int)
        assert some.groups[split].tolist() == [f"g{i}" for i in numbers]
        assert some.names[split] == tuple(f"{i}.png" for i in numbers)
        places = [len(x) - 1, 0]
        found = [image[0, 0, 0] for image in some.images(split, places)]
        assert found == numbers[places].tolist()
    assert some.name == "zoo (without bee; 50% of dog)"


def test_a_share_grows_within_one_class() -> None:
    whole, before = table(), set[int]()
    for share in (0.01, 0.2, 0.6, 1.0):
        some = with_shares(whole, {"bee": share})
        rows = set(some.x["train"][some.y["train"] == 1][:, 1].astype(int))
        assert len(rows) == max(1, round(share * 10))
        assert before <= rows
        assert (some.y["train"] != 1).sum() == 30
        before = rows
    assert some is whole


def test_what_cannot_be_left_out_is_refused() -> None:
    with pytest.raises(UserError, match="'bea', which zoo does not have, did you mean 'bee'"):
        with_shares(table(), {"bea": 0.0})
    with pytest.raises(UserError, match="leaves 1 of the classes of zoo"):
        with_shares(table(), dict.fromkeys(NAMES[1:], 0.0))


def test_a_run_sees_the_share_alone() -> None:
    config = validated({"class_shares": ("cat=0", "dog=0.5"), "selection": "resampled"})
    problem = make_problem(config, dataclasses.replace(table(), groups=None))
    first = problem.splits[0]
    assert first.classes == ("ant", "bee", "dog")
    assert np.bincount(first.train.y).tolist() == [10, 10, 5]
    assert problem.pruning.spec.classes == 3
    assert set(first.train.x[first.train.y == 2][:, 0]) == {first.train.x[first.train.y == 2][0, 0]}
    with pytest.raises(UserError, match=r"class_shares.cat is 2"):
        validated({"class_shares": {"cat": 2}})
