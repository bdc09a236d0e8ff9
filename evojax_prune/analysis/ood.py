"""How well a head tells rows of its own distribution from others: ODIN's score and its AUROC.

MO-EvoPruneDeepTL (Poyatos et al. 2023, arXiv 2302.10253) takes this AUROC as its third objective,
robustness. Its released code has a temperature of 1,000 and does not perturb the input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.analysis.metrics import auroc, softmax
from evojax_prune.core.compact_head import CompactHead
from evojax_prune.core.forward import affine

TEMPERATURE = 1000.0
"""Of ODIN, as Liang et al. (2018) and MO-EvoPruneDeepTL have it."""


def odin_scores(
    head: CompactHead,
    features: np.ndarray,
    *,
    temperature: float = TEMPERATURE,
    perturbation: float = 0.0,
) -> np.ndarray:
    """ODIN's score of each row; the higher, the more it looks like the training distribution.

    ``S(x; T) = max over classes i of exp(f_i(x) / T) / sum over j of exp(f_j(x) / T)``, f being the
    logits and T the temperature (Liang, Li and Srikant 2018, arXiv 1706.02690, equation 1). With a
    perturbation e, x is first moved to ``x - e sign(-grad_x log S(x; T))`` (their equation 2), here
    in the space of the backbone features rather than of the pixels.

    Args:
        head: a trained head.
        features: ``float32 [n, F]``, backbone features.
        temperature: T, above 0.
        perturbation: e, in units of the features; 0 moves nothing.

    Returns:
        ``float64 [n]`` in [1 / C, 1].
    """
    if perturbation:
        slope = _score_gradient(head, features, temperature)
        features = features.copy()
        features[:, head.features] += np.float32(perturbation) * np.sign(slope)
    return softmax(head.logits(features), temperature).max(1)


def ood_auroc(
    heads: Sequence[CompactHead],
    inside: np.ndarray,
    outside: np.ndarray,
    *,
    temperature: float = TEMPERATURE,
    perturbation: float = 0.0,
) -> float:
    """AUROC with which heads tell rows of their own distribution from others; higher is better.

    Args:
        heads: a head, or an ensemble: the mean of the heads' scores counts.
        inside: ``float32 [n, F]``, features of selection or test rows.
        outside: ``float32 [m, F]``, features of another data set by the same backbone.
        temperature: of ODIN.
        perturbation: of ODIN, in units of the features.

    Returns:
        0 to 1; 0.5 says that the scores tell nothing.

    Raises:
        ValueError: no heads, no rows on one side, or a head that diverged.
    """
    if not heads:
        raise ValueError("out-of-distribution scores need at least one head, got none")
    scores = [
        np.mean(
            [odin_scores(h, x, temperature=temperature, perturbation=perturbation) for h in heads],
            axis=0,
        )
        for x in (inside, outside)
    ]
    return auroc(*scores)


def _score_gradient(head: CompactHead, features: np.ndarray, temperature: float) -> np.ndarray:
    """Gradient ``float32 [n, f]`` of log S with respect to the features that the head reads."""
    inputs = [features[:, head.features]]
    for layer in head.layers[:-1]:
        inputs.append(np.maximum(affine(inputs[-1], layer), np.float32(0)))
    shares = softmax(affine(inputs[-1], head.layers[-1]), temperature)
    slope = -shares
    slope[np.arange(len(slope)), shares.argmax(1)] += 1
    slope = (slope / temperature).astype(np.float32)
    for value, (kernel, _) in zip(reversed(inputs), reversed(head.layers), strict=True):
        slope = slope @ kernel.T
        if value is not inputs[0]:
            slope *= value > 0
    return slope
