"""A head trained by the final protocol and judged, row by row, in plain NumPy.

The accuracies of a report come from here, from the very weights that are written to disk, so what
a user measures with ``head.safetensors`` is what the table says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evojax_prune.engine.fits import Fits
from evojax_prune.heads import HeadSpec
from evojax_prune.masks import Masks, count_parameters, decode, kernel_masks
from evojax_prune.report.export import CompactHead, compact_head
from evojax_prune.splits import FeatureSplits
from evojax_prune.words import Grain, Mode


@dataclasses.dataclass(frozen=True)
class Pruning:
    """What genomes mean: the head, where its mask sits and what one bit switches."""

    spec: HeadSpec
    mode: Mode
    grain: Grain

    def masks(self, genomes: np.ndarray) -> Masks:
        """The masks of genomes ``bool [P, G]``."""
        return decode(genomes, self.spec, self.mode, self.grain)

    def active_units(self, masks: Masks, member: int) -> int:
        """Features (``features`` mode) or pruned layers' units that keep a weight."""
        kernels = kernel_masks(masks, member)
        if self.mode == "features":
            kept = [kernels[0].any(1)]
        elif self.mode == "fc1":
            kept = [kernels[1].any(1)]
        elif self.mode == "fc2":
            kept = [kernels[1].any(0)]
        else:
            kept = [kernels[0].any(0), kernels[1].any(0)]
        return sum(int(k.sum()) for k in kept)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained head and how it did.

    Attributes:
        genome: ``bool [G]``.
        heads: the trained head, or one a fold.
        selection: fraction of the selection rows classified rightly, mean over folds; NaN where
            training diverged.
        right: ``bool [folds, n]``, whether each test row is classified rightly.
        active_units: see :meth:`Pruning.active_units`.
        parameters: parameters that are kept.
        epochs: epochs of the final protocol that were run, over all folds.
    """

    genome: np.ndarray
    heads: tuple[CompactHead, ...]
    selection: float
    right: np.ndarray
    active_units: int
    parameters: int
    epochs: int

    @property
    def test(self) -> float:
        """Fraction of the test rows classified rightly, mean over folds."""
        return float(self.right.mean())

    @property
    def optimism(self) -> float:
        """Selection accuracy less test accuracy."""
        return self.selection - self.test

    @property
    def active_fraction(self) -> float:
        """Active bits / bits."""
        return float(self.genome.mean())


def judge(
    fits: Fits,
    member: int,
    genomes: np.ndarray,
    pruning: Pruning,
    splits: Sequence[FeatureSplits],
) -> Outcome:
    """Judge one member of a population that was fitted with ``return_params``.

    Args:
        fits: what the engine returned.
        member: row of ``genomes``.
        genomes: ``bool [P, G]``.
        pruning: what the genomes mean.
        splits: the splits that were fitted, one a fold.
    """
    masks = pruning.masks(genomes[member : member + 1])
    heads, selection, right = [], [], []
    for fold, split in zip(fits.folds or (fits,), splits, strict=True):
        assert fold.params is not None, "fitted without return_params"
        head = compact_head(fold.params[member], masks, 0)
        heads.append(head)
        selection.append(np.mean(head.predict(split.selection.x) == split.selection.y))
        right.append(head.predict(split.test.x) == split.test.y)
    return Outcome(
        genome=genomes[member],
        heads=tuple(heads),
        selection=float(np.mean(selection)) if np.isfinite(fits.loss[member]) else math.nan,
        right=np.stack(right),
        active_units=pruning.active_units(masks, 0),
        parameters=int(count_parameters(masks, pruning.spec)[0]),
        epochs=int(fits.epochs[member]),
    )
