"""Pictures of a search: accuracy against size, and how far it came; drawn without a display.

Every picture is a function on a matplotlib axis: ``plot_front(result, ax)``. The files of a run and
its page are drawn by the same functions.
"""

from __future__ import annotations

import contextlib
import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.methods.found import Trials
from evojax_prune.report.summary import SELECTED_ON_TEST, counted_as
from evojax_prune.search.selection import selection_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evojax_prune.report.pruned import Pruned
    from evojax_prune.report.result import BaselineResult, HeadResult, Result

GREY = "#808080"
"""Lines that are seen on white and on black alike."""

NAMED_BASELINES = 4
"""Other ways of pruning that have colours of their own in :func:`plot_front`."""

_INK = "#010203"
"""Stands for the colour of the page's text, which is dark or light."""

_COLOURS = ("#3a86d1", "#e07b1a", "#2f9e6b", "#d9485f", "#9a6fd0", "#a8842c", "#d16ba5", "#1aa3b8")
"""Lines and points; each at least 3:1 against white and against the page's dark background."""


@contextlib.contextmanager
def style() -> Iterator[None]:
    """How the pictures of a run look; a picture on an axis of your own follows your own style."""
    import matplotlib
    from cycler import cycler

    with matplotlib.rc_context(
        {"axes.prop_cycle": cycler(color=_COLOURS), "font.size": 10.5, "legend.framealpha": 0.6}
    ):
        yield


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


def svg_text(draw: Callable[[Figure], object], width: float, height: float, prefix: str) -> str:
    """A picture as an ``<svg>`` element for a page, in the colour of the page's text.

    Args:
        draw: called with an empty figure.
        width: inches.
        height: inches.
        prefix: of the names within the picture, which a page must not hold twice.
    """
    import matplotlib

    colours = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    settings: Any = dict.fromkeys(colours, _INK)
    settings |= {"axes.facecolor": "none", "grid.color": GREY, "legend.frameon": False}
    settings |= {"svg.fonttype": "none", "svg.hashsalt": prefix}
    text = io.StringIO()
    with style(), matplotlib.rc_context(settings), warnings.catch_warnings():
        # The text stays text, which the browser writes with fonts of its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = new_figure(width, height)
        draw(figure)
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(text, format="svg", transparent=True, metadata=nothing)
    _, _, svg = text.getvalue().partition("<svg")
    svg = re.sub(
        r"<(metadata|style)\b.*?</\1>\s*", "", svg.replace(_INK, "currentColor"), flags=re.DOTALL
    )
    tag, _, content = svg.partition(">")
    svg = "<svg" + re.sub(r' (width|height|version|xmlns(:\w+)?)="[^"]*"', "", tag) + ">" + content
    used = set(re.findall(r'(?:url\(#|href="#)([\w-]+)', svg))
    svg = re.sub(r' id="([\w-]+)"', lambda m: m[0] if m[1] in used else "", svg)
    return re.sub(r'(url\(#| id="|href="#)([\w-]+)', rf"\1{prefix}-\2", svg)


def literal(text: str) -> str:
    """A name of a user's or a plugin's as a label: not read as a formula, which ``$`` begins."""
    return "".join(sign if sign.isprintable() else "?" for sign in text).replace("$", r"\$")


def in_legend(text: str) -> str:
    """The same for a legend, which leaves out labels that begin with ``_``."""
    return f" {literal(text)}" if text.startswith("_") else literal(text)


def axes_of(ax: Axes | None) -> Axes:
    """The axis to draw on: the one given, or that of a new figure."""
    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    return ax


def result_of(run: Result | Pruned) -> Result:
    """The figures of a run, of which one has either."""
    from evojax_prune.report.result import Result

    return run if isinstance(run, Result) else run.result


def plot_front(result: Result | Pruned, ax: Axes | None = None) -> Axes:
    """Test accuracy against size: finalists, dense head, ranking, random masks, other ways.

    Args:
        result: of a run; ``Result.model_validate_json`` reads it from ``result.json``.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax, result = axes_of(ax), result_of(result)
    dense, best = result.dense, result.best
    ax.axhline(dense.test_accuracy, color=GREY, linestyle="--", label="dense head, test")
    ax.axhspan(*dense.test_interval, color=GREY, alpha=0.15, lw=0, label="its 95% interval")
    _plot_baselines(result, ax)
    heads = sorted(result.finalists, key=lambda head: head.active_units)
    sizes = [head.active_units for head in heads]
    selection = [head.selection_accuracy for head in heads]
    ax.plot(sizes, [h.test_accuracy for h in heads], "o", color="C0", label="finalists, test")
    ax.plot(sizes, selection, "o", color="C0", fillstyle="none", label="finalists, selection")
    others: dict[str, HeadResult] = {"random masks, the best": result.random}
    if result.ranking is not None:
        others[f"best ranking: {literal(result.ranking.name)}"] = result.ranking
    for (name, head), marker in zip(others.items(), "xD", strict=False):
        ax.plot(head.active_units, head.test_accuracy, marker, color="C1", label=name)
    low, high = best.test_interval
    ax.errorbar(
        [best.active_units],
        [best.test_accuracy],
        yerr=[[max(0.0, best.test_accuracy - low)], [max(0.0, high - best.test_accuracy)]],
        fmt="*",
        color="C3",
        markersize=13,
        elinewidth=1,
        label="the one taken, 95% interval",
    )
    ax.set_xscale("log")
    low, high = ax.get_xlim()
    digits = "125" if high > 10 * low else "12357"
    for which in ("major", "minor"):
        axis_format = getattr(ax.xaxis, f"set_{which}_formatter")
        axis_format(lambda size, _: f"{size:,.0f}" if f"{size:.0e}"[0] in digits else "")
    ax.tick_params(axis="x", which="minor", pad=5)  # labels at the height of the major ones
    ax.set_xlabel(f"active {counted_as(result.config['mode'])}")
    ax.set_ylabel(f"accuracy{f', {SELECTED_ON_TEST}' * result.selected_on_test}")
    # The names of other ways are long: two columns of them would leave a narrow figure no room.
    narrow = ax.bbox.width < 5 * ax.figure.dpi
    below(ax, columns=1 if result.baselines and narrow else 2)
    return ax


def _plot_baselines(result: Result, ax: Axes) -> None:
    """Other ways of pruning; the best few by selection in colours of their own."""

    def worth(rows: list[BaselineResult]) -> float:
        return max((row.selection_accuracy or 0.0) for row in rows)

    named = dict.fromkeys(row.name for row in result.baselines)
    ways = {name: [row for row in result.baselines if row.name == name] for name in named}
    order = sorted(ways, key=lambda name: -worth(ways[name]))
    for place, name in enumerate(order):
        shown = place < NAMED_BASELINES
        label = in_legend(name) if shown else ("other ways" if place == NAMED_BASELINES else None)
        ax.plot(
            [row.active_fraction * result.dense.active_units for row in ways[name]],
            [math.nan if row.test_accuracy is None else row.test_accuracy for row in ways[name]],
            "s" if shown else ".",
            markersize=4,
            color=f"C{4 + place % 4}" if shown else GREY,
            label=label,
            zorder=1.5,
        )


def plot_convergence(pruned: Pruned, ax: Axes | None = None) -> Axes:
    """How far the search came by its own measure: the search protocol, on selection rows.

    Of one objective the best and mean value against genomes, and the dense head's; of several the
    hypervolume of the front. Without a search: accuracy of each size that was tried.

    Args:
        pruned: a finished run.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax, found = axes_of(ax), pruned.found
    dense = float(found.dense_values[0])
    if found.trials.generation is None:
        _plot_levels(ax, found.trials, found.pruned.active_fraction, dense)
    else:
        _plot_progress(ax, found.trials, dense)
        ax.set_xlabel("genomes tried")
    return ax


def plot_active_fraction(pruned: Pruned, ax: Axes | None = None) -> Axes:
    """Mean active fraction of each generation's new genomes.

    Args:
        pruned: a finished search.
        ax: axis to draw on; one of a new figure if None.

    Returns:
        The axis.
    """
    ax = axes_of(ax)
    _plot_active(ax, pruned.found.trials)
    ax.set_xlabel("genomes tried")
    return ax


def convergence(figure: Figure, trials: Trials, dense: float, title: str) -> None:
    """The search above, the active fraction beneath.

    Args:
        figure: an empty figure.
        trials: every genome in the order of evaluation; the mean is taken over each generation's
            new genomes.
        dense: first objective of the dense head under the same protocol.
        title: above the picture.
    """
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    _plot_progress(upper, trials, dense)
    _plot_active(lower, trials)
    upper.set_title(title, fontsize="medium")
    lower.set_xlabel("genomes tried")


def _plot_progress(ax: Axes, trials: Trials, dense: float) -> None:
    assert trials.generation is not None, "nothing to show without generations"
    selection = selection_of(trials.objectives)
    ends = np.flatnonzero(np.diff(trials.generation, append=-1)) + 1
    curve = selection.curve(trials.values, trials.active, ends.tolist())
    if len(trials.objectives) == 1:
        ax.plot(ends, curve, color="C0", label="best so far")
        means = _by_generation(trials.generation, trials.values[:, 0])
        ax.plot(*means, color="C1", marker=".", label="mean of the generation's new genomes")
        ax.axhline(dense, color=GREY, linestyle="--", label="dense head, search protocol")
        ax.set_ylabel(f"{literal(trials.objectives[0].label)}\nby the search protocol")
        below(ax, columns=1)
    else:
        ax.plot(ends, curve, color="C0", marker=".")
        names = ", ".join(literal(objective.name) for objective in trials.objectives)
        ax.set_ylabel(f"hypervolume of the front\n({names})")
    ax.grid(alpha=0.3)


def _plot_active(ax: Axes, trials: Trials) -> None:
    assert trials.generation is not None, "nothing to show without generations"
    means = _by_generation(trials.generation, trials.active_fraction)
    ax.plot(*means, color="C1", marker=".")
    ax.set_ylim(bottom=0)
    ax.set_ylabel("mean active fraction\nof new genomes")
    ax.grid(alpha=0.3)


def _plot_levels(ax: Axes, trials: Trials, chosen: float, dense: float) -> None:
    order = np.argsort(trials.active_fraction)
    sizes, accuracy = trials.active_fraction[order], trials.values[order, 0]
    ax.plot(sizes, accuracy, marker="o", label="pruned")
    ax.axvline(chosen, color="C1", linestyle=":", label="taken")
    ax.axhline(dense, color=GREY, linestyle="--", label="dense head")
    ax.set_xlim(0, 1.02)
    ax.set_xlabel("active fraction")
    ax.set_ylabel("selection accuracy")
    below(ax, columns=3)


def below(ax: Axes, columns: int = 2) -> None:
    """A grid, and the legend under the axis, where it hides nothing."""
    ax.grid(alpha=0.3)
    ax.set_axisbelow(True)
    ax.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.46, -0.16), ncols=columns,
        borderaxespad=0, columnspacing=1.2, handletextpad=0.5,
    )  # fmt: skip


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
