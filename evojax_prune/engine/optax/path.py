"""The path for what SGD's special forms cannot do exactly.

Those are optimizers that are not linear in the gradient, noise on the inputs, and connections
switched in the first layer. Connections gain nothing from compaction: every unit stays active.
"""

from __future__ import annotations

from collections.abc import Sequence

from evojax_prune.core.compaction import Active
from evojax_prune.core.errors import UserError
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.cost import Cost, Size
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.optax.steps import OptaxProgram, make_optimizer
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.xla.dispatch import PLACEMENTS, ProgramForm, placements, train_programs


class OptaxPath:
    """See :class:`evojax_prune.engine.paths.EnginePath`."""

    name = "optax"
    words = frozenset(PLACEMENTS)

    def at_home(self) -> bool:
        """Everywhere."""
        return True

    def supports(self, actives: Sequence[Active], protocol: Protocol) -> str | None:
        """Everything but an optimizer that optax does not have."""
        try:
            make_optimizer(protocol)
        except UserError as error:
            return str(error)
        return None

    def forms(
        self, fold: Fold, active: Active, protocol: Protocol, wanted: frozenset[str]
    ) -> list[ProgramForm]:
        """One."""
        program = OptaxProgram.of(protocol, fold.head.bias[0])
        return [ProgramForm(self.name, program, together) for together in placements(wanted)]

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
        size = Size.of(fold, active, protocol)
        first = size.features * size.units
        flops = size.later_flops + 4.0 * size.rows * first
        return Cost.on(form.machine, size, flops, size.later_bytes + 16.0 * first * size.steps)

    def train(self, population: Population, rows: Sequence[int]) -> dict[Key, MemberFit]:
        """One member per core, or all side by side."""
        return train_programs(population, rows, self.cost)
