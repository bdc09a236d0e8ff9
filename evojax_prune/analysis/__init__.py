"""What searches found, looked at: metrics, similarity of heads, statistics.

NumPy, SciPy and scikit-learn's ROC curve; nothing here trains.
"""

from evojax_prune.analysis.bayesian import (
    ROPE,
    Posterior,
    bayesian_sign_test,
    bayesian_signed_rank_test,
)
from evojax_prune.analysis.metrics import (
    Metrics,
    Reliability,
    auroc,
    calibration_error,
    mean_probabilities,
    metrics,
    reliability,
    softmax,
)
from evojax_prune.analysis.ood import odin_scores, ood_auroc
from evojax_prune.analysis.paired import (
    Difference,
    Noninferiority,
    PairedTest,
    Summary,
    Wilcoxon,
    accuracy_interval,
    holm,
    noninferiority,
    paired_difference,
    paired_tests,
    summarise,
    wilcoxon,
)
from evojax_prune.analysis.similarity import (
    Kernel,
    cka,
    closest,
    hamming,
    hsic,
    linear_gram,
    minibatch_cka,
    rbf_gram,
)

__all__ = [
    "ROPE",
    "Difference",
    "Kernel",
    "Metrics",
    "Noninferiority",
    "PairedTest",
    "Posterior",
    "Reliability",
    "Summary",
    "Wilcoxon",
    "accuracy_interval",
    "auroc",
    "bayesian_sign_test",
    "bayesian_signed_rank_test",
    "calibration_error",
    "cka",
    "closest",
    "hamming",
    "holm",
    "hsic",
    "linear_gram",
    "mean_probabilities",
    "metrics",
    "minibatch_cka",
    "noninferiority",
    "odin_scores",
    "ood_auroc",
    "paired_difference",
    "paired_tests",
    "rbf_gram",
    "reliability",
    "softmax",
    "summarise",
    "wilcoxon",
]
