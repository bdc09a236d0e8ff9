"""First populations."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.guide import draw_ranking, tilted_probabilities
from evojax_prune.search.operators.population import map_rows


@dataclasses.dataclass(frozen=True)
class InitialGenomes:
    """How the genomes of a first population are drawn; none of them is all zero.

    Attributes:
        length: bits G.
        density: each genome's active fraction is drawn uniformly between the two (the reference:
            both 0.3 ... 0.7, or 0.3 to 0.7, or 0 to 1). Without a guide ``round(density * G)`` bits
            at random are on, at least one.
        sharpness: with a guide: each genome takes one of its rankings at random and a bit's
            probability to be on rises with its quantile by so many logits from the lowest to the
            highest; the density is then the mean of the probabilities.
    """

    length: int
    density: tuple[float, float] = (0.0, 1.0)
    sharpness: float = 0.0

    def genome(self, key: jax.Array, guide: jax.Array | None = None) -> jax.Array:
        """One genome ``bool [G]``; ``guide`` is ``float32 [R, G]`` or None."""
        return self._draw(jax.random.split(key, 3), guide)

    def population(self, key: jax.Array, members: int, guide: jax.Array | None = None) -> jax.Array:
        """``bool [members, G]``, independent draws."""
        keys = jax.random.split(key, (members, 3))
        return map_rows(lambda row: self._draw(row, guide), keys, self.length)

    def _draw(self, keys: jax.Array, guide: jax.Array | None) -> jax.Array:
        key_density, key_ranking, key_bits = keys
        low, high = self.density
        density = jax.random.uniform(key_density, (), jnp.float32, low, high)
        if guide is None or self.sharpness == 0:
            wanted = jnp.round(density * self.length).astype(jnp.int32)
            return exactly(key_bits, self.length, jnp.clip(wanted, 1, self.length))
        # A density of exactly 0 or 1 has no logit.
        density = jnp.clip(density, 0.5 / self.length, 1 - 0.5 / self.length)
        quantiles = draw_ranking(key_ranking, guide)
        margin = tilted_probabilities(quantiles, density, self.sharpness) - jax.random.uniform(
            key_bits, (self.length,)
        )
        # The bit that came closest is on in any case: a head needs one.
        return (margin > 0) | (jnp.arange(self.length) == jnp.argmax(margin))

    def probabilities(self, guide: jax.Array | None = None) -> jax.Array:
        """Each bit's probability ``float32 [G]`` to be on, at the middle density."""
        middle = sum(self.density) / 2
        if guide is None or self.sharpness == 0:
            return jnp.full(self.length, middle, jnp.float32)
        tilted = jax.vmap(lambda q: tilted_probabilities(q, middle, self.sharpness))(guide)
        return jnp.mean(tilted, axis=0)


def exactly(key: jax.Array, length: int, ones: jax.Array) -> jax.Array:
    """``bool [length]`` with exactly so many ones, every such genome equally likely."""
    return some_of(key, jnp.ones(length, bool), ones)


def some_of(key: jax.Array, bits: jax.Array, count: jax.Array) -> jax.Array:
    """Exactly ``count`` of the true ``bits bool [G]``, every choice equally likely.

    ``count`` is at most the number of true bits.
    """
    words = jnp.where(bits, jax.random.bits(key, bits.shape, jnp.uint32), jnp.uint32(2**32 - 1))
    return lowest(words, bits, count)


def lowest(words: jax.Array, bits: jax.Array, count: jax.Array) -> jax.Array:
    """The ``count`` true ``bits bool [G]`` of the lowest ``words uint32 [G]``; ties: the first."""
    threshold = _kth_smallest(words, count)
    below = bits & (words < threshold)
    level = bits & (words == threshold)
    # Several words may equal the threshold in a genome of millions: the first are taken.
    missing = count - jnp.sum(below, dtype=jnp.int32)
    return (below | (level & (jnp.cumsum(level, dtype=jnp.int32) <= missing))) & (count > 0)


def _kth_smallest(words: jax.Array, k: jax.Array) -> jax.Array:
    """The k-th smallest (from 1) of ``uint32 [n]``, bit by bit from the highest.

    32 passes that only count: a tenth of the time of a sort at a million words.
    """

    def next_bit(i: jax.Array, value: jax.Array) -> jax.Array:
        candidate = value | (jnp.uint32(1) << (31 - i).astype(jnp.uint32))
        smaller = jnp.sum(words < candidate, dtype=jnp.int32)
        return jnp.where(smaller < k, candidate, value)

    return jax.lax.fori_loop(0, 32, next_bit, jnp.uint32(0))
