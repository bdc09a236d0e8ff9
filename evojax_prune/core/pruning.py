"""What genomes mean: the head, where its mask sits and what one bit switches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.head import HeadSpec
from evojax_prune.core.masks import Masks, dense_masks, kernel_masks
from evojax_prune.core.mode import Grain, Mode, ModeName, find_mode
from evojax_prune.core.ranking import keep_best

Fractions = tuple[float, ...]
"""For each part of a genome, the fraction of its bits that stays, in (0, 1]."""


@dataclasses.dataclass(frozen=True)
class Pruning:
    """How genomes are decoded onto a head.

    A genome has a part for each pruned unit group, or for each sparse layer where bits switch
    connections.

    Attributes:
        spec: shape of the head.
        mode: which parts of it a genome switches.
        grain: what one bit switches.
    """

    spec: HeadSpec
    mode: Mode
    grain: Grain = "neurons"

    @property
    def parts(self) -> tuple[int, ...]:
        """Bits of each part; in all, the bits of a genome."""
        widths = self.spec.widths
        if self.grain == "connections":
            return tuple(widths[i] * widths[i + 1] for i in self.mode.sparse)
        return tuple(widths[group] for group in self.mode.groups)

    @property
    def genome_length(self) -> int:
        """Bits G of a genome."""
        return sum(self.parts)

    @property
    def dense(self) -> np.ndarray:
        """The genome of the whole head, as a population ``bool [1, G]``."""
        return np.ones((1, self.genome_length), bool)

    def split(self, genomes: np.ndarray) -> list[np.ndarray]:
        """The parts of genomes ``[..., G]``."""
        return np.split(genomes, np.cumsum(self.parts)[:-1], axis=-1)

    def masks(self, genomes: np.ndarray) -> Masks:
        """Masks of genomes ``bool [P, G]``.

        Raises:
            ValueError: genomes of another length than the head and mode need, or that are not bits.
        """
        genomes = np.asarray(genomes)
        if genomes.dtype != bool and not np.isin(genomes, (0, 1)).all():
            raise ValueError(f"genomes of type {genomes.dtype} hold other values than 0 and 1")
        genomes = np.asarray(genomes, bool)
        if genomes.ndim != 2 or genomes.shape[1] != self.genome_length:
            raise ValueError(
                f"genomes have shape {genomes.shape}, expected [P, {self.genome_length}] "
                f"for {self.mode.name!r}"
            )
        dense, parts = dense_masks(self.spec, len(genomes)), self.split(genomes)
        if self.grain == "connections":
            connections: list[np.ndarray | None] = list(dense.connections)
            for layer, part in zip(self.mode.sparse, parts, strict=True):
                connections[layer] = part.reshape(-1, *self.spec.widths[layer : layer + 2])
            return dataclasses.replace(dense, connections=tuple(connections))
        groups = [dense.features, *dense.units]
        for group, part in zip(self.mode.groups, parts, strict=True):
            groups[group] = part
        return dataclasses.replace(dense, features=groups[0], units=tuple(groups[1:]))

    def fractions(self, genome: np.ndarray) -> Fractions:
        """Active fraction of each part of a genome ``bool [G]``, at least one bit of each."""
        return tuple(max(float(part.mean()), 1 / len(part)) for part in self.split(genome))

    def keep(self, scores: Sequence[np.ndarray], fractions: Fractions) -> np.ndarray:
        """Genome ``bool [G]`` of the highest scores of each part; of equal ones the first.

        Scores of different parts are in different units, so each part is cut by itself.

        Raises:
            UserError: a fraction outside (0, 1], NaN scores.
        """
        return np.concatenate(
            [keep_best(s, fraction) for s, fraction in zip(scores, fractions, strict=True)]
        )

    def active_units(self, masks: Masks, member: int) -> int:
        """Features (``features`` mode) or pruned layers' units that keep a weight."""
        kernels = kernel_masks(masks, member)
        places = (self.mode.place(group) for group in self.mode.groups)
        return sum(int(kernels[layer].any(1 - axis).sum()) for layer, axis in places)


def decode(genomes: np.ndarray, spec: HeadSpec, mode: ModeName, grain: Grain = "neurons") -> Masks:
    """Masks of a population of genomes.

    With grain ``neurons`` a bit switches a backbone feature (``features``), a unit of the first
    hidden layer (``fc1``), a unit of the second (``fc2``), or the units of both (``both``: first
    layer's bits first). With ``connections`` a bit switches one weight of the sparse layers, row by
    row.

    Args:
        genomes: ``bool [P, G]``.
        spec: shape of the head.
        mode: prune mode.
        grain: what one bit switches.

    Raises:
        ValueError: an unknown mode; genomes of another length than the head and mode need, or that
            are not bits.
    """
    return Pruning(spec, find_mode(mode), grain).masks(genomes)
