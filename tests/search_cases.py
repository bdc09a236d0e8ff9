"""A quick search, evaluations and comparisons that the tests of searches share."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.search import (
    Evaluation,
    GeneticOptions,
    SearchResult,
    SteadyStateOptions,
    make_strategy,
    run_search,
)

LENGTH = 60
TARGET = np.random.default_rng(3).random(LENGTH) < 0.4
FITNESS = Objective("fitness", "fitness")
search = functools.partial(run_search, objectives=[FITNESS])
GENERATIONAL = make_strategy("generational", LENGTH, GeneticOptions(population=20))
STEADY = make_strategy("steady-state", LENGTH, SteadyStateOptions(population=20, children=6))


def matches(genomes: np.ndarray) -> np.ndarray:
    return (genomes == TARGET).mean(1)


class Counted:
    """An evaluation that keeps what it was asked, and may die."""

    def __init__(self, fitness: Any, deadly: int | None = None):
        self.fitness = fitness
        self.deadly = deadly
        self.batches: list[np.ndarray] = []

    def __call__(self, genomes: np.ndarray) -> Evaluation:
        if len(self.batches) == self.deadly:
            raise KeyboardInterrupt
        assert genomes.dtype == bool
        self.batches.append(genomes)
        return Evaluation(self.fitness(genomes), {"size": genomes.sum(1), "half": genomes.mean(1)})

    @property
    def count(self) -> int:
        return sum(map(len, self.batches))


def same(one: SearchResult, other: SearchResult) -> None:
    for field in ("packed", "values", "generation", "active", "population"):
        np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert one.hashes == other.hashes
    assert one.columns.keys() == other.columns.keys()
    for name, values in one.columns.items():
        np.testing.assert_array_equal(values, other.columns[name])
        assert values.dtype == other.columns[name].dtype
    assert (one.cached, one.generations, one.stopped) == (
        other.cached,
        other.generations,
        other.stopped,
    )
