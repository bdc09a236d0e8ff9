"""What training returns: one member's fit, and those of a population."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.core.head import Params

if TYPE_CHECKING:
    # shapes for readers and type checkers; importing it would take a tenth of a second
    from jaxtyping import Float64, Int64

    from evojax_prune.engine.fold import Fold


@dataclasses.dataclass(frozen=True)
class EngineReport:
    """How a population was trained.

    Attributes:
        device: platform and kind of the devices used.
        paths: members trained in each form of the path, e.g. ``{"native-dual": 30}``.
        reason: the planner's sentence on why.
        programs: programs compiled by XLA for this population.
        compile_seconds: wall seconds spent compiling.
        train_seconds: wall seconds of the rest: training and evaluating.
        member_epochs: epochs trained, summed over members and folds.
    """

    device: str
    paths: dict[str, int]
    reason: str
    programs: int
    compile_seconds: float
    train_seconds: float
    member_epochs: int


@dataclasses.dataclass(frozen=True)
class Fits:
    """The trained heads of a population of P members.

    With several splits (folds) the figures are means over the folds, ``epochs`` and ``seconds``
    sums, and ``folds`` holds each fold's own; ``params`` are then only in the folds.

    Attributes:
        accuracy: for each evaluated split ``float64 [P]``, the fraction of rows classified
            rightly; NaN for a member whose training gave no finite loss.
        cross_entropy: for each evaluated split ``float64 [P]``, mean negative log-likelihood in
            nats; NaN likewise.
        loss: ``float64 [P]``, lowest mean training loss of an epoch, in nats; NaN likewise.
        epochs: ``int64 [P]``, epochs run.
        seconds: ``float64 [P]``, time of the worker or, where members train together, a share.
        params: full-shaped parameters with pruned weights at their initial value
            (:func:`evojax_prune.core.masks.apply_mask` zeroes them), or None if not asked for.
        report: how they were trained.
        folds: one ``Fits`` per fold, or empty.
    """

    accuracy: dict[str, Float64[np.ndarray, " P"]]
    cross_entropy: dict[str, Float64[np.ndarray, " P"]]
    loss: Float64[np.ndarray, " P"]
    epochs: Int64[np.ndarray, " P"]
    seconds: Float64[np.ndarray, " P"]
    params: list[Params] | None
    report: EngineReport
    folds: tuple[Fits, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)


@dataclasses.dataclass(frozen=True)
class MemberFit:
    """One trained head; see :class:`Fits` for the figures."""

    accuracy: dict[str, float]
    cross_entropy: dict[str, float]
    loss: float
    epochs: int
    seconds: float
    params: Params | None


def member_fit(
    fold: Fold,
    evaluate: tuple[str, ...],
    scores: Sequence[tuple[float, float]],
    *,
    loss: float,
    epochs: int,
    seconds: float,
    params: Params | None,
) -> MemberFit:
    """A member's fit; without a finite training loss its scores are NaN.

    Args:
        fold: what it was trained on.
        evaluate: the splits that were scored.
        scores: rows of each that were classified rightly, and their summed cross-entropy in nats.
        loss: lowest mean training loss of an epoch, in nats.
        epochs: epochs run.
        seconds: time it took.
        params: full-shaped parameters, if asked for.
    """
    trained = bool(np.isfinite(loss))
    accuracy, cross_entropy = {}, {}
    for name, (right, total) in zip(evaluate, scores, strict=True):
        rows = len(fold.split(name))
        known = trained and rows > 0
        accuracy[name] = float(right) / rows if known else float("nan")
        cross_entropy[name] = float(total) / rows if known else float("nan")
    return MemberFit(
        accuracy, cross_entropy, loss if trained else float("nan"), epochs, seconds, params
    )


def population_fits(
    fits: Sequence[MemberFit], evaluate: tuple[str, ...], with_params: bool, report: EngineReport
) -> Fits:
    """The fits of all members on one fold."""
    return Fits(
        accuracy={name: np.asarray([f.accuracy[name] for f in fits]) for name in evaluate},
        cross_entropy={
            name: np.asarray([f.cross_entropy[name] for f in fits]) for name in evaluate
        },
        loss=np.asarray([f.loss for f in fits]),
        epochs=np.asarray([f.epochs for f in fits], np.int64),
        seconds=np.asarray([f.seconds for f in fits]),
        params=[f.params for f in fits if f.params is not None] if with_params else None,
        report=report,
    )


def mean_over_folds(folds: Sequence[Fits], report: EngineReport) -> Fits:
    """The fits of a cross-validation."""

    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.mean(values, axis=0)

    names = list(folds[0].accuracy)
    return Fits(
        accuracy={name: mean([f.accuracy[name] for f in folds]) for name in names},
        cross_entropy={name: mean([f.cross_entropy[name] for f in folds]) for name in names},
        loss=mean([f.loss for f in folds]),
        epochs=np.sum([f.epochs for f in folds], axis=0),
        seconds=np.sum([f.seconds for f in folds], axis=0),
        params=None,
        report=report,
        folds=tuple(folds),
    )
