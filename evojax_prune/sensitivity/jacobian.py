"""Local sensitivities: derivatives of a head's outputs with respect to one layer's units."""

from __future__ import annotations

from typing import Literal

import jax

from evojax_prune.core.forward import jax_affine, jax_forward_after, layers_of
from evojax_prune.core.head import Params

Output = Literal["probabilities", "logits"]
"""What is derived: the softmax probabilities, or the logits before the softmax."""


def depth(params: Params) -> int:
    """Layers of weights of a head."""
    return len(params)


def activations(params: Params, x: jax.Array, layer: int) -> jax.Array:
    """Units of one layer for one pattern.

    Args:
        params: a head's parameters, masked already.
        x: features ``[F]``.
        layer: 0 for the features themselves, i for the i-th hidden layer after its ReLU.

    Returns:
        ``[U]``.
    """
    for weights in layers_of(params)[:layer]:
        x = jax.nn.relu(jax_affine(x, weights))
    return x


def outputs(params: Params, units: jax.Array, layer: int, of: Output) -> jax.Array:
    """Outputs ``[C]`` of one pattern, given the units ``[U]`` of one layer."""
    first, *later = layers_of(params)[layer:]
    logits = jax_forward_after(jax_affine(units, first), later)
    return jax.nn.softmax(logits) if of == "probabilities" else logits


def jacobian(params: Params, units: jax.Array, layer: int, of: Output) -> jax.Array:
    """Local sensitivities: derivative of every output with respect to every unit, a pattern each.

    The derivative of ReLU at its kink is taken as 0, as training takes it.

    Args:
        params: a head's parameters, masked already.
        units: activations ``[n, U]`` of ``layer``.
        layer: 0 for the features, i for the i-th hidden layer.
        of: which outputs.

    Returns:
        ``[n, C, U]``: entry (n, k, j) is the derivative of output k by unit j at pattern n.
    """
    return jax.vmap(jax.jacrev(lambda a: outputs(params, a, layer, of)))(units)
