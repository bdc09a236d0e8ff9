"""Does a search gain from sensitivities? Plain, started from them, guided by them, and both.

    python -m experiments.bridge --dataset rps28 --seeds 0 1 2 3 4

Every variant has the same budget of evaluations and the same seeds (so the same splits, initial
weights and minibatches). A seed's dense head is trained once more, by the search protocol, for the
rankings; that one evaluation is not counted. ``--pool FILE.csv ...`` adds the rows of other data
sets to the statistics.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.analysis import bayesian_signed_rank_test, holm, summarise, wilcoxon
from evojax_prune.core.errors import UserError
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.problem import best_outcome
from evojax_prune.methods.search import search
from evojax_prune.run.config import RunConfig
from evojax_prune.run.data import content_digest
from evojax_prune.run.run import load_problem
from experiments.harness import pictures, tables
from experiments.harness.command import Experiment, finish, parse
from experiments.harness.runs import once

VARIANTS = {
    "plain": ("--init", "random", "--mutation-bias", "0"),
    "initial genomes": ("--init", "sensitivity", "--mutation-bias", "0"),
    "mutation": ("--init", "random", "--mutation-bias", "1"),
    "both": ("--init", "sensitivity", "--mutation-bias", "1"),
}
"""Flags of the main command, which win over those that the experiment is given."""

SHARES = (0.25, 0.5, 1.0)
"""Parts of the budget after which the best fitness is shown."""

MEASURES = {"best_fitness": "fitness", "test_accuracy": "test accuracy"}
"""What the statistics are of."""


def searched(config: RunConfig) -> dict[str, Any]:
    """One search and its finalists: the best fitness on the way, and the head that it ends with."""
    problem = load_problem(config)
    found = search(problem, config, Evaluator(problem, config))
    best = found.selection.finalists(found.values, found.active, config.finalists)
    head = best_outcome(problem.refit(found.rows(best)))
    ends = [max(1, round(share * len(found))) for share in SHARES]
    leaders = [found.selection.order(found.values[:end], found.active[:end])[0] for end in ends]
    fitness = found.fitness[leaders]
    return {
        "name": problem.name,
        "fitness": fitness.tolist(),
        "selection_accuracy": head.selection,
        "test_accuracy": head.test,
        "active_fraction": head.active_fraction,
        "parameters": head.parameters,
    }


def rows_of(experiment: Experiment) -> list[tables.Row]:
    """A row a variant and seed; what was computed before is not computed again."""
    return [
        row_of(experiment, mode, seed, variant)
        for mode in experiment.options.modes
        for seed in experiment.options.seeds
        for variant in VARIANTS
    ]


def row_of(experiment: Experiment, mode: str, seed: int, variant: str) -> tables.Row:
    """One search."""
    config = experiment.config(mode, seed, *VARIANTS[variant])
    key = [config.repeatable(), content_digest(config)]
    got = once(experiment.folder / "runs", "search", key, partial(searched, config))
    fitness, name = got.pop("fitness"), got.pop("name")
    print(f"{name}, {mode}, seed {seed}, {variant}: {fitness[-1]:.4f}", flush=True)
    where = {"dataset": name, "selection": config.selection, "features": config.backbone}
    ends = {f"fitness at {s:.0%}": value for s, value in zip(SHARES, fitness, strict=True)}
    kind = {"mode": mode, "seed": seed, "variant": variant}
    return where | kind | ends | {"best_fitness": fitness[-1]} | got


def work(experiment: Experiment) -> None:
    """Run what is missing, then write the tables."""
    others = [row for file in experiment.options.pool for row in read(file)]
    rows = rows_of(experiment)
    path = experiment.folder / experiment.label
    tables.write_csv(path.with_name(f"{path.name}.csv"), rows)
    text = "\n".join(
        [
            "# Searches with and without sensitivities",
            "",
            _settings(experiment),
            "",
            table(rows),
            "## Against the plain search, pair by pair of data set, mode and seed",
            "",
            "Wilcoxon's signed-rank test (p by Holm over the lines of a measure), and the Bayesian "
            "signed-rank test with a region of practical equivalence of 0.01: probabilities that "
            "the variant is better, equivalent, worse. Seeds of one data set count as pairs of "
            "their own, though they share its images. Five pairs cannot give a p below 0.0625, "
            "times three by Holm.",
            "",
            statistics(rows + others),
        ]
    )
    path.with_name(f"{path.name}.md").write_text(text, encoding="utf-8")
    _picture(path.with_name(f"{path.name}.png"), rows, experiment)
    print(text)


def _settings(experiment: Experiment) -> str:
    config = experiment.base
    on = "**selected on test**" if config.selection == "test" else f"selection: {config.selection}"
    grouped = f", grouped by `{config.groups}`" if config.groups else ""
    search, final = config.search_protocol, config.final_protocol
    return (
        f"{config.strategy}, population {config.population}, {config.evaluations} evaluations "
        f"each; {on}{grouped}; {config.backbone}. Fitness ({config.objectives[0]}) is the "
        f"selection split's, by the search protocol ({search.epochs} epochs at "
        f"{search.learning_rate:g}); accuracies are of the finalist that is best on selection "
        f"after the final protocol (at most {final.epochs} epochs at {final.learning_rate:g}).\n\n"
        f"Command: `{experiment.command}`"
    )


def read(file: Path) -> list[tables.Row]:
    """Rows of another data set, as this experiment wrote them.

    Raises:
        UserError: they cannot be read.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            found: list[tables.Row] = list(csv.DictReader(opened))
        for row in found:
            row |= {measure: float(row[measure]) for measure in MEASURES}
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"--pool {file} cannot be used ({type(error).__name__}: {error}); expected a CSV file "
            "that this experiment wrote"
        ) from None
    return found


def table(rows: list[tables.Row]) -> str:
    """Means and deviations over seeds."""
    lines = []
    for mode in dict.fromkeys(row["mode"] for row in rows):
        for variant in VARIANTS:
            some = [r for r in rows if (r["mode"], r["variant"]) == (mode, variant)]
            fitness = [str(summarise([r[f"fitness at {s:.0%}"] for r in some])) for s in SHARES]
            test = str(summarise([r["test_accuracy"] for r in some]))
            active = tables.percent(summarise([r["active_fraction"] for r in some]))
            lines.append([mode, variant, *fitness, test, active])
    ends = [f"Best fitness, {share:.0%} of the budget" for share in SHARES]
    return tables.markdown(["Mode", "Search", *ends, "Test accuracy", "% active"], lines)


def statistics(rows: list[tables.Row]) -> str:
    """Each variant against the plain search, pair by pair."""
    lines = []
    for measure, name in MEASURES.items():
        by_variant = {v: _paired(rows, v, measure) for v in VARIANTS}
        others = [v for v in VARIANTS if v != "plain"]
        tests = [wilcoxon(by_variant[v], by_variant["plain"]) for v in others]
        adjusted = holm([test.p_value for test in tests])
        for variant, test, p in zip(others, tests, adjusted, strict=True):
            shares = bayesian_signed_rank_test(by_variant[variant], by_variant["plain"])
            mean = np.mean(np.subtract(by_variant[variant], by_variant["plain"]))
            bayes = f"{shares.first:.2f}, {shares.rope:.2f}, {shares.second:.2f}"
            gains = (f"{mean:+.4f}", f"{test.median:+.4f}")
            lines.append([name, variant, str(test.pairs), *gains, f"{p:.4f}", bayes])
    header = ["Measure", "Search", "Pairs", "Mean gain", "Median gain", "p (Holm)", "Bayes"]
    return tables.markdown(header, lines)


def _paired(rows: list[tables.Row], variant: str, measure: str) -> list[float]:
    keyed = {
        (r["dataset"], r["selection"], r["features"], r["mode"], int(r["seed"])): r[measure]
        for r in rows
        if r["variant"] == variant
    }
    return [keyed[key] for key in sorted(keyed)]


def _picture(path: Path, rows: list[tables.Row], experiment: Experiment) -> None:
    modes = experiment.options.modes
    series = {
        v: [tables.over_seeds(rows, "best_fitness", mode=m, variant=v) for m in modes]
        for v in VARIANTS
    }
    pictures.bars(path, modes, series, "best fitness", experiment.label)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of this experiment."""
    parser.add_argument(
        "--pool",
        type=Path,
        nargs="*",
        default=[],
        metavar="FILE.csv",
        help="this experiment's rows of other data sets, for the statistics",
    )


def main(args: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    description = "Searches with and without sensitivities."
    return finish(lambda: work(parse("bridge", description, args, ("features",), add_flags)))


if __name__ == "__main__":
    sys.exit(main())
