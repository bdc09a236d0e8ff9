"""Pictures, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.analysis import Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG without a date, so that the same figures give the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def bars(
    path: Path,
    groups: Sequence[str],
    series: Mapping[str, Sequence[Summary]],
    ylabel: str,
    title: str,
) -> None:
    """Grouped bars with standard deviations; the axis begins a little below the lowest.

    Args:
        path: PNG file.
        groups: along the axis.
        series: for each colour a summary a group.
        ylabel: what is shown.
        title: above the picture.
    """
    figure = new_figure(max(6.0, 0.35 * len(groups) * (len(series) + 1)), 4)
    axes = figure.subplots()
    width = 0.8 / max(1, len(series))
    lows = []
    for i, (name, summaries) in enumerate(series.items()):
        at = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        means = np.array([s.mean for s in summaries])
        spread = np.nan_to_num([s.sd for s in summaries])
        axes.bar(at, means, width, yerr=spread if spread.any() else None, label=name, capsize=2)
        lows.append(np.nanmin(means - spread) if not np.isnan(means).all() else 0.0)
    axes.set_ylim(bottom=max(0.0, min(lows) - 0.05))
    axes.set_xticks(range(len(groups)), groups, rotation=0 if len(groups) < 6 else 30)
    finish_axes(axes, ylabel, title)
    save(figure, path)


def finish_axes(axes: Axes, ylabel: str, title: str) -> None:
    """Labels, legend and grid."""
    axes.set_ylabel(ylabel)
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
