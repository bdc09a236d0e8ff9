"""The population trainer: many masked heads on fixed features, exactly and fast.

The public names are imported when they are first used, so that ``ENGINES`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evojax_prune.core import lazily

if TYPE_CHECKING:
    from evojax_prune.engine.api import fit_population
    from evojax_prune.engine.cache import FoldCache
    from evojax_prune.engine.fits import EngineReport, Fits
    from evojax_prune.engine.optax.steps import OPTIMIZERS, optimizer_names
    from evojax_prune.engine.optax.trainer import HeadTrainer
    from evojax_prune.engine.workers import run_queue

__all__ = [
    "ENGINES",
    "OPTIMIZERS",
    "EngineReport",
    "Fits",
    "FoldCache",
    "HeadTrainer",
    "fit_population",
    "optimizer_names",
    "run_queue",
]

ENGINES = ("auto", "native", "xla", "optax")
"""What ``engine`` may be: ``auto``, or the name of a path in ``evojax_prune.engine.plan.PATHS``."""

_HOMES = {
    "EngineReport": "fits",
    "Fits": "fits",
    "FoldCache": "cache",
    "HeadTrainer": "optax.trainer",
    "OPTIMIZERS": "optax.steps",
    "fit_population": "api",
    "optimizer_names": "optax.steps",
    "run_queue": "workers",
}


__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted(__all__)
