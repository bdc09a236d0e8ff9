"""Which path trains each member.

The cost of one epoch of one member is estimated as

    flops / gemm + bytes / stream + steps * step

with the rates of :mod:`evojax_prune.engine.machine` and these counts, for N training rows, F
active features, H units in the first hidden layer, B rows a batch and blocks of T steps:

===============  =================  ==========================================================
first layer      flops an epoch     bytes an epoch
===============  =================  ==========================================================
native dual      2 N^2 H            (state stays in cache)
native primal    4 N F H            16 F H a step: weights and velocity, read and written
XLA dual         4 N^2 H            8 N H a block: limit and velocity, read
XLA primal       8 N F H            16 F H a block: both, read and written
later layers     6 N h h'           16 h h' a step
===============  =================  ==========================================================

The XLA forms multiply with limit and velocity at once, hence their factor of 2. The native dual
skips what is still zero in its first epoch, which costs half. Where members have their own active
features, dual form has costs once a member, too, spread over the epochs expected: the Gram matrix
(N^2 F natively, as it is symmetric, else 2 N^2 F), the first preactivations (with XLA for every
member) and, to be scored, the first kernel (2 N F H each). Dual is refused where the Gram matrices
would take more than a quarter of the free memory.

On a CPU the native kernel trains one member a core. Without it, or on request, XLA does: on a CPU
one member a core (``workers``), on accelerators, or on request, all side by side (``vmap``).
Optimizers other than SGD, input noise and connections switched in the first layer need ``optax``.
``connections`` gains nothing from compaction: every unit stays active.

The CPU rates are measured constants; an accelerator's are measured when it is first used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from evojax_prune.core.compaction import Active
from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.form import Form, static_part
from evojax_prune.engine.machine import CPU_CORE, Machine, free_bytes, measure
from evojax_prune.engine.problem import Problem
from evojax_prune.engine.workers import core_count

ENGINES = (
    "auto",
    "native",
    "native-dual",
    "native-primal",
    "workers",
    "workers-dual",
    "workers-primal",
    "workers-optax",
    "vmap",
    "vmap-dual",
    "vmap-primal",
    "vmap-optax",
)
"""What ``engine`` may be: a path, with or without the form of the first layer."""

EXPECTED_EPOCHS = 100
"""Epochs that early stopping is expected to leave of a long protocol."""

BLOCKS = (1, 4)
"""Steps a block that are considered; longer blocks gain little and compile slowly."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """How one member is trained: path ``native``, ``workers`` or ``vmap``, and the XLA program."""

    path: str
    form: Form

    @property
    def name(self) -> str:
        """For logs and reports."""
        block = f" in blocks of {self.form.block}" if self.form.block > 1 else ""
        return f"{self.path}-{self.form.kind}{block}"


def plan(
    problem: Problem, actives: Sequence[Active], protocol: Protocol, engine: str
) -> list[Choice]:
    """The path of every member.

    Args:
        problem: a fold; folds of one population differ by a row at most.
        actives: the members' active parts.
        protocol: how they are trained.
        engine: one of ``ENGINES``.

    Raises:
        UserError: an unknown engine, or one that cannot train these members exactly.
    """
    if engine not in ENGINES:
        raise UserError(f"unknown engine {engine!r}; expected one of {', '.join(ENGINES)}")
    wanted, _, kind = engine.partition("-")
    sgd_works = protocol.optimizer == "sgd" and protocol.input_noise == 0.0
    path = _path(wanted, sgd_works and all(a.connections[0] is None for a in actives))
    if path == "native" and any(c is not None for a in actives for c in a.connections):
        path = _xla_path() if wanted == "auto" else path
    machine = CPU_CORE if path != "vmap" else measure(jax.devices()[0])
    return [_choice(problem, a, protocol, path, kind, machine, sgd_works) for a in actives]


def _path(wanted: str, native_works: bool) -> str:
    if wanted == "auto":
        accelerator = jax.default_backend() != "cpu"
        return "native" if native_works and not accelerator and native.available() else _xla_path()
    if wanted == "native" and not native.available():
        raise UserError(f"engine 'native' cannot be used: {native.why_unavailable()}")
    return wanted


def _xla_path() -> str:
    return "workers" if jax.default_backend() == "cpu" else "vmap"


def _choice(
    problem: Problem,
    active: Active,
    protocol: Protocol,
    path: str,
    kind: str,
    machine: Machine,
    sgd_works: bool,
) -> Choice:
    dense_first = active.connections[0] is None
    if path == "native" and not (sgd_works and all(c is None for c in active.connections)):
        raise UserError(
            "engine 'native' trains by plain SGD whole units only; this run uses another optimizer,"
            " input noise or connections: choose engine 'auto'"
        )
    if kind in ("dual", "primal") and not (sgd_works and dense_first):
        raise UserError(
            f"engine '{path}-{kind}' is exact only for SGD without input noise and without"
            " connections in the first layer: choose engine 'auto'"
        )
    biased = problem.head.bias[0]
    if kind == "optax" or not (sgd_works and dense_first):
        return Choice(path, Form("optax", 1, biased, protocol))
    kinds = [kind] if kind else ["dual", "primal"] if _gram_fits(problem, active) else ["primal"]
    blocks = (1,) if path == "native" else BLOCKS
    forms = [Form(k, t, biased, static_part(protocol)) for k in kinds for t in blocks]
    seconds = [epoch_seconds(problem, active, protocol, path, f, machine) for f in forms]
    return Choice(path, forms[seconds.index(min(seconds))])


def _gram_fits(problem: Problem, active: Active) -> bool:
    own = active.widths[0] < problem.head.features
    grams = core_count() if own else 1
    return grams * 4 * problem.rows**2 <= free_bytes(jax.devices()[0]) / 4


def epoch_seconds(
    problem: Problem, active: Active, protocol: Protocol, path: str, form: Form, machine: Machine
) -> float:
    """Estimated seconds an epoch; see the module's docstring."""
    flops, moved = epoch_work(problem, active, protocol, path, form)
    steps = -(-problem.rows // protocol.batch_size)
    return flops / machine.gemm + moved / machine.stream + steps * machine.step


def epoch_work(
    problem: Problem,
    active: Active,
    protocol: Protocol,
    path: str,
    form: Form,
    *,
    scored: bool = True,
) -> tuple[float, float]:
    """Floating-point operations and bytes moved in one epoch of one member, once trained scored."""
    n, (f, h, *_) = problem.rows, active.widths
    native_path = path == "native"
    epochs = min(protocol.epochs, EXPECTED_EPOCHS)
    steps = -(-n // protocol.batch_size)
    blocks = -(-steps // form.block)
    pairs = list(zip(active.widths[1:], (*active.widths[2:], problem.head.classes), strict=True))
    flops = sum(6.0 * n * a * b for a, b in pairs)
    moved = sum(16.0 * a * b * steps for a, b in pairs) if not native_path else 0.0
    if form.kind == "dual":
        own = f < problem.head.features
        gram = (1.0 if native_path else 2.0) * n * n * f
        starts = 2.0 * n * f * h
        once = own * (gram + scored * starts) + (own or not native_path) * starts
        flops += once / epochs
        flops += (2.0 - 1.0 / epochs if native_path else 4.0) * n * n * h
        # inside a block every step is corrected for those before it
        flops += n * form.block * protocol.batch_size * h if form.block > 1 else 0.0
        moved += 0.0 if native_path else 8.0 * n * h * blocks
    else:
        flops += (4.0 if native_path or form.kind == "optax" else 8.0) * n * f * h
        flops += n * form.block * protocol.batch_size * (f + h) if form.block > 1 else 0.0
        moved += 16.0 * f * h * blocks
    return flops, moved
