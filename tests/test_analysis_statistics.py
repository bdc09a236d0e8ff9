"""Statistics against SciPy and against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evojax_prune.analysis import (
    bayesian_sign_test,
    bayesian_signed_rank_test,
    holm,
    summarise,
    wilcoxon,
)

RNG = np.random.default_rng(0)
TESTS = [bayesian_sign_test, bayesian_signed_rank_test]


def test_a_summary_leaves_nan_out() -> None:
    summary = summarise([0.5, np.nan, 0.7, 0.9])
    assert (summary.mean, summary.n) == (pytest.approx(0.7), 3)
    assert summary.sd == pytest.approx(0.2)
    assert str(summary) == "0.700 ± 0.200"
    assert str(summarise([0.25])) == "0.250"
    assert np.isnan(summarise([]).mean)


def test_wilcoxon_is_scipys() -> None:
    a, b = RNG.random(9), RNG.random(9) + 0.3
    assert wilcoxon(a, b).p_value == stats.wilcoxon(a, b).pvalue
    assert wilcoxon(a, b).median == pytest.approx(np.median(a - b))
    assert wilcoxon(a, a).p_value == 1.0
    # three seeds can never say more than this
    assert wilcoxon([3, 4, 6], [1, 1, 1]).p_value == pytest.approx(0.25)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_rejects_more_than_the_definition(p: list[float]) -> None:
    corrected = holm(p)
    assert (corrected >= np.array(p)).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p)) + 1e-12).all()
    for level in (0.01, 0.05, 0.5):
        rejected = set()
        for step, i in enumerate(np.argsort(p, kind="stable")):
            if p[i] * (len(p) - step) > level:
                break
            rejected.add(i)
        assert rejected == set(np.flatnonzero(corrected <= level))


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize(("wins", "losses"), [(6, 2), (3, 3), (1, 5)])
def test_the_sign_test_without_equivalence_is_a_beta_distribution(wins: int, losses: int) -> None:
    differences = np.array([1.0] * wins + [-1.0] * losses)
    # With no weight on 0 the share of wins is Beta(wins, losses).
    posterior = bayesian_sign_test(differences, 0 * differences, prior=0.0)
    assert posterior.first == pytest.approx(stats.beta(wins, losses).sf(0.5), abs=0.01)
    assert posterior.rope == 0.0


def test_the_sign_test_counts_what_is_equivalent() -> None:
    second = np.zeros(12)
    first = np.array([0.011] * 2 + [0.01] * 4 + [-0.009] * 6)
    posterior = bayesian_sign_test(first, second)
    alpha = (10.5, 2)  # within, above
    assert posterior.rope == pytest.approx(stats.beta(*alpha).sf(0.5), abs=0.01)
    assert posterior.second == 0.0


@pytest.mark.parametrize("test", TESTS)
def test_probabilities_add_up_and_turn_with_the_sides(test) -> None:
    a, b = RNG.random(12), RNG.random(12)
    one, other = test(a, b, 0.05), test(b, a, 0.05)
    assert one.first + one.rope + one.second == pytest.approx(1)
    assert one.first == pytest.approx(other.second, abs=0.02)
    assert one.rope == pytest.approx(other.rope, abs=0.02)


@pytest.mark.parametrize("test", TESTS)
def test_clear_cases_are_clear(test) -> None:
    second = RNG.random(20) * 0.1
    assert test(second + 0.2, second).first > 0.99
    assert test(second - 0.2, second).second > 0.99
    assert test(second + 0.001, second).rope > 0.99


def test_the_signed_rank_test_is_its_definition() -> None:
    first, second, rope = [0.3, -0.05, 0.02, 0.11], [0.0] * 4, 0.04
    z = np.array([0.0, *first])
    weights = np.random.default_rng(7).dirichlet([0.5, 1, 1, 1, 1], 500)
    winners = []
    for w in weights:
        shares = np.zeros(3)
        for i in range(5):
            for j in range(5):
                mean = (z[i] + z[j]) / 2
                shares[0 if mean < -rope else 2 if mean > rope else 1] += w[i] * w[j]
        winners.append(shares.argmax())
    counted = np.bincount(winners, minlength=3) / 500
    ours = bayesian_signed_rank_test(first, second, rope, samples=500, seed=7)
    np.testing.assert_allclose([ours.second, ours.rope, ours.first], counted)


def test_the_size_of_a_difference_counts_in_the_signed_rank_test() -> None:
    # eight small losses, eight large wins: as many of each, but the wins are larger
    first = np.array([-0.02] * 8 + [0.3] * 8)
    signs, ranks = (test(first, np.zeros(16)) for test in TESTS)
    assert ranks.first > 0.9 > signs.first


def test_what_is_not_paired_is_refused() -> None:
    with pytest.raises(ValueError, match="paired"):
        wilcoxon([1, 2], [1])
    with pytest.raises(ValueError, match="NaN"):
        bayesian_sign_test([1, np.nan], [1, 2])
