"""Recursive elimination against its definition, and what it finds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evojax_prune.baselines import Elimination, Step, elimination_sizes, recursive_elimination
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import head_spec
from evojax_prune.core.masks import apply_mask
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import Fits, fit_population
from evojax_prune.sensitivity import sensitivities, unit_moments

PROTOCOL = Protocol(epochs=6, batch_size=16, learning_rate=0.05)


def fold(seed: int, rows: int = 60, features: int = 20) -> FeatureSplits:
    """Three classes told apart by the first three features."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows, dtype=np.int32) % 3
    x = rng.normal(size=(rows, features)).astype("f4")
    x[:, :3] += 2 * np.eye(3, dtype="f4")[y]
    part = Split(x, y)
    return FeatureSplits(part, part, part, ("a", "b", "c"))


def pruning_of(mode: str, grain: str = "neurons") -> Pruning:
    hidden = (12,) if mode == "features" else (12, 10)
    return Pruning(head_spec(mode, 20, 3, hidden), MODES[mode], grain)


class Fitter:
    """Trains what it is asked, and remembers it."""

    def __init__(self, pruning: Pruning, folds: list[FeatureSplits]):
        self.pruning, self.folds = pruning, folds
        self.genomes: list[np.ndarray] = []

    def __call__(self, genomes: np.ndarray) -> Fits:
        self.genomes.append(genomes[0])
        folds = self.folds if len(self.folds) > 1 else self.folds[0]
        masks = self.pruning.masks(genomes)
        return fit_population(masks, folds, PROTOCOL, head=self.pruning.spec, return_params=True)


def eliminate(mode: str, folds: list[FeatureSplits], **more) -> tuple[Elimination, Fitter]:
    pruning = pruning_of(mode)
    fit = Fitter(pruning, folds)
    return recursive_elimination(fit, pruning, [f.train for f in folds], **more), fit


@pytest.mark.parametrize("mode", MODES)
def test_it_is_what_its_definition_says(mode: str) -> None:
    data, pruning = fold(0), pruning_of(mode)
    found, fit = eliminate(mode, [data], least=4)
    assert found.trainings == len(fit.genomes) == len(elimination_sizes(pruning.parts, least=4)) - 1
    active = [np.ones(part, bool) for part in pruning.parts]
    for step, trained in enumerate(fit.genomes):
        np.testing.assert_array_equal(trained, np.concatenate(active))
        np.testing.assert_array_equal(trained, found.genomes[step])
        masks = pruning.masks(trained[None])
        params = apply_mask(fit(trained[None]).params[0], masks, 0)
        fit.genomes.pop()
        for bits, group in zip(active, pruning.mode.groups, strict=True):
            deviation = np.sqrt(unit_moments(params, data.train.x, group)[1])
            score = sensitivities(params, data.train.x, p=2.0, layer=group).scores(2.0) * deviation
            score[~bits] = -1
            keep = max(min(4, bits.sum()), int(bits.sum() * 0.7))
            bits[np.argsort(-score, kind="stable")[keep:]] = False
    np.testing.assert_array_equal(found.genomes[-1], np.concatenate(active))


@pytest.mark.parametrize("mode", ["features", "both"])
def test_the_ranking_cut_at_each_size_is_that_steps_genome(mode: str) -> None:
    folds = [fold(0), fold(1)]
    found, _ = eliminate(mode, folds)
    again, _ = eliminate(mode, folds)
    pruning = pruning_of(mode)
    for scores, same, part in zip(found.scores, again.scores, pruning.parts, strict=True):
        np.testing.assert_array_equal(scores, same)
        assert sorted(scores) == list(range(part))
    for genome in found.genomes:
        fractions = pruning.fractions(genome)
        np.testing.assert_array_equal(pruning.keep(found.scores, fractions), genome)
    assert found.epochs == 2 * 6 * found.trainings


def test_it_finds_the_features_that_tell() -> None:
    found, _ = eliminate("features", [fold(0, rows=120)], least=3)
    assert set(np.flatnonzero(found.genomes[-1])) == {0, 1, 2}
    assert set(np.argsort(-found.scores[0])[:3]) == {0, 1, 2}


def test_a_constant_feature_goes_first() -> None:
    data = fold(0)
    data.train.x[:, 1] = 5.0
    found, _ = eliminate("features", [data])
    assert found.scores[0][1] == 0


def test_each_step_is_told() -> None:
    told: list[Step] = []
    found, _ = eliminate("features", [fold(0)], on_step=told.append)
    assert [s.number for s in told] == list(range(1, found.trainings + 1))
    assert {s.of for s in told} == {found.trainings}
    np.testing.assert_array_equal([s.genome for s in told], found.genomes[:-1])


def test_sizes_of_the_default_backbone() -> None:
    sizes = elimination_sizes((1280,))
    assert [s for (s,) in sizes][:4] == [1280, 896, 627, 438]
    assert (len(sizes) - 1, sizes[-1]) == (14, (8,))
    assert elimination_sizes((5, 3)) == [(5, 3), (5, 3)]  # one training ranks them


@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=2),
    st.floats(0.01, 0.99),
    st.integers(1, 20),
)
def test_sizes_fall_to_the_least(parts: list[int], drop: float, least: int) -> None:
    sizes = elimination_sizes(parts, drop, least)
    assert len(sizes) > 1
    assert sizes[-1] == tuple(min(least, part) for part in parts)
    for before, after in itertools.pairwise(sizes):
        assert all(1 <= b <= a for a, b in zip(before, after, strict=True))


def test_bad_requests_are_refused() -> None:
    with pytest.raises(UserError, match="drop is 1"):
        eliminate("features", [fold(0)], drop=1.0)
    with pytest.raises(UserError, match="least is 0"):
        eliminate("features", [fold(0)], least=0)
    pruning = pruning_of("fc2", "connections")
    with pytest.raises(UserError, match="grain neurons"):
        recursive_elimination(Fitter(pruning, []), pruning, [])
