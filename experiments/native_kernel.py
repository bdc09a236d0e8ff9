"""The native kernel's steps against a core's ceiling for products, shape by shape.

python -m experiments.native_kernel [--seconds 2] [--prototypes DIR]

Pinned to one core, kernel, product and prototypes take turns; times are processor time, so other
work on the machine counts little, but it does slow the cache and the clock. The nominal rate counts
what the chosen form needs without regard to zeros: dual 2 N H multiply-adds a row for the first
layer, primal 4 F H, each later layer 6 in out. ``--prototypes`` names the folder of the first
measurements' ``heads.py``, whose jitted programs then train the same members on the same order.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import numpy as np

from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.native.member import Pair

BATCH = 32
RECIPE = Protocol(epochs=10**6, patience=0, batch_size=BATCH)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A compacted member: density 0.5 of 512 units a layer, or of the features."""

    mode: str
    rows: int
    widths: tuple[int, ...]
    dual: bool

    @property
    def flops(self) -> float:
        """Nominal operations of one full step."""
        (features, first, *_), pairs = self.widths, list(itertools.pairwise(self.widths))
        later = sum(6.0 * a * b for a, b in pairs[1:])
        return BATCH * ((2.0 * self.rows if self.dual else 4.0 * features) * first + later)

    @property
    def name(self) -> str:
        """For the table."""
        form = "dual" if self.dual else "primal"
        return f"{self.mode} N={self.rows} {'-'.join(map(str, self.widths))} {form}"


SHAPES = (
    Shape("both", 300, (2048, 256, 256, 10), True),
    Shape("both", 1000, (2048, 256, 256, 10), True),
    Shape("both", 2400, (2048, 256, 256, 10), True),
    Shape("features", 1000, (1024, 512, 10), True),
    Shape("features", 1000, (1024, 512, 10), False),
)


@dataclasses.dataclass(frozen=True)
class Data:
    """One member's training problem."""

    x: np.ndarray
    y: np.ndarray
    order: np.ndarray
    layers: list[Pair]


def make_data(shape: Shape, epochs: int) -> Data:
    rng = np.random.default_rng(0)
    features, classes = shape.widths[0], shape.widths[-1]
    y = rng.integers(0, classes, shape.rows).astype(np.int32)
    centres = 0.12 * rng.standard_normal((classes, features)) + 0.2
    x = np.maximum(centres[y] + 0.45 * rng.standard_normal((shape.rows, features)), 0)
    layers: list[Pair] = []
    for a, b in itertools.pairwise(shape.widths):
        limit = np.sqrt(6 / (a + b))
        layers.append((rng.uniform(-limit, limit, (a, b)).astype(np.float32), None))
    order = np.stack([rng.permutation(shape.rows) for _ in range(epochs)]).astype(np.int32)
    return Data(x.astype(np.float32), y, order, layers)


def native_run(shape: Shape, data: Data) -> Callable[[], None]:
    state = native.init_state(data.layers, rows=shape.rows, dual=shape.dual)
    inputs = data.x @ data.x.T if shape.dual else data.x
    z0 = data.x @ data.layers[0][0] if shape.dual else None
    return lambda: native.train_epochs(state, inputs, z0, data.y, data.order, RECIPE)


def prototype_runs(folder: Path, shape: Shape, data: Data) -> dict[str, Callable[[], None]]:
    """The prototypes' programs on the same compacted member; these widths need no padding."""
    sys.path.insert(0, str(folder))
    import heads
    import jax
    import jax.numpy as jnp

    epochs, rows = data.order.shape
    steps = -(-rows // BATCH)
    index = np.zeros((epochs, steps * BATCH), np.int32)
    weight = np.zeros((epochs, steps * BATCH), np.float32)
    index[:, :rows], weight[:, :rows] = data.order, 1.0
    batches = [jnp.asarray(a.reshape(epochs, steps, BATCH)) for a in (index, weight)]
    classes = np.eye(shape.widths[-1], dtype=np.float32)[data.y]
    layers = [(jnp.asarray(w), jnp.zeros(w.shape[1])) for w, _ in data.layers]
    if not shape.dual:
        programs = {"compact": (heads.member_manual, (layers, data.x))}
    else:
        first = (data.x @ data.x.T, data.x @ data.layers[0][0], layers[1:])
        programs = {
            "scatter": (lambda *a: heads.member_dual(*a, variant="scatter"), first),
            "block4": (lambda *a: heads.member_dual_block(*a, SB=4), first),
        }
    runs = {}
    for name, (program, arguments) in programs.items():
        jitted = jax.jit(program)
        given = jax.tree.map(jnp.asarray, (*arguments, classes))
        runs[name] = lambda f=jitted, a=given: jax.block_until_ready(f(*a, *batches))
    return runs


def product_run(size: int = 768) -> Callable[[], None]:
    a = np.random.default_rng(0).random((size, size), np.float32)
    out = np.empty_like(a)

    def run() -> None:
        np.matmul(a, a, out=out)

    return run


def take_turns(runs: dict[str, Callable[[], None]], seconds: float) -> dict[str, list[float]]:
    """Processor seconds of every run, after one to warm up, until the time is used up."""
    for run in runs.values():
        run()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end or len(times[next(iter(runs))]) < 5:
        for name, run in runs.items():
            started = time.process_time()
            run()
            times[name].append(time.process_time() - started)
    return times


def measure(shape: Shape, seconds: float, prototypes: Path | None) -> None:
    epochs = max(1, 60 // -(-shape.rows // BATCH))
    data = make_data(shape, epochs)
    runs = {"product": product_run(), "native": native_run(shape, data)}
    if prototypes is not None:
        runs |= prototype_runs(prototypes, shape, data)
    medians = {k: statistics.median(v) for k, v in take_turns(runs, seconds).items()}
    ceiling = 2.0 * 768**3 / medians.pop("product")
    steps = epochs * shape.rows / BATCH  # the last one of an epoch is smaller
    for name, median in medians.items():
        rate = shape.flops * steps / median
        print(
            f"{shape.name:40} {name:8} {median / steps * 1e6:8.0f} us/step"
            f" {epochs / median:8.1f} epochs/s {rate / 1e9:6.1f} GF/s"
            f" {rate / ceiling:6.2f} of the ceiling {ceiling / 1e9:5.1f} GF/s"
            f" {median / medians['native']:6.2f} x native's time",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="a program and shape [s]")
    parser.add_argument("--prototypes", type=Path, help="folder with the prototypes' heads.py")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"kernel: {native.instructions()}")
    for shape in SHAPES:
        measure(shape, options.seconds, options.prototypes)


if __name__ == "__main__":
    main()
