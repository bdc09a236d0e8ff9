"""Heads that stopped before they had converged are named."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from page_cases import make_problem, make_pruned
from rich.console import Console

from evojax_prune import prune
from evojax_prune.core.protocol import Protocol
from evojax_prune.methods.convergence import half, unfinished
from evojax_prune.methods.found import Found
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem
from evojax_prune.report.summary import table


def named(found: Found, problem: Problem, gains: dict[str, float]) -> set[str]:
    """What is unfinished, where heads had gained so much in the second half of their training."""
    heads = {"dense": found.dense, "random": found.random, "best": found.pruned}
    assert found.ranking is not None
    heads["ranking"] = found.ranking[1]
    before = {head.genome.tobytes(): head.selection - gains.get(n, 0) for n, head in heads.items()}

    class Told(Problem):
        def selection_accuracy(self, genomes: np.ndarray, *_: Any) -> np.ndarray:
            return np.array([before[genome.tobytes()] for genome in genomes])

    fields = {f.name: getattr(problem, f.name) for f in dataclasses.fields(problem)}
    return set(unfinished(Told(**fields), found, Observer()))


def test_a_head_lags_behind_one_that_it_contains() -> None:
    pruned = make_pruned(make_problem())
    problem, found = pruned.problem, pruned.found
    assert named(found, problem, {}) == set()

    def losing(head: str, loss: float) -> set[str]:
        changed = dataclasses.replace(getattr(found, head), loss=loss)
        return named(dataclasses.replace(found, **{head: changed}), problem, {})

    assert losing("dense", 0.52) == {"dense"}  # it contains all of them
    assert losing("dense", 0.505) == set()
    assert losing("pruned", 0.52) == set()  # it contains none
    assert losing("pruned", 0.48) == {"dense"}


def test_a_gain_late_in_training_counts_beyond_its_error() -> None:
    pruned = make_pruned(make_problem())
    problem, found = pruned.problem, pruned.found
    rows = problem.judging_rows
    for head, role in (("pruned", "best"), ("random", "random"), ("dense", "dense")):
        accuracy = getattr(found, head).selection
        error = np.sqrt(accuracy * (1 - accuracy) / rows)
        assert named(found, problem, {role: 2 * error - 1e-6}) == set()
        assert named(found, problem, {role: 2 * error + 1e-6}) == {role}
    sure = dataclasses.replace(found, ranking=("r", dataclasses.replace(found.dense, selection=1)))
    assert named(sure, problem, {"ranking": 0.0099}) == set()


def test_half_a_protocol() -> None:
    assert half(Protocol(epochs=1)) is None
    assert half(Protocol(epochs=61, steps=1001)) == Protocol(epochs=30, steps=500)


@pytest.mark.parametrize(("rate", "epochs", "says"), [(1e-3, 6, True), (1e-1, 40, False)])
def test_a_run_names_them(rate: float, epochs: int, says: bool) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    x = (rng.normal(size=(240, 12)) + 3 * np.eye(3, 12)[y]).astype(np.float32)
    protocol = {"epochs": epochs, "steps": 0, "learning_rate": rate, "momentum": 0.0}
    pruned = prune(
        x, y, hidden=[6], selection="holdout", population=6, evaluations=12, finalists=2,
        objectives=["cross-entropy"], strategy="generational", init="random",
        search_protocol={"epochs": 2}, final_protocol=protocol,
    )  # fmt: skip
    stream = io.StringIO()
    Console(file=stream, width=200).print(table(pruned.result))
    assert ("dense, not converged" in stream.getvalue()) is says
    assert ("has not converged, so raise --final" in pruned.result.comparison.sentence) is says
    assert ("dense" in pruned.result.unfinished) is says
