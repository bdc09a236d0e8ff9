"""What :func:`~evojax_prune.search.loop.run_search` drives: genomes out, costs in."""

from __future__ import annotations

import abc
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from evosax.algorithms.base import EvolutionaryAlgorithm
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm

from evojax_prune.search.operators.initial import InitialGenomes
from evojax_prune.search.operators.ranked import RankedGenomes
from evojax_prune.search.strategies.registry import STRATEGIES, Plan


def on_device(values: np.ndarray) -> jax.Array:
    """A copy as a JAX array; ``jnp.asarray`` would compile a program for each shape."""
    return jax.device_put(np.array(values))


class Strategy(abc.ABC):
    """An evosax algorithm behind one interface, whatever its kind.

    ``state`` is None before the first ``ask``. The strategy's first generation is its first
    population; everything it knows afterwards is in the state, so a search is repeated by the same
    keys and the same costs.

    Attributes:
        several: whether it takes several objectives; otherwise exactly one.
        plan: what it was built from.
        algorithm: the evosax algorithm.
    """

    several = False

    def __init__(self, plan: Plan, algorithm: EvolutionaryAlgorithm):
        self.plan = plan
        self.algorithm = algorithm

    @property
    def genome_length(self) -> int:
        """Bits G."""
        return self.plan.genome_length

    @property
    def description(self) -> dict[str, Any]:
        """Plain data that tells this strategy from every other (a journal holds it)."""
        options = self.plan.options.model_dump(mode="json")
        return {"name": self.plan.name, "genome_length": self.genome_length, **options}

    def with_guide(self, guide: np.ndarray | None) -> Strategy:
        """The same strategy, following other rankings ``float32 [R, G]``."""
        if guide is self.plan.guide:
            return self
        return STRATEGIES[self.plan.name].build(dataclasses.replace(self.plan, guide=guide))

    @abc.abstractmethod
    def ask(self, key: jax.Array, state: Any) -> tuple[np.ndarray, Any]:
        """Genomes ``bool [n, G]`` to evaluate, and the state to tell their costs to."""

    @abc.abstractmethod
    def tell(self, key: jax.Array, genomes: np.ndarray, costs: np.ndarray, state: Any) -> Any:
        """The state after a generation.

        Args:
            key: for random choices of the algorithm.
            genomes: ``bool [n, G]``, as asked.
            costs: ``float64 [n, M]``, *minimised*; ``+inf`` where the evaluation failed.
            state: as asked.
        """

    def reassess(self, costs: np.ndarray, state: Any) -> Any:
        """The state with new costs ``float64 [P, M]`` of the population, which was looked at again.

        A strategy that keeps no population has nothing to change.
        """
        return state

    @abc.abstractmethod
    def population(self, state: Any) -> np.ndarray | None:
        """The genomes ``bool [P, G]`` that live on; None if the strategy keeps no population."""


@functools.lru_cache(maxsize=32)
def asking(algorithm: PopulationBasedAlgorithm) -> Callable[..., Any]:
    """``algorithm.ask``; on a CPU without optimisations that take longer than they save.

    Its many random draws take XLA seconds to compile and milliseconds to run. A level that
    ``XLA_FLAGS`` gives is kept to.
    """
    level = "xla_backend_optimization_level"
    quick = jax.default_backend() == "cpu" and level not in os.environ.get("XLA_FLAGS", "")
    return jax.jit(algorithm.ask, compiler_options={level: 1} if quick else None)


@functools.partial(jax.jit, static_argnums=(0, 2))
def _first_population(
    first: InitialGenomes | RankedGenomes, key: jax.Array, members: int, guide: jax.Array | None
) -> jax.Array:
    return first.population(key, members, guide)


class BitStrategy(Strategy):
    """A genetic algorithm on bits (:class:`~evojax_prune.search.strategies.binary.BinaryGA`)."""

    algorithm: PopulationBasedAlgorithm

    def __init__(
        self,
        plan: Plan,
        algorithm: PopulationBasedAlgorithm,
        first: RankedGenomes | None = None,
        members: int | None = None,
    ):
        """Wrap an algorithm.

        Args:
            plan: what the strategy is built from.
            algorithm: of bits.
            first: draws the first genomes; as the plan's options say if not given.
            members: how many these are, at least a population; a population if not given.
        """
        super().__init__(plan, algorithm)
        if first is None and plan.options.init == "ranked":
            first = RankedGenomes(plan.genome_length, plan.options.density)
        self._first = first or first_genomes(plan)
        self._first_members = members or algorithm.population_size
        guide = None if plan.guide is None else on_device(plan.guide)
        self._params = algorithm.default_params.replace(guide=guide)

    def ask(self, key: jax.Array, state: Any) -> tuple[np.ndarray, Any]:
        """See :class:`Strategy`."""
        if state is None:
            guide = self._params.guide
            genomes = _first_population(self._first, key, self._first_members, guide)
        else:
            genomes, state = asking(self.algorithm)(key, state, self._params)
        return np.asarray(genomes), state

    def tell(self, key: jax.Array, genomes: np.ndarray, costs: np.ndarray, state: Any) -> Any:
        """See :class:`Strategy`."""
        bits, fitness = on_device(genomes), self._fitness(costs)
        if state is None:
            return self.algorithm.init(key, bits, fitness, self._params)
        return self.algorithm.tell(key, bits, fitness, state, self._params)[0]

    def reassess(self, costs: np.ndarray, state: Any) -> Any:
        """See :class:`Strategy`."""
        return state.replace(fitness=self._fitness(costs))

    def population(self, state: Any) -> np.ndarray:
        """See :class:`Strategy`."""
        return np.asarray(state.population)

    def _fitness(self, costs: np.ndarray) -> jax.Array:
        """As evosax has it: ``float32 [n]``, or ``[n, M]`` of several objectives."""
        fitness = as_float32(costs)
        return on_device(fitness if self.several else fitness[:, 0])


def as_float32(costs: np.ndarray) -> np.ndarray:
    """As evosax takes them: ``float32``, infinite where they are too large for it."""
    with np.errstate(over="ignore"):
        return costs.astype(np.float32)


def first_genomes(plan: Plan) -> InitialGenomes:
    """What the shared options say of a first population, as probabilities of the bits."""
    options = plan.options
    sharpness = 0.0 if options.init == "random" else options.sharpness
    return InitialGenomes(plan.genome_length, options.density, sharpness)
