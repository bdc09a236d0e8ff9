"""What a genome is worth, from looks at it on several occasions.

Each occasion has a training and a selection split of its own, and some are easier than others. The
model is additive::

    value = genome + occasion + noise

Genomes are random effects: an estimate is drawn towards what genomes of its size have on average (a
parabola in the logarithm of the active bits), the more the fewer looks there are and the noisier
they are (best linear unbiased prediction; Robinson, Statistical Science 6 (1991) 15-32). So a
genome that was seen once, on an easy split or with luck, does not look better than it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.search.archive import GrowingRows

SWEEPS = 30
"""Most rounds over all looks per estimate; each starts from the one before."""

CLOSE = 1e-4
"""Change of the occasions' effects, in standard deviations of the noise, at which rounds end."""

MOST_PRIOR = 4.0
"""Most looks that the trend is worth. Late in a search its genomes hardly differ, and a trend worth
a hundred looks would let no newcomer past a member that is a little above it."""

FEWEST = 8
"""Genomes with which a parabola is fitted; fewer have a common mean."""


@dataclasses.dataclass(frozen=True)
class Estimates:
    """What all genomes are worth.

    Attributes:
        values: ``float64 [E, M]``, each in its objective's own direction; NaN where a look failed.
        errors: standard errors ``float64 [E, M]``; 0 for an objective without noise.
        looks: ``int64 [E]``.
    """

    values: np.ndarray
    errors: np.ndarray
    looks: np.ndarray


class Estimator:
    """Keeps all looks, and estimates from them what each genome is worth.

    Memory and time of an estimate are linear in the number of looks.
    """

    def __init__(self, objectives: Sequence[Objective]):
        self._objectives = tuple(objectives)
        self._genome, self._occasion = GrowingRows(np.int64), GrowingRows(np.int64)
        self._values = GrowingRows(np.float64, len(self._objectives))
        self._effects = [_Effects() for _ in self._objectives]

    def __len__(self) -> int:
        return len(self._genome.array)

    def observe(self, genomes: np.ndarray, occasion: int, values: np.ndarray) -> None:
        """Add looks.

        Args:
            genomes: numbers ``int64 [n]``, all different.
            occasion: on which they were looked at, counted from 0.
            values: ``float64 [n, M]``; not finite where the evaluation failed.
        """
        self._genome.extend(genomes)
        self._occasion.extend(np.full(len(genomes), occasion))
        self._values.extend(values)

    def estimates(self, active: np.ndarray, among: np.ndarray | None = None) -> Estimates:
        """What genomes are worth.

        Args:
            active: active bits of all genomes ``int64 [E]``; each has been looked at.
            among: numbers ``int64 [n]`` of those that compete now, by default all. Others are not
                looked back to: a search soon leaves its first genomes far behind, and a trend
                through them would draw the best of today towards the past. Theirs are NaN.
        """
        genome, occasion, seen_values = self._genome.array, self._occasion.array, self._values.array
        if among is not None:
            compete = np.zeros(len(active), bool)
            compete[among] = True
            rows = compete[genome]
            genome, occasion, seen_values = genome[rows], occasion[rows], seen_values[rows]
        looks = np.bincount(genome, minlength=len(active))
        values, errors = np.empty((2, len(active), len(self._objectives)))
        for m, objective in enumerate(self._objectives):
            seen = seen_values[:, m]
            if objective.noisy:
                found = self._effects[m].fit(seen, genome, occasion, active)
            else:
                last = np.full(len(active), np.nan)
                last[genome] = seen
                found = last, np.zeros(len(active))
            values[:, m], errors[:, m] = found
        failed = np.zeros(len(active), bool)
        failed[genome[~np.isfinite(seen_values).all(1)]] = True
        values[failed] = np.nan
        return Estimates(values, errors, looks)


class _Effects:
    """The additive model of one objective; each fit starts from the one before."""

    def __init__(self) -> None:
        self.occasions = np.zeros(0)
        self.noise = 0.0  # variance of one look
        self.spread = 0.0  # variance of genomes around the trend

    def fit(
        self, value: np.ndarray, genome: np.ndarray, occasion: np.ndarray, active: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Estimates and standard errors ``float64 [E]``.

        Args:
            value: of each look ``[L]``; those that are not finite are passed over.
            genome: ``int64 [L]``.
            occasion: ``int64 [L]``.
            active: ``int64 [E]``.
        """
        sound = np.isfinite(value)
        value, genome, occasion = value[sound], genome[sound], occasion[sound]
        looks = np.bincount(genome, minlength=len(active)).astype(np.float64)
        if not len(value):
            return np.full(len(active), np.nan), np.full(len(active), np.nan)
        number = int(occasion.max()) + 1
        here = np.bincount(occasion, minlength=number)
        effects = np.zeros(number)
        effects[: len(self.occasions)] = self.occasions[:number]
        size = np.log(np.maximum(active, 1).astype(np.float64))
        for _ in range(SWEEPS):
            raw = _means(genome, value - effects[occasion], looks)
            own = looks / np.where(looks > 0, looks + self._ratio(), 1.0)
            trend = _trend(size, raw, own, looks > 0)
            worth = trend + own * (raw - trend)
            before = effects
            effects = _means(occasion, value - worth[genome], here.astype(np.float64))
            effects = np.where(here > 0, effects - np.average(effects, weights=here), 0.0)
            self._variances(value - effects[occasion], genome, looks, raw, trend, worth)
            if np.abs(effects - before).max() <= CLOSE * np.sqrt(self.noise):
                break
        self.occasions = effects
        # Without looks of its own nothing is known but the trend.
        weight = looks + self._ratio()
        error = np.sqrt(self.noise / np.where(weight > 0, weight, 1.0))
        return np.where(looks > 0, worth, np.nan), error

    def _ratio(self) -> float:
        """Noise / spread: looks that the trend is worth."""
        if self.noise <= 0:
            return 0.0
        return min(self.noise / max(self.spread, 1e-12), MOST_PRIOR)

    def _variances(
        self,
        value: np.ndarray,
        genome: np.ndarray,
        looks: np.ndarray,
        raw: np.ndarray,
        trend: np.ndarray,
        worth: np.ndarray,
    ) -> None:
        """Noise from genomes looked at more than once; spread by one step of EM (Laird, Ware 1982).

        ``value`` is without the occasions' effects.
        """
        again = looks[genome] > 1
        freedom = again.sum() - (looks > 1).sum()
        if freedom > 0:
            self.noise = float(np.square((value - raw[genome])[again]).sum() / freedom)
        else:  # before the second occasion all variance may be noise
            self.noise = float(np.var((raw - trend)[looks > 0])) or self.noise
        seen = looks > 0
        if self.spread <= 0:
            self.spread = self.noise or 1e-12
        left = self.noise / (looks[seen] + self._ratio())
        self.spread = float(np.mean(np.square((worth - trend)[seen]) + left))


def _means(group: np.ndarray, value: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.bincount(group, value, minlength=len(count)) / np.maximum(count, 1)


def _trend(size: np.ndarray, raw: np.ndarray, weight: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """What genomes of each size have on average, ``float64 [E]``."""
    distinct = len(np.unique(size[seen]))
    degree = min(2, distinct - 1) if seen.sum() >= FEWEST else 0
    centred = size - size[seen].mean()
    columns = np.stack([centred**d for d in range(degree + 1)], axis=1)
    root = np.sqrt(weight[seen])[:, None]
    found, *_ = np.linalg.lstsq(columns[seen] * root, raw[seen] * root[:, 0], rcond=None)
    return columns @ found
