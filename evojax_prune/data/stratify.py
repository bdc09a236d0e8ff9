"""One stratified cut, or stratified folds, of labelled and perhaps grouped rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from evojax_prune.errors import UserError

Cut = tuple[np.ndarray, np.ndarray]
"""Row numbers, sorted ``int64``: of the rest, and of the part that was cut off."""

_DRAWS = 50
"""Random choices of groups among which the best stratified is taken."""


def cut(
    labels: np.ndarray,
    groups: np.ndarray | None,
    fraction: float,
    seed: int,
    *,
    keep: int = 1,
    what: str,
) -> Cut:
    """Cut a stratified part off, by scikit-learn's splitters.

    Without groups, every class gives its share, and the part has as many rows as there are classes
    at least. With groups, which stay whole, many choices of groups are drawn, and the one is taken
    whose size and class shares come closest.

    Args:
        labels: ``int32 [n]``; without groups, two rows or more of each class that occurs.
        groups: ``str [n]`` or None.
        fraction: size of the part, of n.
        seed: same seed, same cut.
        keep: groups of each class that the rest should have, so that it can be cut again; it must
            have one. 0 where the rest may lack classes.
        what: the part's name in messages.

    Raises:
        UserError: the rest would lack a class, or there are too few groups.
    """
    if groups is not None:
        return _cut_groups(labels, groups, fraction, seed, keep, what)
    from sklearn.model_selection import StratifiedShuffleSplit

    rows, present = len(labels), len(np.unique(labels))
    size = int(np.clip(round(fraction * rows), present, rows - present))
    splitter = StratifiedShuffleSplit(1, test_size=size, random_state=seed)
    rest, part = next(splitter.split(labels, labels))
    if keep and len(np.unique(labels[rest])) < present:
        raise UserError(
            f"cutting {what} of {fraction:.0%} off would leave no training image of some class:"
            " choose a smaller fraction, or add images"
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
    classes, names = len(np.unique(labels)), len(np.unique(groups))
    draws = np.random.SeedSequence(seed).generate_state(_DRAWS if names >= count else 0)
    for draw in draws:
        grouped = StratifiedGroupKFold(count, shuffle=True, random_state=int(draw))
        cuts = list(grouped.split(labels, labels, groups))
        if all(len(part) and len(np.unique(labels[rest])) == classes for rest, part in cuts):
            return cuts
    raise UserError(
        f"{count} folds cannot be cut from {names} groups so that each fold has"
        " images and the others have every class: lower --folds, or choose smaller groups"
    )


def _cut_groups(
    labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int, keep: int, what: str
) -> Cut:
    names, codes = np.unique(groups, return_inverse=True)
    classes = np.unique(labels)
    # which group has images of which class
    has = np.zeros((len(names), labels.max() + 1), bool)
    has[codes, labels] = True
    has = has[:, classes]
    overall = np.array([np.mean(labels == c) for c in classes])
    best: tuple[tuple[int, float], np.ndarray] | None = None
    for part in _candidates(labels, codes, fraction, seed):
        inside = np.zeros(len(names), bool)
        inside[codes[part]] = True
        left = has[~inside].sum(0)
        if keep and not left.all():
            continue
        shares = np.array([np.mean(labels[part] == c) for c in classes])
        distance = abs(len(part) / len(labels) - fraction) + np.abs(shares - overall).sum() / 2
        rank = int((left < keep).sum()), float(distance)
        if best is None or rank < best[0]:
            best = rank, part
    if best is None:
        raise UserError(
            f"{what} cannot be cut from {len(names)} groups without splitting one or taking a"
            " class's last group from training: choose smaller groups, or add images"
        )
    inside = np.isin(np.arange(len(labels)), best[1])
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def _candidates(
    labels: np.ndarray, codes: np.ndarray, fraction: float, seed: int
) -> Iterator[np.ndarray]:
    """Rows of whole groups that may be cut off: random ones, and scikit-learn's grouped folds.

    Random choices win with a few large groups, the folds with many small ones of one class each.
    """
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

    count = int(codes.max()) + 1
    for size in sorted({int(np.floor(fraction * count)), int(np.ceil(fraction * count))}):
        if 0 < size < count:
            shuffled = GroupShuffleSplit(_DRAWS, test_size=size, random_state=seed)
            yield from (part for _, part in shuffled.split(labels, labels, codes))
    parts = round(1 / min(fraction, 1 - fraction))
    if parts <= min(count, np.unique(labels, return_counts=True)[1].min()):
        folded = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
        for rest, part in folded.split(labels, labels, codes):
            chosen = part if fraction <= 0.5 else rest
            if 0 < len(chosen) < len(labels):
                yield chosen
