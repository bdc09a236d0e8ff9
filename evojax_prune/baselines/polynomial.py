"""Polynomial-decay pruning: weights are pruned by magnitude while the head trains.

Zhu and Gupta 2017 (arXiv 1710.01878): at update i of n, the smallest weights of each pruned layer
are set to zero until a fraction ``s_f + (s_i - s_f) (1 - i/n)^3`` of them is; a pruned weight gets
no gradient any more. Training has the initial weights, minibatches and optimizer that
:func:`evojax_prune.engine.fit_population` has.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.masks import Masks, dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.ranking import keep_best
from evojax_prune.core.splits import Split
from evojax_prune.engine.batches import epoch_order, steps
from evojax_prune.engine.lanes import limits_of
from evojax_prune.engine.members import as_weights
from evojax_prune.engine.optax_steps import (
    OptaxState,
    init_optax_state,
    make_optax_epoch,
    make_optimizer,
)
from evojax_prune.engine.sgd import FirstLayer, Weights
from evojax_prune.engine.stopping import Progress, after_epoch, start

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
    ramp = (ramp or Ramp()).within(protocol.epochs)
    initial = init_params(head, seed)
    named = [initial[f"layer_{i}"] for i in range(len(initial))]
    layers = [(layer["kernel"], layer.get("bias")) for layer in named]
    state = init_optax_state(as_weights(layers), protocol)
    data = FirstLayer(jnp.asarray(train.x), None, jnp.asarray(train.y))
    run = _program(protocol, head.bias[0])
    kept: Kept = [None] * len(layers)
    progress = start(state.weights)
    for epoch in range(protocol.epochs):
        if epoch <= ramp.epochs and epoch % ramp.every == 0:
            sparsity = {i: ramp.sparsity(epoch // ramp.every, 1 - k) for i, k in keep.items()}
            kept = _largest(state.weights, sparsity)
            state = _prune(state, kept, protocol)
            progress = start(state.weights)
            left = dataclasses.replace(protocol, epochs=protocol.epochs - epoch)
        index, weight = steps(epoch_order(len(train), epoch, seed)[None], protocol.batch_size)
        state, progress = run(data, kept, state, progress, index[0], weight, limits_of(left))
        if epoch >= ramp.epochs and bool(progress.done):
            break
    loss = float(progress.best)
    return Gradual(
        _params(progress.kept, head),
        _masks(kept, head),
        loss if np.isfinite(loss) else float("nan"),
        epoch + 1,
    )


@functools.cache
def _program(protocol: Protocol, biased: bool) -> Callable[..., tuple[OptaxState, Progress]]:
    """One epoch and its bookkeeping, compiled."""
    epoch = make_optax_epoch(protocol, biased)

    @jax.jit
    def run(data, kept, state, progress, index, weight, limits):  # type: ignore[no-untyped-def]
        state, loss = epoch(data, kept, state, index, weight, None)
        return state, after_epoch(progress, loss, state.weights, limits, protocol.restore_best)

    return run


def _largest(weights: Weights, sparsity: dict[int, float]) -> Kept:
    """Masks of the largest weights of each pruned layer; at least one is left."""
    kernels = [weights.first, *(layer["kernel"] for layer in weights.later)]
    kept: Kept = [None] * len(kernels)
    for i, pruned in sparsity.items():
        size = np.nan_to_num(np.abs(np.asarray(kernels[i])))  # training may have diverged
        least = 1 / size.size
        kept[i] = keep_best(size.ravel(), max(1 - pruned, least)).reshape(size.shape)
    return kept


def _prune(state: OptaxState, kept: Kept, protocol: Protocol) -> OptaxState:
    """Zeroes pruned weights and whatever the optimizer remembers of them."""
    factors = _factors(kept, state.weights)
    memory = optax.tree_utils.tree_map_params(
        make_optimizer(protocol), jnp.multiply, state.optimizer, factors
    )
    return OptaxState(jax.tree.map(jnp.multiply, state.weights, factors), memory, state.step)


def _factors(kept: Kept, weights: Weights) -> Weights:
    """Zero for each pruned weight and one for all others."""
    ones = jax.tree.map(jnp.ones_like, weights)
    kernels = [ones.first, *(layer["kernel"] for layer in ones.later)]
    first, *later = (
        kernel if mask is None else kernel * mask.astype(np.float32)
        for kernel, mask in zip(kernels, kept, strict=True)
    )
    others = [{**layer, "kernel": k} for layer, k in zip(ones.later, later, strict=True)]
    return Weights(first, ones.bias, others)


def _params(weights: Weights, head: HeadSpec) -> Params:
    params: Params = {"layer_0": {"kernel": np.asarray(weights.first)}}
    if head.bias[0]:
        params["layer_0"]["bias"] = np.asarray(weights.bias)
    for i, layer in enumerate(weights.later, start=1):
        params[f"layer_{i}"] = {name: np.asarray(a) for name, a in layer.items()}
    return params


def _masks(kept: Sequence[np.ndarray | None], head: HeadSpec) -> Masks:
    connections = tuple(None if mask is None else mask[None] for mask in kept)
    return dataclasses.replace(dense_masks(head), connections=connections)
