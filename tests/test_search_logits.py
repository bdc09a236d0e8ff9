"""evosax algorithms on thresholded logits, and strategies by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest
from evosax.algorithms import algorithms

from evojax_prune.core.errors import UserError
from evojax_prune.search import available, make_strategy, run_search
from evojax_prune.search.strategies import names
from evojax_prune.search.strategies.logits import LogitStrategy
from evojax_prune.search.strategies.strategy import minimised

LENGTH = 48
TARGET = np.random.default_rng(3).random(LENGTH) < 0.4


def matches(genomes: np.ndarray) -> np.ndarray:
    """The part of the bits that are right; some genomes fail."""
    return np.where(genomes[:, :2].all(1), np.nan, (genomes == TARGET).mean(1))


def test_every_algorithm_of_evosax_is_offered_or_excluded_with_a_reason() -> None:
    assert set(names.EVOSAX) | set(names.EXCLUDED) == set(algorithms)
    assert not set(names.EVOSAX) & set(names.EXCLUDED)
    assert available() == names.BINARY + names.EVOSAX


def test_names_are_known_without_jax() -> None:
    code = "import sys, evojax_prune.search as s; s.available(); sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["SNES", "SimpleGA", "Open_ES", "SV_Open_ES", "RandomSearch"])
def test_algorithms_of_every_kind_search_masks(name: str) -> None:
    strategy = make_strategy(name, population=12, genome_length=LENGTH, density=0.3)
    kind = type(strategy.algorithm)
    result = run_search(strategy, matches, evaluations=90, seed=0)
    assert len(result) == 90
    assert not np.isnan(result.fitness[result.best])
    # The initial density is honoured.
    assert abs(result.active_fraction[result.generation == 0].mean() - 0.3) < 0.05
    again = run_search(strategy, matches, evaluations=90, seed=0)
    assert again.hashes == result.hashes
    # Nothing was compiled anew for the second search, so neither was it for each generation.
    before = kind.ask._cache_size(), kind.tell._cache_size()  # type: ignore[attr-defined]
    run_search(strategy, matches, evaluations=150, seed=1)
    assert (kind.ask._cache_size(), kind.tell._cache_size()) == before  # type: ignore[attr-defined]


def test_a_distribution_based_algorithm_climbs() -> None:
    strategy = make_strategy("SNES", population=16, genome_length=LENGTH)
    result = run_search(strategy, matches, evaluations=480, seed=0)
    first, last = (np.nanmean(result.fitness[part]) for part in (slice(0, 60), slice(-60, None)))
    assert last > first + 0.2


@pytest.mark.parametrize("name", ["SNES", "SimpleGA"])
def test_scores_shape_the_first_generation(name: str) -> None:
    strategy = make_strategy(
        name,
        population=200,
        genome_length=LENGTH,
        density=0.4,
        scores=np.arange(LENGTH)[None],
        init="scores",
    )
    genomes, _ = strategy.ask(jax.random.key(0), None)
    expected = np.asarray(strategy.initial.probabilities(strategy.guide))
    np.testing.assert_allclose(genomes.mean(0), expected, atol=0.13)
    assert abs(genomes.mean() - 0.4) < 0.02


def test_a_diverged_algorithm_ends_in_a_sentence() -> None:
    strategy = make_strategy(
        "Open_ES", population=8, genome_length=LENGTH, options={"learning_rate": 3e38}
    )
    with pytest.raises(UserError, match=r"Open_ES diverged.*lower its learning_rate"):
        run_search(strategy, matches, evaluations=80, seed=0)


def test_the_sign_turns_in_one_place() -> None:
    values = np.asarray(minimised(np.array([0.5, np.nan, -np.inf, -2.0])))
    np.testing.assert_array_equal(values, np.array([-0.5, np.inf, np.inf, 2.0], np.float32))


def test_options_reach_the_algorithm() -> None:
    options = {"std": 0.25, "subspace_dims": 2.0, "learning_rate": 0.5}
    strategy = make_strategy("GuidedES", population=8, genome_length=LENGTH, options=options)
    assert isinstance(strategy, LogitStrategy)
    assert strategy.algorithm.subspace_dims == 2
    assert float(strategy.algorithm.std_schedule(9)) == 0.25
    strategy = make_strategy("SNES", population=8, genome_length=9, options={"std": 0.5})
    assert strategy._params.std_init == 0.5  # type: ignore[attr-defined]
    scheduled = make_strategy("DiffusionEvolution", population=10, genome_length=9, evaluations=95)
    assert scheduled.algorithm.num_generations >= 10
    assert scheduled.description["num_generations"] == scheduled.algorithm.num_generations


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Generational", {}, r"did you mean generational\?.*steady-state.*CMA_ES"),
        ("tabu", {}, "unknown strategy 'tabu': expected one of generational"),
        ("PersistentES", {}, "cannot search masks: it sums perturbations"),
        ("SNES", {"children": 4}, "no children"),
        ("SNES", {"elitism": True, "mutation_bias": 1.0}, "no mutation_bias and no elitism"),
        ("generational", {"elitism": True}, "no elitism.*steady-state"),
        ("generational", {"options": {"std": 1.0}}, "no std"),
        ("SNES", {"options": {"speed": 1.0}}, "SNES has no option speed; it has: .*std_init"),
        ("PGPE", {"population": 9}, "population of 9.*must be even"),
        ("ESMC", {"population": 9}, "population of 9.*ask for 8"),
        ("SV_Open_ES", {"population": 11}, "population of 11"),
        ("CMA_ES", {"genome_length": 60_000}, "GiB for genomes of 60000 bits"),
        ("generational", {"population": 1}, "population is 1, expected at least 2"),
        ("generational", {"children": 1}, "children is 1, expected at least 2"),
        ("steady-state", {"children": 9}, "children is 9, expected 2 to 8"),
        ("steady-state", {"density": (0.7, 0.3)}, "density is .*lower one first"),
        ("steady-state", {"density": 1.5}, "density is 1.5"),
        ("steady-state", {"parents": "best"}, "parents is 'best', expected nam or roulette or"),
        ("steady-state", {"crossover": "x"}, "expected uniform or one-point"),
        ("steady-state", {"mutation": "x"}, "expected coin or per-bit"),
        ("steady-state", {"mutation_rate": 1.5}, "mutation_rate is 1.5"),
        ("steady-state", {"init": "scores"}, "need scores"),
        ("steady-state", {"init": "scores", "scores": np.ones((1, 5))}, r"expected \[rankings, 32"),
        ("steady-state", {"tournament_size": 0, "parents": "tournament"}, "tournament_size is 0"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        make_strategy(name, **({"population": 8, "genome_length": 32} | options))


def test_a_description_tells_strategies_apart() -> None:
    def described(**options: Any) -> dict[str, Any]:
        common = {"population": 8, "genome_length": 9, "scores": np.arange(9), "init": "scores"}
        return make_strategy("generational", **(common | options)).description

    base = described()
    assert described() == base
    for change in (
        {"density": 0.3},
        {"children": 6},
        {"parents": "nam"},
        {"sharpness": 1.0},
        {"mutation_bias": 0.5},
        {"scores": np.arange(9) % 4},
    ):
        assert described(**change) != base
