"""The table of baselines: what each head did, and which of them is shown."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

RANDOM = "random masks"
POLYNOMIAL = "polynomial decay"
LOGISTIC = "logistic regression, all features"
LOGISTIC_FOUND = "logistic regression, the found features"

At = Literal["whole", "same", "best"]
"""All features or units; the found head's active fraction; the baseline's own best fraction."""


@dataclasses.dataclass(frozen=True)
class BaselineRow:
    """One line of the table; over folds, means.

    Attributes:
        name: the baseline.
        at: ``whole`` for the dense head and plain logistic regression on all features, ``same`` for
            the found head's active fraction, ``best`` for the fraction with the highest selection
            accuracy.
        active_fraction: bits kept / bits, of units or of connections as the baseline prunes.
        selection_accuracy: fraction of the selection rows classified rightly, 0 to 1; NaN where
            training diverged.
        test_accuracy: the same of the test rows.
        parameters: parameters kept.
        heads: heads of which this row is the best by selection (or the mean).
    """

    name: str
    at: At
    active_fraction: float
    selection_accuracy: float
    test_accuracy: float
    parameters: int
    heads: int = 1

    @property
    def optimism(self) -> float:
        """Selection accuracy less test accuracy."""
        return self.selection_accuracy - self.test_accuracy


@dataclasses.dataclass(frozen=True)
class Trial:
    """One head: which baseline, at which level (0: the found head's fraction), and how it did."""

    name: str
    level: int
    active_fraction: float
    selection: float
    test: float
    parameters: float

    @property
    def key(self) -> tuple[str, int]:
        """Name and level; random masks share one."""
        return self.name, self.level


def mean_over_folds(folds: Sequence[Sequence[Trial]]) -> list[Trial]:
    """Means of the same heads on every fold; what the folds share is taken from the first."""
    return [
        dataclasses.replace(
            trials[0],
            active_fraction=float(np.mean([t.active_fraction for t in trials])),
            selection=float(np.mean([t.selection for t in trials])),
            test=float(np.mean([t.test for t in trials])),
            parameters=float(np.mean([t.parameters for t in trials])),
        )
        for trials in zip(*folds, strict=True)
    ]


def table_rows(name: str, trials: Sequence[Trial]) -> list[BaselineRow]:
    """The lines that a baseline has in the table."""
    own = [t for t in trials if t.name == name]
    if name in ("dense", LOGISTIC):
        return [_row(own[0], "whole")]
    if name == LOGISTIC_FOUND:
        return [_row(t, "same") for t in own]
    same = [t for t in own if t.level == 0]
    rows = [_row(_best(same), "same", len(same)), _row(_best(own), "best", len(own))]
    return [_average(same), *rows] if name == RANDOM else rows


def shown_trials(trials: Sequence[Trial]) -> set[tuple[str, int]]:
    """Keys of the trials that :func:`table_rows` has a line of: level 0 and each name's best."""
    names = {t.name for t in trials}
    best = {_best([t for t in trials if t.name == name]).key for name in names}
    return best | {t.key for t in trials if t.level == 0}


def _best(trials: Sequence[Trial]) -> Trial:
    """Highest selection accuracy, then fewest parameters; a diverged head is the worst."""
    return min(
        trials,
        key=lambda t: (math.inf if math.isnan(t.selection) else -t.selection, t.parameters),
    )


def _row(trial: Trial, at: At, heads: int = 1) -> BaselineRow:
    return BaselineRow(
        trial.name,
        at,
        trial.active_fraction,
        trial.selection,
        trial.test,
        round(trial.parameters),
        heads,
    )


def _average(trials: Sequence[Trial]) -> BaselineRow:
    (mean,) = mean_over_folds([[t] for t in trials])
    row = _row(mean, "same", len(trials))
    return dataclasses.replace(row, name=f"{row.name}, mean")
