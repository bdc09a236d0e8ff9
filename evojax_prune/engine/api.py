"""``fit_population``: many masked heads on fixed features, trained at the speed of the machine."""

from __future__ import annotations

import collections
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

from evojax_prune.core.compaction import Active, active_parts
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import HeadSpec, Params
from evojax_prune.core.masks import Masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import hosts
from evojax_prune.engine.cache import FoldCache
from evojax_prune.engine.compilation import compiled_so_far
from evojax_prune.engine.fits import (
    EngineReport,
    Fits,
    MemberFit,
    mean_over_folds,
    population_fits,
)
from evojax_prune.engine.fold import SPLITS, Fold
from evojax_prune.engine.paths import Key, Population
from evojax_prune.engine.plan import PATHS, plan
from evojax_prune.engine.workers import core_count

log = logging.getLogger(__name__)

FOLDS = FoldCache()
"""The folds of all calls that are given no cache of their own."""


def fit_population(
    masks: Masks,
    splits: FeatureSplits | Sequence[FeatureSplits],
    protocol: Protocol,
    *,
    head: HeadSpec,
    seed: int = 0,
    evaluate: tuple[str, ...] = SPLITS,
    return_params: bool = False,
    engine: str = "auto",
    member_batch: int | None = None,
    params: Params | None = None,
    progress: Callable[[int], None] | None = None,
    cache: FoldCache | None = None,
    form: str | None = None,
) -> Fits:
    """Trains every member's masked head from scratch and scores it.

    All members start from the same weights and see the same minibatches in the same order; a
    pruned weight never changes. Every path computes the same training, to rounding.

    Args:
        masks: P members (:func:`evojax_prune.decode` makes them from genomes ``bool [P, G]``).
        splits: train, selection and test features, of any float type, with labels of any integer
            type; several are the folds of a cross-validation, and every member is trained on each.
        protocol: how a head is trained.
        head: its shape.
        seed: decides initial weights and minibatch order.
        evaluate: splits to score: any of ``train``, ``selection``, ``test``.
        return_params: also return the trained parameters.
        engine: one of :data:`evojax_prune.engine.ENGINES`; ``auto`` takes the fastest.
        member_batch: most members trained side by side on a device; by default what fits.
        params: initial parameters instead of those that the seed gives.
        progress: called with the number of heads just trained.
        cache: keeps what is prepared of the splits for the next call; by default all calls share
            one.
        form: for debugging and tests: force how a path trains, by words such as ``dual`` or
            ``primal side-by-side``.

    Returns:
        The fits, P members in the order of the masks.

    Raises:
        ValueError: masks, splits, head and parameters that do not fit together; a member_batch
            below 1.
        UserError: genomes instead of masks, an unknown engine, or one that cannot train these
            members exactly.
    """
    folds = [splits] if isinstance(splits, FeatureSplits) else list(splits)
    _check(masks, head, folds, evaluate, member_batch)
    started, before = time.perf_counter(), compiled_so_far()
    prepared = (FOLDS if cache is None else cache).folds(folds, head, seed, params)
    actives = [active_parts(masks, row) for row in range(len(masks))]
    protocol = protocol.for_rows(prepared[0].rows)
    path, forms = plan(prepared[0], actives, protocol, engine, form)
    counts = collections.Counter(chosen.name for chosen in forms)
    reason = f"training {len(masks)} heads: " + ", ".join(
        f"{count} by {name}" for name, count in counts.items()
    )
    log.info("%s", reason)
    how = (protocol, evaluate, return_params, member_batch, path.name, forms)
    job = Job(masks, folds, head, seed, params, *how)
    hosts.announce(job)
    fits = job.train(prepared, actives, hosts.counted(progress))
    after = compiled_so_far()
    compile_seconds = after.seconds - before.seconds
    report = EngineReport(
        device=_device(forms),
        paths=dict(counts),
        reason=reason,
        programs=after.programs - before.programs,
        compile_seconds=compile_seconds,
        train_seconds=max(0.0, time.perf_counter() - started - compile_seconds),
        member_epochs=sum(fit.epochs for fit in fits.values()),
    )
    by_fold = [
        population_fits(
            [fits[Key(fold, row)] for row in range(len(masks))], evaluate, return_params, report
        )
        for fold in range(len(folds))
    ]
    return by_fold[0] if isinstance(splits, FeatureSplits) else mean_over_folds(by_fold, report)


@dataclasses.dataclass(frozen=True)
class Job:
    """A population that several hosts train together; see :func:`fit_population`.

    Attributes:
        path: name of the path that the leading host planned.
        forms: its form for every member.
    """

    masks: Masks
    splits: Sequence[FeatureSplits]
    head: HeadSpec
    seed: int
    params: Params | None
    protocol: Protocol
    evaluate: tuple[str, ...]
    return_params: bool
    member_batch: int | None
    path: str
    forms: Sequence[Any]

    def train(
        self,
        folds: Sequence[Fold],
        actives: Sequence[Active],
        progress: Callable[[int], None] | None = None,
    ) -> dict[Key, MemberFit]:
        """Trains this host's share; returns all hosts' fits."""
        population = Population(
            folds,
            actives,
            self.forms,
            self.protocol,
            self.evaluate,
            self.return_params,
            self.member_batch,
            progress,
        )
        rows = hosts.own_rows(len(actives))
        return hosts.gather(PATHS[self.path].train(population, rows))


def train_share(job: Job) -> None:
    """Trains this host's share of what another host leads: see :func:`hosts.serve`."""
    folds = FOLDS.folds(job.splits, job.head, job.seed, job.params)
    job.train(folds, [active_parts(job.masks, row) for row in range(len(job.masks))])


def _check(
    masks: Masks,
    head: HeadSpec,
    folds: list[FeatureSplits],
    evaluate: tuple[str, ...],
    member_batch: int | None,
) -> None:
    if not isinstance(masks, Masks):
        raise UserError(
            f"fit_population takes Masks, got {type(masks).__name__}: make them from genomes"
            " bool [P, G] by evojax_prune.decode(genomes, head, mode)"
        )
    if not len(masks) or not folds:
        raise ValueError("there are no members or no splits to train on")
    widths = (masks.features.shape[1], *(u.shape[1] for u in masks.units))
    if widths != head.widths[:-1]:
        raise ValueError(f"masks are for widths {widths}, the head has {head.widths[:-1]}")
    unknown = set(evaluate) - set(SPLITS)
    if unknown:
        raise ValueError(f"cannot evaluate {', '.join(sorted(unknown))}; expected {SPLITS}")
    if member_batch is not None and member_batch < 1:
        raise ValueError(f"member_batch is {member_batch}, expected at least 1")


def _device(forms: Sequence[Any]) -> str:
    device = jax.devices()[0]
    if device.platform == "cpu" and not any(form.side_by_side for form in forms):
        return f"cpu, {core_count()} cores"
    return f"{device.platform}, {jax.device_count()} x {device.device_kind}"
