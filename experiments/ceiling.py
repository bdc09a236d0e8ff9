"""The machine's ceilings, measured: float32 product rate and memory rate over all cores.

``measure()`` runs this module in a process of its own, where BLAS uses one thread a product: one
product a core is what reaches the ceiling.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from evojax_prune.engine import run_queue
from evojax_prune.engine.workers import core_count


def _rates(work: Callable[[int], None], amount: float) -> tuple[float, float]:
    """``amount`` per worker and call, with one worker per core, per second: best and median of ten.

    The best is the ceiling, what the machine can do: on a shared machine a median is below what a
    contender reaches in a better moment.
    """
    cores = core_count()
    times = []
    for _ in range(11):
        started = time.perf_counter()
        run_queue(range(cores), work, lambda _: 0.0, workers=cores)
        times.append(time.perf_counter() - started)
    best, median = min(times[1:]), statistics.median(times[1:])
    return cores * amount / best, cores * amount / median


def gemm_rates(size: int = 768, repeats: int = 6) -> tuple[float, float]:
    """Floating-point operations a second of large float32 products, one a core at a time."""
    rng = np.random.default_rng(0)
    cores = core_count()
    a = [rng.random((size, size), np.float32) for _ in range(cores)]
    out = [np.empty((size, size), np.float32) for _ in range(cores)]

    def work(core: int) -> None:
        for _ in range(repeats):
            np.matmul(a[core], a[core], out=out[core])

    return _rates(work, repeats * 2.0 * size**3)


def memory_rate(megabytes: int = 256) -> float:
    """Bytes a second read and written by copying arrays larger than any cache."""
    cores = core_count()
    source = [np.ones(megabytes * 2**18, np.float32) for _ in range(cores)]
    target = [np.empty_like(s) for s in source]

    def work(core: int) -> None:
        np.copyto(target[core], source[core])

    best, _ = _rates(work, 2.0 * megabytes * 2**20)
    return best


def measure(memory: bool = True) -> dict[str, float]:
    """Ceilings of this machine: ``gemm`` in flop/s, its median, and ``memory`` in bytes/s."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
    env["OPENBLAS_NUM_THREADS"] = "1"
    command = [sys.executable, "-m", "experiments.ceiling", *(["memory"] if memory else [])]
    return json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)


if __name__ == "__main__":
    gemm, median = gemm_rates()
    rates = {"gemm": gemm, "gemm_median": median}
    print(json.dumps(rates | ({"memory": memory_rate()} if "memory" in sys.argv[1:] else {})))
