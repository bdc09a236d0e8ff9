"""Where compiled programs train: one member per core, or all side by side on the devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax

from evojax_prune.engine import hosts
from evojax_prune.engine.cost import Cost
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.machine import CPU_CORE, Machine, measure
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.workers import run_queue
from evojax_prune.engine.xla.groups import Group, groups_of
from evojax_prune.engine.xla.lanes import train_group
from evojax_prune.engine.xla.programs import Program
from evojax_prune.engine.xla.side_by_side import train_on_devices

PLACEMENTS = {"workers": False, "side-by-side": True}
"""Words for where members train, and whether that is side by side."""


@dataclasses.dataclass(frozen=True)
class ProgramForm:
    """A compiled program of a path, and where it runs."""

    path: str
    program: Program
    side_by_side: bool

    @property
    def name(self) -> str:
        """For logs and reports."""
        parts = [p for p in (self.path, self.program.name) if p]
        block = f" in blocks of {self.program.block}" if self.program.block > 1 else ""
        return "-".join(parts) + block + (" side by side" if self.side_by_side else "")

    @property
    def machine(self) -> Machine:
        """What it runs on."""
        return measure(jax.local_devices()[0]) if self.side_by_side else CPU_CORE


def placements(wanted: frozenset[str]) -> list[bool]:
    """Whether to train side by side: as wanted, else on accelerators only."""
    named = [together for word, together in PLACEMENTS.items() if word in wanted]
    return named or [jax.default_backend() != "cpu"]


def train_programs(
    population: Population, rows: Sequence[int], cost: Callable[..., Cost]
) -> dict[Key, MemberFit]:
    """Trains some members of which every form is a :class:`ProgramForm`.

    Args:
        population: what is trained.
        rows: those of them that this host trains one by one; of those that train side by side, it
            trains its share of every group.
        cost: the path's, by which workers take the costliest members first.
    """
    together = [row for row, form in enumerate(population.forms) if form.side_by_side]
    apart = [row for row in rows if not population.forms[row].side_by_side]
    fits: dict[Key, MemberFit] = {}
    if apart:
        fits |= _by_workers(population, apart, cost)
    if together:
        for group in groups_of(population, together, joint=True):
            share = group.of_members(hosts.own_share(len(group.rows)))
            trained = train_on_devices(share, population)
            if population.progress is not None:
                population.progress(len(trained))
            fits |= trained
    return fits


def _by_workers(
    population: Population, rows: list[int], cost: Callable[..., Cost]
) -> dict[Key, MemberFit]:
    jobs = [job for group in groups_of(population, rows, joint=False) for job in group.singly()]

    def seconds(job: Group) -> float:
        (fold,), (active,), (row,) = job.folds, job.actives, job.rows
        return cost(fold, active, population.protocol, population.forms[row]).seconds

    trained = run_queue(
        jobs, lambda job: train_group(job, population), seconds, finished=population.progress
    )
    return {key: fit for fits in trained for key, fit in fits.items()}
