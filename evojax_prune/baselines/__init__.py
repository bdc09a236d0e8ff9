"""Pruning without a search, on equal terms with it.

Every baseline has the features, the initial weights, the minibatches and the splits of the head
that was found; what to prune is read off the training split or the dense head trained on it.
"""

from evojax_prune.baselines.comparison import FRACTIONS, compare, count_heads, method_names
from evojax_prune.baselines.from_head import (
    activation_means,
    activation_variances,
    gradient_times_input,
    outgoing_norms,
    random_scores,
)
from evojax_prune.baselines.polynomial import Gradual, Ramp, prune_gradually
from evojax_prune.baselines.rankings import (
    RANKINGS,
    RECURSIVE,
    Dense,
    Ranking,
    rank_bits,
    ranking_names,
)
from evojax_prune.baselines.recursive import (
    Elimination,
    Step,
    elimination_protocol,
    elimination_sizes,
    recursive_elimination,
)
from evojax_prune.baselines.rows import (
    LOGISTIC,
    LOGISTIC_FOUND,
    POLYNOMIAL,
    RANDOM,
    BaselineRow,
)

__all__ = [
    "FRACTIONS",
    "LOGISTIC",
    "LOGISTIC_FOUND",
    "POLYNOMIAL",
    "RANDOM",
    "RANKINGS",
    "RECURSIVE",
    "BaselineRow",
    "Dense",
    "Elimination",
    "Gradual",
    "Ramp",
    "Ranking",
    "Step",
    "activation_means",
    "activation_variances",
    "compare",
    "count_heads",
    "elimination_protocol",
    "elimination_sizes",
    "gradient_times_input",
    "method_names",
    "outgoing_norms",
    "prune_gradually",
    "random_scores",
    "rank_bits",
    "ranking_names",
    "recursive_elimination",
]
