"""All baselines at the active fraction of a head that was found, and each at its own best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Container, Iterator, Sequence

import numpy as np

from evojax_prune.baselines.from_head import random_scores
from evojax_prune.baselines.polynomial import Gradual, prune_gradually
from evojax_prune.baselines.rankings import RANKINGS, RECURSIVE, Dense
from evojax_prune.baselines.recursive import elimination_protocol, elimination_sizes
from evojax_prune.baselines.regression import logistic_regression
from evojax_prune.baselines.rows import (
    LOGISTIC,
    LOGISTIC_FOUND,
    POLYNOMIAL,
    RANDOM,
    BaselineRow,
    Trial,
    mean_over_folds,
    shown_trials,
    table_rows,
)
from evojax_prune.core.compact_head import compact_head
from evojax_prune.core.errors import UserError
from evojax_prune.core.head import Params
from evojax_prune.core.masks import Masks, concatenate, count_parameters, dense_masks
from evojax_prune.core.mode import ModeName
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Fractions, Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.engine import Fits, fit_population, run_queue

FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Active fractions among which each baseline's own best is looked for."""

NOT_RETRAINED = ", not retrained"
UNTRAINED = ("weight magnitude", "incoming weights", "outgoing weights")
"""Rankings that are also shown without training: what is left of the dense head as it is."""


def method_names(mode: ModeName) -> tuple[str, ...]:
    """Baselines that a prune mode has, in the order of the table."""
    names = [RANDOM]
    for ranking in RANKINGS.values():
        if mode in ranking.modes:
            names.append(ranking.name)
            names += [ranking.name + NOT_RETRAINED] * (ranking.name in UNTRAINED)
    return (*names, POLYNOMIAL, LOGISTIC)


def check_names(names: Sequence[str] | None, mode: ModeName) -> tuple[str, ...]:
    """The baselines asked for, all of the mode's if None.

    Raises:
        UserError: a name that the mode does not have.
    """
    known = method_names(mode)
    unknown = [n for n in names or () if n not in known]
    if unknown:
        raise UserError(
            f"unknown baseline {unknown[0]!r} for mode {mode!r}; expected some of "
            f"{', '.join(known)}"
        )
    return known if names is None else tuple(n for n in known if n in names)


def compare(
    splits: FeatureSplits | Sequence[FeatureSplits],
    pruning: Pruning,
    protocol: Protocol,
    fraction: float | Sequence[float],
    seed: int = 0,
    *,
    found: np.ndarray | None = None,
    judged: Sequence[FeatureSplits] = (),
    methods: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    random_masks: int = 5,
    engine: str = "auto",
    member_batch: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[BaselineRow]:
    """Train and score every baseline on the terms of a head that was found.

    The heads of one fold that prune units are trained as one population; the engine cannot mix them
    with those that prune weights, which are another. In a cross-validation each fold ranks by its
    own training rows. Recursive elimination trains for a third of the protocol's epochs.

    Args:
        splits: train, selection and test features; several are folds.
        pruning: what the found genome means.
        protocol: how every head is trained: the found head's final protocol.
        fraction: active fraction of the found head, of each pruned layer
            (:meth:`evojax_prune.core.pruning.Pruning.fractions`) or one for all.
        seed: the found head's: initial weights, minibatch order; and random baselines.
        found: the found genome ``bool [G]``; with it, and in mode ``features``, plain logistic
            regression is also shown on its features.
        judged: splits that selection accuracies are measured on, where ``splits`` have no selection
            rows: every baseline is made anew out of their training rows. On ``splits`` those heads
            are then trained whose test accuracies are in the rows.
        methods: names out of :func:`method_names`; all if None.
        fractions: grid for each baseline's own best; ``fraction`` is always in it.
        random_masks: random masks at each fraction.
        engine: as :func:`evojax_prune.engine.fit_population` takes it.
        member_batch: likewise.
        progress: called with the number of heads just trained, :func:`count_heads` in all.

    Returns:
        The dense head, then for each baseline the row ``same`` and the row ``best`` (by selection
        accuracy, then fewer parameters); random masks also as the mean at the same fraction. Plain
        logistic regression has a row ``whole``, and ``same`` on the found features.

    Raises:
        UserError: an unknown baseline, a fraction outside (0, 1], no random masks, a dense head
            that diverged.
    """
    folds = [splits] if isinstance(splits, FeatureSplits) else list(splits)
    levels = _levels(fraction, fractions, len(pruning.parts))
    if random_masks < 1:
        raise UserError(f"random_masks is {random_masks}, expected at least 1")
    names = check_names(methods, pruning.mode.name)

    def fit(fold: FeatureSplits, masks: Masks, how: Protocol, return_params: bool = False) -> Fits:
        return fit_population(
            masks,
            fold,
            how,
            head=pruning.spec,
            seed=seed,
            evaluate=("selection", "test"),
            return_params=return_params,
            engine=engine,
            member_batch=member_batch,
            progress=progress,
        )

    job = _Job(pruning, protocol, seed, levels, names, random_masks, found, fit, progress)
    trials = mean_over_folds([job.trials(part) for part in judged or folds])
    if judged:  # only what the table shows is trained again for test
        shown = shown_trials(trials)
        final = dataclasses.replace(job, shown=shown)
        tested = iter(mean_over_folds([final.trials(fold) for fold in folds]))
        trials = [
            dataclasses.replace(t, test=next(tested).test if t.key in shown else math.nan)
            for t in trials
        ]
    return [row for name in ("dense", *names, LOGISTIC_FOUND) for row in table_rows(name, trials)]


def count_heads(
    pruning: Pruning,
    fraction: float | Sequence[float],
    *,
    folds: int = 1,
    judged: int = 0,
    methods: Sequence[str] | None = None,
    fractions: Sequence[float] = FRACTIONS,
    random_masks: int = 5,
) -> int:
    """Heads that :func:`compare` trains, at most, when it is given the same arguments.

    ``folds`` and ``judged`` are how many splits it is given of each. It trains fewer where there
    are judged ones, and a baseline's best fraction on them is the found head's.
    """
    names = check_names(methods, pruning.mode.name)
    each = sum(random_masks if n == RANDOM else n in RANKINGS or n == POLYNOMIAL for n in names)
    units = dataclasses.replace(pruning, grain="neurons").parts
    recursive = len(elimination_sizes(units)) - 1 if RECURSIVE in names else 0
    levels = len(_levels(fraction, fractions, len(pruning.parts)))
    tested = min(2, levels) if judged else levels
    return judged * (1 + recursive + each * levels) + folds * (1 + recursive + each * tested)


def _levels(
    fraction: float | Sequence[float], grid: Sequence[float], parts: int
) -> tuple[Fractions, ...]:
    """The found head's fractions, then those of the grid that differ from them."""
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
class _Asked:
    """A head that a baseline wants to be tried."""

    name: str
    level: int
    masks: Masks
    active_fraction: float

    def tried(self, selection: float, test: float, parameters: float) -> Trial:
        """The same with its accuracies."""
        return Trial(self.name, self.level, self.active_fraction, selection, test, parameters)


@dataclasses.dataclass(frozen=True)
class _Job:
    """What is compared; see :func:`compare`."""

    pruning: Pruning
    protocol: Protocol
    seed: int
    levels: tuple[Fractions, ...]
    names: tuple[str, ...]
    random_masks: int
    found: np.ndarray | None
    fit: Callable[..., Fits]
    progress: Callable[[int], None] | None
    shown: Container[tuple[str, int]] | None = None
    """Names and levels of the heads to be made; None for all."""

    def trials(self, fold: FeatureSplits) -> list[Trial]:
        """Every head of one fold, in the same order for all folds."""
        whole = dense_masks(self.pruning.spec)
        fits = self.fit(fold, whole, self.protocol, True)
        dense = _Asked("dense", 0, whole, 1.0)
        params = (fits.params or [{}])[0]
        retrained, as_it_is = self._ask(fold, params)
        trials = [dense.tried(*_pairs(fits)[0], self._parameters(whole))]
        for of_weights in (True, False):
            some = [a for a in retrained if _of_weights(a.masks) == of_weights]
            if some:
                fits = self.fit(fold, concatenate(*(a.masks for a in some)), self.protocol)
                pairs = _pairs(fits)
                trials += [
                    a.tried(*p, self._parameters(a.masks)) for a, p in zip(some, pairs, strict=True)
                ]
        for asked in as_it_is:
            figures = _accuracies(params, asked.masks, fold)
            trials.append(asked.tried(*figures, self._parameters(asked.masks)))
        return [*trials, *self._gradual(fold), *self._logistic(fold)]

    def _ask(self, fold: FeatureSplits, params: Params) -> tuple[list[_Asked], list[_Asked]]:
        """Heads to be trained, and heads that are taken as they are."""
        dense = Dense(fold.train, params, self.pruning, self.seed, self._short_fit(fold))
        retrained, as_it_is = [], []
        for i in range(self.random_masks if RANDOM in self.names else 0):
            scores = random_scores(self.pruning.parts, (self.seed, i, 0x72616E64))
            retrained += self._cut(RANDOM, scores, self.pruning)
        for name, ranking in RANKINGS.items():
            untrained = name + NOT_RETRAINED
            if name in self.names or untrained in self.names:
                scores, pruning = ranking.rank(dense), ranking.pruning(self.pruning)
                retrained += self._cut(name, scores, pruning) if name in self.names else []
                as_it_is += self._cut(untrained, scores, pruning) if untrained in self.names else []
        return retrained, as_it_is

    def _short_fit(self, fold: FeatureSplits) -> Callable[[np.ndarray], Fits]:
        short = elimination_protocol(self.protocol)
        units = dataclasses.replace(self.pruning, grain="neurons")
        return lambda genomes: self.fit(fold, units.masks(genomes), short, True)

    def _cut(self, name: str, scores: Sequence[np.ndarray], pruning: Pruning) -> list[_Asked]:
        genomes = [pruning.keep(scores, fractions) for fractions in self.levels]
        return [
            _Asked(name, level, pruning.masks(genome[None]), float(genome.mean()))
            for level, genome in enumerate(genomes)
            if self._wanted(name, level)
        ]

    def _wanted(self, name: str, level: int) -> bool:
        return self.shown is None or (name, level) in self.shown

    def _gradual(self, fold: FeatureSplits) -> Iterator[Trial]:
        if POLYNOMIAL not in self.names:
            return

        def train(level: Fractions) -> Gradual:
            keep = dict(zip(self.pruning.mode.sparse, level, strict=True))
            fit = prune_gradually(fold.train, self.pruning.spec, self.protocol, keep, self.seed)
            if self.progress is not None:
                self.progress(1)
            return fit

        wanted = [i for i in range(len(self.levels)) if self._wanted(POLYNOMIAL, i)]
        fits = run_queue([self.levels[i] for i in wanted], train, cost=sum)
        for level, fit in zip(wanted, fits, strict=True):
            diverged = math.isnan(fit.loss)
            figures = (math.nan,) * 2 if diverged else _accuracies(fit.params, fit.masks, fold)
            asked = _Asked(POLYNOMIAL, level, fit.masks, _kept(fit.masks))
            yield asked.tried(*figures, self._parameters(fit.masks))

    def _logistic(self, fold: FeatureSplits) -> Iterator[Trial]:
        """Plain logistic regression on all features, and on those that were found."""
        if LOGISTIC not in self.names:
            return
        every, classes = np.ones(self.pruning.spec.features, bool), self.pruning.spec.classes
        kept = {LOGISTIC: every}
        by_feature = self.pruning.mode.name == "features" and self.pruning.grain == "neurons"
        if self.found is not None and by_feature and self.found.any():
            kept[LOGISTIC_FOUND] = np.asarray(self.found, bool)
        for name, columns in kept.items():
            train = dataclasses.replace(fold.train, x=fold.train.x[:, columns])
            predict = logistic_regression(train, self.seed)
            selection, test = (
                float(np.mean(predict(s.x[:, columns]) == s.y)) if len(s) else math.nan
                for s in (fold.selection, fold.test)
            )
            parameters = (int(columns.sum()) + 1) * classes
            yield Trial(name, 0, float(columns.mean()), selection, test, parameters)

    def _parameters(self, masks: Masks) -> int:
        return int(count_parameters(masks, self.pruning.spec)[0])


def _of_weights(masks: Masks) -> bool:
    return any(connections is not None for connections in masks.connections)


def _pairs(fits: Fits) -> list[tuple[float, float]]:
    """Selection and test accuracy of each head."""
    pairs = zip(fits.accuracy["selection"], fits.accuracy["test"], strict=True)
    return [(float(selection), float(test)) for selection, test in pairs]


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
