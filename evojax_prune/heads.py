"""The head that is trained on backbone features: one or more hidden layers, ReLU, softmax out."""

from __future__ import annotations

import dataclasses
import itertools

import flax.linen as nn
import jax
import numpy as np

from evojax_prune.words import Mode

Params = dict[str, dict[str, np.ndarray]]
"""``{"layer_0": {"kernel": [in, out], "bias": [out]}, ...}``, float32; no bias if sparse."""


@dataclasses.dataclass(frozen=True)
class HeadSpec:
    """Shape of a head.

    Attributes:
        features: inputs F.
        hidden: units of each hidden layer, at least one.
        classes: outputs C.
        bias: for each of the ``len(hidden) + 1`` layers, whether it carries a bias.
    """

    features: int
    hidden: tuple[int, ...]
    classes: int
    bias: tuple[bool, ...]

    def __post_init__(self) -> None:
        if not self.hidden:
            raise ValueError("a head needs at least one hidden layer, got none")
        if len(self.bias) != len(self.hidden) + 1:
            raise ValueError(
                f"bias has {len(self.bias)} entries, expected one a layer: {len(self.hidden) + 1}"
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


SPARSE_LAYERS: dict[str, tuple[int, ...]] = {
    "features": (0,),
    "fc1": (1,),
    "fc2": (1,),
    "both": (0, 1),
}
"""Layers that are pruned, and so carry no bias, in each prune mode (EvoPruneDeepTL, section 3)."""


def head_spec(
    mode: Mode, features: int, classes: int, hidden: tuple[int, ...] | None = None
) -> HeadSpec:
    """The head of a prune mode: dense layers carry a bias, sparse ones do not.

    ``features`` mode: Sparse 512 on the features -> Dense C. ``fc1`` and ``fc2``: Dense 512 ->
    Sparse 512 -> Dense C. ``both``: Sparse 512 -> Sparse 512 -> Dense C.

    Args:
        mode: prune mode.
        features: backbone features F.
        classes: classes C.
        hidden: units of the hidden layers; by default (512,) for ``features``, else (512, 512).

    Raises:
        ValueError: fewer hidden layers than the mode prunes.
    """
    hidden = hidden or ((512,) if mode == "features" else (512, 512))
    sparse = SPARSE_LAYERS[mode]
    if len(hidden) <= max(sparse):
        raise ValueError(
            f"mode {mode!r} prunes {max(sparse) + 1} hidden layers, the head has {len(hidden)}"
        )
    bias = tuple(i not in sparse for i in range(len(hidden) + 1))
    return HeadSpec(features, hidden, classes, bias)


class Head(nn.Module):
    """Fully connected head: ReLU hidden layers, logits out.

    ``Head(spec).apply({"params": params}, x)`` maps ``x [..., F]`` to logits ``[..., C]``. Masks
    are no business of the module: :func:`evojax_prune.masks.apply_mask` zeroes the pruned weights.
    """

    spec: HeadSpec

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Logits of features ``x [..., F]``."""
        last = len(self.spec.hidden)
        for i, (width, bias) in enumerate(zip(self.spec.widths[1:], self.spec.bias, strict=True)):
            x = nn.Dense(
                width,
                use_bias=bias,
                kernel_init=nn.initializers.glorot_uniform(),
                name=f"layer_{i}",
            )(x)
            if i < last:
                x = nn.relu(x)
        return x


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
