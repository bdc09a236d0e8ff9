"""Variation: crossover, and flipping bits.

Crossover takes two parents ``bool [2, G]`` and gives two children ``bool [2, G]``; no bit is lost
at any locus. Both mutations take an optional guide (see :mod:`.guide`); without one, or with bias
0, every bit is as likely to flip as any other.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.guide import draw_ranking, flip_weights

Crossover = Callable[[jax.Array, jax.Array], jax.Array]


def uniform(key: jax.Array, parents: jax.Array) -> jax.Array:
    """Each locus goes as it is to the children, or swapped, by a fair coin."""
    return _swap(parents, ~_fair_bits(key, parents.shape[-1]))


def one_point(key: jax.Array, parents: jax.Array) -> jax.Array:
    """Loci from a random point in [0, G) on are swapped."""
    length = parents.shape[-1]
    point = jax.random.randint(key, (), 0, length)
    return _swap(parents, jnp.arange(length) >= point)


def _swap(parents: jax.Array, swapped: jax.Array) -> jax.Array:
    return jnp.where(swapped[None], parents[::-1], parents)


def _fair_bits(key: jax.Array, length: int) -> jax.Array:
    # Eight coins a random byte: 8 times less work for the generator than one uniform a locus, which
    # is what a genome of a million connections spends its time on.
    packed = jax.random.bits(key, (-(-length // 8),), jnp.uint8)
    return jnp.unpackbits(packed, count=length).astype(bool)


class Mutation(Protocol):
    """``mutation(key, children bool [2, G], guide float32 [R, G] or None)`` → ``bool [2, G]``."""

    def __call__(self, key: jax.Array, children: jax.Array, guide: jax.Array | None) -> jax.Array:
        """The children, some bits flipped."""


@dataclasses.dataclass(frozen=True)
class CoinMutation:
    """The reference's: one coin for both children; if it falls, one bit of each flips.

    Attributes:
        probability: of the coin.
        bias: of the guide.
    """

    probability: float = 0.07
    bias: float = 0.0

    def __call__(self, key: jax.Array, children: jax.Array, guide: jax.Array | None) -> jax.Array:
        """See :class:`Mutation`."""
        key_coin, key_ranking, key_point = jax.random.split(key, 3)
        falls = jax.random.uniform(key_coin) < self.probability
        length = children.shape[-1]
        if guide is None or self.bias == 0:
            points = jax.random.randint(key_point, (2,), 0, length)
        else:
            quantiles = draw_ranking(key_ranking, guide)
            points = jax.vmap(self._guided_point, (0, 0, None))(
                jax.random.split(key_point), children, quantiles
            )
        return children ^ (falls & (jnp.arange(length)[None] == points[:, None]))

    def _guided_point(self, key: jax.Array, child: jax.Array, quantiles: jax.Array) -> jax.Array:
        # By the inverse of the distribution function: one random number rather than one a bit.
        mass = jnp.cumsum(flip_weights(child, quantiles, self.bias))
        point = jnp.searchsorted(mass, jax.random.uniform(key) * mass[-1], side="right")
        return jnp.minimum(point, len(child) - 1)


@dataclasses.dataclass(frozen=True)
class BitMutation:
    """Each bit flips independently with a fixed rate.

    Attributes:
        rate: of each bit, in [0, 1]; guided, the mean over the active and over the inactive ones
            (less where a weighted rate would pass 1).
        bias: of the guide.
    """

    rate: float
    bias: float = 0.0

    def __call__(self, key: jax.Array, children: jax.Array, guide: jax.Array | None) -> jax.Array:
        """See :class:`Mutation`."""
        if self.rate == 0:
            return children
        if guide is None or self.bias == 0:
            return jax.vmap(_flip)(children, self._positions(key, self.rate, children.shape))
        key_ranking, key_positions, key_accepted = jax.random.split(key, 3)
        quantiles = draw_ranking(key_ranking, guide)
        weights = jax.vmap(flip_weights, (0, None, None))(children, quantiles, self.bias)
        # Bits are proposed at the highest rate that any of them may have, accepted in proportion.
        highest = min(1.0, self.rate * math.exp(2 * self.bias))
        positions = self._positions(key_positions, highest, children.shape)
        drawn = jax.random.uniform(key_accepted, positions.shape)
        return jax.vmap(_flip)(children, positions, drawn, self.rate * weights / highest)

    @staticmethod
    def _positions(key: jax.Array, rate: float, shape: tuple[int, ...]) -> jax.Array:
        """Where independent coins of a rate fall in rows of a shape ``[2, G]``: ``int32 [2, K]``.

        Gaps between successes of a Bernoulli process are geometric, so only as many random numbers
        are drawn as coins may fall (K: ten standard deviations above the mean), not one a bit.
        Positions past the end stand for nothing.
        """
        rows, length = shape
        if rate == 1:
            return jnp.tile(jnp.arange(length, dtype=jnp.int32)[None], (rows, 1))
        mean = rate * length
        most = min(length, math.ceil(mean + 10 * math.sqrt(mean) + 20))
        gaps = jax.random.geometric(key, rate, (rows, most), dtype=jnp.int32)
        # Cut at the end, so that sums stay far below overflow.
        return jnp.cumsum(jnp.minimum(gaps, length + 1), axis=1, dtype=jnp.int32) - 1


def _flip(
    child: jax.Array,
    positions: jax.Array,
    drawn: jax.Array | None = None,
    acceptance: jax.Array | None = None,
) -> jax.Array:
    """Flip the bits at some positions; those where the number drawn is below the acceptance."""
    flips = jnp.ones(positions.shape, bool)
    if drawn is not None and acceptance is not None:
        flips = drawn < acceptance.at[positions].get(mode="fill", fill_value=0.0)
    flipped = child.at[positions].get(mode="fill", fill_value=False) ^ flips
    return child.at[positions].set(flipped, mode="drop")
