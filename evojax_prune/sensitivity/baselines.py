"""Cheaper or blinder ways to score units, that sensitivities are held against.

Each returns ``float64 [U]`` for the units of one layer, higher meaning more worth keeping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.core.head import Params
from evojax_prune.sensitivity.jacobian import Output
from evojax_prune.sensitivity.norms import check_norms, power_mean
from evojax_prune.sensitivity.scores import sensitivities, unit_moments


def weight_norms(params: Params, *, p: float = 2.0, layer: int = 0) -> np.ndarray:
    """Power mean of the magnitudes of the weights that leave each unit (magnitude pruning)."""
    (p,) = check_norms(p)
    return power_mean(params[f"layer_{layer}"]["kernel"], p, axis=1)


def activation_means(params: Params, x: np.ndarray, *, layer: int = 0) -> np.ndarray:
    """Magnitude of each unit's mean over the patterns ``x [N, F]``."""
    return np.abs(unit_moments(params, x, layer)[0])


def activation_variances(params: Params, x: np.ndarray, *, layer: int = 0) -> np.ndarray:
    """Variance of each unit over the patterns ``x [N, F]``: what varies little tells little."""
    return unit_moments(params, x, layer)[1]


def gradient_times_input(
    params: Params,
    x: np.ndarray,
    *,
    p: float = 1.0,
    layer: int = 0,
    of: Output = "probabilities",
) -> np.ndarray:
    """Power mean over patterns and outputs of derivative times value.

    To first order it is the change of the outputs when the unit is set to 0.
    """
    return sensitivities(params, x, p=p, layer=layer, of=of, weighting="input").scores(p)


def random_scores(units: int, seed: int | Sequence[int]) -> np.ndarray:
    """A random order of the units, the same for the same seed."""
    return np.random.default_rng(seed).permutation(units).astype(np.float64)
