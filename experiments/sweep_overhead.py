"""What a run of a sweep costs besides its own work.

    python -m experiments.sweep_overhead --runs 30

The same small runs one after another in one process that is warm, and as a sweep with one worker.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.features import cache
from evojax_prune.methods.observer import Observer
from evojax_prune.run.run import prune
from evojax_prune.sweep.file import SweepFile
from evojax_prune.sweep.local import LocalExecutor
from evojax_prune.sweep.plan import Plan, make_plan
from evojax_prune.sweep.run import run_sweep
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended
from experiments.harness import tables

ROWS, FEATURES = 600, 256


def nothing() -> None:
    """What a worker process does first."""


class Watched(LocalExecutor):
    """Keeps when each run ended, and the seconds that its worker had it."""

    def __init__(self, workers: int):
        super().__init__(workers, nothing)
        self.ended: list[float] = []
        self.own: list[float] = []

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        """See :class:`LocalExecutor`."""
        for news in super().run(tasks):
            if news is not None:
                self.ended.append(time.monotonic())
                self.own.append(news[1].seconds)
            yield news


def plan_of(folder: Path, runs: int) -> Plan:
    rng = np.random.default_rng(0)
    y = np.arange(ROWS) % 4
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    x[:, :8] += np.eye(4, 8, dtype=np.float32)[y]
    np.savez(folder / "data.npz", x_train=x, y_train=y)
    base = {"dataset": str(folder / "data.npz"), "population": 20, "evaluations": 100}
    return make_plan(
        SweepFile(base=base, grid={"seed": tuple(range(runs))}), folder / "sweep", "overhead"
    )


def alone(plan: Plan, folder: Path) -> list[float]:
    """Seconds of each run in this process, features loaded anew each time."""
    seconds = []
    for task in plan.tasks:
        began = time.monotonic()
        prune(task.config.model_copy(update={"output": folder / task.name}))
        seconds.append(time.monotonic() - began)
    return seconds


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--runs", type=int, default=30, metavar="INT")
    runs = parser.parse_args(args).runs
    keep_compiled(cache.folder(None) / "compiled")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = plan_of(folder, runs)
        single = statistics.median(alone(plan, folder / "alone")[3:])
        executor = Watched(1)
        outcome = run_sweep(plan, "# overhead", executor, Observer())
        assert not outcome.failed, outcome.failed
        period = statistics.median(np.diff(executor.ended[3:]))
        own = statistics.median(executor.own[3:])
    lines = [
        ["one after another in one process", f"{single:.3f}"],
        ["in a sweep, from one end to the next", f"{period:.3f}"],
        ["of it within the worker", f"{own:.3f}"],
        ["besides its own work", f"{period - single:+.3f}"],
    ]
    print(tables.markdown(["a run, median", "seconds"], lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
