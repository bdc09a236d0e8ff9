"""What :func:`~evojax_prune.search.loop.run_search` drives: genomes out, fitness in."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms.base import EvolutionaryAlgorithm
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm

from evojax_prune.search.operators.initial import InitialGenomes


class Strategy(abc.ABC):
    """An evosax algorithm behind one interface, whatever its kind.

    ``state`` is None before the first ``ask``. The strategy's first generation is its first
    population; everything it knows afterwards is in the state, so a search is repeated by the same
    keys and the same fitness.

    Attributes:
        algorithm: the evosax algorithm.
        initial: draws the first genomes.
        guide: ``float32 [R, G]`` rankings of the bits, or None.
        description: plain data that tells this strategy from every other (a journal holds it).
    """

    def __init__(
        self,
        algorithm: EvolutionaryAlgorithm,
        initial: InitialGenomes,
        guide: jax.Array | None,
        description: Mapping[str, Any],
    ):
        self.algorithm = algorithm
        self.initial = initial
        self.guide = guide
        self.description = dict(description)

    @property
    def genome_length(self) -> int:
        """Bits G."""
        return self.initial.length

    @abc.abstractmethod
    def ask(self, key: jax.Array, state: Any) -> tuple[np.ndarray, Any]:
        """Genomes ``bool [n, G]`` to evaluate, and the state to tell their fitness to."""

    def tell(self, key: jax.Array, genomes: np.ndarray, fitness: np.ndarray, state: Any) -> Any:
        """The state after a generation.

        Args:
            key: for random choices of the algorithm.
            genomes: ``bool [n, G]``, as asked.
            fitness: ``float64 [n]``, *maximised*; NaN where the evaluation failed.
            state: as asked.
        """
        return self._tell(key, genomes, minimised(fitness), state)

    @abc.abstractmethod
    def _tell(self, key: jax.Array, genomes: np.ndarray, fitness: jax.Array, state: Any) -> Any:
        """As ``tell``, with fitness ``float32 [n]`` minimised, +inf where evaluation failed."""

    @abc.abstractmethod
    def members(self, state: Any) -> tuple[np.ndarray, np.ndarray] | None:
        """The population's maximised fitness ``[P]`` and active bits ``[P]``.

        NaN where the evaluation failed; None if the strategy keeps no population.
        """


def minimised(fitness: np.ndarray) -> jax.Array:
    """Fitness as evosax wants it: the one place where the sign turns, and where NaN becomes worst.

    Args:
        fitness: ``float64 [n]``, maximised.

    Returns:
        ``float32 [n]``, minimised, +inf for NaN.
    """
    fitness = np.asarray(fitness, np.float64)
    return jnp.asarray(np.where(np.isnan(fitness), np.inf, -fitness), jnp.float32)


class BitStrategy(Strategy):
    """A genetic algorithm on bits (:class:`~evojax_prune.search.strategies.binary.BinaryGA`)."""

    algorithm: PopulationBasedAlgorithm

    def __init__(
        self,
        algorithm: PopulationBasedAlgorithm,
        initial: InitialGenomes,
        guide: jax.Array | None,
        description: Mapping[str, Any],
    ):
        super().__init__(algorithm, initial, guide, description)
        self._params = algorithm.default_params.replace(guide=guide)
        self._first = jax.jit(lambda key: initial.population(key, algorithm.population_size, guide))

    def ask(self, key: jax.Array, state: Any) -> tuple[np.ndarray, Any]:
        """See :class:`Strategy`."""
        if state is None:
            genomes = self._first(key)
        else:
            genomes, state = self.algorithm.ask(key, state, self._params)
        return np.asarray(genomes), state

    def _tell(self, key: jax.Array, genomes: np.ndarray, fitness: jax.Array, state: Any) -> Any:
        bits = jnp.asarray(genomes)
        if state is None:
            return self.algorithm.init(key, bits, fitness, self._params)
        return self.algorithm.tell(key, bits, fitness, state, self._params)[0]

    def members(self, state: Any) -> tuple[np.ndarray, np.ndarray]:
        """See :class:`Strategy`."""
        fitness = -np.asarray(state.fitness, np.float64)
        return np.where(np.isfinite(fitness), fitness, np.nan), np.asarray(state.active)
