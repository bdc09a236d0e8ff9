"""What a generation costs as the population grows: training, strategy, bookkeeping, memory.

    python -m experiments.population_scale [--populations 100 1000 10000]
    python -m experiments.population_scale --strategies

Heads of random features (F = 1,280, C = 4, N = 1,000 training rows, 600 selection rows, 5 epochs)
are searched by the search that the main command runs, journal included, from random genomes: 64 of
the features (``features``), or half of the units (``both``). Each population has a process of its
own, so that memory is its own. The fourth generation is timed: those before it compile, and have
values by chance in place of training. With ``--strategies`` none trains: that is what a strategy
itself takes, to be compared with the training.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.data import FeatureTable
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.problem import Problem
from evojax_prune.methods.search import search_strategy
from evojax_prune.run.config import RunConfig
from evojax_prune.run.data import make_problem
from evojax_prune.search import Evaluation, run_search

FEATURES, CLASSES, TRAIN, SELECTION = 1280, 4, 1000, 600

GENERATIONS = 4

CASES: dict[str, dict[str, Any]] = {
    "features": {"mode": "features", "size": 64, "density": (0.05, 0.05)},
    "both": {"mode": "both", "density": (0.5, 0.5)},
}
"""What is searched."""

ONE: dict[str, Any] = {"objectives": ("cross-entropy",)}

STRATEGIES: dict[str, dict[str, Any]] = {
    "generational": ONE,
    "steady-state": ONE,
    "nsga2": {},
    "SimpleGA": ONE,
    "SNES": ONE,
    "CMA_ES": ONE,
}
"""Strategies that are timed, with what they need."""

PARTS = ("ask", "tell")

Evaluate = Callable[[np.ndarray], Evaluation]

COMMON: dict[str, Any] = {
    "protocol": "holdout",
    "objectives": ("cross-entropy", "size"),
    "strategy": "nsga2",
    "init": "random",
    "selection_fraction": SELECTION / (TRAIN + SELECTION),
    "test_fraction": 0.2,
    "scale": "standard",
    "search_protocol": {"epochs": 5},
}


@dataclasses.dataclass
class Clock:
    """Seconds spent in parts of a search, by generation.

    Attributes:
        spent: seconds of each part in the generation that is running.
        generations: the same of those that are over, with ``all``, the whole time of each.
    """

    spent: dict[str, float] = dataclasses.field(default_factory=dict)
    generations: list[dict[str, float]] = dataclasses.field(default_factory=list)
    began: float = dataclasses.field(default_factory=time.perf_counter)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, whose time is added to a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = jax.block_until_ready(function(*args, **kwargs))
            taken = time.perf_counter() - started
            self.spent[part] = self.spent.get(part, 0.0) + taken
            return result

        return call

    def last(self, train: Evaluate, before: Evaluate) -> Evaluate:
        """Trains in the last generation, which is timed; its heads are counted."""
        timed = self.timed("training", train)

        def call(genomes: np.ndarray) -> Any:
            if len(self.generations) < GENERATIONS - 1:
                return before(genomes)
            self.spent["heads"] = self.spent.get("heads", 0) + len(genomes)
            return timed(genomes)

        return call

    def turn(self, _: object) -> None:
        """A generation is over."""
        now = time.perf_counter()
        self.generations.append({**self.spent, "all": now - self.began})
        self.spent, self.began = {}, now


class Timed:
    """A strategy whose calls are timed."""

    def __init__(self, strategy: Any, clock: Clock):
        self._strategy, self._clock = strategy, clock

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._strategy, name)
        return self._clock.timed(name, value) if name in ("ask", "tell", "reassess") else value

    def with_guide(self, guide: np.ndarray | None) -> Timed:
        """As the strategy's own."""
        return Timed(self._strategy.with_guide(guide), self._clock)


def make(case: str, population: int, **changes: Any) -> tuple[Problem, Any]:
    """The problem of random features, and the options of its search."""
    rng = np.random.default_rng(0)
    rows = round((TRAIN + SELECTION) / 0.8)
    y = rng.integers(CLASSES, size=rows).astype(np.int32)
    centres = rng.standard_normal((CLASSES, FEATURES)) * 0.1
    x = (centres[y] + rng.standard_normal((rows, FEATURES))).astype(np.float32)
    table = FeatureTable(
        "random", "1", tuple(map(str, range(CLASSES))), {"all": x}, {"all": y}, None, "random"
    )
    size = {"population": population, "evaluations": 100 * population}
    config = RunConfig(**{**COMMON, **CASES[case], **changes, **size})
    return make_problem(config, table), config.options()


def drawn(objectives: tuple[Objective, ...]) -> Evaluate:
    """In place of training: values by chance, but for the size."""
    rng = np.random.default_rng(1)

    def evaluate(genomes: np.ndarray) -> Evaluation:
        values = [
            np.maximum(genomes.sum(1), 1.0) if o.name == "size" else rng.random(len(genomes))
            for o in objectives
        ]
        zeros = np.zeros(len(genomes))
        return Evaluation(np.stack(values, 1), {"epochs": zeros, "seconds": zeros})

    return evaluate


def measure(case: str, population: int, strategy: str | None) -> dict[str, Any]:
    """One row: the second generation of a search, or of a strategy without training."""
    changes = {} if strategy is None else {"strategy": strategy, **STRATEGIES[strategy]}
    problem, options = make(case, population, **changes)
    evaluator, clock = Evaluator(problem, options), Clock()
    chance = drawn(evaluator.objectives)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.suppress(StopIteration):
            run_search(
                Timed(search_strategy(options, problem.genome_length), clock),  # type: ignore[arg-type]
                clock.last(evaluator if strategy is None else chance, chance),
                objectives=evaluator.objectives,
                evaluations=options.evaluations,
                seed=0,
                on_generation=_Stop(clock),
                journal=Path(folder) / "journal",
            )
        journal = sum(file.stat().st_size for file in Path(folder).iterdir())
    last = clock.generations[-1]
    return {
        "case": case,
        "population": population,
        "strategy": strategy or COMMON["strategy"],
        **{name: last.get(name, 0.0) for name in ("all", "training", *PARTS)},
        "heads": last["heads"],
        "MB before": before / 1024,
        "MB at most": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "journal MB": journal / 1e6,
    }


@dataclasses.dataclass
class _Stop:
    """Ends a search once what is timed is over."""

    clock: Clock

    def __call__(self, info: object) -> None:
        self.clock.turn(info)
        if len(self.clock.generations) == GENERATIONS:
            raise StopIteration


def _apart(case: str, population: int, strategy: str | None) -> dict[str, Any]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, "-m", "experiments.population_scale", "--one", case, str(population)]
    done = subprocess.run(
        [*command, *([strategy] if strategy else [])], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def line(row: dict[str, Any], training: float | None = None) -> str:
    """A line of the Markdown table; of a strategy alone, with its share of a training time."""
    own = row["ask"] + row["tell"]
    if training is not None:
        cells = [row["strategy"], f"{row['population']:,}", *(f"{row[n]:.3f}" for n in PARTS)]
        return f"| {' | '.join([*cells, f'{own / (own + training):.1%}'])} |"
    rest = row["all"] - row["training"] - own
    cells = [
        f"`{row['case']}`",
        f"{row['population']:,}",
        f"{row['all']:.2f}",
        f"{row['heads'] / row['training']:.0f}",
        f"{own / row['all']:.1%}",
        f"{rest / row['all']:.1%}",
        f"{row['MB before']:.0f}",
        f"{row['MB at most']:.0f}",
        f"{row['journal MB']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--populations", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--strategies", action="store_true", help="time strategies, too")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        case, population, *strategy = options.one
        print(json.dumps(measure(case, int(population), strategy[0] if strategy else None)))
        return
    columns = ("case", "P", "s per generation", "heads/s", "ask, tell", "rest")
    print(f"| {' | '.join((*columns, 'MB before', 'MB at most', 'journal, MB'))} |")
    print(f"| --- |{' ---: |' * (len(columns) + 2)}")
    training = {}
    for case in options.cases:
        for population in options.populations:
            row = _apart(case, population, None)
            training[case, population] = row["training"]
            print(line(row), flush=True)
    if not options.strategies:
        return
    print("\n| strategy | P | ask, s | tell, s | share of a generation |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for strategy in STRATEGIES:
        for population in options.populations:
            row = _apart(options.cases[0], population, strategy)
            print(line(row, training[options.cases[0], population]), flush=True)


if __name__ == "__main__":
    main()
