"""Runs of a sweep that only act; a module of its own, so that a worker process imports little."""

from __future__ import annotations

import os
import signal
import time

from evojax_prune.core.errors import UserError
from evojax_prune.run.store import MARK
from evojax_prune.sweep import worker
from evojax_prune.sweep.task import Task

WAYS = ("fine", "stumbles", "fails", "dies", "hangs")


def acting(task: Task) -> None:
    """Instead of a run: what its label says; the second time most of them end well."""
    way, begun = task.labels["way"], task.folder.with_suffix(".begun")
    first = not begun.exists()
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.touch()
    if way == "fails" or (way == "stumbles" and first):
        raise UserError(f"it {way}")
    if way == "dies" and first:
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "hangs":
        time.sleep(300)
    task.folder.mkdir(parents=True, exist_ok=True)
    (task.folder / MARK).write_text('{"wall_seconds": 0.1}')


def act() -> None:
    """What a worker process does first: from then on its runs only act."""
    worker._run = acting


def nothing() -> None:
    """What a worker process does first that only does runs."""
