"""Pruning without a search, on equal terms with it.

Every baseline has the features, the initial weights, the minibatches and the splits of the evolved
head; what to prune is read off the training split or the dense head trained on it.
"""

from evojax_prune.baselines.comparison import FRACTIONS, BaselineRow, compare, count_heads
from evojax_prune.baselines.methods import POLYNOMIAL, RANDOM, Dense, method_names
from evojax_prune.baselines.polynomial import Gradual, Ramp, prune_gradually

__all__ = [
    "FRACTIONS",
    "POLYNOMIAL",
    "RANDOM",
    "BaselineRow",
    "Dense",
    "Gradual",
    "Ramp",
    "compare",
    "count_heads",
    "method_names",
    "prune_gradually",
]
