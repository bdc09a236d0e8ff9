"""The results of one data set and backbone, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.ranking import smallest_within_error

Cell = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Volatility:
    """How much a network's accuracy moves when it is pruned, all in units of accuracy (0 to 1).

    With ``d(p, r, s)`` the test accuracy under norm p at reduction level r with seed s minus the
    dense head's with the same seed:

    Attributes:
        volatility: ``sqrt(mean over r of Var over (p, s) of d)``: at a given reduction level, how
            far the outcome is from what one would expect, whichever norm and seed are taken. 0 for
            a network whose accuracy depends on the level alone.
        norms: the part of it due to the norm: ``sqrt(mean over r of Var over p of (mean over s of
            d))``. The rest, ``volatility**2 - norms**2``, is due to the seed.
        loss: ``-mean of d`` over norms, levels and seeds: what pruning costs on average. A
            resilient network has a low loss and a low volatility.
    """

    volatility: float
    norms: float
    loss: float


def volatility(pruned: np.ndarray, dense: np.ndarray) -> Volatility:
    """Volatility of one network on one data set; a definition of ours.

    Jeczmionek and Kowalski (2023) call ResNets volatile and VGG16 resilient; the definition here
    makes that one figure. Variances are the population's.

    Args:
        pruned: accuracies ``[norms, levels, seeds]``; NaN where training diverged counts as 0.
        dense: accuracies ``[seeds]`` of the dense heads.
    """
    change = np.nan_to_num(np.asarray(pruned, np.float64)) - dense[None, None, :]
    return Volatility(
        volatility=float(np.sqrt(change.var((0, 2)).mean())),
        norms=float(np.sqrt(change.mean(2).var(0).mean())),
        loss=float(-change.mean()),
    )


@dataclasses.dataclass(frozen=True)
class Network:
    """A backbone on a data set.

    Attributes:
        dataset: name of the data.
        backbone: name of the backbone.
        seeds: S seeds.
        rankings: R rankings, the norms first.
        levels: L reduction levels.
        accuracy: for ``selection`` and ``test``, ``float64 [R, L, S]``; NaN where training
            diverged.
        dense: for ``selection`` and ``test``, ``float64 [S]``.
        parameters: ``int64 [R, L]``, of a pruned head.
        dense_parameters: of the dense head.
        selection_rows: rows of the selection split.
        jaccard: ``float64 [L, R, R]``, mean over seeds.
        correlation: ``float64 [R, R]``, mean over seeds.
        selected_on_test: the selection split is the test split.
    """

    dataset: str
    backbone: str
    seeds: tuple[int, ...]
    rankings: tuple[str, ...]
    levels: tuple[float, ...]
    accuracy: dict[str, np.ndarray]
    dense: dict[str, np.ndarray]
    parameters: np.ndarray
    dense_parameters: int
    selection_rows: int
    jaccard: np.ndarray
    correlation: np.ndarray
    selected_on_test: bool

    @property
    def norms(self) -> tuple[str, ...]:
        """The rankings that are p-norms."""
        return tuple(name for name in self.rankings if name.startswith("p="))

    def mean(self, split: str) -> np.ndarray:
        """Accuracy ``[R, L]``, mean over seeds; NaN where any diverged."""
        return self.accuracy[split].mean(-1)

    def best(self) -> tuple[int, int]:
        """Norm and level of the highest selection accuracy; of equals the higher level."""
        score = self.mean("selection")[: len(self.norms)]
        if np.isnan(score).all():
            raise UserError(
                f"every pruned head of {self.backbone} on {self.dataset} diverged in training: "
                "lower protocol.learning_rate"
            )
        norm, level = np.nonzero(score == np.nanmax(score))
        last = np.argmax(np.asarray(self.levels)[level])
        return int(norm[last]), int(level[last])

    def auto(self) -> tuple[int, int] | None:
        """Norm and level of the smallest head within one standard error of the best.

        The dense head is a candidate too; None if it is the one.
        """
        norms, levels = len(self.norms), len(self.levels)
        accuracy = np.append(self.mean("selection")[:norms].ravel(), self.dense["selection"].mean())
        size = np.append(self.parameters[:norms].ravel(), self.dense_parameters)
        chosen = smallest_within_error(accuracy, size, self.selection_rows)
        return divmod(chosen, levels) if chosen < norms * levels else None

    def volatility(self) -> Volatility:
        """How much the test accuracy moves, over the norms."""
        return volatility(self.accuracy["test"][: len(self.norms)], self.dense["test"])


def networks(cells: Iterable[Cell]) -> list[Network]:
    """The networks of a study, in the order of their first cell."""
    by_name: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        first = cell["rows"][0]
        by_name.setdefault((first["dataset"], first["backbone"]), []).append(cell)
    return [_network(name, group) for name, group in by_name.items()]


def _network(name: tuple[str, str], cells: list[Cell]) -> Network:
    rankings = cells[0]["overlap"]["rankings"]
    levels = list(dict.fromkeys(row["level"] for row in cells[0]["rows"]))
    shape = len(rankings), len(levels)

    def column(key: str) -> np.ndarray:
        """``[R, L, S]``; a cell's rows lie ranking by ranking, level by level."""
        by_seed = [[row[key] for row in cell["rows"]] for cell in cells]
        return np.stack([np.reshape(values, shape) for values in by_seed], axis=-1)

    splits = ("selection", "test")
    return Network(
        *name,
        seeds=tuple(cell["rows"][0]["seed"] for cell in cells),
        rankings=tuple(rankings),
        levels=tuple(levels),
        accuracy={split: column(f"{split}_accuracy") for split in splits},
        dense={split: column(f"dense_{split}_accuracy")[0, 0] for split in splits},
        parameters=column("parameters").max(-1),
        dense_parameters=cells[0]["dense_parameters"],
        selection_rows=cells[0]["selection_rows"],
        jaccard=np.mean([cell["overlap"]["jaccard"] for cell in cells], axis=0),
        correlation=np.mean([cell["overlap"]["correlation"] for cell in cells], axis=0),
        selected_on_test=cells[0]["selected_on_test"],
    )
