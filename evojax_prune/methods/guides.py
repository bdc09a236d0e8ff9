"""Rankings that a search starts from, and that its result is compared with."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from evojax_prune.baselines import (
    RECURSIVE,
    Dense,
    elimination_protocol,
    rank_bits,
    ranking_names,
)
from evojax_prune.core.head import Params
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import quantiles
from evojax_prune.data.stream import map_ahead
from evojax_prune.engine import Fits
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem, first_params
from evojax_prune.sensitivity import sensitivity_scores

NORMS = (1.0, 2.0, 4.0, math.inf)
"""Norms whose rankings guide a search; each guided draw takes one of them at random."""

QUICK = (
    RECURSIVE,
    "group lasso",
    "orthogonal matching pursuit",
    "sensitivity x std",
    "outgoing weights x std",
    "ANOVA F",
    "incoming weights",
    "weight magnitude",
)
"""Rankings that a search starts from, those that the mode has: seconds each, and all different."""


@dataclasses.dataclass(frozen=True)
class Rankings:
    """Rankings of the bits of a genome.

    Attributes:
        names: R of them.
        scores: ``float64 [R, G]``, quantiles in (0, 1] within each part; higher is better.
    """

    names: tuple[str, ...]
    scores: np.ndarray


def sensitivities_of_bits(problem: Problem) -> np.ndarray:
    """Rankings of the genome's bits by the sensitivities of a dense head, one per norm.

    The head is trained like the genomes of the search, by the search protocol, and looked at on its
    training rows only. Sensitivities of different layers are in different units, so each layer's
    units are ranked among themselves.

    Returns:
        ``float64 [R, G]``, quantiles in (0, 1]; the higher, the more the outputs depend on the bit.
    """
    protocol = problem.training.search_protocol
    dense = problem.fit(problem.pruning.dense, protocol, (), return_params=True)
    train = [split.train for split in problem.splits]
    layers = sensitivity_scores(first_params(dense), train, problem.pruning.mode, NORMS)
    return np.concatenate([quantiles(scores) for scores in layers], axis=1)


def dense_head(problem: Problem, params: Params, fold: int = 0) -> Dense:
    """What rankings look at: a fold's trained dense head, and its training rows.

    Args:
        problem: what is pruned, on which data.
        params: of the head that was trained on the fold.
        fold: its number.
    """
    part, training = problem.splits[fold], problem.training
    protocol = elimination_protocol(training.final_protocol)

    def fit(genomes: np.ndarray) -> Fits:
        return problem.fit(genomes, protocol, (), True, parts=[part])

    return Dense(part.train, params, problem.pruning, training.seed, fit)


def start_names(pruning: Pruning) -> tuple[str, ...]:
    """Those of :data:`QUICK` that score the very bits of a genome."""
    known = ranking_names(pruning)
    return tuple(name for name in QUICK if name in known)


def rank(problem: Problem, heads: Sequence[Params], observer: Observer) -> Rankings:
    """Rank the bits of a genome in every way of :data:`QUICK` that the mode has.

    Args:
        problem: what is pruned, on which data; only training rows are looked at.
        heads: the trained dense head, one per fold.
        observer: told of each ranking.
    """
    names = start_names(problem.pruning)
    folds = [dense_head(problem, params, fold) for fold, params in enumerate(heads)]
    scores = []
    # Each takes one core for most of its time. One limit spans all: the first to end would lift it.
    with (
        observer.stage("rankings to start from", len(names), "rankings") as shown,
        threadpool_limits(1, "blas"),
    ):
        for found in map_ahead(lambda name: rank_bits([name], folds)[0], names):
            scores.append(found)
            shown.advance(1)
    return Rankings(names, np.array(scores))
