"""One member on one fold through the native kernel."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator

import numpy as np

from evojax_prune.engine import native
from evojax_prune.engine.batches import TABLE_BYTES, epoch_order, order_chunks
from evojax_prune.engine.compact import Active, Layer, compact_layer, expand
from evojax_prune.engine.lanes import make_fit
from evojax_prune.engine.problem import Problem, gram_matrix
from evojax_prune.engine.result import MemberFit
from evojax_prune.protocol import Protocol

KEPT_ORDERS = 4
"""Orders kept, of at most ``TABLE_BYTES`` each."""


@dataclasses.dataclass(frozen=True)
class NativeJob:
    """One member on one fold; ``dual`` is the planner's choice."""

    problem: Problem
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
    """Trains and scores one member; see :func:`evojax_prune.engine.population.fit_population`."""
    started = time.perf_counter()
    problem, active = job.problem, job.active
    later = [compact_layer(problem.params, active, i) for i in range(1, len(problem.params))]
    trained = _train_dual(job, later, protocol) if job.dual else _train(job, later, protocol)
    learned = _Learned(job, trained)
    scores = [learned.score(name) for name in evaluate]
    params = expand(learned.layers, active, problem.params) if return_params else None
    seconds = time.perf_counter() - started
    return make_fit(problem, evaluate, scores, trained.best_loss, trained.epochs, seconds, params)


def _train(job: NativeJob, later: list[Layer], protocol: Protocol) -> native.MemberState:
    """The primal form."""
    problem = job.problem
    state = native.init_state([job.first, *later], rows=problem.rows, dual=False)
    x = native.choose_features(problem.by_feature, job.active.index[0])
    labels = problem.labels("train")
    for order in _orders(problem, protocol):
        native.train_epochs(state, x, None, labels, order, protocol)
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
        gram, start = gram_matrix(x, problem.head.bias[0]), _through(x.T, job.first)
    labels = problem.labels("train")
    for order in _orders(problem, protocol):
        native.train_epochs(state, gram, start, labels, order, protocol)
        if state.stopped:
            break
    return state


def _orders(problem: Problem, protocol: Protocol) -> Iterator[np.ndarray]:
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
    """A trained member: scored by the kernel in primal form, through shared cross-Gram matrices in
    dual form where there are such.
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
            x = native.choose_features(_by_feature(self.problem, name), self.active.index[0])
            return native.score(self.state, x, self.problem.labels(name))
        if self.job.every:
            first, _, later = self.best
            z = self.problem.split_start(name).take(self.active.index[1], axis=1)
            z += self.problem.cross_gram(name) @ first
            return score_logits(_forward_after(z, later), self.problem.labels(name))
        split = self.problem.split(name)
        return score_logits(
            _forward(split.x.take(self.active.index[0], axis=1), self.layers), split.y
        )


def _by_feature(problem: Problem, name: str) -> np.ndarray:
    """Features of a split ``float32 [F, n]``, its rows as in :meth:`Problem.labels`."""
    if name == "train":
        return problem.by_feature
    return problem._once(
        ("by feature", name), lambda: np.ascontiguousarray(problem.split(name).x.T)
    )


def _forward(x: np.ndarray, layers: list[Layer]) -> np.ndarray:
    first, *later = layers
    return _forward_after(_through(x, first), later)


def _through(x: np.ndarray, layer: Layer) -> np.ndarray:
    kernel, bias = layer
    z = x @ kernel
    return z if bias is None else z + bias[None]


def _forward_after(z: np.ndarray, later: list[Layer]) -> np.ndarray:
    for layer in later:
        z = _through(np.maximum(z, np.float32(0)), layer)
    return z


def score_logits(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Rows classified rightly and summed cross-entropy in nats of ``logits [n, C]``."""
    if not len(labels):
        return 0.0, 0.0
    top = logits.max(1, keepdims=True)
    partition = np.log(np.exp(logits - top).sum(1, dtype=np.float64)) + top[:, 0]
    picked = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return float((logits.argmax(1) == labels).sum()), float((partition - picked).sum())
