"""CKA against its definition, a closed form and what it must not change under."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.analysis import cka, closest, hamming, hsic, linear_gram, minibatch_cka, rbf_gram

seeds = st.integers(0, 10_000)


def pair(seed: int, rows: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    return x, x @ rng.normal(size=(4, 3)) + rng.normal(size=(rows, 3))


@settings(max_examples=25, deadline=None)
@given(seeds)
def test_linear_cka_is_the_closed_form_of_the_features(seed: int) -> None:
    x, y = pair(seed)
    a, b = x - x.mean(0), y - y.mean(0)
    closed = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    assert cka(x, y) == pytest.approx(closed)


@settings(max_examples=25, deadline=None)
@given(seeds, st.sampled_from(("linear", "rbf")), st.booleans(), st.floats(0.01, 100))
def test_it_does_not_change_under_rotation_scaling_and_shift(
    seed: int, kernel: str, unbiased: bool, scale: float
) -> None:
    x, y = pair(seed)
    rotation = np.linalg.qr(np.random.default_rng(seed).normal(size=(4, 4)))[0]
    before = cka(x, y, kernel, unbiased=unbiased)
    after = cka(scale * x @ rotation + 3.0, y, kernel, unbiased=unbiased)
    assert after == pytest.approx(before, rel=1e-6, abs=1e-9)
    assert cka(y, x, kernel, unbiased=unbiased) == pytest.approx(before)
    assert cka(x, x, kernel, unbiased=unbiased) == pytest.approx(1.0)
    if not unbiased:
        assert 0 <= before <= 1 + 1e-9


def test_the_biased_estimator_is_its_definition() -> None:
    x, y = pair(0)
    k, l, n = rbf_gram(x), linear_gram(y), len(x)  # noqa: E741
    h = np.eye(n) - 1 / n
    assert hsic(k, l) == pytest.approx(np.trace(k @ h @ l @ h) / (n - 1) ** 2)


def test_the_unbiased_estimator_is_the_mean_over_four_different_rows() -> None:
    x, y = pair(1, rows=6)
    k, l, n = linear_gram(x), linear_gram(y), 6  # noqa: E741
    # Song et al. 2012: E[k_ij (l_ij + l_qr - 2 l_iq)] over i, j, q, r all different
    terms = [
        k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
        for i in range(n) for j in range(n) for q in range(n) for r in range(n)
        if len({i, j, q, r}) == 4
    ]  # fmt: skip
    assert hsic(k, l, unbiased=True) == pytest.approx(np.mean(terms))


def test_unrelated_rows_are_near_zero_without_bias_only() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 60)), rng.normal(size=(40, 60))
    assert cka(x, y) > 0.3
    assert abs(cka(x, y, unbiased=True)) < 0.1


def test_minibatches_agree_with_the_whole() -> None:
    x, y = pair(2, rows=400)
    whole = cka(x, y, unbiased=True)
    assert minibatch_cka(x, y, 40) == pytest.approx(whole, abs=0.02)
    assert minibatch_cka(x, y, 400) == pytest.approx(whole)


def test_the_rbf_kernel_has_the_median_distance_as_its_scale() -> None:
    gram = rbf_gram(np.array([[0.0], [1.0], [3.0]]))  # distances 1, 2, 3
    np.testing.assert_allclose(gram[0], [1, np.exp(-1 / 8), np.exp(-9 / 8)])


def test_rows_that_do_not_vary_or_match_have_no_cka() -> None:
    x = np.ones((5, 2))
    assert np.isnan(cka(x, np.arange(10.0).reshape(5, 2)))
    with pytest.raises(ValueError, match="rows that differ"):
        cka(x, x, "rbf")
    with pytest.raises(ValueError, match="5 and 4 rows"):
        cka(x, x[:4])
    with pytest.raises(ValueError, match="at least 4 rows"):
        cka(x[:3], x[:3], unbiased=True)


def test_the_closest_genome_is_another_one() -> None:
    genomes = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]], bool)
    np.testing.assert_allclose(hamming(genomes[0], genomes), [0, 0.25, 0.25, 1])
    assert closest(genomes[0], genomes) == (1, 0.25)
    with pytest.raises(ValueError, match="every genome is equal"):
        closest(genomes[0], genomes[:1])
