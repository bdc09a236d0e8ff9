"""Is the front that NSGA-II finds better than other ways to spend as many evaluations?

    python -m experiments.fronts --data digits.npz flowers128.npz --seeds 0

Each way spends 3,000 evaluations on the search's fresh splits and gives a front of cross-entropy
and size, of which at most 16 heads, spread over sizes, are trained on all rows that are not test
rows and looked at on test:

- NSGA-II, the main command's search;
- a search of one objective, the cross-entropy with a penalty on size, started from the same
  rankings: the front of all genomes that it tried, the best of three penalties;
- the rankings that the search starts from, each at evenly spaced sizes (on a log scale), each
  looked at on three splits.

Measured is the hypervolume of test error and log size, both from 0 to 1 (chance; all features):
the higher the better. Files as :mod:`experiments.honest` takes them. Success, written down before
it was run: by the mean over data sets and seeds NSGA-II is above both. ``--penalties`` without a
number leaves the searches with a penalty out, which take most of the time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.analysis import paired_tests
from evojax_prune.methods import guides
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.problem import Problem
from evojax_prune.methods.search import search
from evojax_prune.run.config import RunConfig
from evojax_prune.search.selection import hypervolume, nondominated
from experiments.harness import tables
from experiments.harness.command import on_files
from experiments.harness.sweeps import once
from experiments.honest import final_accuracy, pooled, problem_of, rankings_of, starts_of

HOME = Path("runs/experiments/fronts")
EVALUATIONS, HEADS, LOOKS, LEAST = 3000, 16, 3, 4
PENALTIES = (0.1, 0.5, 2.0)
"""Nats for all features."""

NSGA2, SCALAR, RANKINGS = "NSGA-II", "one objective, size penalty", "union of rankings"


def volume(problem: Problem, genomes: np.ndarray, losses: np.ndarray) -> float:
    """Hypervolume on test, in [0, 1], of the front of genomes ``bool [n, G]`` by their losses."""
    sizes = np.log(np.maximum(genomes.sum(1), 1))
    sound = np.flatnonzero(np.isfinite(losses))
    front = sound[nondominated(np.stack([losses, sizes], 1)[sound])]
    wanted = np.linspace(sizes[front].min(), sizes[front].max(), HEADS)
    front = front[np.unique(np.abs(sizes[front][:, None] - wanted[None]).argmin(0))]
    chance = 1 - 1 / len(problem.splits[0].classes)
    errors = (1 - final_accuracy(problem, genomes[front])) / chance
    whole = np.log(problem.genome_length)
    return hypervolume(np.stack([errors, sizes[front] / whole], 1), np.ones(2))


def searched(problem: Problem, config: RunConfig, starts: guides.Rankings, **changes: Any) -> float:
    """Of the front that a search finds."""
    options = RunConfig.model_validate(config.model_dump() | changes)
    result = search(problem, options, Evaluator(problem, options), starts)
    rows = result.population if len(options.objectives) > 1 else np.arange(len(result))
    genomes = result.rows(rows)
    # Genomes of all sizes are compared by what they lose, whatever the search paid for size.
    losses = result.values[rows, 0] - options.size_penalty * genomes.mean(1)
    return volume(problem, genomes, losses)


def ranked(problem: Problem, config: RunConfig, starts: guides.Rankings) -> float:
    """Of the front of rankings at many sizes."""
    count = EVALUATIONS // LOOKS // len(starts.scores)
    sizes = np.geomspace(LEAST, problem.genome_length, count).round().astype(int)
    order = np.argsort(np.argsort(-starts.scores, axis=1), axis=1)
    genomes = np.concatenate([order < size for size in np.unique(sizes)])
    evaluate = Evaluator(problem, config)
    losses = np.mean([evaluate(genomes, look).values[:, 0] for look in range(LOOKS)], axis=0)
    return volume(problem, genomes, losses)


def compared(path: Path, seed: int, penalties: Sequence[float]) -> tables.Row:
    """One row: the hypervolume of each way."""
    table = pooled(path)
    problem, config = problem_of(
        table, seed, objectives=["cross-entropy", "size"], population=60, evaluations=EVALUATIONS
    )
    starts = starts_of(rankings_of(problem, guides.QUICK))
    alone: dict[str, Any] = {"objectives": ("cross-entropy",), "strategy": "generational"}
    alone |= {"crossover": "sized", "mutation": "swap"}
    row: tables.Row = {
        "dataset": table.name,
        "seed": seed,
        NSGA2: searched(problem, config, starts),
        RANKINGS: ranked(problem, config, starts),
    }
    for penalty in penalties:
        row[f"penalty {penalty:g}"] = searched(
            problem, config, starts, **alone, size_penalty=penalty
        )
    if penalties:
        row[SCALAR] = max(row[f"penalty {penalty:g}"] for penalty in penalties)
    print(row, flush=True)
    return row


def work(options: argparse.Namespace) -> None:
    """Run what is missing, then print the table."""
    rows, penalties = [], tuple(options.penalties)
    for seed in options.seeds:
        for file in options.data:
            key = {"data": pooled(file).version, "seed": seed, "penalties": penalties}
            rows.append(once(HOME, "fronts", key, partial(compared, file, seed, penalties)))
    order = (NSGA2, SCALAR, RANKINGS, *(f"penalty {penalty:g}" for penalty in penalties))
    columns = [name for name in order if name in rows[0]]
    lines = [
        [row["dataset"], str(row["seed"]), *(f"{row[name]:.4f}" for name in columns)]
        for row in rows
    ]
    print(tables.markdown(("data", "seed", *columns), lines))
    if len(rows) > 1:
        by = {name: [row[name] for row in rows] for name in columns}
        for test in paired_tests(by.pop(NSGA2), by):
            print(
                f"{NSGA2} less {test.name}: {test.mean:+.4f}, {test.low:+.4f} to {test.high:+.4f}"
            )


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""

    def more(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--penalties", type=float, nargs="*", default=PENALTIES, metavar="NATS")

    return on_files("fronts", __doc__ or "", work, args, more=more)


if __name__ == "__main__":
    sys.exit(main())
