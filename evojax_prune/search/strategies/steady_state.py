"""The steady-state genetic algorithm of EvoPruneDeepTL."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from evojax_prune.core.errors import UserError
from evojax_prune.search.operators import variation
from evojax_prune.search.operators.parents import ParentChoice, negative_assortative
from evojax_prune.search.operators.population import best_first, count_active
from evojax_prune.search.operators.variation import CoinMutation, Crossover, Mutation
from evojax_prune.search.strategies.binary import BinaryGA, BitParams, BitState, algorithm, resolved
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import BitStrategy

_Scores = tuple[jax.Array, jax.Array]  # fitness, active bits


class SteadyStateGA(BinaryGA):
    """Few children at a time, each taking the place of a worst member that it beats.

    The children come in order of birth before the worst members, worst first: a child that beats
    the one it stands before takes its place, and the next child stands before the next worst. So
    the best is never lost, and no child displaces another.

    Source: Poyatos et al., Neural Networks 158 (2023) 59-82, and its released code. The code lets
    a child in only for a higher fitness, and counts active bits only to tell which member is the
    best: ``ties=False`` does the same.
    """

    def __init__(
        self,
        population_size: int,
        solution: jax.Array,
        *,
        children: int = 2,
        parents: ParentChoice = negative_assortative,
        crossover: Crossover = variation.uniform,
        mutation: Mutation | None = None,
        elitism: bool = False,
        ties: bool = True,
    ):
        """Set the operators.

        Args:
            population_size: members P.
            solution: any ``bool [G]``.
            children: born at a time, 2 (the reference) to P.
            parents: chooses a pair.
            crossover: makes two children of it.
            mutation: flips bits of both; the reference's coin of 0.07 if not given.
            elitism: overwrite the worst member by a copy of the best after every generation, as the
                released code does. It kills diversity.
            ties: a child also beats a member of its own fitness that has more active bits.
        """
        super().__init__(
            population_size,
            solution,
            children=children,
            parents=parents,
            crossover=crossover,
            mutation=mutation or CoinMutation(),
        )
        self.elitism = elitism
        self.ties = ties

    def _tell(
        self,
        key: jax.Array,
        population: jax.Array,
        fitness: jax.Array,
        state: BitState,
        params: BitParams,
    ) -> BitState:
        places = self._places(fitness, count_active(population), state)
        members = state.population.at[places].set(population, mode="drop")
        member_fitness = state.fitness.at[places].set(fitness, mode="drop")
        if self.elitism:
            order = best_first(member_fitness, count_active(members))
            members = members.at[order[-1]].set(members[order[0]])
            member_fitness = member_fitness.at[order[-1]].set(member_fitness[order[0]])
        return self._settle(state, members, member_fitness)

    def _places(self, fitness: jax.Array, active: jax.Array, state: BitState) -> jax.Array:
        """Index ``int32 [C]`` of the member that each child replaces; P for those that do not."""
        worst_first = best_first(state.fitness, state.active)[::-1]

        def stand(turn: jax.Array, child: _Scores) -> tuple[jax.Array, jax.Array]:
            child_fitness, child_active = child
            member = worst_first[turn]
            beats = child_fitness < state.fitness[member]
            if self.ties:
                equal = child_fitness == state.fitness[member]
                beats |= equal & (child_active < state.active[member])
            return turn + beats.astype(jnp.int32), jnp.where(beats, member, self.population_size)

        return jax.lax.scan(stand, jnp.int32(0), (fitness, active))[1]


def build(plan: Plan) -> BitStrategy:
    """See :class:`~evojax_prune.search.strategies.registry.Entry`.

    Raises:
        UserError: more children than members, whose places they take.
    """
    plan = resolved(plan, children=2, parents="nam", mutation="coin")
    given = plan.options
    ties = given.ties is None or given.ties
    options = given.model_copy(update={"elitism": bool(given.elitism), "ties": ties})
    if options.children > options.population:
        raise UserError(
            f"children is {options.children}, expected 2 to {options.population}, the population "
            "whose places they take in steady-state"
        )
    plan = dataclasses.replace(plan, options=options)
    kept = {"elitism": options.elitism, "ties": options.ties}
    return BitStrategy(plan, algorithm(SteadyStateGA, plan, **kept))
