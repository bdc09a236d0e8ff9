"""Children that are not a copy of another genome."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.population import map_rows

ROUNDS = 16
"""Attempts at making a child new; only a genome of very few bits needs more than one or two."""


def replace_duplicates(
    key: jax.Array, children: jax.Array, population: jax.Array, keep_size: bool = False
) -> jax.Array:
    """Flip random bits of each child that equals a member or an earlier child until none does.

    Copies tell the search nothing and crowd out diversity. Rows are compared by 64-bit hashes: the
    chance of ever taking two different genomes for one is about ``P**2 / 2**64``, and it costs no
    more than one needless flip.

    Args:
        key: for the hash and the flips.
        children: ``bool [C, G]``.
        population: ``bool [P, G]``.
        keep_size: with each bit, also flip the next one of the other kind, if there is one.

    Returns:
        ``bool [C, G]``; after :data:`ROUNDS` attempts duplicates are let through.
    """
    key_hash, key_flips = jax.random.split(key)
    weights = jax.random.bits(key_hash, (2, children.shape[-1]), jnp.uint32)
    known = _hashes(population, weights)
    rows = jnp.arange(len(children))
    points = jax.random.randint(key_flips, (ROUNDS, len(rows)), 0, children.shape[-1])

    def wanted(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        attempt, _, copies = carry
        return (attempt < ROUNDS) & jnp.any(copies)

    def flip(
        carry: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        attempt, children, copies = carry
        place = rows, points[attempt]
        changed = children.at[place].set(children[place] ^ copies)
        if keep_size:
            partners = rows, _partners(children, points[attempt])
            changed = changed.at[partners].set(children[partners] ^ copies)
        return attempt + 1, changed, _copies(_hashes(changed, weights), known)

    start = jnp.int32(0), children, _copies(_hashes(children, weights), known)
    return jax.lax.while_loop(wanted, flip, start)[1]


def _partners(genomes: jax.Array, points: jax.Array) -> jax.Array:
    """For a bit of each genome ``bool [n, G]``, the next one after it that differs, cyclic; where
    none does, itself.
    """

    def partner(genome: jax.Array, point: jax.Array) -> jax.Array:
        unlike = jnp.roll(genome != genome[point], -point)
        return (point + jnp.argmax(unlike)) % len(genome)

    return jax.vmap(partner)(genomes, points)


def _hashes(genomes: jax.Array, weights: jax.Array) -> jax.Array:
    """``uint32 [n, 2]``: two sums of random words over the active bits, modulo 2**32."""

    def row_hashes(genome: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(genome[None], weights, jnp.uint32(0)), 1, dtype=jnp.uint32)

    return map_rows(row_hashes, genomes, 2 * genomes.shape[1])


def _copies(hashes: jax.Array, known: jax.Array) -> jax.Array:
    """Which children ``bool [C]`` equal a member or an earlier child."""
    everyone = jnp.concatenate([known, hashes])
    order = jnp.lexsort((everyone[:, 1], everyone[:, 0]))  # stable: members, then earlier children
    ordered = everyone[order]
    same = jnp.all(ordered[1:] == ordered[:-1], axis=1)
    copies = jnp.zeros(len(everyone), bool).at[order[1:]].set(same)
    return copies[len(known) :]
