"""One run of a sweep; importing this costs a worker process next to nothing."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

from evojax_prune.run.config import RunConfig
from evojax_prune.run.store import MARK

FOLDER = "runs"
"""Below the sweep's folder: the folders of its runs."""

LOGS = "logs"
"""Below the sweep's folder: what each run had to say."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One run of a sweep; plain enough to be sent to another machine.

    Attributes:
        name: of its folder.
        labels: value of each axis' columns.
        config: its configuration, with absolute paths; ``output`` is its folder.
        data: digest of the data's content.
        log: file for what it has to say.
        timeout: seconds that it may take; None for any time.
        expected: seconds that it should take on one core.
    """

    name: str
    labels: dict[str, Any]
    config: RunConfig
    data: str
    log: Path
    timeout: float | None
    expected: float

    @property
    def folder(self) -> Path:
        """Where its results go."""
        assert self.config.output is not None, "every task has a folder"
        return self.config.output

    @property
    def finished(self) -> bool:
        """Its results are there."""
        return (self.folder / MARK).is_file()


def data_key(config: RunConfig) -> str:
    """What is equal for configurations that have their features from the same place."""
    from evojax_prune.run.data import data_options

    names = ("dataset", "ood", *data_options(config))
    return repr([getattr(config, name) for name in names])


def tidy(task: Task) -> None:
    """Remove the empty folder that a run leaves which was killed in its very last step."""
    with contextlib.suppress(OSError):
        task.folder.with_name(f"{task.folder.name}.partial").rmdir()
