"""The generational (mu + lambda) genetic algorithm on bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from evojax_prune.search.operators import variation
from evojax_prune.search.operators.duplicates import replace_duplicates
from evojax_prune.search.operators.parents import ParentChoice, tournament
from evojax_prune.search.operators.population import count_active
from evojax_prune.search.operators.variation import BitMutation, Crossover, Mutation
from evojax_prune.search.strategies.binary import BinaryGA, BitParams, BitState, algorithm, resolved
from evojax_prune.search.strategies.options import FLIPS
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import BitStrategy

_PAIR_TOURNAMENT = tournament(2)


class GenerationalGA(BinaryGA):
    """(mu + lambda): the best P of the P members and their C children live on.

    Children that are copies of a member or of each other are changed until they are not, so the
    population never fills with one genome. Of equal fitness the one with fewer active bits lives;
    where that is equal too, the newcomer does, which lets the population drift along a plateau.
    """

    keep_size = False
    """Whether copies are changed without changing their size."""

    def __init__(
        self,
        population_size: int,
        solution: jax.Array,
        *,
        children: int | None = None,
        parents: ParentChoice = _PAIR_TOURNAMENT,
        crossover: Crossover = variation.uniform,
        mutation: Mutation | None = None,
    ):
        """Set the operators.

        Args:
            population_size: mu, P.
            solution: any ``bool [G]``.
            children: lambda, C; half of the population if not given.
            parents: chooses a pair.
            crossover: makes two children of it.
            mutation: flips bits of both; each bit with a rate of 3 / G if not given.
        """
        super().__init__(
            population_size,
            solution,
            children=children or max(2, population_size // 2),
            parents=parents,
            crossover=crossover,
            mutation=mutation or BitMutation(min(0.5, FLIPS / jnp.size(solution))),
        )

    def _ask(
        self, key: jax.Array, state: BitState, params: BitParams
    ) -> tuple[jax.Array, BitState]:
        key_breed, key_copies = jax.random.split(key)
        children, state = super()._ask(key_breed, state, params)
        children = replace_duplicates(key_copies, children, state.population, self.keep_size)
        return children, state

    def _tell(
        self,
        key: jax.Array,
        population: jax.Array,
        fitness: jax.Array,
        state: BitState,
        params: BitParams,
    ) -> BitState:
        # Children first: the order is stable, so they win exact ties.
        everyone = jnp.concatenate([fitness, state.fitness])
        active = jnp.concatenate([count_active(population), state.active])
        survivors = self._order(everyone, active)[: self.population_size]
        members = jnp.concatenate([population, state.population])[survivors]
        return self._settle(state, members, everyone[survivors])


def build(plan: Plan) -> BitStrategy:
    """See :class:`~evojax_prune.search.strategies.registry.Entry`."""
    half = max(2, plan.options.population // 2)
    plan = resolved(plan, children=half, parents="tournament", mutation="per-bit")
    return BitStrategy(plan, algorithm(GenerationalGA, plan))
