"""A long search: 2,000 generations with flat memory and open files."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hostile_cases import saved

from evojax_prune.cli.flags import parse
from evojax_prune.methods.observer import Observer
from evojax_prune.run.run import prune_into
from evojax_prune.run.store import PartialFolder
from evojax_prune.search import GenerationInfo

GENERATIONS = int(os.environ.get("EVOJAX_PRUNE_SOAK_GENERATIONS", "2000"))
CHILDREN = 6
EVERY = 20

GROWTH = 10_000
"""Bytes per generation by which memory may grow: what was evaluated is kept."""

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the memory is read from /proc"
)


class Watch(Observer):
    """What the process holds after every :data:`EVERY` generations: bytes, open files, threads."""

    def __init__(self) -> None:
        self.held: list[tuple[int, int, int]] = []

    def on_generation(self, info: GenerationInfo) -> None:
        if info.generation % EVERY:
            return
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        files = len(os.listdir("/proc/self/fd"))
        held = (pages * os.sysconf("SC_PAGE_SIZE"), files, threading.active_count())
        self.held.append(held)


@pytest.mark.soak
@pytest.mark.parametrize("selection", ["holdout", "resampled"])
def test_a_long_search_holds_no_more_at_its_end(selection: str, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 40)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    table = saved(tmp_path / "t.npz", x_train=x, y_train=y)
    words = [
        *("--dataset", str(table), "--output", str(tmp_path / "run"), "--selection", selection),
        *("--hidden", "4", "--search-protocol.epochs", "1", "--final-protocol.epochs", "1"),
        *("--population", str(CHILDREN), "--evaluations", str(GENERATIONS * CHILDREN)),
        *("--finalists", "1", "--init", "random"),
    ]
    config, watch = parse(words), Watch()
    prune_into(PartialFolder(tmp_path / "run"), config, watch)
    assert len(watch.held) * EVERY > GENERATIONS / 3
    memory, files, threads = np.array(watch.held).T
    settled = len(memory) // 4  # programs are compiled, buffers have their sizes
    generations = EVERY * np.arange(len(memory))[settled:]
    slope = np.polyfit(generations, memory[settled:], 1)[0]
    print(f"{selection}: {EVERY * len(memory)} generations, {slope:.0f} bytes a generation")
    assert slope < GROWTH
    assert files[-1] <= files[settled]
    assert threads[-1] <= threads[settled]
