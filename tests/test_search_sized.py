"""Operators that respect a genome's size, and first genomes out of rankings."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evojax_prune.search.operators.duplicates import replace_duplicates
from evojax_prune.search.operators.initial import some_of
from evojax_prune.search.operators.ranked import RankedGenomes
from evojax_prune.search.operators.sized import NearSwapMutation, SwapMutation, highest, sized
from evojax_prune.search.result import consensus

LENGTH = 40
KEY = jax.random.key(0, impl="threefry2x32")
# Compiled whole: an operation at a time takes longer.
breed = jax.jit(sized)
some = jax.jit(some_of)
best = jax.jit(highest)
replaced = jax.jit(partial(replace_duplicates, keep_size=True))
Bits = st.lists(st.booleans(), min_size=LENGTH, max_size=LENGTH)


def keys(seed: int) -> jax.Array:
    return jax.random.fold_in(KEY, seed)


@settings(max_examples=40, deadline=None)
@given(Bits, Bits, st.integers(0, 10**6))
def test_children_keep_what_is_agreed_and_sizes_in_between(
    one: list[bool], other: list[bool], seed: int
) -> None:
    parents = np.array([one, other])
    children = np.asarray(breed(keys(seed), jnp.asarray(parents)))
    low, high = sorted(parents.sum(1))
    for child in children:
        assert (child >= parents.all(0)).all()
        assert (child <= parents.any(0)).all()
        assert low <= child.sum() <= max(high, 1)


def test_sizes_between_parents_are_even_on_a_log_scale() -> None:
    parents = np.zeros((2, 400), bool)
    parents[0, :4], parents[1, :] = True, True
    draw = jax.jit(jax.vmap(sized, (0, None)))
    draws = draw(jax.random.split(KEY, 400), jnp.asarray(parents))
    sizes = np.log(np.asarray(draws).sum(2).ravel())
    assert np.mean(sizes) == pytest.approx((np.log(4) + np.log(400)) / 2, abs=0.15)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(Bits, st.integers(0, 10**6), st.booleans())
def test_swaps_keep_the_size_and_change_something(
    bits: list[bool], seed: int, guided: bool
) -> None:
    children = np.array([bits, bits])
    guide = jnp.linspace(0, 1, LENGTH)[None] if guided else None
    mutate = SwapMutation(0.1, 8.0 if guided else 0.0)
    changed = np.asarray(mutate(keys(seed), jnp.asarray(children), guide))
    np.testing.assert_array_equal(changed.sum(1), children.sum(1))
    if 0 < sum(bits) < LENGTH:
        assert (changed != children).any(1).all()


def test_a_guided_swap_prefers_high_quantiles_and_changes_something() -> None:
    child = np.zeros((2, 200), bool)
    child[:, ::10] = True
    guide = jnp.linspace(0, 1, 200)[None]
    draw = jax.jit(jax.vmap(SwapMutation(0.2, 8.0), (0, None, None)))
    draws = draw(jax.random.split(KEY, 200), jnp.asarray(child), guide)
    added = np.asarray(draws) & ~child
    assert (np.asarray(draws).sum(2) == 20).all()
    assert (added.sum(2) >= 1).all()
    assert np.average(np.linspace(0, 1, 200), weights=added.sum((0, 1))) > 0.8


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_a_near_swap_draws_by_place_in_units_of_the_size(bias: float) -> None:
    """Both frequencies against the formula, where one bit is exchanged for one."""
    size, draws = 4, 4000
    child = np.zeros((2, LENGTH), bool)
    places = np.arange(LENGTH)
    child[:, [0, 3, 9, 30]] = True
    guide = jnp.asarray((LENGTH - places) / LENGTH, jnp.float32)[None]  # place 0 is the best
    draw = jax.jit(jax.vmap(NearSwapMutation(1e-6, bias), (0, None, None)))
    drawn = np.asarray(draw(jax.random.split(KEY, draws // 2), jnp.asarray(child), guide))
    assert (drawn.sum(2) == size).all()
    far = 1 + places / size
    for bits, weights in (
        (drawn & ~child, far**-bias * ~child[0]),
        (child & ~drawn, (far if bias else np.ones(LENGTH)) * child[0]),
    ):
        expected = weights / weights.sum()
        error = np.sqrt(expected * (1 - expected) / draws)
        assert (np.abs(bits.sum((0, 1)) / draws - expected) <= 4.5 * error).all()


def test_some_of_and_highest_are_exact() -> None:
    bits = np.arange(LENGTH) % 3 == 0
    for count in (0, 1, 7, int(bits.sum())):
        chosen = np.asarray(some(KEY, jnp.asarray(bits), jnp.int32(count)))
        assert chosen.sum() == count
        assert (chosen <= bits).all()
        scores = np.random.default_rng(0).normal(size=LENGTH).astype(np.float32)
        top = np.asarray(best(jnp.asarray(scores), jnp.asarray(bits), jnp.int32(count)))
        expected = np.flatnonzero(bits)[np.argsort(-scores[bits])][:count]
        assert set(np.flatnonzero(top)) == set(expected)


@pytest.mark.parametrize("bias", [0.0, 3.0])
def test_a_swap_is_what_its_own_draws_give(bias: float) -> None:
    """Both draws are made at once; seeded searches must not notice."""
    child = np.random.default_rng(1).random((2, LENGTH)) < 0.3
    guide = np.random.default_rng(2).random((1, LENGTH)).astype(np.float32)
    found = jax.jit(SwapMutation(0.2, bias))(KEY, jnp.asarray(child), jnp.asarray(guide))
    _, *keys = jax.random.split(KEY, 3)
    for key, before, after in zip(keys, child, np.asarray(found), strict=True):
        _, key_off, key_on = jax.random.split(key, 3)
        count = jnp.int32((before & ~after).sum())
        off = some(key_off, jnp.asarray(before), count)
        on = some(key_on, jnp.asarray(~before), count)
        if bias:
            noisy = bias * guide[0] + jax.random.gumbel(key_on, (LENGTH,), jnp.float32)
            on = best(noisy, jnp.asarray(~before), count)
        np.testing.assert_array_equal(after, before ^ np.asarray(off) ^ np.asarray(on))


def test_first_genomes_take_the_best_bits_at_many_sizes() -> None:
    guide = np.stack([np.linspace(0, 1, 512), np.linspace(1, 0, 512)]).astype(np.float32)
    draw = jax.jit(RankedGenomes(512).population, static_argnums=1)
    drawn = np.asarray(draw(KEY, 40, jnp.asarray(guide)))
    sizes = drawn.sum(1)
    assert sizes[-1] == 512  # the dense head
    assert sizes.min() <= 6
    counts, _ = np.histogram(np.log(sizes[:-1]), bins=4, range=(np.log(4), np.log(513)))
    assert counts.min() >= 8  # stratified
    top = np.argsort(-guide[0])[: sizes[0]]
    assert set(np.flatnonzero(drawn[0])) == set(top)  # the first ranking, without noise
    for member in np.flatnonzero(sizes[:-1] >= 30):
        top = np.argsort(-guide[member % 2])[: sizes[member]]
        chance = sizes[member] / 512
        follows = (drawn[member][top].mean() - chance) / (1 - chance)  # 0 for a random genome
        assert (follows > 0.3) == (member % 10 != 9), "one of ten is random"


def test_first_genomes_of_a_front_take_every_ranking_at_every_size() -> None:
    guide = np.random.default_rng(0).permuted(np.tile(np.linspace(0, 1, 512), (3, 1)), axis=1)
    first = RankedGenomes(512, varied=False)
    draw = jax.jit(first.population, static_argnums=1)
    drawn = np.asarray(draw(KEY, 122, jnp.asarray(guide, jnp.float32)))
    sizes = drawn.sum(1)
    for member, size in enumerate(sizes[:-1]):
        top = np.argsort(-guide[member % 3])[:size]
        assert set(np.flatnonzero(drawn[member])) == set(top)
    assert sizes[-1] == 512
    for ranking in range(3):
        own = np.log(sizes[ranking:-1:3])
        counts, _ = np.histogram(own, bins=4, range=(np.log(4), np.log(513)))
        assert counts.min() >= 9  # of 40 or 41
    assert np.corrcoef(np.log(sizes[:-1:3]), np.arange(len(sizes[:-1:3])))[0, 1] < 0.6  # shuffled


@pytest.mark.slow
def test_first_genomes_of_one_size() -> None:
    guide = np.random.default_rng(0).random((3, 64)).astype(np.float32)
    drawn = RankedGenomes(64, (0.125, 0.125)).population(KEY, 30, jnp.asarray(guide))
    assert set(np.asarray(drawn).sum(1)) == {8}


def test_copies_are_replaced_at_their_size() -> None:
    population = np.zeros((3, LENGTH), bool)
    population[:, :5] = True
    children = jnp.asarray(population)
    changed = np.asarray(replaced(KEY, children, jnp.asarray(population)))
    assert len(np.unique(np.concatenate([changed, population[:1]]), axis=0)) == 4
    np.testing.assert_array_equal(changed.sum(1), 5)


def test_a_copy_without_a_bit_to_exchange_loses_one() -> None:
    full = np.ones((3, LENGTH), bool)
    children = full.copy()
    children[1, 0], children[2, :2] = False, False
    sizes = np.asarray(replaced(KEY, children, full)).sum(1)
    assert (LENGTH - sizes).tolist() == [1, 1, 2]


def test_consensus_takes_the_most_frequent_bits() -> None:
    population = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], bool)
    assert consensus(population, 1).tolist() == [True, False, False, False]
    assert consensus(population, 2).tolist() == [True, True, False, False]  # ties: the first
    scored = consensus(population, 2, np.array([0.0, 0.1, 0.2, 0.9]))
    assert scored.tolist() == [True, False, False, True]
