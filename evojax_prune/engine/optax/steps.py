"""One compacted member trained by any optax optimizer, by automatic differentiation.

The path for whatever the dual form cannot do exactly: optimizers that are not linear in the
gradient, noise on the inputs, and connections switched in the first layer.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.xla.sgd import (
    FirstLayer,
    Rates,
    RowLoss,
    Weights,
    logits_after,
    pick,
    pick_rows,
)

NOISE_SEED = 0x6E6F6973

Rate = Callable[[jax.Array], jax.Array]
"""Learning rate of a step, which is a traced ``int32``."""

OPTIMIZERS: dict[str, Callable[[Rate], optax.GradientTransformation]] = {}
"""Optimizers of one's own by name: each makes a transformation out of the protocol's learning rate.

``Protocol.optimizer`` then takes the name, which goes before one of optax's. Programs are compiled
once per name, so register another function under another name.
"""


OTHERS = {
    *("lbfgs", "polyak_sgd"),  # need the loss itself
    *("optimistic_adam", "rprop", "sm3"),  # their rate cannot change from step to step
    "noisy_sgd",  # needs a random key
}
"""Optimizers of optax that no protocol can have."""


class OptaxState(NamedTuple):
    """Parameters, the optimizer's state, and steps taken (``int32``)."""

    weights: Weights
    optimizer: Any
    step: jax.Array


class _KerasState(NamedTuple):
    velocity: Any
    step: jax.Array


def keras_sgd(protocol: Protocol) -> optax.GradientTransformation:
    """Keras's SGD; unlike ``optax.sgd`` the velocity carries the learning rate."""

    def init(params: Any) -> _KerasState:
        return _KerasState(jax.tree.map(jnp.zeros_like, params), jnp.int32(0))

    def update(gradient: Any, state: _KerasState, params: Any = None) -> tuple[Any, _KerasState]:
        rate = _schedule(protocol)(state.step)
        push = jax.tree.map(lambda g: -rate * g, gradient)
        velocity = jax.tree.map(lambda v, d: protocol.momentum * v + d, state.velocity, push)
        move = velocity
        if protocol.nesterov:
            move = jax.tree.map(lambda v, d: protocol.momentum * v + d, velocity, push)
        return move, _KerasState(velocity, state.step + 1)

    return optax.GradientTransformation(init, update)


def _schedule(protocol: Protocol) -> Rate:
    return lambda step: protocol.learning_rate / (1.0 + protocol.decay * jnp.float32(step))


def _accepts_rate_alone(factory: Any) -> bool:
    if not inspect.isfunction(factory):
        return False
    parameters = list(inspect.signature(factory).parameters.values())
    free = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [p for p in parameters[1:] if p.default is p.empty and p.kind not in free]
    return bool(parameters) and parameters[0].name == "learning_rate" and not needed


def optimizer_names() -> list[str]:
    """Names that ``Protocol.optimizer`` takes: ``sgd``, optax's optimizers and one's own."""
    return sorted(_of_optax() | OPTIMIZERS.keys())


@functools.cache
def _of_optax() -> frozenset[str]:
    names = {n for n in dir(optax) if _accepts_rate_alone(getattr(optax, n))}
    return frozenset(names - {n for n in names if n.startswith("scale_by_")} - OTHERS)


def make_optimizer(protocol: Protocol) -> optax.GradientTransformation:
    """The protocol's optimizer.

    Raises:
        UserError: there is no optimizer of that name, or one's own is not a transformation.
    """
    if protocol.optimizer == "sgd":
        return keras_sgd(protocol)
    if protocol.optimizer in OPTIMIZERS:
        made = OPTIMIZERS[protocol.optimizer](_schedule(protocol))
        if not isinstance(made, optax.GradientTransformation):
            raise UserError(
                f"optimizer {protocol.optimizer!r} gives {type(made).__name__}, expected an "
                "optax.GradientTransformation"
            )
        return made
    names = optimizer_names()
    if protocol.optimizer not in names:
        raise UserError(
            f"unknown optimizer {protocol.optimizer!r}; expected one of {', '.join(names)}"
        )
    return getattr(optax, protocol.optimizer)(learning_rate=_schedule(protocol))


@dataclasses.dataclass(frozen=True)
class OptaxProgram:
    """An optax optimizer's training as a compiled program has it.

    Attributes:
        protocol: how a head is trained, compiled in, but for label smoothing and class weights.
        biased: the first layer has a bias.
        smoothed: the training loss has smoothed labels.
    """

    protocol: Protocol
    biased: bool
    smoothed: bool
    name: str = ""
    dual: bool = False
    block: int = 1

    @classmethod
    def of(cls, protocol: Protocol, biased: bool) -> OptaxProgram:
        """The program of a protocol."""
        plain = dataclasses.replace(protocol, label_smoothing=0.0, class_weights="none")
        return cls(plain, biased, protocol.label_smoothing > 0.0)

    @property
    def restore_best(self) -> bool:
        """Keep the best epoch's weights rather than the last ones."""
        return self.protocol.restore_best

    def begin(self, weights: Weights) -> OptaxState:
        """State before the first step."""
        return OptaxState(weights, make_optimizer(self.protocol).init(weights), jnp.int32(0))

    def weights(self, state: OptaxState, rates: Rates) -> Weights:
        """What has been learned."""
        return state.weights

    def epoch(self, data, kept, state, index, weight, rates):
        """As :meth:`evojax_prune.engine.xla.sgd.SgdProgram.epoch`; any layer may have a mask."""
        optimizer = make_optimizer(self.protocol)

        def step(state, batch):
            index, weight = batch
            rows = self._rows(data, index, state.step)
            smoothing = rates.smoothing if self.smoothed else None
            loss = RowLoss(data.y[index], weight, smoothing, pick_rows(data.importance, index))
            (_, total), gradient = jax.value_and_grad(self._mean_loss, has_aux=True)(
                state.weights, rows, loss
            )
            gradient = _prune(gradient, kept)
            # some of optax's optimizers rely on JAX's implicit promotions
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                move, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
            weights = optax.apply_updates(state.weights, move)
            return OptaxState(weights, optimizer_state, state.step + 1), total

        state, totals = jax.lax.scan(step, state, (index, weight))
        return state, totals.sum() / weight.sum()

    def _mean_loss(self, weights, rows, loss):
        z = rows @ weights.first
        if self.biased:
            z = z + weights.bias[None]
        total = loss.total(logits_after(z, weights.later))
        return total / jnp.sum(loss.weight), total

    def _rows(self, data: FirstLayer, index: jax.Array, step: jax.Array) -> jax.Array:
        """A minibatch's active features, with noise where the protocol asks for it."""
        rows = pick(data.rows[index], data.columns)
        if self.protocol.input_noise <= 0.0:
            return rows
        key = jax.random.fold_in(jax.random.key(NOISE_SEED), step)
        noise = jax.random.normal(key, (len(index), data.rows.shape[1]))
        return rows + self.protocol.input_noise * pick(noise, data.columns)


def _prune(gradient: Weights, kept: list[jax.Array | None]) -> Weights:
    """No gradient for pruned weights."""
    first, *others = kept
    later = []
    for layer, mask in zip(gradient.later, others, strict=True):
        kernel = layer["kernel"] if mask is None else jnp.where(mask, layer["kernel"], 0.0)
        later.append({**layer, "kernel": kernel})
    if first is not None:
        gradient = gradient._replace(first=jnp.where(first, gradient.first, 0.0))
    return gradient._replace(later=later)
