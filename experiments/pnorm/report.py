"""A study's CSV files, tables and pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from experiments.harness import tables
from experiments.harness.sweeps import Sweep
from experiments.pnorm import pictures
from experiments.pnorm.networks import Network

NOTES = """\
Means over seeds; ± is the standard deviation over seeds. `best` is the norm and level of the
highest selection accuracy; `auto` the smallest head whose selection accuracy is within one
standard error of that of the best, dense head included. Volatility: at a given level, the standard
deviation of the change of test accuracy over norms and seeds, in root mean square over levels;
`by norm`: the part of it that the choice of the norm makes; `loss`: the mean fall of test accuracy.
All in points of 100.
"""


def write(sweep: Sweep, found: Sequence[Network]) -> str:
    """Write every report into the sweep's folder; returns what is to be shown.

    ``norms.csv``: one row per ranking, level and seed. ``norms-overlap.csv``: one row per pair of
    rankings and level. ``pnorm.md``: one row per network, then each network's table. A picture of
    each of the curves, the norm by level map and the overlap, for every network.

    Args:
        sweep: where to.
        found: its networks.
    """
    folder = tables.home(sweep)
    tables.write_csv(
        folder / "norms.csv",
        [
            dict(zip(sweep.columns, network.labels, strict=True)) | row
            for network in found
            for row in network.rows
        ],
    )
    if pairs := [row for network in found for row in overlap_rows(sweep, network)]:
        tables.write_csv(folder / "norms-overlap.csv", pairs)
    for network in found:
        name = "norms-" + re.sub(r"[^\w.-]+", "-", "-".join(network.labels)).lower()
        pictures.curves(network, folder / f"{name}-curves.png")
        pictures.heat_map(network, folder / f"{name}-map.png")
        pictures.overlaps(network, folder / f"{name}-overlap.png")
    first, *others = summary(sweep, found)
    title = "Sensitivity pruning: norms and reduction levels"
    written = tables.write_markdown(sweep, "pnorm", title, NOTES, first, *others)
    return f"{written}\n\n{first}"


def overlap_rows(sweep: Sweep, network: Network) -> Iterable[dict[str, Any]]:
    """Jaccard overlap at each level, and rank correlation, of every pair of rankings."""
    names = network.rankings
    for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
        for k, level in enumerate(network.levels):
            yield dict(zip(sweep.columns, network.labels, strict=True)) | {
                "first": names[i],
                "second": names[j],
                "level": level,
                "jaccard": float(network.jaccard[k, i, j]),
                "rank_correlation": float(network.correlation[i, j]),
            }


def summary(sweep: Sweep, found: Sequence[Network]) -> list[str]:
    """One row per network, then the table of each."""
    header = [*map(str.capitalize, sweep.columns), "Dense, test", "Best", "Test", "Auto", "Test"]
    header += ["Volatility", "By norm", "Loss"]
    lines = [_summary_row(network) for network in found]
    parts = [tables.markdown(header, lines, left=len(sweep.columns))]
    for network in found:
        lines = [
            [name, *(_points(values) for values in network.accuracy["test"][i])]
            for i, name in enumerate(network.rankings)
        ]
        header = ["Ranking", *(f"{level:g}" for level in network.levels)]
        title = f"## {', '.join(network.labels)}: test accuracy by level\n"
        parts += [title, tables.markdown(header, lines, left=1)]
    return parts


def _summary_row(network: Network) -> list[str]:
    norm, level = network.best()
    auto = network.auto()
    figure = network.volatility()
    return [
        *network.labels,
        _points(network.dense["test"]),
        _name(network, (norm, level)),
        _points(network.accuracy["test"][norm, level]),
        "dense" if auto is None else _name(network, auto),
        _points(network.dense["test"] if auto is None else network.accuracy["test"][auto]),
        f"{100 * figure.volatility:.2f}",
        f"{100 * figure.norms:.2f}",
        f"{100 * figure.loss:.2f}",
    ]


def _name(network: Network, place: tuple[int, int]) -> str:
    return f"{network.norms[place[0]]}, {network.levels[place[1]]:g}"


def _points(values: np.ndarray) -> str:
    mean = f"{100 * values.mean():.1f}"
    return f"{mean} ± {100 * values.std(ddof=1):.1f}" if len(values) > 1 else mean
