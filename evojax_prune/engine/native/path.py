"""The path of the native kernel: one member per core, exact sizes, nothing to compile."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax

from evojax_prune.core.compaction import Active
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import native
from evojax_prune.engine.cost import Cost, Size, gram_fits
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.machine import CPU_CORE
from evojax_prune.engine.native.training import NativeJob, train_native
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.workers import run_queue


@dataclasses.dataclass(frozen=True)
class NativeForm:
    """The first layer in dual form, or in primal form."""

    dual: bool
    side_by_side: bool = False

    @property
    def name(self) -> str:
        """For logs and reports."""
        return f"native-{'dual' if self.dual else 'primal'}"


class NativePath:
    """See :class:`evojax_prune.engine.paths.EnginePath`."""

    name = "native"
    words = frozenset({"dual", "primal"})

    def at_home(self) -> bool:
        """On a CPU."""
        return jax.default_backend() == "cpu"

    def supports(self, actives: Sequence[Active], protocol: Protocol) -> str | None:
        """Whole units by plain SGD, where the kernel was compiled, and a hidden layer."""
        if not native.available():
            return native.why_unavailable()
        if any(len(active.index) == 1 for active in actives):
            return "it trains heads with a hidden layer, and this one has none"
        sgd = protocol.optimizer == "sgd" and protocol.input_noise == 0.0
        if not sgd or any(c is not None for active in actives for c in active.connections):
            return (
                "it trains whole units only, by plain SGD; this run uses another optimizer, input"
                " noise or connections"
            )
        return None

    def forms(
        self, fold: Fold, active: Active, protocol: Protocol, wanted: frozenset[str]
    ) -> list[NativeForm]:
        """Both forms, where the memory suffices for the Gram matrices."""
        if wanted:
            return [NativeForm(word == "dual") for word in sorted(wanted)]
        return (
            [NativeForm(True), NativeForm(False)]
            if gram_fits(fold, active)
            else [NativeForm(False)]
        )

    def cost(
        self,
        fold: Fold,
        active: Active,
        protocol: Protocol,
        form: NativeForm,
        *,
        scored: bool = True,
    ) -> Cost:
        """See :mod:`evojax_prune.engine.cost`."""
        size = Size.of(fold, active, protocol)
        flops, moved, n = size.later_flops, 0.0, size.rows
        if form.dual:
            once = size.own * (1.0 * n * n * size.features + scored * size.starts)
            flops += (once + size.own * size.starts) / size.epochs
            flops += (2.0 - 1.0 / size.epochs) * n * n * size.units
        else:
            flops += 4.0 * n * size.features * size.units
            moved = 16.0 * size.features * size.units * size.steps
        return Cost.on(CPU_CORE, size, flops, moved)

    def train(self, population: Population, rows: Sequence[int]) -> dict[Key, MemberFit]:
        """One member on one fold per core at a time."""
        protocol, actives, forms = population.protocol, population.actives, population.forms
        keys = [Key(k, row) for k in range(len(population.folds)) for row in rows]
        jobs = [
            NativeJob(population.folds[k], row, actives[row], forms[row].dual) for k, row in keys
        ]

        def work(job: NativeJob) -> MemberFit:
            return train_native(job, protocol, population.evaluate, population.return_params)

        def cost(job: NativeJob) -> float:
            return self.cost(job.problem, job.active, protocol, forms[job.row]).seconds

        fits = run_queue(jobs, work, cost, finished=population.progress)
        return dict(zip(keys, fits, strict=True))
