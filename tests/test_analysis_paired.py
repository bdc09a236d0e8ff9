"""Non-inferiority and tests over runs, against simulation and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evojax_prune.analysis import holm, noninferiority, paired_tests
from evojax_prune.core.errors import UserError


def rights(gained: int, lost: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.ones((1, rows), bool), np.ones((1, rows), bool)
    second[0, :gained] = False
    first[0, gained : gained + lost] = False
    return first, second


@pytest.mark.parametrize(
    ("gained", "lost", "rows", "verdict"),
    [
        (40, 5, 500, "better"),
        (5, 40, 500, "worse"),
        (20, 20, 5000, "not worse by more than the margin"),
        (5, 30, 5000, "not worse by more than the margin"),  # worse, but by less than the margin
        (20, 20, 500, "not known"),
        (0, 0, 20, "not known"),  # a few rows on which heads agree prove nothing
        (0, 0, 500, "not worse by more than the margin"),
    ],
)
def test_verdicts(gained: int, lost: int, rows: int, verdict: str) -> None:
    found = noninferiority(*rights(gained, lost, rows), 0.02)
    assert found.verdict == verdict
    assert found.value == pytest.approx((gained - lost) / rows)
    assert found.low <= found.value <= found.high


def test_the_interval_is_bonett_and_prices() -> None:
    gained, lost, n = 12, 21, 205
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    reach = stats.norm.ppf(0.975) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    found = noninferiority(*rights(gained, lost, n), 0.02)
    assert (found.low, found.high) == pytest.approx((p - q - reach, p - q + reach))


@pytest.mark.parametrize(("p_gain", "p_loss", "rows"), [(0.02, 0.04, 100), (0.1, 0.12, 400)])
def test_a_head_worse_by_the_margin_is_rarely_passed(
    p_gain: float, p_loss: float, rows: int
) -> None:
    """The truth is worse by exactly the margin: at most 2.5% should pass, or about that."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(2000):
        which = rng.random(rows)
        first, second = which[None] >= p_loss, (which[None] < 1 - p_gain)
        passed += noninferiority(first, second, 0.02).verdict in (
            "better",
            "not worse by more than the margin",
        )
    assert passed / 2000 <= 0.04


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.floats(0, 0.2))
def test_swapping_heads_mirrors_the_interval(gained: int, lost: int, margin: float) -> None:
    one = noninferiority(*rights(gained, lost, 90), margin)
    other = noninferiority(*rights(lost, gained, 90), margin)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert (one.verdict == "better") == (other.high < 0)


def test_folds_are_averaged_and_a_bad_margin_is_refused() -> None:
    first, second = rights(9, 3, 60)
    one, three = (noninferiority(first.repeat(k, 0), second.repeat(k, 0), 0.05) for k in (1, 3))
    assert (one.low, one.high) == pytest.approx((three.low, three.high))
    with pytest.raises(UserError, match="expected an accuracy between 0 and 1"):
        noninferiority(first, second, -0.1)


def test_tests_over_runs_are_scipys_with_holm() -> None:
    rng = np.random.default_rng(0)
    ours = rng.uniform(0.6, 0.8, 15)
    others = {
        name: ours - shift + rng.normal(0, 0.02, 15)
        for name, shift in (("random", 0.1), ("recursive", 0.01), ("ANOVA F", 0.0))
    }
    found = paired_tests(ours, others)
    assert [f.name for f in found] == list(others)
    for f, other in zip(found, others.values(), strict=True):
        assert f.t_p == pytest.approx(stats.ttest_rel(ours, other).pvalue)
        assert f.wilcoxon_p == pytest.approx(stats.wilcoxon(ours, other).pvalue)
        assert f.low <= f.mean <= f.high
        assert f.ahead == (ours > other).sum()
        assert f.pairs == 15
    np.testing.assert_allclose([f.t_holm for f in found], holm([f.t_p for f in found]))
    ranked = holm([f.wilcoxon_p for f in found])
    np.testing.assert_allclose([f.wilcoxon_holm for f in found], ranked)


def test_what_cannot_be_tested_proves_nothing() -> None:
    (same,) = paired_tests([0.5, 0.6], {"same": [0.5, 0.6]})
    assert (same.mean, same.t_p, same.wilcoxon_p) == (0, 1, 1)
    (shifted,) = paired_tests([0.5, 0.75, 0.25], {"shifted": [0.25, 0.5, 0.0]})
    assert shifted.t_p == 1
    (alone,) = paired_tests([0.5], {"one": [0.4]})
    assert alone.t_p == 1
    assert np.isnan(alone.low)
    with pytest.raises(ValueError, match="NaN"):
        paired_tests([0.5, np.nan], {"other": [0.4, 0.4]})
