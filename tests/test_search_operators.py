"""Genetic operators against brute force, and by their properties."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.core.errors import UserError
from evojax_prune.search.operators import parents, population, variation
from evojax_prune.search.operators.duplicates import replace_duplicates
from evojax_prune.search.operators.guide import (
    flip_weights,
    guide_from_scores,
    tilted_probabilities,
)
from evojax_prune.search.operators.initial import InitialGenomes, exactly
from evojax_prune.search.operators.population import best_first, places
from evojax_prune.search.operators.variation import BitMutation, CoinMutation

LENGTH = 37  # no multiple of 8
seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=25, deadline=None)


def random_bits(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < 0.5


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def draw(initial: InitialGenomes, members: int, guide: jax.Array | None = None) -> np.ndarray:
    return np.asarray(
        jax.jit(initial.population, static_argnums=1)(jax.random.key(7), members, guide)
    )


exact = jax.jit(exactly, static_argnums=1)
weights_of = jax.jit(flip_weights)
order_of = jax.jit(best_first)
places_of = jax.jit(places)
renewed = jax.jit(replace_duplicates)
nam = jax.jit(parents.negative_assortative)
many_nam = jax.jit(jax.vmap(parents.negative_assortative, (0, None, None, None)))
many_roulette = jax.jit(jax.vmap(parents.roulette, (0, None, None, None)))
uniform = jax.jit(variation.uniform)
one_point = jax.jit(variation.one_point)


@quick
@given(seeds)
def test_nam_returns_the_farthest_of_the_three(seed: int) -> None:
    population = random_bits(seed, 4, LENGTH)  # four members: every other one is a candidate
    unused = jnp.zeros(4)
    first, second = np.asarray(nam(jax.random.key(seed), population, unused, unused))
    distances = (population != population[first]).sum(1)
    others = [i for i in range(4) if i != first]
    assert second != first
    assert distances[second] == max(distances[i] for i in others)


def test_nam_draws_first_parent_and_candidates_evenly() -> None:
    members = 8
    population = np.zeros((members, LENGTH), bool)
    population[0, :5] = True  # the farthest from everybody else
    unused = jnp.zeros(members)
    pairs = np.asarray(many_nam(keys(4000), population, unused, unused))
    np.testing.assert_allclose(np.bincount(pairs[:, 0]) / 4000, 1 / members, atol=0.025)
    # Wherever it is one of the three candidates of seven it must be taken.
    chosen = pairs[pairs[:, 0] != 0, 1] == 0
    assert abs(chosen.mean() - 3 / 7) < 0.04


@pytest.mark.parametrize("members", [2, 3])
def test_nam_in_a_tiny_population(members: int) -> None:
    population = random_bits(0, members, LENGTH)
    for key in keys(5):
        first, second = np.asarray(nam(key, population, jnp.zeros(members), jnp.zeros(members)))
        assert first != second
        assert {first, second} <= set(range(members))


def draw_roulette(fitness: list[float], count: int = 6000) -> np.ndarray:
    population = np.zeros((len(fitness), LENGTH), bool)
    drawn = many_roulette(keys(count), population, np.array(fitness, np.float32), np.zeros(3, "f4"))
    return np.bincount(np.asarray(drawn).ravel(), minlength=len(fitness)) / (2 * count)


@pytest.mark.parametrize(
    ("minimised", "expected"),
    [
        ([-0.1, -0.3, -0.6], [0.1, 0.3, 0.6]),
        ([-0.5, np.inf, -0.5], [0.5, 0.0, 0.5]),
        ([2.0, 1.0, -1.0], [0.0, 0.25, 0.75]),  # negative when maximised: from the worst one
        ([np.inf, np.inf, np.inf], [1 / 3, 1 / 3, 1 / 3]),
        ([0.0, 0.0, np.inf], [1 / 3, 1 / 3, 1 / 3]),
    ],
)
def test_roulette_draws_in_proportion(minimised: list[float], expected: list[float]) -> None:
    np.testing.assert_allclose(draw_roulette(minimised), expected, atol=0.02)


def test_tournament_of_everybody_is_won_by_the_best() -> None:
    rank = jnp.array([2, 0, 1, 3])
    choose = jax.jit(parents.tournament(9))
    for key in keys(5):
        pair = choose(key, jnp.zeros((4, LENGTH), bool), jnp.zeros(4), rank)
        np.testing.assert_array_equal(pair, [1, 1])


def test_near_parents_are_a_winner_and_the_nearest_of_six_in_size() -> None:
    sizes = np.array([2, 3, 4, 8, 16, 17, 30, 40])
    population = jnp.asarray(np.arange(LENGTH) < sizes[:, None])
    rank = jnp.array([1, 0, 2, 3, 4, 5, 6, 7])
    choose = jax.jit(jax.vmap(parents.near(8), (0, None, None, None)))
    pairs = np.asarray(choose(keys(2000), population, jnp.zeros(8), rank))
    assert (pairs[:, 0] == 1).all()  # of everybody the best
    # In the logarithm 4 is nearer to 3 than 2 is; 6 of 8 are drawn, the winner perhaps among them.
    odds = np.bincount(pairs[:, 1], minlength=8) / 2000
    np.testing.assert_allclose(odds[[2, 0]], [6 / 8, 6 / 8 * 2 / 7], atol=0.04)
    assert odds[1] == 0
    assert odds[3] == pytest.approx(1 - odds[[2, 0]].sum(), abs=0.02)


def test_near_parents_of_a_tiny_population() -> None:
    choose = jax.jit(parents.near(2))
    for key in keys(5):
        pair = choose(key, random_bits(0, 2, LENGTH), jnp.zeros(2), jnp.arange(2))
        np.testing.assert_array_equal(pair, [0, 1])


def test_binary_tournament_has_the_odds_of_two_distinct_entrants() -> None:
    rank = jnp.arange(4)
    choose = jax.jit(jax.vmap(parents.tournament(2), (0, None, None, None)))
    pairs = np.asarray(choose(keys(6000), jnp.zeros((4, LENGTH), bool), jnp.zeros(4), rank))
    for parent in pairs.T:
        odds = np.bincount(parent, minlength=4) / 6000
        np.testing.assert_allclose(odds, [3 / 6, 2 / 6, 1 / 6, 0], atol=0.03)
    assert abs(np.mean(pairs[:, 0] == pairs[:, 1]) - (9 + 4 + 1) / 36) < 0.03  # independent


def test_few_of_many_members_are_distinct_and_equally_likely() -> None:
    distinct = jax.jit(parents._distinct, static_argnums=(1, 2))
    members = parents.MANY + 1
    drawn = np.asarray(distinct(jax.random.key(0), members, (4000, 3)))
    assert ((drawn >= 0) & (drawn < members)).all()
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    for place in drawn.T:  # a fifth of the members takes a fifth of each place
        share = np.bincount(place * 5 // members, minlength=5) / 4000
        np.testing.assert_allclose(share, 0.2, atol=0.03)


def test_rows_in_batches_are_those_of_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = jnp.arange(14).reshape(7, 2)
    monkeypatch.setattr(population, "BATCH_BITS", 6)
    np.testing.assert_array_equal(population.map_rows(lambda row: row**2, rows, 2), rows**2)


@quick
@given(seeds, st.sampled_from([uniform, one_point]))
def test_crossover_conserves_bits_at_each_locus(seed: int, cross: object) -> None:
    pair = random_bits(seed, 2, LENGTH)
    children = np.asarray(cross(jax.random.key(seed), pair))  # type: ignore[operator]
    np.testing.assert_array_equal(children.sum(0), pair.sum(0))


def test_uniform_crossover_is_fair_at_every_locus() -> None:
    pair = np.array([np.zeros(LENGTH, bool), np.ones(LENGTH, bool)])
    children = np.asarray(jax.vmap(uniform, (0, None))(keys(3000), pair))
    np.testing.assert_allclose(children[:, 0].mean(0), 0.5, atol=0.05)


def test_one_point_crossover_cuts_once_at_every_place() -> None:
    pair = np.array([np.zeros(LENGTH, bool), np.ones(LENGTH, bool)])
    first = np.asarray(jax.vmap(one_point, (0, None))(keys(3000), pair))[:, 0].astype(int)
    assert (np.diff(first, axis=1) >= 0).all()
    points = LENGTH - first.sum(1)
    assert set(points) == set(range(LENGTH))


def flips_of(
    mutation: object, children: np.ndarray, count: int, guide: object = None
) -> np.ndarray:
    mutate = jax.jit(jax.vmap(mutation, (0, None, None)))  # type: ignore[arg-type]
    return np.asarray(mutate(keys(count), children, guide)) ^ children


def test_one_coin_decides_for_both_children() -> None:
    flips = flips_of(CoinMutation(), random_bits(1, 2, LENGTH), 20000).sum(-1)
    assert set(map(tuple, flips)) == {(0, 0), (1, 1)}
    assert abs(flips[:, 0].mean() - 0.07) < 0.006


def test_the_coin_flips_any_bit_of_each_child() -> None:
    flips = flips_of(CoinMutation(1.0), random_bits(1, 2, LENGTH), 8000)
    np.testing.assert_allclose(flips.mean(0), 1 / LENGTH, atol=0.008)
    places = flips.argmax(-1)
    assert np.mean(places[:, 0] == places[:, 1]) < 0.06  # the children's points are independent


@pytest.mark.parametrize("rate", [0.0, 3 / LENGTH, 0.6, 1.0])
def test_bits_flip_independently_at_the_rate(rate: float) -> None:
    count = 8000
    flips = flips_of(BitMutation(rate), random_bits(2, 2, LENGTH), count)
    deviation = np.sqrt(rate * (1 - rate) / count)
    np.testing.assert_allclose(flips.mean(0), rate, atol=5 * deviation)
    np.testing.assert_allclose(
        flips.sum(-1).var(0), LENGTH * rate * (1 - rate), atol=0.05 * LENGTH * rate
    )
    if 0 < rate < 1:  # neighbours, and the two children, know nothing of each other
        together = (flips[:, 0, :-1] & flips[:, 0, 1:]).mean()
        assert abs(together - rate**2) < 5 * np.sqrt(rate**2 / count / LENGTH) + 0.002
        assert abs((flips[:, 0] & flips[:, 1]).mean() - rate**2) < 0.01


GUIDE = guide_from_scores(np.arange(LENGTH)[None])


@pytest.mark.parametrize("kind", [CoinMutation, BitMutation])
def test_bias_0_is_plain_mutation(kind: type) -> None:
    children = random_bits(3, 2, LENGTH)
    plain = flips_of(kind(0.3), children, 50)
    np.testing.assert_array_equal(flips_of(kind(0.3, 0.0), children, 50, jnp.asarray(GUIDE)), plain)


@pytest.mark.parametrize("bias", [pytest.param(0.5, marks=pytest.mark.slow), 2.0])
def test_guided_rates_are_the_weights(bias: float) -> None:
    children = random_bits(4, 2, LENGTH)
    count, rate = 20000, 0.01
    flips = flips_of(BitMutation(rate, bias), children, count, jnp.asarray(GUIDE))
    for child, flipped in zip(children, flips.transpose(1, 0, 2), strict=True):
        weights = np.asarray(weights_of(child, GUIDE[0], bias))
        assert weights.max() <= np.exp(2 * bias)
        np.testing.assert_allclose(
            flipped.mean(0), rate * weights, atol=5 * np.sqrt(rate * weights.max() / count)
        )


@quick
@given(seeds, st.floats(0.1, 3))
def test_guidance_changes_which_bits_flip_and_not_how_many(seed: int, bias: float) -> None:
    child = random_bits(seed, LENGTH)
    weights = np.asarray(weights_of(child, GUIDE[0], bias))
    for side, direction in ((child, -1), (~child, 1)):
        if side.any():
            np.testing.assert_allclose(weights[side].mean(), 1, rtol=1e-4)
            steps = direction * np.diff(weights[side])
            assert (steps >= 0).all()  # the scores rise with the place


def test_the_guided_coin_flips_by_the_weights() -> None:
    children = random_bits(5, 2, LENGTH)
    flips = flips_of(CoinMutation(1.0, 1.5), children, 20000, jnp.asarray(GUIDE))
    assert (flips.sum(-1) == 1).all()
    weights = np.asarray(weights_of(children[0], GUIDE[0], 1.5))
    np.testing.assert_allclose(flips[:, 0].mean(0), weights / weights.sum(), atol=0.01)


def test_rankings_are_quantiles_and_equal_scores_share_theirs() -> None:
    guide = guide_from_scores(np.array([[3.0, 1.0, 2.0, 1.0], [0.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(guide[0], [0.875, 0.25, 0.625, 0.25])
    np.testing.assert_allclose(guide[1], 0.5)


def test_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(UserError, match="1 of 2 scores"):
        guide_from_scores(np.array([[1.0, np.nan]]))


@quick
@given(st.floats(0.001, 0.999), st.floats(0, 40))
def test_tilted_probabilities_keep_the_density(density: float, sharpness: float) -> None:
    quantiles = ((np.arange(2000) + 0.5) / 2000).astype(np.float32)
    probabilities = np.asarray(tilted_probabilities(quantiles, density, sharpness))
    np.testing.assert_allclose(probabilities.mean(), density, rtol=2e-3, atol=1e-4)
    assert (np.diff(probabilities) >= 0).all()


@quick
@given(seeds, st.integers(1, LENGTH))
def test_exactly_so_many_ones_are_drawn(seed: int, ones: int) -> None:
    genome = exact(jax.random.key(seed), LENGTH, jnp.int32(ones))
    assert np.asarray(genome).sum() == ones


def test_a_fixed_density_fixes_the_count_and_draws_bits_evenly() -> None:
    genomes = draw(InitialGenomes(LENGTH, (0.3, 0.3)), 5000)
    assert (genomes.sum(1) == 11).all()
    np.testing.assert_allclose(genomes.mean(0), 11 / LENGTH, atol=0.04)


@pytest.mark.parametrize("bounds", [(0.3, 0.7), (0.0, 1.0)])
def test_initial_densities_fill_the_range(bounds: tuple[float, float]) -> None:
    fractions = draw(InitialGenomes(200, bounds), 2000).mean(1)
    low, high = bounds
    assert fractions.min() >= max(low, 1 / 200)
    assert fractions.max() <= high
    np.testing.assert_allclose(
        np.quantile(fractions, [0.25, 0.5, 0.75]),
        low + (high - low) * np.r_[0.25, 0.5, 0.75],
        atol=0.03,
    )


@pytest.mark.parametrize("sharpness", [pytest.param(0.0, marks=pytest.mark.slow), 6.0])
def test_no_initial_genome_is_all_zero(sharpness: float) -> None:
    genomes = draw(InitialGenomes(LENGTH, (0.0, 0.02), sharpness), 300, jnp.asarray(GUIDE))
    assert genomes.any(1).all()


def test_initial_genomes_follow_one_ranking_each() -> None:
    scores = np.stack([np.arange(LENGTH), -np.arange(LENGTH)])
    initial = InitialGenomes(LENGTH, (0.5, 0.5), 12.0)
    guide = jnp.asarray(guide_from_scores(scores))
    genomes = draw(initial, 2000, guide)
    ends = genomes[:, :5].mean(1) - genomes[:, -5:].mean(1)
    assert abs(np.mean(ends > 0) - 0.5) < 0.05  # each ranking as often as the other
    assert (np.abs(ends) > 0.5).mean() > 0.9  # and never a mix of both
    probabilities = jax.jit(initial.probabilities)(guide)
    np.testing.assert_allclose(genomes.mean(0), probabilities, atol=0.05)


@pytest.mark.slow
def test_long_genomes_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    initial = InitialGenomes(LENGTH, (0.2, 0.8))
    whole = draw(initial, 7)
    monkeypatch.setattr("evojax_prune.search.operators.population.BATCH_BITS", 3 * LENGTH)
    jax.clear_caches()
    np.testing.assert_array_equal(draw(initial, 7), whole)


@quick
@given(seeds)
def test_duplicates_become_new_genomes(seed: int) -> None:
    population = random_bits(seed, 5, LENGTH)
    children = random_bits(seed + 1, 6, LENGTH)
    children[1], children[3], children[5] = population[2], children[0], children[0]
    new = np.asarray(renewed(jax.random.key(seed), children, population))
    assert len({row.tobytes() for row in np.concatenate([new, population])}) == 11
    np.testing.assert_array_equal(new[[0, 2, 4]], children[[0, 2, 4]])
    assert ((new != children).sum(1)[[1, 3, 5]] >= 1).all()


def test_duplicates_of_a_full_space_are_let_through() -> None:
    everything = np.array([[0], [1]], bool)
    new = renewed(jax.random.key(0), everything, everything)
    assert new.shape == (2, 1)


@quick
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=9, max_size=9))
def test_order_is_fitness_then_active_bits_then_age(members: list[tuple[int, int]]) -> None:
    fitness = np.array([f for f, _ in members], np.float32)
    active = np.array([a for _, a in members], np.int32)
    expected = sorted(range(len(members)), key=lambda i: members[i])
    order = np.asarray(order_of(fitness, active))
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(np.asarray(places_of(order))[order], range(len(members)))
