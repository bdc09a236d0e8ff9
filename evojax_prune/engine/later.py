"""The layers after the first: loss and gradients from the first layer's preactivations."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Stack = list[dict[str, jax.Array]]
"""Layers as ``{"kernel": [in, out], "bias": [out]}``; the bias only where the layer has one."""


def logits_after(z: jax.Array, later: Stack) -> jax.Array:
    """Logits ``[b, C]`` from first-layer preactivations ``z [b, H]``."""
    for layer in later:
        z = jax.nn.relu(z) @ layer["kernel"]
        if "bias" in layer:
            z = z + layer["bias"][None]
    return z


def row_losses(logits: jax.Array, y: jax.Array) -> jax.Array:
    """Cross-entropy in nats ``[b]`` of logits ``[b, C]`` against labels ``int32 [b]``."""
    picked = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(logits, axis=1) - picked


def gradients(
    z: jax.Array, later: Stack, kept: list[jax.Array | None], y: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array, Stack]:
    """Summed loss of a minibatch, and gradients of its mean loss.

    Args:
        z: first-layer preactivations ``[B, H]``.
        later: the other layers.
        kept: for each of them the mask of its connections ``[in, out]`` or None; a pruned weight
            is zero already and gets no gradient.
        y: labels ``int32 [B]``.
        weight: 1 for a row, 0 for padding ``float32 [B]``.

    Returns:
        The sum of the rows' losses, the gradient with respect to ``z``, and those of the layers.
    """

    def mean_loss(z: jax.Array, later: Stack) -> tuple[jax.Array, jax.Array]:
        total = jnp.sum(row_losses(logits_after(z, later), y) * weight)
        return total / jnp.sum(weight), total

    (_, total), (g, later_g) = jax.value_and_grad(mean_loss, (0, 1), has_aux=True)(z, later)
    for layer, mask in zip(later_g, kept, strict=True):
        if mask is not None:
            layer["kernel"] = jnp.where(mask, layer["kernel"], 0.0)
    return total, g, later_g
