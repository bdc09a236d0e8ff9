"""Evolved heads against the dense ones, in every prune mode.

    python -m experiments.models --dataset rps28 --protocol paper --seeds 0 1 2

A row a mode: accuracy of the head that is not pruned and of the evolved one, active units, and the
optimism of the evolved head (selection less test accuracy).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse

TITLES = {
    "fc1": "First layer",
    "fc2": "Second layer",
    "both": "Both layers",
    "features": "Feature selection",
}
"""What the paper calls a prune mode."""

HEADS = {"not pruned": "dense", "random masks": "random", "evolved": "best"}
"""The heads of a run, by their names in ``result.json``."""


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the table."""
    runs = experiment.runs()
    rows = [
        tables.head_row(run, name, key)
        for some in runs.values()
        for run in some
        for name, key in HEADS.items()
    ]
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    everything = [run for some in runs.values() for run in some]
    table = _table(experiment, rows)
    written = tables.write_markdown(experiment, everything, "Evolved heads and dense heads", table)
    modes = experiment.options.modes
    series = {
        name: [tables.over_seeds(rows, "test_accuracy", mode=m, head=name) for m in modes]
        for name in HEADS
    }
    picture = path.with_name(f"{path.name}.png")
    pictures.bars(picture, [TITLES[m] for m in modes], series, "test accuracy", experiment.label)
    print(f"{written}\n\n{table}")


def _table(experiment: Experiment, rows: list[tables.Row]) -> str:
    paper = published.PRUNING.get(experiment.paper_name or "", {})
    header = ["Mode", "Measure", "Not pruned", "Random masks", "Evolved", "Paper: evolved"]
    lines = []
    for mode in experiment.options.modes:
        figures = paper.get(mode)
        lines.append(
            [
                TITLES[mode],
                "Accuracy (test)",
                *_accuracies(rows, mode, "test_accuracy"),
                tables.figure(figures.evolved if figures else None),
            ]
        )
        lines.append(
            ["", "Accuracy (selection)", *_accuracies(rows, mode, "selection_accuracy"), ""]
        )
        active = [
            tables.percent(tables.over_seeds(rows, "active_fraction", mode=mode, head=head))
            for head in HEADS
        ]
        share = str(figures.active) if figures else tables.ABSENT
        lines.append(["", "% active neurons", *active, share])
    return tables.markdown(header, lines)


def _accuracies(rows: list[tables.Row], mode: str, column: str) -> list[str]:
    return [
        tables.accuracy(tables.over_seeds(rows, column, mode=mode, head=head)) for head in HEADS
    ]


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Evolved heads against the dense ones, in every prune mode."
    return finish(lambda: work(parse("models", description, args)))


if __name__ == "__main__":
    sys.exit(main())
