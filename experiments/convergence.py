"""Best fitness against evaluations, over repeated runs with their spread.

    python -m evojax_prune sweep configs/sweeps/models.yaml
    python -m experiments.convergence runs/models

Reads finished sweeps: a line and a picture per combination of what varies but the seed.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import minimised
from experiments.harness import pictures, tables
from experiments.harness.command import read
from experiments.harness.sweeps import Run, Sweep

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Parts of the budget that the table has a column of."""

Curves = tuple[np.ndarray, np.ndarray]
"""Best fitness so far, and the active fraction of the genome that has it, ``float64 [E]`` each."""


def curves(run: Run) -> Curves:
    """How far a search had come after each evaluation, by its first objective.

    Of equal fitness the genome with fewer active bits is the better, as in the search. NaN before
    the first genome whose training did not diverge.
    """
    objective = run.objective
    with (run.folder / "evaluations.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    fitness = np.array([float(row[objective.name] or "nan") for row in rows])
    active = np.array([float(row["active_fraction"]) for row in rows])
    costs = minimised(fitness[:, None], [objective])[:, 0]
    leaders = np.empty(len(rows), np.int64)
    leader = 0
    for i in range(len(rows)):
        if (costs[i], active[i]) < (costs[leader], active[leader]):
            leader = i
        leaders[i] = leader
    return fitness[leaders], active[leaders]


def write(sweep: Sweep) -> str:
    """Write pictures and tables; returns what is to be shown."""
    if strange := [run for run in sweep.runs if run.settings["method"] != "search"]:
        raise UserError(f"{strange[0].folder.name} is not a search, and has no convergence")
    lines = {labels: [(run, curves(run)) for run in runs] for labels, runs in sweep.lines().items()}
    folder = tables.home(sweep)
    tables.write_csv(
        folder / "convergence.csv",
        [
            dict(zip(sweep.columns, labels, strict=True))
            | tables.run_columns(run)
            | {"evaluation": i + 1, "best_fitness": fitness, "active_fraction": active}
            for labels, some in lines.items()
            for run, found in some
            for i, (fitness, active) in enumerate(zip(*found, strict=True))
        ],
    )
    table = []
    for labels, some in lines.items():
        best, at = (
            [
                tables.summarise([c[which][max(1, round(s * len(c[which]))) - 1] for _, c in some])
                for s in SHARES
            ]
            for which in (0, 1)
        )
        blank = [""] * len(labels)
        table.append([*labels, "Best fitness", *map(tables.accuracy, best)])
        table.append([*blank, "% active", *map(tables.percent, at)])
        name = re.sub(r"[^\w.-]+", "-", "-".join(labels)).lower()
        _picture(folder / f"convergence-{name}.png", ", ".join(labels), some)
    header = [*map(str.capitalize, sweep.columns), "Measure"]
    header += [f"{s:.0%} of the budget" for s in SHARES]
    text = tables.markdown(header, table, left=len(sweep.columns) + 1)
    note = "Fitness is measured by the search protocol on the selection split.\n"
    title = f"{sweep.folder.name}: convergence"
    written = tables.write_markdown(sweep, "convergence", title, note, text)
    return f"{written}\n\n{text}"


def _picture(path: Path, title: str, some: list[tuple[Run, Curves]]) -> None:
    """Each run thin, their mean thick with its standard deviation, the dense heads dashed."""
    figure = pictures.new_figure(8.5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    length = min(len(best) for _, (best, _) in some)
    count = np.arange(1, length + 1)
    for axes, which, name in ((upper, 0, "best fitness"), (lower, 1, "active fraction of it")):
        lines = np.stack([found[which][:length] for _, found in some])
        axes.plot(count, lines.T, color="C0", alpha=0.35, linewidth=0.8)
        mean, spread = lines.mean(0), lines.std(0, ddof=1) if len(lines) > 1 else 0.0
        axes.plot(count, mean, color="C0", linewidth=2, label=f"mean of {len(some)} runs")
        axes.fill_between(count, mean - spread, mean + spread, color="C0", alpha=0.15, linewidth=0)
        if which == 0:
            dense = [run.result["search"]["dense_fitness"] for run, _ in some]
            level = tables.summarise([np.nan if d is None else d for d in dense]).mean
            axes.axhline(level, color="0.3", linestyle="--", label="dense head, mean")
        pictures.finish_axes(axes, name, title if which == 0 else "", legend=which == 0)
    lower.set_ylim(0, 1)
    lower.set_xlabel("evaluations")
    pictures.save(figure, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Best fitness against evaluations, over repeated runs."
    return read("convergence", description, write, args)


if __name__ == "__main__":
    sys.exit(main())
