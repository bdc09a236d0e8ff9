"""What is kept, at which level, and how rankings and networks compare."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.core.ranking import (
    jaccard,
    keep_best,
    kept_count,
    quantiles,
    rank_correlation,
    rank_units,
    smallest_within,
    smallest_within_error,
    standard_error,
)


def test_units_are_ranked_from_the_best_and_ties_by_index():
    scores = np.array([1.0, 3.0, 1.0, 2.0, 0.0])
    np.testing.assert_array_equal(rank_units(scores), [1, 3, 0, 2, 4])
    active = np.array([True, False, True, True, True])
    np.testing.assert_array_equal(rank_units(scores, active), [3, 0, 2, 4, 1])


def test_a_score_that_is_nan_is_refused():
    with pytest.raises(UserError, match="score 1 is NaN"):
        rank_units(np.array([0.0, np.nan]))


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(0.001, 1), st.integers(0, 99))
def test_kept_units_are_the_best_ones_nested_and_as_many_as_asked(units, keep, seed):
    scores = np.random.default_rng(seed).normal(size=units)
    mask = keep_best(scores, keep)
    assert mask.sum() == kept_count(units, keep) >= 1
    assert abs(mask.sum() - keep * units) <= 0.5 or mask.sum() == 1
    if not mask.all():
        assert scores[mask].min() > scores[~mask].max()
    assert (keep_best(scores, min(1, keep * 1.3)) >= mask).all()


def test_inactive_units_are_never_kept():
    active = np.array([True, False, True, False])
    np.testing.assert_array_equal(keep_best(np.arange(4.0), 0.5, active), [1, 0, 1, 0])
    np.testing.assert_array_equal(keep_best(np.arange(4.0), 1.0, active), active)


@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan")])
def test_a_keep_that_is_no_fraction_is_refused(keep):
    with pytest.raises(UserError, match="keep is"):
        kept_count(10, keep)


def test_jaccard_counts_shared_units():
    masks = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]], bool)
    expected = [[1, 1 / 3, 0, 0], [1 / 3, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    np.testing.assert_allclose(jaccard(masks), expected)


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    scores = np.random.default_rng(0).integers(0, 9, (3, 30)).astype(float)  # with ties
    np.testing.assert_allclose(rank_correlation(scores), spearmanr(scores, axis=1).statistic)


def test_a_constant_ranking_correlates_with_nothing():
    np.testing.assert_array_equal(rank_correlation([np.ones(4), np.arange(4.0)]), np.eye(2))


def test_auto_takes_the_smallest_head_within_one_standard_error():
    accuracy = np.array([0.90, 0.91, 0.90, 0.885, 0.85])
    size = np.array([100, 80, 60, 40, 20])
    assert standard_error(0.91, 400) == pytest.approx(0.0143, abs=1e-4)
    assert smallest_within_error(accuracy, size, 400) == 2  # 0.8957 is the least allowed
    assert smallest_within_error(accuracy, size, 50) == 3  # 0.8695
    assert smallest_within_error(accuracy, size, 10**9) == 1  # the best itself


def test_auto_passes_over_heads_that_diverged():
    accuracy = np.array([0.9, np.nan, 0.9])
    assert smallest_within_error(accuracy, np.array([3, 1, 2]), 100) == 2
    with pytest.raises(UserError, match="diverged"):
        smallest_within_error(np.array([np.nan]), np.array([1]), 100)


def test_auto_prefers_the_more_accurate_of_equal_size():
    assert smallest_within_error(np.array([0.9, 0.91]), np.array([5, 5]), 10) == 1


def test_the_slack_is_in_units_of_the_score():
    loss, size = np.array([0.50, 0.52, 0.61, np.nan]), np.array([90, 30, 10, 1])
    assert smallest_within(-loss, size, 0.0) == 0
    assert smallest_within(-loss, size, 0.03) == 1
    assert smallest_within(-loss, size, 0.2) == 2


def test_quantiles_say_only_the_order():
    scores = np.array([[3.0, -np.inf, 5.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(quantiles(scores), [[0.625, 0.25, 1, 0.625], [0.25, 0.5, 0.75, 1]])
