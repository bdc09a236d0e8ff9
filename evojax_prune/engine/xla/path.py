"""The path of compiled SGD: dual or primal form, in blocks of exact steps."""

from __future__ import annotations

from collections.abc import Sequence

from evojax_prune.core.compaction import Active
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.cost import Cost, Size, gram_fits
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.xla.dispatch import PLACEMENTS, ProgramForm, placements, train_programs
from evojax_prune.engine.xla.sgd import SgdProgram, renewal_steps

BLOCKS = (1, 4)
"""Steps per block that are considered; longer blocks gain little and compile slowly."""


class XlaPath:
    """See :class:`evojax_prune.engine.paths.EnginePath`."""

    name = "xla"
    words = frozenset({"dual", "primal", *PLACEMENTS})

    def at_home(self) -> bool:
        """Everywhere."""
        return True

    def supports(self, actives: Sequence[Active], protocol: Protocol) -> str | None:
        """Plain SGD, and a first layer of whole units."""
        sgd = protocol.optimizer == "sgd" and protocol.input_noise == 0.0
        if sgd and all(active.connections[0] is None for active in actives):
            return None
        return (
            "it is exact only for SGD without input noise and without connections in the first"
            " layer"
        )

    def forms(
        self, fold: Fold, active: Active, protocol: Protocol, wanted: frozenset[str]
    ) -> list[ProgramForm]:
        """Dual form, where the memory suffices for the Gram matrices, and primal form."""
        kinds = [kind for kind in ("dual", "primal") if kind in wanted]
        if not kinds:
            kinds = ["dual", "primal"] if gram_fits(fold, active) else ["primal"]
        return [
            ProgramForm(self.name, _program(fold, protocol, kind == "dual", block), together)
            for kind in kinds
            for block in BLOCKS
            for together in placements(wanted)
        ]

    def cost(
        self,
        fold: Fold,
        active: Active,
        protocol: Protocol,
        form: ProgramForm,
        *,
        scored: bool = True,
    ) -> Cost:
        """See :mod:`evojax_prune.engine.cost`."""
        size, program = Size.of(fold, active, protocol), form.program
        n, f, h, t = size.rows, size.features, size.units, program.block
        flops, moved = size.later_flops, size.later_bytes
        blocks = -(-size.steps // t)
        # inside a block every step is corrected for those before it
        correction = float(n * t * protocol.batch_size) if t > 1 else 0.0
        if program.dual:
            once = size.own * (2.0 * n * n * f + scored * size.starts) + size.starts
            flops += once / size.epochs + 4.0 * n * n * h + correction * h
            moved += 8.0 * n * h * blocks
        else:
            flops += 8.0 * n * f * h + correction * (f + h)
            moved += 16.0 * f * h * blocks
        return Cost.on(form.machine, size, flops, moved)

    def train(self, population: Population, rows: Sequence[int]) -> dict[Key, MemberFit]:
        """One member per core, or all side by side."""
        return train_programs(population, rows, self.cost)


def _program(fold: Fold, protocol: Protocol, dual: bool, block: int) -> SgdProgram:
    return SgdProgram(
        dual=dual,
        biased=fold.head.bias[0],
        nesterov=protocol.nesterov,
        smoothed=protocol.label_smoothing > 0.0,
        restore_best=protocol.restore_best,
        block=block,
        renewal=renewal_steps(protocol.momentum),
    )
