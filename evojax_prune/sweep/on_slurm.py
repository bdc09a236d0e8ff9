"""Runs as jobs of a SLURM array, by submitit."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.sweep import worker
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended

TICK = 2.0
"""Seconds between two looks."""

FOLDER = "slurm"
"""Below the sweep's folder: scripts and output of the jobs."""

JOBS = 100
"""Jobs of an array unless another number is asked for."""

GENERAL = ("timeout_min", "mem_gb", "cpus_per_task", "gpus_per_node", "nodes", "tasks_per_node")
"""Options of submitit that are not SLURM's own."""


class SlurmExecutor:
    """A job array; each job does some of the runs in turn, which share what it has loaded.

    The sweep's folder and the data have to be on a file system that all nodes see.

    Args:
        setup: what each job does first.
        workers: jobs of the array; None for :data:`JOBS`, but no more than there are runs.
        folder: of the sweep.
        options: ``NAME=VALUE`` as submitit and ``sbatch`` name them. ``cluster=local`` starts
            processes on this machine instead, by submitit's own executor.
        cpus: cores of a job; 1 if None.
        gpus: GPUs of a job.

    Raises:
        UserError: submitit or SLURM is not installed, or an option is not NAME=VALUE.
    """

    def __init__(
        self,
        setup: Callable[[], object],
        workers: int | None,
        folder: Path,
        options: Sequence[str] = (),
        cpus: int | None = None,
        gpus: float | None = None,
    ):
        self._submitit = _submitit()
        self._folder, self._workers = folder / FOLDER, workers or JOBS
        self._jobs: list[Any] = []
        self._options = _options(options)
        self._cluster = self._options.pop("cluster", "slurm")
        if self._cluster == "slurm" and shutil.which("sbatch") is None:
            raise UserError(
                "--executor slurm needs sbatch, which is not on this machine: run this on a login "
                "node of a SLURM cluster"
            )
        self._options.setdefault("cpus_per_task", cpus or 1)
        if gpus:
            self._options.setdefault("gpus_per_node", int(gpus))
        self._work = functools.partial(_work_through, setup, self._options["cpus_per_task"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Cancel the jobs that are not done."""
        for job in self._jobs:
            if not job.done():
                with contextlib.suppress(Exception):  # it may have ended in this moment
                    job.cancel(check=False)
        self._jobs = []

    def prepare(self, tasks: Sequence[Task]) -> None:
        """Nothing: of the runs that need the same features, one extracts them."""

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """Do the runs; gives each as it ends, and None every other second.

        Raises:
            UserError: SLURM is not there, or refuses the array.
        """
        count = min(self._workers, len(tasks))
        shares = [
            tasks[len(tasks) * i // count : len(tasks) * (i + 1) // count] for i in range(count)
        ]
        self._jobs = self._submitted(shares)
        open_jobs = dict(zip(self._jobs, map(list, shares), strict=True))
        while open_jobs:
            for job, share in list(open_jobs.items()):
                over = job.done()
                told = _results(job) if over else {}
                for task in list(share):
                    if over or task.finished:
                        share.remove(task)
                        yield task, told.get(task.name) or _state(task)
                if over:
                    del open_jobs[job]
            yield None
            time.sleep(TICK if open_jobs else 0)

    def _submitted(self, shares: Sequence[Sequence[Task]]) -> list[Any]:
        try:
            executor = self._submitit.AutoExecutor(folder=self._folder, cluster=self._cluster)
            executor.update_parameters(
                name=self._folder.parent.name, slurm_array_parallelism=len(shares), **self._options
            )
            return executor.map_array(self._work, shares)
        except (RuntimeError, ValueError, TypeError, NameError, OSError) as error:
            raise UserError(f"the job array cannot be submitted: {said_of(error)}") from None


def _submitit() -> Any:
    """The library, which is kept from logging to the console."""
    variable = "SUBMITIT_LOG_LEVEL"
    before = os.environ.get(variable)
    os.environ[variable] = "NOCONFIG"
    try:
        import submitit
    except ImportError:
        raise UserError(
            "--executor slurm needs submitit, which is not installed: pip install "
            "'evojax-prune[slurm]'"
        ) from None
    finally:  # the jobs, which inherit it, may log
        del os.environ[variable]
        if before is not None:
            os.environ[variable] = before
    return submitit


def _options(words: Sequence[str]) -> dict[str, Any]:
    """``NAME=VALUE`` words as submitit's parameters; ``time`` is in minutes."""
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name.isidentifier() and equals and value):
            raise UserError(f"--slurm is {word}, expected NAME=VALUE ..., such as partition=gpu")
        name = "timeout_min" if name == "time" else name
        if name not in (*GENERAL, "cluster") and not name.startswith("slurm_"):
            name = f"slurm_{name}"
        options[name] = int(value) if value.isdecimal() else value
    return options


def _work_through(
    setup: Callable[[], object], cpus: int, tasks: Sequence[Task]
) -> list[tuple[str, Ended]]:
    """A job's runs, one after another."""
    worker.prepare(setup, cpus)
    return [(task.name, worker.work(task)) for task in tasks]


def _results(job: Any) -> dict[str, Ended]:
    """What a job that is over has returned; nothing if it was killed."""
    try:
        return dict(job.result())
    except Exception:  # submitit's own errors, and whatever a broken file gives
        return {}


def _state(task: Task) -> Ended:
    """How a run ended of which only the files tell."""
    if task.finished:
        return Ended("done")
    if not task.log.exists():
        return Ended("not started", sentence="its job ended before it was its turn")
    return worker.died(task)
