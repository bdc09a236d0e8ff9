"""One member on one fold through the native kernel."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from evojax_prune.core.compaction import Active, compact_layer, expand
from evojax_prune.core.forward import Layer, affine, forward, forward_after, score_logits
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.batches import order_chunks
from evojax_prune.engine.fits import MemberFit, member_fit
from evojax_prune.engine.fold import Fold, gram_matrix


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
    learned = _Learned(job, *native.best(trained))
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
    x = problem.x if job.every else problem.x.take(job.active.index[0], axis=1)
    for order in order_chunks(problem.rows, protocol.epochs, problem.seed):
        native.train_epochs(state, x, None, problem.y, order, protocol)
        if state.stopped:
            break
    return state


def _train_dual(job: NativeJob, later: list[Layer], protocol: Protocol) -> native.MemberState:
    """The dual form; rows count by the first epoch's visits, as in :class:`Fold`."""
    problem, (features, units, *_) = job.problem, job.active.index
    outline = np.broadcast_to(np.float32(0), (len(features), len(units)))
    state = native.init_state([(outline, None), *later], rows=problem.rows, dual=True)
    if job.every:
        gram, start = problem.gram, problem.start.take(units, axis=1)
    else:
        x = problem.by_feature[features]
        gram, start = gram_matrix(x, problem.head.bias[0]), affine(x.T, job.first)
    places = np.empty_like(problem.visits)
    places[problem.visits] = np.arange(problem.rows, dtype=np.int32)
    labels = problem.labels("train")
    for order in order_chunks(problem.rows, protocol.epochs, problem.seed):
        native.train_epochs(state, gram, start, labels, places[order], protocol)
        if state.stopped:
            break
    return state


class _Learned:
    """A trained member: scored through cross-Gram matrices where those are shared."""

    def __init__(
        self, job: NativeJob, first: np.ndarray, bias: np.ndarray | None, later: list[Layer]
    ) -> None:
        self.job, self.problem, self.active = job, job.problem, job.active
        self.first, self.bias, self.later = first, bias, later
        self._layers: list[Layer] | None = None

    @property
    def layers(self) -> list[Layer]:
        """Ordinary weights: in dual form ``W0 + X^T A``, and the bias with A's column sums."""
        if self._layers is None:
            first, bias = self.first, self.bias
            if self.job.dual:
                kernel, bias = self.job.first
                bias = None if bias is None else bias + first.sum(0)
                x = self.problem.by_feature
                first = kernel + (x if self.job.every else x[self.active.index[0]]) @ first
            self._layers = [(first, bias), *self.later]
        return self._layers

    def score(self, name: str) -> tuple[float, float]:
        if self._layers is None and self.job.dual and self.job.every:
            z = self.problem.split_start(name).take(self.active.index[1], axis=1)
            z += self.problem.cross_gram(name) @ self.first
            return score_logits(forward_after(z, self.later), self.problem.labels(name))
        split = self.problem.split(name)
        x = split.x if self.job.every else split.x.take(self.active.index[0], axis=1)
        return score_logits(forward(x, self.layers), split.y)
