"""One member on one fold through the native kernel."""

from __future__ import annotations

import dataclasses
import time

import numpy as np

from evojax_prune.engine import native
from evojax_prune.engine.batches import order_chunks
from evojax_prune.engine.compact import Active, Layer, compact, expand
from evojax_prune.engine.lanes import make_fit
from evojax_prune.engine.problem import Problem, gram_matrix
from evojax_prune.engine.result import MemberFit
from evojax_prune.protocol import Protocol
from evojax_prune.splits import Split


@dataclasses.dataclass(frozen=True)
class NativeJob:
    """One member on one fold; ``dual`` is the planner's choice."""

    problem: Problem
    row: int
    active: Active
    dual: bool


def train_native(
    job: NativeJob, protocol: Protocol, evaluate: tuple[str, ...], return_params: bool
) -> MemberFit:
    """Trains and scores one member; see :func:`evojax_prune.engine.population.fit_population`."""
    started = time.perf_counter()
    problem, active = job.problem, job.active
    layers = compact(problem.params, active)
    features = active.index[0]
    every = len(features) == problem.head.features
    x = problem.x if every else np.ascontiguousarray(problem.x[:, features])
    state = native.init_state(layers, rows=problem.rows, dual=job.dual)
    inputs, offset = x, None
    if job.dual and every:
        inputs = problem.gram
        offset = np.ascontiguousarray(problem.start[:, active.index[1]])
    elif job.dual:
        inputs, offset = gram_matrix(x, problem.head.bias[0]), _forward(x, layers[:1])
    for order in order_chunks(problem.rows, protocol.epochs, problem.seed):
        native.train_epochs(state, inputs, offset, problem.y, order, protocol)
        if state.stopped:
            break
    first, bias, later = native.best(state)
    learned = _Learned(job, layers[0], first, bias, later, x)
    scores = [learned.score(name) for name in evaluate]
    params = expand(learned.layers, active, problem.params) if return_params else None
    seconds = time.perf_counter() - started
    return make_fit(problem, evaluate, scores, state.best_loss, state.epochs, seconds, params)


class _Learned:
    """A trained member: scored through cross-Gram matrices where those are shared."""

    def __init__(
        self,
        job: NativeJob,
        start: Layer,
        first: np.ndarray,
        bias: np.ndarray | None,
        later: list[Layer],
        x: np.ndarray,
    ) -> None:
        self.problem, self.active, self.dual = job.problem, job.active, job.dual
        self.start, self.first, self.bias, self.later, self.x = start, first, bias, later, x
        self.every = x is job.problem.x
        self._layers: list[Layer] | None = None

    @property
    def layers(self) -> list[Layer]:
        """Ordinary weights: in dual form ``W0 + X^T A``, and the bias with A's column sums."""
        if self._layers is None:
            first, bias = self.first, self.bias
            if self.dual:
                kernel, bias = self.start
                bias = None if bias is None else bias + first.sum(0)
                first = kernel + self.x.T @ first
            self._layers = [(first, bias), *self.later]
        return self._layers

    def score(self, name: str) -> tuple[float, float]:
        split = self.problem.split(name)
        if self._layers is None and self.dual and self.every:
            units = self.active.index[1]
            z = (
                self.problem.split_start(name)[:, units]
                + self.problem.cross_gram(name) @ self.first
            )
            return score_logits(_forward_after(z, self.later), split)
        x = split.x if self.every else split.x[:, self.active.index[0]]
        return score_logits(_forward(x, self.layers), split)


def _forward(x: np.ndarray, layers: list[Layer]) -> np.ndarray:
    (kernel, bias), *later = layers
    z = x @ kernel
    return _forward_after(z if bias is None else z + bias[None], later)


def _forward_after(z: np.ndarray, later: list[Layer]) -> np.ndarray:
    for kernel, bias in later:
        z = np.maximum(z, np.float32(0)) @ kernel
        if bias is not None:
            z = z + bias[None]
    return z


def score_logits(logits: np.ndarray, split: Split) -> tuple[float, float]:
    """Rows classified rightly and summed cross-entropy in nats of ``logits [n, C]``."""
    if not len(split):
        return 0.0, 0.0
    top = logits.max(1, keepdims=True)
    partition = np.log(np.exp(logits - top).sum(1, dtype=np.float64)) + top[:, 0]
    picked = np.take_along_axis(logits, split.y[:, None], 1)[:, 0]
    return float((logits.argmax(1) == split.y).sum()), float((partition - picked).sum())
