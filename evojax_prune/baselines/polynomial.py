"""Polynomial-decay pruning: weights are pruned by magnitude while the head trains.

Zhu and Gupta 2017 (arXiv 1710.01878): at update i of n, the smallest weights of each pruned layer
are set to zero until a fraction ``s_f + (s_i - s_f) (1 - i/n)^3`` of them is; a pruned weight gets
no gradient any more. Training has the initial weights, minibatches and optimizer that
:func:`evojax_prune.engine.fit_population` has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.head import HeadSpec, Params
from evojax_prune.core.masks import Masks, dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.ranking import keep_best
from evojax_prune.core.splits import Split
from evojax_prune.engine import HeadTrainer

Kept = list[np.ndarray | None]
"""For each layer, which weights are not pruned ``bool [in, out]``; None for a dense layer."""


@dataclasses.dataclass(frozen=True)
class Ramp:
    """How the sparsity rises; the defaults are those of EvoPruneDeepTL's released code.

    Attributes:
        initial: sparsity before the first epoch.
        updates: times that it rises after that, n.
        every: epochs from one update to the next.
    """

    initial: float = 0.1
    updates: int = 5
    every: int = 5

    @property
    def epochs(self) -> int:
        """Epochs until the final sparsity."""
        return self.updates * self.every

    def within(self, epochs: int) -> Ramp:
        """The ramp shortened so that at least half of so many epochs follow it."""
        updates = min(self.updates, epochs // 2)
        every = min(self.every, epochs // (2 * updates)) if updates else 1
        return Ramp(self.initial, updates, every)

    def sparsity(self, update: int, final: float) -> float:
        """Sparsity from an update (0: the start) on; never more than the final one."""
        initial = min(self.initial, final)
        left = 1 - update / self.updates if self.updates else 0.0
        return final + (initial - final) * left**3


@dataclasses.dataclass(frozen=True)
class Gradual:
    """A head that was pruned while it trained.

    Attributes:
        params: parameters, pruned weights zero.
        masks: what is left, as a population of one; all units, some connections.
        loss: lowest training loss of an epoch at the final sparsity, nats; NaN if never finite.
        epochs: epochs run, the ramp included.
    """

    params: Params
    masks: Masks
    loss: float
    epochs: int


def prune_gradually(
    train: Split,
    head: HeadSpec,
    protocol: Protocol,
    keep: dict[int, float],
    seed: int = 0,
    ramp: Ramp | None = None,
) -> Gradual:
    """Train a head while pruning it.

    The ramp counts towards the protocol's epochs. Early stopping, and the choice of the best epoch,
    begin when the final sparsity is reached.

    Args:
        train: the training split.
        head: its shape.
        protocol: how it is trained.
        keep: for each pruned layer, the fraction of its weights that is left in the end, in (0, 1].
        seed: decides initial weights and minibatch order.
        ramp: how the sparsity rises; shortened where the protocol has few epochs.
    """
    protocol = protocol.for_rows(len(train))
    ramp = (ramp or Ramp()).within(protocol.epochs)
    trainer = HeadTrainer(train, head, protocol, seed)
    kept: Kept = [None] * (len(head.hidden) + 1)
    while trainer.epochs < protocol.epochs:
        if trainer.epochs <= ramp.epochs and trainer.epochs % ramp.every == 0:
            update = trainer.epochs // ramp.every
            kept = _largest(
                trainer.kernels, {i: ramp.sparsity(update, 1 - k) for i, k in keep.items()}
            )
            trainer.prune(kept)
        trainer.run_epoch()
        if trainer.epochs > ramp.epochs and trainer.done:
            break
    return Gradual(trainer.best_params(), _masks(kept, head), trainer.best_loss, trainer.epochs)


def _largest(kernels: Sequence[np.ndarray], sparsity: dict[int, float]) -> Kept:
    """Masks of the largest weights of each pruned layer; at least one is left."""
    kept: Kept = [None] * len(kernels)
    for i, pruned in sparsity.items():
        size = np.nan_to_num(np.abs(kernels[i]))  # training may have diverged
        least = 1 / size.size
        kept[i] = keep_best(size.ravel(), max(1 - pruned, least)).reshape(size.shape)
    return kept


def _masks(kept: Kept, head: HeadSpec) -> Masks:
    connections = tuple(None if mask is None else mask[None] for mask in kept)
    return dataclasses.replace(dense_masks(head), connections=connections)
