"""Power means: the p-norms of this package, normalised so that they can be compared across p.

The power mean of n values is ``(mean |v|**p) ** (1/p)``: p = 1 is the mean absolute value, p = 2
the root mean square and p = inf the maximum, which are the three measures of Zurada, Malinowski
and Cloete (1994, 1997). It never falls when p grows, and does not depend on how many values there
are, as the plain p-norm does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.errors import UserError

FAN_IN = 16
"""Patterns summed by one fused XLA loop. XLA's own reduction over a leading axis is 10 to 40 times
slower on CPU (5 to 25 ns an entry for ``[16, 100, 2048]`` against 0.3 to 0.9), and less accurate:
a tree adds pairwise."""


def check_norms(ps: float | Iterable[float]) -> tuple[float, ...]:
    """The exponents as floats.

    Args:
        ps: one exponent or several, each a real number of at least 1, or ``math.inf``.

    Raises:
        UserError: none given, or one that is below 1 or not a number.
    """
    if isinstance(ps, str):
        raise UserError(f"p is {ps!r}: a p-norm needs a real number of at least 1, or inf")
    norms = (float(ps),) if isinstance(ps, (int, float)) else tuple(float(p) for p in ps)
    if not norms:
        raise UserError("no p-norm was given: name at least one, such as 1, 2 or inf")
    for p in norms:
        if not p >= 1:
            raise UserError(f"p is {p:g}: a p-norm needs a real number of at least 1, or inf")
    return norms


def norm_name(p: float) -> str:
    """How a norm is written in tables and files: ``p=1``, ``p=2.5``, ``p=inf``."""
    return f"p={p:g}"


def power_mean(values: np.ndarray, p: float, axis: int = 0) -> np.ndarray:
    """Power mean along one axis in float64, exact in scale for any p.

    Args:
        values: real array of any shape; signs do not matter.
        p: exponent, at least 1, or ``math.inf``.
        axis: the axis that the mean is taken over.

    Returns:
        float64 array without that axis.
    """
    magnitude = np.abs(np.asarray(values, np.float64))
    peak = magnitude.max(axis, keepdims=True)
    if math.isinf(p):
        return peak.squeeze(axis)
    # Divided by the largest first: v**p alone leaves float64 at p = 1000 for any v but about 1.
    ratio = magnitude / np.where(peak > 0, peak, 1)
    return ((ratio**p).mean(axis, keepdims=True) ** (1 / p) * peak).squeeze(axis)


class StreamedPowerMeans:
    """Power means over patterns that come chunk by chunk, for several p at once.

    Each entry carries its running peak and, for each finite p, the sum of ``(|v| / peak) ** p``:
    every power lies in [0, 1] whatever p is, and the sum is rescaled where the peak rises. Chunks
    are reduced on the device in their own precision, a tree of at most chunk-length rows; the
    chunks are added in float64 on the host.
    """

    def __init__(self, ps: Sequence[float], shape: tuple[int, ...]) -> None:
        """Start empty.

        Args:
            ps: exponents, as :func:`check_norms` returns them.
            shape: shape of what one pattern brings.
        """
        self.ps = tuple(ps)
        self.finite = tuple(dict.fromkeys(p for p in self.ps if not math.isinf(p)))
        self.count = 0
        self.peak = np.zeros(shape)
        self.sums = {p: np.zeros(shape) for p in self.finite}

    def add(self, count: int, peak: np.ndarray, sums: Sequence[np.ndarray]) -> None:
        """Take in one chunk.

        Args:
            count: patterns in the chunk.
            peak: largest magnitude so far, this chunk included, as :func:`chunk_power_sums` has it.
            sums: for each finite p the chunk's sum of ``(|v| / peak) ** p``.
        """
        risen = peak > self.peak
        shrink = self.peak[risen] / peak[risen]
        self.peak[risen] = peak[risen]
        for p, chunk_sum in zip(self.finite, sums, strict=True):
            self.sums[p][risen] *= shrink**p
            self.sums[p] += chunk_sum
        self.count += count

    def result(self) -> np.ndarray:
        """Power means ``float64 [len(ps), *shape]`` of everything taken in so far."""
        means = [
            self.peak if math.isinf(p) else self.peak * (self.sums[p] / self.count) ** (1 / p)
            for p in self.ps
        ]
        return np.stack(means)


def chunk_power_sums(
    values: jax.Array, peak: jax.Array, ps: Sequence[float]
) -> tuple[jax.Array, list[jax.Array]]:
    """Reduce one chunk over its patterns, to be jitted.

    Args:
        values: ``[n, ...]``, n a power of two; rows of zeros add nothing.
        peak: ``[...]``, largest magnitude of the chunks before.
        ps: finite exponents.

    Returns:
        Largest magnitude with this chunk, and for each p the sum of ``(|v| / that) ** p``.
    """
    fan_in = min(FAN_IN, len(values))
    groups = values.reshape(-1, fan_in, *values.shape[1:])

    def highest(group: jax.Array) -> jax.Array:
        return _pairwise(jnp.maximum, [jnp.abs(row) for row in group])

    peak = jnp.maximum(peak, _tree(jnp.maximum, jax.lax.map(highest, groups)))
    scale = jnp.where(peak > 0, peak, 1)

    def power_sums(group: jax.Array) -> list[jax.Array]:
        ratios = [jnp.abs(row) / scale for row in group]
        return [_pairwise(jnp.add, [_raise(ratio, p) for ratio in ratios]) for p in ps]

    # A group at a time: over the whole chunk XLA would write every power out before adding.
    return peak, [_tree(jnp.add, sums) for sums in jax.lax.map(power_sums, groups)]


def _raise(ratio: jax.Array, p: float) -> jax.Array:
    # A rounding error of p units in the last place is divided by p again when the root is taken.
    if p.is_integer():
        return jax.lax.integer_pow(ratio, int(p))
    return jnp.exp(p * jnp.log(ratio))  # vectorises on CPU, which pow does not


def _tree(combine: Callable[[jax.Array, jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    while len(x) > 1:
        fan_in = min(FAN_IN, len(x))
        groups = x.reshape(len(x) // fan_in, fan_in, *x.shape[1:])
        x = _pairwise(combine, [groups[:, i] for i in range(fan_in)])
    return x[0]


def _pairwise(
    combine: Callable[[jax.Array, jax.Array], jax.Array], rows: list[jax.Array]
) -> jax.Array:
    while len(rows) > 1:
        rows = [combine(a, b) for a, b in zip(rows[::2], rows[1::2], strict=True)]
    return rows[0]
