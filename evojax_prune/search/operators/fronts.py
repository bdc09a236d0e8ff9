"""Fronts and crowding of a population with several costs (Deb et al. 2002, NSGA-II)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_Peeling = tuple[jax.Array, jax.Array, jax.Array]  # rows left, front of each, next front


def front_numbers(costs: jax.Array) -> jax.Array:
    """Number of each row's front, ``int32 [n]``: 0 for the rows that no other row dominates.

    Those that only rows of front 0 dominate are front 1, and so on. Equal rows share a front. Rows
    that failed (``+inf``) are on front n, the last.

    Of one or two costs it takes ``O(n log n)``, of more ``O(n^2)`` per front.

    Args:
        costs: ``float32 [n, M]``, minimised.
    """
    rows, objectives = costs.shape
    failed = jnp.any(jnp.isinf(costs), axis=1)
    two = jnp.concatenate([costs, jnp.zeros_like(costs)], 1) if objectives == 1 else costs
    numbers = _sweep(two) if objectives <= 2 else _peel(costs, failed)
    return jnp.where(failed, jnp.int32(rows), numbers)


def _sweep(costs: jax.Array) -> jax.Array:
    """Fronts of two costs, row by row from the lowest first cost.

    A front is dominant over the next row if its lowest second cost so far is not above the row's,
    and those rise from front to front: the row's own front is found by bisection.
    """
    order = jnp.lexsort((costs[:, 1], costs[:, 0]))

    def place(
        carry: tuple[jax.Array, jax.Array, jax.Array], row: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array, jax.Array], jax.Array]:
        lowest, before, number = carry
        found = jnp.searchsorted(lowest, row[1], side="right").astype(jnp.int32)
        number = jnp.where(jnp.all(row == before), number, found)
        return (lowest.at[number].set(row[1]), row, number), number

    start = jnp.full(len(costs), jnp.inf, costs.dtype), jnp.full(2, jnp.nan, costs.dtype)
    _, numbers = jax.lax.scan(place, (*start, jnp.int32(0)), costs[order])
    return jnp.zeros_like(numbers).at[order].set(numbers)


def _peel(costs: jax.Array, failed: jax.Array) -> jax.Array:
    """Fronts of any number of costs, one after the other."""

    def dominated(row: jax.Array, left: jax.Array) -> jax.Array:
        better = jnp.all(costs <= row[None], 1) & jnp.any(costs < row[None], 1)
        return jnp.any(better & left)

    def peel(carry: _Peeling) -> _Peeling:
        left, numbers, front = carry
        behind = jax.lax.map(lambda row: dominated(row, left), costs, batch_size=256)
        members = left & ~behind
        return left & behind, jnp.where(members, front, numbers), front + 1

    start = ~failed, jnp.zeros(len(costs), jnp.int32), jnp.int32(0)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[0]), peel, start)[1]


def crowding_distances(costs: jax.Array, front: jax.Array) -> jax.Array:
    """Crowding distance of each row on its front, ``float32 [n]``; ``inf`` for the extremes.

    The sum over costs of the distance between both neighbours, as a part of the front's extent; a
    cost in which a whole front is equal adds nothing.

    Args:
        costs: ``float32 [n, M]``, minimised.
        front: ``int32 [n]``, from :func:`front_numbers`.
    """
    finite = jnp.where(jnp.isinf(costs), jnp.zeros_like(costs), costs)
    total = jnp.zeros(len(costs), costs.dtype)
    for column in finite.T:
        order = jnp.lexsort((column, front))
        value, of = column[order], front[order]
        first = jnp.concatenate([jnp.array([True]), of[1:] != of[:-1]])
        last = jnp.concatenate([of[1:] != of[:-1], jnp.array([True])])
        lowest = jax.ops.segment_min(column, front, len(costs) + 1)[of]
        extent = jax.ops.segment_max(column, front, len(costs) + 1)[of] - lowest
        gap = jnp.roll(value, -1) - jnp.roll(value, 1)
        gap = jnp.where(first | last, jnp.inf, gap / jnp.where(extent > 0, extent, 1))
        total = total.at[order].add(jnp.where(extent > 0, gap, 0))
    return total


def fronts_first(costs: jax.Array, active: jax.Array) -> jax.Array:
    """Indices ``int32 [n]``: front by front, the least crowded first within each.

    Of equally crowded ones the one with fewer active bits comes first, then the earlier.

    Args:
        costs: ``float32 [n, M]``, minimised, ``+inf`` where the evaluation failed.
        active: ``int32 [n]``, active bits.
    """
    front = front_numbers(costs)
    crowded = crowding_distances(costs, front)
    return jnp.lexsort((active, -crowded, front)).astype(jnp.int32)
