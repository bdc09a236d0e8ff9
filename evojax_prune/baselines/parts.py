"""The parts of a genome that are pruned each by itself: one a pruned layer.

Weights of different layers differ in scale, so a ranking is cut layer by layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.heads import SPARSE_LAYERS, HeadSpec
from evojax_prune.sensitivity.ranking import keep_best
from evojax_prune.words import Grain, Mode

Fractions = tuple[float, ...]
"""For each part, the fraction of its bits that stays, in (0, 1]."""


def part_lengths(head: HeadSpec, mode: Mode, grain: Grain) -> tuple[int, ...]:
    """Bits of each part; in all, the bits of a genome."""
    if grain == "connections":
        return tuple(head.widths[i] * head.widths[i + 1] for i in SPARSE_LAYERS[mode])
    if mode == "both":
        return head.hidden[:2]
    return (head.widths[("features", "fc1", "fc2").index(mode)],)


def part_fractions(genome: np.ndarray, head: HeadSpec, mode: Mode, grain: Grain) -> Fractions:
    """Active fraction of each part of a genome ``bool [G]``, at least one bit of each."""
    cuts = np.cumsum(part_lengths(head, mode, grain))[:-1]
    return tuple(max(float(p.mean()), 1 / len(p)) for p in np.split(genome, cuts))


def keep_highest(scores: Sequence[np.ndarray], fractions: Fractions) -> np.ndarray:
    """Genome ``bool [G]`` of the highest scores of each part; of equal ones the first."""
    kept = [keep_best(s, fraction) for s, fraction in zip(scores, fractions, strict=True)]
    return np.concatenate(kept)
