"""What each feature is worth to a linear model of the class, from the training rows alone.

Scores are ``float64 [F]``; higher is more worth keeping, and a feature that is constant over the
training rows scores NaN. Features are standardised first. scikit-learn is imported when it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
from scipy.sparse.linalg import svds
from threadpoolctl import threadpool_limits

from evojax_prune.baselines.filters import varying
from evojax_prune.core.splits import Split

PENALTIES = 8
"""Strengths of the L1 penalty that features are entered by."""

GROUP_PENALTIES = 20
"""Strengths of the group lasso's penalty, from all coefficients zero to a 100th of that."""

GROWTH = 1.05
"""Of the group lasso's step, per step."""

INVERSE_PENALTIES = tuple(10.0**k for k in (-4, -3, -2, -1, 0))
"""Inverse strengths C of the L2 penalty that cross-validation chooses from."""


def standardised(x: np.ndarray) -> np.ndarray:
    """Mean 0 and variance 1 for each feature, ``float64 [n, F]``; a constant one is all 0."""
    x = x.astype(np.float64)
    deviation = x.std(0)
    deviation[~varying(x)] = np.inf  # else rounding of the mean would be scaled up
    return (x - x.mean(0)[None]) / deviation[None]


def l1_logistic_regression(train: Split, seed: int) -> np.ndarray:
    """The order in which features enter an L1-penalised logistic regression, one class against all.

    The penalty falls in ``PENALTIES`` steps from where all coefficients are zero to a 1,000th of
    that. A feature scores by the number of steps at which it is in use and, among equals, by the
    norm of its coefficients at the weakest penalty; what never enters scores 0.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import l1_min_c

    x = StandardScaler().fit_transform(train.x.astype(np.float64))
    classes = np.unique(train.y)
    # With two classes one regression says all; each must leave the constant model somewhere.
    start = min(l1_min_c(x, train.y == c, loss="log") for c in classes)
    norms = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an order needs no last digit
        for strength in start * np.logspace(0.2, 3, PENALTIES):
            model = OneVsRestClassifier(_l1(strength, seed)).fit(x, train.y)
            coefficients = np.concatenate([m.coef_ for m in model.estimators_])
            norms.append(np.linalg.norm(coefficients, axis=0))
    steps = np.sum([n > 0 for n in norms], 0)
    return np.where(varying(train.x), steps + norms[-1] / (1 + norms[-1].max()), np.nan)


def _l1(strength: float, seed: int) -> object:
    import sklearn
    from sklearn.linear_model import LogisticRegression

    # scikit-learn 1.8 renamed the choice of the penalty
    old = tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 8)
    choice = {"penalty": "l1"} if old else {"l1_ratio": 1.0}
    return LogisticRegression(
        C=strength, solver="liblinear", random_state=seed, max_iter=1000, tol=1e-3, **choice
    )


def group_lasso(train: Split) -> np.ndarray:
    """The order in which features enter a multinomial logistic regression with a group lasso.

    A feature's coefficients for all classes are one group (Vincent and Hansen 2014), so that it is
    in use for every class or for none. The penalty falls in ``GROUP_PENALTIES`` steps. A feature
    scores by the number of steps at which it is in use and, among equals, by the norm of its
    coefficients in the end; what is not in use then loses up to 1, by how far it is from that.
    """
    x = standardised(train.x)
    targets = np.eye(int(train.y.max()) + 1)[train.y]
    coefficients, intercept = np.zeros((x.shape[1], targets.shape[1])), _log_shares(targets)
    slopes = _slopes(x, targets, coefficients, intercept)
    highest = slopes.max()
    steps = np.zeros(x.shape[1])
    for penalty in highest * np.geomspace(1, 0.01, GROUP_PENALTIES + 1)[1:]:
        coefficients, intercept = fit_group_lasso(x, targets, penalty, coefficients, intercept)
        steps += coefficients.any(1)
    norms = np.linalg.norm(coefficients, axis=1)
    left_out = np.minimum(_slopes(x, targets, coefficients, intercept) / penalty, 1) - 1
    scores = steps + np.where(norms > 0, norms / (1 + norms.max()), left_out)
    return np.where(varying(train.x), scores, np.nan)


def fit_group_lasso(
    x: np.ndarray,
    targets: np.ndarray,
    penalty: float,
    coefficients: np.ndarray,
    intercept: np.ndarray,
    tolerance: float = 1e-3,
) -> tuple[np.ndarray, np.ndarray]:
    """Multinomial logistic regression with a group lasso on each feature's coefficients.

    Minimises the mean cross-entropy (nats) plus ``penalty`` times the sum over features of the L2
    norm of their coefficients; the intercept is free. Only features that are in use, or whose
    gradient says that they must be, are worked on.

    Args:
        x: ``float64 [n, F]``, centred.
        targets: ``float64 [n, C]``, one-hot classes.
        penalty: its strength, above 0.
        coefficients: where to start, ``float64 [F, C]``.
        intercept: where to start, ``float64 [C]``.
        tolerance: by how much the optimality conditions may be missed, as a part of the penalty.

    Returns:
        Coefficients ``float64 [F, C]`` and intercept ``float64 [C]``.
    """
    working, coefficients = coefficients.any(1), coefficients.copy()
    while True:
        coefficients[working], intercept = _descend(
            x[:, working], targets, penalty, coefficients[working], intercept, tolerance
        )
        slopes = _slopes(x, targets, coefficients, intercept)
        missing = ~working & (slopes > penalty * (1 + tolerance))
        if not missing.any():
            return coefficients, intercept
        working |= missing


def _descend(
    x: np.ndarray,
    targets: np.ndarray,
    penalty: float,
    coefficients: np.ndarray,
    intercept: np.ndarray,
    tolerance: float,
    most: int = 5000,
) -> tuple[np.ndarray, np.ndarray]:
    """FISTA (Beck and Teboulle 2009), restarted where it turns back (O'Donoghue, Candès 2015).

    The step grows while the loss curves less than it may at worst: softmax curves little where it
    is sure, so steps several times longer are mostly safe.
    """
    x = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    shortest = step = 2 * len(x) / _largest_eigenvalue(x)  # softmax has a curvature of at most 1/2
    now = ahead = np.concatenate([coefficients, intercept[None]])
    logits_now = logits_ahead = x @ now
    momentum = 1.0
    for _ in range(most):
        loss, shares = _cross_entropy(logits_ahead, targets)
        gradient = x.T @ (shares - targets) / len(x)
        while True:
            moved = ahead - step * gradient
            norms = np.linalg.norm(moved[:-1], axis=1, keepdims=True)
            moved[:-1] *= np.maximum(1 - step * penalty / np.maximum(norms, step * penalty), 0)
            logits, gone = x @ moved, moved - ahead
            bound = loss + np.vdot(gradient, gone) + np.vdot(gone, gone) / (2 * step)
            if step <= shortest or _cross_entropy(logits, targets)[0] <= bound:
                break
            step = max(step / 2, shortest)
        # The step from where the gradient was taken bounds how far optimality is missed.
        done = np.linalg.norm(gone, axis=1).max() <= 0.5 * tolerance * step * penalty
        if np.vdot(gone, moved - now) < 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        further = (momentum - 1) / following
        ahead, logits_ahead = (
            moved + further * (moved - now),
            logits + further * (logits - logits_now),
        )
        now, logits_now = moved, logits
        momentum, step = following, step * GROWTH
        if done:
            break
    return now[:-1], now[-1]


def _largest_eigenvalue(x: np.ndarray) -> float:
    """Of ``x.T @ x``."""
    if min(x.shape) < 3:
        return float(np.linalg.norm(x, 2) ** 2)
    return float(svds(x, 1, v0=np.ones(min(x.shape)), return_singular_vectors=False)[0] ** 2)


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> tuple[float, np.ndarray]:
    """Its mean (nats), and the classes' probabilities ``float64 [n, C]``."""
    shifted = logits - logits.max(1, keepdims=True)
    exponentials = np.exp(shifted)
    total = exponentials.sum(1, keepdims=True)
    loss = np.log(total).sum() - np.vdot(shifted, targets)
    return float(loss) / len(logits), exponentials / total


def _slopes(
    x: np.ndarray, targets: np.ndarray, coefficients: np.ndarray, intercept: np.ndarray
) -> np.ndarray:
    """L2 norm of the gradient for each feature's coefficients, ``float64 [F]``."""
    used = coefficients.any(1)
    _, shares = _cross_entropy(x[:, used] @ coefficients[used] + intercept[None], targets)
    return np.linalg.norm(x.T @ (shares - targets), axis=1) / len(x)


def _log_shares(targets: np.ndarray) -> np.ndarray:
    """Intercept of the model without features; a class without rows is all but ruled out."""
    return np.log(np.maximum(targets.mean(0), 1e-6))


def orthogonal_matching_pursuit(train: Split) -> np.ndarray:
    """The order in which simultaneous orthogonal matching pursuit takes up the features.

    The one-hot classes are regressed on the features taken up so far, and the next one is that
    whose correlations with the residuals of all classes have the largest L2 norm (Tropp, Gilbert
    and Strauss 2006). This is a Cholesky factorisation of the Gram matrix whose pivots are chosen
    by correlation, so no least squares problem is ever solved. What is not taken up because the
    residual is 0 scores below 1, by its first correlation.
    """
    x = standardised(train.x) / np.sqrt(len(train))
    targets = np.eye(int(train.y.max()) + 1)[train.y]
    gram, correlation = x.T @ x, x.T @ (targets - targets.mean(0)[None])
    first = np.linalg.norm(correlation, axis=1)
    features = len(first)
    factor, distance = np.zeros((features, min(features, len(x)))), gram.diagonal().copy()
    scores = first / (1 + first.max())
    free = varying(train.x)
    for taken in range(factor.shape[1]):
        size = np.where(free, np.linalg.norm(correlation, axis=1), -1)
        best = int(size.argmax())
        if size[best] <= 1e-8 * first.max() or distance[best] <= 1e-10:
            break
        column = gram[:, best] - factor[:, :taken] @ factor[best, :taken]
        column /= np.sqrt(distance[best])
        correlation -= np.outer(column, correlation[best] / np.sqrt(distance[best]))
        distance -= column**2
        factor[:, taken] = column
        scores[best], free[best] = features - taken, False
    return np.where(varying(train.x), scores, np.nan)


def logistic_regression(train: Split, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Plain logistic regression with an L2 penalty on standardised features: the sceptic's line.

    Args:
        train: training rows, which stratified cross-validation (up to 3 parts) chooses the penalty
            on; of equally accurate strengths the strongest is taken.
        seed: decides the parts.

    Returns:
        A function from features ``float32 [n, F]`` to classes ``[n]``.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    parts = min(3, int(np.unique(train.y, return_counts=True)[1].min()))
    if parts < 2:  # a class of one row cannot be cut
        return model.set_params(logisticregression__C=0.1).fit(train.x, train.y).predict
    grid = {"logisticregression__C": INVERSE_PENALTIES}
    cut = StratifiedKFold(parts, shuffle=True, random_state=seed)
    with threadpool_limits(1, "blas"):  # faster than several for products of this size
        return GridSearchCV(model, grid, cv=cut).fit(train.x, train.y).predict
