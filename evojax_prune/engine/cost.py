"""What one epoch of one member costs, by estimate.

The seconds are

    flops / gemm + bytes / stream + steps * step

with the rates of :mod:`evojax_prune.engine.machine` and these counts, for N training rows, F
active features, H units in the first hidden layer, B rows per batch and blocks of T steps:

===============  =================  ==========================================================
first layer      flops per epoch    bytes per epoch
===============  =================  ==========================================================
native dual      2 N^2 H            (state stays in cache)
native primal    4 N F H            16 F H per step: weights and velocity, read and written
XLA dual         4 N^2 H            8 N H per block: limit and velocity, read
XLA primal       8 N F H            16 F H per block: both, read and written
optax            4 N F H            16 F H per step
later layers     6 N h h'           16 h h' per step
===============  =================  ==========================================================

The XLA forms multiply with limit and velocity at once, hence their factor of 2. The native dual
skips what is still zero in its first epoch, which costs half. Where members have their own active
features, the dual form has costs once per member, too, spread over the epochs expected: the Gram
matrix (N^2 F natively, as it is symmetric, else 2 N^2 F), the first preactivations (with XLA for
every member) and, to be scored, the first kernel (2 N F H each). Dual is refused where the Gram
matrices would take more than a quarter of the free memory.
"""

from __future__ import annotations

import dataclasses
import itertools

import jax

from evojax_prune.core.compaction import Active
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.machine import Machine, free_bytes
from evojax_prune.engine.workers import core_count

EXPECTED_EPOCHS = 100
"""Epochs that early stopping is expected to leave of a long protocol."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Estimated cost of one epoch of one member.

    Attributes:
        flops: floating-point operations.
        bytes: memory traffic.
        seconds: both on the machine in question, and what its steps take besides.
    """

    flops: float
    bytes: float
    seconds: float

    @classmethod
    def on(cls, machine: Machine, size: Size, flops: float, moved: float) -> Cost:
        """The cost of operations and bytes on a machine."""
        seconds = flops / machine.gemm + moved / machine.stream + size.steps * machine.step
        return cls(flops, moved, seconds)


@dataclasses.dataclass(frozen=True)
class Size:
    """What the counts depend on.

    Attributes:
        rows: training rows N.
        features: active features F.
        units: active units H of the first hidden layer, or the classes of a linear head.
        own: the member has its own active features.
        batch: rows per step B.
        epochs: epochs expected.
        later: inputs and outputs of each later layer.
    """

    rows: int
    features: int
    units: int
    own: bool
    batch: int
    epochs: int
    later: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, fold: Fold, active: Active, protocol: Protocol) -> Size:
        """The size of one member on one fold."""
        features, units, *_ = widths = (*active.widths, fold.head.classes)
        return cls(
            fold.rows,
            features,
            units,
            features < fold.head.features,
            protocol.batch_size,
            min(protocol.epochs, EXPECTED_EPOCHS),
            tuple(itertools.pairwise(widths[1:])),
        )

    @property
    def steps(self) -> int:
        """Steps per epoch."""
        return -(-self.rows // self.batch)

    @property
    def later_flops(self) -> float:
        """Operations of the later layers per epoch."""
        return sum(6.0 * self.rows * a * b for a, b in self.later)

    @property
    def later_bytes(self) -> float:
        """Bytes that weights and velocity of the later layers move per epoch."""
        return sum(16.0 * a * b * self.steps for a, b in self.later)

    @property
    def starts(self) -> float:
        """Operations of the first preactivations, or of the first kernel in dual form."""
        return 2.0 * self.rows * self.features * self.units


def gram_fits(fold: Fold, active: Active) -> bool:
    """Whether the Gram matrices of all cores' members take at most a quarter of free memory."""
    own = active.widths[0] < fold.head.features
    grams = core_count() if own else 1
    return grams * 4 * fold.rows**2 <= free_bytes(jax.local_devices()[0]) / 4
