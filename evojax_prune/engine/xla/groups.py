"""Members that train in one program: same program, same padded size, same steps per epoch."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

from evojax_prune.core.compaction import Active
from evojax_prune.core.head import HeadSpec
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.xla.programs import Program

LEVELS = (1 / 4, 1 / 2, 3 / 4, 1)
"""Parts of its width that a layer is padded to, so that the compiled programs of a search are few.
"""

FINE_LEVELS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 1)
"""The same for members side by side, of which there may be many."""

COMPANY = 64
"""Members side by side in a group with less company join the next larger group: so few take an
accelerator hardly any time, whatever their size, but each group takes its own."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Members of one padded size, each to be trained on every one of some folds.

    Attributes:
        program: how each of them trains.
        places: the folds' places among those of the population.
        folds: folds with the same number of steps per epoch.
        rows: the members' places in the population.
        actives: their active parts.
        widths: padded widths.
        own_columns: members differ in their active features.
    """

    program: Program
    places: tuple[int, ...]
    folds: tuple[Fold, ...]
    rows: tuple[int, ...]
    actives: tuple[Active, ...]
    widths: tuple[int, ...]
    own_columns: bool

    def key(self, fold: int, member: int) -> Key:
        """Where the population expects the fit of one of the group's folds and members."""
        return Key(self.places[fold], self.rows[member])

    def of_members(self, members: Sequence[int]) -> Group:
        """Some of the members, by their places in the group."""
        return dataclasses.replace(
            self,
            rows=tuple(self.rows[i] for i in members),
            actives=tuple(self.actives[i] for i in members),
        )

    def singly(self) -> list[Group]:
        """One group for every member on every fold."""
        return [
            dataclasses.replace(group, places=(place,), folds=(fold,))
            for place, fold in zip(self.places, self.folds, strict=True)
            for group in (self.of_members([i]) for i in range(len(self.rows)))
        ]


def groups_of(population: Population, rows: Sequence[int], *, joint: bool) -> list[Group]:
    """The groups of some members on all folds, each as large as can be.

    Args:
        population: what is trained; its forms have programs.
        rows: the members to group.
        joint: the members are trained side by side: pad every layer to the level of the fullest
            one (:func:`bucket_widths`), and leave no group with few members if they can join one.
    """
    head, actives = population.folds[0].head, population.actives
    own_columns = any(actives[row].widths[0] < head.features for row in rows)
    sized: dict[tuple[Program, tuple[int, ...]], list[int]] = collections.defaultdict(list)
    for row in rows:
        widths = bucket_widths(actives[row], head, joint)
        sized[population.forms[row].program, widths].append(row)
    if joint:
        _join(sized)
    by_steps: dict[int, list[int]] = collections.defaultdict(list)
    for place, fold in enumerate(population.folds):
        by_steps[-(-fold.rows // population.protocol.batch_size)].append(place)
    return [
        Group(
            program,
            tuple(places),
            tuple(population.folds[place] for place in places),
            tuple(members),
            tuple(actives[row] for row in members),
            widths,
            own_columns,
        )
        for (program, widths), members in sized.items()
        for places in by_steps.values()
    ]


def _join(sized: dict[tuple[Program, tuple[int, ...]], list[int]]) -> None:
    """Moves members of small groups to the next larger group of their program."""
    for program, widths in sorted(sized, key=lambda key: key[1]):
        larger = [
            other
            for also, other in sized
            if also == program
            and other != widths
            and all(a <= b for a, b in zip(widths, other, strict=True))
        ]
        if larger and len(sized[program, widths]) < COMPANY:
            joined = sized[program, min(larger)] + sized.pop((program, widths))
            sized[program, min(larger)] = sorted(joined)


def bucket_widths(active: Active, head: HeadSpec, joint: bool) -> tuple[int, ...]:
    """Padded widths of the features and hidden layers of a member.

    Args:
        active: its active parts.
        head: the dense head.
        joint: of the fine levels, every layer takes that of the fullest one: fewer buckets, with
            more members.
    """
    full = head.widths[:-1]
    parts = [
        _level(width / most, FINE_LEVELS if joint else LEVELS)
        for width, most in zip(active.widths, full, strict=True)
    ]
    # a layer that nobody prunes stays whole and must not set the level of the others
    pruned = [p for p, w, most in zip(parts, active.widths, full, strict=True) if w < most]
    if joint and pruned:
        parts = [
            max(pruned) if w < most else 1 for w, most in zip(active.widths, full, strict=True)
        ]
    return tuple(math.ceil(most * part) for part, most in zip(parts, full, strict=True))


def _level(part: float, levels: tuple[float, ...]) -> float:
    return next(level for level in levels if part <= level)
