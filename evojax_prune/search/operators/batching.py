"""Batching work on genomes so that its temporaries stay small whatever their length."""

from __future__ import annotations

from collections.abc import Callable

import jax

BATCH_BITS = 2**22
"""Bits of all genomes worked on at a time; a few MB of temporaries, enough to fill a device."""


def map_rows(function: Callable[[jax.Array], jax.Array], keys: jax.Array, length: int) -> jax.Array:
    """``function`` of each key, stacked; several at a time where genomes are short.

    Args:
        function: maps a key (or a row of keys) to an array of about ``length`` elements.
        keys: ``[n, ...]``.
        length: bits G that one call works on.
    """
    batch = max(1, BATCH_BITS // length)
    if batch >= len(keys):
        return jax.vmap(function)(keys)
    return jax.lax.map(function, keys, batch_size=batch)
