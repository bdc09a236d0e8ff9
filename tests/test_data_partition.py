"""Train, selection and test: disjoint, complete, stratified, groups whole, the same for a seed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.data import FeatureTable, make_splits

SELECTIONS = st.sampled_from(["holdout", "test-half", "test", "kfold"])


def table(
    labels: dict[str, Any], groups: dict[str, Any] | None = None, classes: int | None = None
) -> FeatureTable:
    """A table whose one feature is the row's number, over all splits."""
    x, start = {}, 0
    for name, y in labels.items():
        x[name] = np.arange(start, start + len(y), dtype=np.float32)[:, None]
        start += len(y)
    count = classes or 1 + max(int(np.max(y)) for y in labels.values())
    return FeatureTable(
        name="made",
        version="1",
        classes=tuple(f"class {i}" for i in range(count)),
        x=x,
        y={name: np.asarray(y, np.int32) for name, y in labels.items()},
        groups=groups and {name: np.asarray(g, np.str_) for name, g in groups.items()},
        source="a made table",
    )


def rows(split: Split) -> set[int]:
    numbers = split.x[:, 0].astype(int).tolist()
    assert len(set(numbers)) == len(numbers) == len(split.y)
    return set(numbers)


def parts(splits: FeatureSplits) -> tuple[set[int], set[int], set[int]]:
    return rows(splits.train), rows(splits.selection), rows(splits.test)


def shuffled(counts: list[int], rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


@st.composite
def tables(draw: st.DrawFn, *, grouped: bool = False) -> FeatureTable:
    """Two to four unbalanced classes, in one given split or two, with 6 to 12 groups if asked."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = draw(st.lists(st.integers(15, 40), min_size=2, max_size=4))
    names = draw(st.sampled_from([("train", "test"), ("all",)]))
    labels = {name: shuffled(counts, rng) for name in names}
    groups = None
    if grouped:
        many = draw(st.integers(6, 12))
        groups = {name: [f"{name}{g}" for g in rng.integers(0, many, len(y))]
                  for name, y in labels.items()}  # fmt: skip
    return table(labels, groups)


def make(data: FeatureTable, selection: str, **options: Any) -> list[FeatureSplits]:
    return make_splits(data, selection=selection, **{"seed": 0, "folds": 3} | options)


def check_partition(data: FeatureTable, selection: str, made: list[FeatureSplits]) -> None:
    labels = np.concatenate(list(data.y.values()))
    everything = set(range(len(labels)))
    assert len(made) == (3 if selection == "kfold" else 1)
    for splits in made:
        train, chosen, test = parts(splits)
        assert train | chosen | test == everything
        assert not train & chosen
        assert not train & test
        assert (chosen == test) if selection == "test" else not chosen & test
        assert splits.selected_on_test == (selection == "test")
        assert set(splits.train.y.tolist()) == set(range(len(data.classes)))
        for split in (splits.train, splits.selection, splits.test):
            assert split.y.dtype == np.int32
            np.testing.assert_array_equal(labels[split.x[:, 0].astype(int)], split.y)
        if "test" in data.y:
            given_test = rows(Split(data.x["test"], data.y["test"]))
            assert (chosen | test if selection == "test-half" else test) == given_test
    if selection == "kfold":
        folds = [parts(splits)[1] for splits in made]
        assert sum(map(len, folds)) == len(set().union(*folds))
        assert len({frozenset(parts(splits)[2]) for splits in made}) == 1


@settings(deadline=None, max_examples=60)
@given(tables(), SELECTIONS, st.integers(0, 2**40))
def test_disjoint_complete_and_the_same_again(
    data: FeatureTable, selection: str, seed: int
) -> None:
    made = make(data, selection, seed=seed)
    check_partition(data, selection, made)
    again = make(data, selection, seed=seed)
    assert [parts(splits) for splits in made] == [parts(splits) for splits in again]


@settings(deadline=None, max_examples=25)
@given(tables(grouped=True), SELECTIONS, st.integers(0, 2**40))
def test_groups_stay_whole(data: FeatureTable, selection: str, seed: int) -> None:
    made = make(data, selection, seed=seed)
    check_partition(data, selection, made)
    groups = np.concatenate(list(data.groups.values()))
    for splits in made:
        train, chosen, test = ({groups[i] for i in part} for part in parts(splits))
        assert chosen
        assert test
        assert not train & chosen
        assert not train & test
        assert selection == "test" or not chosen & test
    again = make(data, selection, seed=seed)
    assert [parts(splits) for splits in made] == [parts(splits) for splits in again]


@settings(deadline=None, max_examples=40)
@given(tables(), SELECTIONS, st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.7]))
def test_stratified(data: FeatureTable, selection: str, fraction: float) -> None:
    for splits in make(data, selection, selection_fraction=fraction):
        if selection == "holdout":
            pool = np.concatenate([splits.train.y, splits.selection.y])
            expected = np.bincount(pool) * len(splits.selection) / len(pool)
            assert len(splits.selection) == pytest.approx(fraction * len(pool), abs=len(expected))
        elif selection == "kfold":
            pool = np.concatenate([splits.train.y, splits.selection.y])
            expected = np.bincount(pool) / 3
        elif selection == "test-half":
            expected = np.bincount(np.concatenate([splits.selection.y, splits.test.y])) / 2
        else:
            return
        assert np.abs(np.bincount(splits.selection.y) - expected).max() <= 1


def test_another_seed_another_split() -> None:
    data = table({"all": shuffled([40, 40], np.random.default_rng(0))})
    one, two = (parts(make(data, "holdout", seed=seed)[0]) for seed in (0, 1))
    assert one[1] != two[1]
    assert one[2] != two[2]


def test_test_fraction() -> None:
    data = table({"all": np.repeat([0, 1], 50)})
    (splits,) = make(data, "holdout", test_fraction=0.3, selection_fraction=0.1)
    assert [len(part) for part in parts(splits)] == [63, 7, 30]


def test_a_test_fraction_beside_a_given_test_split_is_refused() -> None:
    y = np.tile([0, 1], 10)
    data = table({"train": y, "test": y})
    with pytest.raises(UserError, match="--test-fraction does nothing where a test split is given"):
        make(data, "holdout", test_fraction=0.2)
    make(data, "holdout", test_fraction=None)
    one, two = (make(table({"all": y}), "holdout", test_fraction=f)[0] for f in (None, 0.2))
    assert parts(one) == parts(two)


def test_features_file_without_test_split() -> None:
    data = table({"train": np.repeat([0, 1], 20)})
    check_partition(data, "holdout", make(data, "holdout"))
    for selection in ("test", "test-half"):
        with pytest.raises(UserError, match=f"selection {selection} needs a test split"):
            make(data, selection)


def test_few_large_groups_are_halved_fairly() -> None:
    # as the hands of rps28: four groups, each with as many images of each class
    labels = np.tile(np.repeat([0, 1, 2], 5), 4)
    hands = np.repeat(["1", "2", "3", "4"], 15)
    data = table(
        {"train": labels, "test": labels}, {"train": np.char.add("t", hands), "test": hands}
    )
    (splits,) = make(data, "test-half")
    assert len(splits.selection) == len(splits.test) == 30


def test_groups_of_one_class_each_are_stratified() -> None:
    # as patients with one diagnosis: 40 groups of 5 images
    groups = np.repeat(np.arange(40), 5)
    data = table({"all": (groups % 4 == 0).astype(int)}, {"all": groups})
    (splits,) = make(data, "holdout")
    for split in (splits.selection, splits.test):
        assert split.y.mean() == pytest.approx(0.25, abs=0.05)


def test_the_test_cut_leaves_groups_for_the_selection_cut() -> None:
    # class 1 is in three groups only: one for each split
    labels = np.concatenate([np.zeros(60, int), np.ones(6, int)])
    groups = np.concatenate([np.arange(60) % 10, [10, 10, 11, 11, 12, 12]])
    for seed in range(5):
        (splits,) = make(table({"all": labels}, {"all": groups}), "holdout", seed=seed)
        assert 1 in splits.train.y


def test_shared_groups() -> None:
    y = np.tile([0, 1], 6)
    data = table({"train": y, "test": y}, {"train": np.arange(12), "test": np.arange(11, 23)})
    with pytest.raises(UserError, match="share 1 groups, with 1 training and 1 test examples"):
        make(data, "holdout")
    check_partition(data, "holdout", make(data, "holdout", allow_group_overlap=True))


def test_copies_are_told(caplog: pytest.LogCaptureFixture) -> None:
    y = np.tile([0, 1], 10)
    data = table({"train": y, "test": y})
    data.x["test"][:3] = data.x["train"][:3]
    make(data, "holdout")
    assert "3 of 20 test examples are exact copies of training or selection examples" in caplog.text
    caplog.clear()
    make(table({"train": y, "test": y}), "holdout")
    assert not caplog.text


@pytest.mark.parametrize(
    ("labels", "groups", "selection", "options", "message"),
    [
        ({"train": [0, 0, 1], "test": [0, 1]}, None, "holdout", {}, r"'class 1' \(1\).*least 2"),
        ({"train": [0] * 9 + [1] * 2, "test": [0]}, None, "kfold", {}, r"'class 1' \(2\).*least 3"),
        ({"all": [0, 0, 0, 1, 1]}, None, "holdout", {}, r"'class 1' \(2\).*least 3"),
        ({"all": [0, 0, 0, 1, 1]}, None, "kfold", {}, r"'class 0' \(3\), 'class 1' \(2\).*least 4"),
        ({"train": [0, 1], "test": [0, 0, 1]}, None, "test-half", {}, r"'class 1' \(1\).*halve"),
        (
            {"train": [0] * 20 + [1, 1, 2, 2, 3, 3], "test": [0]},
            None,
            "holdout",
            {"selection_fraction": 0.8},
            "would leave no training image of some class",
        ),
        (
            {"train": [0, 0, 1, 1], "test": [0]},
            {"train": "aaaa", "test": "b"},
            "holdout",
            {},
            "a selection split cannot be cut from 1 groups",
        ),
        (
            {"train": [0, 0, 1, 1], "test": [0]},
            {"train": "aabb", "test": "c"},
            "holdout",
            {},
            "a selection split cannot be cut from 2 groups",
        ),
        (
            {"train": [0, 1], "test": [0, 1]},
            {"train": "ab", "test": "cc"},
            "test-half",
            {},
            "half of the test split cannot be cut from 1 groups",
        ),
        (
            {"train": [0, 0, 0, 1, 1, 1], "test": [0]},
            {"train": "aaabbb", "test": "c"},
            "kfold",
            {},
            "3 folds cannot be cut from 2 groups",
        ),
        ({"all": [0, 0, 0, 1, 1, 1]}, {"all": "aabaab"}, "kfold", {"folds": 2}, "cannot be cut"),
    ],
)
def test_too_few(
    labels: dict[str, Any],
    groups: dict[str, Any] | None,
    selection: str,
    options: dict[str, Any],
    message: str,
) -> None:
    data = table(labels, groups and {name: list(g) for name, g in groups.items()})
    with pytest.raises(UserError, match=message) as caught:
        make(data, selection, **options)
    assert "\n" not in str(caught.value)
