"""The same search on several backbones, against weight and polynomial-decay pruning.

python -m experiments.backbones --dataset rps28 --backbones resnet50 densenet121 vgg19
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from experiments import baselines, published
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse

DEFAULT = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")

METHODS = (baselines.WEIGHT, baselines.POLYNOMIAL)


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the table."""
    options = experiment.options
    (mode,) = options.modes
    found, rows, runs = {}, [], []
    for backbone in options.backbones:
        (own,) = experiment.runs("--backbone", backbone).values()
        found[backbone] = [
            {"backbone": backbone} | row
            for run in own
            for row in baselines.compare(run, (), 1, METHODS)
        ]
        rows += found[backbone]
        runs += own
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    table = _table(experiment, mode, found)
    written = tables.write_markdown(
        experiment,
        runs,
        "Backbones",
        "Test accuracy at the evolved head's active fraction; weight pruning is not retrained. The "
        "lines above are those of the first backbone.\n",
        table,
    )
    heads = [_heads(rows, mode, options.seeds) for rows in found.values()]
    series = {
        name: [tables.summarise([r["test_accuracy"] for r in own[name]]) for own in heads]
        for name in heads[0]
    }
    picture = path.with_name(f"{path.name}.png")
    pictures.bars(picture, options.backbones, series, "test accuracy", experiment.label)
    print(f"{written}\n\n{table}")


def _heads(rows: list[tables.Row], mode: str, seeds: Sequence[int]) -> dict[str, list[tables.Row]]:
    """The columns of the table, each with a row per seed."""
    names = ("Weight", "Poly. decay", "Evolved")
    dense = {"Not pruned": [r for r in rows if r["head"] == "dense"]}
    return dense | {name: baselines.column(rows, mode, seeds, name) for name in names}


def _table(experiment: Experiment, mode: str, found: dict[str, list[tables.Row]]) -> str:
    lines = []
    for backbone, rows in found.items():
        heads = _heads(rows, mode, experiment.options.seeds).values()
        accuracies = [tables.summarise([r["test_accuracy"] for r in h]) for h in heads]
        active = [tables.summarise([r["active_fraction"] for r in h]) for h in heads]
        lines.append([backbone, "Accuracy", *map(tables.accuracy, accuracies)])
        lines.append(["", "% active neurons", *map(tables.percent, active)])
        known = published.with_backbone(experiment.paper_name or "", backbone)
        if known and mode == "features":
            figures = (None, known.weight, known.polynomial, known.evolved)
            lines.append(["", "Paper: accuracy", *map(tables.figure, figures)])
            lines.append(["", "Paper: % active neurons", tables.ABSENT, *[str(known.active)] * 3])
    header = ["Backbone", "Measure", "Not pruned", "Weight", "Poly. decay", "Evolved"]
    return tables.markdown(header, lines)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The backbones."""
    parser.add_argument("--backbones", nargs="+", default=list(DEFAULT), metavar="NAME")


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "The same search on several backbones (one prune mode: --modes)."
    return finish(lambda: work(parse("backbones", description, args, ("features",), add_flags)))


if __name__ == "__main__":
    sys.exit(main())
