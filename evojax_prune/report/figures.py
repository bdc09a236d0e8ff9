"""Pictures, drawn without a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def convergence(
    path: Path,
    fitness: np.ndarray,
    generation: np.ndarray,
    active_fraction: np.ndarray,
    dense: float,
    title: str,
    ylabel: str,
) -> None:
    """Best and mean fitness against evaluations, with the dense head's; active fraction beneath.

    Args:
        path: PNG file.
        fitness: ``float64 [E]`` in the order of evaluation; NaN for training that diverged.
        generation: ``int [E]``; the mean is taken over each generation's new genomes.
        active_fraction: ``float64 [E]``.
        dense: fitness of the dense head under the same protocol.
        title: above the picture.
        ylabel: name of the fitness.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = np.arange(1, len(fitness) + 1)
    best_at = _best_at(fitness)
    ends, means = _by_generation(generation, fitness)
    _, active_means = _by_generation(generation, active_fraction)

    figure = Figure(figsize=(7.5, 6), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    upper.plot(count, fitness[best_at], color="C0", label="best so far")
    upper.plot(ends, means, color="C1", marker=".", label="mean of the generation")
    upper.axhline(dense, color="0.3", linestyle="--", label="dense head")
    upper.set_ylabel(ylabel)
    upper.set_title(title, fontsize="medium")
    upper.legend(fontsize="small")
    upper.grid(alpha=0.3)
    lower.plot(count, active_fraction[best_at], color="C0", label="best so far")
    lower.plot(ends, active_means, color="C1", marker=".", label="mean of the generation")
    lower.set_ylim(0, 1)
    lower.set_ylabel("active fraction")
    lower.set_xlabel("evaluations")
    lower.grid(alpha=0.3)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def levels(
    path: Path,
    active_fraction: np.ndarray,
    accuracy: np.ndarray,
    chosen: float,
    dense: float,
    title: str,
) -> None:
    """Accuracy of a ranking's heads against their size, with the dense head's.

    Args:
        path: PNG file.
        active_fraction: ``float64 [L]``.
        accuracy: ``float64 [L]``, on the selection split.
        chosen: active fraction of the head that was taken.
        dense: accuracy of the dense head.
        title: above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    order = np.argsort(active_fraction)
    axes.plot(active_fraction[order], accuracy[order], marker="o", label="pruned")
    axes.axvline(chosen, color="C1", linestyle=":", label="taken")
    axes.axhline(dense, color="0.3", linestyle="--", label="dense head")
    axes.set_xlim(0, 1)
    axes.set_xlabel("active fraction")
    axes.set_ylabel("accuracy")
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130, metadata={"Software": None})


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
