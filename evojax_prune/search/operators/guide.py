"""Rankings of the bits, and how they tilt what is drawn.

A guide is ``float32 [R, G]``: R rankings of the G bits as quantiles, near 0 for the bit with the
lowest score and near 1 for the highest. What the scores mean is the caller's business. Whoever
draws from a guide first draws one of its rankings.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import rankdata

from evojax_prune.core.errors import UserError


def guide_from_scores(scores: np.ndarray) -> np.ndarray:
    """Quantiles ``float32 [R, G]`` of scores ``[R, G]`` (or ``[G]``); equal scores share theirs.

    Raises:
        UserError: scores that are not finite.
    """
    scores = np.atleast_2d(np.asarray(scores, np.float64))
    if not np.isfinite(scores).all():
        raise UserError(
            f"{np.size(scores) - np.isfinite(scores).sum()} of {np.size(scores)} scores of the "
            "bits are not finite, expected a number for every bit: look at what they were made of"
        )
    return ((rankdata(scores, axis=1) - 0.5) / scores.shape[1]).astype(np.float32)


def draw_ranking(key: jax.Array, guide: jax.Array) -> jax.Array:
    """One of the guide's rankings ``float32 [G]``, all equally likely."""
    return guide[jax.random.randint(key, (), 0, len(guide))]


def tilted_probabilities(
    quantiles: jax.Array, density: jax.Array | float, sharpness: float
) -> jax.Array:
    """Probability ``float32 [G]`` of each bit to be on, rising with its quantile.

    ``logit p = sharpness * quantile + c``, with c such that the mean over evenly spread quantiles
    is the density (the integral has a closed form). Between the two, the sharper the closer to
    simply taking the highest quantiles; sharpness 0 gives every bit the density.

    Args:
        quantiles: ``float32 [G]``.
        density: mean probability, in (0, 1).
        sharpness: logits between the lowest and the highest bit, at least 0.
    """
    density = jnp.asarray(density, quantiles.dtype)
    if sharpness < 1e-6:  # where float32 would divide 0 by 0
        return jnp.full_like(quantiles, density)
    offset = (
        jnp.log(jnp.expm1(sharpness * density))
        - jnp.log(jnp.expm1(sharpness * (1 - density)))
        - sharpness * density
    )
    return jax.nn.sigmoid(sharpness * quantiles + offset)


def flip_weights(genome: jax.Array, quantiles: jax.Array, bias: float) -> jax.Array:
    """How much likelier than in plain mutation each bit of a genome flips, ``float32 [G]``.

    An active bit's weight falls with its quantile, from ``e**bias`` to ``e**-bias``; an inactive
    one's rises likewise. Weights are then scaled to a mean of 1 over the active bits and 1 over the
    inactive ones, so that guidance changes which bits flip and not how many go on or off.

    Args:
        genome: ``bool [G]``.
        quantiles: ``float32 [G]``.
        bias: 0 weighs all bits alike.

    Returns:
        Weights in ``[0, e**(2 * bias)]``.
    """
    tilt = jnp.where(genome, -1.0, 1.0).astype(quantiles.dtype) * (2 * quantiles - 1)
    weights = jnp.exp(bias * tilt)
    active = jnp.mean(weights, where=genome)
    inactive = jnp.mean(weights, where=~genome)
    return weights / jnp.where(genome, active, inactive)
