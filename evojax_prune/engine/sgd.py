r"""Momentum SGD of one member, the first layer in dual or in primal form, in exact blocks.

Keras's update is ``v <- m v - lr g`` and ``w <- w + a v - c lr g`` with ``(a, c) = (m, 1)`` for
Nesterov momentum and ``(1, 0)`` without. Three facts make the first layer cheap:

*Dual form.* The features never change, so every gradient of the first kernel is ``X^T`` times
something: ``W = W0 + X^T A`` with ``A [N, H]``, and a minibatch's preactivations are
``Z0[batch] + K[batch] A`` with ``K = X X^T`` (``+ 1`` absorbs a bias). The gradient of A is the
gradient of the preactivations on the batch's rows and zero elsewhere.

*Limit coordinates.* ``L = w - k v`` with ``k = -a m / (1 - m)`` is where ``w`` would come to rest
if no further gradient came: a step changes it by ``-lr (a - k + c) g`` alone, under any schedule,
for the velocity carries the rate. With ``V = v / m^t`` the velocity too changes by the new
gradient alone, ``-lr g / m^t``. So in dual form a step writes the batch's rows and no others, and
in primal form several steps are written as one product.

*Blocks.* The preactivations of the next T minibatches under the present weights are one product;
inside the block each is corrected for the gradients before it through the block's own small Gram
matrix. Step by step this is the same SGD, to rounding.

``V`` grows as ``m^-t`` and is scaled back before float32 overflows (``RENEWAL_RANGE``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from evojax_prune.engine.later import Stack, gradients

RENEWAL_RANGE = 1e12
"""Largest factor by which the scaled velocity may outgrow the velocity."""


Array = Any
"""An array of NumPy or JAX; in a description of axes, the axis that is mapped, or None."""


class Rates(NamedTuple):
    """The numbers of a protocol that a compiled program takes as scalar arguments."""

    learning_rate: Array
    momentum: Array
    decay: Array


class FirstLayer(NamedTuple):
    """What the first layer sees, the same in all epochs.

    Attributes:
        rows: dual: Gram matrix ``K [N, N]``; primal: features ``[N, F]``.
        offset: dual: initial preactivations ``Z0 [N, H]``; primal: None.
        y: labels ``int32 [N]``.
        columns: primal: the active features ``int32 [F_active]``, padded with F; None for all.
    """

    rows: Array
    offset: Array
    y: Array
    columns: Array = None


class State(NamedTuple):
    """Training state of one member between epochs.

    Attributes:
        pair: first layer ``[L | V]``, ``[N, 2H]`` (dual) or ``[F, 2H]`` (primal); ``V = v`` here.
        bias: the same for its bias ``[2H]``; unused without one, and in dual form.
        later: the other layers.
        velocity: their velocities.
        step: steps taken, ``int32``.
    """

    pair: jax.Array
    bias: jax.Array
    later: Stack
    velocity: Stack
    step: jax.Array


class Weights(NamedTuple):
    """What a member has learned: A or the first kernel, the first bias, the other layers."""

    first: Array
    bias: Array
    later: Any


class Update(NamedTuple):
    """Coefficients of the update rule; see the module's docstring."""

    m: jax.Array
    a: jax.Array
    c: float
    k: jax.Array
    fade: jax.Array
    """m, or 1 where m is 0: then the velocity weighs nothing and needs no scaling."""


def pick(rows: jax.Array, columns: jax.Array | None) -> jax.Array:
    """The active columns of ``rows [n, F]``, zeros for padding; all of them if None."""
    if columns is None:
        return rows
    return jnp.take(rows, columns, axis=1, mode="fill", fill_value=0.0)


def update_rule(momentum: jax.Array, nesterov: bool) -> Update:
    """Coefficients of Keras's SGD for a momentum."""
    a = momentum if nesterov else jnp.ones_like(momentum)
    k = -a * momentum / (1.0 - momentum)
    return Update(momentum, a, float(nesterov), k, jnp.where(momentum > 0.0, momentum, 1.0))


def renewal_steps(momentum: float) -> int:
    """Steps after which the scaled velocity must be scaled back."""
    return max(1, int(-math.log(RENEWAL_RANGE) / math.log(momentum))) if momentum > 0 else 2**30


def init_state(first: jax.Array, bias: jax.Array, later: Stack) -> State:
    """State at rest; in dual form ``first`` is zeros ``[N, H]``, in primal form the kernel."""
    return State(
        jnp.concatenate([first, jnp.zeros_like(first)], 1),
        jnp.concatenate([bias, jnp.zeros_like(bias)]),
        later,
        jax.tree.map(jnp.zeros_like, later),
        jnp.int32(0),
    )


def weights_of(state: State, momentum: jax.Array, nesterov: bool) -> Weights:
    """Ordinary coordinates, ``w = L + k v``."""
    k = update_rule(momentum, nesterov).k
    limit, velocity = jnp.split(state.pair, 2, axis=1)
    bias, bias_velocity = jnp.split(state.bias, 2)
    return Weights(limit + k * velocity, bias + k * bias_velocity, state.later)


def make_epoch(
    *, dual: bool, biased: bool, nesterov: bool, block: int, renewal: int
) -> Callable[..., tuple[State, jax.Array]]:
    """Builds the function that trains one member for one epoch.

    Args:
        dual: the first layer in dual form, else in primal form.
        biased: the first layer has a bias.
        nesterov: Nesterov momentum.
        block: steps a block T, at least 1.
        renewal: most steps between two renewals of the scaled velocity.

    Returns:
        ``epoch(data, kept, state, index [S, B], weight [S, B], rates)``, giving the state after
        the epoch and the mean loss over its rows.
    """

    def run_block(data, kept, rates, rule, carry, batch):
        state, scale = carry  # the pair's V is v / scale here
        index, weight = batch
        count, size = index.shape
        flat = index.reshape(-1)
        rows, labels = pick(data.rows[flat], data.columns), data.y[flat]
        gram = rows[:, flat] if dual else rows @ rows.T + float(biased)
        limit, drift = jnp.split(rows @ state.pair + state.bias[None], 2, axis=1)
        drift = scale * drift
        z = limit + rule.k * drift
        if data.offset is not None:
            z = data.offset[flat] + z
        later, velocity, pushes, total = state.later, state.velocity, [], jnp.float32(0)
        for t in range(count):
            rate = rates.learning_rate / (1.0 + rates.decay * (state.step + t).astype(z.dtype))
            here = slice(t * size, (t + 1) * size)
            loss, g, later_g = gradients(z[:size], later, kept, labels[here], weight[t])
            later, velocity = advance(later, velocity, later_g, rate, rule)
            total, push = total + loss, -rate * g
            pushes.append(push)
            if t + 1 < count:
                ahead = gram[(t + 1) * size :, here] @ push
                drift = rule.m * drift[size:] + ahead
                z = z[size:] + rule.a * drift + rule.c * ahead
        scale = scale * rule.fade**count
        pushed = jnp.stack(pushes)
        age = jnp.arange(count - 1, -1, -1, dtype=z.dtype)
        aged = pushed * (rule.fade**age / scale)[:, None, None]
        both = jnp.concatenate([pushed * (rule.a - rule.k + rule.c), aged], 2)
        both = both.reshape(count * size, -1)
        pair = state.pair.at[flat].add(both) if dual else state.pair + rows.T @ both
        bias = state.bias + both.sum(0) if biased and not dual else state.bias
        return (State(pair, bias, later, velocity, state.step + count), scale), total

    def renew(carry):
        state, scale = carry
        width = state.bias.shape[0] // 2
        factor = jnp.concatenate([jnp.ones(width), jnp.full(width, scale)])
        return state._replace(pair=state.pair * factor[None], bias=state.bias * factor)

    def run_steps(step, state, index, weight):
        """At most ``renewal`` steps: whole blocks, then what is left of one."""
        carry, total = (state, jnp.float32(1)), jnp.float32(0)
        whole, size = len(index) // block, index.shape[1]
        if whole:
            cut = [a[: whole * block].reshape(whole, block, size) for a in (index, weight)]
            carry, losses = jax.lax.scan(step, carry, tuple(cut))
            total = losses.sum()
        if whole * block < len(index):
            carry, loss = step(carry, (index[whole * block :], weight[whole * block :]))
            total = total + loss
        return renew(carry), total

    def epoch(data, kept, state, index, weight, rates):
        rule = update_rule(rates.momentum, nesterov)

        def step(carry, batch):
            return run_block(data, kept, rates, rule, carry, batch)

        def segment(state, batch):
            return run_steps(step, state, *batch)

        length = max(block, renewal // block * block)
        whole, size = len(index) // length, index.shape[1]
        total = jnp.float32(0)
        if whole:
            cut = [a[: whole * length].reshape(whole, length, size) for a in (index, weight)]
            state, losses = jax.lax.scan(segment, state, tuple(cut))
            total = losses.sum()
        if whole * length < len(index):
            state, loss = segment(state, (index[whole * length :], weight[whole * length :]))
            total = total + loss
        return state, total / weight.sum()

    return epoch


def advance(
    weights: Stack, velocity: Stack, gradient: Stack, rate: jax.Array, rule: Update
) -> tuple[Stack, Stack]:
    """One Keras SGD step of ordinary coordinates."""
    velocity = jax.tree.map(lambda v, g: rule.m * v - rate * g, velocity, gradient)
    weights = jax.tree.map(
        lambda w, v, g: w + rule.a * v - rule.c * rate * g, weights, velocity, gradient
    )
    return weights, velocity
