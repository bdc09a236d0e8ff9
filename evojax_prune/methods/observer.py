"""What a run tells while it goes on; nothing is printed here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from evojax_prune.report.pruned import Pruned
    from evojax_prune.search import GenerationInfo


class Stage:
    """One part of a run that takes a known number of steps; told of them by any thread."""

    def advance(self, parts: int) -> None:
        """Some more parts of steps are done."""

    def reach(self, done: int, detail: str, skipped: bool = False) -> None:
        """So many steps are done in all; ``skipped``: they took no work."""

    def finish(self) -> None:
        """All steps are done, though not every part may have been told of."""


class Observer:
    """Follows a run; this one ignores everything. Override what you want to see."""

    def stage(
        self, name: str, total: int, unit: str, parts: int = 1
    ) -> contextlib.AbstractContextManager[Stage]:
        """A part of the run, for as long as the ``with`` block lasts.

        Args:
            name: what is being done.
            total: steps that it takes.
            unit: what the steps are called, in the plural.
            parts: parts that each step is done in, such as folds.
        """
        return contextlib.nullcontext(Stage())

    def on_generation(self, info: GenerationInfo) -> None:
        """A generation of the search is done; one that is replayed from a journal, too."""

    def on_result(self, pruned: Pruned, folder: Path | None) -> None:
        """The run is done, and its files are in the folder; None if none were asked for."""

    def note(self, text: str) -> None:
        """Something that the user should know."""
