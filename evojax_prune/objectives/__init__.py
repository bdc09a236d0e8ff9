"""What a search optimises, and what measures it.

An objective of your own is registered by one line::

    from evojax_prune.objectives import OBJECTIVES, Measure

    OBJECTIVES["mine"] = Measure(Objective("mine", "my objective"), lambda scores: ...)
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.core.errors import PluginError
from evojax_prune.core.objective import LARGEST, Objective, beyond

if TYPE_CHECKING:
    from evojax_prune.core.pruning import Pruning
    from evojax_prune.core.splits import Split
    from evojax_prune.engine import Fits

OOD = "ood"
SIZE = "size"


@dataclasses.dataclass(frozen=True)
class Scored:
    """What objectives are measured by.

    Attributes:
        genomes: ``bool [P, G]``.
        fits: of one head per genome, scored on ``"selection"``; with parameters where an objective
            asks for them.
        pruning: what the genomes mean.
        selection: the selection rows, one element per fold.
        outside: features of data that the heads should not know, ``float32 [m, F]`` per fold; None
            without any.
    """

    genomes: np.ndarray
    fits: Fits
    pruning: Pruning
    selection: tuple[Split, ...]
    outside: tuple[np.ndarray, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Measure:
    """An objective and how it is measured.

    Attributes:
        objective: name, direction and format.
        of: gives ``float64 [P]``, in the objective's direction; NaN where training diverged.
        parameters: it reads the trained parameters.
    """

    objective: Objective
    of: Callable[[Scored], np.ndarray]
    parameters: bool = False

    def values(self, scored: Scored) -> np.ndarray:
        """What it gives, ``float64 [P]``.

        Raises:
            PluginError: that is not one number per genome, or infinitely good, or too large.
        """
        found, count = self.of(scored), len(scored.genomes)
        with contextlib.suppress(TypeError, ValueError):
            values = np.asarray(found)
            if values.shape == (count,) and values.dtype.kind in "fiub":
                return self._beatable(values.astype(np.float64))
        given = f"{type(found).__name__} of shape {np.shape(found)}"
        raise PluginError(
            f"the objective {self.objective.name} gives {given}, expected {count} numbers, one per "
            "genome: mend its plugin"
        )

    def _beatable(self, values: np.ndarray) -> np.ndarray:
        best = np.inf if self.objective.maximised else -np.inf
        if (values == best).any():
            raise PluginError(
                f"the objective {self.objective.name} gives {best:g}, which nothing can beat, "
                "expected a number, or NaN where there is none: mend its plugin"
            )
        if beyond(values).any():
            raise PluginError(
                f"the objective {self.objective.name} gives a number beyond {LARGEST:g} either "
                "way: mend its plugin"
            )
        return values


def _size(scores: Scored) -> np.ndarray:
    # On a log scale a head without any active bit would be infinitely good.
    return np.maximum(scores.genomes.sum(1), 1).astype(np.float64)


def _ood(scores: Scored) -> np.ndarray:
    from evojax_prune.objectives.ood import ood

    return ood(scores)


OBJECTIVES: dict[str, Measure] = {
    measure.objective.name: measure
    for measure in (
        Measure(
            Objective(
                "cross-entropy", "cross-entropy (nats)", maximised=False, bounds=(0.0, np.inf)
            ),
            lambda scores: scores.fits.cross_entropy["selection"],
        ),
        Measure(
            Objective("accuracy", "accuracy", bounds=(0.0, 1.0)),
            lambda scores: scores.fits.accuracy["selection"],
        ),
        Measure(
            Objective(
                *(SIZE, "active bits", False),
                digits=".0f",
                noisy=False,
                scale="log",
                bounds=(1.0, np.inf),
            ),
            _size,
        ),
        Measure(
            Objective(OOD, "AUROC against other data", bounds=(0.0, 1.0)), _ood, parameters=True
        ),
    )
}
"""Every objective by its name."""


def penalised(measure: Measure, penalty: float) -> Measure:
    """The same objective, made worse by ``penalty`` for each unit of active fraction."""
    objective = measure.objective
    if not penalty:
        return measure
    sign = -penalty if objective.maximised else penalty
    label = f"{objective.label} {'-' if sign < 0 else '+'} {penalty:g} x active fraction"
    lowest, highest = objective.bounds
    bounds = min(lowest, lowest + sign), max(highest, highest + sign)
    return Measure(
        dataclasses.replace(objective, label=label, bounds=bounds),
        lambda scores: measure.values(scores) + sign * scores.genomes.mean(1),
        measure.parameters,
    )
