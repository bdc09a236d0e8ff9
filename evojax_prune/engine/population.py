"""``fit_population``: many masked heads on fixed features, trained at the speed of the machine."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from evojax_prune.core.compaction import Active
from evojax_prune.core.head import HeadSpec, Params
from evojax_prune.core.masks import Masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import hosts
from evojax_prune.engine.compilation import compiled_so_far
from evojax_prune.engine.fits import EngineReport, Fits
from evojax_prune.engine.form import Form
from evojax_prune.engine.groups import groups_of
from evojax_prune.engine.lanes import Group, train_group
from evojax_prune.engine.members import activity
from evojax_prune.engine.native_path import NativeJob, train_native
from evojax_prune.engine.plan import Choice, epoch_work, plan
from evojax_prune.engine.problem import Problem, prepare
from evojax_prune.engine.result import MemberFit
from evojax_prune.engine.vmapped import train_on_devices
from evojax_prune.engine.workers import core_count, run_queue

log = logging.getLogger(__name__)

Key = tuple[int, int]
"""Fold and row of the population."""


def fit_population(
    masks: Masks,
    splits: FeatureSplits | Sequence[FeatureSplits],
    protocol: Protocol,
    *,
    head: HeadSpec,
    seed: int = 0,
    evaluate: tuple[str, ...] = ("train", "selection", "test"),
    return_params: bool = False,
    engine: str = "auto",
    member_batch: int | None = None,
    params: Params | None = None,
    progress: Callable[[int], None] | None = None,
) -> Fits:
    """Trains every member's masked head from scratch and scores it.

    All members start from the same weights and see the same minibatches in the same order; a
    pruned weight never changes. Every path computes the same SGD, to rounding.

    Args:
        masks: P members.
        splits: train, selection and test features; several are the folds of a cross-validation,
            and every member is trained on each.
        protocol: how a head is trained.
        head: its shape.
        seed: decides initial weights and minibatch order.
        evaluate: splits to score: any of ``train``, ``selection``, ``test``.
        return_params: also return the trained parameters.
        engine: a path of :data:`evojax_prune.engine.plan.ENGINES`; ``auto`` lets the cost model
            choose.
        member_batch: most members trained side by side on a device; by default what fits.
        params: initial parameters instead of those the seed gives.
        progress: called with the number of heads just trained.

    Returns:
        The fits, a row a member.

    Raises:
        ValueError: masks, splits, head and parameters that do not fit together.
        UserError: an engine that cannot train these members exactly.
    """
    folds = [splits] if isinstance(splits, FeatureSplits) else list(splits)
    _check(masks, head, folds)
    started, before = time.perf_counter(), compiled_so_far()
    problems = [prepare(fold, head, seed, params) for fold in folds]
    actives = activity(masks)
    choices = plan(problems[0], actives, protocol, engine)
    reason = _describe(choices)
    log.info("%s", reason)
    work = _Work(
        problems, actives, choices, protocol, evaluate, return_params, member_batch, progress
    )
    fits = hosts.gather(work.fits(hosts.own_rows(len(masks))))
    after = compiled_so_far()
    compile_seconds = after.seconds - before.seconds
    report = EngineReport(
        device=_device(choices),
        paths=dict(collections.Counter(c.name for c in choices)),
        reason=reason,
        programs=after.programs - before.programs,
        compile_seconds=compile_seconds,
        train_seconds=max(0.0, time.perf_counter() - started - compile_seconds),
        member_epochs=sum(fit.epochs for fit in fits.values()),
    )
    by_fold = [
        _assemble([fits[fold, row] for row in range(len(masks))], evaluate, return_params, report)
        for fold in range(len(folds))
    ]
    return by_fold[0] if isinstance(splits, FeatureSplits) else _mean_of_folds(by_fold, report)


def _check(masks: Masks, head: HeadSpec, folds: list[FeatureSplits]) -> None:
    if not len(masks) or not folds:
        raise ValueError("there are no members or no splits to train on")
    widths = (masks.features.shape[1], *(u.shape[1] for u in masks.units))
    if widths != head.widths[:-1]:
        raise ValueError(f"masks are for widths {widths}, the head has {head.widths[:-1]}")


@dataclasses.dataclass(frozen=True)
class _Work:
    """A population on its folds, and what is wanted of it."""

    problems: list[Problem]
    actives: list[Active]
    choices: list[Choice]
    protocol: Protocol
    evaluate: tuple[str, ...]
    return_params: bool
    member_batch: int | None
    progress: Callable[[int], None] | None

    def fits(self, rows: list[int]) -> dict[Key, MemberFit]:
        """Trains some members, each by the path chosen for it."""
        by_path = {
            path: [row for row in rows if self.choices[row].path == path]
            for path in ("native", "workers", "vmap")
        }
        fits = self._native(by_path["native"]) if by_path["native"] else {}
        fits |= self._workers(by_path["workers"]) if by_path["workers"] else {}
        fits |= self._vmap(by_path["vmap"]) if by_path["vmap"] else {}
        return fits

    def _native(self, rows: list[int]) -> dict[Key, MemberFit]:
        jobs = [
            NativeJob(problem, row, self.actives[row], self.choices[row].form.kind == "dual")
            for problem in self.problems
            for row in rows
        ]

        def work(job: NativeJob) -> MemberFit:
            return train_native(job, self.protocol, self.evaluate, self.return_params)

        def cost(job: NativeJob) -> float:
            form = self.choices[job.row].form
            return epoch_work(job.problem, job.active, self.protocol, "native", form)[0]

        fits = run_queue(jobs, work, cost, finished=self.progress)
        keys = [(self.problems.index(job.problem), job.row) for job in jobs]
        return dict(zip(keys, fits, strict=True))

    def _workers(self, rows: list[int]) -> dict[Key, MemberFit]:
        groups = self._groups(rows, together=False)

        def work(job: tuple[Form, Group]) -> dict[Key, MemberFit]:
            form, group = job
            return train_group(group, self.protocol, form, self.evaluate, self.return_params)

        def cost(job: tuple[Form, Group]) -> float:
            form, group = job
            return epoch_work(group.problems[0], group.actives[0], self.protocol, "workers", form)[
                0
            ]

        results = run_queue(groups, work, cost, finished=self.progress)
        return self._keyed(groups, results)

    def _vmap(self, rows: list[int]) -> dict[Key, MemberFit]:
        groups = self._groups(rows, together=True)
        results = []
        for form, group in groups:
            results.append(
                train_on_devices(
                    group,
                    form,
                    self.protocol,
                    self.evaluate,
                    self.return_params,
                    self.member_batch,
                )
            )
            if self.progress is not None:
                self.progress(len(results[-1]))
        return self._keyed(groups, results)

    def _groups(self, rows: list[int], together: bool) -> list[tuple[Form, Group]]:
        return groups_of(
            self.problems,
            self.actives,
            self.choices,
            rows,
            self.protocol.batch_size,
            together=together,
        )

    def _keyed(
        self, groups: list[tuple[Form, Group]], results: list[dict[Key, MemberFit]]
    ) -> dict[Key, MemberFit]:
        """Fits by fold of the population rather than by place among the group's folds."""
        return {
            (self.problems.index(group.problems[place]), row): fit
            for (_, group), fits in zip(groups, results, strict=True)
            for (place, row), fit in fits.items()
        }


def _assemble(
    fits: list[MemberFit], evaluate: tuple[str, ...], with_params: bool, report: EngineReport
) -> Fits:
    return Fits(
        accuracy={name: np.asarray([f.accuracy[name] for f in fits]) for name in evaluate},
        cross_entropy={
            name: np.asarray([f.cross_entropy[name] for f in fits]) for name in evaluate
        },
        loss=np.asarray([f.loss for f in fits]),
        epochs=np.asarray([f.epochs for f in fits], np.int64),
        seconds=np.asarray([f.seconds for f in fits]),
        params=[f.params for f in fits if f.params is not None] if with_params else None,
        report=report,
    )


def _mean_of_folds(folds: list[Fits], report: EngineReport) -> Fits:
    def mean(values: list[np.ndarray]) -> np.ndarray:
        return np.mean(values, axis=0)

    names = list(folds[0].accuracy)
    return Fits(
        accuracy={name: mean([f.accuracy[name] for f in folds]) for name in names},
        cross_entropy={name: mean([f.cross_entropy[name] for f in folds]) for name in names},
        loss=mean([f.loss for f in folds]),
        epochs=np.sum([f.epochs for f in folds], axis=0),
        seconds=np.sum([f.seconds for f in folds], axis=0),
        params=None,
        report=report,
        folds=tuple(folds),
    )


def _device(choices: list[Choice]) -> str:
    device = jax.devices()[0]
    if device.platform == "cpu" and all(c.path != "vmap" for c in choices):
        return f"cpu, {core_count()} cores"
    return f"{device.platform}, {jax.device_count()} x {device.device_kind}"


def _describe(choices: list[Choice]) -> str:
    counts = collections.Counter(c.name for c in choices)
    parts = ", ".join(f"{count} by {name}" for name, count in counts.items())
    return f"training {len(choices)} heads: {parts}"
