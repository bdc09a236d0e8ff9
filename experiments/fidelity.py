"""Is the search better with a cheaper fidelity before it or within it, or as islands?

    python -m experiments.fidelity --data digits.npz flowers128.npz --seeds 0 1

At 2.5% of the features, with the data, splits and training of :mod:`experiments.honest`:

- the search as it is, 3,000 heads;
- ridge alone: 20,000 genomes, each worth the exact leave-one-out error of ridge regression on all
  rows that are not test rows, in closed form; the best of them;
- ridge first: the search as it is, which also starts from how often each feature is in the
  population that ridge ended with;
- race: in each generation twice as many children are born, and the worse half of them by ridge is
  not trained, so that as many heads are trained as by the search as it is;
- islands: three searches of 1,000 heads each, with seeds of their own, and the finalists of all.

What is found is trained on all rows that are not test rows, and looked at once on test. The second
table has the rank correlation, over 60 masks of noisy rankings, of both fidelities with the test
accuracy, and what a genome costs.

What counts as success, written down before it was run: a mean test accuracy over data sets and
seeds above that of the search as it is, with a 95% interval above 0. What has less is not kept.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

from evojax_prune.analysis import paired_tests
from evojax_prune.core.objective import Objective
from evojax_prune.core.ranking import quantiles
from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.methods import guides
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.finalists import finalists
from evojax_prune.methods.problem import Problem, best_outcome
from evojax_prune.methods.search import search, search_strategy
from evojax_prune.run.config import RunConfig
from evojax_prune.search import Evaluation, run_search
from evojax_prune.search.archive import digests, pack
from experiments.harness import tables
from experiments.harness.command import on_files
from experiments.harness.sweeps import once
from experiments.honest import final_accuracy, pooled, problem_of, rankings_of, starts_of

HOME = Path("runs/experiments/fidelity")
SHARE, GENOMES, ISLANDS, MASKS = 0.025, 20_000, 3, 60
PENALTY = 0.02
"""Of ridge regression, per training row."""

NOISE = 0.1
"""Standard deviation of the noise on quantiles of the rankings whose masks are compared."""

AS_IS, ALONE, FIRST, RACE, APART = WAYS = (
    "search as it is",
    "ridge alone",
    "ridge first",
    "race",
    "islands",
)


def leave_one_out(x: np.ndarray, y: np.ndarray, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Mean squared leave-one-out error ``float64 [n]`` of genomes ``bool [n, F]`` of one size.

    Targets are centred one-hot vectors. A residual left out is the residual over one less the row's
    leverage (Allen, Technometrics 16 (1974) 125-127).
    """
    rows = len(y)
    z = jnp.asarray((x - x.mean(0)) / np.maximum(x.std(0), 1e-6), jnp.float32)
    hot = np.eye(int(y.max()) + 1, dtype=np.float32)[y]
    targets = jnp.asarray(hot - hot.mean(0))
    gram, right = z.T @ z, z.T @ targets

    def one(features: jax.Array) -> jax.Array:
        penalty = PENALTY * rows * jnp.eye(size, dtype=jnp.float32)
        root = jnp.linalg.cholesky(gram[features][:, features] + penalty)
        own = z[:, features]
        weights = jax.scipy.linalg.cho_solve((root, True), right[features])
        half = jax.scipy.linalg.solve_triangular(root, own.T, lower=True)
        leverage = jnp.sum(half * half, axis=0) + 1 / rows
        return jnp.mean(((targets - own @ weights) / (1 - leverage)[:, None]) ** 2)

    errors = jax.jit(lambda all_features: jax.lax.map(one, all_features))

    def evaluate(genomes: np.ndarray) -> np.ndarray:
        found = errors(np.stack([np.flatnonzero(genome) for genome in genomes]))
        return np.asarray(found, np.float64)

    return evaluate


class Race:
    """Trains, of the genomes that are new, only the better half by another fidelity.

    The others' fitness is NaN, the worst. The first population is trained whole.
    """

    def __init__(self, evaluator: Evaluator, fidelity: Callable[[np.ndarray], np.ndarray]):
        self.objectives = evaluator.objectives
        self._evaluator, self._fidelity = evaluator, fidelity
        self._trained: set[str] = set()

    def __call__(self, genomes: np.ndarray, occasion: int) -> Evaluation:
        """The fitness of those that are trained, NaN of the others."""
        names = digests(pack(genomes))
        new = np.array([i for i, name in enumerate(names) if name not in self._trained])
        kept = np.ones(len(genomes), bool)
        if occasion and len(new):
            kept[new[np.argsort(self._fidelity(genomes[new]))[(len(new) + 1) // 2 :]]] = False
        self._trained |= {name for name, of_those in zip(names, kept, strict=True) if of_those}
        found = self._evaluator(genomes[kept], occasion)
        values = np.full((len(genomes), len(self.objectives)), np.nan)
        values[kept] = found.values
        columns = {name: np.zeros(len(genomes), v.dtype) for name, v in found.columns.items()}
        for name, column in found.columns.items():
            columns[name][kept] = column
        return Evaluation(values, columns)


def raced(options: RunConfig) -> RunConfig:
    """The options of a race that trains about as many heads as a search by ``options``."""
    size = options.population
    generations = (options.evaluations - size) / (2 * size)
    looks = size + round(3 * size * generations)  # members, and twice as many children
    return options.model_copy(update={"children": 2 * size, "evaluations": looks})


def chosen(problem: Problem, parts: Sequence[np.ndarray]) -> np.ndarray:
    """Of genomes the best by selection accuracy, ``bool [G]``."""
    return best_outcome(problem.refit(np.unique(np.concatenate(parts), axis=0))).genome


def compared(path: Path, seed: int) -> tables.Row:
    """Test accuracies of one data set and seed, and the correlations."""
    table = pooled(path)
    problem, config = problem_of(table, seed)
    size = round(SHARE * problem.genome_length)
    options = RunConfig.model_validate(config.model_dump() | {"size": size})
    starts = starts_of(rankings_of(problem))

    rows = problem.splits[0].train
    ridge = leave_one_out(rows.x, rows.y, size)

    def found(
        problem: Problem, options: RunConfig, starts: guides.Rankings, race: bool = False
    ) -> np.ndarray:
        evaluator: Any = Evaluator(problem, options)
        if race:
            evaluator = Race(evaluator, ridge)
        result = search(problem, options, evaluator, starts)
        return finalists(problem, result, options)

    began = time.monotonic()
    alone = run_search(
        search_strategy(options, problem.genome_length, starts.scores),
        ridge,
        objectives=[Objective("leave-one-out error", "squared error", maximised=False)],
        evaluations=GENOMES,
        seed=seed,
    )
    ridge_seconds = time.monotonic() - began
    often = quantiles(alone.rows(alone.population).mean(0))
    more = guides.Rankings((*starts.names, "ridge"), np.concatenate([starts.scores, often[None]]))
    few = options.model_copy(update={"evaluations": options.evaluations // ISLANDS})
    islands = [
        dataclasses.replace(
            problem, training=problem.training.model_copy(update={"seed": seed + 1000 * (i + 1)})
        )
        for i in range(ISLANDS)
    ]
    genomes = np.stack(
        [
            chosen(problem, [found(problem, options, starts)]),
            alone.rows(np.array([alone.best]))[0],
            chosen(problem, [found(problem, options, more)]),
            chosen(problem, [found(problem, raced(options), starts, race=True)]),
            chosen(problem, [found(island, few, starts) for island in islands]),
        ]
    )
    accuracy = final_accuracy(problem, genomes)
    row: tables.Row = {"dataset": table.name, "seed": seed}
    row |= {name: float(a) for name, a in zip(WAYS, accuracy, strict=True)}
    row |= {"ridge ms": 1000 * ridge_seconds / GENOMES}
    row |= correlations(problem, options, ridge, starts.scores, size, seed)
    print(row, flush=True)
    return row


def correlations(
    problem: Problem,
    options: RunConfig,
    ridge: Callable[[np.ndarray], np.ndarray],
    scores: np.ndarray,
    size: int,
    seed: int,
) -> tables.Row:
    """How both fidelities order masks that are made of noisy rankings."""
    rng = np.random.default_rng([seed, 1])
    noisy = scores[np.arange(MASKS) % len(scores)] + NOISE * rng.gumbel(
        size=(MASKS, scores.shape[1])
    )
    masks = np.argsort(np.argsort(-noisy, axis=1), axis=1) < size
    test = final_accuracy(problem, masks)
    began = time.monotonic()
    trained = Evaluator(problem, options)(masks, 0).values[:, 0]
    milliseconds = 1000 * (time.monotonic() - began) / MASKS
    return {
        "trained agrees": float(spearmanr(-trained, test).statistic),
        "ridge agrees": float(spearmanr(-ridge(masks), test).statistic),
        "trained ms": milliseconds,
    }


def work(options: argparse.Namespace) -> None:
    """Run what is missing, then print the tables."""
    keep_compiled(HOME / "compiled")
    rows = []
    for seed in options.seeds:
        for file in options.data:
            key = {"data": pooled(file).version, "seed": seed, "share": SHARE, "genomes": GENOMES}
            key |= {"ways": WAYS}
            rows.append(once(HOME, "fidelity", key, partial(compared, file, seed)))
    for columns in (
        WAYS,
        ("trained agrees", "ridge agrees", "trained ms", "ridge ms"),
    ):
        lines = [
            [row["dataset"], str(row["seed"]), *(f"{row[name]:.4f}" for name in columns)]
            for row in rows
        ]
        print(tables.markdown(("data", "seed", *columns), lines))
    if len(rows) > 1:
        by = {name: [row[name] for row in rows] for name in WAYS[1:]}
        for test in paired_tests([row[AS_IS] for row in rows], by):
            print(
                f"{AS_IS} less {test.name}: {test.mean:+.4f}, {test.low:+.4f} to {test.high:+.4f}"
            )


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return on_files("fidelity", __doc__ or "", work, args, [0, 1])


if __name__ == "__main__":
    sys.exit(main())
