"""A run: from the problem to the pruned head. Nothing here prints."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from evojax_prune import baselines
from evojax_prune.core.errors import PluginError, UserError, in_python, shortened
from evojax_prune.core.options import Options
from evojax_prune.data import table_of
from evojax_prune.methods import METHODS, Method
from evojax_prune.methods.convergence import unfinished
from evojax_prune.methods.found import Found, Session
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import JUDGING, Advance, Problem
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.writers import ESSENTIAL, WRITERS, Writer, settings_text, write_results
from evojax_prune.run.config import BackboneOptions, RunConfig, SourceOptions, validated
from evojax_prune.run.data import check_places, load_problem, make_problem
from evojax_prune.run.store import Nothing, PartialFolder, Store
from evojax_prune.run.trackers import tracked


@dataclasses.dataclass(frozen=True)
class Run:
    """A problem and the method that solves it; calling the run does the work.

    Attributes:
        problem: what is pruned, on which data.
        method: how the mask is found.
        options: what the method reads.
        observer: told how far the run is.
        store: keeps the journal.
        compare: active fractions among which other ways of pruning are tried; None tries none.
        settings: plain data that the result is to name as its configuration.
        margin: test accuracy that a pruned head may lose and still be called not worse.
    """

    problem: Problem
    method: Method
    options: Options
    observer: Observer = dataclasses.field(default_factory=Observer)
    store: Store = dataclasses.field(default_factory=Nothing)
    compare: tuple[float, ...] | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    margin: float = 0.02

    def __call__(self) -> Pruned:
        """Find a pruned head and train what it is compared with.

        Raises:
            UserError: training diverged, or the journal is of another run.
        """
        started = time.monotonic()
        for note in (self.problem.imbalance(), self.problem.odd_scale()):
            if note is not None:
                self.observer.note(f"note: {note}")
        session = Session(self.observer, self.store.journal, self.store.keep)
        found = self.method.load()(self.problem, self.options, session)
        if not isinstance(found, Found):
            raise PluginError(
                f"--method {self.settings.get('method')} gives {type(found).__name__}, expected "
                "Found: mend its plugin"
            )
        slow = unfinished(self.problem, found, self.observer)
        rows = tuple(self._baselines(found))
        seconds = time.monotonic() - started
        return Pruned(self.problem, found, rows, self.settings, seconds, self.margin, slow)

    def _baselines(self, found: Found) -> list[baselines.BaselineRow]:
        """Other ways of pruning, on the terms of the head that was found."""
        if self.compare is None:
            return []
        at = self.problem.pruning.fractions(found.pruned.genome)
        heads = baselines.count_heads(
            self.problem.pruning,
            at,
            folds=self.problem.folds,
            judged=int(self.problem.resampled),
            fractions=self.compare,
        )
        with self.observer.stage("other ways of pruning", heads, "heads") as shown:
            rows = compare(self.problem, found.pruned.genome, self.compare, advance=shown.advance)
            shown.finish()
        return [row for row in rows if row.name != "dense"]


def compare(
    problem: Problem,
    genome: np.ndarray,
    fractions: tuple[float, ...],
    *,
    methods: tuple[str, ...] | None = None,
    random_masks: int = 5,
    advance: Advance | None = None,
) -> list[baselines.BaselineRow]:
    """Other ways of pruning, on the terms of a head that was found.

    Args:
        problem: what is pruned, on which data.
        genome: the head's, ``bool [G]``.
        fractions: active fractions among which each one's own best is looked for.
        methods: baselines by name; all if None.
        random_masks: random masks at each fraction.
        advance: told of every trained head.
    """
    return baselines.compare(
        problem.splits,
        problem.pruning,
        problem.training.final_protocol,
        problem.pruning.fractions(genome),
        problem.training.seed,
        found=genome,
        judged=problem.parts(JUDGING) if problem.resampled else (),
        methods=methods,
        fractions=fractions,
        random_masks=random_masks,
        engine=problem.training.engine,
        member_batch=problem.training.member_batch,
        progress=advance,
    )


@in_python()
def prune(
    data: RunConfig | Any,
    labels: Any = None,
    *,
    groups: Any = None,
    x_test: Any = None,
    y_test: Any = None,
    groups_test: Any = None,
    observer: Observer | None = None,
    **settings: Any,
) -> Pruned:
    """Find a pruned head, and compare it with the dense one.

    ``prune(x, y, groups=patients)`` for features in memory, ``prune(config)`` for anything that the
    main command takes. Files are written only where an ``output`` folder is named.

    Args:
        data: features ``[n, F]`` of any type of number, or a configuration.
        labels: ``[n]``, integers, booleans or strings; the sorted labels are the classes.
        groups: group of each row ``[n]``, which no split cuts.
        x_test: features of a given test split; part of ``data`` is cut off if there is none.
        y_test: its labels.
        groups_test: its groups.
        observer: told how far the run is.
        settings: of features in memory: fields of :class:`RunConfig`, but those about data and
            backbone.

    Returns:
        The pruned head, its figures (``result``), and everything that they were made of.

    Raises:
        UserError: the input is at fault; nothing has been written then but cached features.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = np.arange(90) % 3
        >>> x = rng.normal(size=(90, 12)) + 2 * np.eye(3, 12)[y]
        >>> pruned = prune(x, y, size=4, population=6, evaluations=24)
        >>> bool(pruned.genome.sum() <= 4)
        True
    """
    if observer is not None and not isinstance(observer, Observer):
        raise UserError(f"observer is a {type(observer).__name__}, expected an Observer or None")
    if labels is None and isinstance(data, str | os.PathLike | Mapping):
        raise UserError(
            f"prune is given {shortened(repr(data))}, expected features and labels, or "
            "evojax_prune.RunConfig(dataset=...), which names a data set"
        )
    if isinstance(data, RunConfig):
        arrays = (labels, groups, x_test, y_test, groups_test)
        if settings or any(array is not None for array in arrays):
            raise UserError(
                "prune takes a configuration alone, or features and labels with settings: put the "
                "settings into the configuration"
            )
        return _prune(data, None, observer or Observer())
    config = validated(settings)
    if given := sorted(_OF_FILES & config.model_fields_set):
        raise UserError(f"{given[0]} does nothing for features in memory: drop it")
    table = table_of(data, labels, x_test, y_test, groups, groups_test)
    return _prune(config, make_problem(config, table), observer or Observer())


_OF_FILES = {*SourceOptions.model_fields, *BackboneOptions.model_fields} | {
    *("dataset", "data_dir", "groups", "skip_unreadable", "ood")
}
"""Settings that features in memory have no use for."""


def _prune(config: RunConfig, problem: Problem | None, observer: Observer) -> Pruned:
    """A run with a problem of its own, or the configuration's."""
    if config.output is not None:
        return prune_into(PartialFolder(config.output), config, observer, problem=problem)
    problem = problem or load_problem(config, observer)
    with tracked(config, problem, observer, None) as watch:
        pruned = _run(config, problem, watch, Nothing())()
        watch.on_result(pruned, None)
    return pruned


def prune_into(
    store: PartialFolder,
    config: RunConfig,
    observer: Observer,
    *,
    problem: Problem | None = None,
    writers: Mapping[str, Writer] | None = None,
) -> Pruned:
    """As :func:`prune`, and write the results to a store's output folder.

    Args:
        store: the folder.
        config: what to do.
        observer: told how far the run is.
        problem: the configuration's, loaded already and perhaps changed.
        writers: of further files, by name.

    Raises:
        UserError: the input is at fault, or the results could not be written; what can be gone on
            from is kept.
    """
    store.check(config.overwrite, {**ESSENTIAL, **WRITERS, **(writers or {})})
    check_places(config, store.output)
    problem = problem or load_problem(config, observer)
    with store, tracked(config, problem, observer, store.output) as watch:
        store.configure(settings_text(config.repeatable()), config.overwrite)
        if not METHODS[config.method].resumable:
            store.refuse_journal()
        pruned = _run(config, problem, watch, store)()
        store.keep()
        failed = write_results(store.path, pruned, writers)
        store.finish(go_on=bool(failed))
        watch.on_result(pruned, store.output)
    if failed:
        raise UserError(
            f"the results are in {store.output}, but not all of them: {'; '.join(failed)}"
        )
    return pruned


def _run(config: RunConfig, problem: Problem, observer: Observer, store: Store) -> Run:
    return Run(
        problem,
        METHODS[config.method],
        config.options(),
        observer,
        store,
        config.compare_fractions if config.compare else None,
        config.repeatable(),
        config.margin,
    )
