"""A head trained by the final protocol and judged, row by row, in plain NumPy.

The accuracies of a report come from here, from the very weights that are written to disk, so what
a user measures with ``head.safetensors`` is what the table says.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.compact_head import CompactHead, compact_head
from evojax_prune.core.head import Params
from evojax_prune.core.masks import count_parameters
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A trained head and how it did.

    Attributes:
        genome: ``bool [G]``.
        heads: the trained head, or one per fold.
        selection: fraction of the selection rows classified rightly, mean over folds (or over fresh
            splits); NaN where training diverged.
        right: ``bool [folds, n]``, whether each test row is classified rightly.
        active_units: see :meth:`Pruning.active_units`.
        parameters: parameters that are kept.
        epochs: epochs of the final protocol that were run, over all folds.
        loss: training loss, nats, mean over folds.
    """

    genome: np.ndarray
    heads: tuple[CompactHead, ...]
    selection: float
    right: np.ndarray
    active_units: int
    parameters: int
    epochs: int
    loss: float

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
    params: Sequence[Params],
    genome: np.ndarray,
    pruning: Pruning,
    splits: Sequence[FeatureSplits],
    *,
    loss: float,
    epochs: int,
    selection: float | None = None,
) -> Outcome:
    """Judge one trained head, or one per fold.

    Args:
        params: trained parameters, one element per fold; pruned weights are ignored.
        genome: ``bool [G]``.
        pruning: what the genome means.
        splits: the splits that were fitted, one per fold.
        loss: training loss in nats; the selection accuracy is NaN unless it is finite.
        epochs: epochs of training, over all folds.
        selection: the selection accuracy, where it was measured on other heads: those trained on
            all rows but the test split's have none of their own.
    """
    masks = pruning.masks(genome[None])
    heads = tuple(compact_head(p, masks, 0) for p in params)
    if selection is None:
        each = [
            np.mean(head.predict(split.selection.x) == split.selection.y)
            for head, split in zip(heads, splits, strict=True)
        ]
        selection = float(np.mean(each))
    right = [
        head.predict(split.test.x) == split.test.y
        for head, split in zip(heads, splits, strict=True)
    ]
    return Outcome(
        genome=genome,
        heads=heads,
        selection=selection if np.isfinite(loss) else math.nan,
        right=np.stack(right),
        active_units=pruning.active_units(masks, 0),
        parameters=int(count_parameters(masks, pruning.spec)[0]),
        epochs=epochs,
        loss=loss,
    )
