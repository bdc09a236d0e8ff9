"""Fitness is maximised, and NaN stays NaN."""

from __future__ import annotations

import numpy as np
import pytest

from evojax_prune.objectives.fitness import fitness

ACCURACY = np.array([0.9, 0.8, np.nan])
CROSS_ENTROPY = np.array([0.3, 0.2, np.nan])
ACTIVE = np.array([1.0, 0.5, 0.1])


def test_accuracy_is_the_default() -> None:
    np.testing.assert_array_equal(fitness(ACCURACY, CROSS_ENTROPY, ACTIVE), ACCURACY)


def test_less_cross_entropy_is_fitter() -> None:
    got = fitness(ACCURACY, CROSS_ENTROPY, ACTIVE, "cross-entropy")
    assert np.nanargmax(got) == 1


@pytest.mark.parametrize("objective", ["accuracy", "cross-entropy"])
def test_size_has_its_price(objective: str) -> None:
    free = fitness(ACCURACY, CROSS_ENTROPY, ACTIVE, objective)
    priced = fitness(ACCURACY, CROSS_ENTROPY, ACTIVE, objective, 0.1)
    np.testing.assert_allclose(free - priced, [0.1, 0.05, np.nan])
