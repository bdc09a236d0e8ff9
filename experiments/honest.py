"""Does the search find better small heads than rankings do, on rows that nothing was selected on?

    python -m experiments.honest --data digits.npz flowers.npz --seeds 0 1 2 3 4

``--data`` takes features files (``x_train``, ``y_train``, optionally ``groups_train``), such as
``python -m experiments.honest --make DATASET FILE.npz`` writes out of any data set that the main
command takes. All rows of a file are pooled; each seed cuts off a test split of its own (at least a
fifth, and all but ``--rows`` rows), by class, or by group where there are groups.

For each data set, seed and size, everything has the same rows, scaling and training:

- evolved: the main command's search of one objective, the cross-entropy on fresh splits, at that
  size, started from the rankings that the main command starts from (group lasso is one of them);
  of its finalists the best by selection accuracy;
- every ranking of the baselines, its best features;
- random masks, the mean of ten.

Each is then trained on all rows that are not test rows, and looked at once on test: three times,
from different weights and in different orders, of which the mean counts. One training of a head of
few features differs from the next by about as much as a good mask from a better one.

What counts as success, written down before it was run: over data sets and seeds together, at 5% of
the features or less, evolved above every single ranking by the mean, the recursive one by 0.01 at
2.5%, Holm-corrected p < 0.05 against each; at least 0.12 above random masks at 2.5%; at 10% not
below the best ranking.

``--ablation 0.025`` takes parts of the search away, one at a time: the fresh splits, the scaling,
the starts, cross-entropy for accuracy, the training on all rows; and adds label smoothing, or the
consensus to the finalists. A part without which the mean over data sets and seeds is as high brings
nothing, and is no reason to keep it as a default.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.analysis import paired_tests
from evojax_prune.baselines import RANKINGS
from evojax_prune.core.ranking import quantiles
from evojax_prune.data import FeatureTable, load
from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.features import load_table
from evojax_prune.methods import guides
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.finalists import finalists
from evojax_prune.methods.problem import Problem, best_outcome, first_params, random_genomes
from evojax_prune.methods.search import search
from evojax_prune.run.config import RunConfig
from evojax_prune.run.data import make_problem
from experiments.harness import tables
from experiments.harness.command import finish
from experiments.harness.sweeps import once

HOME = Path("runs/experiments/honest")
SHARES = (0.0125, 0.025, 0.05, 0.1)
"""Sizes, as parts of the features."""

ROWS = 1800
"""Most rows that are not test rows."""

TRAININGS = 3
"""Final trainings, of which the mean test accuracy counts."""

EVOLVED, RANDOM, DENSE = "evolved", "random masks, mean of 10", "dense"

SEARCH: dict[str, Any] = {
    "objectives": ["cross-entropy"],
    "population": 40,
    "evaluations": 3000,
    "finalists": 3,
}

VARIANTS: dict[str, dict[str, Any]] = {
    "all": {},
    "one split": {"selection": "holdout", "selection_fraction": 1 / 3},
    "raw features": {"scale": "none"},
    "label smoothing 0.1": {
        "search_protocol": {"label_smoothing": 0.1},
        "final_protocol": {"label_smoothing": 0.1},
    },
    "random starts": {"init": "random", "mutation_bias": 0.0},
    "accuracy": {"objectives": ["accuracy"]},
    "consensus": {"consensus": True},
}
"""The search as it is, and with one thing changed."""


def pooled(path: Path) -> FeatureTable:
    """All rows of a features file, as one split."""
    table = load(str(path))
    if not isinstance(table, FeatureTable):
        raise SystemExit(f"{path} is not a features file")
    x, y = (np.concatenate([*part.values()]) for part in (table.x, table.y))
    groups = None if table.groups is None else np.concatenate([*table.groups.values()])
    return FeatureTable(
        path.stem,
        table.version,
        table.classes,
        {"all": x},
        {"all": y},
        None if groups is None else {"all": groups},
        table.source,
    )


def problem_of(table: FeatureTable, seed: int, **changes: Any) -> tuple[Problem, RunConfig]:
    """The problem of one seed, and its configuration."""
    rows = len(table.y["all"])
    fraction = max(0.2, 1 - ROWS / rows)
    config = RunConfig(**({"seed": seed, "test_fraction": fraction} | SEARCH | changes))
    return make_problem(config, table), config


def final_accuracy(problem: Problem, genomes: np.ndarray, trainings: int = 1) -> np.ndarray:
    """Test accuracy ``float64 [P]`` of genomes, trained on all rows that are not test rows.

    The mean over some trainings; the first of them has the problem's own seed.
    """

    def of_training(number: int) -> np.ndarray:
        seed = problem.training.seed + 1000 * number
        training = problem.training.model_copy(update={"seed": seed})
        fits = dataclasses.replace(problem, training=training).fit(
            genomes, training.final_protocol, ("test",)
        )
        return fits.accuracy["test"]

    return np.mean([of_training(number) for number in range(trainings)], axis=0)


def rankings_of(problem: Problem, names: Container[str] = RANKINGS) -> dict[str, np.ndarray]:
    """Scores ``float64 [F]`` of every ranking of features, or of some of them."""
    fits = problem.final_fits(problem.pruning.dense)
    dense = guides.dense_head(problem, first_params(fits)[0])
    return {
        name: ranking.rank(dense)[0]
        for name, ranking in RANKINGS.items()
        if name in names and "features" in ranking.modes and ranking.grain == "neurons"
    }


def starts_of(scores: dict[str, np.ndarray]) -> guides.Rankings:
    """Those of the rankings that the main command's search starts from."""
    names = tuple(name for name in guides.QUICK if name in scores)
    return guides.Rankings(names, np.stack([quantiles(scores[name]) for name in names]))


def evolved(
    problem: Problem, config: RunConfig, scores: dict[str, np.ndarray], size: int, whole: Problem
) -> dict[str, Any]:
    """The search at one size; what the main command would give back, trained on ``whole``."""
    began = time.monotonic()
    options = RunConfig.model_validate(config.model_dump() | {"size": size})
    starts = starts_of(scores) if options.init == "rankings" else None
    result = search(problem, options, Evaluator(problem, options), starts)
    taken = best_outcome(problem.refit(finalists(problem, result, options)))
    (accuracy,) = final_accuracy(whole, taken.genome[None], TRAININGS)
    return {
        "test_accuracy": float(accuracy),
        "not_refit": taken.test,
        "selection_accuracy": taken.selection,
        "size": int(taken.genome.sum()),
        "seconds": time.monotonic() - began,
    }


def compared(table: FeatureTable, seed: int) -> list[tables.Row]:
    """A row per method and size of one data set and seed."""
    problem, config = problem_of(table, seed)
    scores = rankings_of(problem)
    features = problem.genome_length
    where = {"dataset": table.name, "seed": seed}
    (dense,) = final_accuracy(problem, problem.pruning.dense, TRAININGS)
    rows = [where | {"share": 1.0, "method": DENSE, "test_accuracy": float(dense)}]
    for share in SHARES:
        size = round(share * features)
        at = where | {"share": share}
        genomes = np.stack([problem.pruning.keep([s], (share,)) for s in scores.values()])
        ranked = final_accuracy(problem, genomes, TRAININGS)
        for name, accuracy in zip(scores, ranked, strict=True):
            rows.append(at | {"method": name, "test_accuracy": float(accuracy)})
        random = final_accuracy(problem, random_genomes(size, features, 10, seed), TRAININGS)
        rows.append(at | {"method": RANDOM, "test_accuracy": float(random.mean())})
        found = evolved(problem, config, scores, size, problem)
        rows.append(at | {"method": EVOLVED, **found})
        print(f"{table.name}, seed {seed}, {size} features: {found}", flush=True)
    return rows


def ablated(table: FeatureTable, seed: int, share: float) -> list[tables.Row]:
    """A row per variant of the search, at one size."""
    rows = []
    for name, changes in VARIANTS.items():
        problem, config = problem_of(table, seed, **changes)
        own = {key: value for key, value in changes.items() if not key.startswith("selection")}
        whole, _ = problem_of(table, seed, **own)
        size = round(share * problem.genome_length)
        found = evolved(problem, config, rankings_of(problem), size, whole)
        rows.append({"dataset": table.name, "seed": seed, "variant": name, **found})
        print(rows[-1], flush=True)
    return rows


def ablation(rows: Sequence[tables.Row]) -> str:
    """What the search as it is has more than with one thing changed, in test accuracy."""

    def column(variant: str, name: str = "test_accuracy") -> list[float]:
        return [row[name] for row in rows if row["variant"] == variant]

    whole, *changed = VARIANTS
    others = {name: column(name) for name in changed}
    # Where splits are fresh all rows train in any case: the one split tells what that is worth.
    refit = {"one split: not trained on all rows": column("one split", "not_refit")}
    tests = [*paired_tests(column(whole), others), *paired_tests(column("one split"), refit)]
    lines = [[t.name, f"{t.mean:+.4f}", f"{t.low:+.4f} to {t.high:+.4f}"] for t in tests]
    return tables.markdown(("changed", "loses", "95% interval"), lines)


def figures(rows: Sequence[tables.Row]) -> str:
    """Mean test accuracy of each method and size, and evolved against each."""
    methods = list(dict.fromkeys(row["method"] for row in rows if row["share"] < 1))
    parts = []
    for share in SHARES:
        by = {
            m: [r["test_accuracy"] for r in rows if (r["method"], r["share"]) == (m, share)]
            for m in methods
        }
        first = by.pop(EVOLVED)
        lines = [[EVOLVED, f"{np.mean(first):.4f}", "", "", "", ""]]
        for test in sorted(paired_tests(first, by), key=lambda t: t.mean):
            lines.append(
                [
                    test.name,
                    f"{np.mean(by[test.name]):.4f}",
                    f"{test.mean:+.4f}",
                    f"{test.low:+.4f} to {test.high:+.4f}",
                    f"{test.ahead} of {test.pairs}",
                    f"{test.t_holm:.4f}",
                ]
            )
        header = ("method", "test", "evolved less it", "95% interval", "ahead", "p (t, Holm)")
        parts.append(f"### {share:.2%} of the features\n\n{tables.markdown(header, lines)}")
    return "\n\n".join(parts)


def by_dataset(rows: Sequence[tables.Row]) -> str:
    """Mean test accuracy of the dense, the evolved, the best other and random heads by data set."""
    lines = []
    for name in dict.fromkeys(row["dataset"] for row in rows):
        own = [row for row in rows if row["dataset"] == name]

        def mean(method: str, share: float, own: Sequence[tables.Row] = own) -> float:
            found = [r for r in own if (r["method"], r["share"]) == (method, share)]
            return float(np.mean([r["test_accuracy"] for r in found]))

        rankings = {row["method"] for row in own} - {EVOLVED, RANDOM, DENSE}
        for share in SHARES:
            best = max(rankings, key=lambda method: mean(method, share))
            lines.append(
                [
                    name,
                    f"{share:.2%}",
                    f"{mean(DENSE, 1.0):.3f}",
                    f"{mean(EVOLVED, share):.3f}",
                    f"{mean(best, share):.3f} ({best})",
                    f"{mean(RANDOM, share):.3f}",
                ]
            )
    return tables.markdown(("data", "size", "dense", "evolved", "best ranking", "random"), lines)


def make(dataset: str, file: Path, groups: str | None) -> None:
    """Write the features of a data set to a file."""
    table = load_table(dataset, groups=groups, progress=True)
    x, y = (np.concatenate([*part.values()]) for part in (table.x, table.y))
    more = {"classes": np.array(table.classes)}
    if table.groups is not None:
        more["groups_train"] = np.concatenate([*table.groups.values()])
    np.savez_compressed(file, x_train=x, y_train=y, **more)


def work(options: argparse.Namespace) -> None:
    """Run what is missing, then write the tables."""
    if options.make:
        return make(options.make[0], Path(options.make[1]), options.groups)
    keep_compiled(HOME / "compiled")
    rows: list[tables.Row] = []
    for seed in options.seeds:
        for file in options.data:
            table = pooled(file)
            key = {"data": table.version, "name": table.name, "seed": seed, "search": SEARCH}
            key |= {"trainings": TRAININGS}
            if options.ablation is None:
                rows += once(HOME, "compared", key, partial(compared, table, seed))
            else:
                key |= {"share": options.ablation, "variants": VARIANTS}
                rows += once(HOME, "ablated", key, partial(ablated, table, seed, options.ablation))
    HOME.mkdir(parents=True, exist_ok=True)
    if options.ablation:
        tables.write_csv(HOME / "ablation.csv", rows)
        print(ablation(rows))
        return None
    columns = dict.fromkeys((column for row in rows for column in row), "")
    tables.write_csv(HOME / "honest.csv", [columns | row for row in rows])
    text = f"{figures(rows)}\n\n### By data set\n\n{by_dataset(rows)}\n"
    (HOME / "honest.md").write_text(text, encoding="utf-8")
    print(text)
    return None


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.honest",
        description=(__doc__ or "").partition("\n\n")[0],
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, nargs="+", default=[], metavar="FILE.npz")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="INT")
    parser.add_argument(
        "--ablation", type=float, metavar="SHARE", help="variants of the search, at this size"
    )
    parser.add_argument("--make", nargs=2, metavar=("DATASET", "FILE.npz"))
    parser.add_argument("--groups", metavar="REGEX", help="of --make")
    return finish(lambda: work(parser.parse_args(args)))


if __name__ == "__main__":
    sys.exit(main())
