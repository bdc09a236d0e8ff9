"""What the binary genetic algorithms share: state, breeding, and which member is the best."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.population_based.base import Params as BaseParams
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm
from evosax.algorithms.population_based.base import State as BaseState
from flax import struct

from evojax_prune.core.errors import UserError
from evojax_prune.search.operators import variation
from evojax_prune.search.operators.parents import (
    ParentChoice,
    near,
    negative_assortative,
    roulette,
    tournament,
)
from evojax_prune.search.operators.population import best_first, count_active, map_rows, places
from evojax_prune.search.operators.sized import NearSwapMutation, SwapMutation, sized
from evojax_prune.search.operators.variation import BitMutation, CoinMutation, Crossover, Mutation
from evojax_prune.search.strategies.options import (
    CrossoverKind,
    GeneticOptions,
    MutationKind,
    ParentsKind,
)
from evojax_prune.search.strategies.registry import Plan


@struct.dataclass
class BitState(BaseState):
    """A population of bits.

    Attributes:
        population: ``bool [P, G]``.
        fitness: ``float32 [P]``, minimised; +inf where the evaluation failed.
        active: ``int32 [P]``, active bits.
        best_solution: ``bool [G]``.
        best_fitness: ``float32 []``.
        generation_counter: ``int32 []``.
    """

    population: jax.Array
    fitness: jax.Array
    active: jax.Array
    best_solution: jax.Array
    best_fitness: jax.Array
    generation_counter: jax.Array


@struct.dataclass
class BitParams(BaseParams):
    """Parameters of a binary genetic algorithm.

    Attributes:
        guide: ``float32 [R, G]``, rankings that guide the mutation, or None.
    """

    guide: jax.Array | None = None


def metrics_fn(
    key: jax.Array,
    population: jax.Array,
    fitness: jax.Array,
    state: BitState,
    params: BitParams,
) -> dict[str, jax.Array]:
    """Metrics of one generation, as evosax has them, with active fractions for norms.

    Args:
        key: unused.
        population: ``bool [C, G]``, the genomes that were told.
        fitness: ``float32 [C]``, minimised.
        state: before the survivors are chosen, but with the best one updated.
        params: unused.
    """
    del key, params
    active = count_active(population)
    best = best_first(fitness, active)[0]
    return {
        "generation_counter": state.generation_counter,
        "best_fitness_in_generation": fitness[best],
        "best_solution_in_generation": population[best],
        "best_fitness": state.best_fitness,
        "best_solution": state.best_solution,
        "best_active_fraction": jnp.mean(state.best_solution, dtype=jnp.float32),
        "mean_active_fraction": jnp.mean(active.astype(jnp.float32)) / population.shape[1],
    }


class BinaryGA(PopulationBasedAlgorithm):
    """Base of the binary genetic algorithms: ``ask`` breeds, subclasses choose the survivors.

    Fitness is minimised, as everywhere in evosax; NaN counts as +inf. Of equal fitness the genome
    with fewer active bits is the better. ``init`` takes an evaluated first population (see
    :class:`~evojax_prune.search.operators.initial.InitialGenomes`).
    """

    def __init__(
        self,
        population_size: int,
        solution: jax.Array,
        *,
        children: int,
        parents: ParentChoice,
        crossover: Crossover,
        mutation: Mutation,
    ):
        """Set the operators.

        Args:
            population_size: members P that survive a generation, at least 2.
            solution: any ``bool [G]``; gives the genome's length.
            children: genomes C that one ``ask`` returns.
            parents: chooses a pair.
            crossover: makes two children of it.
            mutation: flips bits of both.
        """
        super().__init__(population_size, solution, metrics_fn=metrics_fn)
        self.children = children
        self.parents = parents
        self.crossover = crossover
        self.mutation = mutation

    @property
    def _default_params(self) -> BitParams:
        return BitParams()

    @partial(jax.jit, static_argnames=("self",))
    def init(
        self, key: jax.Array, population: jax.Array, fitness: jax.Array, params: BitParams
    ) -> BitState:
        """Start from an evaluated population ``bool [P, G]`` and its fitness ``float32 [P]``."""
        state = self._init(key, params)
        return self._settle(state, population, failures_last(fitness))

    def _init(self, key: jax.Array, params: BitParams) -> BitState:
        return BitState(
            population=jnp.zeros((self.population_size, self.num_dims), bool),
            fitness=jnp.full((self.population_size,), jnp.inf, jnp.float32),
            active=jnp.zeros((self.population_size,), jnp.int32),
            best_solution=jnp.zeros((self.num_dims,), bool),
            best_fitness=jnp.full((), jnp.inf, jnp.float32),
            generation_counter=jnp.zeros((), jnp.int32),
        )

    def _ask(
        self, key: jax.Array, state: BitState, params: BitParams
    ) -> tuple[jax.Array, BitState]:
        rank = self._ranks(state)

        def breed(keys: jax.Array) -> jax.Array:
            key_parents, key_crossover, key_mutation = keys
            pair = self.parents(key_parents, state.population, state.fitness, rank)
            children = self.crossover(key_crossover, state.population[pair])
            return self.mutation(key_mutation, children, params.guide)

        pairs = -(-self.children // 2)
        children = map_rows(breed, jax.random.split(key, (pairs, 3)), 2 * self.num_dims)
        return children.reshape(2 * pairs, self.num_dims)[: self.children], state

    def _order(self, fitness: jax.Array, active: jax.Array) -> jax.Array:
        """Indices ``int32 [P]`` from the best to the worst."""
        return best_first(fitness, active)

    def _ranks(self, state: BitState) -> jax.Array:
        """Place ``int32 [P]`` of each member; 0 is the best."""
        return places(self._order(state.fitness, state.active))

    def _postprocess_fitness(self, raw_fitness: jax.Array, fitness: jax.Array) -> jax.Array:
        return failures_last(fitness)

    def _settle(self, state: BitState, population: jax.Array, fitness: jax.Array) -> BitState:
        """The state with a new population; its best member is the best so far."""
        active = count_active(population)
        best = self._order(fitness, active)[0]
        return state.replace(
            population=population,
            fitness=fitness,
            active=active,
            best_solution=population[best],
            best_fitness=jnp.ravel(fitness[best])[0],  # of several objectives the first
        )

    def get_best_solution(self, state: BitState) -> Any:
        """The best genome ``bool [G]`` so far."""
        return self._unravel_solution(state.best_solution)


def failures_last(fitness: jax.Array) -> jax.Array:
    """``float32``, +inf where the evaluation failed."""
    return jnp.where(jnp.isnan(fitness), jnp.inf, fitness).astype(jnp.float32)


def resolved(
    plan: Plan,
    *,
    children: int,
    parents: ParentsKind,
    mutation: MutationKind,
    crossover: CrossoverKind = "uniform",
    bias: float = 0.0,
) -> Plan:
    """The plan of a genetic algorithm, with its own defaults for what is not given.

    Raises:
        UserError: an option that does nothing beside the others.
    """
    given: GeneticOptions = plan.options
    chosen: dict[str, Any] = {
        "children": given.children or children,
        "parents": given.parents or parents,
        "mutation": given.mutation or mutation,
        "crossover": given.crossover or crossover,
        "mutation_bias": bias if given.mutation_bias is None else given.mutation_bias,
    }
    chosen["mutation_rate"] = given.rate(chosen["mutation"], plan.genome_length)
    size = GeneticOptions.model_fields["tournament_size"].default
    if chosen["parents"] not in ("tournament", "near") and given.tournament_size != size:
        raise UserError(
            f"tournament_size does nothing with parents {chosen['parents']}: choose tournament, or "
            "drop tournament_size"
        )
    return dataclasses.replace(plan, options=given.model_copy(update=chosen))


def algorithm(kind: Callable[..., BinaryGA], plan: Plan, **more: Any) -> BinaryGA:
    """An algorithm for a resolved plan.

    The same object for the same options, however first genomes are drawn: JAX compiles an
    algorithm's methods once per object.

    Args:
        kind: class of the algorithm.
        plan: what it is built from.
        more: further arguments of ``kind``.
    """
    breeding = plan.options.model_copy(update={"density": (0.0, 1.0)})
    return _algorithm(kind, plan.name, plan.genome_length, breeding, tuple(more.items()))


@lru_cache(maxsize=32)
def _algorithm(
    kind: Callable[..., BinaryGA],
    name: str,
    genome_length: int,
    options: GeneticOptions,
    more: tuple[tuple[str, Any], ...],
) -> BinaryGA:
    return kind(**_operators(Plan(name, genome_length, options)), **dict(more))


def _operators(plan: Plan) -> dict[str, Any]:
    """Arguments of :class:`BinaryGA` for a resolved plan."""
    options: GeneticOptions = plan.options
    parents: dict[str, ParentChoice] = {
        "nam": negative_assortative,
        "roulette": roulette,
        "tournament": tournament(options.tournament_size),
        "near": near(options.tournament_size),
    }
    mutations = {
        "coin": CoinMutation,
        "per-bit": BitMutation,
        "swap": SwapMutation,
        "near-swap": NearSwapMutation,
    }
    crossover = {"uniform": variation.uniform, "one-point": variation.one_point, "sized": sized}
    return {
        "population_size": options.population,
        "solution": np.zeros(plan.genome_length, bool),
        "children": options.children,
        "parents": parents[str(options.parents)],
        "crossover": crossover[str(options.crossover)],
        "mutation": mutations[str(options.mutation)](
            float(options.mutation_rate or 0.0), float(options.mutation_bias or 0.0)
        ),
    }
