"""Fitness: what the search maximises."""

from __future__ import annotations

from typing import Literal

import numpy as np

Fitness = Literal["accuracy", "cross-entropy"]
"""What the search maximises on the selection split (of the cross-entropy, its negative)."""


def fitness(
    accuracy: np.ndarray,
    cross_entropy: np.ndarray,
    active_fraction: np.ndarray,
    objective: Fitness = "accuracy",
    size_penalty: float = 0.0,
) -> np.ndarray:
    """Fitness of a population from its scores on the selection split; higher is better.

    Args:
        accuracy: ``float64 [P]``, fraction of rows classified rightly.
        cross_entropy: ``float64 [P]``, mean negative log-likelihood, nats.
        active_fraction: ``float64 [P]``, active bits of each genome / its length.
        objective: ``accuracy``, or ``cross-entropy``, whose negative is taken.
        size_penalty: taken off for each unit of active fraction.

    Returns:
        ``float64 [P]``; NaN where the score is NaN (training diverged), which no search may prefer.
    """
    score = accuracy if objective == "accuracy" else -cross_entropy
    return np.asarray(score, np.float64) - size_penalty * np.asarray(active_fraction, np.float64)
