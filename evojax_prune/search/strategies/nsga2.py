"""NSGA-II on bits: several objectives, the whole front at once."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax

from evojax_prune.search.operators.fronts import fronts_first
from evojax_prune.search.operators.population import count_active
from evojax_prune.search.operators.ranked import RankedGenomes
from evojax_prune.search.strategies.binary import (
    BitParams,
    BitState,
    algorithm,
    failures_last,
    resolved,
)
from evojax_prune.search.strategies.generational import GenerationalGA
from evojax_prune.search.strategies.options import BIAS, NEAR_BIAS, GeneticOptions
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import BitStrategy

FIRST = 5
"""Most populations of first genomes that rankings give at many sizes."""

SHARE = 5
"""They take at most one of so many evaluations."""


class NSGA2(GenerationalGA):
    """Of P members and C children those on the first fronts live on, the least crowded ones of the
    last front that has room.

    ``fitness`` is ``float32 [n, M]`` here, minimised; of one objective it is a (mu + lambda)
    algorithm. Parents win tournaments by front, then by crowding. Children are never copies, and
    keep their size where copies are changed.

    Source: Deb, Pratap, Agarwal and Meyarivan, IEEE Transactions on Evolutionary Computation 6
    (2002) 182-197.
    """

    keep_size = True

    def _order(self, fitness: jax.Array, active: jax.Array) -> jax.Array:
        return fronts_first(fitness, active)

    @partial(jax.jit, static_argnames=("self",))
    def init(
        self, key: jax.Array, population: jax.Array, fitness: jax.Array, params: BitParams
    ) -> BitState:
        """Start from evaluated genomes ``bool [n, G]``, of which the first P by fronts live on.

        Args:
            key: unused.
            population: n genomes, at least P.
            fitness: ``float32 [n, M]``, minimised; NaN where the evaluation failed.
            params: unused.
        """
        if len(population) > self.population_size:
            order = self._order(failures_last(fitness), count_active(population))
            first = order[: self.population_size]
            population, fitness = population[first], fitness[first]
        return super().init(key, population, fitness, params)

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
        state = self._tell(key, population, failures_last(fitness), state, params)
        state = state.replace(generation_counter=state.generation_counter + 1)
        return state, {"generation_counter": state.generation_counter}


class FrontStrategy(BitStrategy):
    """:class:`NSGA2` as a :class:`~evojax_prune.search.strategies.strategy.Strategy`.

    From rankings it starts at many sizes with more genomes than live on: each size has few
    evaluations, and a ranking that is not looked at near a size is hardly ever found there.
    """

    several = True

    def __init__(self, plan: Plan, algorithm: NSGA2):
        """Wrap an algorithm that a resolved plan is for."""
        if from_many_sizes(plan.options):
            ranked = RankedGenomes(plan.genome_length, plan.options.density, varied=False)
            super().__init__(plan, algorithm, ranked, first_members(plan))
        else:
            super().__init__(plan, algorithm)

    @property
    def description(self) -> dict[str, Any]:
        """See :class:`Strategy`; a small budget decides how many genomes are the first."""
        return super().description | {"first_genomes": self._first_members}


def first_members(plan: Plan) -> int:
    """First genomes of a search that starts from rankings at many sizes; at least a population."""
    population: int = plan.options.population
    part = FIRST * population if plan.evaluations is None else plan.evaluations // SHARE
    return max(population, min(part, FIRST * population))


def from_many_sizes(options: GeneticOptions) -> bool:
    """Whether a search starts from rankings at more than one size."""
    low, high = options.density
    return options.init == "ranked" and low < high


def build(plan: Plan) -> FrontStrategy:
    """See :class:`~evojax_prune.search.strategies.registry.Entry`."""
    given: GeneticOptions = plan.options
    many = from_many_sizes(given)
    mutation = given.mutation or ("near-swap" if many else "swap")
    bias = NEAR_BIAS if mutation == "near-swap" else BIAS
    plan = resolved(
        plan,
        children=given.population,
        parents="near" if many else "tournament",
        mutation=mutation,
        crossover="sized",
        bias=bias if given.init == "ranked" else 0.0,
    )
    return FrontStrategy(plan, algorithm(NSGA2, plan))
