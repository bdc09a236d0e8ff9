"""Scaled features: as scikit-learn has them, finite for any scale, and foldable into a layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler, normalize

from evojax_prune.core.scaling import Scale
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.data import Scaling, make_splits, scale_splits, table_of


@st.composite
def features(draw: st.DrawFn) -> np.ndarray:
    """``float32 [n, F]``, each feature on its own scale from 1e-6 to 1e6, with its own mean."""
    rows, columns = draw(st.integers(2, 60)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scales = 10.0 ** rng.uniform(-6, 6, columns)
    means = scales * rng.uniform(-30, 30, columns)
    return (means + scales * rng.normal(size=(rows, columns))).astype(np.float32)


@settings(deadline=None, max_examples=100)
@given(features())
def test_standard_is_as_scikit_learn_has_it(x: np.ndarray) -> None:
    scaling = Scaling.fit("standard", x)
    assert scaling.mean.dtype == scaling.scale.dtype == np.float32
    reference = StandardScaler().fit(x.astype(np.float64))
    np.testing.assert_allclose(scaling.scale, reference.scale_, rtol=1e-6)
    # float32 cannot hold a mean closer than this, relative to the spread
    atol = np.max(np.abs(reference.mean_) / reference.scale_) * 1.2e-7 + 1e-5
    found = scaling.apply(x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference.transform(x.astype(np.float64)), atol=atol)


@settings(deadline=None, max_examples=50)
@given(features())
def test_l2_is_as_scikit_learn_has_it(x: np.ndarray) -> None:
    x[0] = 0
    found = Scaling.fit("l2", x).apply(x)
    np.testing.assert_allclose(found, normalize(x.astype(np.float64)), atol=1e-6)
    assert not found[0].any()


@pytest.mark.parametrize("kind", ["standard", "l2"])
@pytest.mark.parametrize("factor", [1e-38, 1e-30, 1e-6, 1e6, 1e30, 1e38])
def test_any_scale_is_finite(kind: Scale, factor: float) -> None:
    x = (np.random.default_rng(0).uniform(-1, 1, (20, 4)) * factor).astype(np.float32)
    x[:, 1] *= np.float32(1e-3)
    scaling = Scaling.fit(kind, x)
    for rows in (x, -x, np.full_like(x, 3e38), np.zeros_like(x)):
        assert np.isfinite(scaling.apply(rows)).all()
    if kind == "standard" and factor > 1e-38:
        np.testing.assert_allclose(scaling.apply(x).std(0), 1, rtol=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 10_000), st.booleans())
def test_constant_features_become_0(value: float, rows: int, rounding: bool) -> None:
    x = np.full((rows, 2), value, np.float32)
    x[:, 1] = np.arange(rows) % 7
    if rounding:
        x[::2, 0] = np.nextafter(x[::2, 0], np.float32(np.inf))
    scaling = Scaling.fit("standard", x)
    assert not scaling.apply(x)[:, 0].any()
    unseen = np.array([[value + 1e3, 3.0], [-value, 2.0]], np.float32)
    assert not scaling.apply(unseen)[:, 0].any()
    kernel, bias = scaling.fold_into(np.ones((2, 3), np.float32))
    assert not kernel[0].any()
    assert np.isfinite(bias).all()


def test_a_small_spread_on_a_large_mean_is_kept() -> None:
    x = (1000 + np.random.default_rng(0).normal(0, 0.01, (500, 1))).astype(np.float32)
    np.testing.assert_allclose(Scaling.fit("standard", x).apply(x).std(), 1, rtol=1e-3)


@settings(deadline=None, max_examples=100)
@given(features(), st.integers(1, 5), st.booleans())
def test_folding_gives_the_same_layer(x: np.ndarray, units: int, biased: bool) -> None:
    rng = np.random.default_rng(units)
    kernel = rng.normal(size=(x.shape[1], units)).astype(np.float32)
    bias = rng.normal(size=units).astype(np.float32) if biased else None
    scaling = Scaling.fit("standard", x)
    folded, shift = scaling.fold_into(kernel, bias)
    assert folded.dtype == shift.dtype == np.float32
    expected = scaling.apply(x).astype(np.float64) @ kernel + (0 if bias is None else bias)
    found = x.astype(np.float64) @ folded + shift
    # the bias, in float32, holds the sum of means over scales
    atol = 1e-5 + 1e-6 * np.abs(shift).max()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=atol)


def test_folding_none_and_l2() -> None:
    x, kernel = np.ones((3, 2), np.float32), np.ones((2, 4), np.float32)
    folded, bias = Scaling.fit("none", x).fold_into(kernel)
    np.testing.assert_array_equal(folded, kernel)
    assert not bias.any()
    assert Scaling.fit("none", x).apply(x) is x
    with pytest.raises(ValueError, match="cannot be folded"):
        Scaling.fit("l2", x).fold_into(kernel)


def test_some_of_the_features() -> None:
    x = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    scaling = Scaling.fit("standard", x)
    for kept in (np.array([3, 1]), np.array([True, False, True, False])):
        part = scaling.take(kept)
        np.testing.assert_array_equal(part.apply(x[:, kept]), scaling.apply(x)[:, kept])


def splits(seed: int, size: int = 30) -> FeatureSplits:
    rng = np.random.default_rng(seed)
    parts = [Split(rng.normal(3, 2, (size, 4)).astype(np.float32), np.zeros(size, np.int32))
             for _ in range(3)]  # fmt: skip
    return FeatureSplits(*parts, ("a",))


def test_only_training_rows_are_looked_at() -> None:
    made = splits(0)
    strange = FeatureSplits(
        made.train, splits(1).selection, Split(made.test.x * 1e9, made.test.y), made.classes
    )
    (_, one), (scaled, other) = (scale_splits(s, "standard") for s in (made, strange))
    np.testing.assert_array_equal(one.mean, other.mean)
    np.testing.assert_array_equal(one.scale, other.scale)
    np.testing.assert_array_equal(scaled.selection.x, one.apply(strange.selection.x))
    np.testing.assert_array_equal(scaled.train.y, made.train.y)


def test_resampled_splits_stay_so() -> None:
    rng = np.random.default_rng(0)
    table = table_of(rng.normal(5, 3, (60, 4)), np.arange(60) % 2)
    (made,) = make_splits(table, selection="resampled", seed=0)
    scaled, scaling = scale_splits(made, "standard")
    assert type(scaled) is type(made)
    np.testing.assert_allclose(scaled.train.x.mean(0), 0, atol=1e-6)
    np.testing.assert_array_equal(
        scaled.occasion(3).selection.x, scaling.apply(made.occasion(3).selection.x)
    )


def test_more_rows_than_are_scaled_at_a_time() -> None:
    x = np.random.default_rng(0).normal(size=(9001, 2)).astype(np.float32)
    found = Scaling.fit("standard", x).apply(x)
    reference = StandardScaler().fit_transform(x.astype(np.float64))
    np.testing.assert_allclose(found, reference, atol=1e-5)
