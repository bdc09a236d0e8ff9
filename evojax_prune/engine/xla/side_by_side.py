"""A group side by side on one or more devices, in portions that fit their memory."""

from __future__ import annotations

import itertools
import logging
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from evojax_prune.core.errors import UserError
from evojax_prune.engine.fits import MemberFit
from evojax_prune.engine.machine import free_bytes
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.xla.groups import Group
from evojax_prune.engine.xla.lanes import train_group

log = logging.getLogger(__name__)

EPOCHS_PER_CALL = 10
"""Epochs between two looks at which members are done: early stopping's usual patience."""

SHRINK = 4
"""A program is left for one that is smaller by this factor, once its members fit that one."""

MEMORY_SHARE = 0.6
"""Share of the free memory that the estimate may fill."""


def train_on_devices(group: Group, population: Population) -> dict[Key, MemberFit]:
    """Trains a group on all local devices, the members sharded over them.

    Where not all fit, or at most ``member_batch`` are asked for, the group is cut into portions;
    where a portion runs out of memory all the same, it goes on in halves.

    Raises:
        UserError: not even one member fits.
    """
    devices = jax.local_devices()
    fit = population.member_batch or members_that_fit(group, devices[0]) * len(devices)
    fits: dict[Key, MemberFit] = {}
    waiting = list(range(len(group.rows)))
    while waiting:
        portion = len(waiting)
        if capacity(portion, _most(population), len(devices)) > fit:
            portion = min(portion, largest_size(fit, len(devices)))
        now = waiting[:portion]
        try:
            fits |= _train(group.of_members(now), population, devices)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            if portion == 1:
                raise UserError(
                    "one member alone does not fit the device's memory; use a smaller head, fewer"
                    " training rows or another device"
                ) from error
            fit = max(1, portion // 2)
            log.warning("out of device memory: going on with %d members at a time", fit)
            continue
        waiting = waiting[len(now) :]
    return fits


def _train(group: Group, population: Population, devices: list[jax.Device]) -> dict[Key, MemberFit]:
    mesh = Mesh(np.asarray(devices), ("members",))
    most = max(len(group.rows), min(_most(population), population.member_batch or 2**30))

    def place(tree: Any, axis: int | None) -> Any:
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "members")
        return jax.device_put(tree, NamedSharding(mesh, spec))

    def smaller(live: int, size: int) -> int:
        wanted = capacity(live, most, len(devices))
        return wanted if wanted * SHRINK <= size else size

    return train_group(
        group,
        population,
        size=capacity(len(group.rows), most, len(devices)),
        smaller=smaller,
        epochs_per_call=min(EPOCHS_PER_CALL, population.protocol.epochs),
        place=place,
    )


def _most(population: Population) -> int:
    """Members of the largest share that a host can have."""
    return -(-len(population.actives) // jax.process_count())


def capacity(members: int, most: int, devices: int) -> int:
    """Members of the program that trains so many of them.

    It is one of few sizes, 1, 2, 3, 4, 6, 8, 12, ... on each device, or the whole population: so
    the programs that a search compiles are few, though its groups change with every generation.
    """
    share = -(-members // devices)
    size = 1 << (share - 1).bit_length()
    if size >= 4 and share <= 3 * size // 4:
        size = 3 * size // 4
    return min(size, -(-most // devices)) * devices


def largest_size(fit: int, devices: int) -> int:
    """The largest of those sizes that does not exceed ``fit``; ``fit`` below one per device."""
    share = fit // devices
    if not share:
        return fit
    size = 1 << (share.bit_length() - 1)
    return (3 * size // 2 if size >= 2 and share >= 3 * size // 2 else size) * devices


def members_that_fit(group: Group, device: jax.Device) -> int:
    """Members whose training state fits the device's free memory, by estimate; at least one."""
    return max(1, math.floor(MEMORY_SHARE * free_bytes(device) / member_bytes(group)))


def member_bytes(group: Group) -> int:
    """Device memory that one member of a group takes on all its folds, by estimate."""
    fold, dual = group.folds[0], group.program.dual
    features, *widths = (*group.widths, fold.head.classes)
    first, sides = widths[0], fold.rows if dual else features
    tail = sum(a * b for a, b in itertools.pairwise(widths))
    # limit, velocity, best weights and a copy in flight; the kernels for the evaluation
    numbers = 6 * sides * first + 6 * tail + 2 * features * first
    if dual:
        numbers += fold.rows * first + (fold.rows**2 if group.own_columns else 0)
    return 4 * numbers * len(group.folds)
