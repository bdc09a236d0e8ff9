"""What a compiled training program is specialised to."""

from __future__ import annotations

import dataclasses

from evojax_prune.core.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class Form:
    """Static choices of one training program; everything else is an argument.

    Attributes:
        kind: ``"dual"`` or ``"primal"`` (momentum SGD in blocks), or ``"optax"``.
        block: steps a block.
        biased: the first layer has a bias.
        protocol: for ``"optax"`` the whole protocol, else only what changes the program.
    """

    kind: str
    block: int
    biased: bool
    protocol: Protocol


def static_part(protocol: Protocol) -> Protocol:
    """The protocol with everything that the SGD programs take as arguments at its default.

    The momentum stays only as the number of steps between renewals needs it.
    """
    return Protocol(
        momentum=protocol.momentum,
        nesterov=protocol.nesterov,
        restore_best=protocol.restore_best,
    )
