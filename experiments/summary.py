"""One line a data set and mode: evolved heads beside everything that they are compared with.

    python -m experiments.summary [--tables NAME ...]

Reads the tables that ``experiments.baselines`` has written. Every baseline has the evolved head's
active fraction; behind its test accuracy stands in how many of the seeds the evolved head's is
higher. Optimism is the evolved head's selection less test accuracy.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evojax_prune.analysis import summarise
from experiments.baselines import BEST_RANDOM, COLUMNS, EVOLVED
from experiments.harness import tables
from experiments.harness.command import finish
from experiments.harness.written import baseline_tables, table_parser

HEADS = {
    "Dense": ("dense",),
    **{name: heads for name, heads in COLUMNS.items() if name != "Evolved"},
    "Random": ("random masks, mean",),
    "Best random": (BEST_RANDOM,),
    "Weight, retrained": ("weight magnitude",),
    "Neuron, retrained": ("incoming weights", "outgoing weights"),
}
"""Columns; of several heads the best on selection is shown."""

RANKINGS = ("mutual information", "L1 logistic regression", "random forest")
"""Scikit-learn's, in ``features`` mode only: the best on selection is shown."""

Row = dict[str, str]


def line(name: str, mode: str, rows: list[Row]) -> list[str]:
    """Cells of one mode of one table."""
    seeds = sorted({r["seed"] for r in rows}, key=int)
    evolved = [_head(rows, seed, (EVOLVED,)) for seed in seeds]
    scores = [float(r["test_accuracy"]) for r in evolved]
    optimism = [float(r["selection_accuracy"]) - s for r, s in zip(evolved, scores, strict=True)]
    cells = [_against(rows, seeds, scores, heads) for heads in HEADS.values()]
    cells.append(_against(rows, seeds, scores, RANKINGS) if mode == "features" else tables.ABSENT)
    on_test = evolved[0]["selected_on_test"] == "True"
    return [
        f"{name} (**on test**)" if on_test else name,
        mode,
        tables.percent(summarise([float(r["active_fraction"]) for r in evolved])),
        *cells,
        tables.accuracy(summarise(scores)),
        f"{summarise(optimism).mean:+.3f}",
    ]


def _against(rows: list[Row], seeds: list[str], scores: list[float], heads: Sequence[str]) -> str:
    """Mean test accuracy of a baseline, and how often the evolved head is ahead of it."""
    others = [float(_head(rows, seed, heads)["test_accuracy"]) for seed in seeds]
    ahead = sum(mine > other for mine, other in zip(scores, others, strict=True))
    return f"{summarise(others).mean:.3f} ({ahead}/{len(seeds)})"


def _head(rows: list[Row], seed: str, heads: Sequence[str]) -> Row:
    at = "whole" if heads == ("dense",) else "same"
    some = [r for r in rows if (r["seed"], r["at"]) == (seed, at) and r["head"] in heads]
    return max(some, key=lambda r: float(r["selection_accuracy"]))


def work(options: argparse.Namespace) -> None:
    """Read the tables, print the lines."""
    header = ["Table", "Mode", "% active", *HEADS, "Rankings", "Evolved", "Optimism"]
    lines = []
    for name, rows in baseline_tables(options.home, options.tables).items():
        for mode in dict.fromkeys(r["mode"] for r in rows):
            lines.append(line(name, mode, [r for r in rows if r["mode"] == mode]))
    table = tables.markdown(header, lines)
    path = options.home / "summary" / "summary.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(table, encoding="utf-8")
    print(table)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = table_parser(
        "summary", "Evolved heads beside all baselines, a line per data set and mode."
    )
    return finish(lambda: work(parser.parse_args(args)))


if __name__ == "__main__":
    sys.exit(main())
