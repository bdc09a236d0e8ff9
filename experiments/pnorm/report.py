"""A study's CSV files, tables and pictures."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.pnorm import pictures
from experiments.pnorm.networks import Cell, Network, networks

NOTES = """\
Means over seeds; ± is the standard deviation over seeds. `best` is the norm and level of the
highest selection accuracy; `auto` the smallest head whose selection accuracy is within one
standard error of that of the best, dense head included. Volatility: at a given level, the standard
deviation of the change of test accuracy over norms and seeds, in root mean square over levels;
`by norm`: the part of it that the choice of the norm makes; `loss`: the mean fall of test accuracy.
All in points of 100.
"""


def write(cells: Sequence[Cell], output: Path) -> None:
    """Write every report.

    ``results.csv``: one row per ranking, level and seed. ``overlap.csv``: one row per pair of
    rankings and level. ``summary.md``: one row per network, then each network's table. A picture of
    each of the curves, the norm by level map and the overlap, for every network.
    """
    found = networks(cells)
    _csv(output / "results.csv", [row for cell in cells for row in cell["rows"]])
    _csv(output / "overlap.csv", [row for network in found for row in overlap_rows(network)])
    (output / "summary.md").write_text(summary(found), encoding="utf-8")
    for network in found:
        name = f"{network.dataset}--{network.backbone}"
        pictures.curves(network, output / f"{name}--curves.png")
        pictures.heat_map(network, output / f"{name}--map.png")
        pictures.overlaps(network, output / f"{name}--overlap.png")


def overlap_rows(network: Network) -> Iterable[dict[str, Any]]:
    """Jaccard overlap at each level, and rank correlation, of every pair of rankings."""
    names = network.rankings
    for i, j in zip(*np.triu_indices(len(names), 1), strict=True):
        for k, level in enumerate(network.levels):
            yield {
                "dataset": network.dataset,
                "backbone": network.backbone,
                "first": names[i],
                "second": names[j],
                "level": level,
                "jaccard": float(network.jaccard[k, i, j]),
                "rank_correlation": float(network.correlation[i, j]),
            }


def summary(found: Sequence[Network]) -> str:
    """The study as Markdown."""
    marked = any(network.selected_on_test for network in found)
    parts = [
        "# Sensitivity pruning: norms and reduction levels\n",
        NOTES,
        _table(
            [
                "data set",
                "backbone",
                "dense, test",
                "best",
                "test",
                "auto",
                "test",
                "volatility",
                "by norm",
                "loss",
            ],
            [_summary_row(network) for network in found],
        ),
        *(["`*`: selected on test.\n"] if marked else []),
    ]
    for network in found:
        parts += [
            f"## {network.backbone} on {network.dataset}: test accuracy by level\n",
            _table(
                ["ranking", *(f"{level:g}" for level in network.levels)],
                [
                    [name, *(_points(values) for values in network.accuracy["test"][i])]
                    for i, name in enumerate(network.rankings)
                ],
            ),
        ]
    return "\n".join(parts)


def _summary_row(network: Network) -> list[str]:
    norm, level = network.best()
    auto = network.auto()
    figure = network.volatility()
    star = " `*`" if network.selected_on_test else ""
    return [
        network.dataset + star,
        network.backbone,
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


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _csv(path: Path, rows: list[dict[str, Any]]) -> None:
    if not rows:  # one ranking alone overlaps with none
        path.unlink(missing_ok=True)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
