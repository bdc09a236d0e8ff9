"""What searches found, looked at: similarity of heads, statistics, classes that matter.

NumPy and SciPy alone; nothing here trains.
"""

from evojax_prune.analysis.cka import Kernel, cka, hsic, linear_gram, minibatch_cka, rbf_gram
from evojax_prune.analysis.class_relevance import added_in_turn, left_out, share_of, with_classes
from evojax_prune.analysis.hamming import closest, hamming
from evojax_prune.analysis.statistics import (
    ROPE,
    Posterior,
    Summary,
    Wilcoxon,
    bayesian_sign_test,
    bayesian_signed_rank_test,
    holm,
    summarise,
    wilcoxon,
)

__all__ = [
    "ROPE",
    "Kernel",
    "Posterior",
    "Summary",
    "Wilcoxon",
    "added_in_turn",
    "bayesian_sign_test",
    "bayesian_signed_rank_test",
    "cka",
    "closest",
    "hamming",
    "holm",
    "hsic",
    "left_out",
    "linear_gram",
    "minibatch_cka",
    "rbf_gram",
    "share_of",
    "summarise",
    "wilcoxon",
    "with_classes",
]
