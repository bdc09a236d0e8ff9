"""Batching work on genomes so that its temporaries stay small whatever their length."""

from __future__ import annotations

from collections.abc import Callable

import jax

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
