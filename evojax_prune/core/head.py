"""The head that is trained on backbone features: hidden layers with ReLU, if any, softmax out."""

from __future__ import annotations

import dataclasses
import itertools
import numbers

import numpy as np

from evojax_prune.core.mode import ModeName, find_mode

Params = dict[str, dict[str, np.ndarray]]
"""``{"layer_0": {"kernel": [in, out], "bias": [out]}, ...}``, float32; no bias if sparse."""


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """Shape of a head.

    Attributes:
        features: inputs F.
        hidden: units of each hidden layer; empty for a linear head.
        classes: outputs C.
        bias: for each of the ``len(hidden) + 1`` layers, whether it carries a bias.
    """

    features: int
    hidden: tuple[int, ...]
    classes: int
    bias: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not all(isinstance(width, numbers.Integral) and width >= 1 for width in self.widths):
            raise ValueError(f"the widths are {self.widths}, expected whole numbers of at least 1")
        if len(self.bias) != len(self.hidden) + 1:
            raise ValueError(
                f"bias has {len(self.bias)} entries, expected one per layer: {len(self.hidden) + 1}"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of every layer from the features to the classes."""
        return (self.features, *self.hidden, self.classes)

    @property
    def parameters(self) -> int:
        """Parameters of the dense head."""
        kernels = sum(a * b for a, b in zip(self.widths, self.widths[1:], strict=False))
        return kernels + sum(w for w, b in zip(self.widths[1:], self.bias, strict=True) if b)


def head_spec(
    mode: ModeName, features: int, classes: int, hidden: tuple[int, ...] | None = None
) -> HeadSpec:
    """The head of a prune mode: dense layers carry a bias, sparse ones do not.

    ``features`` mode: Sparse 512 on the features -> Dense C. ``fc1`` and ``fc2``: Dense 512 ->
    Sparse 512 -> Dense C. ``both``: Sparse 512 -> Sparse 512 -> Dense C. Without a hidden layer,
    in ``features`` mode only: the features -> C, softmax regression with a bias.

    Args:
        mode: prune mode.
        features: backbone features F.
        classes: classes C.
        hidden: units of the hidden layers; by default (512,) for ``features``, else (512, 512);
            () for a linear head.

    Raises:
        ValueError: an unknown mode, fewer hidden layers than it prunes, or a width below 1.
    """
    found = find_mode(mode)
    hidden = found.hidden if hidden is None else hidden
    sparse = found.sparse
    if len(hidden) <= max(sparse) and mode != "features":
        raise ValueError(
            f"mode {mode!r} prunes {max(sparse) + 1} hidden layers, the head has {len(hidden)}"
        )
    bias = tuple(i not in sparse or i == len(hidden) for i in range(len(hidden) + 1))
    return HeadSpec(features, hidden, classes, bias)


def init_params(spec: HeadSpec, seed: int) -> Params:
    """Glorot-uniform kernels (Glorot & Bengio 2010, eq. 16) and zero biases.

    The same on every machine and for every JAX version, for one seed.
    """
    params: Params = {}
    for i, (rows, columns) in enumerate(itertools.pairwise(spec.widths)):
        limit = np.sqrt(6.0 / (rows + columns))
        kernel = np.random.default_rng([seed, i]).uniform(-limit, limit, (rows, columns))
        params[f"layer_{i}"] = {"kernel": kernel.astype(np.float32)}
        if spec.bias[i]:
            params[f"layer_{i}"]["bias"] = np.zeros(columns, np.float32)
    return params
