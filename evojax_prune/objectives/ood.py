"""How well heads tell their own data from others, as MO-EvoPruneDeepTL's third objective has it.

Source: Poyatos et al. 2023, arXiv 2302.10253. The released code has a temperature of 1,000 and does
not perturb the input; so does this.
"""

from __future__ import annotations

import numpy as np

from evojax_prune.analysis.ood import ood_auroc
from evojax_prune.core.compact_head import CompactHead, compact_head
from evojax_prune.objectives import Scored


def ood(scores: Scored) -> np.ndarray:
    """AUROC of ODIN's scores, selection rows against other data; higher is better.

    Returns:
        ``float64 [P]``, mean over folds; NaN where training diverged.
    """
    assert scores.outside is not None, "checked with the configuration"
    folds = scores.fits.folds or (scores.fits,)
    masks = scores.pruning.masks(scores.genomes)
    found = np.empty((len(folds), len(scores.genomes)))
    for f, (fold, split, outside) in enumerate(
        zip(folds, scores.selection, scores.outside, strict=True)
    ):
        for member, params in enumerate(fold.params or ()):
            head = compact_head(params, masks, member)
            found[f, member] = _auroc(head, split.x, outside)
    return found.mean(0)


def _auroc(head: CompactHead, inside: np.ndarray, outside: np.ndarray) -> float:
    if not all(np.isfinite(kernel).all() for kernel, _ in head.layers):
        return np.nan
    return ood_auroc([head], inside, outside)
