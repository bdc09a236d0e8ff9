"""Scores of every pruned layer's units, averaged over folds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.head import Params
from evojax_prune.core.mode import Mode
from evojax_prune.core.splits import Split
from evojax_prune.sensitivity.jacobian import Output
from evojax_prune.sensitivity.scores import Weighting, sensitivities

LayerScores = tuple[np.ndarray, ...]
"""``float64 [U]`` for each pruned unit group, as :meth:`evojax_prune.core.pruning.Pruning.keep`
takes them; higher is better."""


def mean_over_folds(
    score: Callable[[Params, np.ndarray, int], np.ndarray],
    heads: Sequence[Params],
    train: Sequence[Split],
    mode: Mode,
) -> LayerScores:
    """Scores of every pruned unit group, each head scored on its own fold's training rows.

    Args:
        score: gives ``float64 [..., U]`` for a head, features ``[N, F]`` and a unit group.
        heads: parameters of a trained dense head, one per fold.
        train: training rows, one per fold.
        mode: what is pruned.
    """
    return tuple(
        np.mean([score(h, t.x, group) for h, t in zip(heads, train, strict=True)], axis=0)
        for group in mode.groups
    )


def sensitivity_scores(
    heads: Sequence[Params],
    train: Sequence[Split],
    mode: Mode,
    ps: Sequence[float],
    *,
    p_outputs: float | None = None,
    of: Output = "probabilities",
    weighting: Weighting = "none",
) -> tuple[np.ndarray, ...]:
    """Scores of every pruned unit group by several norms, each over patterns and outputs.

    Args:
        heads: parameters of a trained dense head, one per fold.
        train: training rows, one per fold; sensitivities are taken over them, once for all norms.
        mode: what is pruned.
        ps: exponents over the patterns.
        p_outputs: exponent over the outputs; the same as over the patterns if not given.
        of: outputs that are derived.
        weighting: what every sensitivity is multiplied by.

    Returns:
        ``float64 [len(ps), U]`` for each pruned unit group.

    Raises:
        UserError: features or a head without sensitivities, a bad norm.
    """

    def score(params: Params, x: np.ndarray, group: int) -> np.ndarray:
        found = sensitivities(params, x, p=ps, layer=group, of=of, weighting=weighting)
        return np.stack([found.scores(p, p_outputs) for p in ps])

    return mean_over_folds(score, heads, train, mode)
