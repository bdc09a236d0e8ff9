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

from evojax_prune.core.compaction import Active
from evojax_prune.core.protocol import Protocol
from evojax_prune.engine import programs
from evojax_prune.engine.batches import order_chunks, steps
from evojax_prune.engine.form import Form
from evojax_prune.engine.members import Member, make_member, restore_params
from evojax_prune.engine.problem import Problem
from evojax_prune.engine.result import MemberFit
from evojax_prune.engine.sgd import FirstLayer, Rates, Weights
from evojax_prune.engine.stacking import stack_chunks, stack_rows, stack_trees
from evojax_prune.engine.stopping import Limits


@dataclasses.dataclass(frozen=True)
class Group:
    """Members of one padded size, each to be trained on every one of the folds.

    Attributes:
        problems: folds with the same number of steps an epoch.
        rows: the members' places in the population.
        actives: their active parts.
        widths: padded widths.
        own_columns: members differ in their active features.
    """

    problems: tuple[Problem, ...]
    rows: tuple[int, ...]
    actives: tuple[Active, ...]
    widths: tuple[int, ...]
    own_columns: bool


@dataclasses.dataclass
class Lanes:
    """The device's side of a group: everything that is gathered when members are taken out."""

    slots: list[int]
    data: FirstLayer
    kept: Any
    carry: Any
    kernel: Any
    bias: Any


def train_group(
    group: Group,
    protocol: Protocol,
    form: Form,
    evaluate: tuple[str, ...],
    return_params: bool,
    *,
    capacities: Callable[[int], int] = lambda members: members,
    epochs_per_call: int | None = None,
    place: Callable[[Any, int | None], Any] = lambda tree, axis: tree,
) -> dict[tuple[int, int], MemberFit]:
    """Trains a group; members that are done are taken out when that makes the program smaller.

    Args:
        group: what to train.
        protocol: how.
        form: the program's static choices.
        evaluate: splits to score.
        return_params: also return the parameters.
        capacities: size of the program that trains so many members; bounds what is compiled.
        epochs_per_call: epochs between two looks at who is done; by default as many as possible.
        place: puts a pytree on the devices, sharded along an axis (None: replicated).

    Returns:
        A fit for every (fold, row of the population).
    """
    run = _Run(group, protocol, form, evaluate, return_params, place)
    started = time.perf_counter()
    lanes = run.start(capacities(len(group.rows)))
    results: dict[tuple[int, int], MemberFit] = {}
    live = list(range(len(group.rows)))
    for index, weight in run.batches(epochs_per_call):
        lanes.carry = run.train(lanes, index, weight)
        done = np.logical_and.reduce(np.asarray(lanes.carry[1].done))
        live = [slot for slot, over in zip(lanes.slots, done, strict=True) if not over]
        live = sorted(set(live))
        if not live:
            break
        smaller = capacities(len(live))
        if smaller < len(lanes.slots):
            results |= run.harvest(lanes, set(lanes.slots) - set(live), started)
            lanes = run.keep(lanes, live, smaller)
    return results | run.harvest(lanes, set(lanes.slots), started)


class _Run:
    """One group's training; the arrays that stay put."""

    def __init__(
        self,
        group: Group,
        protocol: Protocol,
        form: Form,
        evaluate: tuple[str, ...],
        return_params: bool,
        place: Callable[[Any, int | None], Any],
    ) -> None:
        self.group, self.protocol, self.form = group, protocol, form
        self.evaluate, self.return_params, self.place = evaluate, return_params, place
        self.head = group.problems[0].head
        self.dual = form.kind == "dual"
        self.members = [
            [
                make_member(problem, row, active, group.widths, group.own_columns)
                for row, active in zip(group.rows, group.actives, strict=True)
            ]
            for problem in group.problems
        ]
        self.x = place(stack_rows([p.x for p in group.problems]), None)
        self.y = place(stack_rows([p.y for p in group.problems]), None)
        self.splits = [
            tuple(place(a, None) for a in stack_chunks([p.split(name) for p in group.problems]))
            for name in evaluate
        ]
        self.axes = programs.Axes(
            0 if self.dual and group.own_columns else None,
            0 if self.dual else None,
            0 if not self.dual and group.own_columns else None,
        )

    def start(self, capacity: int) -> Lanes:
        count = len(self.group.rows)
        slots = [min(i, count - 1) for i in range(capacity)]
        chosen = [[fold[i] for i in slots] for fold in self.members]
        initial = stack_trees([stack_trees([m.weights for m in fold]) for fold in chosen])
        initial = self.place(initial, 1)
        columns = None
        if self.group.own_columns:
            columns = self.place(stack_trees([m.columns for m in chosen[0]]), 0)
        kept = self.place(self._kept(chosen[0]), 0)
        kernel, bias = initial.first, initial.bias
        rows, offset = self.x, None
        if self.dual:
            make = programs.dual_data(self.group.own_columns, self.head.bias[0])
            rows, offset = make(self.x, columns, kernel, bias)
            initial = Weights(
                jax.numpy.zeros_like(offset), jax.numpy.zeros_like(bias), initial.later
            )
        data = FirstLayer(rows, offset, self.y, columns)
        return Lanes(slots, data, kept, programs.begin(self.form)(initial), kernel, bias)

    def _kept(self, members: list[Member]) -> list[Any]:
        layers = [
            None if members[0].kept[i] is None else stack_trees([m.kept[i] for m in members])
            for i in range(len(members[0].kept))
        ]
        return layers if self.form.kind == "optax" else layers[1:]

    def batches(self, most: int | None):
        """Minibatches of all folds, ``index [K, e, S, B]`` and ``weight [K, S, B]``."""
        problems, size = self.group.problems, self.protocol.batch_size
        chunks = [order_chunks(p.rows, self.protocol.epochs, p.seed, most) for p in problems]
        for orders in zip(*chunks, strict=True):
            cut = [steps(order, size) for order in orders]
            yield np.stack([c[0] for c in cut]), np.stack([c[1] for c in cut])

    def train(self, lanes: Lanes, index: np.ndarray, weight: np.ndarray) -> Any:
        data = lanes.data
        if self.dual:
            data = data._replace(columns=None)  # the Gram matrices know them already
        run = programs.train(self.form, self.axes)
        rates, limits = rates_of(self.protocol), limits_of(self.protocol)
        return run(data, lanes.kept, lanes.carry, index, weight, rates, limits)

    def keep(self, lanes: Lanes, live: list[int], capacity: int) -> Lanes:
        """The lanes of the live members alone, the last repeated to fill the program."""
        slots = [live[min(i, len(live) - 1)] for i in range(capacity)]
        places = np.asarray([lanes.slots.index(slot) for slot in slots])

        def pick(tree: Any, axis: int | None) -> Any:
            if axis is None:
                return tree
            return self.place(jax.tree.map(lambda a: jax.numpy.take(a, places, axis), tree), axis)

        rows, offset, _ = self.axes
        data = FirstLayer(
            pick(lanes.data.rows, None if rows is None else 1),
            pick(lanes.data.offset, None if offset is None else 1),
            self.y,
            pick(lanes.data.columns, 0 if self.group.own_columns else None),
        )
        return Lanes(
            slots,
            data,
            pick(lanes.kept, 0),
            pick(lanes.carry, 1),
            pick(lanes.kernel, 1),
            pick(lanes.bias, 1),
        )

    def harvest(
        self, lanes: Lanes, slots: set[int], started: float
    ) -> dict[tuple[int, int], MemberFit]:
        """Scores, and parameters if asked for, of some slots."""
        progress = lanes.carry[1]
        program = programs.finish(self.dual, self.head.bias[0], self.group.own_columns)
        weights, scores = program(
            progress.kept, lanes.kernel, lanes.bias, lanes.data.columns, self.x, self.splits
        )
        scores = jax.tree.map(np.asarray, scores)
        best, epochs = np.asarray(progress.best), np.asarray(progress.epoch)
        host = jax.tree.map(np.asarray, weights) if self.return_params else None
        share = (time.perf_counter() - started) / (len(self.group.rows) * len(self.group.problems))
        fits = {}
        for slot in sorted(slots):
            lane = lanes.slots.index(slot)
            for fold, problem in enumerate(self.group.problems):
                params = None
                if host is not None:
                    mine = jax.tree.map(lambda a, f=fold, at=lane: a[f, at], host)
                    params = restore_params(self.members[fold][slot], mine, problem)
                fits[fold, self.group.rows[slot]] = make_fit(
                    problem,
                    self.evaluate,
                    [(s.right[fold, lane], s.cross_entropy[fold, lane]) for s in scores],
                    float(best[fold, lane]),
                    int(epochs[fold, lane]),
                    share,
                    params,
                )
        return fits


def make_fit(
    problem: Problem,
    evaluate: tuple[str, ...],
    scores: list[tuple[float, float]],
    loss: float,
    epochs: int,
    seconds: float,
    params: Any,
) -> MemberFit:
    """A member's fit from its sums; without a finite training loss its scores are NaN."""
    trained = np.isfinite(loss)
    accuracy, cross_entropy = {}, {}
    for name, (right, total) in zip(evaluate, scores, strict=True):
        rows = len(problem.split(name))
        known = trained and rows > 0
        accuracy[name] = float(right) / rows if known else float("nan")
        cross_entropy[name] = float(total) / rows if known else float("nan")
    return MemberFit(
        accuracy, cross_entropy, loss if trained else float("nan"), epochs, seconds, params
    )


def rates_of(protocol: Protocol) -> Rates:
    """The protocol's rates as scalars of the programs."""
    return Rates(*map(np.float32, (protocol.learning_rate, protocol.momentum, protocol.decay)))


def limits_of(protocol: Protocol) -> Limits:
    """The protocol's limits as scalars of the programs."""
    return Limits(
        np.int32(protocol.epochs), np.int32(protocol.patience), np.float32(protocol.min_delta)
    )
