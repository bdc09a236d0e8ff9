"""Metrics against direct loops and scikit-learn; out-of-distribution scores against JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from evojax_prune.analysis import (
    auroc,
    calibration_error,
    mean_probabilities,
    metrics,
    odin_scores,
    ood_auroc,
    reliability,
    softmax,
)
from evojax_prune.core.compact_head import CompactHead, compact_head
from evojax_prune.core.head import HeadSpec, init_params
from evojax_prune.core.masks import dense_masks


def some(seed: int, rows: int = 60, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) + 1.5 * np.eye(classes)[labels]
    return softmax(logits), labels


def head(seed: int = 0, features: int = 9) -> CompactHead:
    spec = HeadSpec(features, (7, 6), 3, (True, False, True))
    masks = dense_masks(spec)
    masks.features[0, ::4] = False
    return compact_head(init_params(spec, seed), masks, 0)


def test_figures_are_scikit_learns() -> None:
    p, y = some(0)
    found, predicted = metrics(p, y), p.argmax(1)
    np.testing.assert_array_equal(found.confusion, reference.confusion_matrix(y, predicted))
    np.testing.assert_allclose(found.recall, reference.recall_score(y, predicted, average=None))
    assert found.accuracy == pytest.approx(reference.accuracy_score(y, predicted))
    balanced = reference.balanced_accuracy_score(y, predicted)
    assert found.balanced_accuracy == pytest.approx(balanced)
    assert found.auroc == pytest.approx(reference.roc_auc_score(y, p, multi_class="ovr"))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 20), st.booleans())
def test_calibration_error_is_a_loop_over_the_bins(
    seed: int, rows: int, bins: int, round_: bool
) -> None:
    p, y = some(seed, rows)
    if round_:  # confidences on the very edges of bins
        p = np.eye(4)[p.argmax(1)] * 0.6 + 0.1
    error = 0.0
    for m in range(1, bins + 1):
        own = [i for i in range(rows) if (m - 1) / bins < p[i].max() <= m / bins]
        if own:
            accuracy = np.mean([p[i].argmax() == y[i] for i in own])
            confidence = np.mean([p[i].max() for i in own])
            error += len(own) / rows * abs(accuracy - confidence)
    assert calibration_error(p, y, bins) == pytest.approx(error)
    diagram = reliability(p, y, bins)
    assert diagram.rows.sum() == rows
    filled = diagram.rows > 0
    assert (diagram.confidence[filled] > diagram.edges[:-1][filled]).all()
    assert (diagram.confidence[filled] <= diagram.edges[1:][filled] + 1e-12).all()
    assert np.isnan(diagram.accuracy[~filled]).all()


def test_a_calibrated_head_has_no_error_and_a_sure_one_all_of_it() -> None:
    sure = np.eye(2)[np.zeros(10, int)]
    assert calibration_error(sure, np.zeros(10, int)) == 0
    assert calibration_error(sure, np.ones(10, int)) == 1
    half = np.tile([0.6, 0.4], (10, 1))
    assert calibration_error(half, np.array([0] * 6 + [1] * 4)) == pytest.approx(0)


def test_a_class_without_rows_is_left_out() -> None:
    p, y = some(3)
    y = y % 3
    found = metrics(p, y)
    assert np.isnan(found.recall[3])
    assert found.balanced_accuracy == pytest.approx(found.recall[:3].mean())
    assert 0 <= found.auroc <= 1
    assert np.isnan(metrics(p, np.zeros(60, int)).auroc)


@pytest.mark.parametrize("bad", [np.nan, -0.1, 3.0])
def test_what_is_not_a_probability_is_refused(bad: float) -> None:
    p, y = some(0)
    p[5, 1] = bad
    with pytest.raises(ValueError, match="probabilities between 0 and 1"):
        metrics(p, y)
    with pytest.raises(ValueError, match="with at least one row"):
        metrics(p, y[:-1])


def test_auroc_counts_pairs_and_ties_by_half() -> None:
    assert auroc(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == pytest.approx(2.5 / 4)
    with pytest.raises(ValueError, match="expected both"):
        auroc(np.array([]), np.array([1.0]))


def test_an_ensemble_has_the_mean_probability() -> None:
    x = np.random.default_rng(0).normal(size=(5, 9)).astype("f4")
    heads = [head(0), head(1)]
    each = [jax.nn.softmax(h.logits(x).astype("f8")) for h in heads]
    np.testing.assert_allclose(mean_probabilities(heads, x), np.mean(each, 0), rtol=1e-5)
    with pytest.raises(ValueError, match="at least one head"):
        mean_probabilities([], x)


def test_odin_is_the_largest_softmax_at_its_temperature() -> None:
    x = np.random.default_rng(0).normal(size=(6, 9)).astype("f4")
    logits = head().logits(x).astype(np.float64)
    for temperature in (1.0, 1000.0):
        exact = (np.exp(logits / temperature).max(1)) / np.exp(logits / temperature).sum(1)
        found = odin_scores(head(), x, temperature=temperature)
        np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_the_perturbation_is_the_gradients_by_jax() -> None:
    x = np.random.default_rng(0).normal(size=(6, 9)).astype("f4")
    small = head()

    def score(row: jax.Array) -> jax.Array:
        z = row[small.features]
        for i, (kernel, bias) in enumerate(small.layers):
            z = z @ kernel + (0 if bias is None else bias)
            z = jax.nn.relu(z) if i < len(small.layers) - 1 else z
        return jnp.log(jax.nn.softmax(z / 10.0).max())

    slope = np.asarray(jax.jit(jax.vmap(jax.grad(score)))(jnp.asarray(x)))
    assert (slope[:, ::4] == 0).all()
    moved = x + np.float32(0.05) * np.sign(slope)
    found = odin_scores(small, x, temperature=10.0, perturbation=0.05)
    np.testing.assert_allclose(found, odin_scores(small, moved, temperature=10.0), rtol=1e-6)
    assert (found > odin_scores(small, x, temperature=10.0)).all()


def test_what_a_head_is_sure_of_is_told_from_what_it_is_not() -> None:
    rng = np.random.default_rng(0)
    wide = CompactHead(np.arange(3), ((4 * np.eye(3, dtype="f4"), None),))
    inside = 3 * np.eye(3, dtype="f4")[rng.integers(0, 3, 50)]
    outside = rng.uniform(0, 0.1, (40, 3)).astype("f4")
    assert ood_auroc([wide], inside, outside) == 1
    assert ood_auroc([wide], outside, inside) == 0
    assert ood_auroc([wide, wide], inside, inside) == 0.5
    with pytest.raises(ValueError, match="at least one head"):
        ood_auroc([], inside, outside)
    diverged = CompactHead(np.arange(3), ((np.full((3, 3), np.nan, "f4"), None),))
    with pytest.raises(ValueError, match="NaN"):
        ood_auroc([diverged], inside, outside)


def test_a_bin_holds_its_upper_end() -> None:
    found = reliability(np.array([[0.75, 0.25], [0.5, 0.5]]), np.array([0, 0]), bins=4)
    assert found.rows.tolist() == [0, 1, 1, 0]
