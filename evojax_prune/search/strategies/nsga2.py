"""NSGA-II on bits: several objectives, the whole front at once."""

from __future__ import annotations

from functools import lru_cache, partial

import jax
import jax.numpy as jnp

from evojax_prune.search.operators.duplicates import replace_duplicates
from evojax_prune.search.operators.fronts import fronts_first
from evojax_prune.search.operators.order import count_active
from evojax_prune.search.strategies.binary import (
    BinaryGA,
    BitParams,
    BitState,
    failures_last,
    operators,
    resolved,
)
from evojax_prune.search.strategies.options import BIAS, GeneticOptions
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import BitStrategy


class NSGA2(BinaryGA):
    """Of P members and C children those on the first fronts live on, the least crowded ones of the
    last front that has room.

    ``fitness`` is ``float32 [n, M]`` here, minimised; of one objective it is a (mu + lambda)
    algorithm. Parents win tournaments by front, then by crowding. Children are never copies, and
    keep their size where copies are changed.

    Source: Deb, Pratap, Agarwal and Meyarivan, IEEE Transactions on Evolutionary Computation 6
    (2002) 182-197.
    """

    def _ask(
        self, key: jax.Array, state: BitState, params: BitParams
    ) -> tuple[jax.Array, BitState]:
        key_breed, key_copies = jax.random.split(key)
        children, state = super()._ask(key_breed, state, params)
        return replace_duplicates(key_copies, children, state.population, keep_size=True), state

    def _ranks(self, state: BitState) -> jax.Array:
        order = fronts_first(state.fitness, state.active)
        places = jnp.arange(len(order), dtype=jnp.int32)
        return jnp.zeros_like(places).at[order].set(places)

    @partial(jax.jit, static_argnames=("self",))
    def tell(
        self,
        key: jax.Array,
        population: jax.Array,
        fitness: jax.Array,
        state: BitState,
        params: BitParams,
    ) -> tuple[BitState, dict[str, jax.Array]]:
        """The state after a generation; evosax's own takes one objective.

        Args:
            key: unused.
            population: ``bool [C, G]``, children.
            fitness: ``float32 [C, M]``, minimised; NaN where the evaluation failed.
            state: before it.
            params: unused.
        """
        # Children first: the order is stable, so they win exact ties.
        everyone = jnp.concatenate([failures_last(fitness), state.fitness])
        active = jnp.concatenate([count_active(population), state.active])
        survivors = fronts_first(everyone, active)[: self.population_size]
        members = jnp.concatenate([population, state.population])[survivors]
        state = self._settle(state, members, everyone[survivors])
        state = state.replace(generation_counter=state.generation_counter + 1)
        return state, {"generation_counter": state.generation_counter}

    def _settle(self, state: BitState, population: jax.Array, fitness: jax.Array) -> BitState:
        active = count_active(population)
        best = fronts_first(fitness, active)[0]
        return state.replace(
            population=population,
            fitness=fitness,
            active=active,
            best_solution=population[best],
            best_fitness=fitness[best, 0],
        )


class FrontStrategy(BitStrategy):
    """:class:`NSGA2` as a :class:`~evojax_prune.search.strategies.strategy.Strategy`."""

    several = True


def build(plan: Plan) -> FrontStrategy:
    """See :class:`~evojax_prune.search.strategies.registry.Entry`."""
    plan = resolved(
        plan,
        children=plan.options.population,
        parents="tournament",
        mutation="swap",
        crossover="sized",
        bias=BIAS if plan.options.init == "ranked" else 0.0,
    )
    breeding = plan.options.model_copy(update={"density": (0.0, 1.0)})  # of first genomes only
    return FrontStrategy(plan, _algorithm(plan.genome_length, breeding))


@lru_cache(maxsize=8)
def _algorithm(genome_length: int, options: GeneticOptions) -> NSGA2:
    """The same object for the same options: JAX compiles its methods once per object."""
    return NSGA2(**operators(Plan("nsga2", genome_length, options)))
