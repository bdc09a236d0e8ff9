"""Rankings of features by the class, against scikit-learn and first principles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.baselines import filters, regression
from evojax_prune.core.splits import Split

SEEDED = (
    filters.mutual_information,
    filters.random_forest,
    regression.l1_logistic_regression,
)
PLAIN = (filters.anova_f, regression.group_lasso, regression.orthogonal_matching_pursuit)
ALL = [*SEEDED, *(lambda train, seed, rank=rank: rank(train) for rank in PLAIN)]


def rows(count: int = 90, features: int = 8, classes: int = 3, seed: int = 0) -> Split:
    """Classes told apart by the first two features; the rest is noise."""
    rng = np.random.default_rng(seed)
    y = np.arange(count, dtype=np.int32) % classes
    x = rng.normal(size=(count, features)).astype("f4")
    x[:, 0] += 3 * y
    x[:, 1] -= 2 * (y == 1)
    return Split(x, y)


@pytest.mark.parametrize("rank", ALL)
def test_the_features_that_tell_come_first(rank) -> None:
    assert set(np.argsort(-rank(rows(), 0))[:2]) == {0, 1}


@pytest.mark.parametrize("rank", ALL)
def test_constant_features_have_no_score_and_change_none(rank) -> None:
    train = rows()
    constant = np.full((len(train), 1), 0.1, "f4")
    wider = Split(np.concatenate([train.x, constant, 0 * constant], axis=1), train.y)
    found = rank(wider, 0)
    assert np.isnan(found[-2:]).all()
    assert not np.isnan(found[:-2]).any()
    # the draws of these two depend on the number of features
    if rank not in (filters.random_forest, regression.l1_logistic_regression):
        np.testing.assert_array_equal(np.argsort(found[:-2]), np.argsort(rank(train, 0)))


@pytest.mark.parametrize("rank", ALL)
def test_a_feature_that_is_the_class_is_no_trouble(rank) -> None:
    train = rows()
    x = train.x.copy()
    x[:, 5] = train.y
    found = rank(Split(x, train.y), 0)
    assert not np.isnan(found).any()
    assert 5 in np.argsort(-found)[:2]


def test_mutual_information_and_anova_are_scikit_learns() -> None:
    from sklearn.feature_selection import SelectKBest, f_classif, mutual_info_classif

    train = rows()

    def informed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return mutual_info_classif(x, y, random_state=0)

    best = SelectKBest(informed, k=2).fit(train.x, train.y)
    np.testing.assert_array_equal(filters.mutual_information(train, 0), best.scores_)
    exact = f_classif(train.x.astype(np.float64), train.y)[0]
    np.testing.assert_allclose(filters.anova_f(train), exact)


def test_standardised_features_survive_large_constants() -> None:
    x = np.random.default_rng(0).normal(1e4, 1, (50, 3)).astype("f4")
    x[:, 1] = 1e4 / 3
    found = regression.standardised(x)
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(0), [1, 0, 1])
    assert (found[:, 1] == 0).all()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.7, 0.2, 0.05]), st.integers(2, 4))
def test_group_lasso_meets_its_optimality_conditions(seed: int, part: float, classes: int) -> None:
    rng = np.random.default_rng(seed)
    x = regression.standardised(rng.normal(size=(60, 30)) @ rng.normal(size=(30, 30)))
    y = np.argmax(x[:, :classes] + 0.5 * rng.normal(size=(60, classes)), 1)
    y[:classes] = np.arange(classes)
    targets = np.eye(classes)[y]
    nothing = np.zeros((30, classes)), np.log(targets.mean(0))
    penalty = part * np.linalg.norm(x.T @ (targets.mean(0)[None] - targets) / 60, axis=1).max()
    w, b = regression.fit_group_lasso(x, targets, penalty, *nothing)
    logits = x @ w + b
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    slope = x.T @ (shares - targets) / 60
    norms, used = np.linalg.norm(w, axis=1), w.any(1)
    assert used.any()
    assert (np.linalg.norm(slope[~used], axis=1) <= penalty * 1.002).all()
    residual = slope[used] + penalty * w[used] / norms[used, None]
    assert np.linalg.norm(residual, axis=1).max() <= 0.005 * penalty
    assert np.abs((shares - targets).mean(0)).max() <= 0.005 * penalty


def test_group_lasso_of_two_classes_is_scikit_learns_lasso() -> None:
    """With two classes the rows are (w, -w), and the norm of a row is sqrt(2) |w|."""
    from sklearn.linear_model import LogisticRegression

    train = rows(classes=2)
    x, targets = regression.standardised(train.x), np.eye(2)[train.y]
    penalty = 0.05
    w, _ = regression.fit_group_lasso(
        x, targets, penalty, np.zeros((8, 2)), np.log(targets.mean(0)), tolerance=1e-6
    )
    # the logit difference is 2 w, penalised by sqrt(2) |w| = |2 w| / sqrt(2)
    c = np.sqrt(2) / (penalty * len(train))
    exact = LogisticRegression(
        C=c, l1_ratio=1.0, solver="saga", tol=1e-8, max_iter=100_000, random_state=0
    ).fit(x, train.y)
    np.testing.assert_allclose(w[:, 1] - w[:, 0], exact.coef_[0], atol=1e-4)


def test_group_lasso_ranks_by_entry_and_what_never_enters_by_nearness() -> None:
    train = rows(features=40)
    found = regression.group_lasso(train)
    assert len(np.unique(found)) == 40
    assert found[0] == found.max()
    assert 0 < (found < 0).sum() < 38
    np.testing.assert_array_equal(found, regression.group_lasso(train))


def test_matching_pursuit_of_one_output_is_scikit_learns() -> None:
    from sklearn.linear_model import OrthogonalMatchingPursuit

    rng = np.random.default_rng(1)
    y = np.arange(80, dtype=np.int32) % 2
    x = (rng.normal(size=(80, 20)) @ rng.normal(size=(20, 20))).astype("f4")
    x[:, 4] += 3 * y
    order = np.argsort(-regression.orthogonal_matching_pursuit(Split(x, y)))
    z = regression.standardised(x)
    for count in range(1, 13):
        model = OrthogonalMatchingPursuit(n_nonzero_coefs=count).fit(z, y - y.mean())
        assert set(order[:count]) == set(np.flatnonzero(model.coef_)), count


def test_matching_pursuit_of_several_classes_is_least_squares_at_every_step() -> None:
    train = rows(count=60, features=15)
    z, y = regression.standardised(train.x), np.eye(3)[train.y]
    y = y - y.mean(0)
    order, residual = [], y
    for _ in range(15):
        size = np.linalg.norm(z.T @ residual, axis=1)
        size[order] = -1
        order.append(int(size.argmax()))
        chosen = z[:, order]
        residual = y - chosen @ np.linalg.lstsq(chosen, y, rcond=None)[0]
    found = regression.orthogonal_matching_pursuit(train)
    np.testing.assert_array_equal(np.argsort(-found), order)


def test_matching_pursuit_of_more_features_than_rows_and_of_copies() -> None:
    train = rows(count=12, features=30)
    x = train.x.copy()
    x[:, 7] = x[:, 0]
    found = regression.orthogonal_matching_pursuit(Split(x, train.y))
    assert np.isfinite(found).all()
    assert found[0] >= 30
    assert found[7] < 1  # a copy of the first adds nothing, and comes after all that does


def test_plain_logistic_regression_predicts_and_takes_a_class_of_one_row() -> None:
    train, test = rows(), rows(seed=1)
    assert (regression.logistic_regression(train, 0)(test.x) == test.y).mean() > 0.8
    y = train.y.copy()
    y[0] = 3
    predicted = regression.logistic_regression(Split(train.x, y), 0)(test.x)
    assert (predicted == test.y).mean() > 0.8
