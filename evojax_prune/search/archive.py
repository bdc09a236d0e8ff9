"""Every genome that was evaluated, found again by its bits."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from evojax_prune.search.result import Evaluation, best_first


def pack(genomes: np.ndarray) -> np.ndarray:
    """``bool [n, G]`` as ``uint8 [n, ceil(G / 8)]``."""
    return np.packbits(np.asarray(genomes, bool), axis=1)


def digests(packed: np.ndarray) -> list[str]:
    """A name for each packed genome: its BLAKE2b hash, 32 hexadecimal digits."""
    return [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in packed]


class Archive:
    """Evaluated genomes in order, with their fitness, generation and further columns.

    Genomes are kept packed, eight bits a byte: a search over a million connections would not fit
    otherwise.

    Attributes:
        genome_length: bits G.
        entries: place of each genome, by its digest.
        best: place of the best genome (see :func:`best_first`).
    """

    def __init__(self, genome_length: int):
        self.genome_length = genome_length
        self.entries: dict[str, int] = {}
        self.best = 0
        self._packed: list[np.ndarray] = []
        self._active: list[int] = []
        self._fitness: list[float] = []
        self._generation: list[int] = []
        self._columns: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def fitness(self, entries: list[int]) -> np.ndarray:
        """``float64 [n]`` of some entries."""
        return np.array([self._fitness[i] for i in entries], np.float64)

    def active(self, entries: list[int]) -> np.ndarray:
        """Active bits ``int64 [n]`` of some entries."""
        return np.array([self._active[i] for i in entries], np.int64)

    def add(
        self, names: list[str], packed: np.ndarray, generation: int, evaluation: Evaluation
    ) -> None:
        """Append a batch of new genomes.

        Args:
            names: their digests.
            packed: ``uint8 [n, ceil(G / 8)]``.
            generation: in which they were asked.
            evaluation: their fitness and columns; the same columns in every batch.
        """
        if len(self) and evaluation.columns.keys() != self._columns.keys():
            raise ValueError(
                f"evaluate gave the columns {sorted(evaluation.columns)}, "
                f"before it gave {sorted(self._columns)}"
            )
        start = len(self)
        self.entries.update({name: start + i for i, name in enumerate(names)})
        self._packed.extend(packed)
        self._active.extend(np.bitwise_count(packed).sum(1, dtype=np.int64).tolist())
        self._fitness.extend(np.asarray(evaluation.fitness, np.float64).tolist())
        self._generation.extend([generation] * len(names))
        for column, values in evaluation.columns.items():
            self._columns.setdefault(column, []).extend(np.asarray(values).tolist())
        contenders = [self.best, *range(start, len(self))]
        self.best = contenders[best_first(self.fitness(contenders), self.active(contenders))[0]]

    def fields(self) -> dict[str, Any]:
        """The fields of a :class:`~evojax_prune.search.result.SearchResult` that are kept here."""
        width = -(-self.genome_length // 8)
        return {
            "genome_length": self.genome_length,
            "packed": np.array(self._packed, np.uint8).reshape(len(self), width),
            "hashes": tuple(self.entries),
            "active": np.array(self._active, np.int64),
            "fitness": np.array(self._fitness, np.float64),
            "generation": np.array(self._generation, np.int64),
            "columns": {name: np.array(values) for name, values in self._columns.items()},
        }
