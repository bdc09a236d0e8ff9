"""NSGA-II on bits: several objectives, the whole front at once."""

from __future__ import annotations

from functools import partial

import jax

from evojax_prune.search.operators.fronts import fronts_first
from evojax_prune.search.strategies.binary import (
    BitParams,
    BitState,
    algorithm,
    failures_last,
    resolved,
)
from evojax_prune.search.strategies.generational import GenerationalGA
from evojax_prune.search.strategies.options import BIAS
from evojax_prune.search.strategies.registry import Plan
from evojax_prune.search.strategies.strategy import BitStrategy


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
    return FrontStrategy(plan, algorithm(NSGA2, plan))
