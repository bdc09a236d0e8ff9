from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from evojax_prune.features.backbones.depthwise import shifted_depthwise

NHWC = ("NHWC", "HWIO", "NHWC")


def draw(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def depthwise(x: jax.Array, kernel: jax.Array, **options: object) -> jax.Array:
    options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC} | options
    return lax.conv_general_dilated(x, kernel, feature_group_count=x.shape[-1], **options)


def groups_in(fun: object, *args: np.ndarray) -> set[int]:
    """Feature groups of the convolutions in a program."""
    text = str(jax.make_jaxpr(fun)(*args))
    return {int(part.split()[0]) for part in text.split("feature_group_count=")[1:]}


@settings(deadline=None, max_examples=8)
@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    taps=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.integers(1, 2),
)
def test_gives_the_convolution(
    height: int, width: int, taps: tuple[int, int], strides: tuple[int, int], dilation: int
) -> None:
    x, kernel = draw((2, height, width, 3)), draw((*taps, 1, 3), 1)

    def fun(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return depthwise(x, kernel, window_strides=strides, rhs_dilation=(dilation, dilation))

    shifted = jax.jit(shifted_depthwise(fun))
    np.testing.assert_allclose(shifted(x, kernel), jax.jit(fun)(x, kernel), atol=1e-5)
    assert not groups_in(shifted_depthwise(fun), x, kernel)


def test_uneven_and_no_padding() -> None:
    x, kernel = draw((1, 9, 7, 4)), draw((3, 3, 1, 4), 1)
    for padding in ("VALID", ((0, 1), (2, 0))):
        fun = jax.jit(lambda x, k, p=padding: depthwise(x, k, padding=p, window_strides=(2, 2)))
        shifted = jax.jit(shifted_depthwise(fun))
        np.testing.assert_allclose(shifted(x, kernel), fun(x, kernel), atol=1e-5)


@jax.custom_vjp
def undifferentiated(x: jax.Array) -> jax.Array:
    return x + 1.0


undifferentiated.defvjp(lambda x: (undifferentiated(x), None), lambda _, g: (g * 0,))


@pytest.mark.parametrize("groups", [1, 2])
def test_other_convolutions_stay(groups: int) -> None:
    def fun(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=groups
        )

    x, kernel = draw((1, 6, 6, 4)), draw((3, 3, 4 // groups, 4), 1)
    assert groups_in(shifted_depthwise(fun), x, kernel) == {groups}
    np.testing.assert_array_equal(shifted_depthwise(fun)(x, kernel), fun(x, kernel))


def test_finds_convolutions_inside_of_functions_and_keeps_all_else() -> None:
    def fun(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        y = jax.jit(lambda x: jax.nn.relu(depthwise(x, params["kernel"])))(x)
        y = undifferentiated(y)
        y, _ = lax.scan(lambda c, _: (c * 0.5 + 1.0, None), y, None, length=3)
        top = lax.cond(y.sum() > 0, lambda y: y.max(), lambda y: y.min(), y)
        return jnp.sort(y, -1).mean((1, 2)) + top * jnp.float32(2)

    params, x = {"kernel": draw((5, 5, 1, 4), 1)}, draw((2, 8, 8, 4))
    shifted = jax.jit(shifted_depthwise(fun))
    np.testing.assert_allclose(shifted(params, x), fun(params, x), atol=1e-5)
    assert not groups_in(shifted_depthwise(fun), params, x)
