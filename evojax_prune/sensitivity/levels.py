"""Which reduction level to take, and how steady a network is under reduction."""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.errors import UserError

REDUCTION_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Fractions of the units that are dropped by default."""


def standard_error(accuracy: float, rows: int) -> float:
    """Standard error of an accuracy measured on ``rows`` independent rows (binomial)."""
    return float(np.sqrt(accuracy * (1 - accuracy) / rows))


def smallest_within_error(accuracy: np.ndarray, size: np.ndarray, rows: int) -> int:
    """The one-standard-error rule (Breiman et al. 1984, for pruning trees).

    Args:
        accuracy: ``[L]``, selection accuracy of each head; NaN where training diverged.
        size: ``[L]``, parameters or units of each.
        rows: rows of the selection split.

    Returns:
        Index of the smallest head whose accuracy is at most one standard error below the best
        head's; of equal size the more accurate, then the first.

    Raises:
        UserError: no head has an accuracy.
    """
    if np.isnan(accuracy).all():
        raise UserError("every reduction level diverged in training: lower the learning rate")
    best = float(np.nanmax(accuracy))
    # A comparison with NaN is false, so a diverged head is no candidate.
    good = np.flatnonzero(accuracy >= best - standard_error(best, rows))
    order = np.lexsort((-accuracy[good], size[good]))
    return int(good[order[0]])


@dataclasses.dataclass(frozen=True)
class Volatility:
    """How much a network's accuracy moves when it is pruned, all in units of accuracy (0 to 1).

    With ``d(p, r, s)`` the test accuracy under norm p at reduction level r with seed s minus the
    dense head's with the same seed:

    Attributes:
        volatility: ``sqrt(mean over r of Var over (p, s) of d)``: at a given reduction level, how
            far the outcome is from what one would expect, whichever norm and seed are taken. 0 for
            a network whose accuracy depends on the level alone.
        norms: the part of it due to the norm: ``sqrt(mean over r of Var over p of (mean over s of
            d))``. The rest, ``volatility**2 - norms**2``, is due to the seed.
        loss: ``-mean of d`` over norms, levels and seeds: what pruning costs on average. A
            resilient network has a low loss and a low volatility.
    """

    volatility: float
    norms: float
    loss: float


def volatility(pruned: np.ndarray, dense: np.ndarray) -> Volatility:
    """Volatility of one network on one data set; a definition of ours.

    Jeczmionek and Kowalski (2023) call ResNets volatile and VGG16 resilient; the definition here
    makes that one figure. Variances are the population's.

    Args:
        pruned: accuracies ``[norms, levels, seeds]``; NaN where training diverged counts as 0.
        dense: accuracies ``[seeds]`` of the dense heads.
    """
    change = np.nan_to_num(np.asarray(pruned, np.float64)) - dense[None, None, :]
    return Volatility(
        volatility=float(np.sqrt(change.var((0, 2)).mean())),
        norms=float(np.sqrt(change.mean(2).var(0).mean())),
        loss=float(-change.mean()),
    )
