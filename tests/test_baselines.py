"""Baselines against NumPy, scikit-learn and the plain program."""

from __future__ import annotations

import numpy as np
import pytest
from plain import fit_plain

from evojax_prune import baselines
from evojax_prune.baselines import scores
from evojax_prune.baselines.methods import METHODS, Dense
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import HeadSpec, head_spec, init_params
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.core.splits import FeatureSplits, Split

PROTOCOL = Protocol(epochs=4, batch_size=8, learning_rate=0.05)
FEATURES, CLASSES = 8, 3
TRIED = ("weight magnitude", "outgoing weights", "outgoing weights, not retrained")


def splits(seed: int = 0, rows: int = 30) -> FeatureSplits:
    """Three classes told apart by the first two features; the rest is noise."""
    rng = np.random.default_rng(seed)

    def split(n: int) -> Split:
        y = np.arange(n, dtype=np.int32) % CLASSES
        x = rng.normal(size=(n, FEATURES)).astype("f4")
        x[:, 0] += 3 * y
        x[:, 1] -= 2 * (y == 1)
        return Split(x, y)

    return FeatureSplits(split(rows), split(12), split(12), ("a", "b", "c"))


def spec(mode: str) -> HeadSpec:
    return head_spec(mode, FEATURES, CLASSES, (6,) if mode == "features" else (6, 5))


def pruning(mode: str, grain: str = "neurons") -> Pruning:
    return Pruning(spec(mode), MODES[mode], grain)


def method(name: str) -> object:
    return next(m for m in METHODS if m.name == name)


def dense(mode: str, grain: str = "neurons") -> Dense:
    data = splits()
    return Dense(data.train, pruning(mode, grain), 3, init_params(spec(mode), 3))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("grain", ["neurons", "connections"])
def test_parts_make_up_the_genome(mode: str, grain: str) -> None:
    lengths = pruning(mode, grain).parts
    assert sum(lengths) == pruning(mode, grain).genome_length
    genome = np.concatenate([np.arange(n) < round(0.3 * n) for n in lengths])
    fractions = pruning(mode, grain).fractions(genome)
    np.testing.assert_allclose(fractions, [round(0.3 * n) / n for n in lengths])


@pytest.mark.parametrize("mode", MODES)
def test_magnitude_pruning_keeps_the_largest_weights_of_each_layer(mode: str) -> None:
    known = dense(mode)
    keep = tuple(0.4 + 0.2 * i for i in range(len(known.pruning.parts)))
    chosen = method("weight magnitude")
    masks = chosen.masks(chosen.rank(known, 1)(keep), known)
    pruned = [i for i, c in enumerate(masks.connections) if c is not None]
    assert pruned == {"features": [0], "fc1": [1], "fc2": [1], "both": [0, 1]}[mode]
    for layer, fraction in zip(pruned, keep, strict=True):
        weights = np.abs(known.params[f"layer_{layer}"]["kernel"])
        kept = masks.connections[layer][0]
        assert kept.sum() == round(fraction * weights.size)
        assert weights[kept].min() >= weights[~kept].max()


def test_neurons_are_ranked_by_the_weights_on_either_side() -> None:
    known = dense("both")
    kernels = [known.params[f"layer_{i}"]["kernel"] for i in range(3)]
    for name, norms in {
        "incoming weights": [np.sqrt((k**2).sum(0)) for k in kernels[:2]],
        "outgoing weights": [np.sqrt((k**2).sum(1)) for k in kernels[1:]],
    }.items():
        chosen = method(name)
        masks = chosen.masks(chosen.rank(known, 1)((0.5, 0.4)), known)
        for units, norm, count in zip(masks.units, norms, (3, 2), strict=True):
            assert set(np.flatnonzero(units[0])) == set(np.argsort(-norm)[:count])


def test_random_masks_keep_the_fraction_of_each_layer_and_differ() -> None:
    known, chosen = dense("both"), method(baselines.RANDOM)
    genomes = chosen.rank(known, 4)((0.5, 0.4))
    assert genomes.shape == (4, 11)
    assert (genomes[:, :6].sum(1) == 3).all()
    assert (genomes[:, 6:].sum(1) == 2).all()
    assert len(np.unique(genomes, axis=0)) > 1
    np.testing.assert_array_equal(genomes, chosen.rank(known, 4)((0.5, 0.4)))


def test_scikit_learn_finds_the_features_that_tell() -> None:
    from sklearn.feature_selection import SelectKBest, mutual_info_classif

    train = splits(rows=90).train
    for score in (scores.mutual_information, scores.l1_logistic_regression, scores.random_forest):
        assert set(np.argsort(-score(train, 0))[:2]) == {0, 1}, score.__name__

    def informed(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return mutual_info_classif(x, y, random_state=0)

    best = SelectKBest(informed, k=2).fit(train.x, train.y)
    np.testing.assert_array_equal(scores.mutual_information(train, 0), best.scores_)


@pytest.mark.parametrize("mode", ["features", "both"])
def test_the_table_is_what_training_each_head_alone_gives(mode: str) -> None:
    data, head = splits(), spec(mode)
    told: list[int] = []
    tried = (*TRIED, baselines.RANDOM) if mode == "both" else baselines.method_names(mode)
    few = {"fractions": (0.75,), "random_masks": 2, "methods": tried}
    rows = baselines.compare(data, pruning(mode), PROTOCOL, 0.5, 3, **few, progress=told.append)
    assert sum(told) == baselines.count_heads(pruning(mode), 0.5, **few)
    names = [r.name for r in rows if r.at == "same"]
    assert names == [
        f"{baselines.RANDOM}, mean",
        *(n for n in baselines.method_names(mode) if n in tried),
    ]
    assert [r.name for r in rows if r.at == "best"] == names[1:]

    whole = fit_plain(dense_masks(head), 0, data, PROTOCOL, head, 3)
    assert rows[0].name == "dense"
    assert rows[0].test_accuracy == pytest.approx(_accuracy(whole, dense_masks(head), data, head))
    assert rows[0].parameters == head.parameters

    known = Dense(data.train, pruning(mode), 3, whole.params)
    half = (0.5,) * len(known.pruning.parts)
    for name in TRIED:
        chosen = method(name)
        masks = chosen.masks(chosen.rank(known, 2)(half), known)
        fit = fit_plain(masks, 0, data, PROTOCOL, head, 3) if chosen.retrain else whole
        row = next(r for r in rows if (r.name, r.at) == (name, "same"))
        assert row.test_accuracy == pytest.approx(_accuracy(fit, masks, data, head)), name
        assert row.active_fraction == pytest.approx(0.5, abs=0.1)
    for name in names[1:]:
        same, best = (r.selection_accuracy for r in rows if r.name == name)
        assert best >= same


def _accuracy(fit, masks, data: FeatureSplits, head: HeadSpec) -> float:
    return float((fit.logits(data.test.x, masks, 0, head).argmax(1) == data.test.y).mean())


def test_folds_rank_by_their_own_rows_and_are_averaged() -> None:
    folds, pruned = [splits(0), splits(1)], pruning("features")
    wanted = {"methods": ["outgoing weights"], "fractions": ()}
    both = baselines.compare(folds, pruned, PROTOCOL, 0.5, **wanted)
    alone = [baselines.compare(f, pruned, PROTOCOL, 0.5, **wanted) for f in folds]
    for row, *each in zip(both, *alone, strict=True):
        assert row.test_accuracy == pytest.approx(np.mean([r.test_accuracy for r in each]))


def test_bad_requests_are_refused() -> None:
    def compare(fraction: float = 0.5, **more: object) -> None:
        baselines.compare(splits(), pruning("fc1"), PROTOCOL, fraction, **more)

    with pytest.raises(UserError, match="unknown baseline 'forest'"):
        compare(methods=["forest"])
    with pytest.raises(UserError, match="active fraction 0"):
        compare(0.0)
    with pytest.raises(UserError, match="random_masks is 0"):
        compare(random_masks=0)
    with pytest.raises(UserError, match="unknown baseline 'mutual information' for mode 'fc1'"):
        compare(methods=["mutual information"])


def test_random_masks_follow_the_grain() -> None:
    known, chosen = dense("features", "connections"), method(baselines.RANDOM)
    masks = chosen.masks(chosen.rank(known, 2)((0.5,)), known)
    assert masks.connections[0].sum((1, 2)).tolist() == [24, 24]
    assert decode(
        np.ones((1, 48), bool), known.pruning.spec, "features", "connections"
    ).features.all()
