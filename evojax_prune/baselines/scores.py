"""What each feature or unit is worth, by methods that search for nothing.

Scores are ``float64 [bits]``, one array a part of the genome; higher is more worth keeping. Only
the training split is looked at. scikit-learn is imported when it is used.
"""

from __future__ import annotations

import numpy as np

from evojax_prune.core.head import Params
from evojax_prune.core.splits import Split

PENALTIES = 8
"""Strengths of the L1 penalty that features are entered by."""

TREES = 300
"""Trees of the random forest."""


def incoming_norms(params: Params, groups: tuple[int, ...]) -> list[np.ndarray]:
    """L2 norm of the weights that enter each unit of some hidden layers, numbered from 1."""
    return [_norms(params, group - 1, axis=0) for group in groups]


def outgoing_norms(params: Params, groups: tuple[int, ...]) -> list[np.ndarray]:
    """L2 norm of the weights that leave each feature (group 0) or unit."""
    return [_norms(params, group, axis=1) for group in groups]


def _norms(params: Params, layer: int, axis: int) -> np.ndarray:
    return np.linalg.norm(params[f"layer_{layer}"]["kernel"].astype(np.float64), axis=axis)


def magnitudes(params: Params, layers: tuple[int, ...]) -> list[np.ndarray]:
    """Magnitude of each weight of some layers, row by row."""
    return [np.abs(params[f"layer_{i}"]["kernel"]).ravel().astype(np.float64) for i in layers]


def random_scores(lengths: tuple[int, ...], seed: tuple[int, ...]) -> list[np.ndarray]:
    """A random order of each part."""
    generator = np.random.default_rng([*seed, 0x72616E64])
    return [generator.permutation(length).astype(np.float64) for length in lengths]


def mutual_information(train: Split, seed: int) -> np.ndarray:
    """Mutual information of each feature with the class, nats, by nearest neighbours.

    What ``SelectKBest(mutual_info_classif)`` ranks by (Kraskov et al. 2004; Ross 2014).
    """
    from sklearn.feature_selection import mutual_info_classif

    smallest_class = int(np.bincount(train.y).clip(1).min())
    neighbours = max(1, min(3, smallest_class - 1))
    return mutual_info_classif(train.x, train.y, n_neighbors=neighbours, random_state=seed)


def l1_logistic_regression(train: Split, seed: int) -> np.ndarray:
    """The order in which features enter an L1-penalised logistic regression, one class against all.

    Features are standardised. The penalty falls in ``PENALTIES`` steps from where all coefficients
    are zero to a 1,000th of that. A feature scores by the number of steps at which it is in use
    and, among equals, by the norm of its coefficients at the weakest penalty; what never enters
    scores 0.
    """
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import l1_min_c

    x = StandardScaler().fit_transform(train.x.astype(np.float64))
    classes = np.unique(train.y)
    # With two classes one regression says all; each must leave the constant model somewhere.
    start = min(l1_min_c(x, train.y == c, loss="log") for c in classes)
    norms = []
    for strength in start * np.logspace(0.2, 3, PENALTIES):
        model = OneVsRestClassifier(_l1(strength, seed)).fit(x, train.y)
        coefficients = np.concatenate([m.coef_ for m in model.estimators_])
        norms.append(np.linalg.norm(coefficients, axis=0))
    steps = np.sum([n > 0 for n in norms], 0)
    return steps + norms[-1] / (1 + norms[-1].max())


def _l1(strength: float, seed: int) -> object:
    import sklearn
    from sklearn.linear_model import LogisticRegression

    # scikit-learn 1.8 renamed the choice of the penalty
    old = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8)
    choice = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
    return LogisticRegression(
        C=strength, solver="liblinear", random_state=seed, max_iter=1000, tol=1e-3, **choice
    )


def random_forest(train: Split, seed: int) -> np.ndarray:
    """Mean fall of the Gini impurity that splits on each feature give (Breiman 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(TREES, random_state=seed).fit(train.x, train.y)
    return forest.feature_importances_
