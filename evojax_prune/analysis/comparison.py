"""Uncertainty of accuracies measured on a finite number of rows."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

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
