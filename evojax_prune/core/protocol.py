"""How one head is trained: the recipe shared by the dense head, every genome and every baseline."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Training recipe of a head.

    The defaults are the reference's (EvoPruneDeepTL, released code): SGD with Nesterov momentum,
    inverse-time decay, early stopping on the training loss, best weights restored. Every head
    starts from the same weights and sees the same minibatches in the same order.

    Attributes:
        epochs: most epochs a head is trained for.
        batch_size: rows a step; the last batch of an epoch may be smaller and its loss is the mean
            over the rows that it has.
        learning_rate: rate before decay.
        momentum: velocity kept from step to step, in [0, 1).
        nesterov: look ahead along the velocity, as Keras does: ``v = m*v - lr*g; w += m*v - lr*g``.
        decay: inverse-time decay: step ``t`` (from 0) uses ``learning_rate / (1 + decay*t)``.
        patience: epochs without an improvement of the training loss after which training stops;
            0 trains all epochs.
        min_delta: least fall of the training loss (nats) that counts as an improvement.
        restore_best: evaluate the weights of the epoch with the lowest training loss rather than
            the last ones.
        optimizer: ``"sgd"``, or the name of any optax optimizer whose first argument is the
            learning rate (``"adam"``, ``"adamw"``, ``"lion"``, ...); those use ``learning_rate``
            and ``decay``, not ``momentum`` and ``nesterov``.
        input_noise: standard deviation of Gaussian noise added to the features at each step, in
            units of the features.
        label_smoothing: ``s`` in [0, 1): a row's target is ``(1 - s) * one-hot + s / C`` in the
            training loss, which early stopping sees too; scores are not smoothed.
    """

    epochs: int = 600
    batch_size: int = 32
    learning_rate: float = 1e-3
    momentum: float = 0.9
    nesterov: bool = True
    decay: float = 1e-6
    patience: int = 10
    min_delta: float = 1e-5
    restore_best: bool = True
    optimizer: str = "sgd"
    input_noise: float = 0.0
    label_smoothing: float = 0.0


PAPER = Protocol()
"""The reference's recipe; the default *final protocol*."""

SEARCH = Protocol(epochs=5, learning_rate=1e-2)
"""A cheap recipe that ranks masks almost as the reference's does; the default *search protocol*."""
