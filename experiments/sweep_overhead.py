"""What a run of a sweep costs besides its own work.

    python -m experiments.sweep_overhead --runs 24

The same small runs one after another in one warm process, and as a sweep with one worker. What a
sweep of a few runs takes is taken off, which is the start of the worker.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.features import cache
from evojax_prune.methods.observer import Observer
from evojax_prune.run.run import prune
from evojax_prune.sweep.file import SweepFile
from evojax_prune.sweep.local import LocalExecutor
from evojax_prune.sweep.plan import SweepPlan, make_plan
from evojax_prune.sweep.run import run_sweep
from experiments.harness import tables

ROWS, FEATURES = 600, 256

FEW = 4
"""Runs of the short sweep: what is left of its time after these is start-up."""


def nothing() -> None:
    """What a worker process does first."""


def plan_of(folder: Path, runs: int) -> SweepPlan:
    """Small searches on a small features file."""
    rng = np.random.default_rng(0)
    y = np.arange(ROWS) % 4
    x = rng.normal(size=(ROWS, FEATURES)).astype(np.float32)
    x[:, :8] += np.eye(4, 8, dtype=np.float32)[y]
    np.savez(folder / "data.npz", x_train=x, y_train=y)
    base = {"dataset": str(folder / "data.npz"), "population": 20, "evaluations": 100}
    sweep = SweepFile(base=base, grid={"seed": tuple(range(runs))})
    return make_plan(sweep, folder / f"sweep{runs}", "overhead")


def alone(plan: SweepPlan, folder: Path) -> np.ndarray:
    """Seconds on the clock and on the processor ``[n, 2]`` of each run, done in this process."""
    times = [(time.monotonic(), time.process_time())]
    for task in plan.tasks:
        prune(task.config.model_copy(update={"output": folder / task.name}))
        times.append((time.monotonic(), time.process_time()))
    return np.diff(times, axis=0)


def swept(plan: SweepPlan) -> tuple[float, float]:
    """Seconds on the clock, and on the processor of worker and parent, of a sweep."""
    before = _processor()
    began = time.monotonic()
    outcome = run_sweep(plan, "# overhead", LocalExecutor(1, nothing), Observer())
    took = time.monotonic() - began
    assert not outcome.failed, outcome.failed
    while multiprocessing.active_children():  # their times count when they have been waited for
        time.sleep(0.1)
    return took, _processor() - before


def _processor() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        for usage in [resource.getrusage(who)]
    )


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--runs", type=int, default=24, metavar="INT")
    runs = parser.parse_args(args).runs
    keep_compiled(cache.folder(None) / "compiled")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = plan_of(folder, runs)
        single = alone(whole, folder / "alone")[FEW:].mean(0)
        few, many = swept(plan_of(folder, FEW)), swept(whole)
    each = (np.array(many) - few) / (runs - FEW)
    lines = [
        ["one after another in one process", *(f"{value:.3f}" for value in single)],
        ["in a sweep with one worker", *(f"{value:.3f}" for value in each)],
        ["besides its own work", *(f"{value:+.3f}" for value in each - single)],
    ]
    header = ["a run", "", "seconds", "of processor time"]
    print(tables.markdown(header, [[name, "", *figures] for name, *figures in lines]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
