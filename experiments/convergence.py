"""Best fitness against evaluations, over repeated runs with their spread.

python -m experiments.convergence --dataset rps28 --protocol paper --seeds 0 1 2 3 4
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse
from experiments.harness.runs import Run
from experiments.models import TITLES

SHARES = (0.25, 0.5, 0.75, 1.0)
"""Parts of the budget that the table has a column of."""


def curves(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Best fitness so far, and the active fraction of the genome that has it, ``[E]`` each.

    Of equal fitness the one with fewer active bits is the better, as in the search.
    """
    searched = run.searched()
    fitness = np.where(np.isnan(searched["fitness"]), -np.inf, searched["fitness"])
    active = searched["genomes"].mean(1)
    best, at = np.empty(len(fitness)), np.empty(len(fitness))
    leader = 0
    for i in range(len(fitness)):
        if (fitness[i], -active[i]) > (fitness[leader], -active[leader]):
            leader = i
        best[i], at[i] = fitness[leader], active[leader]
    return best, at


def work(experiment: Experiment) -> None:
    """Run what is missing, then write pictures and tables."""
    runs = experiment.runs()
    everything = [run for some in runs.values() for run in some]
    found = {run.folder: curves(run) for run in everything}
    rows = [
        tables.run_columns(run)
        | {"evaluation": i + 1, "best_fitness": fitness, "active_fraction": active}
        for run in everything
        for i, (fitness, active) in enumerate(zip(*found[run.folder], strict=True))
    ]
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    lines = []
    for mode, some in runs.items():
        own = [found[run.folder] for run in some]
        for name, which, show in (
            ("Best fitness", 0, tables.accuracy),
            ("% active neurons", 1, tables.percent),
        ):
            ends = [
                show(tables.summarise([c[which][round(s * len(c[which])) - 1] for c in own]))
                for s in SHARES
            ]
            lines.append([TITLES[mode] if which == 0 else "", name, *ends])
        _picture(path.with_name(f"{path.name}-{mode}.png"), mode, some, own, experiment.label)
    header = ["Mode", "Measure", *(f"{s:.0%} of the budget" for s in SHARES)]
    table = tables.markdown(header, lines)
    note = "Fitness is measured by the search protocol on the selection split.\n"
    written = tables.write_markdown(experiment, everything, "Convergence", note, table)
    print(f"{written}\n\n{table}")


def _picture(
    path: Path, mode: str, runs: list[Run], own: list[tuple[np.ndarray, np.ndarray]], title: str
) -> None:
    """Each run thin, their mean thick with its standard deviation, the dense heads dashed."""
    figure = pictures.new_figure(7.5, 6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    length = min(len(best) for best, _ in own)
    count = np.arange(1, length + 1)
    for axes, which, name in ((upper, 0, "best fitness"), (lower, 1, "active fraction of it")):
        lines = np.stack([c[which][:length] for c in own])
        lines = np.where(np.isfinite(lines), lines, np.nan)
        axes.plot(count, lines.T, color="C0", alpha=0.35, linewidth=0.8)
        mean, spread = lines.mean(0), lines.std(0, ddof=1) if len(lines) > 1 else 0.0
        axes.plot(count, mean, color="C0", linewidth=2, label=f"mean of {len(own)} runs")
        # neither fitness nor an active fraction is ever above 1
        above = np.minimum(mean + spread, 1)
        axes.fill_between(count, mean - spread, above, color="C0", alpha=0.15)
        heading = f"{title}, {TITLES[mode].lower()}" if which == 0 else ""
        if which == 0:
            dense = np.mean([run.result["search"]["dense_fitness"] for run in runs])
            axes.axhline(dense, color="0.3", linestyle="--", label="dense head, mean")
        pictures.finish_axes(axes, name, heading)
    lower.set_ylim(0, 1)
    lower.set_xlabel("evaluations")
    pictures.save(figure, path)


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Best fitness against evaluations, over repeated runs."
    return finish(lambda: work(parse("convergence", description, args)))


if __name__ == "__main__":
    sys.exit(main())
