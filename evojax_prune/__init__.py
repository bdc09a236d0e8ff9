"""Evolutionary and sensitivity-based pruning of transfer-learning heads, in JAX and Flax.

The public functions are imported when they are first used, so that ``import evojax_prune`` costs
nothing and never starts JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evojax_prune.core.lazy import lazily
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
    from evojax_prune.run.config import RunConfig
    from evojax_prune.run.run import load_splits, prune

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
    "load_splits": "run.run",
    "prune": "run.run",
}


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
