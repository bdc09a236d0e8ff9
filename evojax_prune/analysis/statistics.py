"""Whether one way of pruning is better than another, over seeds and data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from scipy import stats

ROPE = 0.01
"""Difference of accuracy below which two heads count as equivalent in practice."""

PRIOR = 0.5
"""Strength s of the Dirichlet process prior, whose one pseudo-observation is a difference of 0."""

SAMPLES = 50_000


@dataclasses.dataclass(frozen=True)
class Summary:
    """Mean and spread of n figures, NaN left out.

    Attributes:
        mean: NaN without figures.
        sd: standard deviation of the sample (n - 1); NaN below two figures.
        n: figures that are numbers.
    """

    mean: float
    sd: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.n < 2 else f"{self.mean:.3f} ± {self.sd:.3f}"


def summarise(values: Sequence[float] | np.ndarray) -> Summary:
    """Mean and standard deviation of figures."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    mean = float(known.mean()) if len(known) else float("nan")
    sd = float(known.std(ddof=1)) if len(known) > 1 else float("nan")
    return Summary(mean, sd, len(known))


@dataclasses.dataclass(frozen=True)
class Wilcoxon:
    """A two-sided Wilcoxon signed-rank test.

    Attributes:
        p_value: of no difference; 1 where no pair differs.
        pairs: pairs compared.
        median: median of first less second.
    """

    p_value: float
    pairs: int
    median: float


def wilcoxon(first: Sequence[float], second: Sequence[float]) -> Wilcoxon:
    """Wilcoxon's signed-rank test of paired figures (SciPy; exact where there are no ties).

    Pairs without a difference are ranked and then dropped (Pratt 1959).
    """
    differences = _differences(first, second)
    median = float(np.median(differences))
    if not differences.any():
        return Wilcoxon(1.0, len(differences), median)
    test = stats.wilcoxon(differences, zero_method="pratt")
    return Wilcoxon(float(test.pvalue), len(differences), median)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values of several tests, corrected so that any false alarm is as rare as stated.

    Holm's step-down method (1979), which needs no independence.

    Returns:
        ``float64``, in the order given, at most 1.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    corrected = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    result = np.empty_like(p)
    result[order] = corrected
    return result


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
    differences = _differences(first, second)
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
    values = np.concatenate([[0.0], _differences(first, second)])
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


def _differences(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"scores have shapes {a.shape} and {b.shape}, expected the same, paired")
    if np.isnan(a - b).any():
        raise ValueError("a score is NaN: leave its pair out")
    return a - b


def _largest(shares: np.ndarray) -> Posterior:
    """How often each of three shares ``[samples, 3]`` is the largest; equal ones share."""
    top = shares == shares.max(1, keepdims=True)
    second, rope, first = (top / top.sum(1, keepdims=True)).mean(0)
    return Posterior(float(second), float(rope), float(first))
