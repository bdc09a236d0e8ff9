"""The data of one fold as the engine needs it, prepared once and kept between generations."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable

import numpy as np

from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine.batches import epoch_order

KEPT_PROBLEMS = 16
"""Prepared folds kept; a search asks for the same few again at every generation."""


@dataclasses.dataclass(eq=False)
class Problem:
    """One fold, the head's shape and its initial weights.

    What the dual form works with has the training rows in the order in which the first epoch visits
    them (``visits``): rows of A that no minibatch has touched yet are then the last ones, which the
    native kernel skips, and the first epoch costs half.

    Attributes:
        splits: the fold.
        head: shape of the head.
        params: initial parameters, the same for every member.
        seed: seed of the minibatch order.
    """

    splits: FeatureSplits
    head: HeadSpec
    params: Params
    seed: int
    _made: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    _lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)

    @property
    def rows(self) -> int:
        """Training rows N."""
        return len(self.splits.train)

    @property
    def x(self) -> np.ndarray:
        """Training features ``float32 [N, F]``."""
        return self.splits.train.x

    @property
    def y(self) -> np.ndarray:
        """Training labels ``int32 [N]``."""
        return self.splits.train.y

    def split(self, name: str) -> Split:
        """The split of a name."""
        return getattr(self.splits, name)

    @property
    def visits(self) -> np.ndarray:
        """Training rows in the order of the first epoch, ``int32 [N]``."""
        return self._once(("visits", "train"), lambda: epoch_order(self.rows, 0, self.seed))

    @property
    def by_feature(self) -> np.ndarray:
        """Training features ``float32 [F, N]``, a row a feature: quick to choose features from."""

        def make() -> np.ndarray:
            return self.x.T.take(self.visits, axis=1)

        return self._once(("by feature", "train"), make)

    @property
    def gram(self) -> np.ndarray:
        """``X X^T``, plus 1 where the first layer has a bias, ``float32 [N, N]`` by visits."""

        def make() -> np.ndarray:
            return gram_matrix(self.x.T, self.head.bias[0])[np.ix_(self.visits, self.visits)]

        return self._once(("gram", "train"), make)

    @property
    def start(self) -> np.ndarray:
        """First-layer preactivations under the initial weights, ``float32 [N, H]`` by visits."""
        return self.split_start("train")

    def labels(self, name: str) -> np.ndarray:
        """Labels of a split, ``int32 [n]``; of the training rows by visits."""
        return self.y[self.visits] if name == "train" else self.split(name).y

    def split_start(self, name: str) -> np.ndarray:
        """First-layer preactivations of a split under the initial weights ``float32 [n, H]``."""

        def make() -> np.ndarray:
            start = self._first(self.split(name).x)
            return start[self.visits] if name == "train" else start

        return self._once(("start", name), make)

    def cross_gram(self, name: str) -> np.ndarray:
        """Products of a split's rows with the training rows, as in ``gram``: ``float32 [n, N]``."""
        if name == "train":
            return self.gram

        def make() -> np.ndarray:
            products = self.split(name).x @ self.x.T + np.float32(self.head.bias[0])
            return products.take(self.visits, axis=1)

        return self._once(("gram", name), make)

    def _first(self, x: np.ndarray) -> np.ndarray:
        first = self.params["layer_0"]
        z = x @ first["kernel"]
        return z + first["bias"][None] if "bias" in first else z

    def _once(self, key: tuple[str, str], make: Callable[[], np.ndarray]) -> np.ndarray:
        """Made by the first worker that asks, while the others wait."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


def gram_matrix(by_feature: np.ndarray, biased: bool) -> np.ndarray:
    """Products of all pairs of rows of features ``float32 [F, N]``, ``float32 [N, N]``.

    Plus 1 where a bias is to be absorbed.
    """
    gram = by_feature.T @ by_feature
    if biased:
        gram += np.float32(1.0)
    return gram


_recent: list[Problem] = []


def prepare(splits: FeatureSplits, head: HeadSpec, seed: int, params: Params | None) -> Problem:
    """The problem of a fold; the same object for the same fold, head, seed and weights.

    Raises:
        ValueError: features, labels or parameters do not fit the head.
    """
    for known in _recent:
        same = known.splits is splits and known.head == head and known.seed == seed
        if same and (params is None or known.params is params):
            return known
    problem = Problem(splits, head, init_params(head, seed) if params is None else params, seed)
    _check(problem)
    _recent.append(problem)
    del _recent[:-KEPT_PROBLEMS]
    return problem


def _check(problem: Problem) -> None:
    head = problem.head
    for name in ("train", "selection", "test"):
        split = problem.split(name)
        if split.x.ndim != 2 or split.x.shape != (len(split.y), head.features):
            raise ValueError(
                f"{name} features have shape {split.x.shape}, expected "
                f"[{len(split.y)}, {head.features}] for its labels and the head"
            )
        if split.x.dtype != np.float32 or split.y.dtype != np.int32:
            raise ValueError(
                f"{name} is {split.x.dtype} with {split.y.dtype} labels, expected float32 and int32"
            )
        if len(split) and not 0 <= split.y.min() <= split.y.max() < head.classes:
            raise ValueError(f"{name} labels lie outside 0 to {head.classes - 1}")
    if problem.rows == 0:
        raise ValueError("the train split is empty")
    for i, (rows, columns) in enumerate(zip(head.widths, head.widths[1:], strict=False)):
        shape = problem.params[f"layer_{i}"]["kernel"].shape
        if shape != (rows, columns):
            raise ValueError(f"layer_{i} has a kernel of {shape}, expected {(rows, columns)}")
