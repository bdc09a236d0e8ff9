"""The results of one line of a study, such as a backbone on a data set, as arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.ranking import smallest_within_error

Cell = dict[str, Any]
"""What a run has in its ``norms.json``, with its seed and whether it was selected on test."""


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
    """A line of a study, such as a backbone on a data set.

    Attributes:
        labels: what tells it apart from others.
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
        rows: of every ranking, level and seed, with the dense head's accuracies.
    """

    labels: tuple[str, ...]
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
    rows: tuple[dict[str, Any], ...]

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
                f"every pruned head of {', '.join(self.labels)} diverged in training: lower "
                "final_protocol.learning_rate"
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


def make_network(labels: tuple[str, ...], cells: Sequence[Cell]) -> Network:
    """The network of a line.

    Args:
        labels: of the line.
        cells: one per seed.

    Raises:
        UserError: the seeds differ in their rankings or levels.
    """
    first = cells[0]
    rankings = first["overlap"]["rankings"]
    levels = list(dict.fromkeys(row["level"] for row in first["rows"]))
    shape = len(rankings), len(levels)

    def place(cell: Cell) -> list[tuple[str, float]]:
        return [(row["ranking"], row["level"]) for row in cell["rows"]]

    if any(place(cell) != place(first) for cell in cells):
        raise UserError(
            f"the runs of {', '.join(labels)} differ in their norms or levels: make these an axis "
            "of the sweep"
        )

    def column(key: str) -> np.ndarray:
        """``[R, L, S]``; a cell's rows lie ranking by ranking, level by level."""
        by_seed = [[row[key] for row in cell["rows"]] for cell in cells]
        return np.stack([np.reshape(values, shape) for values in by_seed], axis=-1)

    splits = ("selection", "test")
    return Network(
        labels,
        seeds=tuple(cell["seed"] for cell in cells),
        rankings=tuple(rankings),
        levels=tuple(levels),
        accuracy={split: column(f"{split}_accuracy") for split in splits},
        dense={s: np.array([cell["dense"][f"{s}_accuracy"] for cell in cells]) for s in splits},
        parameters=column("parameters").max(-1),
        dense_parameters=first["dense"]["parameters"],
        selection_rows=first["selection_rows"],
        jaccard=np.mean([cell["overlap"]["jaccard"] for cell in cells], axis=0),
        correlation=np.mean([cell["overlap"]["correlation"] for cell in cells], axis=0),
        selected_on_test=first["selected_on_test"],
        rows=tuple(
            {"seed": cell["seed"]} | row | {f"dense_{name}": cell["dense"][name] for name in _DENSE}
            for cell in cells
            for row in cell["rows"]
        ),
    )


_DENSE = ("selection_accuracy", "test_accuracy")
