"""Pruning by sensitivities, with the engine, on small real data."""

import numpy as np
import pytest

from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.ranking import keep_best
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import fit_population
from evojax_prune.sensitivity import sensitivities, sensitivity_scores

QUICK = Protocol(epochs=15, learning_rate=2e-2, patience=0)


@pytest.fixture(scope="module")
def digits():
    """The 64 pixels of scikit-learn's digits as features."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 16).astype(np.float32), y[order].astype(np.int32)
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 600), (600, 1000), (1000, 1797))]
    return FeatureSplits(*parts, classes=tuple("0123456789"))


@pytest.mark.parametrize("mode", ["features", "fc1", "fc2", "both"])
def test_genomes_keep_the_best_units_of_each_pruned_layer(mode):
    spec = head_spec(mode, 12, 3, (10, 8))
    params = init_params(spec, 0)
    x = np.random.default_rng(0).normal(size=(30, 12)).astype(np.float32)
    split = Split(x, np.zeros(30, np.int32))
    layers = sensitivity_scores([params], [split], MODES[mode], [1.0])
    pruning, scores = Pruning(spec, MODES[mode]), [layer[0] for layer in layers]
    genomes = np.stack([pruning.keep(scores, (keep,) * len(scores)) for keep in (0.5, 1.0)])
    masks = pruning.masks(genomes)  # the length fits, or this raises
    active = (masks.features, *masks.units)
    for layer in {"features": (0,), "fc1": (1,), "fc2": (2,), "both": (1, 2)}[mode]:
        scores = sensitivities(params, x, p=1.0, layer=layer).scores(1.0)
        np.testing.assert_array_equal(active[layer][0], keep_best(scores, 0.5))
    assert genomes[1].all()


def test_scores_of_folds_are_averaged():
    spec = head_spec("features", 6, 2, (4,))
    heads = [init_params(spec, seed) for seed in (0, 1)]
    rng = np.random.default_rng(0)
    rows = [Split(rng.normal(size=(9, 6)).astype(np.float32), np.zeros(9, int)) for _ in heads]
    mean = np.mean(
        [sensitivities(h, r.x, p=2.0).scores(2.0) for h, r in zip(heads, rows, strict=True)], 0
    )
    (scores,) = sensitivity_scores(heads, rows, MODES["features"], [2.0])
    np.testing.assert_array_equal(scores[0], mean)


def test_the_lowest_are_missed_less_than_random_ones_and_much_less_than_the_highest(digits):
    spec = head_spec("features", 64, 10, (64,))
    dense = fit_population(dense_masks(spec), digits, QUICK, head=spec, return_params=True)
    scores = sensitivities(dense.params[0], digits.train.x, p=2.0).scores(2.0)
    keeps = (0.5, 0.3)
    random = [np.random.default_rng(seed).permutation(64) for seed in range(4)]
    orders = [scores, *random, -scores]
    pruning = Pruning(spec, MODES["features"])
    genomes = np.stack([pruning.keep([order], (keep,)) for order in orders for keep in keeps])
    fits = fit_population(pruning.masks(genomes), digits, QUICK, head=spec, evaluate=("test",))
    accuracy = fits.accuracy["test"].reshape(len(orders), len(keeps)).mean(1)
    lowest_dropped, random_dropped, highest_dropped = accuracy[0], accuracy[1:-1], accuracy[-1]
    assert lowest_dropped > random_dropped.max()
    assert highest_dropped < random_dropped.mean() - 0.1
