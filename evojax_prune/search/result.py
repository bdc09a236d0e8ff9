"""What a search gives, and what it says on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an ``evaluate`` function may return instead of the bare fitness.

    Attributes:
        fitness: ``float64 [n]``, maximised; NaN where the evaluation failed.
        columns: more to remember of each genome (epochs, seconds, ...): numbers or text ``[n]``,
            the same names in every call. They are journalled, and end in
            :attr:`SearchResult.columns`.
    """

    fitness: np.ndarray
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GenerationInfo:
    """One generation, as told to ``on_generation``.

    Attributes:
        generation: number, 0 for the first population.
        evaluations: genomes evaluated so far.
        cached: genomes asked for so far that were known already.
        best_fitness: of all genomes so far, maximised; NaN while every evaluation failed.
        best_active_fraction: of that best genome.
        mean_fitness: of the population after the generation (of the generation's genomes where the
            strategy keeps no population); failed members left out, NaN if all failed.
        mean_active_fraction: likewise.
        replayed: all of the generation's fitness came from the journal.
    """

    generation: int
    evaluations: int
    cached: int
    best_fitness: float
    best_active_fraction: float
    mean_fitness: float
    mean_active_fraction: float
    replayed: bool


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Every distinct evaluated genome, in order of evaluation.

    Attributes:
        genome_length: bits G.
        packed: ``uint8 [E, ceil(G / 8)]``, the genomes, eight bits a byte.
        hashes: a name for each genome, 32 hexadecimal digits.
        active: ``int64 [E]``, active bits.
        fitness: ``float64 [E]``, maximised; NaN where the evaluation failed.
        generation: ``int64 [E]``, in which each was asked.
        columns: whatever else ``evaluate`` gave, ``[E]`` each.
        cached: genomes asked for again, which cost nothing.
        generations: generations told to the strategy, the first population included.
        stopped: why the search ended, a sentence for the user.
        exhausted: whether the whole budget was used.
    """

    genome_length: int
    packed: np.ndarray
    hashes: tuple[str, ...]
    active: np.ndarray
    fitness: np.ndarray
    generation: np.ndarray
    columns: dict[str, np.ndarray]
    cached: int
    generations: int
    stopped: str
    exhausted: bool

    def __len__(self) -> int:
        return len(self.fitness)

    @property
    def genomes(self) -> np.ndarray:
        """All genomes ``bool [E, G]``, unpacked anew at each call; see also :meth:`rows`."""
        return self.rows(slice(None))

    def rows(self, which: slice | np.ndarray | list[int]) -> np.ndarray:
        """Some genomes, ``bool [n, G]``."""
        return np.unpackbits(self.packed[which], axis=1, count=self.genome_length).astype(bool)

    @property
    def active_fraction(self) -> np.ndarray:
        """``float64 [E]``, in [0, 1]."""
        return self.active / self.genome_length

    @property
    def best(self) -> int:
        """Index of the best genome: highest fitness, then fewest active bits, then the first."""
        return int(self.top(1)[0])

    def top(self, k: int) -> np.ndarray:
        """Indices ``int64 [min(k, E)]`` of the best genomes, best first; failed ones come last."""
        return best_first(self.fitness, self.active)[:k]


def best_first(fitness: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Indices from the best to the worst: maximised fitness, NaN last, then fewer active bits."""
    return np.lexsort((active, np.where(np.isnan(fitness), np.inf, -fitness)))
