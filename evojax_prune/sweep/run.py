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
from evojax_prune.methods.observer import Observer
from evojax_prune.sweep.plan import FOLDER, LOGS, Plan, Task, tidy
from evojax_prune.sweep.worker import Ended

ATTEMPTS = 2
"""Times that a run is begun which fails or whose process is killed."""

SOURCE = "sweep.yaml"
"""The sweep file, as it was last asked for."""

LOCK = ".lock"


class Executor(AbstractContextManager[Any], Protocol):
    """Where runs are done; leaving the context stops those that are going on."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """Do every run; gives each as it ends, and None now and then."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a sweep.

    Attributes:
        plan: what was to be done.
        skipped: runs that were finished before.
        failed: how each run ended that is not finished, by name.
        attempts: times that each run was begun now, by name.
    """

    plan: Plan
    skipped: int
    failed: dict[str, Ended]
    attempts: dict[str, int]


def run_sweep(plan: Plan, source: str, executor: Executor, observer: Observer) -> Outcome:
    """Do the runs that are not finished.

    Args:
        plan: what is to be done.
        source: text of the sweep file.
        executor: where.
        observer: told how far it is.

    Raises:
        UserError: the folder cannot be used, or another sweep is using it.
    """
    _check_folder(plan.folder)
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


def _check_folder(folder: Path) -> None:
    """Refuse to mix a sweep with other files.

    Raises:
        UserError: the folder is no folder, or holds something else than a sweep.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file, expected a folder")
    ours = {SOURCE, LOCK, FOLDER, LOGS}
    if folder.is_dir() and (held := {entry.name for entry in folder.iterdir()}) and not held & ours:
        raise UserError(
            f"--output {folder} holds something else than a sweep, such as {min(held)}: give "
            "another folder"
        )


def _run(plan: Plan, executor: Executor, observer: Observer) -> Outcome:
    waiting = [task for task in plan.tasks if not task.finished]
    skipped = len(plan.tasks) - len(waiting)
    failed: dict[str, Ended] = {}
    attempts: collections.Counter[str] = collections.Counter()
    done = skipped
    with observer.stage("sweep", len(plan.tasks), "runs") as shown, executor:
        shown.reach(done, "", skipped=True)
        while waiting:
            again: list[Task] = []
            begun = 0
            for news in executor.run(waiting):
                if news is not None:
                    task, ended = news
                    if ended.status != "not started":
                        begun += 1
                        attempts[task.name] += 1
                    if ended.status == "done":
                        failed.pop(task.name, None)
                        done += 1
                    else:
                        failed[task.name] = ended
                        if _once_more(ended, attempts[task.name]):
                            again.append(task)
                        else:
                            observer.note(f"{task.name} {ended.status}: {ended.sentence}")
                shown.reach(done, _detail(failed, again))
            waiting = again if begun else []
    for task in plan.tasks:
        tidy(task)
    return Outcome(plan, skipped, failed, dict(attempts))


def _once_more(ended: Ended, attempts: int) -> bool:
    """Whether a run is begun again; one that took too long would do so again."""
    return ended.status != "timed out" and attempts < ATTEMPTS


def _detail(failed: dict[str, Ended], again: list[Task]) -> str:
    lost = len(failed) - len(again)
    words = [f"{lost} failed"] if lost else []
    return ", ".join([*words, *([f"{len(again)} to be tried again"] if again else [])])
