"""Evolved heads against pruning without a search, at the same active fraction and at its own best.

    python -m experiments.baselines --dataset rps28 --protocol paper --seeds 0 1 2

The first table is the paper's: weight, polynomial-decay and neuron pruning, the first and the last
not retrained, as the reference has them. The second has every baseline, retrained like the evolved
head.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evojax_prune import baselines
from evojax_prune.run.run import compare as compare_with
from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse
from experiments.harness.runs import Run
from experiments.models import TITLES

EVOLVED = "evolved"
BEST_RANDOM = "best of as many random masks"
WEIGHT = "weight magnitude, not retrained"
POLYNOMIAL = baselines.POLYNOMIAL
COLUMNS = {
    "Weight": (WEIGHT,),
    "Poly. decay": (POLYNOMIAL,),
    "Neuron": ("incoming weights, not retrained", "outgoing weights, not retrained"),
    "Evolved": (EVOLVED,),
}
"""The paper's columns; of several heads the best on selection is shown."""


def compare(
    run: Run,
    fractions: Sequence[float],
    random_masks: int,
    methods: Sequence[str] | None = None,
) -> list[tables.Row]:
    """The baselines of a run (all if no methods are named) and its own heads; computed once."""
    settings = {
        "fractions": list(fractions),
        "random_masks": random_masks,
        "methods": None if methods is None else list(methods),
    }
    found = run.once("baselines", settings, lambda: _compare(run, **settings))
    common = tables.run_columns(run)
    own = {BEST_RANDOM: "random", EVOLVED: "best"}
    return [
        *(common | row for row in found),
        *(tables.head_row(run, name, key) for name, key in own.items()),
    ]


def _compare(run: Run, **settings: Any) -> list[tables.Row]:
    rows = compare_with(run.problem, run.genome, **settings)
    return [
        {
            "head": row.name,
            "at": row.at,
            "active_fraction": row.active_fraction,
            "selection_accuracy": row.selection_accuracy,
            "test_accuracy": row.test_accuracy,
            "parameters": row.parameters,
        }
        for row in rows
    ]


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the tables."""
    options = experiment.options
    runs = experiment.runs()
    everything = [run for some in runs.values() for run in some]
    rows = [row for run in everything for row in compare(run, options.fractions, options.masks)]
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    paper, whole = paper_table(experiment, rows), full_table(options.modes, rows)
    written = tables.write_markdown(
        experiment,
        everything,
        "Evolved heads and baselines",
        "## As the paper has it\n\nTest accuracy at the evolved head's active fraction. Weight and "
        "neuron pruning are not retrained; of the two kinds of neuron pruning the better on "
        "selection.\n",
        paper,
        "## All baselines\n\nOnly what is called “not retrained” is. `same`: at the evolved head's "
        "active fraction; `best`: at the fraction with the highest selection accuracy.\n",
        whole,
    )
    for mode in options.modes:
        picture(path.with_name(f"{path.name}-{mode}.png"), mode, rows, experiment.label)
    print(f"{written}\n\n{paper}\n{whole}")


def column(rows: list[tables.Row], mode: str, seeds: Sequence[int], name: str) -> list[tables.Row]:
    """A column of the paper's table: a row per seed, at the evolved head's active fraction."""
    same = [
        r for r in rows if (r["mode"], r["at"]) == (mode, "same") and r["head"] in COLUMNS[name]
    ]
    return [
        max((r for r in same if r["seed"] == seed), key=lambda r: r["selection_accuracy"])
        for seed in seeds
    ]


def paper_table(experiment: Experiment, rows: list[tables.Row]) -> str:
    """The paper's table of baselines, its figures beneath ours."""
    paper = published.PRUNING.get(experiment.paper_name or "", {})
    lines = []
    for mode in experiment.options.modes:
        heads = [column(rows, mode, experiment.options.seeds, name) for name in COLUMNS]
        accuracies = [tables.summarise([r["test_accuracy"] for r in own]) for own in heads]
        active = [tables.summarise([r["active_fraction"] for r in own]) for own in heads]
        lines.append([TITLES[mode], "Accuracy", *map(tables.accuracy, accuracies)])
        lines.append(["", "% active neurons", *map(tables.percent, active)])
        known = paper.get(mode)
        if known:
            figures = (known.weight, known.polynomial, known.neuron, known.evolved)
            lines.append(["", "Paper: accuracy", *map(tables.figure, figures)])
            lines.append(["", "Paper: % active neurons", *[str(known.active)] * 4])
    return tables.markdown(["Mode", "Measure", *COLUMNS], lines)


def full_table(modes: Sequence[str], rows: list[tables.Row]) -> str:
    """Every head of every mode."""
    lines = []
    for mode in modes:
        own = [r for r in rows if r["mode"] == mode]
        for name, at in dict.fromkeys((r["head"], r["at"]) for r in own):
            some = [r for r in own if (r["head"], r["at"]) == (name, at)]
            selection, test, active, size = (
                tables.over_seeds(some, column)
                for column in (
                    "selection_accuracy",
                    "test_accuracy",
                    "active_fraction",
                    "parameters",
                )
            )
            lines.append(
                [
                    TITLES[mode],
                    name,
                    at,
                    tables.accuracy(selection),
                    tables.accuracy(test),
                    tables.percent(active),
                    f"{size.mean:.0f}",
                ]
            )
    header = ["Mode", "Head", "At", "Selection", "Test", "% active", "Parameters"]
    return tables.markdown(header, lines)


def picture(path: Path, mode: str, rows: list[tables.Row], title: str) -> None:
    """Test accuracy of every head of one mode."""
    own = [r for r in rows if r["mode"] == mode]
    names = list(dict.fromkeys(r["head"] for r in own))
    series = {
        label: [tables.over_seeds(own, "test_accuracy", head=n, at=at) for n in names]
        for label, at in (
            ("dense head", "whole"),
            ("at the evolved head's fraction", "same"),
            ("at its own best", "best"),
        )
    }
    pictures.bars(path, names, series, "test accuracy", f"{title}, {TITLES[mode].lower()}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of :func:`evojax_prune.baselines.compare`."""
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="*",
        default=list(baselines.FRACTIONS),
        metavar="FLOAT",
        help="active fractions among which each baseline's own best is looked for",
    )
    parser.add_argument(
        "--masks", type=int, default=5, metavar="INT", help="random masks at each fraction"
    )


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Evolved heads against pruning without a search."
    return finish(lambda: work(parse("baselines", description, args, add=add_flags)))


if __name__ == "__main__":
    sys.exit(main())
