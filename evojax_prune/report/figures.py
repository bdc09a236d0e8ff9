"""Pictures, drawn without a display."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.methods.found import Trials

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float = 7.5, height: float = 5.5) -> Figure:
    """An empty figure; sizes in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without a date, so that the same figures give the same file."""
    figure.savefig(path, dpi=130, format="png", metadata={"Software": None})


def convergence(figure: Figure, trials: Trials, dense: float, title: str) -> None:
    """Best and mean fitness against evaluations, with the dense head's; active fraction beneath.

    Args:
        figure: an empty figure.
        trials: every genome in the order of evaluation; the mean is taken over each generation's
            new genomes.
        dense: value of the dense head under the same protocol.
        title: above the picture.
    """
    fitness, active_fraction = trials.values[:, 0], trials.active_fraction
    assert trials.generation is not None, "nothing to show without generations"
    count = np.arange(1, len(trials) + 1)
    best_at = _best_at(fitness)
    ends, means = _by_generation(trials.generation, fitness)
    active_ends, active_means = _by_generation(trials.generation, active_fraction)

    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.plot(count, fitness[best_at], color="C0", label="best so far")
    upper.plot(ends, means, color="C1", marker=".", label="mean of the generation")
    upper.axhline(dense, color="0.3", linestyle="--", label="dense head")
    upper.set_ylabel(trials.objectives[0].label)
    upper.set_title(title, fontsize="medium")
    upper.legend(fontsize="small")
    upper.grid(alpha=0.3)
    lower.plot(count, active_fraction[best_at], color="C0", label="best so far")
    lower.plot(active_ends, active_means, color="C1", marker=".", label="mean of the generation")
    lower.set_ylim(0, 1)
    lower.set_ylabel("active fraction")
    lower.set_xlabel("evaluations")
    lower.grid(alpha=0.3)


def levels(figure: Figure, trials: Trials, chosen: float, dense: float, title: str) -> None:
    """Accuracy of a ranking's heads against their size, with the dense head's.

    Args:
        figure: an empty figure.
        trials: the sizes that were tried; accuracies are those on the selection split.
        chosen: active fraction of the head that was taken.
        dense: accuracy of the dense head.
        title: above the picture.
    """
    axes = figure.subplots()
    order = np.argsort(trials.active_fraction)
    sizes, accuracy = trials.active_fraction[order], trials.values[order, 0]
    axes.plot(sizes, accuracy, marker="o", label="pruned")
    axes.axvline(chosen, color="C1", linestyle=":", label="taken")
    axes.axhline(dense, color="0.3", linestyle="--", label="dense head")
    axes.set_xlim(0, 1)
    axes.set_xlabel("active fraction")
    axes.set_ylabel("accuracy")
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)


def _best_at(fitness: np.ndarray) -> np.ndarray:
    """After each evaluation, the index of the best one so far."""
    known = np.where(np.isnan(fitness), -np.inf, fitness)
    before = np.concatenate(([-np.inf], np.maximum.accumulate(known)[:-1]))
    return np.maximum.accumulate(np.where(known > before, np.arange(len(known)), 0))


def _by_generation(generation: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluations done at the end of each generation, and the mean of its values (NaN left out)."""
    ends, means = [], []
    for g in np.unique(generation):
        rows = np.flatnonzero(generation == g)
        known = values[rows][~np.isnan(values[rows])]
        if len(known):
            ends.append(rows[-1] + 1)
            means.append(known.mean())
    return np.array(ends), np.array(means)
