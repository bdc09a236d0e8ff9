"""The compiled programs: training of folds x members side by side, and their evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from evojax_prune.engine import sgd
from evojax_prune.engine.form import Form
from evojax_prune.engine.later import logits_after, row_losses
from evojax_prune.engine.optax_steps import init_optax_state, make_optax_epoch
from evojax_prune.engine.stopping import Limits, Progress, after_epoch, start


class Scores(NamedTuple):
    """Rows classified rightly (``int32``) and summed cross-entropy in nats."""

    right: jax.Array
    cross_entropy: jax.Array


class Axes(NamedTuple):
    """For each part of the data 0 where members of a fold have their own, None where they share."""

    rows: int | None
    offset: int | None
    columns: int | None


def _epoch_and_weights(form: Form) -> tuple[Callable[..., Any], Callable[..., sgd.Weights]]:
    if form.kind == "optax":
        return make_optax_epoch(form.protocol, form.biased), lambda state, rates: state.weights
    nesterov = form.protocol.nesterov
    epoch = sgd.make_epoch(
        dual=form.kind == "dual",
        biased=form.biased,
        nesterov=nesterov,
        block=form.block,
        renewal=sgd.renewal_steps(form.protocol.momentum),
    )
    return epoch, lambda state, rates: sgd.weights_of(state, rates.momentum, nesterov)


@functools.cache
def begin(form: Form) -> Callable[[sgd.Weights], tuple[Any, Progress]]:
    """Program for the states of folds x members before their first epoch.

    In dual form ``weights.first`` is zeros ``[K, P, N, H]``, A at rest.
    """

    def member(weights: sgd.Weights) -> tuple[Any, Progress]:
        if form.kind == "optax":
            return init_optax_state(weights, form.protocol), start(weights)
        return sgd.init_state(*weights), start(weights)

    return jax.jit(jax.vmap(jax.vmap(member)))


@functools.cache
def train(form: Form, axes: Axes) -> Callable[..., tuple[Any, Progress]]:
    """Program that trains folds x members side by side.

    Args:
        form: what the program is specialised to.
        axes: which data members have of their own.

    Returns:
        ``run(data, kept, carry, index [K, e, S, B], weight [K, S, B], rates, limits)``. In
        ``data`` rows, offset and labels are stacked over folds and then, by ``axes``, members;
        columns and ``kept`` over members alone; ``carry`` over folds and members. It runs until
        every member is done or the order ends; a member that is done keeps its result.
    """
    epoch, weights_of = _epoch_and_weights(form)

    def advance(data, kept, carry, index, weight, rates, limits):
        state, progress = carry
        state, loss = epoch(data, kept, state, index, weight, rates)
        weights = weights_of(state, rates)
        return state, after_epoch(progress, loss, weights, limits, form.protocol.restore_best)

    data_axes = sgd.FirstLayer(axes.rows, axes.offset, None, axes.columns)
    members = jax.vmap(advance, (data_axes, 0, 0, None, None, None, None))
    folds = jax.vmap(members, (sgd.FirstLayer(0, 0, 0, None), None, 0, 0, 0, None, None))

    @functools.partial(jax.jit, donate_argnames="carry")
    def run(data, kept, carry, index, weight, rates, limits: Limits):
        def live(loop):
            e, (_, progress) = loop
            return (e < index.shape[1]) & ~progress.done.all()

        def body(loop):
            e, carry = loop
            return e + 1, folds(data, kept, carry, index[:, e], weight, rates, limits)

        return jax.lax.while_loop(live, body, (jnp.int32(0), carry))[1]

    return run


@functools.cache
def dual_data(own: bool, biased: bool) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Program for the Gram matrices and initial preactivations of a dual population.

    Args:
        own: every member has its own active features.
        biased: the first layer has a bias.

    Returns:
        ``make(x [K, N, F], columns [P, F_active] | None, kernel [K, P, F_active, H],
        bias [K, P, H])`` giving rows ``[K, (P,) N, N]`` and offset ``[K, P, N, H]``.
    """

    def member(x, columns, kernel, bias):
        x = sgd.pick(x, columns)
        return x @ x.T + float(biased), x @ kernel + bias[None]

    axis = 0 if own else None
    members = jax.vmap(member, (None, axis, 0, 0), (axis, 0))
    return jax.jit(jax.vmap(members, (0, None, 0, 0)))


@functools.cache
def finish(dual: bool, biased: bool, own: bool) -> Callable[..., tuple[sgd.Weights, list[Scores]]]:
    """Program for a trained population's ordinary weights and its scores.

    Returns:
        ``run(learned, kernel, bias, columns, x, splits)``: what was learned, and the initial first
        kernel and bias, stacked over folds and members; columns over members; the training
        features ``[K, N, F]`` and ``splits``, pairs of ``x [K, chunks, rows, F]`` and
        ``y [K, chunks, rows]``, over folds.
    """

    def member(learned, kernel, bias, columns, x, splits):
        if dual:
            a = learned.first
            bias = bias + a.sum(0) if biased else bias
            learned = sgd.Weights(kernel + sgd.pick(x, columns).T @ a, bias, learned.later)
        return learned, [_scores(learned, columns, *split) for split in splits]

    members = jax.vmap(member, (0, 0, 0, 0 if own else None, None, None))
    return jax.jit(jax.vmap(members, (0, 0, 0, None, 0, 0)))


def _scores(weights: sgd.Weights, columns: Any, x: jax.Array, y: jax.Array) -> Scores:
    """Scores over chunks of rows; a label of -1 is padding."""

    def chunk(total, part):
        x, y = part
        z = sgd.pick(x, columns) @ weights.first + weights.bias[None]
        logits = logits_after(z, weights.later)
        here = y >= 0
        right = (jnp.argmax(logits, 1).astype(y.dtype) == y) & here
        losses = jnp.where(here, row_losses(logits, jnp.maximum(y, 0)), 0.0)
        return Scores(
            total.right + right.sum(dtype=jnp.int32), total.cross_entropy + losses.sum()
        ), None

    return jax.lax.scan(chunk, Scores(jnp.int32(0), jnp.float32(0)), (x, y))[0]
