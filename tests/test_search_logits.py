"""evosax algorithms on thresholded logits, and strategies by name."""

from __future__ import annotations

import functools
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms import algorithms
from pydantic import ValidationError

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective, minimised
from evojax_prune.search import (
    STRATEGIES,
    EveryOption,
    GeneticOptions,
    LogitOptions,
    Strategy,
    StrategyOptions,
    available,
    make_strategy,
    run_search,
)
from evojax_prune.search.strategies import logits, names
from evojax_prune.search.strategies.logits import LogitStrategy
from evojax_prune.search.strategies.registry import Entry, Plan
from evojax_prune.search.strategies.strategy import first_genomes

LENGTH = 48
search = functools.partial(run_search, objectives=[Objective("fitness", "fitness")])
TARGET = np.random.default_rng(3).random(LENGTH) < 0.4


def matches(genomes: np.ndarray) -> np.ndarray:
    """The part of the bits that are right; some genomes fail."""
    return np.where(genomes[:, :2].all(1), np.nan, (genomes == TARGET).mean(1))


def test_every_algorithm_of_evosax_is_offered_or_excluded_with_a_reason() -> None:
    assert set(names.EVOSAX) | set(names.EXCLUDED) == set(algorithms)
    assert not set(names.EVOSAX) & set(names.EXCLUDED)
    assert available() == tuple(STRATEGIES)
    assert available()[-len(names.EVOSAX) :] == names.EVOSAX


def test_names_are_known_without_jax() -> None:
    code = "import sys, evojax_prune.search as s; s.available(); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["SNES", "SimpleGA", "Open_ES", "SV_Open_ES", "RandomSearch"])
def test_algorithms_of_every_kind_search_masks(name: str) -> None:
    strategy = make_strategy(name, LENGTH, LogitOptions(population=12, density=0.3))
    kind = type(strategy.algorithm)
    result = search(strategy, matches, evaluations=90, seed=0)
    assert len(result) == 90
    assert not np.isnan(result.fitness[result.best])
    # The initial density is honoured.
    assert abs(result.active_fraction[result.generation == 0].mean() - 0.3) < 0.05
    again = search(strategy, matches, evaluations=90, seed=0)
    assert again.hashes == result.hashes
    # Nothing was compiled anew for the second search, so neither was it for each generation.
    before = kind.ask._cache_size(), kind.tell._cache_size()  # type: ignore[attr-defined]
    search(strategy, matches, evaluations=150, seed=1)
    assert (kind.ask._cache_size(), kind.tell._cache_size()) == before  # type: ignore[attr-defined]


def test_a_distribution_based_algorithm_climbs() -> None:
    strategy = make_strategy("SNES", LENGTH, LogitOptions(population=16))
    result = search(strategy, matches, evaluations=480, seed=0)
    first, last = (np.nanmean(result.fitness[part]) for part in (slice(0, 60), slice(-60, None)))
    assert last > first + 0.2


@pytest.mark.parametrize("name", ["SNES", "SimpleGA"])
def test_scores_shape_the_first_generation(name: str) -> None:
    strategy = make_strategy(
        name,
        LENGTH,
        LogitOptions(population=200, density=0.4, init="scores"),
        scores=np.arange(LENGTH)[None],
    )
    genomes, _ = strategy.ask(jax.random.key(0), None)
    expected = np.asarray(
        first_genomes(strategy.plan).probabilities(jnp.asarray(strategy.plan.guide))
    )
    np.testing.assert_allclose(genomes.mean(0), expected, atol=0.13)
    assert abs(genomes.mean() - 0.4) < 0.02


def test_a_diverged_algorithm_ends_in_a_sentence() -> None:
    strategy = make_strategy(
        "Open_ES",
        LENGTH,
        LogitOptions(population=8, strategy_options={"learning_rate": 3e38}),
    )
    with pytest.raises(UserError, match=r"Open_ES diverged.*lower its learning_rate"):
        search(strategy, matches, evaluations=80, seed=0)


def test_failed_genomes_count_as_the_worst() -> None:
    fitness = logits._finite(np.array([-1.0, np.inf, 3.0, 1e300]))
    assert fitness.dtype == np.float32
    np.testing.assert_array_equal(fitness, [-1, 3, 3, 3])
    np.testing.assert_array_equal(logits._finite(np.full(2, np.inf)), [0, 0])


def test_the_sign_turns_in_one_place() -> None:
    score, size = Objective("a", "a"), Objective("b", "b", maximised=False, scale="log")
    values = np.array([[0.5, 1.0], [np.nan, 4.0], [-np.inf, np.e], [-2.0, np.nan]])
    costs = [[-0.5, 0.0], [np.inf, np.inf], [np.inf, 1.0], [np.inf, np.inf]]
    np.testing.assert_array_equal(minimised(values, [score, size]), costs)


def test_options_reach_the_algorithm() -> None:
    options = {"std": 0.25, "subspace_dims": 2.0, "learning_rate": 0.5}
    strategy = make_strategy(
        "GuidedES", LENGTH, LogitOptions(population=8, strategy_options=options)
    )
    assert isinstance(strategy, LogitStrategy)
    assert strategy.algorithm.subspace_dims == 2
    assert float(strategy.algorithm.std_schedule(9)) == 0.25
    strategy = make_strategy("SNES", 9, LogitOptions(population=8, strategy_options={"std": 0.5}))
    assert strategy._params.std_init == 0.5  # type: ignore[attr-defined]
    scheduled = make_strategy("DiffusionEvolution", 9, LogitOptions(population=10), evaluations=95)
    assert scheduled.algorithm.num_generations >= 10
    assert scheduled.description["num_generations"] == scheduled.algorithm.num_generations


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Generational", {}, r"did you mean generational\?.*steady-state.*CMA_ES"),
        ("tabu", {}, "unknown strategy 'tabu': expected one of nsga2"),
        ("PersistentES", {}, "cannot search masks: it sums perturbations"),
        ("SNES", {"children": 4}, "no children"),
        ("SNES", {"elitism": True, "mutation_bias": 1.0}, "no mutation_bias and no elitism"),
        ("generational", {"elitism": True}, "no elitism.*steady-state"),
        ("generational", {"strategy_options": {"std": 1.0}}, "no strategy_options.*evosax"),
        ("generational", {"sharpness": 2.0}, "sharpness does nothing without init scores"),
        ("steady-state", {"tournament_size": 3}, "tournament_size does nothing with parents nam"),
        ("SNES", {"strategy_options": {"speed": 1.0}}, "has no option speed; it has: .*std_init"),
        ("PGPE", {"population": 9}, "population of 9.*must be even"),
        ("ESMC", {"population": 9}, "population of 9.*ask for 8"),
        ("SV_Open_ES", {"population": 11}, "population of 11"),
        ("CMA_ES", {"genome_length": 60_000}, "GiB for genomes of 60000 bits"),
        ("generational", {"genome_length": 0}, "genome_length is 0"),
        ("steady-state", {"children": 9}, "children is 9, expected 2 to 8"),
        ("steady-state", {"init": "scores"}, "need scores"),
        ("steady-state", {"init": "scores", "scores": np.ones((1, 5))}, r"expected \[rankings, 32"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    length, scores = options.pop("genome_length", 32), options.pop("scores", None)
    with pytest.raises(UserError, match=message):
        make_strategy(name, length, EveryOption(**{"population": 8, **options}), scores=scores)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 1}, "greater than or equal to 2"),
        ({"population": 10**20}, "less than or equal to"),
        ({"children": 1}, "greater than or equal to 2"),
        ({"density": (0.7, 0.3)}, "density is .*lower number first"),
        ({"density": 1.5}, "less than or equal to 1"),
        ({"parents": "best"}, "'roulette', 'tournament' or 'near'"),
        ({"crossover": "x"}, "'uniform', 'one-point' or 'sized'"),
        ({"mutation": "x"}, "'per-bit', 'swap' or 'near-swap'"),
        ({"mutation_rate": 1.5}, "less than or equal to 1"),
        ({"tournament_size": 0}, "greater than or equal to 1"),
        ({"strategy_options": ("std",)}, "expected NAME=VALUE"),
        ({"speed": 1.0}, "Extra inputs"),
    ],
)
def test_bounds_stand_in_the_models(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EveryOption(**options)


def test_a_description_tells_strategies_apart() -> None:
    def described(scores: Any = None, **options: Any) -> dict[str, Any]:
        given = GeneticOptions(**({"population": 8, "init": "scores"} | options))
        return make_strategy("generational", 9, given, scores=np.arange(9)).description

    base = described()
    assert described() == base
    for change in (
        {"density": 0.3},
        {"children": 6},
        {"parents": "nam"},
        {"sharpness": 1.0},
        {"mutation_bias": 0.5},
    ):
        assert described(**change) != base


def test_a_new_strategy_is_a_class_and_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Options(StrategyOptions):
        step: int = 1

    class Counting(Strategy):
        """Asks for the numbers from 1 in binary."""

        def ask(self, key: jax.Array, state: Any) -> tuple[np.ndarray, Any]:
            start = 1 if state is None else state
            numbers = start + self.plan.options.step * np.arange(self.plan.options.population)
            return (numbers[:, None] >> np.arange(self.genome_length)) % 2 == 1, start

        def tell(self, key: jax.Array, genomes: Any, costs: Any, state: Any) -> Any:
            assert costs.shape == (len(genomes), 1)
            return state + self.plan.options.step * len(genomes)

        def population(self, state: Any) -> None:
            return None

    def build(plan: Plan) -> Strategy:
        return Counting(plan, None)  # type: ignore[arg-type]

    monkeypatch.setitem(STRATEGIES, "counting", Entry(Options, build))
    strategy = make_strategy("counting", 8, Options(population=5, step=3))
    result = search(strategy, lambda genomes: genomes.sum(1), evaluations=17, seed=0)
    np.testing.assert_array_equal(result.genomes @ (1 << np.arange(8)), 1 + 3 * np.arange(17))
    with pytest.raises(UserError, match="counting has no elitism"):
        make_strategy("counting", 8, EveryOption(elitism=True))
