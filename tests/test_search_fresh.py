"""Searches on fresh splits: estimates against simulated truth, looks, budgets, resumption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import same

from evojax_prune.core.objective import Objective
from evojax_prune.search import Evaluation, GeneticOptions, LogitOptions, make_strategy, run_search
from evojax_prune.search.estimate import MOST_PRIOR, Estimates, Estimator

SCORE = Objective("score", "score")
SIZE = Objective("size", "size", maximised=False, noisy=False, scale="log")
BITS = 30
WORTH = np.random.default_rng(7).normal(size=BITS)


def looks(
    worth: np.ndarray, seed: int, noise: float, occasions: int = 20, share: float = 0.4
) -> tuple[Estimator, np.ndarray, np.ndarray]:
    """Each occasion looks at some of the genomes; returns sums and numbers of the looks, too."""
    rng = np.random.default_rng(seed)
    estimator = Estimator([SCORE])
    total, count = np.zeros(len(worth)), np.zeros(len(worth))
    for occasion in range(occasions):
        seen = np.flatnonzero((rng.random(len(worth)) < share) | (occasion == 0))
        values = worth[seen] + rng.normal(0, 1) + rng.normal(0, noise, len(seen))
        estimator.observe(seen, occasion, values[:, None])
        total[seen] += values
        count[seen] += 1
    return estimator, total, count


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_estimates_are_nearer_the_truth_than_means(seed: int) -> None:
    worth = np.random.default_rng([seed, 1]).normal(0, 0.3, 60)
    estimator, total, count = looks(worth, seed, noise=0.3)
    found = estimator.estimates(np.full(60, 5))

    def error(estimate: np.ndarray) -> float:
        return float(np.std(estimate - worth))

    assert error(found.values[:, 0]) < 0.8 * error(total / count)
    np.testing.assert_array_equal(found.looks, count)


def test_without_noise_the_truth_is_found() -> None:
    worth = np.random.default_rng(0).normal(size=40)
    estimator, *_ = looks(worth, 1, noise=1e-6)
    values = estimator.estimates(np.full(40, 5)).values[:, 0]
    np.testing.assert_allclose(values - values.mean(), worth - worth.mean(), atol=1e-3)


def in_errors(found: Estimates, worth: np.ndarray) -> np.ndarray:
    """How far estimates are from the truth, in their own standard errors."""
    off = found.values[:, 0] - worth
    return (off - off.mean()) / found.errors[:, 0]


def test_standard_errors_are_honest_and_fall_with_the_looks() -> None:
    ratios = []
    for seed in range(40):
        worth = np.random.default_rng([seed, 2]).normal(0, 0.3, 60)
        estimator, _, count = looks(worth, seed, noise=0.3)
        found = estimator.estimates(np.full(60, 5))
        ratios.append(in_errors(found, worth))
        assert np.corrcoef(count, found.errors[:, 0])[0, 1] < -0.9
    assert np.std(ratios) == pytest.approx(1, abs=0.1)


def test_genomes_seen_once_tell_nothing_of_the_noise() -> None:
    """Half of them are, and their one look is their mean."""
    ratios = []
    for seed in range(20):
        worth = np.random.default_rng([seed, 2]).normal(0, 0.3, 200)
        estimator, _, count = looks(worth, seed, noise=0.3, share=0.03)
        assert 0.4 < np.mean(count == 1) < 0.7
        ratios.append(in_errors(estimator.estimates(np.full(200, 5)), worth))
    assert np.std(ratios) == pytest.approx(1, abs=0.2)


def test_only_those_that_compete_are_looked_back_to() -> None:
    rng = np.random.default_rng(4)
    worth, among, active = rng.normal(size=30), np.arange(3, 30, 2), rng.integers(1, 9, 30)
    every, some = Estimator([SCORE]), Estimator([SCORE])
    for occasion in range(5):
        seen = np.flatnonzero((rng.random(30) < 0.7) | (occasion == 0))
        values = (worth[seen] + rng.normal(0, 0.3, len(seen)))[:, None]
        every.observe(seen, occasion, values)
        compete = np.isin(seen, among)
        some.observe(seen[compete], occasion, values[compete])
    found, expected = every.estimates(active, among), some.estimates(active)
    np.testing.assert_array_equal(found.values[among], expected.values[among])
    np.testing.assert_array_equal(found.errors[among], expected.errors[among])
    assert np.isnan(np.delete(found.values, among)).all()


def test_a_lucky_look_is_drawn_towards_genomes_of_its_size() -> None:
    rng = np.random.default_rng(0)
    active = rng.integers(4, 400, 80)
    worth = np.log(active) / 3 + rng.normal(0, 0.05, 80)
    estimator = Estimator([SCORE])
    for occasion in range(6):
        seen = np.arange(79)
        values = worth[seen] + rng.normal(0, 0.2, 79)
        estimator.observe(seen, occasion, values[:, None])
    estimator.observe(np.array([79]), 6, np.array([[worth[79] + 1.0]]))
    estimator.observe(np.arange(30), 6, worth[:30, None])
    values = estimator.estimates(active).values[:, 0]
    assert values[79] - worth[79] < 0.5


def test_a_trend_is_worth_few_looks_however_equal_the_genomes() -> None:
    """By the estimated spread, which is next to none, it would be worth a hundred."""
    rng = np.random.default_rng(3)
    estimator = Estimator([SCORE])
    for occasion in range(40):
        estimator.observe(np.arange(30), occasion, rng.normal(size=(30, 1)))
    estimator.observe(np.arange(31), 40, np.append(rng.normal(size=30), 6.0)[:, None])
    found = estimator.estimates(np.full(31, 5))
    above = found.values[30, 0] - found.values[:30, 0].mean()
    assert above == pytest.approx(6 / (1 + MOST_PRIOR), abs=0.3)


def test_one_failed_look_is_enough() -> None:
    estimator = Estimator([SCORE, SIZE])
    estimator.observe(np.arange(3), 0, np.array([[1.0, 4], [2.0, 5], [3.0, 6]]))
    estimator.observe(np.arange(3), 1, np.array([[1.0, 4], [np.nan, 5], [-np.inf, 6]]))
    found = estimator.estimates(np.array([4, 5, 6]))
    assert np.isnan(found.values).all(1).tolist() == [False, True, True]
    assert found.values[0, 1] == 4  # without noise: as it is
    assert (found.errors[:, 1] == 0).all()


class Fresh:
    """Noisy scores with a level of its own on each occasion; may be interrupted."""

    def __init__(self, deadly: int | None = None, noise: float = 0.5):
        self.deadly, self.noise = deadly, noise
        self.calls: list[tuple[int, np.ndarray]] = []

    def __call__(self, genomes: np.ndarray, occasion: int) -> Evaluation:
        if len(self.calls) == self.deadly:
            raise KeyboardInterrupt
        self.calls.append((occasion, genomes))
        level = np.random.default_rng([1, occasion]).normal()
        # A genome's luck depends on the genome and the occasion, not on who stands beside it.
        luck = [
            np.random.default_rng([2, occasion, *np.packbits(genome)]).normal()
            for genome in genomes
        ]
        score = genomes @ WORTH + level + self.noise * np.array(luck)
        values = np.stack([score, np.maximum(genomes.sum(1), 1.0)], axis=1)
        return Evaluation(values, {"epochs": np.full(len(genomes), 5)})


def search(evaluate: Fresh, budget: int = 600, **more: object):
    return run_search(
        make_strategy("nsga2", BITS, GeneticOptions(population=12)),
        evaluate,
        objectives=[SCORE, SIZE],
        evaluations=budget,
        seed=3,
        resampled=True,
        **more,
    )


def test_who_lives_is_looked_at_again_and_the_budget_is_met() -> None:
    evaluate = Fresh()
    result = search(evaluate)
    assert [occasion for occasion, _ in evaluate.calls] == list(range(result.generations))
    assert sum(len(genomes) for _, genomes in evaluate.calls) == 600 == result.evaluations
    assert result.columns["looks"].sum() == 600
    assert result.columns["epochs"].sum() == 5 * 600
    assert result.columns["looks"][result.population].min() >= 1
    assert result.exhausted
    again = evaluate.calls[1][1]
    first = {row.tobytes() for row in evaluate.calls[0][1]}
    assert sum(row.tobytes() in first for row in again) == 12  # the population, then children
    errors = result.columns["score error"]
    assert np.all(errors > 0)
    assert "size error" not in result.columns


@pytest.mark.slow
def test_estimates_lead_to_better_genomes_than_one_lucky_look() -> None:
    """By truth: the best on fresh splits against the best of as many looks on one split."""
    strategy = make_strategy("nsga2", BITS, GeneticOptions(population=12, density=(0.3, 0.3)))

    def truth(seed: int, resampled: bool) -> float:
        evaluate = Fresh(noise=1)
        result = run_search(
            strategy,
            lambda genomes, occasion=0: evaluate(genomes, occasion).values[:, 0],
            objectives=[SCORE],
            evaluations=1500,
            seed=seed,
            resampled=resampled,
        )
        return float(result.rows(result.population[:1])[0] @ WORTH)

    fresh, fixed = ([truth(seed, resampled) for seed in range(4)] for resampled in (True, False))
    assert np.mean(fresh) > np.mean(fixed)


def test_a_killed_search_goes_on_to_the_same_numbers(tmp_path: Path) -> None:
    whole = search(Fresh())
    journal = tmp_path / "journal.jsonl"
    for deadly in (1, 4, 9):
        with pytest.raises(KeyboardInterrupt):
            search(Fresh(deadly), journal=journal)
    evaluate = Fresh()
    same(search(evaluate, journal=journal), whole)
    assert len(evaluate.calls) == whole.generations - (1 + 4 + 9)


def test_a_strategy_without_a_population_looks_at_what_it_asks_for() -> None:
    evaluate = Fresh()
    result = run_search(
        make_strategy("PGPE", BITS, LogitOptions(population=10)),
        lambda genomes, occasion: evaluate(genomes, occasion).values[:, 0],
        objectives=[SCORE],
        evaluations=100,
        seed=0,
        resampled=True,
    )
    assert result.evaluations == 100
    assert all(len(genomes) <= 10 for _, genomes in evaluate.calls)
