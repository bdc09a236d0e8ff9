"""A fresh selection split on every occasion, such as each generation of a search."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from evojax_prune.core.errors import UserError

Rows = tuple[np.ndarray, np.ndarray]
"""Row numbers, sorted ``int64``: to train on, and to select on."""


@dataclasses.dataclass(frozen=True)
class Resampler:
    """Stratified random splits of the same rows, one per occasion.

    Without groups, all occasions have equally many training rows, and each class gives its share
    of the selection rows, rounded down or up at random. With groups, whole groups are drawn, so
    that sizes and shares are right on average only. Every class keeps training rows.

    Attributes:
        labels: ``int32 [n]`` in [0, C).
        groups: group of each row, any type ``[n]``, never split; None without groups.
        selection_fraction: size of the selection split, of n.
        seed: same seed and occasion, same split.

    Raises:
        UserError: a class has one row or no two groups, so that no split can be drawn.
    """

    labels: np.ndarray
    groups: np.ndarray | None
    selection_fraction: float
    seed: int

    def __post_init__(self) -> None:
        if self.groups is None:
            if not self._strata.total:
                raise UserError(
                    "selection splits cannot be drawn where no class has two rows: add examples"
                )
        elif not self._grouped.free.any():
            raise UserError(
                f"selection splits cannot be drawn from {len(self._grouped.sizes)} groups: each"
                " class needs two groups or more, so that one stays in training"
            )

    def split(self, occasion: int) -> Rows:
        """The split of an occasion, 0 or more."""
        generator = np.random.default_rng([self.seed, occasion])
        inside = self._draw_rows(generator) if self.groups is None else self._draw_groups(generator)
        return np.flatnonzero(~inside), np.flatnonzero(inside)

    def _draw_rows(self, generator: np.random.Generator) -> np.ndarray:
        counts = self._strata.draw(generator)
        order = generator.permutation(len(self.labels))
        # A stable sort keeps the random order within each class; short integers sort faster.
        order = order[np.argsort(self._strata.short[order], kind="stable")]
        place = np.arange(len(order)) - self._strata.starts.repeat(self._strata.sizes)
        inside = np.zeros(len(order), bool)
        inside[order[place < counts.repeat(self._strata.sizes)]] = True
        return inside

    def _draw_groups(self, generator: np.random.Generator) -> np.ndarray:
        chosen = self._grouped.draw(generator, self.selection_fraction)
        return chosen[self._grouped.codes]

    @functools.cached_property
    def _strata(self) -> _Strata:
        return _Strata(self.labels, self.selection_fraction)

    @functools.cached_property
    def _grouped(self) -> _Groups:
        return _Groups(self.labels, np.asarray(self.groups))


class _Strata:
    """How many rows each class gives.

    Attributes:
        sizes: rows of each class, ``int64 [C]``.
        starts: rows of the classes before it.
        total: rows that all classes give.
        short: the labels, in a type of few bytes.
    """

    def __init__(self, labels: np.ndarray, fraction: float):
        self.sizes = np.bincount(labels)
        self.starts = np.cumsum(self.sizes) - self.sizes
        self.short = labels.astype(np.int16 if len(self.sizes) < 2**15 else np.int32)
        rows, present = len(labels), np.count_nonzero(self.sizes)
        wished = min(max(round(fraction * rows), present), rows - present)
        limits = np.maximum(self.sizes - 1, 0)
        self.total = int(min(wished, limits.sum()))
        # In proportion to the sizes; a class that would give its last row gives all others, and the
        # rest is shared anew. Whole numbers, so that the total is exact.
        full = limits == 0
        while True:
            left, self._unit = self.total - int(limits[full].sum()), int(self.sizes[~full].sum())
            shares = np.where(full, 0, self.sizes) * left
            over = ~full & (shares > limits * self._unit)
            if not over.any():
                break
            full |= over
        self._unit = max(self._unit, 1)
        self._whole = np.where(full, limits, shares // self._unit)
        self._rest = shares % self._unit

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """Rows that each class gives, ``int64 [C]``: its share, rounded down or up.

        Systematic sampling: the parts lost by rounding down are laid end to end, and the classes
        where marks one unit apart fall get one row more. Each gets it as often as its part is
        large, and the total is always the same.
        """
        order = generator.permutation(len(self._rest))
        ends = np.cumsum(self._rest[order]) + generator.integers(self._unit)
        marks = ends // self._unit
        counts = self._whole.copy()
        counts[order] += np.diff(marks, prepend=0)
        return counts


class _Groups:
    """Groups, each in the stratum of its most frequent class.

    Attributes:
        codes: number of each row's group, ``int64 [n]``.
        sizes: rows of each group, ``int64 [G]``.
        free: groups that may be drawn, ``bool [G]``: each of their classes is in another, too.
    """

    def __init__(self, labels: np.ndarray, groups: np.ndarray):
        names, self.codes = np.unique(groups, return_inverse=True)
        self.sizes = np.bincount(self.codes)
        classes = int(labels.max()) + 1
        pairs, rows = np.unique(self.codes * classes + labels, return_counts=True)
        self._group, self._class = np.divmod(pairs, classes)  # which classes a group has
        alone = np.bincount(self._class, minlength=classes) == 1
        self.free = np.ones(len(names), bool)
        self.free[self._group[alone[self._class]]] = False
        self._stratum = np.zeros(len(names), np.int64)
        by_rows = np.argsort(rows, kind="stable")  # the largest is written last
        self._stratum[self._group[by_rows]] = self._class[by_rows]

    def draw(self, generator: np.random.Generator, fraction: float) -> np.ndarray:
        """Groups ``bool [G]`` that hold about a fraction of each stratum's rows."""
        order = generator.permutation(len(self.sizes))
        order = order[np.argsort(self._stratum[order], kind="stable")]
        strata, sizes = self._stratum[order], self.sizes[order]
        rows = np.bincount(strata, sizes)  # float64 [strata]
        before = np.cumsum(sizes) - sizes - (np.cumsum(rows) - rows)[strata]
        # The group in which the fraction ends is taken as often as it would be filled.
        luck = generator.random(len(rows))[strata]
        chosen = np.zeros(len(sizes), bool)
        chosen[order] = before + luck * sizes < fraction * rows[strata]
        chosen &= self.free
        self._give_back(chosen, generator)
        if not chosen.any():
            chosen[generator.choice(np.flatnonzero(self.free))] = True
        return chosen

    def _give_back(self, chosen: np.ndarray, generator: np.random.Generator) -> None:
        """Take a group back for each class of which all groups are chosen."""
        left = np.bincount(self._class[~chosen[self._group]], minlength=int(self._class.max()) + 1)
        for lost in np.unique(self._class[left[self._class] == 0]):
            of_class = self._group[self._class == lost]
            if chosen[of_class].all():
                chosen[generator.choice(of_class)] = False
