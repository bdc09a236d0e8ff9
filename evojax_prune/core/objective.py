"""What a search optimises: name, direction and way of writing; measured elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Objective:
    """One objective of a search.

    Attributes:
        name: as the configuration and the journal have it.
        label: name and unit for tables and pictures.
        maximised: whether higher is better; otherwise lower is.
        digits: format of a value, as in ``".4f"``.
    """

    name: str
    label: str
    maximised: bool = True
    digits: str = ".4f"

    def text(self, value: float) -> str:
        """A value in words; a failed evaluation is called so."""
        return "diverged" if np.isnan(value) else format(value, self.digits)


def minimised(values: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    """Values ``[n, M]`` with every objective minimised and NaN, the worst, as ``+inf``.

    The one place where signs turn: a failed evaluation is the worst in every objective.

    Args:
        values: ``float64 [n, M]``, each column in its own direction; NaN where it failed.
        objectives: M of them.

    Returns:
        ``float64 [n, M]``.
    """
    signs = np.array([-1.0 if o.maximised else 1.0 for o in objectives])
    costs = np.asarray(values, np.float64) * signs
    failed = np.isnan(costs).any(1, keepdims=True)
    return np.where(failed, np.inf, costs)
