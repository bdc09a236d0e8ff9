"""A network's pictures, drawn without a display."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from evojax_prune.report.figures import literal
from experiments.harness.pictures import new_figure, save
from experiments.pnorm.networks import Network


def curves(network: Network, path: Path) -> None:
    """Test accuracy against the reduction level, a line per ranking, with its spread over seeds."""
    figure = new_figure(7.5, 5)
    axes = figure.subplots()
    for i, name in enumerate(network.rankings):
        values = network.accuracy["test"][i]
        mean, spread = values.mean(-1), values.std(-1)
        is_norm = name in network.norms
        (line,) = axes.plot(
            network.levels,
            mean,
            "o-" if is_norm else "--",
            linewidth=1.8 if is_norm else 1.0,
            markersize=4,
            label=name,
        )
        if is_norm:
            axes.fill_between(
                network.levels, mean - spread, mean + spread, color=line.get_color(), alpha=0.15
            )
    axes.axhline(network.dense["test"].mean(), color="0.3", linestyle=":", label="dense head")
    axes.set_xlabel("fraction dropped")
    axes.set_ylabel("test accuracy")
    axes.set_title(_title(network), fontsize="medium")
    axes.legend(fontsize="small")
    axes.grid(alpha=0.3)
    save(figure, path)


def heat_map(network: Network, path: Path) -> None:
    """Change of test accuracy against the dense head, norm by level; the best one is framed."""
    norms = len(network.norms)
    change = network.accuracy["test"][:norms] - network.dense["test"]
    points = 100 * change.mean(-1)
    figure = new_figure(1.5 + 0.8 * len(network.levels), 1.6 + 0.5 * norms)
    axes = figure.subplots()
    limit = max(float(np.nanmax(np.abs(points), initial=0)), 0.1)
    image = axes.imshow(points, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(network.levels)), [f"{level:g}" for level in network.levels])
    axes.set_yticks(range(norms), network.norms)
    for (i, j), value in np.ndenumerate(points):
        dark = abs(value) > 0.6 * limit
        axes.text(
            j, i, f"{value:+.1f}", ha="center", va="center", color="w" if dark else "k", size=8
        )
    best = network.best()
    axes.add_patch(_frame(best[1], best[0]))
    axes.set_xlabel("fraction dropped (framed: best selection accuracy)")
    axes.set_title(f"{_title(network)}: points of test accuracy", fontsize="medium")
    figure.colorbar(image)
    save(figure, path)


def overlaps(network: Network, path: Path) -> None:
    """Rank correlation of the rankings, and the overlap of what the norms keep by level."""
    figure = new_figure(11, 4.6)
    left, right = figure.subplots(1, 2)
    image = left.imshow(network.correlation, cmap="RdBu", vmin=-1, vmax=1)
    ticks = range(len(network.rankings))
    left.set_xticks(ticks, network.rankings, rotation=60, ha="right", fontsize="small")
    left.set_yticks(ticks, network.rankings, fontsize="small")
    left.set_title("rank correlation", fontsize="medium")
    figure.colorbar(image, ax=left)
    for i, j in zip(*np.triu_indices(len(network.norms), 1), strict=True):
        label = f"{network.norms[i]} and {network.norms[j]}"
        right.plot(network.levels, network.jaccard[:, i, j], "o-", markersize=4, label=label)
    kept = 1 - np.asarray(network.levels)
    right.plot(network.levels, kept / (2 - kept), color="0.5", linestyle=":", label="by chance")
    right.set_ylim(0, 1.02)
    right.set_xlabel("fraction dropped")
    right.set_ylabel("Jaccard overlap of what is kept")
    right.legend(fontsize="small")
    right.grid(alpha=0.3)
    figure.suptitle(_title(network), fontsize="medium")
    save(figure, path)


def _title(network: Network) -> str:
    seeds = len(network.seeds)
    on_test = ", selected on test" if network.selected_on_test else ""
    return f"{literal(', '.join(network.labels))}; {seeds} seed{'s' * (seeds > 1)}{on_test}"


def _frame(column: int, row: int) -> Rectangle:
    return Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="k", linewidth=2)
