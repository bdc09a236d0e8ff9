"""Evolutionary and sensitivity-based pruning of transfer-learning heads, in JAX and Flax.

The public functions are imported when they are first used, so that ``import evojax_prune`` costs
nothing and never starts JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evojax_prune.core import lazily
from evojax_prune.version import __version__

if TYPE_CHECKING:
    from evojax_prune.core.errors import UserError
    from evojax_prune.core.flax_head import Head
    from evojax_prune.core.head import HeadSpec, head_spec
    from evojax_prune.core.masks import Masks
    from evojax_prune.core.protocol import Protocol
    from evojax_prune.core.pruning import decode
    from evojax_prune.core.splits import FeatureSplits, Split
    from evojax_prune.deploy import load
    from evojax_prune.engine import fit_population
    from evojax_prune.features import extract_features
    from evojax_prune.report.figures import plot_active_fraction, plot_convergence, plot_front
    from evojax_prune.report.head_figures import (
        plot_confusion,
        plot_mask,
        plot_recall,
        plot_reliability,
        plot_scores,
    )
    from evojax_prune.run.config import RunConfig
    from evojax_prune.run.data import load_splits
    from evojax_prune.run.run import prune

__all__ = [
    "FeatureSplits",
    "Head",
    "HeadSpec",
    "Masks",
    "Protocol",
    "RunConfig",
    "Split",
    "UserError",
    "__version__",
    "decode",
    "extract_features",
    "fit_population",
    "head_spec",
    "load",
    "load_splits",
    "plot_active_fraction",
    "plot_confusion",
    "plot_convergence",
    "plot_front",
    "plot_mask",
    "plot_recall",
    "plot_reliability",
    "plot_scores",
    "prune",
]

_HOMES = {
    "FeatureSplits": "core.splits",
    "Head": "core.flax_head",
    "HeadSpec": "core.head",
    "Masks": "core.masks",
    "Protocol": "core.protocol",
    "RunConfig": "run.config",
    "Split": "core.splits",
    "UserError": "core.errors",
    "decode": "core.pruning",
    "extract_features": "features",
    "fit_population": "engine",
    "head_spec": "core.head",
    "load": "deploy.classifier",
    "load_splits": "run.data",
    "plot_active_fraction": "report.figures",
    "plot_confusion": "report.head_figures",
    "plot_convergence": "report.figures",
    "plot_front": "report.figures",
    "plot_mask": "report.head_figures",
    "plot_recall": "report.head_figures",
    "plot_reliability": "report.head_figures",
    "plot_scores": "report.head_figures",
    "prune": "run.run",
}


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
