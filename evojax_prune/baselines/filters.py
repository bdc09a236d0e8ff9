"""What each feature is worth by its own relation to the class, from the training rows alone.

Scores are ``float64 [F]``; higher is more worth keeping, and a feature that is constant over the
training rows scores NaN. scikit-learn is imported when it is used.
"""

from __future__ import annotations

import numpy as np

from evojax_prune.core.splits import Split

TREES = 300
"""Trees of the random forest."""


def varying(x: np.ndarray) -> np.ndarray:
    """Features that are not constant, ``bool [F]``."""
    return x.max(0) > x.min(0)


def anova_f(train: Split) -> np.ndarray:
    """F statistic of a one-way analysis of variance of each feature over the classes.

    Infinite where a feature is constant within each class but not over all of them.
    """
    from sklearn.feature_selection import f_classif

    some, scores = varying(train.x), np.full(train.x.shape[1], np.nan)
    if some.any() and len(np.unique(train.y)) > 1:
        with np.errstate(divide="ignore"):  # no variance within the classes: infinity is right
            scores[some] = f_classif(train.x[:, some].astype(np.float64), train.y)[0]
    return scores


def mutual_information(train: Split, seed: int) -> np.ndarray:
    """Mutual information of each feature with the class, nats, by nearest neighbours.

    What ``SelectKBest(mutual_info_classif)`` ranks by (Kraskov et al. 2004; Ross 2014).
    """
    from sklearn.feature_selection import mutual_info_classif

    smallest_class = int(np.bincount(train.y).clip(1).min())
    neighbours = max(1, min(3, smallest_class - 1))
    found = mutual_info_classif(train.x, train.y, n_neighbors=neighbours, random_state=seed)
    return np.where(varying(train.x), found, np.nan)


def random_forest(train: Split, seed: int) -> np.ndarray:
    """Mean fall of the Gini impurity that splits on each feature give (Breiman 2001)."""
    from sklearn.ensemble import RandomForestClassifier

    # The trees, and with them the scores, do not depend on the number of threads.
    forest = RandomForestClassifier(TREES, random_state=seed, n_jobs=-1).fit(train.x, train.y)
    return np.where(varying(train.x), forest.feature_importances_, np.nan)
