"""From trained dense heads to the genomes that keep their most sensitive units."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.head import Params
from evojax_prune.core.mode import MODES, ModeName
from evojax_prune.core.ranking import keep_best
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.sensitivity.jacobian import Output
from evojax_prune.sensitivity.scores import Weighting, sensitivities

LayerScores = tuple[np.ndarray, ...]
"""``float64 [U]`` for each pruned layer."""


def keep_genomes(scores: LayerScores, keeps: Sequence[float]) -> np.ndarray:
    """Genomes that keep the best units of every pruned layer, one genome a fraction.

    Each layer keeps the same fraction of its own units: scores of different layers are not in the
    same units, so one order over all of them would mean little.

    Args:
        scores: the scores of each pruned layer's units, higher is better.
        keeps: fractions to keep, each in (0, 1].

    Returns:
        ``bool [len(keeps), G]``.

    Raises:
        UserError: a fraction outside (0, 1], NaN scores.
    """
    return np.stack([np.concatenate([keep_best(s, keep) for s in scores]) for keep in keeps])


def mean_over_folds(
    score: Callable[[Params, np.ndarray, int], np.ndarray],
    heads: Sequence[Params],
    splits: Sequence[FeatureSplits],
    mode: ModeName,
) -> LayerScores:
    """Scores of every pruned layer, each head scored on its own fold's training rows.

    Args:
        score: gives ``float64 [U]`` for a head, features ``[N, F]`` and a layer.
        heads: a trained dense head a fold; its parameters.
        splits: the folds. Only training rows are looked at.
        mode: decides the layers.
    """
    return tuple(
        np.mean([score(h, s.train.x, layer) for h, s in zip(heads, splits, strict=True)], axis=0)
        for layer in MODES[mode].groups
    )


def sensitivity_scores(
    heads: Sequence[Params],
    splits: Sequence[FeatureSplits],
    mode: ModeName,
    ps: Sequence[float],
    *,
    of: Output = "probabilities",
    weighting: Weighting = "none",
) -> tuple[np.ndarray, ...]:
    """Scores of every pruned layer's units by several norms, each over patterns and outputs.

    Args:
        heads: a trained dense head a fold.
        splits: the folds; sensitivities are taken over the training rows, once for all norms.
        mode: what is pruned.
        ps: exponents.
        of: outputs that are derived.
        weighting: what every sensitivity is multiplied by.

    Returns:
        ``float64 [len(ps), U]`` for each pruned layer.

    Raises:
        UserError: features or a head without sensitivities, a bad norm.
    """
    return _scores(heads, splits, mode, ps, None, of, weighting)


def sensitivity_genomes(
    heads: Sequence[Params],
    splits: Sequence[FeatureSplits],
    mode: ModeName,
    keeps: Sequence[float],
    *,
    p: float = 2.0,
    p_outputs: float | None = None,
    of: Output = "probabilities",
    weighting: Weighting = "none",
) -> np.ndarray:
    """Genomes that keep the units the outputs depend on most.

    Args:
        heads: a trained dense head a fold.
        splits: the folds; sensitivities are taken over the training rows.
        mode: what is pruned.
        keeps: fractions to keep, one genome each.
        p: exponent over the patterns.
        p_outputs: exponent over the outputs; the same as ``p`` if not given.
        of: outputs that are derived.
        weighting: what every sensitivity is multiplied by.

    Returns:
        ``bool [len(keeps), G]``, as :func:`evojax_prune.core.masks.decode` takes them.

    Raises:
        UserError: features or a head without sensitivities, a bad norm or fraction.
    """
    each = _scores(heads, splits, mode, [p], p_outputs, of, weighting)
    return keep_genomes(tuple(scores[0] for scores in each), keeps)


def _scores(
    heads: Sequence[Params],
    splits: Sequence[FeatureSplits],
    mode: ModeName,
    ps: Sequence[float],
    p_outputs: float | None,
    of: Output,
    weighting: Weighting,
) -> tuple[np.ndarray, ...]:
    def score(params: Params, x: np.ndarray, layer: int) -> np.ndarray:
        found = sensitivities(params, x, p=ps, layer=layer, of=of, weighting=weighting)
        return np.stack([found.scores(p, p_outputs) for p in ps])

    return mean_over_folds(score, heads, splits, mode)
