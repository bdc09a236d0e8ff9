"""Who is better than whom: the best of one objective, the front of several."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.objective import Objective, minimised


class Selection(abc.ABC):
    """An order of genomes by their values.

    Everywhere ``values`` is ``float64 [n, M]``, each column in its objective's own direction, NaN
    where the evaluation failed, and ``active`` is ``int64 [n]``, active bits. Failed genomes come
    last and never lead.

    Attributes:
        objectives: M of them.
    """

    def __init__(self, objectives: Sequence[Objective]):
        self.objectives = tuple(objectives)

    @abc.abstractmethod
    def order(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Indices ``int64 [n]`` from the best to the worst."""

    @abc.abstractmethod
    def leaders(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Indices ``int64 [L]`` of the best genomes; none if all have failed."""

    def finalists(self, values: np.ndarray, active: np.ndarray, count: int) -> np.ndarray:
        """Indices of at most ``count`` genomes, best first; none of them has failed."""
        order = self.order(values, active)
        return order[~np.isnan(values[order]).any(1)][:count]

    @abc.abstractmethod
    def curve(self, values: np.ndarray, active: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """How good the first genomes were, ``float64 [len(ends)]``: what a picture shows.

        Args:
            values: ``float64 [n, M]``.
            active: ``int64 [n]``.
            ends: numbers of genomes, rising.
        """


class Best(Selection):
    """One objective: the best value, then the fewest active bits, then the first."""

    def order(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """See :class:`Selection`."""
        return np.lexsort((active, minimised(values, self.objectives)[:, 0]))

    def leaders(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """The best genome; see :class:`Selection`."""
        return self.finalists(values, active, 1)

    def curve(self, values: np.ndarray, active: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """The best value; see :class:`Selection`."""
        best = np.fmax if self.objectives[0].maximised else np.fmin
        return best.accumulate(values[:, 0])[np.asarray(ends) - 1]


class Front(Selection):
    """Several objectives: front by front, the least crowded first within each.

    Source: Deb et al., IEEE Trans. Evolutionary Computation 6 (2002) 182-197. Genomes of equal
    values are on one front; fewer active bits decide between equally crowded ones, then the first.
    """

    def order(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """See :class:`Selection`."""
        costs = minimised(values, self.objectives)
        front = np.full(len(costs), len(costs))
        crowded = np.zeros(len(costs))
        left = np.flatnonzero(np.isfinite(costs).all(1))
        number = 0
        while len(left):
            on_front = nondominated(costs[left])
            members = left[on_front]
            front[members], crowded[members] = number, crowding(costs[members])
            left, number = left[~on_front], number + 1
        return np.lexsort((active, -crowded, front))

    def leaders(self, values: np.ndarray, active: np.ndarray) -> np.ndarray:
        """The front, by its first objective from the best to the worst; see :class:`Selection`."""
        costs = minimised(values, self.objectives)
        sound = np.flatnonzero(np.isfinite(costs).all(1))
        members = sound[nondominated(costs[sound])]
        return members[np.lexsort((active[members], costs[members, 0]))]

    def curve(self, values: np.ndarray, active: np.ndarray, ends: Sequence[int]) -> np.ndarray:
        """The front's hypervolume, below the worst values of all; see :class:`Selection`."""
        costs = minimised(values, self.objectives)
        sound = np.isfinite(costs).all(1)
        reference = costs[sound].max(0) if sound.any() else np.zeros(len(self.objectives))
        found, start, volumes = np.empty(0, np.int64), 0, []
        for end in ends:
            pool = np.concatenate([found, np.arange(start, end)])
            found, start = pool[self.leaders(values[pool], active[pool])], end
            volumes.append(hypervolume(costs[found], reference))
        return np.array(volumes)


def selection_of(objectives: Sequence[Objective]) -> Selection:
    """The best of one objective, or the front of several."""
    return Best(objectives) if len(objectives) == 1 else Front(objectives)


def nondominated(costs: np.ndarray) -> np.ndarray:
    """Which rows no other row dominates, ``bool [n]``.

    A row dominates another if it is nowhere higher and somewhere lower; equal rows do not.

    Args:
        costs: ``float64 [n, M]``, minimised, finite.

    Example:
        >>> nondominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]]))
        array([ True,  True, False])
    """
    unique, place = np.unique(costs, axis=0, return_inverse=True)  # rows sorted by first, ...
    if costs.shape[1] <= 2:
        # Whatever comes before has no higher first cost, so the last one must be lower.
        last = unique[:, -1]
        before = np.minimum.accumulate(np.concatenate([[np.inf], last[:-1]]))
        return (last < before)[place.ravel()]
    kept = np.zeros(len(unique), bool)
    for i, row in enumerate(unique):  # only an earlier row can dominate
        kept[i] = not (unique[:i][kept[:i]] <= row).all(1).any()
    return kept[place.ravel()]


def crowding(costs: np.ndarray) -> np.ndarray:
    """Crowding distance of the members of one front, ``float64 [n]``; ``inf`` for the extremes.

    The sum over objectives of the distance between both neighbours, as a part of the front's
    extent; an objective in which all are equal adds nothing.

    Args:
        costs: ``float64 [n, M]``, minimised, finite.
    """
    distance = np.zeros(len(costs))
    for column in costs.T:
        order = np.argsort(column, kind="stable")
        extent = column[order[-1]] - column[order[0]]
        if extent > 0:
            distance[order[[0, -1]]] = np.inf
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / extent
    return distance


def hypervolume(costs: np.ndarray, reference: np.ndarray) -> float:
    """Volume that is dominated by a set, up to a reference point; exact, for a few objectives.

    Args:
        costs: ``float64 [n, M]``, minimised, finite.
        reference: ``float64 [M]``; rows that are not below it everywhere add nothing.

    Example:
        >>> hypervolume(np.array([[1.0, 2.0], [2.0, 1.0]]), np.array([3.0, 3.0]))
        3.0
    """
    costs = costs[(costs < reference).all(1)]
    if not len(costs):
        return 0.0
    costs = np.unique(costs, axis=0)
    edges = np.append(costs[:, 0], reference[0])
    if costs.shape[1] == 1:
        return float(edges[-1] - edges[0])
    if costs.shape[1] == 2:
        heights = reference[1] - np.minimum.accumulate(costs[:, 1])
        return float(np.diff(edges) @ heights)
    # Slices along the first objective, each as thick as the step to the next row.
    slices = [hypervolume(costs[: i + 1, 1:], reference[1:]) for i in range(len(costs))]
    return float(np.diff(edges) @ np.array(slices))
