"""A group of members trained side by side in one compiled program.

On an accelerator a group is as many members as memory allows; on a CPU without the native kernel
it is one member, and every core works on its own group.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from evojax_prune.engine.batches import order_chunks, steps
from evojax_prune.engine.fits import MemberFit, member_fit
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.xla import programs
from evojax_prune.engine.xla.groups import Group
from evojax_prune.engine.xla.members import (
    restore_params,
    stack_chunks,
    stack_connections,
    stack_indices,
    stack_params,
    stack_rows,
)
from evojax_prune.engine.xla.sgd import FirstLayer, Rates, Weights
from evojax_prune.engine.xla.stopping import StoppingLimits

Place = Callable[[Any, int | None], Any]
"""Puts a pytree on the devices, sharded along an axis (None: replicated)."""


@dataclasses.dataclass
class Lanes:
    """The device's side of a group: everything that is gathered when members are taken out."""

    slots: list[int]
    data: FirstLayer
    kept: Any
    carry: Any
    kernel: Any
    bias: Any

    @property
    def places(self) -> dict[int, int]:
        """The first lane of each member."""
        return {slot: lane for lane, slot in reversed(list(enumerate(self.slots)))}


def train_group(
    group: Group,
    population: Population,
    *,
    size: int | None = None,
    smaller: Callable[[int, int], int] = lambda live, size: size,
    epochs_per_call: int | None = None,
    place: Place = lambda tree, axis: tree,
) -> dict[Key, MemberFit]:
    """Trains a group; members that are done are taken out when that makes the program smaller.

    Args:
        group: what to train.
        population: what is wanted of it.
        size: members of the program; those that are missing are copies. By default the group's.
        smaller: size of the program that goes on when so many members of so many still train.
        epochs_per_call: epochs between two looks at who is done; by default as many as possible.
        place: puts a pytree on the devices.

    Returns:
        The fit of every member on every fold of the group.
    """
    run = _Run(group, population, place)
    started = time.perf_counter()
    lanes = run.start(size or len(group.rows))
    fits: dict[Key, MemberFit] = {}
    live = list(range(len(group.rows)))
    for index, weight in run.batches(epochs_per_call):
        lanes.carry = run.train(lanes, index, weight)
        done = np.logical_and.reduce(np.asarray(lanes.carry[1].done))
        live = [slot for slot, over in zip(lanes.slots, done, strict=True) if not over]
        live = sorted(set(live))
        if not live:
            break
        fewer = smaller(len(live), len(lanes.slots))
        if fewer < len(lanes.slots):
            fits |= run.harvest(lanes, set(lanes.slots) - set(live), started)
            lanes = run.keep(lanes, live, fewer)
    return fits | run.harvest(lanes, set(lanes.slots), started)


class _Run:
    """One group's training; the arrays that stay put."""

    def __init__(self, group: Group, population: Population, place: Place) -> None:
        self.group, self.population, self.place = group, population, place
        self.protocol, self.program = population.protocol, group.program
        self.head, self.dual = group.folds[0].head, group.program.dual
        self.x = place(stack_rows([fold.x for fold in group.folds]), None)
        self.y = place(stack_rows([fold.y for fold in group.folds]), None)
        weights = [fold.row_weights(self.protocol) for fold in group.folds]
        some = [each for each in weights if each is not None]
        self.importance = place(stack_rows(some), None) if some else None
        self.splits = [
            tuple(place(a, None) for a in stack_chunks([f.split(name) for f in group.folds]))
            for name in population.evaluate
        ]
        self.axes = programs.Axes(
            0 if self.dual and group.own_columns else None,
            0 if self.dual else None,
            0 if not self.dual and group.own_columns else None,
        )

    def start(self, capacity: int) -> Lanes:
        group, count = self.group, len(self.group.rows)
        slots = [min(i, count - 1) for i in range(capacity)]
        actives = [group.actives[slot] for slot in slots]
        index = stack_indices(actives, group.widths, self.head.widths[:-1], group.own_columns)
        kept = stack_connections(actives, group.widths, self.head.classes)
        own = (np.asarray(slots, np.int32), index, kept)
        _, (columns, *_), kept = own = self.place(own, 0)
        layers = self.place(stack_params(group.folds), None)
        initial = self.place(programs.initial(layers, *own), 1)
        kernel, bias = initial.first, initial.bias
        rows, offset = self.x, None
        if self.dual:
            make = programs.dual_data(self.group.own_columns, self.head.bias[0])
            made = make(self.x, columns, kernel, bias)
            axes = (*self._data_axes(), 1, 1)
            rows, offset, first, first_bias = map(self.place, made, axes)
            initial = Weights(first, first_bias, initial.later)
        data = FirstLayer(rows, offset, self.y, columns, self.importance)
        carry = self.place(programs.begin(self.program)(initial), 1)
        return Lanes(slots, data, kept, carry, kernel, bias)

    def batches(self, most: int | None):
        """Minibatches of all folds, ``index [K, e, S, B]`` and ``weight [K, S, B]``."""
        folds, size = self.group.folds, self.protocol.batch_size
        chunks = [order_chunks(f.rows, self.protocol.epochs, f.seed, most) for f in folds]
        for orders in zip(*chunks, strict=True):
            cut = [steps(order, size) for order in orders]
            yield np.stack([c[0] for c in cut]), np.stack([c[1] for c in cut])

    def train(self, lanes: Lanes, index: np.ndarray, weight: np.ndarray) -> Any:
        data = lanes.data
        if self.dual:
            data = data._replace(columns=None)  # the Gram matrices know them already
        run = programs.train(self.program, self.axes)
        rates, limits = Rates.of(self.protocol), StoppingLimits.of(self.protocol)
        return run(data, lanes.kept, lanes.carry, index, weight, rates, limits)

    def keep(self, lanes: Lanes, live: list[int], capacity: int) -> Lanes:
        """The lanes of the live members alone, the last repeated to fill the program."""
        slots = [live[min(i, len(live) - 1)] for i in range(capacity)]
        lane_of = lanes.places
        places = np.asarray([lane_of[slot] for slot in slots])

        data, own = lanes.data, self.group.own_columns
        axes = (*self._data_axes(), 0 if own else None, 0, 1, 1, 1)
        of_members = (lanes.kept, lanes.carry, lanes.kernel, lanes.bias)
        parts = (data.rows, data.offset, data.columns, *of_members)
        taken = programs.take(parts, places, axes)
        rows, offset, columns, *rest = map(self.place, taken, axes)
        data = FirstLayer(rows, offset, self.y, columns, self.importance)
        return Lanes(slots, data, *rest)

    def _data_axes(self) -> tuple[int | None, int | None]:
        """The axis of the members in the first layer's rows and offset; None where they share."""
        rows, offset, _ = self.axes
        return (None if rows is None else 1, None if offset is None else 1)

    def harvest(self, lanes: Lanes, slots: set[int], started: float) -> dict[Key, MemberFit]:
        """Scores, and parameters if asked for, of some slots."""
        group, progress = self.group, lanes.carry[1]
        program = programs.finish(self.dual, self.head.bias[0], group.own_columns)
        weights, scores = program(
            progress.kept, lanes.kernel, lanes.bias, lanes.data.columns, self.x, self.splits
        )
        scores = jax.tree.map(np.asarray, scores)
        best, epochs = np.asarray(progress.best), np.asarray(progress.epoch)
        host = jax.tree.map(np.asarray, weights) if self.population.return_params else None
        share = (time.perf_counter() - started) / (len(group.rows) * len(group.folds))
        fits, lane_of = {}, lanes.places
        for slot in sorted(slots):
            lane = lane_of[slot]
            for k, fold in enumerate(group.folds):
                params = None
                if host is not None:
                    mine = jax.tree.map(lambda a, k=k, at=lane: a[k, at], host)
                    params = restore_params(group.actives[slot], mine, fold)
                fits[group.key(k, slot)] = member_fit(
                    fold,
                    self.population.evaluate,
                    [(s.right[k, lane], s.cross_entropy[k, lane]) for s in scores],
                    loss=float(best[k, lane]),
                    epochs=int(epochs[k, lane]),
                    seconds=share,
                    params=params,
                )
        return fits
