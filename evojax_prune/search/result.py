"""What a search gives, and what it says on the way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.search.selection import Selection, selection_of


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an ``evaluate`` function may return instead of the bare values.

    Attributes:
        values: ``float64 [n, M]``, or ``[n]`` for one objective, each in its objective's own
            direction; NaN where the evaluation failed.
        columns: more to remember of each genome (epochs, seconds, ...): numbers or text ``[n]``,
            the same names in every call. They are journalled, and end in
            :attr:`SearchResult.columns`.
    """

    values: np.ndarray
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GenerationInfo:
    """One generation, as told to ``on_generation``.

    Attributes:
        generation: number, 0 for the first population.
        evaluations: evaluations so far.
        cached: genomes asked for so far that were known already.
        leaders: values ``float64 [L, M]`` of the best genomes so far: of one objective the best,
            of several the front; ``[0, M]`` while every evaluation has failed.
        leaders_active_fraction: ``float64 [L]``, in [0, 1].
        mean: ``float64 [M]``, of the population after the generation (of the generation's genomes
            where the strategy keeps no population); failed members left out, NaN if all failed.
        mean_active_fraction: likewise, failed members included.
        replayed: all of the generation's values came from the journal.
    """

    generation: int
    evaluations: int
    cached: int
    leaders: np.ndarray
    leaders_active_fraction: np.ndarray
    mean: np.ndarray
    mean_active_fraction: float
    replayed: bool

    @property
    def best_fitness(self) -> float:
        """The first objective of the first leader; NaN while every evaluation has failed."""
        return float(self.leaders[0, 0]) if len(self.leaders) else float("nan")

    @property
    def best_active_fraction(self) -> float:
        """Of the first leader; NaN while every evaluation has failed."""
        return float(self.leaders_active_fraction[0]) if len(self.leaders) else float("nan")

    @property
    def mean_fitness(self) -> float:
        """The first objective's mean."""
        return float(self.mean[0])


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """Every distinct evaluated genome, in order of its first evaluation.

    Attributes:
        objectives: what was searched for, M of them.
        genome_length: bits G.
        packed: ``uint8 [E, ceil(G / 8)]``, the genomes, eight bits per byte.
        hashes: a name for each genome, 32 hexadecimal digits.
        active: ``int64 [E]``, active bits.
        values: ``float64 [E, M]``, each in its objective's own direction; NaN where the evaluation
            failed.
        generation: ``int64 [E]``, in which each was first asked for.
        columns: whatever else ``evaluate`` gave, ``[E]`` each.
        population: ``int64 [P]``, indices of the final population, best first; of the last
            generation where the strategy keeps no population.
        cached: genomes asked for again, which cost nothing.
        generations: generations told to the strategy, the first population included.
        stopped: why the search ended, a sentence for the user.
        exhausted: whether the whole budget was used.
        evaluations: how many were made: E, or more where genomes are looked at again.
    """

    objectives: tuple[Objective, ...]
    genome_length: int
    packed: np.ndarray
    hashes: tuple[str, ...]
    active: np.ndarray
    values: np.ndarray
    generation: np.ndarray
    columns: dict[str, np.ndarray]
    population: np.ndarray
    cached: int
    generations: int
    stopped: str
    exhausted: bool
    evaluations: int

    def __len__(self) -> int:
        return len(self.values)

    @property
    def selection(self) -> Selection:
        """Who is better than whom."""
        return selection_of(self.objectives)

    @property
    def fitness(self) -> np.ndarray:
        """Values of the only objective, ``float64 [E]``.

        Raises:
            ValueError: there are several objectives.
        """
        if len(self.objectives) > 1:
            names = ", ".join(o.name for o in self.objectives)
            raise ValueError(f"a search for {names} has no single fitness: use values")
        return self.values[:, 0]

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
        """Index of the first of :meth:`top`."""
        return int(self.top(1)[0])

    def top(self, k: int) -> np.ndarray:
        """Indices ``int64 [min(k, E)]`` of the best genomes, best first; failed ones come last."""
        return self.selection.order(self.values, self.active)[:k]


def consensus(population: np.ndarray, active: int, scores: np.ndarray | None = None) -> np.ndarray:
    """The bits that are active in most members, ``bool [G]``, exactly ``active`` of them.

    Of equally frequent bits the one of the higher score comes first, then the lower index.

    Args:
        population: ``bool [P, G]``.
        active: at most G.
        scores: ``float64 [G]``, or None.

    Example:
        >>> population = np.array([[1, 1, 0], [1, 0, 1], [1, 0, 1]], bool)
        >>> consensus(population, 2).astype(int)
        array([1, 0, 1])
    """
    frequency = population.mean(0)
    ties = np.zeros(len(frequency)) if scores is None else -scores
    genome = np.zeros(len(frequency), bool)
    genome[np.lexsort((ties, -frequency))[:active]] = True
    return genome
