"""Data with fewer classes, to see which of them a pruned head lives on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from evojax_prune.core.splits import FeatureSplits, Split


def with_classes(splits: FeatureSplits, kept: Sequence[int]) -> FeatureSplits:
    """The rows of some classes, relabelled from 0 in their old order.

    Args:
        splits: train, selection and test.
        kept: labels to keep.

    Raises:
        ValueError: fewer than two classes, or a label that there is not.
    """
    kept = sorted(set(kept))
    if len(kept) < 2 or not 0 <= kept[0] <= kept[-1] < len(splits.classes):
        raise ValueError(
            f"cannot keep classes {kept} of {len(splits.classes)}: expected at least two"
        )
    new = np.full(len(splits.classes), -1, np.int32)
    new[kept] = np.arange(len(kept), dtype=np.int32)

    def some(split: Split) -> Split:
        rows = new[split.y] >= 0
        return Split(split.x[rows], new[split.y[rows]])

    return dataclasses.replace(
        splits,
        train=some(splits.train),
        selection=some(splits.selection),
        test=some(splits.test),
        classes=tuple(splits.classes[c] for c in kept),
    )


def left_out(splits: FeatureSplits) -> Iterator[tuple[str, FeatureSplits]]:
    """Each class left out in turn, with its name."""
    every = range(len(splits.classes))
    for c in every:
        yield splits.classes[c], with_classes(splits, [k for k in every if k != c])


def added_in_turn(
    splits: FeatureSplits, order: Sequence[int] | None = None
) -> Iterator[tuple[str, FeatureSplits]]:
    """Two classes, then one more at a time until the set is whole, with the name of the last.

    Args:
        splits: train, selection and test.
        order: labels in the order of adding; by default their own.
    """
    order = list(range(len(splits.classes)) if order is None else order)
    for count in range(2, len(order) + 1):
        yield splits.classes[order[count - 1]], with_classes(splits, order[:count])


def share_of(splits: FeatureSplits, label: int, share: float, seed: int) -> FeatureSplits:
    """All rows of the other classes and a share of one class, in each of the three splits.

    The rows of a larger share contain those of a smaller one.

    Args:
        splits: train, selection and test.
        label: the class that is added to.
        share: of its rows, in (0, 1]; at least one row is kept.
        seed: which rows.
    """

    def some(number: int, split: Split) -> Split:
        own = np.flatnonzero(split.y == label)
        order = np.random.default_rng([seed, label, number]).permutation(own)
        keep = split.y != label
        keep[order[: max(1, round(share * len(own)))]] = True
        return Split(split.x[keep], split.y[keep])

    parts = (splits.train, splits.selection, splits.test)
    train, selection, test = (some(i, part) for i, part in enumerate(parts))
    if splits.selected_on_test:
        test = selection
    return dataclasses.replace(splits, train=train, selection=selection, test=test)
