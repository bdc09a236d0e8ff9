"""Training of one compacted member by any optax optimizer, by automatic differentiation.

The path for whatever the dual form cannot do exactly: optimizers that are not linear in the
gradient, noise on the inputs, and connections switched in the first layer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.later import Stack, logits_after, row_losses
from evojax_prune.engine.sgd import FirstLayer, Weights, pick

NOISE_SEED = 0x6E6F6973


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


def _schedule(protocol: Protocol) -> Callable[[jax.Array], jax.Array]:
    return lambda step: protocol.learning_rate / (1.0 + protocol.decay * jnp.float32(step))


def _accepts_rate_alone(factory: Any) -> bool:
    if not inspect.isfunction(factory):
        return False
    parameters = list(inspect.signature(factory).parameters.values())
    free = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [p for p in parameters[1:] if p.default is p.empty and p.kind not in free]
    return bool(parameters) and parameters[0].name == "learning_rate" and not needed


def optimizer_names() -> list[str]:
    """Names that ``Protocol.optimizer`` takes: ``sgd`` and optax's optimizers."""
    plain = {"lbfgs", "polyak_sgd"}  # those need the loss itself
    names = {n for n in dir(optax) if _accepts_rate_alone(getattr(optax, n))}
    return sorted(names - plain)


def make_optimizer(protocol: Protocol) -> optax.GradientTransformation:
    """The protocol's optimizer.

    Raises:
        UserError: optax has no optimizer of that name.
    """
    if protocol.optimizer == "sgd":
        return keras_sgd(protocol)
    names = optimizer_names()
    if protocol.optimizer not in names:
        raise UserError(
            f"unknown optimizer {protocol.optimizer!r}; expected one of {', '.join(names)}"
        )
    return getattr(optax, protocol.optimizer)(learning_rate=_schedule(protocol))


def init_optax_state(weights: Weights, protocol: Protocol) -> OptaxState:
    """State before the first step."""
    return OptaxState(weights, make_optimizer(protocol).init(weights), jnp.int32(0))


def make_optax_epoch(
    protocol: Protocol, biased: bool
) -> Callable[..., tuple[OptaxState, jax.Array]]:
    """Builds ``epoch`` with the signature that :func:`evojax_prune.engine.sgd.make_epoch` gives.

    ``kept`` has here one entry for every layer, the first included.
    """
    optimizer = make_optimizer(protocol)

    def mean_loss(weights, rows, y, weight):
        z = rows @ weights.first
        if biased:
            z = z + weights.bias[None]
        total = jnp.sum(row_losses(logits_after(z, weights.later), y) * weight)
        return total / jnp.sum(weight), total

    def noisy(data: FirstLayer, index: jax.Array, step: jax.Array) -> jax.Array:
        rows = pick(data.rows[index], data.columns)
        if protocol.input_noise <= 0.0:
            return rows
        key = jax.random.fold_in(jax.random.key(NOISE_SEED), step)
        noise = jax.random.normal(key, (len(index), data.rows.shape[1]))
        return rows + protocol.input_noise * pick(noise, data.columns)

    def epoch(data, kept, state, index, weight, rates):
        def step(state, batch):
            index, weight = batch
            rows = noisy(data, index, state.step)
            (_, total), gradient = jax.value_and_grad(mean_loss, has_aux=True)(
                state.weights, rows, data.y[index], weight
            )
            gradient = _prune(gradient, kept)
            # some of optax's optimizers rely on JAX's implicit promotions
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                move, optimizer_state = optimizer.update(gradient, state.optimizer, state.weights)
            weights = optax.apply_updates(state.weights, move)
            return OptaxState(weights, optimizer_state, state.step + 1), total

        state, totals = jax.lax.scan(step, state, (index, weight))
        return state, totals.sum() / weight.sum()

    return epoch


def _prune(gradient: Weights, kept: list[jax.Array | None]) -> Weights:
    first, *others = kept
    later: Stack = []
    for layer, mask in zip(gradient.later, others, strict=True):
        kernel = layer["kernel"] if mask is None else jnp.where(mask, layer["kernel"], 0.0)
        later.append({**layer, "kernel": kernel})
    if first is not None:
        gradient = gradient._replace(first=jnp.where(first, gradient.first, 0.0))
    return gradient._replace(later=later)
