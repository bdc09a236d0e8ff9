"""One worker per core, each pulling the next job from a queue.

Left alone, OpenBLAS splits every product of NumPy's over all cores. Two workers that multiply at
the same time then wait for each other's halves: products took twice as long on two cores. So inside
the queue every product takes one core.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


_most_cores: int | None = None


def core_count() -> int:
    """Cores that this process may use."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(found or 1, _most_cores or sys.maxsize)


def limit_cores(most: int) -> None:
    """From now on this process uses so many cores at most: others share the machine with it."""
    global _most_cores
    _most_cores = most


def run_queue(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    cost: Callable[[Job], float],
    *,
    workers: int | None = None,
    finished: Callable[[int], None] | None = None,
) -> list[Result]:
    """Results of ``work`` for every job, in the jobs' order.

    Jobs start with the costliest, so that no long one is left for the end, and no job waits for
    another's early stop. The first error ends the queue and is raised.

    Args:
        jobs: what is to be done.
        work: does one; it must release the interpreter's lock to gain from several workers.
        cost: estimate by which jobs are ordered, in any unit.
        workers: threads; by default one per core.
        finished: called with 1 for each job done.
    """
    results: list[Result | None] = [None] * len(jobs)
    order = sorted(range(len(jobs)), key=lambda i: -cost(jobs[i]))

    def run(i: int) -> None:
        results[i] = work(jobs[i])
        if finished is not None:
            finished(1)

    threads = ThreadPoolExecutor(workers or core_count(), thread_name_prefix="member")
    # Also for a single job: its numbers must not depend on how many others there are.
    with one_thread_per_product(), threads as pool:
        futures = [pool.submit(run, i) for i in order]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            # After an error, or an interrupt of this thread, what has not begun is not begun.
            for future in futures:
                future.cancel()
        for future in done:
            future.result()
    return results  # type: ignore[return-value]


def one_thread_per_product() -> AbstractContextManager[Any]:
    """Products of NumPy's arrays take one core each inside, in all threads of the process."""
    controller = _controller()
    return controller.limit(limits=1, user_api="blas") if controller else contextlib.nullcontext()


@functools.cache
def _controller() -> Any:
    """What reaches the libraries, or None: the engine also runs with NumPy and JAX alone."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        log.info("products of several workers hinder each other: threadpoolctl is missing")
        return None
    return ThreadpoolController()
