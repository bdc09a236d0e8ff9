"""From scores to what is kept, how many to keep, and how much two rankings agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.core.errors import UserError

REDUCTION_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Fractions of the units that are dropped by default."""


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
        raise UserError(
            f"score {int(np.isnan(scores).argmax())} is NaN, so the head that the scores were "
            "taken from diverged: lower --final-protocol.learning-rate"
        )
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


def quantiles(scores: np.ndarray) -> np.ndarray:
    """Ranks of scores as quantiles, which do not depend on the scores' unit.

    Args:
        scores: ``[..., U]``, higher is better; ``-inf`` is the worst.

    Returns:
        ``float64 [..., U]`` in (0, 1]; the best has the highest, equal scores their mean.
    """
    from scipy.stats import rankdata

    return rankdata(scores, axis=-1) / np.shape(scores)[-1]


def standard_error(accuracy: float, rows: int) -> float:
    """Standard error of an accuracy measured on ``rows`` independent rows (binomial)."""
    return float(np.sqrt(accuracy * (1 - accuracy) / rows))


def smallest_within(score: np.ndarray, size: np.ndarray, error: float) -> int:
    """The smallest candidate whose score is at most ``error`` below the best one's.

    Args:
        score: ``[L]``, higher is better; NaN where training diverged.
        size: ``[L]``, parameters or units of each.
        error: slack in units of the score; one standard error of the best one's by Breiman et al.
            (1984), who prune trees so.

    Returns:
        Its index; of equal size the better, then the first.

    Raises:
        UserError: every score is NaN.
    """
    if np.isnan(score).all():
        raise UserError("every size diverged in training: lower the learning rate")
    # A comparison with NaN is false, so a diverged head is not a candidate.
    good = np.flatnonzero(score >= np.nanmax(score) - error)
    order = np.lexsort((-score[good], size[good]))
    return int(good[order[0]])


def smallest_within_error(accuracy: np.ndarray, size: np.ndarray, rows: int) -> int:
    """:func:`smallest_within` one standard error of the best accuracy.

    Args:
        accuracy: ``[L]``, selection accuracy of each head; NaN where training diverged.
        size: ``[L]``, parameters or units of each.
        rows: rows of the selection split.

    Raises:
        UserError: no head has an accuracy.
    """
    known = accuracy[~np.isnan(accuracy)]
    error = standard_error(float(known.max()), rows) if len(known) else 0.0
    return smallest_within(accuracy, size, error)
