"""One stratified cut, or stratified folds, of labelled and perhaps grouped rows."""

from __future__ import annotations

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.data.splitting.grouped import cut_groups

Cut = tuple[np.ndarray, np.ndarray]
"""Row numbers, sorted ``int64``: of the rest, and of the part that was cut off."""

_DRAWS = 20
"""Shuffles of the groups among which the fairest folds are taken."""

_FEW = 100
"""Groups up to which all of them are tried."""


def cut(
    labels: np.ndarray,
    groups: np.ndarray | None,
    fraction: float,
    seed: int,
    *,
    keep: int = 1,
    pieces: int = 1,
    what: str,
) -> Cut:
    """Cut a stratified part off, by scikit-learn's splitters.

    Without groups every class gives its share to a row, and there are as many rows as classes at
    least (a rare class may still give none). With groups see
    :func:`evojax_prune.data.splitting.grouped.cut_groups`.

    Args:
        labels: ``int32 [n]``; without groups, two rows or more of each class that occurs.
        groups: ``str [n]`` or None.
        fraction: size of the part, of n.
        seed: same seed, same cut.
        keep: groups of each class that the rest should have, so that it can be cut again; it must
            have one. 0 where the rest may lack classes.
        pieces: into how many the part will be cut again: the groups, or rows per class, it needs.
        what: the part's name in messages.

    Raises:
        UserError: the rest would lack a class, or there are too few groups.
    """
    if groups is not None:
        return cut_groups(labels, groups, fraction, seed, keep=keep, pieces=pieces, what=what)
    from sklearn.model_selection import StratifiedShuffleSplit

    rows, present = len(labels), len(np.unique(labels))
    size = int(np.clip(round(fraction * rows), pieces * present, rows - present))
    splitter = StratifiedShuffleSplit(1, test_size=size, random_state=seed)
    rest, part = next(splitter.split(labels, labels))
    if keep and len(np.unique(labels[rest])) < present:
        raise UserError(
            f"cutting {what} of {fraction:.0%} off would leave no training image of some class:"
            " choose a smaller fraction, or add examples"
        )
    return np.sort(rest), np.sort(part)


def folds(labels: np.ndarray, groups: np.ndarray | None, count: int, seed: int) -> list[Cut]:
    """Stratified folds: every row is in one part; each rest has every class.

    Args:
        labels: ``int32 [n]``, at least ``count`` rows of each class.
        groups: ``str [n]`` or None; a group is never split.
        count: number of folds.
        seed: same seed, same folds.

    Raises:
        UserError: too few groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if groups is None:
        splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
        return list(splitter.split(labels, labels))
    names = len(np.unique(groups))
    best: list[Cut] = []
    for draw in np.random.SeedSequence(seed).generate_state(_DRAWS if names >= count else 0):
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=int(draw))
        cuts = list(grouped.split(labels, labels, groups))
        if _usable(labels, cuts) and (not best or _unlike(labels, cuts) < _unlike(labels, best)):
            best = cuts
        if best and names > _FEW:  # where one shuffle takes long, and is fair already
            break
    if best:
        return best
    raise UserError(
        f"{count} folds cannot be cut from {names} groups so that each fold has"
        " examples and the others have every class: lower --folds, or choose smaller groups"
    )


def _usable(labels: np.ndarray, cuts: list[Cut]) -> bool:
    """Whether every part has rows and every rest all classes."""
    classes = len(np.unique(labels))
    return all(len(part) and len(np.unique(labels[rest])) == classes for rest, part in cuts)


def _unlike(labels: np.ndarray, cuts: list[Cut]) -> float:
    """How unlike the parts are in the images that they have of each class."""
    counts = np.array([np.bincount(labels[part], minlength=labels.max() + 1) for _, part in cuts])
    return float(np.abs(counts - counts.mean(0)).sum())
