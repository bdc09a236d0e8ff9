"""The data of one fold as the engine needs it, made when first asked for and then kept."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from evojax_prune.core.forward import affine, balanced_weights, layers_of
from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine.batches import epoch_order
from evojax_prune.engine.native import choose_features

SPLITS = ("train", "selection", "test")
"""The splits of a fold by name."""


@dataclasses.dataclass(eq=False)
class Fold:
    """One fold, the head's shape and its initial weights.

    What the dual form works with has the training rows in the order in which the first epoch visits
    them (``visits``): rows of A that no minibatch has touched yet are then the last ones, which the
    native kernel skips, and the first epoch costs half.

    Attributes:
        splits: each split by name, features ``float32 [n, F]`` and labels ``int32 [n]``.
        head: shape of the head.
        params: initial parameters, the same for every member.
        seed: seed of the minibatch order.
    """

    splits: dict[str, Split]
    head: HeadSpec
    params: Params
    seed: int
    _made: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    _lock: threading.RLock = dataclasses.field(default_factory=threading.RLock)

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays, those of the splits included."""
        splits = [a for split in self.splits.values() for a in (split.x, split.y)]
        arrays = {id(a): a.nbytes for a in (*splits, *tuple(self._made.values()))}
        return sum(arrays.values())

    @property
    def rows(self) -> int:
        """Training rows N."""
        return len(self.splits["train"])

    @property
    def x(self) -> np.ndarray:
        """Training features ``float32 [N, F]``."""
        return self.splits["train"].x

    @property
    def y(self) -> np.ndarray:
        """Training labels ``int32 [N]``."""
        return self.splits["train"].y

    def split(self, name: str) -> Split:
        """The split of a name."""
        return self.splits[name]

    @property
    def visits(self) -> np.ndarray:
        """Training rows in the order of the first epoch, ``int32 [N]``."""
        return self._once(("visits", "train"), lambda: epoch_order(self.rows, 0, self.seed))

    @property
    def by_feature(self) -> np.ndarray:
        """Training features ``float32 [F, N]``, one row per feature, quick to choose from."""
        return self.split_by_feature("train")

    def split_by_feature(self, name: str) -> np.ndarray:
        """Features of a split ``float32 [F, n]``, its rows as in :meth:`labels`.

        Only the native path asks for them, and its kernel turns them.
        """

        def make() -> np.ndarray:
            x = np.ascontiguousarray(self.split(name).x)
            return choose_features(x, self.visits if name == "train" else np.arange(len(x)))

        return self._once(("by feature", name), make)

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

    def class_weights(self, protocol: Protocol) -> np.ndarray | None:
        """What the loss of each class's rows is multiplied by ``float32 [C]``; None for 1."""
        return class_weights(protocol, self.y, self.head.classes)

    def row_weights(self, protocol: Protocol) -> np.ndarray | None:
        """As :meth:`class_weights`, of each training row ``float32 [N]``."""
        weights = self.class_weights(protocol)
        return None if weights is None else weights[self.y]

    def labels(self, name: str) -> np.ndarray:
        """Labels of a split, ``int32 [n]``; of the training rows by visits."""
        return self.y[self.visits] if name == "train" else self.split(name).y

    def split_start(self, name: str) -> np.ndarray:
        """First-layer preactivations of a split under the initial weights ``float32 [n, H]``."""

        def make() -> np.ndarray:
            start = affine(self.split(name).x, layers_of(self.params)[0])
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

    def _once(self, key: tuple[str, str], make: Callable[[], np.ndarray]) -> np.ndarray:
        """Made by the first worker that asks, while the others wait."""
        with self._lock:
            if key not in self._made:
                self._made[key] = make()
            return self._made[key]


def class_weights(protocol: Protocol, y: np.ndarray, classes: int) -> np.ndarray | None:
    """What a protocol multiplies the loss of each class's rows by ``float32 [C]``; None for 1.

    Args:
        protocol: how a head is trained.
        y: labels of the training rows ``int32 [N]``.
        classes: numbers that a label may be.
    """
    return None if protocol.class_weights == "none" else balanced_weights(y, classes)


def gram_matrix(by_feature: np.ndarray, biased: bool) -> np.ndarray:
    """Products of all pairs of rows of features ``float32 [F, N]``, ``float32 [N, N]``.

    Plus 1 where a bias is to be absorbed.
    """
    gram = by_feature.T @ by_feature
    if biased:
        gram += np.float32(1.0)
    return gram


def make_fold(
    splits: FeatureSplits, head: HeadSpec, seed: int = 0, params: Params | None = None
) -> Fold:
    """A fold; cheap, as nothing is computed before it is needed.

    Args:
        splits: features of any float type and labels of any integer type; what is not ``float32``
            and ``int32`` already is converted.
        head: shape of the head.
        seed: decides initial weights and minibatch order.
        params: initial parameters instead of those that the seed gives.

    Raises:
        ValueError: features, labels or parameters do not fit the head.
    """
    converted = {name: convert_split(name, getattr(splits, name), head) for name in SPLITS}
    fold = Fold(converted, head, _initial(head, seed) if params is None else params, seed)
    for i, (rows, columns) in enumerate(zip(head.widths, head.widths[1:], strict=False)):
        shape = fold.params[f"layer_{i}"]["kernel"].shape
        if shape != (rows, columns):
            raise ValueError(f"layer_{i} has a kernel of {shape}, expected {(rows, columns)}")
    return fold


@functools.lru_cache(maxsize=4)
def _initial(head: HeadSpec, seed: int) -> Params:
    """Initial parameters, which the folds of every fresh split share; read-only."""
    params = init_params(head, seed)
    for layer in params.values():
        for leaf in layer.values():
            leaf.flags.writeable = False
    return params


def convert_split(name: str, split: Split, head: HeadSpec) -> Split:
    """A split as ``float32`` features and ``int32`` labels, not copied if it is so already.

    Raises:
        ValueError: shapes, types or labels that do not fit the head.
    """
    x, y = np.asarray(split.x), np.asarray(split.y)
    if x.ndim != 2 or y.ndim != 1 or x.shape != (len(y), head.features):
        raise ValueError(
            f"{name} features have shape {x.shape}, expected [{len(y)}, {head.features}] for labels"
            f" of shape {y.shape} and the head"
        )
    if name == "train" and not len(y):
        raise ValueError("the train split is empty")
    # JAX knows bfloat16, NumPy does not
    if not jnp.issubdtype(x.dtype, jnp.floating) or not np.issubdtype(y.dtype, np.integer):
        raise ValueError(
            f"{name} has {x.dtype} features and {y.dtype} labels, expected floats and integers"
        )
    if len(y) and not 0 <= y.min() <= y.max() < head.classes:
        raise ValueError(f"{name} labels lie outside 0 to {head.classes - 1}")
    return Split(x.astype(np.float32, copy=False), y.astype(np.int32, copy=False))
