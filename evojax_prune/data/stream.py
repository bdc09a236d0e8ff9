"""Work done ahead of the consumer, in threads, within bounds."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 4
"""Results a thread may be ahead of the consumer: what bounds the memory."""


def map_ahead(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int | None = None,
    ahead: int = AHEAD,
) -> Iterator[R]:
    """``map`` in threads, in order, a bounded number of items ahead.

    Pillow and hashlib let go of Python's lock, so that threads do decode and hash side by side.

    Args:
        function: called once an item, in any thread.
        items: drawn one by one, in the consumer's thread.
        workers: threads; as many as there are cores if None.
        ahead: results a thread may be ahead of the consumer.

    Raises:
        Exception: what the function raised, when its item's turn comes.
    """
    workers = workers or os.cpu_count() or 1
    pending: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="evojax_prune-data")
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        # All are done, unless something was raised; then what still runs is not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
