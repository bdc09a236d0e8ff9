"""The baselines by name: each turns a trained dense head and a fraction into masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.baselines import scores
from evojax_prune.baselines.parts import Fractions, keep_highest, part_lengths
from evojax_prune.errors import UserError
from evojax_prune.heads import SPARSE_LAYERS, HeadSpec, Params
from evojax_prune.masks import Masks, decode
from evojax_prune.splits import Split
from evojax_prune.words import Grain, Mode

RANDOM = "random masks"
POLYNOMIAL = "polynomial decay"


@dataclasses.dataclass(frozen=True)
class Dense:
    """The dense head of one fold, which is all that a baseline may look at.

    Attributes:
        train: the training split.
        head: shape of the head.
        mode: prune mode.
        grain: what one bit of the evolved genome switches; only random masks follow it.
        seed: seed of whatever is random.
        params: parameters, trained by the protocol.
    """

    train: Split
    head: HeadSpec
    mode: Mode
    grain: Grain
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
    modes: tuple[Mode, ...] = ("features", "fc1", "fc2", "both")

    def masks(self, genomes: np.ndarray, dense: Dense) -> Masks:
        """Masks of its genomes."""
        return decode(genomes, dense.head, dense.mode, self.grain or dense.grain)


def _by_scores(score: Callable[[Dense], Sequence[np.ndarray]]) -> Callable[[Dense, int], Cut]:
    def rank(dense: Dense, _: int) -> Cut:
        scored = score(dense)
        return lambda fractions: keep_highest(scored, fractions)[None]

    return rank


def _random(dense: Dense, count: int) -> Cut:
    lengths = part_lengths(dense.head, dense.mode, dense.grain)
    orders = [scores.random_scores(lengths, (dense.seed, i)) for i in range(count)]
    return lambda fractions: np.stack([keep_highest(o, fractions) for o in orders])


_weights = _by_scores(lambda d: scores.magnitudes(d.params, SPARSE_LAYERS[d.mode]))
_incoming = _by_scores(lambda d: scores.incoming_norms(d.params, d.mode))
_outgoing = _by_scores(lambda d: scores.outgoing_norms(d.params, d.mode))
_HIDDEN: tuple[Mode, ...] = ("fc1", "fc2", "both")
_FEATURES: tuple[Mode, ...] = ("features",)

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


def method_names(mode: Mode) -> tuple[str, ...]:
    """Baselines that a prune mode has, in the order of the table."""
    return (*(m.name for m in METHODS if mode in m.modes), POLYNOMIAL)


def check_names(names: Sequence[str] | None, mode: Mode) -> tuple[str, ...]:
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
