"""The baselines by name: each turns a trained dense head and a fraction into masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.baselines import scores
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks
from evojax_prune.core.mode import Grain, ModeName
from evojax_prune.core.pruning import Fractions, Pruning
from evojax_prune.core.splits import Split

RANDOM = "random masks"
POLYNOMIAL = "polynomial decay"


@dataclasses.dataclass(frozen=True)
class Dense:
    """The dense head of one fold, which is all that a baseline may look at.

    Attributes:
        train: the training split.
        pruning: what the evolved genome means; of its grain only random masks follow.
        seed: seed of whatever is random.
        params: parameters, trained by the protocol.
    """

    train: Split
    pruning: Pruning
    seed: int
    params: Params


Cut = Callable[[Fractions], np.ndarray]
"""Genomes ``bool [P, G]`` that keep given fractions."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A baseline that chooses what to keep before (or instead of) training the pruned head.

    Attributes:
        name: what tables call it.
        rank: looks at the dense head once and returns the cut for any fractions.
        grain: what a bit of its genomes switches; None for that of the evolved head.
        retrain: train the pruned head from the initial weights, as the evolved one is; otherwise
            what is left of the dense head is taken as it is.
        modes: prune modes that it can be used in.
    """

    name: str
    rank: Callable[[Dense, int], Cut]
    grain: Grain | None = "neurons"
    retrain: bool = True
    modes: tuple[ModeName, ...] = ("features", "fc1", "fc2", "both")

    def pruning(self, evolved: Pruning) -> Pruning:
        """What its genomes mean."""
        return dataclasses.replace(evolved, grain=self.grain or evolved.grain)

    def masks(self, genomes: np.ndarray, dense: Dense) -> Masks:
        """Masks of its genomes."""
        return self.pruning(dense.pruning).masks(genomes)


def _by_scores(score: Callable[[Dense], Sequence[np.ndarray]]) -> Callable[[Dense, int], Cut]:
    def rank(dense: Dense, _: int) -> Cut:
        scored = score(dense)
        return lambda fractions: dense.pruning.keep(scored, fractions)[None]

    return rank


def _random(dense: Dense, count: int) -> Cut:
    parts = dense.pruning.parts
    orders = [scores.random_scores(parts, (dense.seed, i)) for i in range(count)]
    return lambda fractions: np.stack([dense.pruning.keep(o, fractions) for o in orders])


_weights = _by_scores(lambda d: scores.magnitudes(d.params, d.pruning.mode.sparse))
_incoming = _by_scores(lambda d: scores.incoming_norms(d.params, d.pruning.mode.groups))
_outgoing = _by_scores(lambda d: scores.outgoing_norms(d.params, d.pruning.mode.groups))
_HIDDEN: tuple[ModeName, ...] = ("fc1", "fc2", "both")
_FEATURES: tuple[ModeName, ...] = ("features",)

METHODS = (
    Method(RANDOM, _random, grain=None),
    Method("weight magnitude", _weights, "connections"),
    Method("weight magnitude, not retrained", _weights, "connections", retrain=False),
    Method("incoming weights", _incoming, modes=_HIDDEN),
    Method("incoming weights, not retrained", _incoming, retrain=False, modes=_HIDDEN),
    Method("outgoing weights", _outgoing),
    Method("outgoing weights, not retrained", _outgoing, retrain=False),
    Method(
        "mutual information",
        _by_scores(lambda d: [scores.mutual_information(d.train, d.seed)]),
        modes=_FEATURES,
    ),
    Method(
        "L1 logistic regression",
        _by_scores(lambda d: [scores.l1_logistic_regression(d.train, d.seed)]),
        modes=_FEATURES,
    ),
    Method(
        "random forest",
        _by_scores(lambda d: [scores.random_forest(d.train, d.seed)]),
        modes=_FEATURES,
    ),
)
"""Every baseline but the dense head and polynomial decay, which prunes while it trains."""


def method_names(mode: ModeName) -> tuple[str, ...]:
    """Baselines that a prune mode has, in the order of the table."""
    return (*(m.name for m in METHODS if mode in m.modes), POLYNOMIAL)


def check_names(names: Sequence[str] | None, mode: ModeName) -> tuple[str, ...]:
    """The baselines asked for, all of the mode's if None.

    Raises:
        UserError: a name that the mode does not have.
    """
    known = method_names(mode)
    unknown = [n for n in names or () if n not in known]
    if unknown:
        raise UserError(
            f"unknown baseline {unknown[0]!r} for mode {mode!r}; expected some of "
            f"{', '.join(known)}"
        )
    return known if names is None else tuple(n for n in known if n in names)
