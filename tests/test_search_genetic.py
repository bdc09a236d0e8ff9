"""The two genetic algorithms: against an independent NumPy program, and by their properties."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from evosax.algorithms.population_based.base import PopulationBasedAlgorithm
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.objective import Objective
from evojax_prune.search import (
    PAPER,
    EveryOption,
    GenerationalGA,
    SteadyStateGA,
    SteadyStateOptions,
    make_strategy,
    run_search,
)
from evojax_prune.search.strategies.binary import BitState
from evojax_prune.search.strategies.strategy import Strategy, asking
from evojax_prune.search.warm_up import compiling

LENGTH = 37
FITNESS = Objective("fitness", "fitness")
WEIGHTS = np.random.default_rng(0).integers(-4, 5, LENGTH)


def plateaus(genomes: np.ndarray) -> np.ndarray:
    """A fitness with many ties, exact in float32."""
    return np.maximum(genomes @ WEIGHTS // 4, -3) / 8 + 1.0


class Recorded:
    """A strategy that keeps the population after every generation."""

    def __init__(self, strategy: Strategy):
        self.strategy = strategy
        self.populations: list[np.ndarray] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.strategy, name)

    def tell(self, *arguments: Any) -> Any:
        state = self.strategy.tell(*arguments)
        self.populations.append(np.asarray(state.population))
        return state


# What the algorithm draws, of keys split as it splits them; compiled whole, which takes less time.


@partial(jax.jit, static_argnums=(1, 2))
def first_draws(key: jax.Array, size: int, length: int) -> tuple[jax.Array, jax.Array]:
    keys = jax.random.split(key, (size, 3))
    words = jax.vmap(lambda k: jax.random.bits(k, (length,), "uint32"))(keys[:, 2])
    return jax.vmap(jax.random.uniform)(keys[:, 0]), words


@partial(jax.jit, static_argnums=(1, 2))
def draws(key: jax.Array, size: int, length: int) -> tuple[jax.Array, ...]:
    key_parents, key_crossover, key_mutation = jax.random.split(key, (1, 3))[0]
    key_coin, _, key_point = jax.random.split(key_mutation, 3)
    return (
        jax.random.bits(key_parents, (size,), "uint32"),
        jax.random.bits(key_crossover, (-(-length // 8),), "uint8"),
        jax.random.uniform(key_coin),
        jax.random.randint(key_point, (2,), 0, length),
    )


@jax.jit
def key_of(seed: int, generation: int) -> jax.Array:
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), generation))[0]


def numpy_steady_state(
    seed: int, generations: int, options: dict[str, Any]
) -> Iterator[np.ndarray]:
    """The reference's algorithm written down anew, fed with the same random numbers."""
    size, length = options["population"], LENGTH

    def worst_first(fitness: np.ndarray, population: np.ndarray) -> list[int]:
        order = sorted(range(size), key=lambda i: (-fitness[i], population[i].sum(), i))
        return order[::-1]

    population = np.zeros((size, length), int)
    drawn = map(np.asarray, first_draws(key_of(seed, 0), size, length))
    for member, density, words in zip(population, *drawn, strict=True):
        ones = min(max(round(float(density * np.float32(length))), 1), length)
        member[np.argsort(words)[:ones]] = 1
    fitness = plateaus(population)
    yield population
    for generation in range(1, generations):
        words, coins, coin, points = map(np.asarray, draws(key_of(seed, generation), size, length))
        one, *candidates = np.argsort(-words.astype(np.int64))[:4]
        distances = [int((population[one] != population[c]).sum()) for c in candidates]
        two = candidates[distances.index(max(distances))]
        heads = np.unpackbits(coins)[:length]
        children = [
            np.where(heads, population[one], population[two]),
            np.where(heads, population[two], population[one]),
        ]
        if float(coin) < options["mutation_rate"]:
            for child, point in zip(children, points, strict=True):
                child[point] = 1 - child[point]
        queue = worst_first(fitness, population)
        for child in children:
            value = plateaus(child[None])[0]
            worst = queue[0]
            fewer = value == fitness[worst] and child.sum() < population[worst].sum()
            if value > fitness[worst] or (options["ties"] and fewer):
                population[worst], fitness[worst] = child, value
                queue.pop(0)
        if options["elitism"]:
            *_, best = order = worst_first(fitness, population)
            population[order[0]], fitness[order[0]] = population[best], fitness[best]
        yield population


@pytest.mark.parametrize("ties", [False, True])
def test_the_paper_protocol_is_what_an_independent_program_does(ties: bool) -> None:
    options = PAPER | {"ties": ties, "elitism": not ties}
    strategy = Recorded(make_strategy("steady-state", LENGTH, SteadyStateOptions(**options)))
    run_search(strategy, plateaus, objectives=[FITNESS], evaluations=150, seed=5, stall=20)  # type: ignore[arg-type]
    assert len(strategy.populations) > 50
    expected = numpy_steady_state(5, len(strategy.populations), options)
    for generation, (ours, theirs) in enumerate(zip(strategy.populations, expected, strict=True)):
        np.testing.assert_array_equal(ours, theirs, err_msg=f"generation {generation}")


SIZE, CHILDREN = 6, 4
SOLUTION = jnp.zeros(LENGTH, bool)
ELITIST = SteadyStateGA(SIZE, SOLUTION, children=CHILDREN, elitism=True)
GENERATIONAL = GenerationalGA(SIZE, SOLUTION, children=CHILDREN)
levels = st.sampled_from([0.0, -0.5, -0.25, np.nan])
few = settings(max_examples=25, deadline=None)


def start(algorithm: Any, fitness: list[float]) -> BitState:
    population = (
        np.random.default_rng(1).random((SIZE, LENGTH)) < np.linspace(0.2, 0.8, SIZE)[:, None]
    )
    values = jnp.array(fitness, jnp.float32)
    return algorithm.init(jax.random.key(0), population, values, algorithm.default_params)


def tell(algorithm: Any, state: BitState, fitness: list[float]) -> tuple[np.ndarray, BitState]:
    params = algorithm.default_params
    children, state = algorithm.ask(jax.random.key(2), state, params)
    values = jnp.array(fitness, jnp.float32)
    state, _ = algorithm.tell(jax.random.key(3), children, values, state, params)
    return np.asarray(children), state


def keyed(population: np.ndarray, fitness: Any) -> list[tuple[float, int]]:
    """(minimised fitness, active bits) of each member, failures at +inf."""
    values = np.asarray(fitness, np.float64)
    return list(zip(np.where(np.isnan(values), np.inf, values), population.sum(1), strict=True))


@few
@given(
    st.sampled_from([ELITIST, GENERATIONAL]),
    st.lists(levels, min_size=SIZE, max_size=SIZE),
    st.lists(levels, min_size=CHILDREN, max_size=CHILDREN),
)
def test_the_best_is_never_lost_and_failures_never_win(
    algorithm: Any, before: list[float], fitness: list[float]
) -> None:
    state = start(algorithm, before)
    old = keyed(np.asarray(state.population), before)
    children, after = tell(algorithm, state, fitness)
    now = keyed(np.asarray(after.population), after.fitness)
    assert min(now) == min(old + keyed(children, fitness))
    assert (float(after.best_fitness), int(np.sum(after.best_solution))) == min(now)
    np.testing.assert_array_equal(after.active, np.asarray(after.population).sum(1))
    assert not np.isnan(after.fitness).any()


@few
@given(
    st.lists(levels, min_size=SIZE, max_size=SIZE),
    st.lists(levels, min_size=CHILDREN, max_size=CHILDREN),
)
def test_mu_plus_lambda_keeps_the_best_of_both(before: list[float], fitness: list[float]) -> None:
    state = start(GENERATIONAL, before)
    old = np.asarray(state.population)
    children, after = tell(GENERATIONAL, state, fitness)
    # Newcomers first where everything else is equal.
    pool = keyed(children, fitness) + keyed(old, before)
    order = sorted(range(len(pool)), key=lambda i: (pool[i], i))[:SIZE]
    np.testing.assert_array_equal(after.population, np.concatenate([children, old])[order])


def test_generational_children_are_new() -> None:
    same = jnp.tile((jnp.arange(LENGTH) % 2 == 0)[None], (SIZE, 1))
    params = GENERATIONAL.default_params
    state = GENERATIONAL.init(jax.random.key(0), same, jnp.zeros(SIZE), params)
    children, _ = GENERATIONAL.ask(jax.random.key(1), state, params)
    rows = {row.tobytes() for row in np.asarray(children)} - {np.asarray(same[0]).tobytes()}
    assert len(rows) == CHILDREN


def test_elitism_overwrites_the_worst_by_the_best() -> None:
    before = [-0.5, 0.0, -0.25, -0.25, -0.25, -0.25]
    state = start(ELITIST, before)
    _, after = tell(ELITIST, state, [0.5] * CHILDREN)  # no child beats anyone
    np.testing.assert_array_equal(after.population[1], state.population[0])
    unchanged = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(
        np.asarray(after.population)[unchanged], np.asarray(state.population)[unchanged]
    )
    assert float(after.fitness[1]) == -0.5


def test_they_are_evosax_algorithms() -> None:
    """The plain ask-tell loop of evosax's users."""
    algorithm = GENERATIONAL
    assert isinstance(algorithm, PopulationBasedAlgorithm)
    params = algorithm.default_params
    state = start(algorithm, [0.0] * SIZE)
    for i in range(3):
        key = jax.random.key(i)
        population, state = algorithm.ask(key, state, params)
        fitness = jnp.sum(population, 1).astype(jnp.float32)
        state, metrics = algorithm.tell(key, population, fitness, state, params)
    assert int(state.generation_counter) == 3
    assert metrics["best_fitness_in_generation"] == fitness.min()
    assert 0 < float(metrics["best_active_fraction"]) < 1
    np.testing.assert_array_equal(algorithm.get_best_solution(state), state.best_solution)
    assert algorithm.get_population(state).shape == (SIZE, LENGTH)


@pytest.mark.parametrize(
    "name", [pytest.param("steady-state", marks=pytest.mark.slow), "generational"]
)
def test_ask_and_tell_compile_once_and_ahead(name: str) -> None:
    strategy = make_strategy(name, 19, EveryOption(population=4))
    ask, tell = asking(strategy.algorithm), type(strategy.algorithm).tell
    before = ask._cache_size(), tell._cache_size()  # type: ignore[attr-defined]
    with compiling(lambda: make_strategy(name, 19, EveryOption(population=4)), 1):
        pass
    after = ask._cache_size(), tell._cache_size()  # type: ignore[attr-defined]
    assert np.subtract(after, before).tolist() == [1, 1]
    run_search(strategy, lambda g: g.mean(1), objectives=[FITNESS], evaluations=40, seed=0)
    after = ask._cache_size(), tell._cache_size()  # type: ignore[attr-defined]
    assert np.subtract(after, before).tolist() == [1, 1]


def test_what_fails_while_it_compiles_ahead_is_told_by_the_search() -> None:
    with compiling(lambda: make_strategy("generational", 0), 1):
        done = True
    assert done
    with pytest.raises(ZeroDivisionError), compiling(lambda: make_strategy("generational", 5), 1):
        raise ZeroDivisionError
