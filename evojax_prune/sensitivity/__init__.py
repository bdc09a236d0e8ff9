"""p-norms of local sensitivities: how much a head's outputs depend on its features and units.

Local sensitivities are the derivatives of a head's outputs with respect to its features or hidden
units (Zurada et al. 1994, 1997); their p-norms over patterns and outputs rank the units, and the
lowest are dropped (Jeczmionek and Kowalski 2023, doi 10.34768/amcs-2023-0047). Only scores are
made here; :class:`evojax_prune.core.pruning.Pruning` turns them into genomes.
"""

from evojax_prune.sensitivity.layers import LayerScores, mean_over_folds, sensitivity_scores
from evojax_prune.sensitivity.norms import norm_name, power_mean
from evojax_prune.sensitivity.scores import (
    Sensitivities,
    plain_sensitivities,
    sensitivities,
    unit_moments,
)

__all__ = [
    "LayerScores",
    "Sensitivities",
    "mean_over_folds",
    "norm_name",
    "plain_sensitivities",
    "power_mean",
    "sensitivities",
    "sensitivity_scores",
    "unit_moments",
]
