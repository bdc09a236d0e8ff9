"""What a search optimises: name, direction and way of writing; measured elsewhere."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

LARGEST = 1e100
"""Most that a finite value may be, either way: estimates sum the squares of values."""


def beyond(values: np.ndarray) -> np.ndarray:
    """Which of some values are finite, but too large to reckon with."""
    return np.isfinite(values) & (np.abs(values) > LARGEST)


@dataclasses.dataclass(frozen=True)
class Objective:
    """One objective of a search.

    Attributes:
        name: as the configuration and the journal have it.
        label: name and unit for tables and pictures.
        maximised: whether higher is better; otherwise lower is.
        digits: format of a value, as in ``".4f"``.
        noisy: whether a genome's value differs from one split to the next. The size of a head does
            not: it is never estimated.
        scale: on which differences count: ``linear``, or ``log`` for positive values of which the
            ratios matter.
        bounds: lowest and highest value that there can be.
    """

    name: str
    label: str
    maximised: bool = True
    digits: str = ".4f"
    noisy: bool = True
    scale: Literal["linear", "log"] = "linear"
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def text(self, value: float) -> str:
        """A value in words; a failed evaluation is called so."""
        return "diverged" if np.isnan(value) else format(value, self.digits)


def minimised(values: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    """Costs: every objective minimised, on its scale, and ``+inf`` where the evaluation failed.

    The one place where signs turn: a failed evaluation is the worst in every objective.

    Args:
        values: ``float64 [n, M]``, each column in its own direction; NaN where it failed.
        objectives: M of them.

    Returns:
        ``float64 [n, M]``.
    """
    costs = np.array(values, np.float64)
    for column, objective in zip(costs.T, objectives, strict=True):
        if objective.scale == "log":
            np.log(column, out=column)
        if objective.maximised:
            np.negative(column, out=column)
    failed = np.isnan(costs).any(1, keepdims=True)
    return np.where(failed, np.inf, costs)
