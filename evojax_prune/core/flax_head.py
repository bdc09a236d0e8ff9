"""The head as a Flax module."""

from __future__ import annotations

import flax.linen as nn
import jax

from evojax_prune.core.head import HeadSpec


class Head(nn.Module):
    """Fully connected head: ReLU hidden layers, logits out.

    ``Head(spec).apply({"params": params}, x)`` maps ``x [..., F]`` to logits ``[..., C]``. Masks
    are no business of the module: :func:`~evojax_prune.core.masks.apply_mask` zeroes the pruned
    weights.
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
