"""First genomes out of rankings, at many sizes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.population import map_rows
from evojax_prune.search.operators.sized import highest

NOISE = (0.0, 0.02, 0.05, 0.1)
"""Gumbel noise on the quantiles of a ranking, in turn: none takes its best bits."""

LEAST = 4
"""Least active bits of a first genome whose size is not given."""

SHARE_RANDOM = 10
"""Of so many first genomes one is random."""


@dataclasses.dataclass(frozen=True)
class RankedGenomes:
    """A first population out of rankings, at many sizes.

    Each genome takes the best bits of one ranking. Sizes are spread evenly on a log scale; where
    the upper bound is the whole genome, the last one is that.

    Attributes:
        length: bits G.
        density: smallest and largest active fraction; of 0, four bits.
        varied: rankings are taken without and with some noise, in turn, and of ten genomes one is
            random; else each ranking is taken as it is, at as many sizes as every other.
    """

    length: int
    density: tuple[float, float] = (0.0, 1.0)
    varied: bool = True

    def population(self, key: jax.Array, members: int, guide: jax.Array | None) -> jax.Array:
        """``bool [members, G]``; ``guide`` is ``float32 [R, G]``.

        Raises:
            ValueError: there is no guide.
        """
        if guide is None:
            raise ValueError("a population out of rankings needs some")
        key_sizes, key_members = jax.random.split(key)
        sizes = self._sizes(key_sizes, members, 1 if self.varied else len(guide))
        keys = jax.random.split(key_members, members)

        def draw(i: jax.Array) -> jax.Array:
            ranking = guide[i % len(guide)]
            scores = self._vary(keys[i], i, ranking, len(guide)) if self.varied else ranking
            return highest(scores, jnp.ones(self.length, bool), sizes[i])

        rows = jnp.arange(members, dtype=jnp.int32)
        drawn = map_rows(draw, rows, self.length)
        return drawn | ((rows == members - 1) & (self.density[1] == 1))[:, None]

    def _vary(self, key: jax.Array, i: jax.Array, ranking: jax.Array, rankings: int) -> jax.Array:
        """Scores ``float32 [G]`` of the i-th genome."""
        noise = jnp.array(NOISE, jnp.float32)[(i // rankings) % len(NOISE)]
        gumbel = jax.random.gumbel(key, (self.length,), jnp.float32)
        ranked = ranking + noise * gumbel
        return jnp.where(i % SHARE_RANDOM == SHARE_RANDOM - 1, gumbel, ranked)

    def _sizes(self, key: jax.Array, members: int, alike: int) -> jax.Array:
        """``int32 [members]``, in random order; so many in a row are of about one size."""
        low = self.density[0] * self.length or min(LEAST, self.length)
        low, high = max(1.0, low), max(1.0, self.density[1] * self.length)
        key_order, key_place = jax.random.split(key)
        rounds = -(-members // alike)
        places = jax.random.permutation(key_order, rounds).astype(jnp.float32)
        places = jnp.repeat(places, alike)[:members]
        places = (places + jax.random.uniform(key_place, (members,))) / rounds
        sizes = jnp.round(low * (high / low) ** places).astype(jnp.int32)
        return jnp.clip(sizes, 1, self.length)
