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
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine.form import Form
from evojax_prune.engine.lanes import Group, train_group
from evojax_prune.engine.machine import free_bytes
from evojax_prune.engine.result import MemberFit

log = logging.getLogger(__name__)

EPOCHS_PER_CALL = 10
"""Epochs between two looks at which members are done: early stopping's usual patience."""

SHRINK = 4
"""A program is left for a smaller one when only one in so many members still trains."""

MEMORY_SHARE = 0.6
"""Share of the free memory that the estimate may fill."""


def train_on_devices(
    group: Group,
    form: Form,
    protocol: Protocol,
    evaluate: tuple[str, ...],
    return_params: bool,
    member_batch: int | None,
) -> dict[tuple[int, int], MemberFit]:
    """Trains a group on all local devices, the members sharded over them.

    The group is cut into portions of at most ``member_batch`` members; where a portion runs out of
    memory all the same, it goes on in halves.

    Raises:
        UserError: not even one member fits.
    """
    devices = jax.local_devices()
    portion = member_batch or members_that_fit(group, form, devices[0]) * len(devices)
    fits: dict[tuple[int, int], MemberFit] = {}
    waiting = list(range(len(group.rows)))
    while waiting:
        now, portion = waiting[:portion], min(portion, len(waiting))
        try:
            fits |= _train(_some(group, now), form, protocol, evaluate, return_params, devices)
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


def _some(group: Group, places: list[int]) -> Group:
    return Group(
        group.problems,
        tuple(group.rows[i] for i in places),
        tuple(group.actives[i] for i in places),
        group.widths,
        group.own_columns,
    )


def _train(
    group: Group,
    form: Form,
    protocol: Protocol,
    evaluate: tuple[str, ...],
    return_params: bool,
    devices: list[jax.Device],
) -> dict[tuple[int, int], MemberFit]:
    mesh = Mesh(np.asarray(devices), ("members",))
    most = capacity(len(group.rows), len(group.rows), len(devices))

    def place(tree: Any, axis: int | None) -> Any:
        spec = PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, "members")
        return jax.device_put(tree, NamedSharding(mesh, spec))

    return train_group(
        group,
        protocol,
        form,
        evaluate,
        return_params,
        capacities=lambda live: capacity(live, most, len(devices)),
        epochs_per_call=min(EPOCHS_PER_CALL, protocol.epochs),
        place=place,
    )


def capacity(live: int, most: int, devices: int) -> int:
    """Members of the program that trains ``live`` of them: one of few sizes, a power of SHRINK."""
    size = devices
    while size < live:
        size *= SHRINK
    whole = -(-most // devices) * devices
    return min(size, whole)


def members_that_fit(group: Group, form: Form, device: jax.Device) -> int:
    """Members whose training state fits the device's free memory, by estimate; at least one."""
    problem = group.problems[0]
    features, first, *later = group.widths
    sides = problem.rows if form.kind == "dual" else features
    widths = [first, *later, problem.head.classes]
    tail = sum(a * b for a, b in itertools.pairwise(widths))
    # limit, velocity, best weights and a copy in flight; the kernels for the evaluation
    numbers = 6 * sides * first + 6 * tail + 2 * features * first
    if form.kind == "dual":
        numbers += problem.rows * first + (problem.rows**2 if group.own_columns else 0)
    size = 4 * numbers * len(group.problems)
    return max(1, math.floor(MEMORY_SHARE * free_bytes(device) / size))
