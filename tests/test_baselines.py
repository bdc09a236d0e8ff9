"""Baselines against NumPy, scikit-learn and the plain program."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from plain import fit_plain

from evojax_prune import baselines
from evojax_prune.baselines import RANKINGS, Dense, Ranking, rank_bits, ranking_names
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import HeadSpec, head_spec, init_params
from evojax_prune.core.masks import dense_masks
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import Fits, fit_population
from evojax_prune.sensitivity import sensitivities

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


def no_fit(genomes: np.ndarray) -> object:
    raise AssertionError("a ranking trained that must not")


def dense(mode: str, grain: str = "neurons") -> Dense:
    data = splits()
    return Dense(data.train, init_params(spec(mode), 3), pruning(mode, grain), 3, no_fit)


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
    chosen = RANKINGS["weight magnitude"]
    of_weights = chosen.pruning(known.pruning)
    masks = of_weights.masks(of_weights.keep(chosen.rank(known), keep)[None])
    pruned = [i for i, c in enumerate(masks.connections) if c is not None]
    assert pruned == {"features": [0], "fc1": [1], "fc2": [1], "both": [0, 1]}[mode]
    for layer, fraction in zip(pruned, keep, strict=True):
        weights = np.abs(known.params[f"layer_{layer}"]["kernel"])
        kept = masks.connections[layer][0]
        assert kept.sum() == round(fraction * weights.size)
        assert weights[kept].min() >= weights[~kept].max()


def test_units_are_ranked_by_the_weights_on_either_side() -> None:
    known = dense("both")
    kernels = [known.params[f"layer_{i}"]["kernel"].astype(float) for i in range(3)]
    x = known.train.x.astype(float)
    first = np.maximum(x @ kernels[0], 0)
    second = np.maximum(first @ kernels[1], 0)
    outgoing = [np.sqrt((k**2).sum(1)) for k in kernels[1:]]
    for name, norms in {
        "incoming weights": [np.sqrt((k**2).sum(0)) for k in kernels[:2]],
        "outgoing weights": outgoing,
        "outgoing weights x std": [
            n * u.std(0) for n, u in zip(outgoing, (first, second), strict=True)
        ],
    }.items():
        for found, expected in zip(RANKINGS[name].rank(known), norms, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, err_msg=name)


EVERY_MODE = pytest.mark.parametrize(
    "mode",
    ["features", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("fc1", "fc2", "both"))],
)


@EVERY_MODE
def test_sensitivities_rank_each_pruned_group_by_every_norm(mode: str) -> None:
    known = dense(mode)
    for p in (1.0, 2.0, np.inf):
        found = RANKINGS[f"sensitivity p={p:g}"].rank(known)
        for group, scores in zip(known.pruning.mode.groups, found, strict=True):
            alone = sensitivities(known.params, known.train.x, p=p, layer=group).scores(p)
            np.testing.assert_allclose(scores, alone, rtol=1e-6)
    times = RANKINGS["sensitivity x std"].rank(known)
    for group, scores in zip(known.pruning.mode.groups, times, strict=True):
        weighted = sensitivities(known.params, known.train.x, p=2, layer=group, weighting="std")
        np.testing.assert_allclose(scores, weighted.scores(2.0), rtol=1e-6)


@EVERY_MODE
def test_every_ranking_scores_every_bit_of_its_modes(mode: str) -> None:
    known = dataclasses.replace(dense(mode), fit=fitter(mode))
    for name, ranking in RANKINGS.items():
        assert ranking.name == name
        if mode in ranking.modes:
            scores = ranking.rank(known)
            parts = ranking.pruning(known.pruning).parts
            assert [s.shape for s in scores] == [(part,) for part in parts], name
            assert all(s.dtype == np.float64 and not np.isnan(s).any() for s in scores), name


def test_what_has_no_score_is_ranked_last() -> None:
    known = dense("features")
    x = known.train.x.copy()
    x[:, 5] = 7
    known = dataclasses.replace(known, train=Split(x, known.train.y))
    for name in ("ANOVA F", "group lasso"):
        assert np.argmin(RANKINGS[name].rank(known)[0]) == 5
        assert rank_bits([name], [known])[0, 5] == 1 / FEATURES


def fitter(mode: str) -> object:
    def fit(genomes: np.ndarray) -> Fits:
        masks = pruning(mode).masks(genomes)
        return fit_population(masks, splits(), PROTOCOL, head=spec(mode), return_params=True)

    return fit


def test_rankings_for_a_search_are_quantiles_of_each_part_over_folds() -> None:
    heads = [
        dense("both"),
        dataclasses.replace(dense("both"), params=init_params(spec("both"), 9)),
    ]
    found = rank_bits(["outgoing weights", "sensitivity p=1"], heads)
    assert found.shape == (2, 11)
    each = [RANKINGS["outgoing weights"].rank(h) for h in heads]
    expected = np.mean(
        [np.concatenate([(np.argsort(np.argsort(s)) + 1) / len(s) for s in e]) for e in each], 0
    )
    np.testing.assert_allclose(found[0], expected)
    with pytest.raises(UserError, match="unknown ranking 'weight magnitude'"):
        rank_bits(["weight magnitude"], heads)
    assert ranking_names(pruning("both", "connections")) == ("weight magnitude",)


def test_one_line_registers_a_ranking(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Ranking("mine", lambda d: [np.arange(FEATURES)], ("features",))
    monkeypatch.setitem(RANKINGS, "mine", mine)
    rows = baselines.compare(
        splits(), pruning("features"), PROTOCOL, 0.5, methods=["mine"], fractions=()
    )
    assert [(r.name, r.at) for r in rows] == [
        ("dense", "whole"),
        ("mine", "same"),
        ("mine", "best"),
    ]


@pytest.mark.parametrize("mode", ["features", pytest.param("both", marks=pytest.mark.slow)])
def test_the_table_is_what_training_each_head_alone_gives(mode: str) -> None:
    data, head = splits(), spec(mode)
    told: list[int] = []
    tried = (*TRIED, baselines.RANDOM) if mode == "both" else baselines.method_names(mode)
    genome = np.arange(pruning(mode).genome_length) % 2 == 0
    few = {"fractions": (0.75,), "random_masks": 2, "methods": tried}
    rows = baselines.compare(
        data, pruning(mode), PROTOCOL, 0.5, 3, found=genome, **few, progress=told.append
    )
    assert sum(told) == baselines.count_heads(pruning(mode), 0.5, **few)
    plain = [r for r in rows if r.name.startswith("logistic")]
    assert [(r.name, r.at, r.parameters) for r in plain] == [
        (baselines.LOGISTIC, "whole", 27),
        (baselines.LOGISTIC_FOUND, "same", 15),
    ][: 2 * (mode == "features")]
    names = [r.name for r in rows if r.at == "same" and r not in plain]
    assert names == [
        f"{baselines.RANDOM}, mean",
        *(n for n in baselines.method_names(mode) if n in tried and n != baselines.LOGISTIC),
    ]
    assert [r.name for r in rows if r.at == "best"] == names[1:]

    whole = fit_plain(dense_masks(head), 0, data, PROTOCOL, head, 3)
    assert rows[0].name == "dense"
    assert rows[0].test_accuracy == pytest.approx(_accuracy(whole, dense_masks(head), data, head))
    assert rows[0].parameters == head.parameters

    known = Dense(data.train, whole.params, pruning(mode), 3, no_fit)
    half = (0.5,) * len(known.pruning.parts)
    for name in TRIED:
        chosen = RANKINGS[name.removesuffix(", not retrained")]
        own = chosen.pruning(known.pruning)
        masks = own.masks(own.keep(chosen.rank(known), half)[None])
        fit = fit_plain(masks, 0, data, PROTOCOL, head, 3) if chosen.name == name else whole
        row = next(r for r in rows if (r.name, r.at) == (name, "same"))
        assert row.test_accuracy == pytest.approx(_accuracy(fit, masks, data, head)), name
        assert row.active_fraction == pytest.approx(0.5, abs=0.1)
    for name in names[1:]:
        same, best = (r.selection_accuracy for r in rows if r.name == name)
        assert best >= same


def _accuracy(fit, masks, data: FeatureSplits, head: HeadSpec) -> float:
    return float((fit.logits(data.test.x, masks, 0).argmax(1) == data.test.y).mean())


def test_folds_rank_by_their_own_rows_and_are_averaged() -> None:
    folds, pruned = [splits(0), splits(1)], pruning("features")
    wanted = {"methods": ["outgoing weights"], "fractions": ()}
    both = baselines.compare(folds, pruned, PROTOCOL, 0.5, **wanted)
    alone = [baselines.compare(f, pruned, PROTOCOL, 0.5, **wanted) for f in folds]
    for row, *each in zip(both, *alone, strict=True):
        assert row.test_accuracy == pytest.approx(np.mean([r.test_accuracy for r in each]))


def test_judged_elsewhere_only_what_the_rows_show_is_trained_for_test() -> None:
    data, other, told = splits(0), splits(1), []
    names = ["weight magnitude", "ANOVA F", baselines.POLYNOMIAL, baselines.RANDOM]
    wanted = {"methods": names, "random_masks": 1}
    at = {"fractions": (0.25, 0.75), **wanted}
    rows = baselines.compare(
        data, pruning("features"), PROTOCOL, 0.5, judged=[other], **at, progress=told.append
    )
    selected = baselines.compare(other, pruning("features"), PROTOCOL, 0.5, **at)
    assert [(r.name, r.at, r.selection_accuracy, r.parameters, r.heads) for r in rows] == [
        (r.name, r.at, r.selection_accuracy, r.parameters, r.heads) for r in selected
    ]
    elsewhere = 0
    for row in rows[1:]:
        level = next(f for f in (0.25, 0.5, 0.75) if row.active_fraction == pytest.approx(f))
        elsewhere += row.at == "best" and level != 0.5
        alone = baselines.compare(
            data, pruning("features"), PROTOCOL, level, fractions=(), **wanted
        )
        (same,) = (r for r in alone if r.name == row.name and r.at == "same")
        assert row.test_accuracy == same.test_accuracy
    assert elsewhere  # or nothing was chosen
    most = baselines.count_heads(pruning("features"), 0.5, judged=1, **at)
    assert sum(told) == most - (len(names) - elsewhere)


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


def test_random_masks_follow_the_grain_keep_the_fraction_and_repeat() -> None:
    def row(grain: str) -> list[baselines.BaselineRow]:
        few = {"methods": [baselines.RANDOM], "fractions": (), "random_masks": 3}
        return baselines.compare(splits(), pruning("fc2", grain), PROTOCOL, 0.4, 1, **few)

    units, weights = row("neurons"), row("connections")
    assert units == row("neurons")
    assert units[1].active_fraction == pytest.approx(2 / 5)
    assert weights[1].active_fraction == pytest.approx(12 / 30)
    assert units[1].heads == 3
    assert weights[1].parameters == spec("fc2").parameters - 18
