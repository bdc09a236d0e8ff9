"""What is kept, at which level, and how rankings and networks compare."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.core.ranking import jaccard, keep_best, kept_count, rank_correlation, rank_units
from evojax_prune.sensitivity import smallest_within_error, standard_error, volatility


def test_units_are_ranked_from_the_best_and_ties_by_index():
    scores = np.array([1.0, 3.0, 1.0, 2.0, 0.0])
    np.testing.assert_array_equal(rank_units(scores), [1, 3, 0, 2, 4])
    active = np.array([True, False, True, True, True])
    np.testing.assert_array_equal(rank_units(scores, active), [3, 0, 2, 4, 1])


def test_a_score_that_is_nan_is_refused():
    with pytest.raises(UserError, match="unit 1 has no score"):
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


def test_volatility_is_nothing_where_the_level_says_all():
    dense = np.array([0.9, 0.8])
    drop = np.array([0.01, 0.05, 0.3])
    pruned = np.broadcast_to(dense, (4, 3, 2)) - drop[None, :, None]
    figure = volatility(pruned, dense)
    assert figure.volatility == pytest.approx(0, abs=1e-12)
    assert figure.loss == pytest.approx(drop.mean())


def test_volatility_splits_into_norms_and_seeds():
    rng = np.random.default_rng(0)
    by_norm = rng.normal(0, 0.05, (3, 5, 1))
    figure = volatility(0.7 + np.repeat(by_norm, 4, 2), np.full(4, 0.7))
    assert figure.norms == pytest.approx(figure.volatility)
    assert figure.norms == pytest.approx(np.sqrt(by_norm.var(0).mean()))
    by_seed = rng.normal(0, 0.05, (1, 5, 4))
    figure = volatility(0.7 + np.repeat(by_seed, 3, 0), np.full(4, 0.7))
    assert figure.norms == pytest.approx(0)
    assert figure.volatility == pytest.approx(np.sqrt(by_seed[0].var(1).mean()))
