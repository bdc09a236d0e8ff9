"""A finished sweep as a table of the paper, with the paper's own figures beside ours.

    python -m evojax_prune sweep configs/sweeps/models.yaml
    python -m experiments.paper runs/models

A line per combination of what varies in the sweep but the seed: mode, backbone, data, classes that
are left out. A column per kind of head; where the runs compared (``compare: true``) also those that
are pruned without a search, and a second table with all of them. In the first one weight and neuron
pruning are not retrained, as the reference has them.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence

from evojax_prune import baselines
from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import read
from experiments.harness.sweeps import Run, Sweep
from experiments.harness.tables import BEST_RANDOM, EVOLVED, Row

COLUMNS = {
    "Not pruned": ("dense",),
    "Random masks": (BEST_RANDOM,),
    "Weight": ("weight magnitude, not retrained",),
    "Poly. decay": (baselines.POLYNOMIAL,),
    "Neuron": ("incoming weights, not retrained", "outgoing weights, not retrained"),
    "Evolved": (EVOLVED,),
}
"""Heads of each column; of several the best on selection is shown."""

Lines = dict[tuple[str, ...], list[list[Row]]]
"""For each line of a table the heads of its runs."""


def picked(rows: Iterable[Row], column: str) -> Row | None:
    """The head of a run that stands in a column, at the evolved head's active fraction."""
    some = [row for row in rows if row["head"] in COLUMNS[column] and row["at"] != "best"]

    def selection(row: Row) -> float:
        value = float(row["selection_accuracy"])
        return -1.0 if math.isnan(value) else value

    return max(some, key=selection, default=None)


def paper_table(sweep: Sweep, lines: Lines) -> str:
    """The table of the paper: accuracies and sizes, the paper's figures beneath ours."""
    runs = sweep.lines()
    columns = _columns(lines)
    table = []
    for labels, heads in lines.items():
        cells = [[picked(rows, column) for rows in heads] for column in columns]
        found = [[row for row in some if row is not None] for some in cells]
        measures = [
            ["Accuracy (test)", *(_cell(some, "test_accuracy") for some in found)],
            ["Accuracy (selection)", *(_cell(some, "selection_accuracy") for some in found)],
            ["% active", *(tables.percent(tables.column(s, "active_fraction")) for s in found)],
            *_published(sweep, runs[labels][0], columns),
        ]
        blank = ("",) * len(labels)
        table += [[*(blank if i else labels), *own] for i, own in enumerate(measures)]
    header = [*map(str.capitalize, sweep.columns), "Measure", *columns]
    return tables.markdown(header, table, left=len(sweep.columns) + 1)


def _cell(rows: Sequence[Row], name: str) -> str:
    return tables.accuracy(tables.column(rows, name))


def _columns(lines: Lines) -> list[str]:
    """Columns of which there are any heads."""
    return [
        c for c in COLUMNS if any(picked(rows, c) for heads in lines.values() for rows in heads)
    ]


def _published(sweep: Sweep, run: Run, columns: Sequence[str]) -> list[list[str]]:
    """The paper's accuracies and active neurons of a line; nothing where there are none."""
    settings = run.settings
    backbone = settings["backbone"]
    if backbone not in published.NETWORKS and "backbone" not in sweep.columns:
        backbone = published.NETWORKS[0]
    name = published.paper_name([*run.labels.values(), settings["dataset"]])
    shares = settings["class_shares"] or {}
    known = published.figures(name, backbone, settings["mode"], shares) if name else None
    if known is None:
        return []
    figures = [known.accuracy.get(column) for column in columns]
    dense = ["100" if column == "Not pruned" else str(known.active) for column in columns]
    return [
        ["Paper: accuracy", *(tables.ABSENT if f is None else f"{f:.3f}" for f in figures)],
        [
            "Paper: % active",
            *(tables.ABSENT if f is None else d for f, d in zip(figures, dense, strict=True)),
        ],
    ]


def full_table(sweep: Sweep, lines: Lines) -> str:
    """Every head of every line, and in how many of its runs the evolved one is more accurate."""
    table = []
    for labels, heads in lines.items():
        for name, at in dict.fromkeys((row["head"], row["at"]) for rows in heads for row in rows):
            some = [_only(rows, name, at) for rows in heads]
            ahead = [
                _only(rows, EVOLVED, "same")["test_accuracy"] > row["test_accuracy"]
                for rows, row in zip(heads, some, strict=True)
            ]
            table.append(
                [
                    *labels,
                    name,
                    at,
                    _cell(some, "selection_accuracy"),
                    _cell(some, "test_accuracy"),
                    tables.ABSENT if name == EVOLVED else f"{sum(ahead)} of {len(ahead)}",
                    tables.percent(tables.column(some, "active_fraction")),
                    f"{tables.column(some, 'parameters').mean:.0f}",
                ]
            )
    header = [*map(str.capitalize, sweep.columns), "Head", "At", "Selection", "Test"]
    header += ["Evolved ahead", "% active", "Parameters"]
    return tables.markdown(header, table, left=len(sweep.columns) + 2)


def _only(rows: Iterable[Row], name: str, at: str) -> Row:
    (row,) = (row for row in rows if (row["head"], row["at"]) == (name, at))
    return row


def draw(sweep: Sweep, lines: Lines) -> None:
    """Test accuracy of the columns' heads, a panel per value of the last field."""
    panels: dict[str, dict[str, dict[str, tables.Summary]]] = {}
    columns = _columns(lines)
    for labels, heads in lines.items():
        title, group = labels[-1], ", ".join(labels[:-1])
        if len(labels) == 1:
            title, group = sweep.folder.name, labels[0]
        cells = {c: [row for rows in heads if (row := picked(rows, c))] for c in columns}
        summaries = {c: tables.column(some, "test_accuracy") for c, some in cells.items()}
        panels.setdefault(title, {})[group] = summaries
    pictures.bars(tables.home(sweep) / "paper.png", panels, "test accuracy")


def write(sweep: Sweep) -> str:
    """Write the tables and the picture; returns what is to be shown."""
    rows = {run.folder: tables.head_rows(run) for run in sweep.runs}
    lines = {labels: [rows[run.folder] for run in runs] for labels, runs in sweep.lines().items()}
    labelled = [
        dict(zip(sweep.columns, labels, strict=True)) | row
        for labels, heads in lines.items()
        for own in heads
        for row in own
    ]
    tables.write_csv(tables.home(sweep) / "paper.csv", labelled)
    draw(sweep, lines)
    note = (
        "Accuracies are of heads of the evolved head's size. The paper's figures are of ResNet-50, "
        "or of the line's own backbone.\n"
    )
    parts = [note, paper_table(sweep, lines)]
    if any(run.result["baselines"] for run in sweep.runs):
        parts[0] += (
            "\nWeight and neuron pruning are not retrained; of the two kinds of neuron pruning the "
            "better on selection.\n"
        )
        parts += [
            "## All other ways of pruning\n\nOnly what is called “not retrained” is. `same`: at "
            "the evolved head's active fraction; `best`: at the fraction of the highest selection "
            "accuracy. Evolved ahead: runs in which the evolved head is more accurate on test.\n",
            full_table(sweep, lines),
        ]
    written = tables.write_markdown(
        sweep, "paper", f"{sweep.folder.name}: heads and figures", *parts
    )
    return "\n".join([f"{written}\n", *parts[1::2]])


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "A finished sweep as a table of the paper."
    return read("paper", description, write, args)


if __name__ == "__main__":
    sys.exit(main())
