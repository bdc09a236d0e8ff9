"""Pictures, drawn without a display."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.methods.found import Trials
from evojax_prune.search.selection import selection_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evojax_prune.report.result import HeadResult, Result


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
    """How far the search came by its own measure: the search protocol, on the selection split.

    Of one objective: best and mean value against genomes, and the dense head's; of several the
    hypervolume of the front. The active fraction beneath.

    Args:
        figure: an empty figure.
        trials: every genome in the order of evaluation; the mean is taken over each generation's
            new genomes.
        dense: first objective of the dense head under the same protocol.
        title: above the picture.
    """
    assert trials.generation is not None, "nothing to show without generations"
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    selection = selection_of(trials.objectives)
    ends = np.flatnonzero(np.diff(trials.generation, append=-1)) + 1
    curve = selection.curve(trials.values, trials.active, ends.tolist())
    if len(trials.objectives) == 1:
        upper.plot(ends, curve, color="C0", label="best so far")
        upper.plot(
            *_by_generation(trials.generation, trials.values[:, 0]),
            color="C1",
            marker=".",
            label="mean of the generation's new genomes",
        )
        upper.axhline(dense, color="0.3", linestyle="--", label="dense head, search protocol")
        upper.set_ylabel(f"{trials.objectives[0].label}\nby the search protocol")
        upper.legend(fontsize="small")
    else:
        upper.plot(ends, curve, color="C0")
        names = ", ".join(objective.name for objective in trials.objectives)
        upper.set_ylabel(f"hypervolume of the front\n({names})")
    upper.set_title(title, fontsize="medium")
    lower.plot(
        *_by_generation(trials.generation, trials.active_fraction),
        color="C1",
        marker=".",
        label="mean of the generation's new genomes",
    )
    lower.set_ylim(0, 1)
    lower.set_ylabel("active fraction")
    lower.set_xlabel("genomes tried")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)


def front(figure: Figure, result: Result, title: str) -> None:
    """Test accuracy against size: finalists, dense head, ranking, random masks, other ways.

    Args:
        figure: an empty figure.
        result: of a run.
        title: above the picture.
    """
    axes = figure.subplots()
    dense = result.dense
    heads = sorted(result.finalists, key=lambda head: head.active_units)
    sizes = [head.active_units for head in heads]
    axes.plot(sizes, [h.test_accuracy for h in heads], "o", color="C0", label="finalists, test")
    axes.plot(
        sizes,
        [h.selection_accuracy for h in heads],
        "o",
        color="C0",
        fillstyle="none",
        alpha=0.6,
        label="finalists, selection",
    )
    best = result.best
    axes.plot(
        best.active_units, best.test_accuracy, "*", color="C3", markersize=14, label="the one taken"
    )
    axes.axhline(dense.test_accuracy, color="0.3", linestyle="--", label="dense head, test")
    axes.axhspan(*dense.test_interval, color="0.3", alpha=0.1, label="its 95% interval")
    others: dict[str, HeadResult] = {"random masks, the best": result.random}
    if result.ranking is not None:
        others[f"best ranking: {result.ranking.name}"] = result.ranking
    for (name, head), marker in zip(others.items(), "xD", strict=False):
        axes.plot(head.active_units, head.test_accuracy, marker, color="C1", label=name)
    for index, name in enumerate(dict.fromkeys(row.name for row in result.baselines)):
        rows = [row for row in result.baselines if row.name == name]
        axes.plot(
            [row.active_fraction * dense.active_units for row in rows],
            [math.nan if row.test_accuracy is None else row.test_accuracy for row in rows],
            ".",
            color=f"C{4 + index % 6}",
            alpha=0.7,
            label=name,
        )
    axes.set_xscale("log")
    for which in ("major", "minor"):
        axis_format = getattr(axes.xaxis, f"set_{which}_formatter")
        axis_format(lambda size, _: f"{size:,.0f}" if f"{size:.0e}"[0] in "125" else "")
    axes.set_xlabel(f"active {'features' if result.config.get('mode') == 'features' else 'units'}")
    axes.set_ylabel("accuracy")
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="x-small", loc="lower right", ncols=1 + (len(result.baselines) > 6))
    axes.grid(alpha=0.3)


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
