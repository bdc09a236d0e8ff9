"""Folds are kept between calls, within a bound, and converted once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import gc
import weakref

import jax.numpy as jnp
import numpy as np
import pytest
from engine_cases import make_head, make_masks, make_splits

from evojax_prune.core.errors import UserError
from evojax_prune.core.head import init_params
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import FoldCache, api, fit_population

SPLITS = make_splits(test_rows=60)
HEAD = make_head("both", SPLITS)
MASKS = make_masks(HEAD, "both")
PROTOCOL = Protocol(epochs=1)


def fresh(seed: int) -> FeatureSplits:
    """The train and selection rows, divided anew."""
    x = np.concatenate([SPLITS.train.x, SPLITS.selection.x])
    y = np.concatenate([SPLITS.train.y, SPLITS.selection.y])
    order = np.random.default_rng(seed).permutation(len(y))
    train, selection = order[:70], order[70:]
    return dataclasses.replace(
        SPLITS,
        train=Split(x[train], y[train]),
        selection=Split(x[selection], y[selection]),
    )


def changed(convert) -> FeatureSplits:
    parts = {name: convert(getattr(SPLITS, name)) for name in ("train", "selection", "test")}
    return dataclasses.replace(SPLITS, **parts)


def test_the_same_splits_head_seed_and_weights_are_one_fold():
    cache, params = FoldCache(), init_params(HEAD, 1)
    (fold,) = cache.folds([SPLITS], HEAD)
    assert cache.folds([SPLITS, SPLITS], HEAD) == [fold, fold]
    others = [
        cache.folds([dataclasses.replace(SPLITS)], HEAD),
        cache.folds([SPLITS], dataclasses.replace(HEAD, hidden=(7, 7))),
        cache.folds([SPLITS], HEAD, seed=1),
        cache.folds([SPLITS], HEAD, params=params),
    ]
    assert len({id(fold), *(id(f) for (f,) in others)}) == 5
    assert cache.folds([SPLITS], HEAD, params=params) == others[-1]
    assert cache.folds([SPLITS], HEAD)[0].params is not params


def test_given_weights_are_not_taken_for_the_seeds():
    own = fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD).loss
    other = {k: {n: 2 * a for n, a in v.items()} for k, v in init_params(HEAD, 0).items()}
    given = fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD, params=other).loss
    assert (given[:2] != own[:2]).all()
    np.testing.assert_array_equal(fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD).loss, own)


def test_a_thousand_fresh_splits_leave_one_fold():
    cache, alive = FoldCache(), []
    for seed in range(1000):
        splits = fresh(seed)
        if seed % 50:
            (fold,) = cache.folds([splits], HEAD)
            assert fold.gram.shape == (70, 70)
            assert fold.cross_gram("selection").shape == (50, 70)
        else:
            fit_population(MASKS, splits, PROTOCOL, head=HEAD, cache=cache)
            (fold,) = cache.folds([splits], HEAD)
        alive.append(weakref.ref(fold))
        assert len(cache) <= 2
        assert cache.nbytes < 2_000_000
    del fold
    gc.collect()
    assert sum(ref() is not None for ref in alive) <= 2


def test_what_was_used_least_recently_goes_when_the_bound_is_reached():
    every = [fresh(seed) for seed in range(1000)]
    size = FoldCache().folds(every[:1], HEAD)[0].nbytes + 4 * 70 * 70
    cache = FoldCache(limit=3 * size)
    first = cache.folds(every[:1], HEAD)[0]
    for splits in every[1:]:
        cache.folds([splits], HEAD)[0].gram  # noqa: B018
        assert cache.folds(every[:1], HEAD) == [first], "in use all the time"
        assert cache.nbytes <= 4 * size, "the newest fold may exceed the bound"
    assert len(cache) <= 4
    assert len(cache.folds(every[:20], HEAD)) == 20
    assert len(cache) == 20, "the folds of the present call stay whatever the bound"
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_all_of_a_calls_folds_find_room():
    cache = FoldCache(limit=0)
    folds = [fresh(seed) for seed in range(3)]
    fits = fit_population(MASKS, folds, PROTOCOL, head=HEAD, cache=cache)
    assert len(fits.folds) == len(cache) == 3
    same = fit_population(MASKS, [folds[0]] * 2, PROTOCOL, head=HEAD, cache=cache)
    for fold in same.folds:
        np.testing.assert_array_equal(fold.loss, fits.folds[0].loss)


def test_threads_share_a_fold():
    cache = FoldCache()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folds = list(pool.map(lambda _: cache.folds([SPLITS], HEAD)[0].gram, range(64)))
    assert len({id(gram) for gram in folds}) == 1


def test_calls_share_a_cache_unless_they_are_given_one():
    splits, own = fresh(0), FoldCache()
    api.FOLDS.clear()
    fit_population(MASKS, splits, PROTOCOL, head=HEAD, cache=own)
    assert (len(own), len(api.FOLDS)) == (1, 0)
    fit_population(MASKS, splits, PROTOCOL, head=HEAD)
    assert len(api.FOLDS) == 1


@pytest.mark.parametrize("labels", [np.int8, np.uint8, np.int16, np.int64, np.uint64])
@pytest.mark.parametrize("features", [np.float64, np.float16, jnp.bfloat16])
def test_labels_of_any_integer_and_features_of_any_float_type(labels, features):
    ours = changed(lambda s: Split(s.x.astype(features), s.y.astype(labels)))
    same = changed(lambda s: Split(s.x.astype(features).astype(np.float32), s.y))
    fits, expected = (fit_population(MASKS, s, PROTOCOL, head=HEAD) for s in (ours, same))
    np.testing.assert_array_equal(fits.loss, expected.loss)
    np.testing.assert_array_equal(fits.accuracy["test"], expected.accuracy["test"])


def test_float32_features_are_not_copied():
    (fold,) = FoldCache().folds([SPLITS], HEAD)
    assert fold.x is SPLITS.train.x
    assert fold.y is SPLITS.train.y


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        (lambda s: Split(s.x, s.y.astype(np.float32)), "floats and integers"),
        (lambda s: Split(s.x, s.y > 0), "floats and integers"),
        (lambda s: Split(s.x.astype(int), s.y), "floats and integers"),
        (lambda s: Split(s.x, s.y.astype(np.uint64) + np.uint64(2**63)), "outside 0 to 2"),
        (lambda s: Split(s.x, s.y[:-1]), "features have shape"),
        (lambda s: Split(s.x[:0], s.y[:0]), "the train split is empty"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_kept(convert, message):
    cache = FoldCache()
    with pytest.raises(ValueError, match=message):
        fit_population(MASKS, changed(convert), PROTOCOL, head=HEAD, cache=cache)
    assert len(cache) == 0


def test_genomes_instead_of_masks_are_answered_in_a_sentence():
    with pytest.raises(UserError, match=r"takes Masks, got ndarray: .* evojax_prune.decode"):
        fit_population(np.ones((2, 40), bool), SPLITS, PROTOCOL, head=HEAD)
    with pytest.raises(ValueError, match="cannot evaluate val"):
        fit_population(MASKS, SPLITS, PROTOCOL, head=HEAD, evaluate=("train", "val"))
