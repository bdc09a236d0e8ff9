"""Keeps the threads of NumPy's linear algebra out of the way of one worker a core.

Left alone, OpenBLAS splits every product over all cores. Two workers that multiply at the same time
then wait for each other's halves: products took twice as long on two cores.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from contextlib import AbstractContextManager
from typing import Any

log = logging.getLogger(__name__)


def one_thread_a_product() -> AbstractContextManager[Any]:
    """Products of NumPy's arrays take one core each inside, in all threads of the process."""
    controller = _controller()
    return controller.limit(limits=1, user_api="blas") if controller else contextlib.nullcontext()


@functools.cache
def _controller() -> Any:
    """What reaches the libraries, or None: the engine also runs with NumPy and JAX alone."""
    try:
        from threadpoolctl import ThreadpoolController
    except ImportError:
        log.info("products of several workers get in each other's way: threadpoolctl is missing")
        return None
    return ThreadpoolController()
