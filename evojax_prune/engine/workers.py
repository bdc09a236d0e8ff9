"""One worker a core, each pulling the next member from a queue."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from evojax_prune.engine.blas import one_thread_a_product

Job = TypeVar("Job")
Result = TypeVar("Result")


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        workers: threads; by default one a core.
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
    with one_thread_a_product(), threads as pool:
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
