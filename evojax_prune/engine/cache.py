"""Folds kept between populations: a search asks for the same few again in every generation."""

from __future__ import annotations

import collections
import dataclasses
import threading
import weakref
from collections.abc import Sequence

from evojax_prune.core.head import HeadSpec, Params
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine.fold import Fold, make_fold
from evojax_prune.engine.machine import free_host_bytes

FoldKey = tuple[int, HeadSpec, int, int | None]
"""Identity of the splits, the head, the seed, identity of the given parameters."""


@dataclasses.dataclass(frozen=True)
class _Entry:
    splits: weakref.ref[FeatureSplits]
    fold: Fold


class FoldCache:
    """Prepared folds, within a bound of memory.

    A fold is kept for as long as its splits live elsewhere, and the least recently used go first
    when all of them together take more than the bound. The folds of the present call always stay.
    May be used from several threads.
    """

    def __init__(self, limit: int | None = None) -> None:
        """An empty cache.

        Args:
            limit: most bytes kept; None for half of what is free whenever folds are asked for.
        """
        self.limit = limit
        self._entries: collections.OrderedDict[FoldKey, _Entry] = collections.OrderedDict()
        self._lock = threading.Lock()

    def folds(
        self,
        splits: Sequence[FeatureSplits],
        head: HeadSpec,
        seed: int = 0,
        params: Params | None = None,
    ) -> list[Fold]:
        """A fold of each splits; the same object for the same splits, head, seed and weights.

        Raises:
            ValueError: features, labels or parameters do not fit the head.
        """
        given = None if params is None else id(params)
        keys: list[FoldKey] = [(id(each), head, seed, given) for each in splits]
        with self._lock:
            self._drop_dead()
            for key, each in zip(keys, splits, strict=True):
                if key not in self._entries:
                    fold = make_fold(each, head, seed, params)
                    self._entries[key] = _Entry(weakref.ref(each), fold)
                self._entries.move_to_end(key)
            folds = [self._entries[key].fold for key in keys]
            self._shrink(keep=len(set(keys)))
        return folds

    @property
    def nbytes(self) -> int:
        """Bytes of all folds kept, the arrays of their splits included."""
        with self._lock:
            return self._nbytes()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Forgets all folds."""
        with self._lock:
            self._entries.clear()

    def _nbytes(self) -> int:
        return sum(entry.fold.nbytes for entry in self._entries.values())

    def _drop_dead(self) -> None:
        """Forgets folds of which nobody has the splits any more: they cannot be asked for again."""
        for key in [k for k, entry in self._entries.items() if entry.splits() is None]:
            del self._entries[key]

    def _shrink(self, keep: int) -> None:
        used = self._nbytes()
        limit = (free_host_bytes() + used) // 2 if self.limit is None else self.limit
        while used > limit and len(self._entries) > keep:
            _, entry = self._entries.popitem(last=False)
            used -= entry.fold.nbytes
