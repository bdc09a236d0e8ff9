"""Power means: Zurada's three measures, any p, any chunking."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.sensitivity.norms import (
    StreamedPowerMeans,
    check_norms,
    chunk_power_sums,
    norm_name,
    power_mean,
)

PS = (1.0, 1.5, 2.0, 3.0, 8.0, 1000.0, math.inf)


def streamed(values, ps, size):
    means = StreamedPowerMeans(ps, values.shape[1:])
    peak = jnp.zeros(values.shape[1:], values.dtype)
    reduce = jax.jit(chunk_power_sums, static_argnums=2)
    for start in range(0, len(values), size):
        chunk = values[start : start + size]
        filled = np.pad(chunk, ((0, size - len(chunk)), *((0, 0),) * (values.ndim - 1)))
        peak, sums = reduce(filled, peak, means.finite)
        means.add(len(chunk), np.asarray(peak), [np.asarray(s) for s in sums])
    return means.result()


def test_one_two_and_infinity_are_zuradas_measures():
    values = np.random.default_rng(0).normal(size=(50, 6))
    np.testing.assert_allclose(power_mean(values, 1), np.abs(values).mean(0))
    np.testing.assert_allclose(power_mean(values, 2), np.sqrt((values**2).mean(0)))
    np.testing.assert_array_equal(power_mean(values, math.inf), np.abs(values).max(0))


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300, allow_subnormal=False), min_size=1, max_size=20),
    st.floats(1, 1e4),
    st.floats(1, 1e4),
)
def test_power_means_never_fall_as_p_grows(values, p, q):
    low, high = sorted((p, q))
    column = np.array(values)[:, None]
    assert power_mean(column, low)[0] <= power_mean(column, high)[0] * (1 + 1e-9)
    assert power_mean(column, high)[0] <= power_mean(column, math.inf)[0] * (1 + 1e-9)
    assert power_mean(column, 1)[0] <= power_mean(column, low)[0] * (1 + 1e-9)


@pytest.mark.parametrize("size", [1, 2, 16, 64, 256])
def test_streaming_equals_the_whole_array(size):
    rng = np.random.default_rng(1)
    scale = 10.0 ** rng.uniform(-18, 18, (1, 5, 7))
    values = (rng.normal(size=(100, 5, 7)) * scale).astype(np.float32)
    ours = streamed(values, PS, size)
    for i, p in enumerate(PS):
        np.testing.assert_allclose(ours[i], power_mean(values, p), rtol=1e-6)


def test_a_large_p_neither_overflows_nor_vanishes():
    values = np.array([[1e-30, 3e20], [2e-30, 1e20], [2e-30, 2e20]], np.float32)
    ours = streamed(values, (1000.0,), 2)[0]
    expected = [2e-30 * (2 / 3) ** 1e-3, 3e20 * (1 / 3) ** 1e-3]
    np.testing.assert_allclose(ours, expected, rtol=1e-6)


def test_zeros_stay_exactly_zero():
    assert (streamed(np.zeros((5, 3), np.float32), PS, 4) == 0).all()


def test_the_sum_of_many_small_numbers_is_accurate():
    # Float32 accumulation would lose the small ones under the large one.
    values = np.full((2**16, 1), 1e-4, np.float32)
    values[0] = 1e3
    exact = power_mean(values, 1)[0]
    np.testing.assert_allclose(streamed(values, (1.0,), 1024)[0][0], exact, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_neither_order_nor_chunks_matter(data):
    n = data.draw(st.integers(1, 40))
    size = data.draw(st.sampled_from([1, 4, 32]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    values = rng.normal(size=(n, 3)).astype(np.float32)
    shuffled = rng.permutation(values)
    ps = (1.0, 2.0, 7.3, math.inf)
    np.testing.assert_allclose(streamed(values, ps, size), streamed(shuffled, ps, 8), rtol=1e-6)


def test_norms_are_checked():
    assert check_norms(2) == (2.0,)
    assert check_norms([1, math.inf]) == (1.0, math.inf)
    for bad in (0.5, math.nan, -math.inf, []):
        with pytest.raises(UserError):
            check_norms(bad)


def test_norms_have_names():
    assert [norm_name(p) for p in (1, 2.5, math.inf)] == ["p=1", "p=2.5", "p=inf"]
