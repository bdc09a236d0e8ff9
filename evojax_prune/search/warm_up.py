"""Compiling what a search will run, while something else is done."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import jax
import numpy as np

from evojax_prune.search.strategies.strategy import Strategy


@contextlib.contextmanager
def compiling(make: Callable[[], Strategy], objectives: int) -> Iterator[None]:
    """Compile a strategy's programs in a thread while the block runs, and wait for it at the end.

    Its random draws take XLA seconds to compile. Nothing but time depends on it: what fails here
    fails again where it is needed, and is told there.

    Args:
        make: makes the strategy, or one of the same options and shapes.
        objectives: how many the search has.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="evojax_prune-compile")
    try:
        done = thread.submit(lambda: _two_generations(make(), objectives))
        yield
        wait([done])
    finally:
        thread.shutdown(wait=False)  # an exception is not held up


def _two_generations(strategy: Strategy, objectives: int) -> None:
    """The first one, and the first of all others."""
    key, state = jax.random.key(0, impl="threefry2x32"), None
    for _ in range(2):
        genomes, state = strategy.ask(key, state)
        state = strategy.tell(key, genomes, np.ones((len(genomes), objectives)), state)
