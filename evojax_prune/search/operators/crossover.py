"""Two parents ``bool [2, G]`` in, two children ``bool [2, G]`` out; no bit is lost at any locus."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

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
