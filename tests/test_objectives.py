"""Objectives: each by its name, in its own direction; NaN stays NaN."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from evojax_prune.core.errors import PluginError
from evojax_prune.core.forward import layers_of
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.mode import MODES
from evojax_prune.core.objective import Objective
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import Split
from evojax_prune.objectives import OBJECTIVES, Measure, Scored, penalised

GENOMES = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]], bool)
ACCURACY = np.array([0.9, 0.8, np.nan])
CROSS_ENTROPY = np.array([0.3, 0.2, np.nan])


@pytest.fixture
def scores() -> Scored:
    fits = SimpleNamespace(
        accuracy={"selection": ACCURACY}, cross_entropy={"selection": CROSS_ENTROPY}
    )
    return Scored(GENOMES, fits, None, ())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "maximised", "values"),
    [("accuracy", True, ACCURACY), ("cross-entropy", False, CROSS_ENTROPY)],
)
def test_scores_of_the_selection_split(
    name: str, maximised: bool, values: np.ndarray, scores: Scored
) -> None:
    measure = OBJECTIVES[name]
    assert measure.objective.maximised is maximised
    np.testing.assert_array_equal(measure.of(scores), values)


def test_size_counts_active_bits_and_is_never_0(scores: Scored) -> None:
    np.testing.assert_array_equal(OBJECTIVES["size"].of(scores), [4, 2, 1])
    assert not OBJECTIVES["size"].objective.maximised
    assert not OBJECTIVES["size"].objective.noisy


@pytest.mark.parametrize(("name", "sign"), [("accuracy", -1), ("cross-entropy", 1)])
def test_size_has_its_price(name: str, sign: int, scores: Scored) -> None:
    free, priced = OBJECTIVES[name], penalised(OBJECTIVES[name], 0.1)
    np.testing.assert_allclose(
        priced.of(scores) - free.of(scores), sign * np.array([0.1, 0.05, np.nan])
    )
    assert "0.1 x active fraction" in priced.objective.label
    assert penalised(free, 0.0) is free


@pytest.mark.parametrize("folds", [1, 2])
def test_other_data_are_told_apart_by_what_each_head_is_sure_of(folds: int) -> None:
    """The largest probability at a temperature of 1,000, of heads with their masks written out."""
    rng = np.random.default_rng(0)
    spec = head_spec("features", 4, 3, (5,))
    trained = [[init_params(spec, 10 * f + p) for p in range(3)] for f in range(folds)]
    layers_of(trained[0][1])[0][0][...] = np.nan  # diverged
    fits = [SimpleNamespace(params=params, folds=None) for params in trained]
    inside = [rng.normal(size=(30, 4)).astype(np.float32) for _ in fits]
    outside = tuple(rng.normal(2, 1, size=(20, 4)).astype(np.float32) for _ in fits)
    scores = Scored(
        GENOMES,
        fits[0] if folds == 1 else SimpleNamespace(folds=fits),  # type: ignore[arg-type]
        Pruning(spec, MODES["features"], "neurons"),
        tuple(Split(x, np.zeros(30, np.int32)) for x in inside),
        outside,
    )
    expected = np.zeros(3)
    for params, *both in zip(trained, inside, outside, strict=True):
        for p, head in enumerate(params):
            (first, bias), (last, shift) = layers_of(head)
            sure = [
                softmax(
                    (
                        np.maximum(x * GENOMES[p] @ first + (0 if bias is None else bias), 0) @ last
                        + (0 if shift is None else shift)
                    )
                    / 1000,
                    1,
                ).max(1)
                for x in both
            ]
            truth = np.repeat([1, 0], [30, 20])
            finite = np.isfinite(first).all()
            expected[p] += roc_auc_score(truth, np.concatenate(sure)) / folds if finite else np.nan
    assert np.isnan(expected[1])
    np.testing.assert_allclose(OBJECTIVES["ood"].of(scores), expected, atol=0.02)


@pytest.mark.parametrize("given", [None, "abc", [1.0], np.ones((3, 1)), ["a", "b", "c"]])
def test_an_objective_gives_one_number_per_genome(given: object, scores: Scored) -> None:
    measure = Measure(Objective("mine", "label"), lambda _: given)  # type: ignore[arg-type, return-value]
    with pytest.raises(PluginError, match=r"the objective mine gives .* expected 3 numbers"):
        measure.values(scores)
    assert Measure(measure.objective, lambda _: [1, 2, 3]).values(scores).dtype == np.float64  # type: ignore[arg-type, return-value]
