"""How fast a device multiplies and moves numbers, and how much memory it has free."""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class Machine:
    """Rates of one device (or one CPU core).

    Attributes:
        gemm: float32 products, floating-point operations per second.
        stream: memory traffic, bytes per second.
        step: seconds that a step of a compiled loop costs besides its arithmetic.
    """

    gemm: float
    stream: float
    step: float


CPU_CORE = Machine(gemm=55e9, stream=15e9, step=60e-6)
"""One core of the machine the engine was developed on (AMD Milan, AVX2): only the ratios matter."""


@functools.cache
def measure(device: jax.Device) -> Machine:
    """Rates of an accelerator, measured once per process in about a second."""
    if device.platform == "cpu":
        return CPU_CORE
    with jax.default_device(device):
        a = jnp.ones((16, 512, 2048), jnp.float32)
        b = jnp.ones((16, 2048, 1024), jnp.float32)
        gemm = 2 * a.size * b.shape[2] / _seconds(lambda: _product(a, b))
        big = jnp.ones(2**26, jnp.float32)
        stream = 2 * big.nbytes / _seconds(lambda: _shift(big))
        loop = _seconds(lambda: _small_steps(jnp.ones((32, 32), jnp.float32)))
    return Machine(gemm, stream, loop / SMALL_STEPS * KERNELS_PER_STEP)


SMALL_STEPS = 200
KERNELS_PER_STEP = 15
"""Kernels that a training step launches, about; the measured loop launches one per step."""


@jax.jit
def _product(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


@jax.jit
def _shift(x: jax.Array) -> jax.Array:
    return x + 1.0


@jax.jit
def _small_steps(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, SMALL_STEPS, lambda _, a: a @ a * 0.01, x)


def _seconds(run: Callable[[], jax.Array]) -> float:
    run().block_until_ready()
    times = []
    for _ in range(3):
        started = time.perf_counter()
        run().block_until_ready()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def free_bytes(device: jax.Device) -> int:
    """Memory free on the device, or on the host for a CPU."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"] - stats["bytes_in_use"])
    return free_host_bytes()


def free_host_bytes() -> int:
    """Memory free on the host."""
    if "SC_AVPHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 4 * 2**30  # macOS does not say
