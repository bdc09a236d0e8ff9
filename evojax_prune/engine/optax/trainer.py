"""One head trained epoch by epoch, for methods that prune weights while it trains."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from evojax_prune.core.forward import layers_of
from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import Split
from evojax_prune.engine.batches import epoch_order, steps
from evojax_prune.engine.fold import class_weights, convert_split
from evojax_prune.engine.optax.steps import OptaxProgram, OptaxState, make_optimizer
from evojax_prune.engine.xla.programs import full_float32
from evojax_prune.engine.xla.sgd import FirstLayer, Rates, Weights, as_weights
from evojax_prune.engine.xla.stopping import StoppingLimits, StoppingState, after_epoch, start

KernelMasks = Sequence[np.ndarray | None]
"""For each layer, which weights are not pruned ``bool [in, out]``; None for a dense layer."""


class HeadTrainer:
    """Trains one head; between epochs the caller may change which weights are pruned.

    The head has the initial weights, minibatches and optimizer that it would have in
    :func:`evojax_prune.engine.fit_population`.

    Example::

        trainer = HeadTrainer(train, head, protocol)
        while not trainer.done:
            trainer.run_epoch()
            if trainer.epochs == 10:
                trainer.prune([np.abs(kernel) > 0.01 for kernel in trainer.kernels])
        trained = trainer.best_params()
    """

    def __init__(self, train: Split, head: HeadSpec, protocol: Protocol, seed: int = 0) -> None:
        """A head before its first epoch.

        Args:
            train: features of any float type ``[N, F]`` and labels of any integer type ``[N]``.
            head: shape of the head.
            protocol: how it is trained.
            seed: decides initial weights and minibatch order.

        Raises:
            ValueError: features or labels do not fit the head.
            UserError: an unknown optimizer.
        """
        train, params = convert_split("train", train, head), init_params(head, seed)
        self._head, self._protocol, self._seed, self._rows = head, protocol, seed, len(train)
        self._program = OptaxProgram.of(protocol, head.bias[0])
        weights = class_weights(protocol, train.y, head.classes)
        importance = None if weights is None else jax.device_put(weights[train.y])
        x, y = jax.device_put(train.x), jax.device_put(train.y)
        self._data = FirstLayer(x, None, y, importance=importance)
        self._state = self._program.begin(as_weights(layers_of(params)))
        self._kept: list[np.ndarray | None] = [None] * len(params)
        self._epochs = self._since = 0
        self._progress = start(self._state.weights)

    @property
    def epochs(self) -> int:
        """Epochs run."""
        return self._epochs

    @property
    def kernels(self) -> list[np.ndarray]:
        """The present weights of each layer, ``float32 [in, out]``."""
        return [np.asarray(kernel) for kernel in _kernels(self._state.weights)]

    @property
    def done(self) -> bool:
        """Early stopping has ended the training, or the protocol's epochs are over."""
        return bool(self._progress.done)

    @property
    def best_loss(self) -> float:
        """Lowest mean training loss of an epoch since the last pruning, nats; NaN if none is."""
        loss = float(self._progress.best)
        return loss if np.isfinite(loss) else float("nan")

    def best_params(self) -> Params:
        """Parameters of that epoch, pruned weights zero (of the last without ``restore_best``)."""
        weights: Weights = self._progress.kept
        params: Params = {"layer_0": {"kernel": np.asarray(weights.first)}}
        if self._head.bias[0]:
            params["layer_0"]["bias"] = np.asarray(weights.bias)
        for i, layer in enumerate(weights.later, start=1):
            params[f"layer_{i}"] = {name: np.asarray(a) for name, a in layer.items()}
        return params

    def prune(self, masks: KernelMasks) -> None:
        """Sets pruned weights to zero, and whatever the optimizer remembers of them.

        They stay zero until other masks are set. Early stopping, and the choice of the best epoch,
        begin anew.

        Args:
            masks: for each layer the weights that are left, ``bool [in, out]``, or None for all.
        """
        self._kept = list(masks)
        factors = _factors(self._kept, self._state.weights)
        memory = optax.tree_utils.tree_map_params(
            make_optimizer(self._protocol), jnp.multiply, self._state.optimizer, factors
        )
        weights = jax.tree.map(jnp.multiply, self._state.weights, factors)
        self._state = OptaxState(weights, memory, self._state.step)
        self._progress, self._since = start(weights), self._epochs

    def run_epoch(self) -> None:
        """Trains for one epoch."""
        order = epoch_order(self._rows, self._epochs, self._seed)
        index, weight = steps(order[None], self._protocol.batch_size)
        left = dataclasses.replace(self._protocol, epochs=self._protocol.epochs - self._since)
        self._state, self._progress = _compiled(self._program)(
            self._data,
            self._kept,
            self._state,
            self._progress,
            index[0],
            weight,
            Rates.of(self._protocol),
            StoppingLimits.of(left),
        )
        self._epochs += 1


@functools.cache
def _compiled(program: OptaxProgram) -> Callable[..., tuple[OptaxState, StoppingState]]:
    """One epoch and its bookkeeping."""

    @jax.jit
    @full_float32
    def run(data, kept, state, progress, index, weight, rates, limits):
        state, loss = program.epoch(data, kept, state, index, weight, rates)
        return state, after_epoch(progress, loss, state.weights, limits, program.restore_best)

    return run


def _kernels(weights: Weights) -> list[jax.Array]:
    return [weights.first, *(layer["kernel"] for layer in weights.later)]


def _factors(kept: KernelMasks, weights: Weights) -> Weights:
    """Zero for each pruned weight and one for all others."""
    ones = jax.tree.map(jnp.ones_like, weights)
    first, *later = (
        kernel if mask is None else kernel * mask.astype(np.float32)
        for kernel, mask in zip(_kernels(ones), kept, strict=True)
    )
    others = [{**layer, "kernel": k} for layer, k in zip(ones.later, later, strict=True)]
    return Weights(first, ones.bias, others)
