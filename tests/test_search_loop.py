"""The search loop: memory, budget, failures, the journal, and whether it finds anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from search_cases import (
    FITNESS,
    GENERATIONAL,
    LENGTH,
    STEADY,
    TARGET,
    Counted,
    matches,
    same,
    search,
)

from evojax_prune.search import (
    Evaluation,
    GenerationInfo,
    GeneticOptions,
    SteadyStateOptions,
    Strategy,
    make_strategy,
)
from evojax_prune.search.archive import Archive
from evojax_prune.search.memory import Memory
from evojax_prune.search.strategies.options import FLIPS


def trap(genomes: np.ndarray) -> np.ndarray:
    """Blocks of four with a lure: all wrong is worth more than one or two right."""
    right = (genomes == TARGET).reshape(len(genomes), -1, 4).sum(2)
    return np.choose(right, [0.5, 0.4, 0.3, 0.6, 1.0]).mean(1)


def few_bits(genomes: np.ndarray) -> np.ndarray:
    return genomes @ np.array([1.0, -1.0, 2.0, 0.0, 0.5])


SMALL = make_strategy("steady-state", 5, SteadyStateOptions(population=6))


@pytest.mark.parametrize("strategy", [GENERATIONAL, STEADY])
@pytest.mark.parametrize("budget", [7, 20, 101])
def test_the_budget_is_met_exactly(strategy: Strategy, budget: int) -> None:
    evaluate = Counted(matches)
    result = search(strategy, evaluate, evaluations=budget, seed=1)
    assert len(result) == evaluate.count == budget
    assert result.exhausted
    assert "budget" in result.stopped
    assert len(set(result.hashes)) == budget
    np.testing.assert_array_equal(result.genomes, np.concatenate(evaluate.batches))
    np.testing.assert_array_equal(result.fitness, matches(result.genomes))
    np.testing.assert_array_equal(result.active, result.genomes.sum(1))
    np.testing.assert_array_equal(result.columns["size"], result.active)
    np.testing.assert_array_equal(result.rows([3, 5]), result.genomes[[3, 5]])


def test_new_genomes_of_a_generation_come_in_one_call_and_known_ones_never() -> None:
    evaluate = Counted(few_bits)
    result = search(SMALL, evaluate, evaluations=20, seed=0)
    asked = [row.tobytes() for batch in evaluate.batches for row in batch]
    assert len(asked) == len(set(asked)) == len(result)
    assert len(evaluate.batches) <= result.generations
    # Every genome that was asked for was evaluated, or counted as cached, or is past the budget.
    asked_for = 6 + 2 * (result.generations - 1)
    assert 0 <= asked_for - result.cached - len(result) <= 1
    assert result.cached > 0


def test_copies_within_a_generation_are_evaluated_once_in_the_order_of_the_first() -> None:
    evaluate = Counted(few_bits)
    memory = Memory(Archive(5, 1), evaluate, [FITNESS], budget=3)
    a, b, c, d = np.eye(4, 5, dtype=bool)
    told = memory.look_up(np.stack([a, b, a, c, d, b]), 0, np.empty(0, np.int64))
    np.testing.assert_array_equal(np.concatenate(evaluate.batches), [a, b, c])
    assert told.entries.tolist() == [0, 1, 0, 2, 1]  # d could not be paid for
    assert (told.new, told.cached, told.complete) == (3, 2, False)


def test_a_search_without_new_genomes_ends_and_says_so() -> None:
    result = search(SMALL, few_bits, evaluations=50, seed=0, stall=7)
    assert len(result) <= 32  # there are no more
    assert not result.exhausted
    expected = f"no new genome in 7 generations, after {len(result)} of 50 evaluations"
    assert result.stopped == expected


def test_the_same_seed_gives_the_same_search() -> None:
    runs = [search(GENERATIONAL, matches, evaluations=60, seed=s) for s in (4, 4, 5)]
    same(runs[0], runs[1])
    assert runs[0].hashes != runs[2].hashes


def test_generations_are_told_to_the_caller() -> None:
    told: list[GenerationInfo] = []
    result = search(GENERATIONAL, matches, evaluations=65, seed=2, on_generation=told.append)
    assert [info.generation for info in told] == list(range(result.generations))
    assert [info.evaluations for info in told] == [20, 30, 40, 50, 60, 65]
    for info in told:
        known = result.fitness[: info.evaluations]
        assert info.best_fitness == known.max()
        best = np.lexsort((result.active[: info.evaluations], -known))[0]
        assert info.best_active_fraction == result.active_fraction[best]
        assert known.min() <= info.mean_fitness <= info.best_fitness
        assert 0 < info.mean_active_fraction < 1
        assert not info.replayed
    assert told[0].mean_fitness == pytest.approx(result.fitness[:20].mean(), rel=1e-6)
    means = [info.mean_fitness for info in told]
    assert means == sorted(means)  # of survivors, so never falling


@pytest.mark.parametrize("strategy", [GENERATIONAL, STEADY])
def test_failed_evaluations_never_win(strategy: Strategy) -> None:
    def half_fail(genomes: np.ndarray) -> np.ndarray:
        return np.where(genomes[:, 0], np.nan, matches(genomes))

    result = search(strategy, half_fail, evaluations=120, seed=0)
    assert np.isnan(result.fitness).any()
    assert not result.genomes[result.best, 0]
    assert not np.isnan(result.fitness[result.top(5)]).any()
    failed = np.isnan(result.fitness)
    assert failed[60:].mean() < failed[:20].mean()  # the search leaves them behind


def test_a_search_in_which_everything_fails_goes_on_to_the_end() -> None:
    told: list[GenerationInfo] = []
    result = search(
        GENERATIONAL,
        lambda genomes: np.full(len(genomes), np.nan),
        evaluations=50,
        seed=0,
        on_generation=told.append,
    )
    assert len(result) == 50
    assert np.isnan(told[-1].best_fitness)
    assert np.isnan(told[-1].mean_fitness)


def test_of_equal_fitness_the_fewest_bits_then_the_first_is_best() -> None:
    result = search(GENERATIONAL, lambda g: np.ones(len(g)), evaluations=40, seed=0)
    assert result.active[result.best] == result.active.min()
    assert result.best == np.flatnonzero(result.active == result.active.min())[0]
    assert list(result.top(40)) == sorted(range(40), key=lambda i: (result.active[i], i))
    assert len(result.top(100)) == 40


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g: np.zeros(len(g) + 1), "values of shape"),
        (lambda g: Evaluation(np.zeros(len(g)), {"epochs": np.zeros(1)}), "epochs of shape"),
        (lambda g: np.full(len(g), np.inf), "fitness of inf"),
    ],
)
def test_a_wrong_evaluation_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(GENERATIONAL, returned, evaluations=20, seed=0)


@pytest.mark.parametrize("problem", [pytest.param(matches, marks=pytest.mark.slow), trap])
def test_both_algorithms_beat_random_search(problem: Any) -> None:
    budget, trials = 400, range(2)
    random = [
        problem(np.random.default_rng(t).random((budget, LENGTH)) < 0.4).max() for t in trials
    ]
    for strategy in (GENERATIONAL, STEADY):
        found = [search(strategy, problem, evaluations=budget, seed=t) for t in trials]
        best = [result.fitness[result.best] for result in found]
        assert min(best) > max(random)


@pytest.mark.slow
def test_scores_help_where_they_are_right() -> None:
    scores = TARGET + np.random.default_rng(0).normal(0, 0.7, LENGTH)
    guided = make_strategy(
        "generational",
        LENGTH,
        GeneticOptions(population=20, init="scores", mutation_bias=1.0),
        scores=scores[None],
    )
    plain, better = (
        np.mean([search(s, matches, evaluations=80, seed=i).fitness.max() for i in range(4)])
        for s in (GENERATIONAL, guided)
    )
    assert better > plain + 0.05


@pytest.mark.parametrize(("bits", "rate"), [(1, 0.5), (1000, FLIPS / 1000)])
def test_each_bit_flips_at_most_every_other_time(bits: int, rate: float) -> None:
    assert GeneticOptions().rate("per-bit", bits) == rate
