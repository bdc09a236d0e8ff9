"""What a method gives back, before it is put into words."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from evojax_prune.core.objective import Objective
from evojax_prune.core.outcome import Outcome
from evojax_prune.engine import EngineReport
from evojax_prune.methods.observer import Observer


@dataclasses.dataclass(frozen=True)
class Session:
    """What a method may use besides the problem.

    Attributes:
        observer: told how far it is.
        journal: file that every evaluation is kept in; None keeps nothing.
        keep: called when what the journal holds must survive a later error.
    """

    observer: Observer = dataclasses.field(default_factory=Observer)
    journal: Path | None = None
    keep: Callable[[], None] = lambda: None


@dataclasses.dataclass(frozen=True)
class Trials:
    """Every genome that was tried, in order.

    Attributes:
        objectives: M of them.
        hashes: a name for each genome, 32 hexadecimal digits.
        active: ``int64 [E]``, active bits.
        genome_length: bits G.
        values: ``float64 [E, M]``; NaN where training diverged.
        generation: ``int64 [E]``; None where there are no generations.
        columns: further figures ``[E]`` of each, such as epochs and seconds.
    """

    objectives: tuple[Objective, ...]
    hashes: tuple[str, ...]
    active: np.ndarray
    genome_length: int
    values: np.ndarray
    generation: np.ndarray | None
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def active_fraction(self) -> np.ndarray:
        """``float64 [E]``, in [0, 1]."""
        return self.active / self.genome_length


@dataclasses.dataclass(frozen=True)
class Effort:
    """What finding a head cost.

    Attributes:
        seconds: time on the clock.
        generations: of a search; 1 without one.
        cached: times a known genome was asked for again, at no cost.
        resumed: evaluations that an interrupted run had made.
        ended: why it ended, a sentence for the user.
        reports: the trainer's, on every call.
        evaluations: heads trained to find it; None says as many as there are trials.
    """

    seconds: float
    ended: str
    reports: Sequence[EngineReport]
    generations: int = 1
    cached: int = 0
    resumed: int = 0
    evaluations: int | None = None

    def heads(self, trials: Trials) -> int:
        """Heads trained to find it."""
        return len(trials) if self.evaluations is None else self.evaluations

    @property
    def paths(self) -> dict[str, int]:
        """Heads that each of the trainer's paths trained."""
        total: collections.Counter[str] = collections.Counter()
        for report in self.reports:
            total.update(report.paths)
        return dict(total)

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling."""
        return sum(report.compile_seconds for report in self.reports)


@dataclasses.dataclass(frozen=True)
class Found:
    """The heads that a run compares, and how one of them was found.

    Attributes:
        name: what to call the pruned head in tables.
        kind: what to call it in a sentence, such as ``"evolved"``.
        how: strategy of the search, or the ranking that was followed.
        dense: the whole head.
        pruned: the head that was found.
        random: of as many random masks as were tried, at the pruned head's density, the best on
            selection.
        masks: random masks that were tried.
        trials: every genome that was tried.
        best: the best value seen of the first objective.
        dense_values: ``float64 [M]``, the dense head's objectives under the same protocol.
        effort: what it cost.
        packed: ``uint8 [E, ceil(G / 8)]``, the genomes that were tried, eight bits per byte.
        finalists: every head out of which ``pruned`` was chosen.
        chosen: how, in words.
        ranking: name and head of the best ranking at the pruned head's size; None without any.
        scores: ``float64`` for each part of the genome, what its bits were kept by, higher first;
            None where no one ranking was followed.
    """

    name: str
    kind: str
    how: str
    dense: Outcome
    pruned: Outcome
    random: Outcome
    masks: int
    trials: Trials
    best: float
    dense_values: np.ndarray
    effort: Effort
    packed: np.ndarray
    finalists: tuple[Outcome, ...]
    chosen: str
    ranking: tuple[str, Outcome] | None = None
    scores: tuple[np.ndarray, ...] | None = None
