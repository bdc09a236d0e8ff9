"""Which heads stopped before they had learned what they could."""

from __future__ import annotations

import dataclasses

import numpy as np

from evojax_prune.core.outcome import Outcome
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.ranking import standard_error
from evojax_prune.methods.found import Found
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem

LAG = 0.01
"""Training loss, nats, by which a head may lag behind a head that it contains."""

GAIN = 0.01
"""Selection accuracy that a head may gain in the second half of its training."""

ERRORS = 2.0
"""Standard errors of an accuracy above which the gain counts. A difference of two accuracies on the
same rows has about the error of one of them: they are correlated by a half or so."""


def unfinished(problem: Problem, found: Found, observer: Observer) -> frozenset[str]:
    """Those of the heads in the table whose training has not converged.

    A head can do whatever the heads can that it contains, so a higher training loss is not its
    best. And a head that still gained selection accuracy in the second half of its training would
    gain from more; the training loss alone does not tell, as that of a small head falls long after
    its accuracy has stopped to rise.

    Args:
        problem: what was pruned, on which data.
        found: the heads.
        observer: told how far it is.

    Returns:
        Some of ``dense``, ``random``, ``ranking``, ``best``.
    """
    heads = {"dense": found.dense, "random": found.random, "best": found.pruned}
    if found.ranking is not None:
        heads["ranking"] = found.ranking[1]
    gains = _gains(problem, list(heads.values()), observer)
    return frozenset(
        name
        for (name, head), gain in zip(heads.items(), gains, strict=True)
        if any(_lags(head, other) for other in heads.values())
        or gain > max(GAIN, ERRORS * standard_error(head.selection, problem.judging_rows))
    )


def half(protocol: Protocol) -> Protocol | None:
    """A protocol of half the epochs; None of a single one."""
    if protocol.epochs < 2:
        return None
    return dataclasses.replace(protocol, epochs=protocol.epochs // 2, steps=protocol.steps // 2)


def _gains(problem: Problem, heads: list[Outcome], observer: Observer) -> np.ndarray:
    """Selection accuracy ``float64 [n]`` less what half the training gives; 0 of a single epoch."""
    protocol = half(problem.training.final_protocol)
    if protocol is None:
        return np.zeros(len(heads))
    genomes, trainings = np.stack([head.genome for head in heads]), problem.trainings
    with observer.stage("trained half as long", len(heads), "heads", trainings) as shown:
        accuracy = problem.selection_accuracy(genomes, protocol, shown.advance)
        shown.finish()
    return np.array([head.selection for head in heads]) - accuracy


def _lags(head: Outcome, other: Outcome) -> bool:
    contains = bool((head.genome >= other.genome).all())
    return contains and head.loss > other.loss + LAG
