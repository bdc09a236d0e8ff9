"""Recursive elimination: train, drop the bits that matter least, train again.

A bit is scored by sensitivity (p = 2, over training rows and outputs) times the standard deviation
of its feature or unit: the effect of a typical change on the outputs. Scores of a trained head
hold for that head; by training again after each cut, what stood in for a dropped feature is
scored anew (Guyon et al. 2002 do so with the weights of a support vector machine).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.masks import apply_mask
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import rank_units
from evojax_prune.core.splits import Split
from evojax_prune.sensitivity import sensitivity_scores

if TYPE_CHECKING:
    from evojax_prune.engine import Fits

Fit = Callable[[np.ndarray], "Fits"]
"""Trains heads of genomes ``bool [P, G]`` by some protocol and returns them with parameters."""

DROP = 0.3
"""Fraction of the active bits that each step drops."""

LEAST = 8
"""Bits of each part that are left in the end."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One training of a recursive elimination.

    Attributes:
        number: from 1.
        of: steps in all.
        genome: ``bool [G]``, the bits that were active.
        fits: the trained head, with parameters.
    """

    number: int
    of: int
    genome: np.ndarray
    fits: Fits


@dataclasses.dataclass(frozen=True)
class Elimination:
    """What a recursive elimination found.

    Attributes:
        scores: ``float64 [bits]`` for each part of the genome, all different: the earlier a bit was
            dropped, the lower; what was dropped together, and what was left, by its last scores.
        genomes: ``bool [steps + 1, G]``: the whole head, what each step left, at last the least.
            All but the last were trained.
        epochs: epochs of all trainings.
    """

    scores: tuple[np.ndarray, ...]
    genomes: np.ndarray
    epochs: int

    @property
    def trainings(self) -> int:
        """Heads that were trained (each on every fold)."""
        return len(self.genomes) - 1


def elimination_protocol(protocol: Protocol) -> Protocol:
    """How heads are trained between the steps: for a third of the epochs of a final head."""
    return dataclasses.replace(
        protocol, epochs=max(1, round(protocol.epochs / 3)), steps=protocol.steps // 3
    )


def elimination_sizes(
    parts: Sequence[int], drop: float = DROP, least: int = LEAST
) -> list[tuple[int, ...]]:
    """Active bits of each part, from the whole head to the least; all but the last are trained.

    There is one training at least, or the bits could not be ranked.

    Raises:
        UserError: a fraction to drop outside (0, 1), fewer than 1 bit left.
    """
    if not 0 < drop < 1:
        raise UserError(f"drop is {drop:g}: expected a fraction between 0 and 1, as in 0.3")
    if least < 1:
        raise UserError(f"least is {least}: expected at least 1")
    sizes = [tuple(parts)]
    while any(size > least for size in sizes[-1]):
        sizes.append(tuple(max(min(least, s), int(s * (1 - drop))) for s in sizes[-1]))
    return sizes if len(sizes) > 1 else sizes * 2


def recursive_elimination(
    fit: Fit,
    pruning: Pruning,
    train: Sequence[Split],
    drop: float = DROP,
    least: int = LEAST,
    on_step: Callable[[Step], None] | None = None,
) -> Elimination:
    """Rank the bits of a genome by recursive elimination.

    Layers are cut separately, by the same fraction. Over folds there is one genome: scores are
    means over the folds' heads.

    Args:
        fit: trains a head of a genome on every fold.
        pruning: what genomes mean; its grain is ``neurons``.
        train: training rows, one per fold, in the order of ``fit``'s folds.
        drop: fraction of each part's active bits that a step drops, in (0, 1).
        least: bits of each part that are left in the end; smaller parts are left whole.
        on_step: told of each training.

    Raises:
        UserError: connections are pruned, training diverged, ``drop`` or ``least`` out of bounds.
    """
    if pruning.grain != "neurons":
        raise UserError(
            "recursive elimination drops features or units: use --grain neurons, not connections"
        )
    sizes = elimination_sizes(pruning.parts, drop, least)
    active = [np.ones(part, bool) for part in pruning.parts]
    worst_first: list[list[np.ndarray]] = [[] for _ in active]
    orders, genomes, epochs = [np.arange(part) for part in pruning.parts], [], 0
    for number, following in enumerate(sizes[1:], start=1):
        genomes.append(np.concatenate(active))
        fits = fit(genomes[-1][None])
        epochs += int(fits.epochs[0])
        if on_step is not None:
            on_step(Step(number, len(sizes) - 1, genomes[-1], fits))
        scores = _scores(fits, genomes[-1], pruning, train)
        for i, keep in enumerate(following):
            orders[i] = rank_units(scores[i], active[i])[: active[i].sum()]
            worst_first[i].append(orders[i][keep:][::-1])
            orders[i] = orders[i][:keep]
            active[i] = np.isin(np.arange(len(active[i])), orders[i])
    ranked = (
        np.concatenate([*dropped, left[::-1]])
        for dropped, left in zip(worst_first, orders, strict=True)
    )
    return Elimination(
        scores=tuple(np.argsort(order).astype(np.float64) for order in ranked),
        genomes=np.stack([*genomes, np.concatenate(active)]),
        epochs=epochs,
    )


def _scores(
    fits: Fits, genome: np.ndarray, pruning: Pruning, train: Sequence[Split]
) -> list[np.ndarray]:
    """Sensitivity times standard deviation of every bit, mean over the folds' heads."""
    masks = pruning.masks(genome[None])
    heads = [apply_mask(_first(fold), masks, 0) for fold in fits.folds or (fits,)]
    found = sensitivity_scores(heads, train, pruning.mode, [2.0], weighting="std")
    return [scores[0] for scores in found]


def _first(fits: Fits) -> Params:
    if fits.params is None:
        raise ValueError("recursive elimination needs heads that were fitted with their parameters")
    return fits.params[0]
