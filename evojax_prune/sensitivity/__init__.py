"""Pruning by p-norms of local sensitivities, without a search.

Local sensitivities are the derivatives of a head's outputs with respect to its features or hidden
units (Zurada et al. 1994, 1997); their p-norms over patterns and outputs rank the units, and the
lowest are dropped (Jeczmionek and Kowalski 2023, doi 10.34768/amcs-2023-0047).
"""

from evojax_prune.sensitivity.baselines import (
    activation_means,
    activation_variances,
    gradient_times_input,
    random_scores,
    weight_norms,
)
from evojax_prune.sensitivity.levels import (
    REDUCTION_LEVELS,
    Volatility,
    smallest_within_error,
    standard_error,
    volatility,
)
from evojax_prune.sensitivity.norms import norm_name, power_mean
from evojax_prune.sensitivity.pruning import (
    LayerScores,
    keep_genomes,
    mean_over_folds,
    sensitivity_genomes,
    sensitivity_scores,
)
from evojax_prune.sensitivity.scores import Sensitivities, sensitivities, unit_moments

__all__ = [
    "REDUCTION_LEVELS",
    "LayerScores",
    "Sensitivities",
    "Volatility",
    "activation_means",
    "activation_variances",
    "gradient_times_input",
    "keep_genomes",
    "mean_over_folds",
    "norm_name",
    "power_mean",
    "random_scores",
    "sensitivities",
    "sensitivity_genomes",
    "sensitivity_scores",
    "smallest_within_error",
    "standard_error",
    "unit_moments",
    "volatility",
    "weight_norms",
]
