"""A finished run, from which every table, picture and file is made."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead

if TYPE_CHECKING:
    from evojax_prune.baselines import BaselineRow
    from evojax_prune.methods.found import Found
    from evojax_prune.methods.problem import Problem
    from evojax_prune.report.result import Result


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What a run found.

    Attributes:
        problem: what was pruned, on which data.
        found: the heads that are compared, and how one of them was found.
        baselines: other ways of pruning, if they were asked for.
        settings: the configuration as plain data.
        seconds: time of the whole run, on the clock.
        margin: test accuracy that a pruned head may lose and still be called not worse.
        unfinished: heads of the table whose training has not converged: some of ``dense``,
            ``random``, ``ranking`` and ``best``.
    """

    problem: Problem
    found: Found
    baselines: tuple[BaselineRow, ...]
    settings: dict[str, Any]
    seconds: float
    margin: float = 0.02
    unfinished: frozenset[str] = frozenset()

    @functools.cached_property
    def result(self) -> Result:
        """Every figure, as ``result.json`` has it."""
        from evojax_prune.report.result import make_result

        return make_result(self)

    @property
    def genome(self) -> np.ndarray:
        """The pruned head's genome, ``bool [G]``."""
        return self.found.pruned.genome

    @property
    def heads(self) -> tuple[CompactHead, ...]:
        """The pruned head, or one per fold, reading features as the backbone gives them."""
        heads, scalings = self.found.pruned.heads, self.problem.scalings
        return tuple(
            head.reading_raw(scaling) for head, scaling in zip(heads, scalings, strict=True)
        )

    @property
    def head(self) -> CompactHead:
        """The pruned head; of several folds the first one's."""
        return self.heads[0]

    def save(self, folder: Path | str) -> None:
        """Write every file of the result into a folder.

        Raises:
            UserError: a file could not be written; the others are.
        """
        from evojax_prune.core.errors import UserError
        from evojax_prune.core.files import make_folder
        from evojax_prune.report.writers import write_results

        make_folder(Path(folder))
        if failed := write_results(Path(folder), self):
            raise UserError("; ".join(failed))
