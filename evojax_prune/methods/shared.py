"""What the runs of one process share: results of equal work, each worked out once.

Nothing is shared unless :func:`share` says so. A result is found by all that went into it, so that
a run that shares has the numbers of one that does not.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evojax_prune.core.outcome import Outcome
from evojax_prune.core.protocol import Protocol
from evojax_prune.data import ResampledSplits
from evojax_prune.engine import EngineReport, Fits
from evojax_prune.methods.problem import Problem
from evojax_prune.search import Evaluation

if TYPE_CHECKING:
    from evojax_prune.methods.guides import Rankings

T = TypeVar("T")


class Shared(Generic[T]):
    """The last results of one kind of work.

    Attributes:
        most: how many are kept; 0 for none.
    """

    def __init__(self) -> None:
        self.most = 0
        self._kept: collections.OrderedDict[str, T] = collections.OrderedDict()

    def keep(self, most: int) -> None:
        """From now on keep so many, the last ones that were asked for."""
        self.most = most
        while len(self._kept) > most:
            self._kept.popitem(last=False)

    def get(self, key: Callable[[], str], work: Callable[[], T]) -> T:
        """The result that is kept under a key, or else that of the work."""
        if not self.most:
            return work()
        name = key()
        if name not in self._kept:
            self._kept[name] = work()
        self._kept.move_to_end(name)
        self.keep(self.most)
        return self._kept[name]


DENSE_HEADS: Shared[tuple[Fits, Outcome]] = Shared()
"""Dense heads and how they did, by :func:`training_key`."""

STARTS: Shared[Rankings] = Shared()
"""Rankings that searches start from, of a dense head."""

EVALUATIONS: Shared[tuple[Evaluation, EngineReport]] = Shared()
"""Evaluations of whole generations: searches whose beginnings are equal share these."""


def share(heads: int, generations: int) -> None:
    """Let the runs of this process share work from now on.

    Args:
        heads: most dense heads that are kept, and the rankings of as many.
        generations: most generations whose evaluations are kept.
    """
    DENSE_HEADS.keep(heads)
    STARTS.keep(heads)
    EVALUATIONS.keep(generations)


def training_key(
    problem: Problem, protocol: Protocol, occasions: range = range(0), *more: Any
) -> str:
    """Hex digest of all that the training of a problem's heads sees, but their genomes.

    Args:
        problem: what is pruned, on which data.
        protocol: of the training.
        occasions: numbers of the fresh splits that heads are looked at on, where there are some.
        more: plain data that also decide the result.
    """
    pruning, training = problem.pruning, problem.training
    told = [
        problem.digest(),
        pruning.spec,
        pruning.mode.name,
        pruning.grain,
        dataclasses.asdict(protocol),
        training.seed,
        training.engine,
        training.member_batch,
        more,
    ]
    key = hashlib.blake2b(repr(told).encode(), digest_size=16)
    first = problem.splits[0]
    if isinstance(first, ResampledSplits):
        for occasion in occasions:
            for rows in first.resampler.split(occasion):
                key.update(rows.tobytes())
    return key.hexdigest()
