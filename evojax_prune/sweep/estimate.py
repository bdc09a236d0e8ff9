"""How long a run will take, roughly, before it has begun."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable

from evojax_prune.core.head import head_spec
from evojax_prune.core.protocol import Protocol
from evojax_prune.run.config import RunConfig

GEMM = 110e9
"""Floating-point operations that a core of a present machine does in a second."""

STEP = 20e-6
"""Seconds that a step of a head's training costs besides."""

APART = 1.5
"""Seconds for pictures, files and what else is not training."""

STARTUP = 5.0
"""Seconds until the first run has begun."""

IMAGES = 25.0
"""Images that a core turns into features in a second."""


@dataclasses.dataclass(frozen=True)
class DataSize:
    """What the time of a run depends on.

    Attributes:
        rows: that are not test rows.
        features: of the backbone F.
        classes: C.
        images: that have to be turned into features first.
    """

    rows: int
    features: int
    classes: int
    images: int = 0


def expected_seconds(config: RunConfig, size: DataSize) -> float:
    """Seconds of a run on one core, by the operations of the heads that it trains."""
    shape = head_spec(config.mode, size.features, size.classes, config.hidden)
    widths = list(zip(shape.widths, shape.widths[1:], strict=False))
    several = config.method == "search" and len(config.objectives) > 1
    active = 0.5 if not several else 0.1 if config.mode == "features" else 0.3

    def training(protocol: Protocol, rows: float, part: float) -> float:
        (inputs, units), *later = widths
        flops = min(4.0 * rows * inputs * part * units, 2.0 * rows**2 * units)
        flops += sum(6.0 * rows * a * b for a, b in later)
        steps = rows / protocol.batch_size
        return protocol.for_rows(size.rows).epochs * (flops / GEMM + steps * STEP)

    searched, finals = 0, 20
    if config.method == "search":
        searched = config.evaluations + min(100, config.evaluations)
        finals = 2 * config.finalists + 12
    if config.compare:
        finals += 20 * len(config.compare_fractions)
    trainings = {"resampled": 6, "kfold": config.folds}.get(config.selection, 1)
    rows = size.rows * (2 / 3 if config.selection == "resampled" else 1)
    search = searched * training(config.search_protocol, rows, active)
    return APART + search + finals * trainings * training(config.final_protocol, size.rows, 0.3)


def correction(took: Iterable[tuple[float, float]]) -> float:
    """What estimates are to be multiplied by: median of seconds taken over seconds expected."""
    ratios = [seconds / expected for seconds, expected in took]
    return statistics.median(ratios) if ratios else 1.0
