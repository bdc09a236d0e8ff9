"""Uncertainty of figures, and whether of two heads or methods one is better on the same data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from scipy import stats

from evojax_prune.core.errors import UserError

CONFIDENCE = 0.95


def accuracy_interval(accuracy: float, rows: int) -> tuple[float, float]:
    """Wilson's 95% interval of an accuracy measured on ``rows`` independent rows.

    Args:
        accuracy: fraction of rows classified rightly (over folds: their mean).
        rows: rows that it was measured on.
    """
    right = stats.binomtest(round(accuracy * rows), rows)
    interval = right.proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


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
class Difference:
    """How much more accurate one head is than another on the same rows.

    Attributes:
        value: accuracy of the first less that of the second.
        low: lower end of its 95% interval.
        high: upper end.
        p_value: two-sided, of no difference.
        method: how interval and p value were found.
    """

    value: float
    low: float
    high: float
    p_value: float
    method: str

    @property
    def verdict(self) -> str:
        """``better``, ``worse``, or ``within`` the interval."""
        if self.p_value >= 1 - CONFIDENCE:
            return "within"
        return "better" if self.value > 0 else "worse"


def paired_difference(first: np.ndarray, second: np.ndarray) -> Difference:
    """Compare two heads row by row.

    One head a side: exact McNemar test, whose interval is that of the share of the rows on which
    only one of the two is right (Clopper-Pearson), their number taken as given. Several folds:
    t interval of the rows' differences, each averaged over the folds.

    Args:
        first: ``bool [folds, n]``, whether the first head is right.
        second: the same of the second, on the same rows.
    """
    folds, rows = first.shape
    differences = (first.astype(np.float64) - second).mean(0)
    value = float(differences.mean())
    if not differences.any():
        return Difference(0.0, 0.0, 0.0, 1.0, "right on the same rows")
    if folds == 1:
        gained, lost = int((differences > 0).sum()), int((differences < 0).sum())
        test = stats.binomtest(gained, gained + lost)
        share = test.proportion_ci(CONFIDENCE, method="exact")
        low, high = ((gained + lost) * (2 * np.array([share.low, share.high]) - 1) / rows).tolist()
        return Difference(value, low, high, float(test.pvalue), "exact McNemar test")
    if rows < 2 or np.ptp(differences) == 0:
        return Difference(value, value, value, 1.0, "too few rows for a test")
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(CONFIDENCE)
    low, high = float(interval.low), float(interval.high)
    return Difference(value, low, high, float(test.pvalue), "paired t test of the rows")


Verdict = Literal["better", "not worse by more than the margin", "worse", "not known"]
"""What an interval says of a difference."""


@dataclasses.dataclass(frozen=True)
class Noninferiority:
    """Whether one head is as good as another, up to a margin.

    Attributes:
        value: accuracy of the first less that of the second.
        low: lower end of its 95% interval.
        high: upper end.
        margin: loss of accuracy that is accepted.
        verdict: ``better`` where the interval lies above 0; else ``not worse by more than the
            margin`` where it lies above ``-margin``; else ``worse`` where it lies below 0; else
            ``not known``.
    """

    value: float
    low: float
    high: float
    margin: float
    verdict: Verdict


def noninferiority(first: np.ndarray, second: np.ndarray, margin: float) -> Noninferiority:
    """Tell whether one head is as good as another on the same rows, up to a margin.

    The interval is Bonett and Price's (2012), which Fagerland, Lydersen and Laake (2014) recommend:
    of Wald's form, with one row added on which only the first is right and one on which only the
    second is. Unlike that of :func:`paired_difference` it takes account of how many rows the heads
    differ on, so that two heads that agree on a handful of rows are not called equally good.

    Args:
        first: ``bool [folds, n]``, whether the first head is right; over folds each row's
            difference is averaged.
        second: the same of the second, on the same rows.
        margin: loss of accuracy that is accepted, 0 to 1.

    Raises:
        UserError: a margin outside [0, 1].
    """
    if not 0 <= margin <= 1:
        raise UserError(f"margin is {margin:g}: expected an accuracy between 0 and 1, as in 0.02")
    differences = (first.astype(np.float64) - second).mean(0)
    rows = len(differences) + 2
    centre, square = differences.sum() / rows, ((differences**2).sum() + 2) / rows
    reach = stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt((square - centre**2) / rows)
    low, high = max(-1.0, float(centre - reach)), min(1.0, float(centre + reach))
    verdict: Verdict = "not known"
    if low > 0:
        verdict = "better"
    elif low > -margin:
        verdict = "not worse by more than the margin"
    elif high < 0:
        verdict = "worse"
    return Noninferiority(float(differences.mean()), low, high, margin, verdict)


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
    differences = differences_of(first, second)
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
class PairedTest:
    """One method against another over pairs of runs, such as data sets times seeds.

    Attributes:
        name: the other method.
        pairs: pairs compared.
        mean: mean of first less other.
        low: lower end of its 95% t interval; NaN for a single pair.
        high: upper end.
        ahead: pairs in which the first is better.
        t_p: p value of the paired t test, two-sided; 1 where it cannot be done.
        wilcoxon_p: p value of Wilcoxon's signed-rank test, two-sided.
        t_holm: ``t_p`` with Holm's correction for all methods that the first is compared with.
        wilcoxon_holm: ``wilcoxon_p`` likewise.
    """

    name: str
    pairs: int
    mean: float
    low: float
    high: float
    ahead: int
    t_p: float
    wilcoxon_p: float
    t_holm: float
    wilcoxon_holm: float


def paired_tests(first: Sequence[float], others: Mapping[str, Sequence[float]]) -> list[PairedTest]:
    """Compare one method with each of several others on the same runs.

    Both tests take the pairs to be independent. Seeds of one data set share its rows, so the p
    values speak of new seeds on these data sets rather than of new data sets.

    Args:
        first: accuracies of the method ``[n]``, one per data set and seed.
        others: those of each other method by its name, on the same runs in the same order.

    Raises:
        ValueError: nothing to compare, or accuracies that are NaN or not paired.
    """
    found = []
    for name, other in others.items():
        differences = differences_of(first, other)
        low, high, t_p = _t_test(differences)
        found.append(
            PairedTest(
                name=name,
                pairs=len(differences),
                mean=float(differences.mean()),
                low=low,
                high=high,
                ahead=int((differences > 0).sum()),
                t_p=t_p,
                wilcoxon_p=wilcoxon(first, other).p_value,
                t_holm=1.0,
                wilcoxon_holm=1.0,
            )
        )
    t, ranked = holm([f.t_p for f in found]), holm([f.wilcoxon_p for f in found])
    return [
        dataclasses.replace(f, t_holm=float(a), wilcoxon_holm=float(b))
        for f, a, b in zip(found, t, ranked, strict=True)
    ]


def _t_test(differences: np.ndarray) -> tuple[float, float, float]:
    """Interval of the mean and the p value of a mean of 0."""
    mean = float(differences.mean())
    if len(differences) < 2:
        return float("nan"), float("nan"), 1.0
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():  # no spread to test against
        return mean, mean, 1.0
    test = stats.ttest_1samp(differences, 0.0)
    interval = test.confidence_interval(CONFIDENCE)
    return float(interval.low), float(interval.high), float(test.pvalue)


def differences_of(first: Sequence[float], second: Sequence[float]) -> np.ndarray:
    """First less second, ``float64 [n]``.

    Raises:
        ValueError: nothing to compare, or scores that are NaN or not paired.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise ValueError(f"scores have shapes {a.shape} and {b.shape}, expected the same, paired")
    if np.isnan(a - b).any():
        raise ValueError("a score is NaN: leave its pair out")
    return a - b
