"""What each feature or unit is worth by the dense head's own weights, activations and derivatives.

Scores are ``float64 [U]`` for one unit group (0 for the features, i for the i-th hidden layer);
higher is more worth keeping.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.core.head import Params
from evojax_prune.sensitivity import sensitivities, unit_moments
from evojax_prune.sensitivity.jacobian import Output


def incoming_norms(params: Params, group: int) -> np.ndarray:
    """L2 norm of the weights that enter each unit of a hidden layer."""
    return np.linalg.norm(_kernel(params, group - 1), axis=0)


def outgoing_norms(params: Params, group: int) -> np.ndarray:
    """L2 norm of the weights that leave each feature or unit."""
    return np.linalg.norm(_kernel(params, group), axis=1)


def weight_magnitudes(params: Params, layer: int) -> np.ndarray:
    """Magnitude of each weight of a layer, row by row."""
    return np.abs(_kernel(params, layer)).ravel()


def activation_means(params: Params, x: np.ndarray, group: int = 0) -> np.ndarray:
    """Magnitude of each unit's mean over the patterns ``x [N, F]``."""
    return np.abs(unit_moments(params, x, group)[0])


def activation_variances(params: Params, x: np.ndarray, group: int = 0) -> np.ndarray:
    """Variance of each unit over the patterns ``x [N, F]``: what varies little tells little."""
    return unit_moments(params, x, group)[1]


def gradient_times_input(
    params: Params,
    x: np.ndarray,
    group: int = 0,
    *,
    p: float = 1.0,
    of: Output = "probabilities",
) -> np.ndarray:
    """Power mean over patterns and outputs of derivative times value.

    To first order it is the change of the outputs when the unit is set to 0.
    """
    return sensitivities(params, x, p=p, layer=group, of=of, weighting="input").scores(p)


def random_scores(lengths: Sequence[int], seed: int | Sequence[int]) -> list[np.ndarray]:
    """A random order of each part of a genome, the same for the same seed."""
    generator = np.random.default_rng(seed)
    return [generator.permutation(length).astype(np.float64) for length in lengths]


def _kernel(params: Params, layer: int) -> np.ndarray:
    return params[f"layer_{layer}"]["kernel"].astype(np.float64)
