"""Bayesian tests of whether one way of pruning is better than another in practice."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.analysis.paired import differences_of

ROPE = 0.01
"""Difference of accuracy below which two heads count as equivalent in practice."""

PRIOR = 0.5
"""Strength s of the Dirichlet process prior, whose one pseudo-observation is a difference of 0."""

SAMPLES = 50_000


@dataclasses.dataclass(frozen=True)
class Posterior:
    """Probabilities that, of two methods, the difference first less second is most probably ...

    Attributes:
        second: below the region of practical equivalence: the second is better.
        rope: within it.
        first: above it: the first is better.
    """

    second: float
    rope: float
    first: float


def bayesian_sign_test(
    first: Sequence[float],
    second: Sequence[float],
    rope: float = ROPE,
    *,
    prior: float = PRIOR,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Posterior:
    """Bayesian sign test with a region of practical equivalence (Benavoli et al. 2017, JMLR 18).

    The probabilities of a difference below, within and above the region have a Dirichlet posterior:
    the counts, and the prior's weight on the difference 0. Given are the shares of its samples in
    which each is the largest.

    Args:
        first: scores of one method, one a data set (or run), higher is better.
        second: those of the other, paired.
        rope: half the width of the region, in units of the scores; a difference of exactly this is
            in it.
        prior: strength of the prior.
        samples: drawn from the posterior.
        seed: of the draw.
    """
    differences = differences_of(first, second)
    counts = np.array(
        [
            (differences < -rope).sum(),
            (np.abs(differences) <= rope).sum() + prior,
            (differences > rope).sum(),
        ],
        np.float64,
    )
    present = counts > 0
    shares = np.zeros((samples, 3))
    shares[:, present] = np.random.default_rng(seed).dirichlet(counts[present], samples)
    return _largest(shares)


def bayesian_signed_rank_test(
    first: Sequence[float],
    second: Sequence[float],
    rope: float = ROPE,
    *,
    prior: float = PRIOR,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Posterior:
    """Bayesian signed-rank test with a region of practical equivalence (Benavoli et al. 2017).

    As :func:`bayesian_sign_test`, of the mean of two differences drawn at random instead of one
    difference: it takes account of how large differences are, and assumes their distribution to be
    symmetric.
    """
    values = np.concatenate([[0.0], differences_of(first, second)])
    weights = np.random.default_rng(seed).dirichlet(
        np.concatenate([[prior], np.ones(len(values) - 1)]), samples
    )
    means = (values[:, None] + values[None, :]) / 2
    shares = np.stack(
        [
            np.einsum("si,ij,sj->s", weights, region, weights, optimize=True)
            for region in (means < -rope, np.abs(means) <= rope, means > rope)
        ],
        axis=1,
    )
    return _largest(shares)


def _largest(shares: np.ndarray) -> Posterior:
    """How often each of three shares ``[samples, 3]`` is the largest; equal ones share."""
    top = shares == shares.max(1, keepdims=True)
    second, rope, first = (top / top.sum(1, keepdims=True)).mean(0)
    return Posterior(float(second), float(rope), float(first))
