"""Work ahead of the consumer keeps its order, its bounds and its errors."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from evojax_prune.data import ImageSplit
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


class Stream:
    """Items that can be iterated over and nothing else."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(9))


@pytest.mark.parametrize("items", [Stream(), range(9)], ids=["stream", "sequence"])
def test_only_the_images_that_are_picked_are_decoded(items: Stream | range) -> None:
    decoded: list[int] = []

    def decode(item: int) -> np.ndarray:
        decoded.append(item)
        return np.full((1, 1, 3), item, np.uint8)

    split = ImageSplit("all", np.zeros(9, np.int32), "x", None, items, decode)
    assert [int(image[0, 0, 0]) for image in split.pick([5, 2, 5])] == [5, 2, 5]
    assert decoded == [5, 2, 5]
    assert split.pick([]) == []
