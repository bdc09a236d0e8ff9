"""Prune modes: where the mask of a head sits."""

from __future__ import annotations

import dataclasses
from typing import Literal

ModeName = Literal["features", "fc1", "fc2", "both"]
"""Where the mask sits."""

Grain = Literal["neurons", "connections"]
"""What one bit of a genome switches: a unit, or a weight of the sparse layers."""


@dataclasses.dataclass(frozen=True)
class Mode:
    """Which parts of a head a genome switches (EvoPruneDeepTL, section 3).

    Unit groups are numbered from the input: 0 for the features, i for the i-th hidden layer. Layers
    of weights are numbered from 0, so that layer i maps group i to group i + 1.

    Attributes:
        name: as the configuration and the tables have it.
        groups: unit groups that are pruned, in the order of the genome's bits.
        sparse: layers of weights that are pruned, which carry no bias.
        hidden: units of the hidden layers unless others are asked for.
    """

    name: ModeName
    groups: tuple[int, ...]
    sparse: tuple[int, ...]
    hidden: tuple[int, ...]

    def place(self, group: int) -> tuple[int, int]:
        """The layer of weights, and its axis (0 rows, 1 columns), that a pruned group is cut from.

        The axis is that of the units themselves: features are rows of layer 0.
        """
        return (group - 1, 1) if group - 1 in self.sparse else (group, 0)


MODES: dict[str, Mode] = {
    mode.name: mode
    for mode in (
        Mode("features", groups=(0,), sparse=(0,), hidden=(512,)),
        Mode("fc1", groups=(1,), sparse=(1,), hidden=(512, 512)),
        Mode("fc2", groups=(2,), sparse=(1,), hidden=(512, 512)),
        Mode("both", groups=(1, 2), sparse=(0, 1), hidden=(512, 512)),
    )
}
"""Every prune mode by its name."""


def find_mode(name: str) -> Mode:
    """A prune mode by its name.

    Raises:
        ValueError: an unknown name.
    """
    if name not in MODES:
        raise ValueError(f"unknown mode {name!r}, expected one of {', '.join(MODES)}")
    return MODES[name]
