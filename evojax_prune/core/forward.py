"""The forward pass of a head and the score of its logits, each once in NumPy and once in JAX.

Layers are pairs of a kernel ``float32 [in, out]`` and a bias ``float32 [out]`` or None. Between two
layers stands a ReLU, whose derivative at 0 is taken as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import jax

    from evojax_prune.core.head import Params

    JaxLayer = tuple[jax.Array | np.ndarray, jax.Array | np.ndarray | None]

Layer = tuple[np.ndarray, np.ndarray | None]
"""Kernel ``float32 [in, out]`` and bias ``float32 [out]`` or None."""


def layers_of(params: Params) -> list[Layer]:
    """The layers of a head in order."""
    named = (params[f"layer_{i}"] for i in range(len(params)))
    return [(layer["kernel"], layer.get("bias")) for layer in named]


def affine(x: np.ndarray, layer: Layer) -> np.ndarray:
    """Outputs ``[n, out]`` of one layer before its ReLU, of inputs ``[n, in]``."""
    kernel, bias = layer
    z = x @ kernel
    return z if bias is None else z + bias[None]


def forward_after(z: np.ndarray, later: Sequence[Layer]) -> np.ndarray:
    """Logits ``[n, C]`` from the first layer's outputs ``z [n, H]`` before the ReLU."""
    for layer in later:
        z = affine(np.maximum(z, np.float32(0)), layer)
    return z


def forward(x: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Logits ``float32 [n, C]`` of features ``float32 [n, F]``, in plain NumPy."""
    return forward_after(affine(x, layers[0]), layers[1:])


def jax_forward_after(z: jax.Array, later: Sequence[JaxLayer]) -> jax.Array:
    """As :func:`forward_after`, of traced arrays ``z [..., H]``."""
    from jax.nn import relu

    for layer in later:
        z = jax_affine(relu(z), layer)
    return z


def jax_affine(x: jax.Array, layer: JaxLayer) -> jax.Array:
    """As :func:`affine`, of traced arrays ``x [..., in]``."""
    kernel, bias = layer
    z = x @ kernel
    return z if bias is None else z + bias.reshape((1,) * (z.ndim - 1) + bias.shape)


def score_logits(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Rows classified rightly, and their summed cross-entropy in nats.

    Args:
        logits: ``float32 [n, C]``.
        labels: ``int32 [n]``.
    """
    if not len(labels):
        return 0.0, 0.0
    top = logits.max(1, keepdims=True)
    partition = np.log(np.exp(logits - top).sum(1, dtype=np.float64)) + top[:, 0]
    picked = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return float((logits.argmax(1) == labels).sum()), float((partition - picked).sum())


def jax_row_losses(
    logits: jax.Array, labels: jax.Array, smoothing: jax.Array | None = None
) -> jax.Array:
    """Cross-entropy of each row in nats, ``float32 [n]``.

    Args:
        logits: ``float32 [n, C]``.
        labels: ``int32 [n]``.
        smoothing: share s of each row's target that is spread evenly over the classes, a scalar:
            the target is ``(1 - s) * one-hot + s / C`` (Szegedy et al. 2016, section 7). None for
            the label alone.
    """
    import jax
    import jax.numpy as jnp

    expected = jnp.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    if smoothing is not None:
        expected = (1.0 - smoothing) * expected + smoothing * logits.mean(1)
    return jax.nn.logsumexp(logits, axis=1) - expected


def balanced_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Weight of each class's rows with which every class weighs the same, ``float32 [C]``.

    ``N / (C n_c)`` for the C classes that there are; 0 for others.

    Args:
        labels: of the training rows, ``int32 [N]``.
        classes: numbers that a label may be.
    """
    counts = np.bincount(labels, minlength=classes)
    there = np.count_nonzero(counts)
    return np.where(counts, len(labels) / (there * np.maximum(counts, 1)), 0).astype(np.float32)


def jax_score_logits(logits: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As :func:`score_logits`, of traced arrays; rows with the label -1 do not count.

    Returns:
        Rows classified rightly, ``int32``, and their summed cross-entropy, ``float32``.
    """
    import jax.numpy as jnp

    counts = labels >= 0
    right = (jnp.argmax(logits, 1).astype(labels.dtype) == labels) & counts
    losses = jnp.where(counts, jax_row_losses(logits, jnp.maximum(labels, 0)), 0.0)
    return right.sum(dtype=jnp.int32), losses.sum()
