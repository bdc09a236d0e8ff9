"""All baselines at the evolved head's active fraction, and each at its own best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from evojax_prune.baselines.methods import METHODS, POLYNOMIAL, RANDOM, Dense, Method, check_names
from evojax_prune.baselines.polynomial import Gradual, prune_gradually
from evojax_prune.core.compact_head import compact_head
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks, concatenate, count_parameters, dense_masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Fractions, Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import fit_population, run_queue

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Active fractions among which each baseline's own best is looked for."""

At = Literal["whole", "same", "best"]
"""The dense head; the evolved head's active fraction; the baseline's own best fraction."""


@dataclasses.dataclass(frozen=True)
class BaselineRow:
    """One line of the table; over folds, means.

    Attributes:
        name: the baseline.
        at: ``whole`` for the dense head, ``same`` for the evolved head's active fraction, ``best``
            for the fraction with the highest selection accuracy.
        active_fraction: bits kept / bits, of units or of connections as the baseline prunes.
        selection_accuracy: fraction of the selection rows classified rightly, 0 to 1; NaN where
            training diverged.
        test_accuracy: the same of the test rows.
        parameters: parameters kept.
        heads: heads of which this row is the best by selection (or the mean).
    """

    name: str
    at: At
    active_fraction: float
    selection_accuracy: float
    test_accuracy: float
    parameters: int
    heads: int = 1

    @property
    def optimism(self) -> float:
        """Selection accuracy less test accuracy."""
        return self.selection_accuracy - self.test_accuracy


def compare(
    splits: FeatureSplits | Sequence[FeatureSplits],
    pruning: Pruning,
    protocol: Protocol,
    fraction: float | Sequence[float],
    seed: int = 0,
    *,
    methods: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    random_masks: int = 5,
    engine: str = "auto",
    member_batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[BaselineRow]:
    """Train and score every baseline on the terms of the evolved head.

    A fold's heads are trained together, those that prune weights apart from those that prune units.
    In a cross-validation each fold ranks by its own training rows.

    Args:
        splits: train, selection and test features; several are folds.
        pruning: what the evolved genome means.
        protocol: how every head is trained: the evolved head's final protocol.
        fraction: active fraction of the evolved head, of each pruned layer
            (:meth:`evojax_prune.core.pruning.Pruning.fractions`) or one for all.
        seed: the evolved head's: initial weights, minibatch order; and random baselines.
        methods: names out of :func:`evojax_prune.baselines.method_names`; all if None.
        fractions: grid for each baseline's own best; ``fraction`` is always in it.
        random_masks: random masks at each fraction.
        engine: as :func:`evojax_prune.engine.fit_population` takes it.
        member_batch: likewise.
        progress: called with the number of heads just trained, :func:`count_heads` in all.

    Returns:
        The dense head, then for each baseline the row ``same`` and the row ``best`` (by selection
        accuracy, then fewer parameters); random masks also as the mean at the same fraction.

    Raises:
        UserError: an unknown baseline, a fraction outside (0, 1], no random masks.
    """
    folds = [splits] if isinstance(splits, FeatureSplits) else list(splits)
    levels = _levels(fraction, fractions, len(pruning.parts))
    if random_masks < 1:
        raise UserError(f"random_masks is {random_masks}, expected at least 1")
    job = _Job(
        pruning,
        protocol,
        seed,
        levels,
        check_names(methods, pruning.mode.name),
        random_masks,
        engine,
        member_batch,
        progress,
    )
    trials = _mean([job.trials(fold) for fold in folds])
    return [row for name in ("dense", *job.names) for row in _rows(name, trials)]


def count_heads(
    pruning: Pruning,
    fraction: float | Sequence[float],
    *,
    folds: int = 1,
    methods: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    random_masks: int = 5,
) -> int:
    """Heads that :func:`compare` trains when it is given the same arguments."""
    names = check_names(methods, pruning.mode.name)
    untrained = {m.name for m in METHODS if not m.retrain}
    each = sum(random_masks if n == RANDOM else n not in untrained for n in names)
    return folds * (1 + each * len(_levels(fraction, fractions, len(pruning.parts))))


def _levels(
    fraction: float | Sequence[float], grid: Sequence[float], parts: int
) -> tuple[Fractions, ...]:
    """The evolved head's fractions, then those of the grid that differ from them."""
    same = (fraction,) * parts if isinstance(fraction, float | int) else tuple(fraction)
    if len(same) != parts:
        raise ValueError(f"{len(same)} fractions for {parts} pruned layers")
    levels = (same, *((f,) * parts for f in grid if (f,) * parts != same))
    for level in levels:
        for f in level:
            if not 0 < f <= 1:
                raise UserError(f"active fraction {f:g}: expected above 0 and at most 1, as in 0.3")
    return levels


@dataclasses.dataclass(frozen=True)
class _Trial:
    """One head: which baseline, at which level, and how it did."""

    name: str
    level: int
    active_fraction: float
    selection: float
    test: float
    parameters: float


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A head that a method wants to be tried."""

    method: Method
    level: int
    masks: Masks
    active_fraction: float


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is compared; see :func:`compare`."""

    pruning: Pruning
    protocol: Protocol
    seed: int
    levels: tuple[Fractions, ...]
    names: tuple[str, ...]
    random_masks: int
    engine: str
    member_batch: int | None
    progress: Callable[[int], None] | None

    def trials(self, fold: FeatureSplits) -> list[_Trial]:
        """Every head of one fold, in the same order for all folds."""
        whole = dense_masks(self.pruning.spec)
        params, (dense,) = self._fit(whole, fold, return_params=True)
        trials = [_Trial("dense", 0, 1.0, *dense, self._parameters(whole))]
        known = Dense(fold.train, self.pruning, self.seed, params)
        asked = self._ask(known)
        for some, scores in (
            self._retrained([a for a in asked if a.method.grain == "connections"], fold),
            self._retrained([a for a in asked if a.method.grain != "connections"], fold),
            self._as_it_is(asked, fold, params),
        ):
            trials += [self._trial(a, *s) for a, s in zip(some, scores, strict=True)]
        return trials + (self._gradual(fold) if POLYNOMIAL in self.names else [])

    def _ask(self, dense: Dense) -> list[_Asked]:
        asked = []
        for method in (m for m in METHODS if m.name in self.names):
            cut = method.rank(dense, self.random_masks)
            for level, fractions in enumerate(self.levels):
                for genome in cut(fractions):
                    masks = method.masks(genome[None], dense)
                    asked.append(_Asked(method, level, masks, float(genome.mean())))
        return asked

    def _trial(self, asked: _Asked, selection: float, test: float) -> _Trial:
        return _Trial(
            asked.method.name,
            asked.level,
            asked.active_fraction,
            selection,
            test,
            self._parameters(asked.masks),
        )

    def _fit(
        self, masks: Masks, fold: FeatureSplits, return_params: bool = False
    ) -> tuple[Params, list[tuple[float, float]]]:
        """Selection and test accuracy of a population, and the first member's parameters."""
        fits = fit_population(
            masks,
            fold,
            self.protocol,
            head=self.pruning.spec,
            seed=self.seed,
            evaluate=("selection", "test"),
            return_params=return_params,
            engine=self.engine,
            member_batch=self.member_batch,
            progress=self.progress,
        )
        pairs = zip(fits.accuracy["selection"], fits.accuracy["test"], strict=True)
        return fits.params[0] if fits.params else {}, [(float(s), float(t)) for s, t in pairs]

    def _retrained(
        self, asked: list[_Asked], fold: FeatureSplits
    ) -> tuple[list[_Asked], list[tuple[float, float]]]:
        asked = [a for a in asked if a.method.retrain]
        if not asked:
            return [], []
        return asked, self._fit(concatenate(*(a.masks for a in asked)), fold)[1]

    def _as_it_is(
        self, asked: list[_Asked], fold: FeatureSplits, params: Params
    ) -> tuple[list[_Asked], list[tuple[float, float]]]:
        asked = [a for a in asked if not a.method.retrain]
        return asked, [_accuracies(params, a.masks, fold) for a in asked]

    def _gradual(self, fold: FeatureSplits) -> list[_Trial]:
        def train(level: Fractions) -> Gradual:
            keep = dict(zip(self.pruning.mode.sparse, level, strict=True))
            return prune_gradually(fold.train, self.pruning.spec, self.protocol, keep, self.seed)

        fits = run_queue(self.levels, train, lambda _: 1.0, finished=self.progress)
        return [
            _Trial(
                POLYNOMIAL,
                level,
                _kept(fit.masks),
                *(
                    (math.nan, math.nan)
                    if math.isnan(fit.loss)
                    else _accuracies(fit.params, fit.masks, fold)
                ),
                self._parameters(fit.masks),
            )
            for level, fit in enumerate(fits)
        ]

    def _parameters(self, masks: Masks) -> int:
        return int(count_parameters(masks, self.pruning.spec)[0])


def _accuracies(params: Params, masks: Masks, fold: FeatureSplits) -> tuple[float, float]:
    """Selection and test accuracy of parameters under a mask, without training."""
    head = compact_head(params, masks, 0)

    def accuracy(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.mean(head.predict(x) == y)) if len(y) else math.nan

    return accuracy(fold.selection.x, fold.selection.y), accuracy(fold.test.x, fold.test.y)


def _kept(masks: Masks) -> float:
    """Connections that are left / connections of the pruned layers."""
    pruned = [c for c in masks.connections if c is not None]
    return sum(int(c.sum()) for c in pruned) / sum(c.size for c in pruned)


def _mean(folds: list[list[_Trial]]) -> list[_Trial]:
    def mean(trials: tuple[_Trial, ...]) -> _Trial:
        return dataclasses.replace(
            trials[0],
            active_fraction=float(np.mean([t.active_fraction for t in trials])),
            selection=float(np.mean([t.selection for t in trials])),
            test=float(np.mean([t.test for t in trials])),
            parameters=float(np.mean([t.parameters for t in trials])),
        )

    return [mean(trials) for trials in zip(*folds, strict=True)]


def _rows(name: str, trials: list[_Trial]) -> list[BaselineRow]:
    own = [t for t in trials if t.name == name]
    if name == "dense":
        return [_row(own[0], "whole")]
    same = [t for t in own if t.level == 0]
    rows = [_row(_best(same), "same", len(same)), _row(_best(own), "best", len(own))]
    return [_average(same), *rows] if name == RANDOM else rows


def _best(trials: list[_Trial]) -> _Trial:
    """Highest selection accuracy, then fewest parameters; a diverged head is the worst."""
    return min(
        trials,
        key=lambda t: (math.inf if math.isnan(t.selection) else -t.selection, t.parameters),
    )


def _row(trial: _Trial, at: At, heads: int = 1) -> BaselineRow:
    return BaselineRow(
        trial.name,
        at,
        trial.active_fraction,
        trial.selection,
        trial.test,
        round(trial.parameters),
        heads,
    )


def _average(trials: list[_Trial]) -> BaselineRow:
    (mean,) = _mean([[t] for t in trials])
    row = _row(mean, "same", len(trials))
    return dataclasses.replace(row, name=f"{row.name}, mean")
