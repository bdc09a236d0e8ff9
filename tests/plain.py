"""The plain program: one masked head by hand-written derivatives in float64, for clarity.

What every path of the engine has to equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from scipy.special import log_softmax
from sklearn.utils.class_weight import compute_class_weight

from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.masks import Masks, kernel_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine.batches import epoch_order


@dataclasses.dataclass
class PlainFit:
    params: Params
    losses: list[float]
    best_loss: float
    epochs: int

    def logits(self, x: np.ndarray, masks: Masks, member: int) -> np.ndarray:
        return _layers(self.params, _layer_masks(masks, member), _units(masks, member), x)[-1]


def _layer_masks(masks: Masks, member: int) -> Params:
    layers = kernel_masks(masks, member)
    return {f"layer_{i}": np.asarray(m, np.float32) for i, m in enumerate(layers)}


def _units(masks: Masks, member: int) -> list[np.ndarray]:
    return [u[member] for u in masks.units]


def _layers(
    params: Params, kept: Params, units: Sequence[np.ndarray], x: np.ndarray
) -> list[np.ndarray]:
    """What each layer reads, and the logits; units that are off are masked after their ReLU."""
    read = [x.astype(np.float64)]
    for i, (name, layer) in enumerate(params.items()):
        z = read[-1] @ (layer["kernel"] * kept[name]) + layer.get("bias", 0)
        read.append(np.maximum(z, 0) * units[i] if i < len(units) else z)
    return read


def _value_and_grad(
    params: Params,
    x: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    kept: Params,
    units: Sequence[np.ndarray],
) -> tuple[float, Params]:
    """Cross-entropy of one minibatch, and its derivatives by backpropagation."""
    *read, logits = _layers(params, kept, units, x)
    log = log_softmax(logits, axis=1)
    value = -(weight * (target * log).sum(1)).mean()
    local = weight[:, None] * (np.exp(log) - target) / len(x)
    gradient = {}
    for inputs, (name, layer) in zip(reversed(read), reversed(params.items()), strict=True):
        gradient[name] = {"kernel": inputs.T @ local * kept[name]}
        if "bias" in layer:
            gradient[name]["bias"] = local.sum(0)
        # A unit is 0 where it is off, or where its ReLU is flat.
        local = local @ (layer["kernel"] * kept[name]).T * (inputs > 0)
    return value, {name: gradient[name] for name in params}


def smoothed(y: np.ndarray, classes: int, smoothing: float) -> np.ndarray:
    """Targets ``float64 [N, C]``."""
    return (1 - smoothing) * np.eye(classes)[y] + smoothing / classes


class Descent:
    """Keras's SGD, minibatch by minibatch."""

    def __init__(
        self, params: Params, protocol: Protocol, kept: Params, units: Sequence[np.ndarray]
    ):
        self.params: Params = jax.tree.map(np.float64, params)
        self.protocol, self.kept, self.units = protocol, kept, units
        self.velocity: Params = jax.tree.map(np.zeros_like, self.params)
        self.steps = 0

    def epoch(self, x: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
        """The mean loss of an epoch over rows in their order."""
        total, size = 0.0, self.protocol.batch_size
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            value, gradient = _value_and_grad(
                self.params, x[rows], target[rows], weight[rows], self.kept, self.units
            )
            self._step(gradient)
            total += value * len(x[rows])
        return total / len(x)

    def _step(self, gradient: Params) -> None:
        rate = self.protocol.learning_rate / (1 + self.protocol.decay * self.steps)

        def moved(v: np.ndarray, g: np.ndarray) -> np.ndarray:
            return self.protocol.momentum * v - rate * g

        self.velocity = jax.tree.map(moved, self.velocity, gradient)
        nesterov = self.protocol.nesterov
        move = jax.tree.map(moved, self.velocity, gradient) if nesterov else self.velocity
        self.params = jax.tree.map(np.add, self.params, move)
        self.steps += 1


class EarlyStopping:
    """The rules of ``keras.callbacks.EarlyStopping(monitor="loss", restore_best_weights=True)``.

    Attributes:
        best: the lowest loss.
        epochs: how many it was told of.
        kept: the one of them, counted from 1, whose weights are kept.
    """

    def __init__(self, patience: int, min_delta: float):
        self.best, self.epochs, self.kept = np.inf, 0, 1
        self._patience, self._min_delta, self._wait = patience, min_delta, 0

    def after(self, loss: float) -> bool:
        """Take in an epoch's loss; whether training ends."""
        self.epochs += 1
        self._wait += 1
        if loss + self._min_delta < self.best:
            self.best, self.kept, self._wait = loss, self.epochs, 0
        return 0 < self._patience <= self._wait and self.epochs > 1

    def until_it_ends(self, losses: Sequence[float]) -> EarlyStopping:
        """Itself, after as many of the losses as there are epochs."""
        for loss in losses:
            if self.after(loss):
                break
        return self


def fit_plain(
    masks: Masks,
    member: int,
    splits: FeatureSplits,
    protocol: Protocol,
    head: HeadSpec,
    seed: int = 0,
    params: Params | None = None,
) -> PlainFit:
    """One member, until it stops early."""
    x, y = splits.train.x, splits.train.y
    importance = np.ones(head.classes)
    if protocol.class_weights == "balanced":
        importance[np.unique(y)] = compute_class_weight("balanced", classes=np.unique(y), y=y)
    target = smoothed(y, head.classes, protocol.label_smoothing)
    params = init_params(head, seed) if params is None else params
    descent = Descent(params, protocol, _layer_masks(masks, member), _units(masks, member))
    stopping, best, losses = EarlyStopping(protocol.patience, protocol.min_delta), params, []
    for epoch in range(protocol.epochs):
        order = epoch_order(len(y), epoch, seed)
        losses.append(descent.epoch(x[order], target[order], importance[y[order]]))
        ended = stopping.after(losses[-1])
        if stopping.kept == stopping.epochs:
            best = descent.params
        if ended:
            break
    final = best if protocol.restore_best else descent.params
    return PlainFit(jax.tree.map(np.float32, final), losses, stopping.best, len(losses))
