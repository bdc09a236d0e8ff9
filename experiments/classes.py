"""Classes left out, added one after another, or added to: evolved heads against dense ones.

    python -m experiments.classes --dataset data/painting --part left-out
    python -m experiments.classes --dataset data/painting --part added
    python -m experiments.classes --dataset data/painting --part shares --class iconography

``shares`` is the paper's table of aggregation: all of the other classes, and 20 to 100% of one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from evojax_prune.analysis import added_in_turn, left_out, share_of
from evojax_prune.core.errors import UserError
from evojax_prune.core.splits import FeatureSplits
from experiments import published
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse
from experiments.harness.runs import WHOLE, Run, Variant, load
from experiments.models import TITLES

SHARES = (20, 40, 60, 80, 100)
"""Percentages of one class."""

HEADS = {"evolved": "best", "not pruned": "dense"}


def variants(experiment: Experiment) -> dict[str, Variant]:
    """The parts of the data, by the names of their lines in the table.

    Raises:
        UserError: ``shares`` without a class that the data have.
    """
    part, label = experiment.options.part, experiment.options.class_name
    classes = load(experiment.base).splits[0].classes
    if part == "left-out":
        found = {c: Variant(f"without {c}", _picked(left_out, i)) for i, c in enumerate(classes)}
        return found | {"": WHOLE}
    if part == "added":
        steps = range(2, len(classes))
        found = {
            f"+ {classes[n - 1]}": Variant(
                f"only {', '.join(classes[:n])}", _picked(added_in_turn, n - 2)
            )
            for n in steps
        }
        return found | {f"+ {classes[-1]}": WHOLE}
    if label not in classes:
        said = "--part shares needs --class" if label is None else f"--class is {label}"
        raise UserError(f"{said}, expected one of {', '.join(classes)}")
    index = classes.index(label)
    return {
        f"{share}%": WHOLE
        if share == 100
        else Variant(f"{share}% of {label}", _shared(index, share / 100))
        for share in SHARES
    }


def _picked(make, index: int):
    """The part at a place of what ``make`` yields."""

    def cut(splits: FeatureSplits) -> FeatureSplits:
        return list(make(splits))[index][1]

    return cut


def _shared(label: int, share: float):
    return lambda splits: share_of(splits, label, share, seed=0)


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the table."""
    part = experiment.options.part
    rows: list[tables.Row] = []
    runs: list[Run] = []
    lines = variants(experiment)
    for line, variant in lines.items():
        for some in experiment.runs(variant=variant).values():
            runs += some
            for run in some:
                rows += [{"part": line} | tables.head_row(run, n, k) for n, k in HEADS.items()]
    path = experiment.folder / f"{experiment.label}-{part}"
    experiment.options.label = path.name
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    table = _table(experiment, list(lines), rows)
    titles = {
        "left-out": "Each class left out in turn",
        "added": "Classes added one after another",
        "shares": f"A share of {experiment.options.class_name}, and all other classes",
    }
    written = tables.write_markdown(experiment, [runs[-1], *runs[:-1]], titles[part], table)
    series = {
        f"{TITLES[m]}, {n}": [
            tables.over_seeds(rows, "test_accuracy", part=line, mode=m, head=n) for line in lines
        ]
        for m in experiment.options.modes
        for n in HEADS
    }
    names = [line or "whole set" for line in lines]
    pictures.bars(path.with_name(f"{path.name}.png"), names, series, "test accuracy", titles[part])
    print(f"{written}\n\n{table}")


def _table(experiment: Experiment, lines: list[str], rows: list[tables.Row]) -> str:
    modes = experiment.options.modes
    header = ["Data", "Measure"]
    header += [f"{TITLES[m]}: {n}" for m in modes for n in HEADS]
    table = []
    for line in lines:
        cells = [
            (m, head, [r for r in rows if (r["part"], r["mode"], r["head"]) == (line, m, head)])
            for m in modes
            for head in HEADS
        ]
        accuracies = [tables.over_seeds(own, "test_accuracy") for _, _, own in cells]
        active = [tables.over_seeds(own, "active_fraction") for _, _, own in cells]
        name = line or "whole set"
        table.append([name, "Accuracy", *map(tables.accuracy, accuracies)])
        table.append(["", "% active neurons", *map(tables.percent, active)])
        known = _published(experiment, line)
        if known:
            table.append(
                ["", "Paper: accuracy", *(_paper(known, m, head)[0] for m, head, _ in cells)]
            )
            table.append(
                ["", "Paper: % active neurons", *(_paper(known, m, h)[1] for m, h, _ in cells)]
            )
    return tables.markdown(header, table)


def _published(experiment: Experiment, line: str) -> published.Relevance | None:
    name, part = experiment.paper_name or "", experiment.options.part
    if part == "left-out":
        return published.LEFT_OUT.get(name, {}).get(line.lower())
    if part == "shares":
        return published.SHARES.get(name, {}).get(int(line.rstrip("%")))
    return None


def _paper(known: published.Relevance, mode: str, head: str) -> tuple[str, str]:
    """Accuracy and percentage of active neurons of one cell."""
    if mode not in ("both", "features"):
        return tables.ABSENT, tables.ABSENT
    if head == "not pruned":
        return tables.figure(getattr(known, f"{mode}_dense")), "100"
    return tables.figure(getattr(known, mode)), str(getattr(known, f"{mode}_active"))


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Which table, and of which class."""
    parser.add_argument("--part", choices=("left-out", "added", "shares"), default="left-out")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="the class of --part shares"
    )


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Which classes a pruned head lives on."
    return finish(
        lambda: work(parse("classes", description, args, ("both", "features"), add_flags))
    )


if __name__ == "__main__":
    sys.exit(main())
