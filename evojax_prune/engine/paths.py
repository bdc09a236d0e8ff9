"""What the engine's ways to train have in common: one small protocol, one instance per way."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from evojax_prune.core.compaction import Active
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.cost import Cost
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.fold import Fold


class Key(NamedTuple):
    """Which head: places of its fold and of its member in the population."""

    fold: int
    row: int


@dataclasses.dataclass(frozen=True)
class Population:
    """Members to train on every fold, and what is wanted of them.

    Attributes:
        folds: the folds.
        actives: active parts of every member.
        forms: for every member one of its path's forms.
        protocol: how a head is trained.
        evaluate: splits to score.
        return_params: also return the parameters.
        member_batch: most members trained side by side; None for what fits.
        progress: called with the number of heads just trained, or None.
    """

    folds: Sequence[Fold]
    actives: Sequence[Active]
    forms: Sequence[Any]
    protocol: Protocol
    evaluate: tuple[str, ...]
    return_params: bool
    member_batch: int | None
    progress: Callable[[int], None] | None


class Form(typing.Protocol):
    """One of the ways in which a path can train a member; hashable."""

    @property
    def name(self) -> str:
        """For logs and reports, as in ``native-dual``."""

    @property
    def side_by_side(self) -> bool:
        """Members are trained together on JAX's devices rather than one per core."""


class EnginePath(typing.Protocol):
    """One way to train a population; all compute the same training, to rounding.

    Attributes:
        name: what ``engine`` calls it.
        words: words that ``form`` may name.
    """

    name: str
    words: frozenset[str]

    def at_home(self) -> bool:
        """Whether it uses JAX's default backend, so that ``auto`` may take it."""

    def supports(self, actives: Sequence[Active], protocol: Protocol) -> str | None:
        """None if it trains these members exactly, else the clause that says why it cannot."""

    def forms(
        self, fold: Fold, active: Active, protocol: Protocol, wanted: frozenset[str]
    ) -> list[Any]:
        """The forms among which the cost decides.

        Args:
            fold: a fold; those of one population differ by a row at most.
            active: the member's active parts.
            protocol: how it is trained.
            wanted: words that each form must answer to.
        """

    def cost(
        self,
        fold: Fold,
        active: Active,
        protocol: Protocol,
        form: Any,
        *,
        scored: bool = True,
    ) -> Cost:
        """Estimated cost of one epoch of one member, which is ``scored`` once it is trained."""

    def train(self, population: Population, rows: Sequence[int]) -> dict[Key, MemberFit]:
        """Trains and scores some members on all folds."""
