"""The whole head of a problem, which the runs of one process may share."""

from __future__ import annotations

import collections
import dataclasses
import hashlib

from evojax_prune.core.outcome import Outcome
from evojax_prune.data import ResampledSplits
from evojax_prune.engine import Fits
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import JUDGING, JUDGINGS, Problem, best_outcome

_kept: collections.OrderedDict[str, tuple[Fits, Outcome]] = collections.OrderedDict()
_most = 0


def share_dense_heads(most: int) -> None:
    """From now on keep so many dense heads, the last ones that were asked for."""
    global _most
    _most = most
    while len(_kept) > _most:
        _kept.popitem(last=False)


def dense_head(problem: Problem, observer: Observer) -> tuple[Fits, Outcome]:
    """The dense head, trained by the final protocol and judged, or as another run has it.

    Args:
        problem: what is pruned, on which data.
        observer: told how far it is.

    Returns:
        Its fits, with parameters, and how it did.

    Raises:
        UserError: training diverged.
    """
    key = _key(problem) if _most else ""
    if key not in _kept:
        dense = problem.pruning.dense
        with observer.stage("dense head", 1, "heads", problem.trainings) as shown:
            fits = problem.final_fits(dense, shown.advance)
            outcome = best_outcome(problem.judged(fits, dense, shown.advance))
            shown.finish()
        if not _most:
            return fits, outcome
        _kept[key] = fits, outcome
    _kept.move_to_end(key)
    found = _kept[key]
    share_dense_heads(_most)
    return found


def _key(problem: Problem) -> str:
    """All that the dense head's training and judging see."""
    pruning, training = problem.pruning, problem.training
    told = [
        problem.digest(),
        pruning.spec,
        pruning.mode.name,
        pruning.grain,
        dataclasses.asdict(training.final_protocol),
        training.seed,
        training.engine,
        training.member_batch,
    ]
    key = hashlib.blake2b(repr(told).encode(), digest_size=16)
    first = problem.splits[0]
    if isinstance(first, ResampledSplits):
        for i in range(JUDGINGS):
            key.update(first.resampler.split(JUDGING + i)[1].tobytes())
    return key.hexdigest()
