"""Everything that the stages of a run found, before it is put into words."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evojax_prune.core.outcome import Outcome
from evojax_prune.engine import EngineReport
from evojax_prune.search import SearchResult

if TYPE_CHECKING:
    from evojax_prune.baselines import BaselineRow


@dataclasses.dataclass(frozen=True)
class Found:
    """The heads that a run compares, and the search that led to one of them.

    Attributes:
        name: what to call the pruned head.
        dense: the whole head.
        pruned: of the search's finalists the best on selection, or the size that was chosen.
        random: of as many random masks as were evaluated, at the pruned head's density, the best on
            selection.
        masks: random masks that were tried.
        search: every evaluated genome; without a search, every size that was tried.
        dense_fitness: fitness of the dense head under the protocol of the search.
        seconds: time of the search, on the clock.
        resumed: evaluations that an interrupted run had made.
        reports: the trainer's, on the dense head and on every generation.
        baselines: other ways of pruning, if they were asked for.
    """

    name: str
    dense: Outcome
    pruned: Outcome
    random: Outcome
    masks: int
    search: SearchResult
    dense_fitness: float
    seconds: float
    resumed: int
    reports: Sequence[EngineReport]
    baselines: Sequence[BaselineRow] = ()

    def compared(self, rows: Sequence[BaselineRow]) -> Found:
        """The same with other ways of pruning."""
        return dataclasses.replace(self, baselines=tuple(rows))

    @property
    def paths(self) -> dict[str, int]:
        """Heads that each of the trainer's paths trained in the search."""
        total: collections.Counter[str] = collections.Counter()
        for report in self.reports:
            total.update(report.paths)
        return dict(total)

    @property
    def compile_seconds(self) -> float:
        """Time spent compiling in the search."""
        return sum(report.compile_seconds for report in self.reports)
