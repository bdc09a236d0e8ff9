"""Which genomes of a search are trained by the final protocol."""

from __future__ import annotations

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.methods.options import SearchOptions
from evojax_prune.methods.problem import Problem
from evojax_prune.search import Best, SearchResult, Selection, consensus

ALIKE = 2.0
"""Ratio of sizes up to which members take part in a consensus."""

FEWEST = 10
"""Members that make a consensus."""


def finalists(problem: Problem, result: SearchResult, options: SearchOptions) -> np.ndarray:
    """Genomes ``bool [F, G]`` that are trained by the final protocol, each one once.

    The best of one objective; of several some of the front, spread over its sizes. With
    ``consensus`` also the bits that members of about each of those sizes share.

    Args:
        problem: tells whether genomes were looked at again on fresh splits.
        result: what the search found.
        options: how many, of which size, and whether consensus genomes are among them.

    Raises:
        UserError: training diverged for all of them, or none is as small as was asked for.
    """
    values, active = result.values, result.active
    rows = np.arange(len(active))
    if problem.resampled:  # what was seen once and left behind had luck on an easy split
        rows = result.population
    if options.size is not None:
        rows = rows[active[rows] <= options.size]
        if not len(rows):
            raise UserError(
                f"the search found no head of at most {options.size} active bits: raise --size or "
                "--evaluations"
            )
    best = rows[_leading(result.selection, values[rows], active[rows], options.finalists)]
    if not len(best):
        raise UserError(
            "training by the search protocol diverged for every genome (its loss is not finite): "
            "lower --search-protocol.learning-rate"
        )
    genomes = result.rows(best)
    if options.consensus:
        agreed = [consensus_of(result, int(size)) for size in np.unique(active[best])]
        genomes = np.concatenate([genomes, agreed])
    _, first = np.unique(genomes, axis=0, return_index=True)
    return genomes[np.sort(first)]


def _leading(
    selection: Selection, values: np.ndarray, active: np.ndarray, count: int
) -> np.ndarray:
    """Indices of at most ``count`` genomes: the best, or members of the front."""
    if isinstance(selection, Best):
        return selection.finalists(values, active, count)
    front = selection.leaders(values, active)
    if len(front) <= count:
        return front
    sizes = np.log(np.maximum(active[front], 1))
    wanted = np.linspace(sizes.min(), sizes.max(), count)
    nearest = np.abs(sizes[:, None] - wanted[None]).argmin(0)
    return front[np.unique(nearest)]


def consensus_of(result: SearchResult, size: int) -> np.ndarray:
    """The bits ``bool [G]`` that most members of about a size share, ``size`` of them.

    Members of up to twice and down to half the size; all members where these are few.
    """
    sizes = result.active[result.population]
    near = result.population[np.maximum(sizes, size) <= ALIKE * np.minimum(sizes, size)]
    members = near if len(near) >= FEWEST else result.population
    return consensus(result.rows(members), size)
