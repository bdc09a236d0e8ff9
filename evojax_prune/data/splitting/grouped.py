"""Cutting a part off rows that come in groups, without splitting a group."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evojax_prune.core.errors import UserError

_DRAWS = 50
"""Random choices of groups that are compared, for each number of groups."""

_FOLDED = 500
"""Groups up to which folds are tried, too: they take long, and random choices are fair by then."""


def cut_groups(
    labels: np.ndarray,
    groups: np.ndarray,
    fraction: float,
    seed: int,
    *,
    keep: int,
    pieces: int,
    what: str,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a part of whole groups off: of many choices the one closest in size and class shares.

    scikit-learn's splitters make the choices. Its grouped folds alone would need as many groups as
    folds, and put all groups of a rare class anywhere.

    Args:
        labels: ``int32 [n]``.
        groups: ``str [n]``.
        fraction: size of the part, of n.
        seed: same seed, same cut.
        keep: groups of each class that the rest should have; it must have one. 0 where the rest may
            lack classes.
        pieces: groups that the part must have.
        what: the part's name in messages.

    Returns:
        Row numbers, sorted: of the rest, and of the part.

    Raises:
        UserError: no choice of groups is possible.
    """
    names, codes = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(names), int(labels.max()) + 1), np.int64)
    np.add.at(counts, (codes, labels), 1)
    counts = counts[:, counts.any(0)]  # images of each group and class that occurs
    choices = [
        chosen
        for chosen in _choices(labels, codes, fraction, seed, pieces)
        if chosen.sum() >= pieces and _left(counts, chosen).min() >= min(keep, 1)
    ]
    if not choices:
        raise UserError(
            f"{what} cannot be cut from {len(names)} groups without splitting one or taking a"
            " class's last group from training: choose smaller groups, or add examples"
        )
    best = min(
        choices,
        key=lambda chosen: (
            (_left(counts, chosen) < keep).sum(),
            _distance(counts, chosen, fraction),
        ),
    )
    inside = best[codes]
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def _left(counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Groups of each class that are not chosen."""
    return (counts[~chosen] > 0).sum(0)


def _distance(counts: np.ndarray, chosen: np.ndarray, fraction: float) -> float:
    """How far the chosen groups are from the wished size, plus from the classes' shares."""
    part, everything = counts[chosen].sum(0), counts.sum(0)
    size = abs(part.sum() / everything.sum() - fraction)
    shares = np.abs(part / part.sum() - everything / everything.sum()).sum() / 2
    return float(size + shares)


def _choices(
    labels: np.ndarray, codes: np.ndarray, fraction: float, seed: int, least: int
) -> Iterator[np.ndarray]:
    """Groups that may be cut off, ``bool [groups]``: random ones, and grouped folds.

    Random choices do well with a few large groups, folds with many small groups of a class each.
    """
    from sklearn.model_selection import ShuffleSplit, StratifiedGroupKFold

    count = int(codes.max()) + 1
    wished = int(np.floor(fraction * count)), int(np.ceil(fraction * count))
    for size in sorted({max(least, size) for size in wished}):
        if size < count:
            draws = ShuffleSplit(_DRAWS, test_size=size, random_state=seed)
            for _, part in draws.split(np.arange(count)):
                yield np.isin(np.arange(count), part)
    parts = round(1 / min(fraction, 1 - fraction))
    most = min(count, np.unique(labels, return_counts=True)[1].min())
    if parts <= most and count <= _FOLDED:
        folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        for _, rows in folds.split(labels, labels, codes):
            fold = np.isin(np.arange(count), codes[rows])
            yield fold if fraction <= 0.5 else ~fold
