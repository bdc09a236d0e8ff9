"""A run: from the problem to the pruned head. Nothing here prints."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune import baselines
from evojax_prune.core.errors import PluginError, UserError
from evojax_prune.core.files import total_memory
from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.options import Options
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.data import FeatureTable, make_splits, scale_splits, table_of, with_shares
from evojax_prune.data.splitting.groups import tell_groups
from evojax_prune.engine import ENGINES, optimizer_names
from evojax_prune.methods import METHODS, Method
from evojax_prune.methods.convergence import unfinished
from evojax_prune.methods.found import Found, Session
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import JUDGING, Advance, Problem
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.writers import ESSENTIAL, WRITERS, Writer, settings_text, write_results
from evojax_prune.run.config import BackboneOptions, RunConfig, SourceOptions, validated
from evojax_prune.run.data import load_data, refuse_within_data
from evojax_prune.run.settings_file import load_settings
from evojax_prune.run.store import Nothing, PartialFolder, Store
from evojax_prune.run.trackers import check_trackers, tracked

TRAINING_COPIES = 3
"""Of a head's parameters: themselves, their velocities, and the best ones so far."""

FEATURE_COPIES = 8
"""Of the features at the peak of a run, by measurement; a search may take a few more."""

OUTSIDE_ROWS = 2000
"""Most rows of other data that are looked at."""


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
            folds=self.problem.folds + self.problem.resampled,
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
        >>> pruned = prune(x, y, size=4, objectives=["cross-entropy"], population=6, evaluations=24)
        >>> int(pruned.genome.sum())
        4
    """
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
    refuse_within_data(config, store.output)
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


def load_splits(config: RunConfig | str | Path) -> list[FeatureSplits]:
    """The splits that a run works on, one element or one per fold.

    Args:
        config: a run's configuration, or its ``config.yaml``.
    """
    if not isinstance(config, RunConfig):
        config = validated(load_settings(Path(config)))
    return list(load_problem(config).splits)


def load_problem(
    config: RunConfig,
    observer: Observer | None = None,
    load: Callable[[RunConfig, str, Observer | None], FeatureTable] = load_data,
) -> Problem:
    """Check the settings, get the features, cut the splits, shape the head.

    Args:
        config: what to do.
        observer: told how far it is.
        load: gives the features of a data set of the configuration.

    Raises:
        UserError: unknown names, data that cannot be used, splits that cannot be cut.
    """
    check_names(config)
    problem = make_problem(config, load(config, config.dataset, observer))
    if config.ood is not None:
        other = load(config, config.ood, observer)
        problem = dataclasses.replace(problem, outside=_outside(problem, other))
    if observer is not None:
        observer.note(problem.describe())
    return problem


def _outside(problem: Problem, other: FeatureTable) -> tuple[np.ndarray, ...]:
    """Features of other data, scaled as the heads of each fold expect it.

    Raises:
        UserError: they are of another backbone.
    """
    rows = next(iter(other.x.values()))
    if rows.shape[1] != problem.pruning.spec.features:
        raise UserError(
            f"--ood has {rows.shape[1]} features and the data set "
            f"{problem.pruning.spec.features}: expected features of the same backbone"
        )
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), OUTSIDE_ROWS)).astype(np.int64)]
    return tuple(scaling.apply(rows) for scaling in problem.scalings)


def check_names(config: RunConfig) -> None:
    """Refuse names that no part of the program knows, before any work is done.

    Raises:
        UserError: an unknown strategy, option of a strategy, engine or optimizer, or a tracker
            that is not installed.
    """
    check_trackers(config.track)
    if config.method == "search":
        from evojax_prune.methods.search import search_strategy
        from evojax_prune.search.loop import check_objectives

        strategy = search_strategy(config, genome_length=1000, scores=np.zeros((1, 1000)))
        check_objectives(strategy, len(config.objectives))
    for option, name, valid in (
        ("engine", config.engine, ENGINES),
        ("search_protocol.optimizer", config.search_protocol.optimizer, optimizer_names()),
        ("final_protocol.optimizer", config.final_protocol.optimizer, optimizer_names()),
    ):
        if name not in valid:
            raise UserError(f"{option} is {name}, expected one of {', '.join(valid)}")


def make_problem(config: RunConfig, table: FeatureTable) -> Problem:
    """Cut the splits and shape the head.

    Raises:
        UserError: unknown classes, splits that cannot be cut, or fewer hidden layers than the mode
            prunes.
    """
    table = with_shares(table, config.class_shares or {})
    if (needed := FEATURE_COPIES * sum(x.nbytes for x in table.x.values())) > total_memory():
        raise UserError(
            f"a run on the features of {table.name} takes {needed / 1e9:,.0f} GB, more than this "
            "machine's memory: give fewer rows or features"
        )
    if config.allow_group_overlap and (table.groups is None or "test" not in table.x):
        raise UserError(
            "--allow-group-overlap does nothing without groups and a given test split: leave it out"
        )
    fraction = config.selection_fraction
    if fraction is None:
        fraction = 1 / 3 if config.selection == "resampled" else 0.2
    splits = make_splits(
        table,
        selection=config.selection,
        selection_fraction=fraction,
        test_fraction=config.test_fraction,
        folds=config.folds,
        seed=config.seed,
        allow_group_overlap=config.allow_group_overlap,
    )
    if table.groups is not None:
        tell_groups(table.groups)
    features = splits[0].train.x.shape[1]
    try:
        spec = head_spec(config.mode, features, len(table.classes), config.hidden)
    except ValueError as error:
        raise UserError(f"--hidden does not suit: {error}") from None
    if (needed := TRAINING_COPIES * 4 * spec.parameters) > total_memory() / 2:
        raise UserError(
            f"the head has {spec.parameters:,} parameters, whose training takes "
            f"{needed / 1e9:,.0f} GB, more than half of this machine's memory: lower --hidden"
        )
    scaled = [scale_splits(split, config.scale) for split in splits]
    return Problem(
        table.name,
        table.version,
        table.source,
        [split for split, _ in scaled],
        Pruning(spec, MODES[config.mode], config.grain),
        config,
        [scaling for _, scaling in scaled],
    )
