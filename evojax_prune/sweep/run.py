"""A sweep from its plan to its results: skip what is finished, do the rest, try once more."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import filelock

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import make_folder, os_errors, write_file
from evojax_prune.methods.observer import Observer, Stage
from evojax_prune.sweep.estimate import IMAGES, STARTUP, correction
from evojax_prune.sweep.plan import SweepPlan
from evojax_prune.sweep.results import read_result
from evojax_prune.sweep.task import FOLDER, LOGS, Task, tidy
from evojax_prune.sweep.worker import Ended

ATTEMPTS = 2
"""Times that a run is begun which fails or whose process is killed."""

SOURCE = "sweep.yaml"
"""The sweep file, as it was last asked for."""

LOCK = ".lock"


class Executor(AbstractContextManager[Any], Protocol):
    """Where runs are done; leaving the context stops those that are going on."""

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Whatever is better done once, before the runs.

        Raises:
            UserError: it cannot be done.
        """

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """Do every run; gives each as it ends, and None now and then."""


@dataclasses.dataclass(frozen=True)
class SweepOutcome:
    """What became of a sweep.

    Attributes:
        plan: what was to be done.
        skipped: runs that were finished before.
        failed: how each run ended that is not finished, by name.
        attempts: times that each run was begun now, by name.
    """

    plan: SweepPlan
    skipped: int
    failed: dict[str, Ended]
    attempts: dict[str, int]


def run_sweep(plan: SweepPlan, source: str, executor: Executor, observer: Observer) -> SweepOutcome:
    """Do the runs that are not finished.

    Args:
        plan: what is to be done.
        source: text of the sweep file.
        executor: where.
        observer: told how far it is.

    Raises:
        UserError: the folder cannot be used, or another sweep is using it.
    """
    check_folder(plan.folder, plan.tasks)
    make_folder(plan.folder)
    lock = filelock.FileLock(plan.folder / LOCK)
    with os_errors(f"lock {plan.folder}"):
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:  # an OSError too, but not one of the file system's
            raise UserError(f"another sweep is writing to {plan.folder}: wait for it") from None
    try:
        write_file(plan.folder / SOURCE, source)
        return _run(plan, executor, observer)
    finally:
        lock.release()


def check_folder(folder: Path, tasks: Sequence[Task]) -> None:
    """Refuse to mix a sweep with other files, or to write where links lead.

    Raises:
        UserError: the folder is no folder, holds something else than a sweep, or a link.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file, expected a folder")
    held = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    for place in (*(folder / name for name in (FOLDER, LOGS)), *(task.folder for task in tasks)):
        if place.is_symlink():
            raise UserError(
                f"{place} is a link, but a sweep writes into folders of its own: remove the link, "
                "or give another --output"
            )
    if SOURCE not in held and (strange := held - {LOCK, FOLDER, LOGS}):
        raise UserError(
            f"--output {folder} holds something else than a sweep, such as {min(strange)}: give "
            "another folder"
        )


def _run(plan: SweepPlan, executor: Executor, observer: Observer) -> SweepOutcome:
    waiting = [task for task in plan.tasks if not task.finished]
    skipped = len(plan.tasks) - len(waiting)
    with executor:
        if plan.images:
            executor.prepare(waiting)
        with observer.stage("sweep", len(plan.tasks), "runs") as shown:
            shown.reach(skipped, "", skipped=True)
            book = _Book(skipped, observer, shown)
            while waiting:
                book.begun = 0
                for task in waiting:  # the log tells whether and how a run was begun
                    task.log.unlink(missing_ok=True)
                for news in executor.run(waiting):
                    book.enter(news)
                waiting = book.again if book.begun else []
                book.again = []
    for task in plan.tasks:
        tidy(task)
    return SweepOutcome(plan, skipped, book.failed, dict(book.attempts))


class _Book:
    """Keeps count of what became of the runs.

    Attributes:
        failed: how each run ended that is not finished, by name.
        again: runs that are to be tried once more.
        attempts: times that each run was begun, by name.
        begun: runs that were begun in this round.
    """

    def __init__(self, skipped: int, observer: Observer, shown: Stage):
        self.failed: dict[str, Ended] = {}
        self.again: list[Task] = []
        self.attempts: collections.Counter[str] = collections.Counter()
        self.begun = 0
        self._done, self._observer, self._shown = skipped, observer, shown

    def enter(self, news: tuple[Task, Ended] | None) -> None:
        """A run has ended; None only lets the clock go on."""
        if news is not None:
            self._ended(*news)
        lost = len(self.failed) - len(self.again)
        words = [f"{lost} failed"] if lost else []
        words += [f"{len(self.again)} to be tried again"] if self.again else []
        self._shown.reach(self._done, ", ".join(words))

    def _ended(self, task: Task, ended: Ended) -> None:
        if ended.status != "not started":
            self.begun += 1
            self.attempts[task.name] += 1
        if ended.status == "done":
            self.failed.pop(task.name, None)
            self._done += 1
            return
        self.failed[task.name] = ended
        # One that took too long would do so again.
        if ended.status != "timed out" and self.attempts[task.name] < ATTEMPTS:
            self.again.append(task)
        else:
            self._observer.note(f"{task.name} {ended.status}: {ended.sentence}")


def seconds_left(plan: SweepPlan, workers: int) -> float:
    """Seconds that the unfinished runs will take, by estimate and by what finished ones took."""
    took = [
        (read_result(task)["wall_seconds"], task.expected) for task in plan.tasks if task.finished
    ]
    left = [task.expected for task in plan.tasks if not task.finished]
    if not left:
        return 0.0
    return STARTUP + sum(left) / workers * correction(took) + plan.images / (IMAGES * workers)
