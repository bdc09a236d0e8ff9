"""Work on all genomes of a population: in batches, and who is better.

Better is who has the lower fitness (minimised here); among equals, who has fewer active bits.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

BATCH_BITS = 2**22
"""Bits of all genomes worked on at a time; a few MB of temporaries, enough to fill a device."""


def map_rows(function: Callable[[jax.Array], jax.Array], rows: jax.Array, length: int) -> jax.Array:
    """``function`` of each row, stacked; as many at a time as keep their temporaries small.

    XLA on CPU writes out what it is about to sum, at 4 bytes a bit: for a thousand genomes of a
    million bits those are gigabytes.

    Args:
        function: maps a row (keys, or a genome) to an array.
        rows: ``[n, ...]``.
        length: bits that one call works on.
    """
    batch = max(1, BATCH_BITS // length)
    if batch >= len(rows):
        return jax.vmap(function)(rows)
    return jax.lax.map(function, rows, batch_size=batch)


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
