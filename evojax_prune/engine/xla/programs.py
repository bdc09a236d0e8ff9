"""The compiled programs: folds x members are trained side by side, and scored."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.forward import jax_score_logits
from evojax_prune.engine.xla import sgd
from evojax_prune.engine.xla.stopping import StoppingLimits, StoppingState, after_epoch, start


class Program(Protocol):
    """What a compiled program is specialised to: how one member trains. Hashable.

    The one of momentum SGD is :class:`evojax_prune.engine.xla.sgd.SgdProgram`.
    """

    @property
    def name(self) -> str:
        """For logs and reports."""

    @property
    def dual(self) -> bool:
        """The first layer is learned in dual form."""

    @property
    def biased(self) -> bool:
        """The first layer has a bias."""

    @property
    def block(self) -> int:
        """Steps per block."""

    @property
    def restore_best(self) -> bool:
        """Keep the best epoch's weights rather than the last ones."""

    def __hash__(self) -> int: ...

    def begin(self, weights: sgd.Weights) -> Any:
        """State before the first step."""

    def epoch(self, data, kept, state, index, weight, rates):
        """Trains for one epoch: see :meth:`evojax_prune.engine.xla.sgd.SgdProgram.epoch`."""

    def weights(self, state: Any, rates: sgd.Rates) -> sgd.Weights:
        """What has been learned."""


class Scores(NamedTuple):
    """Rows classified rightly (``int32``) and summed cross-entropy in nats."""

    right: jax.Array
    cross_entropy: jax.Array


class Axes(NamedTuple):
    """For each part of the data 0 where members of a fold have their own, None where they share."""

    rows: int | None
    offset: int | None
    columns: int | None


def full_float32(traced: Callable[..., Any]) -> Callable[..., Any]:
    """Products in full float32, whatever the device does by default.

    GPUs would round their inputs to TF32 and TPUs to bfloat16, under whose resolution the updates
    of the weights fall.
    """

    @functools.wraps(traced)
    def exact(*args):
        with jax.default_matmul_precision("highest"):
            return traced(*args)

    return exact


@jax.jit
def initial(layers: Any, lanes: jax.Array, index: Any, kept: Any) -> sgd.Weights:
    """Initial weights of folds x members: the dense head's, compacted and padded with zeros.

    Taken on the device: a population's weights are thousands of times what they are taken from.

    Args:
        layers: kernels and biases of the dense head, stacked over folds.
        lanes: any ``[P]``: says how many members there are, where they differ in nothing.
        index: for the features and each hidden layer the active places ``int32 [P, width]`` of
            every member, padded with the full width; None for all.
        kept: for each layer the masks of its connections ``[P, in, out]``, or None.
    """

    def member(layers, lane, index, kept):
        found = []
        for (kernel, bias), rows, columns, mask in zip(
            layers, index, (*index[1:], None), kept, strict=True
        ):
            kernel = kernel if rows is None else sgd.pick(kernel.T, rows).T
            kernel = sgd.pick(kernel, columns)
            if bias is not None:
                bias = sgd.pick(bias[None], columns)[0]
            found.append((kernel if mask is None else jnp.where(mask, kernel, 0.0), bias))
        return sgd.as_weights(found)

    members = jax.vmap(member, (None, 0, 0, 0))
    return jax.vmap(members, (0, None, None, None))(layers, lanes, index, kept)


@functools.partial(jax.jit, static_argnames="axes")
def take(
    trees: tuple[Any, ...], places: np.ndarray, axes: tuple[int | None, ...]
) -> tuple[Any, ...]:
    """The members at ``places`` of each tree, along its axis; of one without an axis all of it."""

    def taken(tree: Any, axis: int | None) -> Any:
        return tree if axis is None else jax.tree.map(lambda a: jnp.take(a, places, axis), tree)

    return tuple(map(taken, trees, axes))


@functools.cache
def begin(program: Program) -> Callable[[sgd.Weights], tuple[Any, StoppingState]]:
    """Program for the states of folds x members before their first epoch.

    In dual form ``weights.first`` is zeros ``[K, P, N, H]``, A at rest.
    """

    def member(weights: sgd.Weights) -> tuple[Any, StoppingState]:
        return program.begin(weights), start(weights)

    return jax.jit(jax.vmap(jax.vmap(member)))


@functools.cache
def train(program: Program, axes: Axes) -> Callable[..., tuple[Any, StoppingState]]:
    """Program that trains folds x members side by side.

    Args:
        program: how one member trains.
        axes: which data members have of their own.

    Returns:
        ``run(data, kept, carry, index [K, e, S, B], weight [K, S, B], rates, limits)``. In
        ``data`` rows, offset, labels and importance are stacked over folds and then, by ``axes``,
        members;
        columns and ``kept`` over members alone; ``carry`` over folds and members. It runs until
        every member is done or the order ends; a member that is done keeps its result.
    """

    def advance(data, kept, carry, index, weight, rates, limits):
        state, progress = carry
        state, loss = program.epoch(data, kept, state, index, weight, rates)
        weights = program.weights(state, rates)
        return state, after_epoch(progress, loss, weights, limits, program.restore_best)

    data_axes = sgd.FirstLayer(axes.rows, axes.offset, None, axes.columns)
    members = jax.vmap(advance, (data_axes, 0, 0, None, None, None, None))
    folds = jax.vmap(members, (sgd.FirstLayer(0, 0, 0, None, 0), None, 0, 0, 0, None, None))

    @functools.partial(jax.jit, donate_argnames="carry")
    @full_float32
    def run(data, kept, carry, index, weight, rates, limits: StoppingLimits):
        def live(loop):
            e, (_, progress) = loop
            return (e < index.shape[1]) & ~progress.done.all()

        def body(loop):
            e, carry = loop
            return e + 1, folds(data, kept, carry, index[:, e], weight, rates, limits)

        return jax.lax.while_loop(live, body, (jnp.int32(0), carry))[1]

    return run


@functools.cache
def dual_data(own: bool, biased: bool) -> Callable[..., tuple[jax.Array, ...]]:
    """Program for the Gram matrices, initial preactivations and states of a dual population.

    Args:
        own: every member has its own active features.
        biased: the first layer has a bias.

    Returns:
        ``make(x [K, N, F], columns [P, F_active] | None, kernel [K, P, F_active, H],
        bias [K, P, H])`` giving rows ``[K, (P,) N, N]``, offset ``[K, P, N, H]``, and zeros as
        large as the offset and as the bias: A and the bias before the first step.
    """

    def member(x, columns, kernel, bias):
        x = sgd.pick(x, columns)
        offset = x @ kernel + bias[None]
        return x @ x.T + float(biased), offset, jnp.zeros_like(offset), jnp.zeros_like(bias)

    axis = 0 if own else None
    members = jax.vmap(member, (None, axis, 0, 0), (axis, 0, 0, 0))
    return jax.jit(full_float32(jax.vmap(members, (0, None, 0, 0))))


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
    return jax.jit(full_float32(jax.vmap(members, (0, 0, 0, None, 0, 0))))


def _scores(weights: sgd.Weights, columns: Any, x: jax.Array, y: jax.Array) -> Scores:
    """Scores over chunks of rows; a label of -1 is padding."""

    def chunk(total, part):
        x, y = part
        z = sgd.pick(x, columns) @ weights.first + weights.bias[None]
        right, losses = jax_score_logits(sgd.logits_after(z, weights.later), y)
        return Scores(total.right + right, total.cross_entropy + losses), None

    return jax.lax.scan(chunk, Scores(jnp.int32(0), jnp.float32(0)), (x, y))[0]
