"""Fresh splits: exact shares, whole groups, every class trained on, the same for a seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable, ResampledSplits, Resampler, make_splits

FRACTIONS = st.sampled_from([0.05, 0.2, 0.25, 1 / 3, 0.5, 0.8])


@st.composite
def labelled(draw: st.DrawFn) -> np.ndarray:
    """Two to six classes of 1 to 60 rows, one of them with two at least."""
    counts = [draw(st.integers(2, 60)), *draw(st.lists(st.integers(1, 60), min_size=1, max_size=5))]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int32)


def check(labels: np.ndarray, split: tuple[np.ndarray, np.ndarray]) -> None:
    train, selection = split
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(len(labels)))
    assert len(selection)
    assert (np.diff(train) > 0).all()
    assert (np.diff(selection) > 0).all()
    assert set(labels[train]) == set(labels)


@settings(deadline=None, max_examples=150)
@given(labelled(), FRACTIONS, st.integers(0, 2**63))
def test_shares_without_groups(labels: np.ndarray, fraction: float, seed: int) -> None:
    resampler = Resampler(labels, None, fraction, seed)
    sizes = set()
    for occasion in range(5):
        train, selection = resampler.split(occasion)
        check(labels, (train, selection))
        sizes.add(len(train))
        counts = np.bincount(labels)
        taken = np.bincount(labels[selection], minlength=len(counts))
        assert (taken < counts).all()
        shares = counts * len(selection) / len(labels)
        if (shares <= counts - 1).all():  # no class is at its limit
            assert np.abs(taken - shares).max() < 1
    assert len(sizes) == 1  # so that programs are compiled once


def test_sizes_are_as_asked() -> None:
    labels = np.repeat(np.arange(3), [500, 300, 200]).astype(np.int32)
    for fraction, size in ((0.2, 200), (0.333, 333), (0.7, 700)):
        for occasion in range(3):
            _, selection = Resampler(labels, None, fraction, 1).split(occasion)
            assert len(selection) == size
            taken = np.bincount(labels[selection])
            assert np.abs(taken - fraction * np.array([500, 300, 200])).max() < 1


def test_every_row_is_drawn_as_often() -> None:
    labels = np.repeat(np.arange(4), [3, 7, 11, 29]).astype(np.int32)
    resampler = Resampler(labels, None, 0.25, 5)
    drawn = np.zeros(50)
    occasions = 4000
    for occasion in range(occasions):
        drawn[resampler.split(occasion)[1]] += 1
    share = len(resampler.split(0)[1]) / 50
    # five standard errors of a binomial share
    assert np.abs(drawn / occasions - share).max() < 5 * np.sqrt(share * (1 - share) / occasions)


def test_occasions_and_seeds_differ_and_repeat() -> None:
    labels = np.tile([0, 1], 50).astype(np.int32)
    for groups in (None, np.arange(100) // 4):
        seen = set()
        for seed in (0, 1, 2):
            for occasion in (0, 1, 2):
                splits = [Resampler(labels, groups, 0.3, seed).split(occasion) for _ in range(2)]
                np.testing.assert_array_equal(splits[0][1], splits[1][1])
                seen.add(splits[0][1].tobytes())
        assert len(seen) == 9


def test_the_order_of_occasions_does_not_matter() -> None:
    labels = np.tile([0, 1], 50).astype(np.int32)
    one, other = (Resampler(labels, None, 0.3, 0) for _ in range(2))
    forwards = [one.split(i)[1] for i in range(4)]
    backwards = [other.split(i)[1] for i in reversed(range(4))]
    for a, b in zip(forwards, reversed(backwards), strict=True):
        np.testing.assert_array_equal(a, b)


# Groups


@settings(deadline=None, max_examples=150)
@given(labelled(), st.integers(2, 30), FRACTIONS, st.integers(0, 2**40))
def test_groups_stay_whole(labels: np.ndarray, many: int, fraction: float, seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, many, len(labels))
    of_class = [set(groups[labels == c].tolist()) for c in range(labels.max() + 1)]
    alone = {g for found in of_class if len(found) == 1 for g in found}
    if alone == set(groups.tolist()):
        with pytest.raises(UserError, match="each class needs two groups or more"):
            Resampler(labels, groups, fraction, seed)
        return
    resampler = Resampler(labels, groups.astype(np.str_), fraction, seed)
    for occasion in range(5):
        train, selection = resampler.split(occasion)
        check(labels, (train, selection))
        assert not set(groups[train]) & set(groups[selection])
        assert not alone & set(groups[selection].tolist())


def test_group_sizes_and_shares_are_right_on_average() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 30, 80)
    groups = np.repeat(np.arange(80), sizes)
    labels = (groups % 4 == 0).astype(np.int32)  # as patients with one diagnosis
    resampler = Resampler(labels, groups, 0.2, 0)
    taken = np.array([np.bincount(labels[resampler.split(i)[1]], minlength=2) for i in range(400)])
    np.testing.assert_allclose(taken.mean(0) / np.bincount(labels), 0.2, atol=0.02)
    assert taken.min() > 0
    assert np.abs(taken.sum(1) / len(labels) - 0.2).max() < 0.06


def test_every_one_of_few_large_groups_is_drawn() -> None:
    # as the hands of rps28: seven groups, each with as many images of each class
    labels = np.tile(np.arange(3), 7 * 10).astype(np.int32)
    hands = np.repeat(np.arange(7), 30)
    resampler = Resampler(labels, hands, 2 / 7, 0)
    drawn = np.zeros(7)
    for occasion in range(300):
        chosen = np.unique(hands[resampler.split(occasion)[1]])
        assert len(chosen) == 2
        drawn[chosen] += 1
    assert drawn.min() > 50


# Splits


def table(test: bool, groups: bool, rows: int = 120) -> FeatureTable:
    """A table whose one feature is the row's number, over all splits."""
    names = {"train": rows, "test": 40} if test else {"all": rows}
    starts = dict(zip(names, (0, rows), strict=False))
    numbers = {name: np.arange(starts[name], starts[name] + n) for name, n in names.items()}
    return FeatureTable(
        "made",
        "1",
        ("a", "b", "c"),
        {name: n.astype(np.float32)[:, None] for name, n in numbers.items()},
        {name: (n % 3).astype(np.int32) for name, n in numbers.items()},
        {name: (n // 6).astype(np.str_) for name, n in numbers.items()} if groups else None,
        "a made table",
    )


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize("test", [False, True])
def test_no_row_or_group_of_test_is_seen_before_the_end(test: bool, groups: bool) -> None:
    data = table(test, groups)
    (made,) = make_splits(data, selection="resampled", seed=3, allow_group_overlap=True)
    assert isinstance(made, ResampledSplits)
    test_rows = set(made.test.x[:, 0])
    assert len(made.selection) == 0
    assert not made.selected_on_test
    everything = {float(v) for x in data.x.values() for v in x[:, 0]}
    assert set(made.train.x[:, 0]) == everything - test_rows
    seen = set()
    for number in range(60):
        occasion = made.occasion(number)
        used = set(occasion.train.x[:, 0]) | set(occasion.selection.x[:, 0])
        assert used == set(made.train.x[:, 0])
        assert not set(occasion.train.x[:, 0]) & set(occasion.selection.x[:, 0])
        assert occasion.test is made.test
        assert occasion.classes == made.classes
        for part in (occasion.train, occasion.selection):
            np.testing.assert_array_equal(part.y, part.x[:, 0].astype(int) % 3)
        if groups:
            assert not {v // 6 for v in used} & {v // 6 for v in test_rows}
        seen |= set(occasion.selection.x[:, 0])
    assert seen == set(made.train.x[:, 0])  # every row is selected on at some time


def test_the_test_split_is_that_of_holdout() -> None:
    for data in (table(False, False), table(False, True)):
        one, two = (
            make_splits(data, selection=selection, seed=7)[0]
            for selection in ("holdout", "resampled")
        )
        np.testing.assert_array_equal(one.test.x, two.test.x)


def test_too_few() -> None:
    x, y = np.zeros((5, 1), np.float32), np.array([0, 0, 0, 0, 1], np.int32)
    data = FeatureTable("t", "1", ("a", "b"), {"train": x, "test": x}, {"train": y, "test": y},
                        None, "t")  # fmt: skip
    with pytest.raises(UserError, match=r"'b' \(1\).*least 2 .*selection resampled"):
        make_splits(data, selection="resampled", seed=0)
    with pytest.raises(UserError, match="no class has two rows"):
        Resampler(np.arange(4, dtype=np.int32), None, 0.5, 0)
    with pytest.raises(UserError, match="from 1 groups: each class needs two groups"):
        Resampler(y, np.zeros(5), 0.5, 0)


@pytest.mark.parametrize("grouped", [False, True])
def test_an_occasion_takes_little_time(grouped: bool) -> None:
    labels = np.random.default_rng(0).integers(0, 10, 2000).astype(np.int32)
    resampler = Resampler(labels, np.arange(2000) // 5 if grouped else None, 0.2, 0)
    took = []
    for occasion in range(30):
        began = time.perf_counter()
        resampler.split(occasion)
        took.append(time.perf_counter() - began)
    assert min(took) < 2e-3
