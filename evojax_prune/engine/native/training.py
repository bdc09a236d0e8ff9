"""One member on one fold through the native kernel."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator

import numpy as np

from evojax_prune.core.compaction import Active, compact_layer, expand
from evojax_prune.core.forward import Layer, affine, forward, forward_after, score_logits
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.batches import TABLE_BYTES, epoch_order, order_chunks
from evojax_prune.engine.fits import MemberFit, member_fit
from evojax_prune.engine.fold import Fold, gram_matrix

KEPT_ORDERS = 4
"""Orders kept, of at most ``TABLE_BYTES`` each."""


@dataclasses.dataclass(frozen=True)
class NativeJob:
    """One member on one fold; ``dual`` is the planner's choice."""

    problem: Fold
    row: int
    active: Active
    dual: bool

    @property
    def every(self) -> bool:
        """Every feature is active, so that Gram matrices are shared."""
        return len(self.active.index[0]) == self.problem.head.features

    @property
    def first(self) -> Layer:
        """The first layer at its start; in dual form with shared Gram matrices seldom needed."""
        return compact_layer(self.problem.params, self.active, 0)


def train_native(
    job: NativeJob, protocol: Protocol, evaluate: tuple[str, ...], return_params: bool
) -> MemberFit:
    """Trains and scores one member; see :func:`evojax_prune.engine.fit_population`."""
    started = time.perf_counter()
    problem, active = job.problem, job.active
    later = [compact_layer(problem.params, active, i) for i in range(1, len(problem.params))]
    trained = _train_dual(job, later, protocol) if job.dual else _train(job, later, protocol)
    learned = _Learned(job, trained)
    scores = [learned.score(name) for name in evaluate]
    params = expand(learned.layers, active, problem.params) if return_params else None
    return member_fit(
        problem,
        evaluate,
        scores,
        loss=trained.best_loss,
        epochs=trained.epochs,
        seconds=time.perf_counter() - started,
        params=params,
    )


def _train(job: NativeJob, later: list[Layer], protocol: Protocol) -> native.MemberState:
    """The primal form."""
    problem = job.problem
    state = native.init_state([job.first, *later], rows=problem.rows, dual=False)
    x = native.choose_features(problem.by_feature, job.active.index[0])
    labels, weights = problem.labels("train"), problem.class_weights(protocol)
    for order in _orders(problem, protocol):
        native.train_epochs(state, x, None, labels, order, protocol, weights)
        if state.stopped:
            break
    return state


def _train_dual(job: NativeJob, later: list[Layer], protocol: Protocol) -> native.MemberState:
    """The dual form; as in the primal one rows count by the first epoch's visits."""
    problem, (features, units, *_) = job.problem, job.active.index
    outline = np.broadcast_to(np.float32(0), (len(features), len(units)))
    state = native.init_state([(outline, None), *later], rows=problem.rows, dual=True)
    if job.every:
        gram, start = problem.gram, problem.start.take(units, axis=1)
    else:
        x = problem.by_feature[features]
        gram, start = gram_matrix(x, problem.head.bias[0]), affine(x.T, job.first)
    labels, weights = problem.labels("train"), problem.class_weights(protocol)
    for order in _orders(problem, protocol):
        native.train_epochs(state, gram, start, labels, order, protocol, weights)
        if state.stopped:
            break
    return state


def _orders(problem: Fold, protocol: Protocol) -> Iterator[np.ndarray]:
    """The order of all epochs for rows by the first epoch's visits, ``int32 [e, N]`` at a time."""
    rows, epochs, seed = problem.rows, protocol.epochs, problem.seed
    if 0 < 4 * rows * epochs <= TABLE_BYTES:
        yield _short_order(rows, epochs, seed)
        return
    places = _places(rows, seed)
    for order in order_chunks(rows, epochs, seed):
        yield places[order]


@functools.lru_cache(maxsize=KEPT_ORDERS)
def _short_order(rows: int, epochs: int, seed: int) -> np.ndarray:
    """An order in one piece, made once for all members."""
    (order,) = order_chunks(rows, epochs, seed)
    return _places(rows, seed)[order]


def _places(rows: int, seed: int) -> np.ndarray:
    """When the first epoch visits each row, ``int32 [N]``."""
    return np.argsort(epoch_order(rows, 0, seed)).astype(np.int32)


class _Learned:
    """A trained member.

    In primal form the kernel scores it; in dual form shared cross-Gram matrices do, where there
    are any.
    """

    def __init__(self, job: NativeJob, state: native.MemberState) -> None:
        self.job, self.problem, self.active = job, job.problem, job.active
        self.state = state

    @functools.cached_property
    def best(self) -> tuple[np.ndarray, np.ndarray | None, list[Layer]]:
        return native.best(self.state)

    @functools.cached_property
    def layers(self) -> list[Layer]:
        """Ordinary weights: in dual form ``W0 + X^T A``, and the bias with A's column sums."""
        first, bias, later = self.best
        if self.job.dual:
            kernel, bias = self.job.first
            bias = None if bias is None else bias + first.sum(0)
            x = self.problem.by_feature
            first = kernel + (x if self.job.every else x[self.active.index[0]]) @ first
        return [(first, bias), *later]

    def score(self, name: str) -> tuple[float, float]:
        if not self.job.dual:
            x = native.choose_features(self.problem.split_by_feature(name), self.active.index[0])
            return native.score(self.state, x, self.problem.labels(name))
        if self.job.every:
            first, _, later = self.best
            z = self.problem.split_start(name).take(self.active.index[1], axis=1)
            z += self.problem.cross_gram(name) @ first
            return score_logits(forward_after(z, later), self.problem.labels(name))
        split = self.problem.split(name)
        x = split.x.take(self.active.index[0], axis=1)
        return score_logits(forward(x, self.layers), split.y)
