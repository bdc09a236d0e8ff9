"""Who is better: fitness first, fewer active bits among equals."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.batching import map_rows


def best_first(fitness: jax.Array, active: jax.Array) -> jax.Array:
    """Indices ``int32 [P]`` of a population from its best to its worst member.

    Args:
        fitness: ``float32 [P]``, minimised, +inf where the evaluation failed.
        active: ``int32 [P]``, active bits; decides between equal fitness. Where that is equal too
            the earlier member comes first.
    """
    return jnp.lexsort((active, fitness)).astype(jnp.int32)


def places(order: jax.Array) -> jax.Array:
    """Place ``int32 [P]`` of each member in an order of them; 0 is the first."""
    numbers = jnp.arange(len(order), dtype=jnp.int32)
    return jnp.zeros_like(numbers).at[order].set(numbers)


def count_active(genomes: jax.Array) -> jax.Array:
    """Active bits ``int32 [n]`` of ``bool [n, G]``."""

    def count(genome: jax.Array) -> jax.Array:
        return jnp.sum(genome, dtype=jnp.int32)

    return map_rows(count, genomes, genomes.shape[1])
