"""Choosing a pair of parents.

Every function maps ``(key, population bool [P, G], fitness float32 [P] minimised, rank int32 [P])``
to the pair's indices ``int32 [2]``.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.population import count_active

ParentChoice = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]

NAM_CANDIDATES = 3
"""Candidates for the second parent (EvoPruneDeepTL, released code)."""


NEAR_CANDIDATES = 6
"""Candidates for the second of two parents of like size."""

MANY = 512
"""Members above which indices are drawn one by one: a random word for every member would take
longer than the training of a population of 10,000."""

FEW = 64
"""Indices up to which they are drawn one by one."""


def negative_assortative(
    key: jax.Array, population: jax.Array, fitness: jax.Array, rank: jax.Array
) -> jax.Array:
    """Negative assortative mating (NAM): one at random, the other the most unlike it of three.

    The candidates are distinct and are not the first parent; of equally distant ones the first
    drawn is taken. Populations of fewer than four members have fewer candidates.
    """
    del fitness, rank
    drawn = min(len(population), 1 + NAM_CANDIDATES)
    first, candidates = jnp.split(_distinct(key, len(population), (drawn,)), [1])
    distances = jnp.sum(population[candidates] != population[first], -1, dtype=jnp.int32)
    return jnp.concatenate([first, candidates[jnp.argmax(distances)][None]])


def roulette(
    key: jax.Array, population: jax.Array, fitness: jax.Array, rank: jax.Array
) -> jax.Array:
    """Roulette wheel: two draws, with replacement, in proportion to the maximised fitness.

    Where some fitness is negative (a negated loss, say) all are measured from the worst one.
    Failed members (+inf) are never drawn unless nothing has any weight: then all are equally
    likely.
    """
    del population, rank
    sound = jnp.isfinite(fitness)
    maximised = jnp.where(sound, -fitness, jnp.inf)
    floor = jnp.minimum(jnp.min(maximised), 0.0)
    weights = jnp.where(sound, maximised - floor, 0.0)
    weights = jnp.where(jnp.any(weights > 0), weights, jnp.ones_like(weights))
    drawn = jax.random.choice(key, len(weights), (2,), p=weights / jnp.sum(weights))
    return drawn.astype(jnp.int32)


def tournament(size: int) -> ParentChoice:
    """Tournaments of ``size``: each parent is the best of that many distinct random members.

    The two tournaments are independent, so both parents may be the same member.
    """

    def choose(
        key: jax.Array, population: jax.Array, fitness: jax.Array, rank: jax.Array
    ) -> jax.Array:
        del fitness
        entrants = min(size, len(population))

        drawn = _distinct(key, len(population), (2, entrants))
        winners = jnp.argmin(rank[drawn], axis=1)
        return jnp.take_along_axis(drawn, winners[:, None], axis=1)[:, 0]

    return choose


def near(size: int) -> ParentChoice:
    """The winner of a tournament of ``size``, and the nearest to its size of six random members.

    Distances are in the logarithm of the active bits; of equally near ones the first drawn is
    taken. Children of parents of unlike sizes have sizes in between, and hardly ever good bits.
    """

    def choose(
        key: jax.Array, population: jax.Array, fitness: jax.Array, rank: jax.Array
    ) -> jax.Array:
        del fitness
        members = len(population)
        key_first, key_second = jax.random.split(key)
        entrants = _distinct(key_first, members, (min(size, members),))
        first = entrants[jnp.argmin(rank[entrants])]
        drawn = _distinct(key_second, members, (min(NEAR_CANDIDATES, members),))
        active = jnp.maximum(count_active(population), 1).astype(jnp.float32)
        distance = jnp.abs(jnp.log(active[drawn]) - jnp.log(active[first]))
        second = drawn[jnp.argmin(jnp.where(drawn == first, jnp.inf, distance))]
        return jnp.stack([first, second])

    return choose


def _distinct(key: jax.Array, members: int, shape: tuple[int, ...]) -> jax.Array:
    """Random indices below ``members``, ``int32``, distinct along the last axis of ``shape``."""
    if members > MANY and shape[-1] <= FEW:
        return _distinct_few(key, members, shape)
    # The places of the highest of as many random words: compiles in a third of the time of
    # jax.random.choice without replacement.
    words = jax.random.bits(key, (*shape[:-1], members), jnp.uint32)
    return jax.lax.top_k(words, shape[-1])[1]


def _distinct_few(key: jax.Array, members: int, shape: tuple[int, ...]) -> jax.Array:
    """As :func:`_distinct`, by as many random numbers as indices (Floyd's algorithm)."""
    count = shape[-1]
    keys = jax.random.split(key, count)
    drawn: list[jax.Array] = []
    for i, one in enumerate(keys):
        last = members - count + i
        index = jax.random.randint(one, shape[:-1], 0, last + 1)
        taken = jnp.any(jnp.stack([index == d for d in drawn]), 0) if drawn else jnp.bool_(False)
        drawn.append(jnp.where(taken, jnp.int32(last), index))
    # Each set is equally likely; its order is not, until it is shuffled.
    order = jnp.argsort(jax.random.bits(jax.random.fold_in(key, count), shape, jnp.uint32), axis=-1)
    return jnp.take_along_axis(jnp.stack(drawn, -1), order, axis=-1)
