"""Objectives: each by its name, in its own direction; NaN stays NaN."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from evojax_prune.objectives import OBJECTIVES, Scored, penalised

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
