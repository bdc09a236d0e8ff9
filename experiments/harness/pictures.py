"""Pictures, drawn without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evojax_prune.analysis import Summary
from evojax_prune.report.figures import in_legend, literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Bars = Mapping[str, Mapping[str, Summary]]
"""For each group along the axis a summary for each colour."""


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


def bars(path: Path, panels: Mapping[str, Bars], ylabel: str) -> None:
    """Grouped bars with standard deviations; each axis begins a little below its lowest bar.

    Args:
        path: PNG file.
        panels: one beneath the other, by their titles.
        ylabel: what is shown.
    """
    widest = max(sum(map(len, groups.values())) + len(groups) for groups in panels.values())
    figure = new_figure(max(8.0, 0.3 * widest), 0.6 + 3.2 * len(panels))
    grid = figure.subplots(len(panels), squeeze=False).ravel()
    for axes, (title, groups) in zip(grid, panels.items(), strict=True):
        _panel(axes, groups)
        finish_axes(axes, ylabel, title, legend=axes is grid[0])
    save(figure, path)


def _panel(axes: Axes, groups: Bars) -> None:
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    width = 0.8 / len(names)
    lows = []
    for i, name in enumerate(names):
        some = [(place, bars[name]) for place, bars in enumerate(groups.values()) if name in bars]
        at = np.array([place for place, _ in some]) + (i - (len(names) - 1) / 2) * width
        means = np.array([summary.mean for _, summary in some])
        spread = np.nan_to_num([summary.sd for _, summary in some])
        yerr = spread if spread.any() else None
        axes.bar(at, means, width, yerr=yerr, label=in_legend(name), capsize=2)
        lows.append(np.nanmin(means - spread) if not np.isnan(means).all() else 0.0)
    axes.set_ylim(bottom=max(0.0, min(lows) - 0.05))
    crowded = sum(map(len, groups)) > 50
    axes.set_xticks(
        range(len(groups)),
        [literal(group) for group in groups],
        rotation=25 if crowded else 0,
        ha="right" if crowded else "center",
    )


def finish_axes(axes: Axes, ylabel: str, title: str, legend: bool = True) -> None:
    """Labels, grid, and a legend beside the axis, where it hides nothing."""
    axes.set_ylabel(ylabel)
    axes.set_title(literal(title), fontsize="medium")
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    if legend and axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
