"""NSGA-II: fronts and crowding as pymoo has them, and as good a front in as many evaluations."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem as PymooProblem
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.mutation.bitflip import BitflipMutation
from pymoo.operators.sampling.rnd import BinaryRandomSampling
from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance
from pymoo.optimize import minimize
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective, minimised
from evojax_prune.search import GeneticOptions, make_strategy, run_search
from evojax_prune.search.operators.fronts import crowding_distances, front_numbers, fronts_first
from evojax_prune.search.selection import hypervolume

# Compiled whole: an operation at a time takes longer, and a loop is compiled at every call.
fronts_of = jax.jit(front_numbers)
LOSS = Objective("loss", "loss", maximised=False)
SIZE = Objective("size", "size", maximised=False, noisy=False, scale="log")
BITS = 24
WORTH = np.exp(np.random.default_rng(3).normal(size=BITS)) / BITS


@pytest.mark.parametrize("objectives", [1, 2, 3])
@pytest.mark.parametrize("levels", [4, 10**6])  # with ties, and without
def test_fronts_are_pymoos(objectives: int, levels: int) -> None:
    rng = np.random.default_rng(objectives)
    costs = rng.integers(0, levels, (60, objectives)).astype(np.float32)
    found = np.asarray(fronts_of(jnp.asarray(costs)))
    for number, front in enumerate(NonDominatedSorting().do(costs.astype(np.float64))):
        assert set(np.flatnonzero(found == number)) == set(front)


@pytest.mark.parametrize("objectives", [2, 3])
def test_crowding_is_pymoos(objectives: int) -> None:
    costs = np.random.default_rng(0).random((60, objectives)).astype(np.float32)
    front = np.asarray(fronts_of(jnp.asarray(costs)))
    found = np.asarray(jax.jit(crowding_distances)(jnp.asarray(costs), jnp.asarray(front)))
    for number in np.unique(front):
        rows = front == number
        if rows.sum() > objectives:  # pymoo gives inf to all of a few
            # pymoo takes the mean over objectives
            expected = calc_crowding_distance(costs[rows].astype(np.float64)) * objectives
            np.testing.assert_allclose(found[rows], expected, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=8, max_size=8))
def test_no_front_dominates_an_earlier_one(pairs: list[tuple[int, int]]) -> None:
    costs = np.array(pairs, np.float32)
    front = np.asarray(fronts_of(jnp.asarray(costs)))
    for i, one in enumerate(costs):
        dominating = [(other <= one).all() and (other < one).any() for other in costs]
        behind = front[np.flatnonzero(dominating)]
        assert front[i] == (behind.max() + 1 if len(behind) else 0)


def test_what_failed_is_last_and_ties_go_to_the_smaller_then_the_earlier() -> None:
    costs = jnp.array([[jnp.inf, jnp.inf], [1, 1], [1, 1], [1, 1], [2, 2]], jnp.float32)
    order = jax.jit(fronts_first)(costs, jnp.array([1, 5, 4, 4, 1], jnp.int32))
    assert order.tolist() == [2, 3, 1, 4, 0]


def _costs(genomes: np.ndarray) -> np.ndarray:
    """What is lost falls with the worth of the active bits; at least one is needed."""
    return np.stack([1 - np.tanh(genomes @ WORTH), np.maximum(genomes.sum(1), 1.0)], axis=1)


@pytest.mark.slow
def test_as_good_a_front_as_pymoos() -> None:
    class Bits(PymooProblem):  # type: ignore[misc]
        def _evaluate(self, x: np.ndarray, out: dict[str, np.ndarray], *_: object) -> None:
            out["F"] = minimised(_costs(x), [LOSS, SIZE])

    reference = np.array([1.0, np.log(BITS) + 0.1])
    theirs, ours = [], []
    for seed in range(8):
        done = minimize(
            Bits(n_var=BITS, n_obj=2, xl=0, xu=1, vtype=bool),
            NSGA2(
                pop_size=20,
                sampling=BinaryRandomSampling(),
                crossover=UniformCrossover(),
                mutation=BitflipMutation(),
            ),
            ("n_eval", 600),
            seed=seed,
        )
        theirs.append(hypervolume(done.F, reference))
        result = run_search(
            make_strategy("nsga2", BITS, GeneticOptions(population=20)),
            _costs,
            objectives=[LOSS, SIZE],
            evaluations=600,
            seed=seed,
        )
        front = result.selection.leaders(result.values, result.active)
        ours.append(hypervolume(minimised(result.values[front], [LOSS, SIZE]), reference))
    error = np.hypot(np.std(ours), np.std(theirs)) / np.sqrt(8)
    assert np.mean(ours) > np.mean(theirs) - 2 * error


@pytest.mark.slow
def test_one_objective_is_a_front_too() -> None:
    result = run_search(
        make_strategy("nsga2", BITS, GeneticOptions(population=8, density=(0.25, 0.25))),
        lambda genomes: _costs(genomes)[:, :1],
        objectives=[LOSS],
        evaluations=400,
        seed=0,
    )
    assert set(result.active) == {6}  # swaps and sized crossovers keep the size
    best = np.argsort(-WORTH)[:6]
    assert result.genomes[result.best][best].sum() >= 5


def test_a_front_from_rankings_starts_with_many_and_keeps_the_first_fronts() -> None:
    options = GeneticOptions(population=8, init="ranked")
    strategy = make_strategy("nsga2", BITS, options, scores=np.stack([WORTH, -WORTH]))
    chosen = strategy.plan.options
    assert (chosen.parents, chosen.mutation, chosen.mutation_bias) == ("near", "near-swap", 3.0)
    key = jax.random.key(0, impl="threefry2x32")
    genomes, _ = strategy.ask(key, None)
    assert len(genomes) == 40
    for member, genome in enumerate(genomes[:-1]):
        best = np.argsort([-WORTH, WORTH][member % 2])[: genome.sum()]
        assert set(np.flatnonzero(genome)) == set(best)
    costs = minimised(_costs(genomes), [LOSS, SIZE])
    costs[3] = np.inf
    state = strategy.tell(key, genomes, costs, None)
    order = np.asarray(fronts_first(jnp.asarray(costs, jnp.float32), jnp.asarray(genomes.sum(1))))
    np.testing.assert_array_equal(strategy.population(state), genomes[order[:8]])
    assert len(strategy.ask(key, state)[0]) == 8


@pytest.mark.parametrize(
    ("mutation", "density", "bias"),
    [("swap", (0.0, 1.0), 8.0), ("near-swap", (0.25, 0.25), 3.0), ("near-swap", (0.0, 1.0), 3.0)],
)
def test_each_mutation_has_its_own_bias(
    mutation: Any, density: tuple[float, float], bias: float
) -> None:
    options = GeneticOptions(init="ranked", mutation=mutation, density=density)
    chosen = make_strategy("nsga2", BITS, options, scores=WORTH).plan.options
    assert (chosen.mutation, chosen.mutation_bias) == (mutation, bias)


@pytest.mark.parametrize(("budget", "first"), [(None, 40), (1000, 40), (100, 20), (10, 8)])
def test_first_genomes_take_a_fifth_of_the_budget_at_most(budget: int | None, first: int) -> None:
    options = GeneticOptions(population=8, init="ranked")
    strategy = make_strategy("nsga2", BITS, options, scores=WORTH, evaluations=budget)
    assert len(strategy.ask(jax.random.key(0, impl="threefry2x32"), None)[0]) == first


def test_a_search_goes_on_with_a_larger_budget_but_not_with_other_first_genomes(
    tmp_path: Path,
) -> None:
    options = GeneticOptions(population=8, init="ranked")

    def searched(budget: int, journal: Path) -> np.ndarray:
        strategy = make_strategy(
            "nsga2", BITS, options, scores=np.stack([WORTH, -WORTH]), evaluations=budget
        )
        result = run_search(
            strategy,
            lambda genomes, occasion: _costs(genomes) + np.array([0.01 * occasion, 0.0]),
            objectives=[LOSS, SIZE],
            evaluations=budget,
            seed=0,
            journal=journal,
            resampled=True,
        )
        assert result.evaluations == budget
        return np.concatenate([result.genomes, result.values], axis=1)

    searched(200, tmp_path / "journal")  # 40 first genomes, with any larger budget as well
    gone_on = searched(230, tmp_path / "journal")
    np.testing.assert_array_equal(gone_on, searched(230, tmp_path / "fresh"))
    with pytest.raises(UserError, match="first_genomes"):
        searched(100, tmp_path / "journal")


@pytest.mark.parametrize(
    "changes", [{"init": "random"}, {"init": "ranked", "density": (0.25, 0.25)}]
)
def test_other_searches_start_with_one_population(changes: dict[str, Any]) -> None:
    options = GeneticOptions(population=8, **changes)
    strategy = make_strategy("nsga2", BITS, options, scores=WORTH)
    assert (strategy.plan.options.parents, strategy.plan.options.mutation) == ("tournament", "swap")
    assert len(strategy.ask(jax.random.key(0, impl="threefry2x32"), None)[0]) == 8


def test_other_strategies_refuse_a_front() -> None:
    with pytest.raises(UserError, match="strategy generational searches for one objective"):
        run_search(
            make_strategy("generational", BITS),
            _costs,
            objectives=[LOSS, SIZE],
            evaluations=60,
            seed=0,
        )


def test_sorting_many_is_quick() -> None:
    costs = jnp.asarray(np.random.default_rng(0).random((20_000, 2)), jnp.float32)
    sort = jax.jit(front_numbers)
    sort(costs).block_until_ready()
    began = time.perf_counter()
    sort(costs).block_until_ready()
    assert time.perf_counter() - began < 5  # 0.1 s on an idle core; quadratic would be a minute
