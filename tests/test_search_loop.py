"""The search loop: memory, budget, failures, the journal, and whether it finds anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.search import (
    Evaluation,
    GenerationInfo,
    SearchResult,
    Strategy,
    make_strategy,
    run_search,
)

LENGTH = 60
TARGET = np.random.default_rng(3).random(LENGTH) < 0.4


def matches(genomes: np.ndarray) -> np.ndarray:
    return (genomes == TARGET).mean(1)


def trap(genomes: np.ndarray) -> np.ndarray:
    """Blocks of four with a lure: all wrong is worth more than one or two right."""
    right = (genomes == TARGET).reshape(len(genomes), -1, 4).sum(2)
    return np.choose(right, [0.5, 0.4, 0.3, 0.6, 1.0]).mean(1)


def few_bits(genomes: np.ndarray) -> np.ndarray:
    return genomes @ np.array([1.0, -1.0, 2.0, 0.0, 0.5])


SMALL = make_strategy("steady-state", population=6, genome_length=5)
GENERATIONAL = make_strategy("generational", population=20, genome_length=LENGTH)
STEADY = make_strategy("steady-state", population=20, genome_length=LENGTH, children=6)


class Counted:
    """An evaluation that keeps what it was asked, and may die."""

    def __init__(self, fitness: Any = matches, deadly: int | None = None):
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
    for field in ("packed", "fitness", "generation", "active"):
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


@pytest.mark.parametrize("strategy", [GENERATIONAL, STEADY])
@pytest.mark.parametrize("budget", [7, 20, 101])
def test_the_budget_is_met_exactly(strategy: Strategy, budget: int) -> None:
    evaluate = Counted()
    result = run_search(strategy, evaluate, evaluations=budget, seed=1)
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
    result = run_search(SMALL, evaluate, evaluations=20, seed=0)
    asked = [row.tobytes() for batch in evaluate.batches for row in batch]
    assert len(asked) == len(set(asked)) == len(result)
    assert len(evaluate.batches) <= result.generations
    # Every genome that was asked for was evaluated, or counted as cached, or is past the budget.
    asked_for = 6 + 2 * (result.generations - 1)
    assert 0 <= asked_for - result.cached - len(result) <= 1
    assert result.cached > 0


def test_a_search_without_new_genomes_ends_and_says_so() -> None:
    result = run_search(SMALL, few_bits, evaluations=50, seed=0, stall=7)
    assert len(result) <= 32  # there are no more
    assert not result.exhausted
    expected = f"no new genome in 7 generations, after {len(result)} of 50 evaluations"
    assert result.stopped == expected


def test_the_same_seed_gives_the_same_search() -> None:
    runs = [run_search(GENERATIONAL, matches, evaluations=60, seed=s) for s in (4, 4, 5)]
    same(runs[0], runs[1])
    assert runs[0].hashes != runs[2].hashes


def test_generations_are_told_to_the_caller() -> None:
    told: list[GenerationInfo] = []
    result = run_search(GENERATIONAL, matches, evaluations=65, seed=2, on_generation=told.append)
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

    result = run_search(strategy, half_fail, evaluations=120, seed=0)
    assert np.isnan(result.fitness).any()
    assert not result.genomes[result.best, 0]
    assert not np.isnan(result.fitness[result.top(5)]).any()
    failed = np.isnan(result.fitness)
    assert failed[60:].mean() < failed[:20].mean()  # the search leaves them behind


def test_a_search_in_which_everything_fails_goes_on_to_the_end() -> None:
    told: list[GenerationInfo] = []
    result = run_search(
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
    result = run_search(GENERATIONAL, lambda g: np.ones(len(g)), evaluations=40, seed=0)
    assert result.active[result.best] == result.active.min()
    assert result.best == np.flatnonzero(result.active == result.active.min())[0]
    assert list(result.top(40)) == sorted(range(40), key=lambda i: (result.active[i], i))
    assert len(result.top(100)) == 40


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda g: np.zeros(len(g) + 1), "fitness of shape"),
        (lambda g: Evaluation(np.zeros(len(g)), {"epochs": np.zeros(1)}), "epochs of shape"),
        (lambda g: np.full(len(g), np.inf), "inf"),
    ],
)
def test_a_wrong_evaluation_is_refused(returned: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_search(GENERATIONAL, returned, evaluations=20, seed=0)


def test_a_killed_search_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = run_search(GENERATIONAL, Counted(), evaluations=75, seed=3)
    for deadly in (0, 1, 3):
        journal = tmp_path / f"{deadly}.jsonl"
        killed, resumed = Counted(deadly=deadly), Counted()
        with pytest.raises(KeyboardInterrupt):
            run_search(GENERATIONAL, killed, evaluations=75, seed=3, journal=journal)
        told: list[GenerationInfo] = []
        result = run_search(
            GENERATIONAL,
            resumed,
            evaluations=75,
            seed=3,
            journal=journal,
            on_generation=told.append,
        )
        same(result, whole)
        assert killed.count + resumed.count == 75
        assert [info.replayed for info in told] == [i < deadly for i in range(len(told))]


def test_a_finished_search_replays_without_evaluating_and_may_go_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    first = run_search(GENERATIONAL, Counted(), evaluations=45, seed=0, journal=journal)
    again = Counted()
    same(run_search(GENERATIONAL, again, evaluations=45, seed=0, journal=journal), first)
    assert again.count == 0
    longer = run_search(GENERATIONAL, Counted(), evaluations=80, seed=0, journal=journal)
    same(longer, run_search(GENERATIONAL, Counted(), evaluations=80, seed=0))


def test_failures_and_extremes_survive_the_journal(tmp_path: Path) -> None:
    def odd(genomes: np.ndarray) -> np.ndarray:
        values = np.array([np.nan, -np.inf, 0.1 + 0.2, 1e-300, -0.0])
        return values[genomes[:, :3].sum(1) + genomes[:, 3]]

    journal = tmp_path / "journal.jsonl"
    first = run_search(GENERATIONAL, odd, evaluations=40, seed=0, journal=journal)
    again = run_search(GENERATIONAL, odd, evaluations=40, seed=0, journal=journal)
    same(first, again)
    assert np.isnan(first.fitness).any()
    assert np.isneginf(first.fitness).any()


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    whole = run_search(GENERATIONAL, Counted(), evaluations=60, seed=0, journal=journal)
    content = journal.read_bytes()
    for cut in (1, 100):
        journal.write_bytes(content[:-cut])
        resumed = Counted()
        same(run_search(GENERATIONAL, resumed, evaluations=60, seed=0, journal=journal), whole)
        assert resumed.count == 10
        assert journal.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"config": {"data": {"name": "b"}}}, "data.name is 'a' there and 'b' here"),
        ({"strategy": STEADY}, "strategy.children is 10 there and 6 here"),
    ],
)
def test_a_journal_of_another_run_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    def search(seed: int = 0, config: Any = None, strategy: Strategy = GENERATIONAL) -> None:
        run_search(
            strategy,
            matches,
            evaluations=20,
            seed=seed,
            journal=tmp_path / "journal",
            journal_config=config or {"data": {"name": "a"}},
        )

    search()
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(UserError, match=message):
        search(**change)
    assert (tmp_path / "journal").read_bytes() == before


def test_other_files_and_damage_are_refused(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    for content, message in (
        ('{"a": 1}\n', "no search journal of this version"),
        ("genomes\n", "damaged"),
        ("some text", "damaged"),
    ):
        journal.write_text(content)
        with pytest.raises(UserError, match=message):
            run_search(GENERATIONAL, matches, evaluations=20, seed=0, journal=journal)
        assert journal.read_text() == content
    # A journal of the same run whose genomes the search does not ask for: other software wrote it.
    journal.unlink()
    run_search(GENERATIONAL, matches, evaluations=20, seed=0, journal=journal)
    header, batch = journal.read_text().splitlines()
    changed = json.loads(batch)
    changed["genomes"][0] = "0" * 32
    journal.write_text(f"{header}\n{json.dumps(changed)}\n")
    with pytest.raises(UserError, match="another version"):
        run_search(GENERATIONAL, matches, evaluations=20, seed=0, journal=journal)


@pytest.mark.parametrize("problem", [matches, trap])
def test_both_algorithms_beat_random_search(problem: Any) -> None:
    budget, trials = 400, range(3)
    random = [
        problem(np.random.default_rng(t).random((budget, LENGTH)) < 0.4).max() for t in trials
    ]
    for strategy in (GENERATIONAL, STEADY):
        found = [run_search(strategy, problem, evaluations=budget, seed=t) for t in trials]
        best = [result.fitness[result.best] for result in found]
        assert min(best) > max(random)


def test_scores_help_where_they_are_right() -> None:
    scores = TARGET + np.random.default_rng(0).normal(0, 0.7, LENGTH)
    guided = make_strategy(
        "generational",
        population=20,
        genome_length=LENGTH,
        scores=scores[None],
        init="scores",
        mutation_bias=1.0,
    )
    plain, better = (
        np.mean([run_search(s, matches, evaluations=80, seed=i).fitness.max() for i in range(4)])
        for s in (GENERATIONAL, guided)
    )
    assert better > plain + 0.05
