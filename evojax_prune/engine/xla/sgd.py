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

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.forward import jax_forward_after, jax_row_losses
from evojax_prune.core.protocol import Protocol

Stack = list[dict[str, jax.Array]]
"""Layers as ``{"kernel": [in, out], "bias": [out]}``; the bias only where the layer has one."""

RENEWAL_RANGE = 1e12
"""Largest factor by which the scaled velocity may outgrow the velocity."""


Array = Any
"""An array of NumPy or JAX; in a description of axes, the axis that is mapped, or None."""


class Rates(NamedTuple):
    """The numbers of a protocol that a compiled program takes as scalar arguments."""

    learning_rate: Array
    momentum: Array
    decay: Array
    smoothing: Array

    @classmethod
    def of(cls, protocol: Protocol) -> Rates:
        """The protocol's rates."""
        rates = (protocol.learning_rate, protocol.momentum, protocol.decay)
        return cls(*map(np.float32, (*rates, protocol.label_smoothing)))


class FirstLayer(NamedTuple):
    """What the first layer sees, the same in all epochs.

    Attributes:
        rows: dual: Gram matrix ``K [N, N]``; primal: features ``[N, F]``.
        offset: dual: initial preactivations ``Z0 [N, H]``; primal: None.
        y: labels ``int32 [N]``.
        columns: primal: the active features ``int32 [F_active]``, padded with F; None for all.
        importance: what the loss of each row is multiplied by ``float32 [N]``; None for 1.
    """

    rows: Array
    offset: Array
    y: Array
    columns: Array = None
    importance: Array = None


class SgdState(NamedTuple):
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


def as_weights(layers):
    """Layers, pairs of a kernel and a bias, as the programs take them; no first bias is zeros."""
    (first, bias), *later = layers
    stack = [{"kernel": k} if b is None else {"kernel": k, "bias": b} for k, b in later]
    return Weights(first, jnp.zeros(first.shape[1]) if bias is None else bias, stack)


def update_rule(momentum: jax.Array, nesterov: bool) -> Update:
    """Coefficients of Keras's SGD for a momentum."""
    a = momentum if nesterov else jnp.ones_like(momentum)
    k = -a * momentum / (1.0 - momentum)
    return Update(momentum, a, float(nesterov), k, jnp.where(momentum > 0.0, momentum, 1.0))


def renewal_steps(momentum: float) -> int:
    """Steps after which the scaled velocity must be scaled back."""
    return max(1, int(-math.log(RENEWAL_RANGE) / math.log(momentum))) if momentum > 0 else 2**30


def init_state(first: jax.Array, bias: jax.Array, later: Stack) -> SgdState:
    """State at rest; in dual form ``first`` is zeros ``[N, H]``, in primal form the kernel."""
    return SgdState(
        jnp.concatenate([first, jnp.zeros_like(first)], 1),
        jnp.concatenate([bias, jnp.zeros_like(bias)]),
        later,
        jax.tree.map(jnp.zeros_like, later),
        jnp.int32(0),
    )


def weights_of(state: SgdState, momentum: jax.Array, nesterov: bool) -> Weights:
    """Ordinary coordinates, ``w = L + k v``."""
    k = update_rule(momentum, nesterov).k
    limit, velocity = jnp.split(state.pair, 2, axis=1)
    bias, bias_velocity = jnp.split(state.bias, 2)
    return Weights(limit + k * velocity, bias + k * bias_velocity, state.later)


@dataclasses.dataclass(frozen=True)
class SgdProgram:
    """What is compiled in of momentum SGD; the numbers of a protocol are arguments.

    Attributes:
        dual: the first layer in dual form, else in primal form.
        biased: the first layer has a bias.
        nesterov: Nesterov momentum.
        smoothed: the training loss has smoothed labels.
        restore_best: keep the best epoch's weights rather than the last ones.
        block: steps per block T, at least 1.
        renewal: most steps between two renewals of the scaled velocity.
    """

    dual: bool
    biased: bool
    nesterov: bool
    smoothed: bool
    restore_best: bool
    block: int
    renewal: int

    @property
    def name(self) -> str:
        """For logs and reports."""
        return "dual" if self.dual else "primal"

    def begin(self, weights: Weights) -> SgdState:
        """State before the first step."""
        return init_state(*weights)

    def weights(self, state: SgdState, rates: Rates) -> Weights:
        """Ordinary coordinates, ``w = L + k v``."""
        return weights_of(state, rates.momentum, self.nesterov)

    def epoch(self, data, kept, state, index, weight, rates):
        """Trains one member for one epoch.

        Args:
            data: a :class:`FirstLayer`.
            kept: for each layer the mask of its connections ``[in, out]`` or None; the first
                layer's is None.
            state: a :class:`SgdState`.
            index: rows of every step ``int32 [S, B]``.
            weight: 1 for a row, 0 for padding ``float32 [S, B]``.
            rates: :class:`Rates`.

        Returns:
            The state after the epoch, and the mean loss over its rows.
        """
        rule = update_rule(rates.momentum, self.nesterov)

        def block(carry, batch):
            return run_block(self, data, kept, rates, rule, carry, batch)

        def segment(state, batch):
            """At most ``renewal`` steps: whole blocks, then what is left of one."""
            carry, total = scan_pieces(block, (state, jnp.float32(1)), batch, self.block)
            return renew(*carry), total

        length = max(self.block, self.renewal // self.block * self.block)
        state, total = scan_pieces(segment, state, (index, weight), length)
        return state, total / weight.sum()


def scan_pieces(body, carry, batches, length):
    """Scans over pieces of ``length`` steps, then over what is left; sums the losses."""
    steps, size = batches[0].shape
    whole, total = steps // length, jnp.float32(0)
    if whole:
        cut = [a[: whole * length].reshape(whole, length, size) for a in batches]
        carry, losses = jax.lax.scan(body, carry, tuple(cut))
        total = losses.sum()
    if whole * length < steps:
        carry, loss = body(carry, tuple(a[whole * length :] for a in batches))
        total = total + loss
    return carry, total


def run_block(program, data, kept, rates, rule, carry, batch):
    """One block of steps; the carry is the state, with V = v / scale, and that scale."""
    state, scale = carry
    index, weight = batch
    count, size = index.shape
    flat = index.reshape(-1)
    rows, labels = pick(data.rows[flat], data.columns), data.y[flat]
    gram = rows[:, flat] if program.dual else rows @ rows.T + float(program.biased)
    limit, drift = jnp.split(rows @ state.pair + state.bias[None], 2, axis=1)
    drift = scale * drift
    z = limit + rule.k * drift
    if data.offset is not None:
        z = data.offset[flat] + z
    later, velocity, pushes, total = state.later, state.velocity, [], jnp.float32(0)
    smoothing = rates.smoothing if program.smoothed else None
    importance = pick_rows(data.importance, flat)
    for t in range(count):
        rate = rates.learning_rate / (1.0 + rates.decay * (state.step + t).astype(z.dtype))
        here = slice(t * size, (t + 1) * size)
        loss = RowLoss(labels[here], weight[t], smoothing, pick_rows(importance, here))
        summed, g, later_g = gradients(z[:size], later, kept[1:], loss)
        later, velocity = advance(later, velocity, later_g, rate, rule)
        total, push = total + summed, -rate * g
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
    pair = state.pair.at[flat].add(both) if program.dual else state.pair + rows.T @ both
    bias = state.bias + both.sum(0) if program.biased and not program.dual else state.bias
    return (SgdState(pair, bias, later, velocity, state.step + count), scale), total


def renew(state: SgdState, scale: jax.Array) -> SgdState:
    """The state with the velocity at its own scale."""
    width = state.bias.shape[0] // 2
    factor = jnp.concatenate([jnp.ones(width), jnp.full(width, scale)])
    return state._replace(pair=state.pair * factor[None], bias=state.bias * factor)


def advance(
    weights: Stack, velocity: Stack, gradient: Stack, rate: jax.Array, rule: Update
) -> tuple[Stack, Stack]:
    """One Keras SGD step of ordinary coordinates."""
    velocity = jax.tree.map(lambda v, g: rule.m * v - rate * g, velocity, gradient)
    weights = jax.tree.map(
        lambda w, v, g: w + rule.a * v - rule.c * rate * g, weights, velocity, gradient
    )
    return weights, velocity


def logits_after(z: jax.Array, later: Stack) -> jax.Array:
    """Logits ``[b, C]`` from first-layer preactivations ``z [b, H]``."""
    return jax_forward_after(z, [(layer["kernel"], layer.get("bias")) for layer in later])


def pick_rows(numbers: jax.Array | None, rows: Any) -> jax.Array | None:
    """Some of the numbers, if there are any."""
    return None if numbers is None else numbers[rows]


class RowLoss(NamedTuple):
    """The training loss of a minibatch.

    Attributes:
        y: labels ``int32 [B]``.
        weight: 1 for a row, 0 for padding ``float32 [B]``.
        smoothing: see :func:`evojax_prune.core.forward.jax_row_losses`.
        importance: what each row's loss is multiplied by ``float32 [B]``; None for 1.
    """

    y: jax.Array
    weight: jax.Array
    smoothing: jax.Array | None
    importance: jax.Array | None

    def total(self, logits: jax.Array) -> jax.Array:
        """Sum of the rows' losses, for logits ``[B, C]``."""
        losses = jax_row_losses(logits, self.y, self.smoothing)
        if self.importance is not None:
            losses = losses * self.importance
        return jnp.sum(losses * self.weight)


def gradients(
    z: jax.Array,
    later: Stack,
    kept: list[jax.Array | None],
    loss: RowLoss,
) -> tuple[jax.Array, jax.Array, Stack]:
    """Summed loss of a minibatch, and gradients of its mean loss.

    Args:
        z: first-layer preactivations ``[B, H]``.
        later: the other layers.
        kept: for each of them the mask of its connections ``[in, out]`` or None; a pruned weight
            is zero already and gets no gradient.
        loss: of the minibatch's rows.

    Returns:
        The sum of the rows' losses, the gradient with respect to ``z``, and those of the layers.
    """

    def mean_loss(z: jax.Array, later: Stack) -> tuple[jax.Array, jax.Array]:
        total = loss.total(logits_after(z, later))
        return total / jnp.sum(loss.weight), total

    (_, total), (g, later_g) = jax.value_and_grad(mean_loss, (0, 1), has_aux=True)(z, later)
    for layer, mask in zip(later_g, kept, strict=True):
        if mask is not None:
            layer["kernel"] = jnp.where(mask, layer["kernel"], 0.0)
    return total, g, later_g
