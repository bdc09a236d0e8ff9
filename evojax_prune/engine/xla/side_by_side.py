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
"""A program is left for a smaller one when only one in so many members still trains."""

MEMORY_SHARE = 0.6
"""Share of the free memory that the estimate may fill."""


def train_on_devices(group: Group, population: Population) -> dict[Key, MemberFit]:
    """Trains a group on all local devices, the members sharded over them.

    The group is cut into portions of at most ``member_batch`` members; where a portion runs out of
    memory all the same, it goes on in halves.

    Raises:
        UserError: not even one member fits.
    """
    devices = jax.local_devices()
    portion = population.member_batch or members_that_fit(group, devices[0]) * len(devices)
    fits: dict[Key, MemberFit] = {}
    waiting = list(range(len(group.rows)))
    while waiting:
        now, portion = waiting[:portion], min(portion, len(waiting))
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
            portion = max(1, portion // 2)
            log.warning("out of device memory: going on with %d members at a time", portion)
            continue
        waiting = waiting[len(now) :]
    return fits


def _train(group: Group, population: Population, devices: list[jax.Device]) -> dict[Key, MemberFit]:
    mesh = Mesh(np.asarray(devices), ("members",))
    most = capacity(len(group.rows), len(group.rows), len(devices))

    def place(tree: Any, axis: int | None) -> Any:
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "members")
        return jax.device_put(tree, NamedSharding(mesh, spec))

    return train_group(
        group,
        population,
        capacities=lambda live: capacity(live, most, len(devices)),
        epochs_per_call=min(EPOCHS_PER_CALL, population.protocol.epochs),
        place=place,
    )


def capacity(live: int, most: int, devices: int) -> int:
    """Members of the program that trains ``live`` of them: one of few sizes, a power of SHRINK."""
    size = devices
    while size < live:
        size *= SHRINK
    whole = -(-most // devices) * devices
    return min(size, whole)


def members_that_fit(group: Group, device: jax.Device) -> int:
    """Members whose training state fits the device's free memory, by estimate; at least one."""
    fold, dual = group.folds[0], group.program.dual
    features, *widths = (*group.widths, fold.head.classes)
    first, sides = widths[0], fold.rows if dual else features
    tail = sum(a * b for a, b in itertools.pairwise(widths))
    # limit, velocity, best weights and a copy in flight; the kernels for the evaluation
    numbers = 6 * sides * first + 6 * tail + 2 * features * first
    if dual:
        numbers += fold.rows * first + (fold.rows**2 if group.own_columns else 0)
    size = 4 * numbers * len(group.folds)
    return max(1, math.floor(MEMORY_SHARE * free_bytes(device) / size))
