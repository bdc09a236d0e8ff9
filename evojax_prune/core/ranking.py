"""From scores to what is kept, and how much two rankings agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.core.errors import UserError


def rank_units(scores: np.ndarray, active: np.ndarray | None = None) -> np.ndarray:
    """Units from the best to the worst.

    Args:
        scores: ``[U]``, higher is better; of equal scores the first unit goes first.
        active: ``bool [U]``, units that are in use; the others come last whatever they score.

    Returns:
        ``int64 [U]``, a permutation of the unit indices.

    Raises:
        UserError: scores that are NaN.
    """
    if np.isnan(scores).any():
        raise UserError(f"unit {int(np.isnan(scores).argmax())} has no score (NaN): cannot rank it")
    inactive = np.zeros(len(scores), bool) if active is None else ~active
    return np.lexsort((-scores, inactive))


def kept_count(units: int, keep: float) -> int:
    """Units that a fraction to keep leaves: the nearest whole number, and at least one.

    Raises:
        UserError: a fraction outside (0, 1].
    """
    if not 0 < keep <= 1:
        raise UserError(f"keep is {keep:g}: expected a fraction above 0 and at most 1, as in 0.3")
    return max(1, round(keep * units))


def keep_best(scores: np.ndarray, keep: float, active: np.ndarray | None = None) -> np.ndarray:
    """Mask of the units with the highest scores.

    Args:
        scores: ``[U]``.
        keep: fraction of all U units to keep, in (0, 1].
        active: ``bool [U]``, units in use; no other is ever kept.

    Returns:
        ``bool [U]``.

    Raises:
        UserError: a fraction outside (0, 1], NaN scores.
    """
    best = rank_units(scores, active)[: kept_count(len(scores), keep)]
    mask = np.zeros(len(scores), bool)
    mask[best] = True
    return mask if active is None else mask & active


def jaccard(masks: np.ndarray) -> np.ndarray:
    """Overlap of kept sets: units in both over units in either, ``float64 [M, M]``.

    Args:
        masks: ``bool [M, U]``; two sets that are both empty overlap wholly.
    """
    sets = np.asarray(masks, np.int64)
    both = sets @ sets.T
    either = sets.sum(1)[:, None] + sets.sum(1)[None, :] - both
    return np.where(either > 0, both / np.maximum(either, 1), 1.0)


def rank_correlation(scores: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Spearman's rank correlation between score vectors, ``float64 [M, M]``.

    Args:
        scores: ``[M, U]``; equal scores share their mean rank. A vector without any order is
            uncorrelated with every other (0) and agrees with itself (1).
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.asarray(scores), axis=1)
    centred = ranks - ranks.mean(1, keepdims=True)
    length = np.sqrt((centred**2).sum(1))
    product = length[:, None] * length[None, :]
    correlation = np.where(product > 0, centred @ centred.T / np.where(product > 0, product, 1), 0)
    np.fill_diagonal(correlation, 1.0)
    return np.clip(correlation, -1, 1)
