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
