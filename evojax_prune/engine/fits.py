"""What training a population returns."""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.head import Params


@dataclasses.dataclass(frozen=True)
class EngineReport:
    """How a population was trained.

    Attributes:
        device: platform and kind of the devices used.
        paths: members trained by each path, e.g. ``{"native-dual": 30}``.
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
    """Trained heads, one row a member.

    With several splits (folds) the figures are means over the folds, ``epochs`` and ``seconds``
    sums, and ``folds`` holds each fold's own; ``params`` are then only in the folds.

    Attributes:
        accuracy: for each evaluated split ``float64 [P]``, the fraction of rows classified
            rightly; NaN for a member whose training gave no finite loss.
        cross_entropy: for each evaluated split ``float64 [P]``, mean negative log-likelihood in
            nats; NaN likewise.
        loss: ``float64 [P]``, lowest mean training loss of an epoch, in nats.
        epochs: ``int64 [P]``, epochs run.
        seconds: ``float64 [P]``, time of the worker or, where members train together, a share.
        params: full-shaped parameters with pruned weights at their initial value
            (:func:`evojax_prune.core.masks.apply_mask` zeroes them), or None if not asked for.
        report: how they were trained.
        folds: one ``Fits`` a fold, or empty.
    """

    accuracy: dict[str, np.ndarray]
    cross_entropy: dict[str, np.ndarray]
    loss: np.ndarray
    epochs: np.ndarray
    seconds: np.ndarray
    params: list[Params] | None
    report: EngineReport
    folds: tuple[Fits, ...] = ()

    def __len__(self) -> int:
        return len(self.loss)
