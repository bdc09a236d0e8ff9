"""The plain program: one masked head by automatic differentiation, written for clarity.

What every path of the engine has to equal.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from evojax_prune.core.flax_head import Head
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

    def logits(self, x: np.ndarray, masks: Masks, member: int, head: HeadSpec) -> np.ndarray:
        return np.asarray(_logits(self.params, _layer_masks(masks, member), x, head))


def _layer_masks(masks: Masks, member: int) -> Params:
    layers = kernel_masks(masks, member)
    return {f"layer_{i}": np.asarray(m, np.float32) for i, m in enumerate(layers)}


@partial(jax.jit, static_argnames="head")
def _logits(params: Params, masks: Params, x: jax.Array, head: HeadSpec) -> jax.Array:
    masked = {
        name: {**layer, "kernel": layer["kernel"] * masks[name]} for name, layer in params.items()
    }
    return Head(head).apply({"params": masked}, x)


def _loss(
    params: Params,
    x: jax.Array,
    y: jax.Array,
    layers: Params,
    units: list[jax.Array],
    importance: jax.Array,
    smoothing: jax.Array,
) -> jax.Array:
    for i, layer in enumerate(params.values()):
        x = x @ (layer["kernel"] * layers[f"layer_{i}"])
        if "bias" in layer:
            x = x + layer["bias"][None]
        if i < len(units):
            x = jax.nn.relu(x) * units[i][None]
    classes = x.shape[1]
    target = (1 - smoothing) * jax.nn.one_hot(y, classes) + smoothing / classes
    return -(importance[y] * (target * jax.nn.log_softmax(x)).sum(1)).mean()


@partial(jax.jit, static_argnames="nesterov")
def _step(params, velocity, rate, x, y, layers, units, importance, smoothing, momentum, nesterov):
    """One minibatch; compiled once per shape, whatever the masks and the protocol are."""
    value, gradient = jax.value_and_grad(_loss)(params, x, y, layers, units, importance, smoothing)

    def moved(v, g):
        return momentum * v - rate * g

    velocity = jax.tree.map(moved, velocity, gradient)
    move = jax.tree.map(moved, velocity, gradient) if nesterov else velocity
    return jax.tree.map(jnp.add, params, move), velocity, value


def fit_plain(
    masks: Masks,
    member: int,
    splits: FeatureSplits,
    protocol: Protocol,
    head: HeadSpec,
    seed: int = 0,
    params: Params | None = None,
) -> PlainFit:
    """Keras's SGD, minibatch by minibatch; units that are off are masked after their ReLU."""
    x, y = splits.train.x, splits.train.y
    units = [np.asarray(u[member], np.float32) for u in masks.units]
    importance = np.ones(head.classes, np.float32)
    if protocol.class_weights == "balanced":
        importance[np.unique(y)] = compute_class_weight("balanced", classes=np.unique(y), y=y)
    smoothing, momentum = np.float32(protocol.label_smoothing), np.float32(protocol.momentum)
    given = (_layer_masks(masks, member), units, importance, smoothing, momentum)
    params = init_params(head, seed) if params is None else params
    velocity = jax.tree.map(np.zeros_like, params)
    best, best_loss, wait, losses, steps = params, np.inf, 0, [], 0
    for epoch in range(protocol.epochs):
        order, total = epoch_order(len(y), epoch, seed), 0.0
        for start in range(0, len(y), protocol.batch_size):
            rows = order[start : start + protocol.batch_size]
            rate = np.float32(protocol.learning_rate / (1 + protocol.decay * steps))
            params, velocity, value = _step(
                params, velocity, rate, x[rows], y[rows], *given, nesterov=protocol.nesterov
            )
            total, steps = total + float(value) * len(rows), steps + 1
        losses.append(total / len(y))
        wait += 1
        if epoch == 0:
            best = params
        if losses[-1] + protocol.min_delta < best_loss:
            best_loss, best, wait = losses[-1], params, 0
        if protocol.patience and wait >= protocol.patience and epoch > 0:
            break
    final = best if protocol.restore_best else params
    return PlainFit(jax.tree.map(np.asarray, final), losses, best_loss, len(losses))
