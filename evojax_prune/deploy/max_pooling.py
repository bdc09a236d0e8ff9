"""Max pooling that ONNX runtimes can run.

jax2onnx (0.17) gives an image batch's max pooling four spatial axes; onnxruntime has kernels for
three at most. Written as maxima of strided slices it needs no pooling at all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from evojax_prune.features.backbones.exchange import exchanged


def sliced_max_pooling(fun: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """``fun`` with each of its max poolings written as maxima of slices; equal to the bit.

    Args:
        fun: any function of arrays that JAX can trace, giving one array.
    """
    return exchanged(fun, lax.reduce_window_max_p, _pooled)


def _pooled(operands: list[Any], params: dict[str, Any]) -> jax.Array | None:
    (x,) = operands
    dilations = (*params["base_dilation"], *params["window_dilation"])
    if not jnp.issubdtype(x.dtype, jnp.floating) or any(d != 1 for d in dilations):
        return None
    edges = [(*pair, 0) for pair in params["padding"]]
    if any(low or high for low, high, _ in edges):
        x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)
    for axis, (size, step) in enumerate(
        zip(params["window_dimensions"], params["window_strides"], strict=True)
    ):
        if (size, step) != (1, 1):
            x = _along(x, axis, size, step)
    return x


def _along(x: jax.Array, axis: int, size: int, step: int) -> jax.Array:
    """Maxima of windows of one axis."""
    last = x.shape[axis] - size
    parts = (lax.slice_in_dim(x, i, last + i + 1, step, axis) for i in range(size))
    return functools.reduce(jnp.maximum, parts)
