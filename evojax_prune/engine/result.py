"""What one trained member gives back to the population."""

from __future__ import annotations

import dataclasses

from evojax_prune.core.head import Params


@dataclasses.dataclass(frozen=True)
class MemberFit:
    """One trained head: see :class:`evojax_prune.engine.fits.Fits` for the figures."""

    accuracy: dict[str, float]
    cross_entropy: dict[str, float]
    loss: float
    epochs: int
    seconds: float
    params: Params | None
