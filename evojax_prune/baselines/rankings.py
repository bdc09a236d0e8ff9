"""Every ranking of features, units or weights by its name.

A ranking of your own is registered by one line::

    from evojax_prune.baselines import RANKINGS, Ranking

    RANKINGS["mine"] = Ranking("mine", lambda dense: [my_scores(dense.train)], ("features",))
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from evojax_prune.baselines import filters, from_head, regression
from evojax_prune.baselines.recursive import Fit, recursive_elimination
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.mode import Grain, ModeName
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import quantiles
from evojax_prune.core.splits import Split
from evojax_prune.sensitivity import Sensitivities, sensitivities, unit_moments

NORMS = (1.0, 2.0, math.inf)
"""Exponents of the sensitivities that rank."""

RECURSIVE = "recursive elimination"


@dataclasses.dataclass(frozen=True)
class Dense:
    """The trained dense head of one fold, which is all that a ranking may look at.

    Attributes:
        train: the training rows.
        params: the head's parameters.
        pruning: what the genomes mean that are compared; a ranking's own grain may be another.
        seed: decides whatever is random.
        fit: trains heads of genomes ``bool [P, G]`` on these rows and returns them with their
            parameters; only recursive elimination calls it.
    """

    train: Split
    params: Params
    pruning: Pruning
    seed: int
    fit: Fit

    @functools.cached_property
    def sensitivities(self) -> list[Sensitivities]:
        """For each pruned unit group, by every exponent of ``NORMS``; computed once."""
        groups = self.pruning.mode.groups
        return [sensitivities(self.params, self.train.x, p=NORMS, layer=g) for g in groups]

    @functools.cached_property
    def deviations(self) -> list[np.ndarray]:
        """For each pruned unit group, standard deviations over the training rows."""
        groups = self.pruning.mode.groups
        return [np.sqrt(unit_moments(self.params, self.train.x, g)[1]) for g in groups]


@dataclasses.dataclass(frozen=True)
class Ranking:
    """A way to score the bits of a genome.

    Attributes:
        name: what tables call it.
        score: looks at a trained dense head; gives an array for each part of the genome.
        modes: prune modes that it works in.
        grain: what the bits that it scores switch.
    """

    name: str
    score: Callable[[Dense], Sequence[np.ndarray]]
    modes: tuple[ModeName, ...] = ("features", "fc1", "fc2", "both")
    grain: Grain = "neurons"

    def rank(self, dense: Dense) -> list[np.ndarray]:
        """Scores ``float64 [bits]`` of each part of the genome; higher is more worth keeping.

        Never NaN: what has no score, such as a constant feature where its relation to the class is
        asked for, is ``-inf`` and comes last.
        """
        # One thread is faster for products of this size, and adds in the same order on any machine.
        with threadpool_limits(1, "blas"):
            scores = [np.asarray(s, np.float64) for s in self.score(dense)]
        return [np.where(np.isnan(s), -np.inf, s) for s in scores]

    def pruning(self, compared: Pruning) -> Pruning:
        """What the bits that it scores mean."""
        return dataclasses.replace(compared, grain=self.grain)


def _by_norm(p: float) -> Callable[[Dense], list[np.ndarray]]:
    return lambda dense: [s.scores(p) for s in dense.sensitivities]


def _times_deviation(
    score: Callable[[Dense], Sequence[np.ndarray]],
) -> Callable[[Dense], list[np.ndarray]]:
    return lambda dense: [s * d for s, d in zip(score(dense), dense.deviations, strict=True)]


def _weights(dense: Dense) -> list[np.ndarray]:
    return [from_head.weight_magnitudes(dense.params, i) for i in dense.pruning.mode.sparse]


def _incoming(dense: Dense) -> list[np.ndarray]:
    return [from_head.incoming_norms(dense.params, g) for g in dense.pruning.mode.groups]


def _outgoing(dense: Dense) -> list[np.ndarray]:
    return [from_head.outgoing_norms(dense.params, g) for g in dense.pruning.mode.groups]


def _recursive(dense: Dense) -> tuple[np.ndarray, ...]:
    pruning = dataclasses.replace(dense.pruning, grain="neurons")
    return recursive_elimination(dense.fit, pruning, [dense.train]).scores


_FEATURES: tuple[ModeName, ...] = ("features",)

RANKINGS: dict[str, Ranking] = {
    ranking.name: ranking
    for ranking in (
        Ranking("weight magnitude", _weights, grain="connections"),
        Ranking("incoming weights", _incoming, modes=("fc1", "fc2", "both")),
        Ranking("outgoing weights", _outgoing),
        Ranking("outgoing weights x std", _times_deviation(_outgoing)),
        Ranking("sensitivity p=1", _by_norm(1.0)),
        Ranking("sensitivity p=2", _by_norm(2.0)),
        Ranking("sensitivity p=inf", _by_norm(math.inf)),
        Ranking("sensitivity x std", _times_deviation(_by_norm(2.0))),
        Ranking(RECURSIVE, _recursive),
        Ranking("ANOVA F", lambda d: [filters.anova_f(d.train)], _FEATURES),
        Ranking(
            "mutual information",
            lambda d: [filters.mutual_information(d.train, d.seed)],
            _FEATURES,
        ),
        Ranking(
            "L1 logistic regression",
            lambda d: [regression.l1_logistic_regression(d.train, d.seed)],
            _FEATURES,
        ),
        Ranking("group lasso", lambda d: [regression.group_lasso(d.train)], _FEATURES),
        Ranking(
            "orthogonal matching pursuit",
            lambda d: [regression.orthogonal_matching_pursuit(d.train)],
            _FEATURES,
        ),
        Ranking("random forest", lambda d: [filters.random_forest(d.train, d.seed)], _FEATURES),
    )
}
"""Every ranking by its name, in the order of the tables. ``x std``: times the standard deviation of
the feature or unit over the training rows; sensitivities are then those of p = 2."""


def ranking_names(pruning: Pruning) -> tuple[str, ...]:
    """Rankings of the very bits of a genome, from which a search can start."""
    return tuple(
        name
        for name, ranking in RANKINGS.items()
        if pruning.mode.name in ranking.modes and ranking.grain == pruning.grain
    )


def rank_bits(names: Sequence[str], heads: Sequence[Dense]) -> np.ndarray:
    """Rankings of all bits of a genome, for a search to start from.

    Units of different layers are not in one unit of measurement, so each part of the genome is
    ranked by itself.

    Args:
        names: out of :func:`ranking_names`.
        heads: the trained dense head, one per fold.

    Returns:
        ``float64 [len(names), G]``, quantiles in (0, 1], mean over folds; higher is better.

    Raises:
        UserError: a name that is not one of :func:`ranking_names`.
    """
    known = ranking_names(heads[0].pruning)
    for name in names:
        if name not in known:
            raise UserError(f"unknown ranking {name!r}: expected some of {', '.join(known)}")
    scores = [[RANKINGS[name].rank(dense) for dense in heads] for name in names]
    return np.array(
        [
            np.mean([np.concatenate([quantiles(part) for part in fold]) for fold in folds], axis=0)
            for folds in scores
        ]
    )
