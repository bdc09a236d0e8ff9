"""Every genome that was evaluated, found again by its bits."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from evojax_prune.search.result import Evaluation


def pack(genomes: np.ndarray) -> np.ndarray:
    """``bool [n, G]`` as ``uint8 [n, ceil(G / 8)]``."""
    return np.packbits(np.asarray(genomes, bool), axis=1)


def digests(packed: np.ndarray) -> list[str]:
    """A name for each packed genome: its BLAKE2b hash, 32 hexadecimal digits."""
    rows = np.ascontiguousarray(packed)
    return [hashlib.blake2b(row.data, digest_size=16).hexdigest() for row in rows]


class GrowingRows:
    """An array that grows at its end: a row costs constant time, however many there are."""

    def __init__(self, dtype: Any, *shape: int):
        self._data = np.empty((64, *shape), dtype)
        self._count = 0

    def extend(self, rows: np.ndarray) -> None:
        """Append rows."""
        end = self._count + len(rows)
        if end > len(self._data):
            more = np.empty((2 * end, *self._data.shape[1:]), self._data.dtype)
            more[: self._count] = self.array
            self._data = more
        self._data[self._count : end] = rows
        self._count = end

    @property
    def array(self) -> np.ndarray:
        """All rows so far; a view."""
        return self._data[: self._count]


class Archive:
    """Evaluated genomes in order, with their values, generation and further columns.

    Genomes are kept packed, eight bits per byte: a search over a million connections would not fit
    otherwise.

    Attributes:
        genome_length: bits G.
        entries: place of each genome, by its digest.
    """

    def __init__(self, genome_length: int, objectives: int):
        self.genome_length = genome_length
        self.entries: dict[str, int] = {}
        self._names: list[str] = []
        self._packed = GrowingRows(np.uint8, -(-genome_length // 8))
        self._active = GrowingRows(np.int64)
        self._values = GrowingRows(np.float64, objectives)
        self._generation = GrowingRows(np.int64)
        self._columns: dict[str, list[np.ndarray]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def values(self) -> np.ndarray:
        """``float64 [E, M]``."""
        return self._values.array

    @property
    def active(self) -> np.ndarray:
        """Active bits ``int64 [E]``."""
        return self._active.array

    def names(self, places: np.ndarray) -> list[str]:
        """Digests of genomes by their places."""
        return [self._names[place] for place in places]

    def genomes(self, places: np.ndarray) -> np.ndarray:
        """Genomes ``bool [n, G]`` by their places."""
        packed = self._packed.array[places]
        return np.unpackbits(packed, axis=1, count=self.genome_length).astype(bool)

    def set_values(self, values: np.ndarray) -> None:
        """Replace all values, ``float64 [E, M]``: more is known by now."""
        self._values.array[:] = values

    def find(self, names: list[str]) -> np.ndarray:
        """Places ``int64 [n]`` of genomes by their digests; -1 for those that are not here."""
        get = self.entries.get
        return np.fromiter((get(name, -1) for name in names), np.int64, len(names))

    def add(
        self, names: list[str], packed: np.ndarray, generation: int, evaluation: Evaluation
    ) -> None:
        """Append a batch of new genomes.

        Args:
            names: their digests.
            packed: ``uint8 [n, ceil(G / 8)]``.
            generation: in which they were asked for.
            evaluation: their values ``[n, M]`` and columns; the same columns in every batch.
        """
        if len(self) and evaluation.columns.keys() != self._columns.keys():
            raise ValueError(
                f"evaluate gave the columns {sorted(evaluation.columns)}, "
                f"before it gave {sorted(self._columns)}"
            )
        self.entries.update(zip(names, range(len(self), len(self) + len(names)), strict=True))
        self._names += names
        self._packed.extend(packed)
        self._active.extend(np.bitwise_count(packed).sum(1, dtype=np.int64))
        self._values.extend(evaluation.values)
        self._generation.extend(np.full(len(names), generation))
        for column, values in evaluation.columns.items():
            self._columns.setdefault(column, []).append(np.asarray(values))

    def fields(self) -> dict[str, Any]:
        """The fields of a :class:`~evojax_prune.search.result.SearchResult` that are kept here."""
        return {
            "genome_length": self.genome_length,
            "packed": self._packed.array.copy(),
            "hashes": tuple(self._names),
            "active": self.active.copy(),
            "values": self.values.copy(),
            "generation": self._generation.array.copy(),
            "columns": {name: np.concatenate(parts) for name, parts in self._columns.items()},
        }
