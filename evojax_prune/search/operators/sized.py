"""Operators that respect a genome's size, which is its number of active bits.

Children keep a size between those of their parents, on a log scale, and mutation exchanges active
bits for inactive ones. So a search at one size stays there, and a search over many sizes moves
along them in ratios, as the front's second objective counts them.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.guide import draw_ranking
from evojax_prune.search.operators.initial import lowest, some_of

MOST_SWAPS = 64
"""Most bits that a mutation exchanges."""


def sized(key: jax.Array, parents: jax.Array) -> jax.Array:
    """Two children ``bool [2, G]`` of parents ``bool [2, G]``.

    Bits that both parents agree on stay; of the others as many are active as the child's size
    needs, which is drawn between the parents' sizes, uniformly on a log scale.
    """
    agreed, disputed = parents[0] & parents[1], parents[0] ^ parents[1]
    sizes = jnp.sum(parents, axis=1, dtype=jnp.float32)
    low, high = jnp.log(jnp.maximum(jnp.min(sizes), 1)), jnp.log(jnp.maximum(jnp.max(sizes), 1))
    shared = jnp.sum(agreed, dtype=jnp.int32)
    most = jnp.sum(disputed, dtype=jnp.int32)

    def child(key: jax.Array) -> jax.Array:
        key_size, key_bits = jax.random.split(key)
        size = jnp.exp(jax.random.uniform(key_size, (), jnp.float32, low, high))
        wanted = jnp.round(size).astype(jnp.int32) - shared
        return agreed | some_of(key_bits, disputed, jnp.clip(wanted, 0, most))

    return jax.vmap(child)(jax.random.split(key))


@dataclasses.dataclass(frozen=True)
class SwapMutation:
    """Active bits are exchanged for as many inactive ones.

    How many is drawn by as many coins as may be exchanged at most, and is at least one.

    Attributes:
        rate: mean part of the active bits that is exchanged, in [0, 1].
        bias: with a guide: how many logits likelier the inactive bit of the highest quantile is
            chosen than that of the lowest.
    """

    rate: float
    bias: float = 0.0

    def __call__(self, key: jax.Array, children: jax.Array, guide: jax.Array | None) -> jax.Array:
        """See :class:`~evojax_prune.search.operators.variation.Mutation`."""
        if self.rate == 0:
            return children
        key_ranking, *keys = jax.random.split(key, 1 + len(children))
        quantiles = None
        if guide is not None and self.bias:
            quantiles = draw_ranking(key_ranking, guide)
        return jax.vmap(lambda k, child: self._swap(k, child, quantiles))(jnp.stack(keys), children)

    def _swap(self, key: jax.Array, child: jax.Array, quantiles: jax.Array | None) -> jax.Array:
        key_count, key_off, key_on = jax.random.split(key, 3)
        active = jnp.sum(child, dtype=jnp.int32)
        room = jnp.minimum(active, len(child) - active)
        # Coins, of which so many fall on average: compiles in a tenth of a Poisson draw's time.
        share = self.rate * active.astype(jnp.float32) / MOST_SWAPS
        coins = jax.random.uniform(key_count, (MOST_SWAPS,)) < share
        drawn = jnp.maximum(jnp.sum(coins, dtype=jnp.int32), 1)
        count = jnp.minimum(jnp.minimum(drawn, MOST_SWAPS), room)
        # Both draws, and both choices, in one go: each one more takes half a second to compile.
        off, on = jax.vmap(lambda k: jax.random.bits(k, child.shape, jnp.uint32))(
            jnp.stack([key_off, key_on])
        )
        if quantiles is not None:
            off, on = self._guided(off, on, quantiles, active)
        bits = jnp.stack([child, ~child])
        words = jnp.where(bits, jnp.stack([off, on]), jnp.uint32(2**32 - 1))
        left, joined = jax.vmap(lowest, (0, 0, None))(words, bits, count)
        return child ^ left ^ joined

    def _guided(
        self, off: jax.Array, on: jax.Array, quantiles: jax.Array, active: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Random words ``uint32 [G]`` by which bits go off and on, the lowest first."""
        del active
        return off, descending(self.bias * quantiles + gumbel_of(on))


@dataclasses.dataclass(frozen=True)
class NearSwapMutation(SwapMutation):
    """A swap of bits that rank about as far as the genome reaches, or nearer.

    A small genome has use for few of the bits: of a thousand, the best hundred by a ranking are
    hardly likelier in a :class:`SwapMutation` than the next. Here the bit of place r, from 0 for
    the best, is switched on in a genome of s active bits in proportion to ``(1 + r / s) ** -bias``,
    and off in proportion to ``1 + r / s``.
    """

    def _guided(
        self, off: jax.Array, on: jax.Array, quantiles: jax.Array, active: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        place = (1 - quantiles) * jnp.float32(len(quantiles))
        far = jnp.log1p(place / jnp.maximum(active, 1).astype(jnp.float32))
        return descending(far + gumbel_of(off)), descending(gumbel_of(on) - self.bias * far)


def gumbel_of(words: jax.Array) -> jax.Array:
    """What ``jax.random.gumbel`` makes of its random ``words uint32 [n]``, ``float32 [n]``."""
    tiny = jnp.float32(jnp.finfo(jnp.float32).tiny)
    mantissa = (words >> 9) | jnp.uint32(0x3F800000)
    uniform = jax.lax.bitcast_convert_type(mantissa, jnp.float32) - jnp.float32(1)
    return -jnp.log(-jnp.log(jnp.maximum(tiny, uniform * (jnp.float32(1) - tiny) + tiny)))


def highest(scores: jax.Array, bits: jax.Array, count: jax.Array) -> jax.Array:
    """The ``count`` true ``bits bool [G]`` of the highest ``scores float32 [G]``."""
    return lowest(jnp.where(bits, descending(scores), jnp.uint32(2**32 - 1)), bits, count)


def descending(scores: jax.Array) -> jax.Array:
    """Words ``uint32 [n]`` in the opposite order of ``scores float32 [n]``."""
    raw = jax.lax.bitcast_convert_type(-scores, jnp.uint32)
    # Floats in the order of unsigned words: negative ones reversed, below the others.
    return jnp.where(raw >> 31 == 1, ~raw, raw | jnp.uint32(1 << 31))
