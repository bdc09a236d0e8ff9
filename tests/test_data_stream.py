"""Work ahead of the consumer keeps its order, its bounds and its errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from evojax_prune.data.stream import AHEAD, map_ahead


def test_order() -> None:
    assert list(map_ahead(lambda i: i * i, range(300))) == [i * i for i in range(300)]


def test_nothing() -> None:
    assert list(map_ahead(str, [])) == []


def test_bounded() -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for i in range(10_000):
            drawn = i
            yield i

    results = map_ahead(str, items())
    next(results)
    assert drawn <= AHEAD * (os.cpu_count() or 1)
    results.close()


def test_error_at_its_turn() -> None:
    results = map_ahead(lambda i: 1 // (2 - i), range(5))
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_what_still_runs_after_an_error_is_not_waited_for() -> None:
    """Ctrl-C while rankings are made does not wait until the longest of them is done."""
    ended = threading.Event()

    def work(item: int) -> None:
        if item == 0:
            raise ValueError("the first")
        ended.wait(60)

    started = time.monotonic()
    with pytest.raises(ValueError, match="the first"):
        list(map_ahead(work, range(3), workers=3))
    assert time.monotonic() - started < 30
    ended.set()
