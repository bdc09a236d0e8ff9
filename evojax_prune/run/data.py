"""The data that a configuration names, a digest of their content, and the problem they pose."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import checked_path, total_memory
from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.pruning import Pruning
from evojax_prune.core.splits import FeatureSplits
from evojax_prune.data import FeatureTable, make_splits, scale_splits, with_shares
from evojax_prune.data.splitting.groups import tell_groups
from evojax_prune.engine import ENGINES, optimizer_names
from evojax_prune.features import cache, content_key, load_table
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem
from evojax_prune.run.config import RunConfig, validated
from evojax_prune.run.settings_file import load_settings
from evojax_prune.run.trackers import check_trackers
from evojax_prune.version import __version__

TRAINING_COPIES = 3
"""Of a head's parameters: themselves, their velocities, and the best ones so far."""

FEATURE_COPIES = 8
"""Of the features at the peak of a run, by measurement; a search may take a few more."""

OUTSIDE_ROWS = 2000
"""Most rows of other data that are looked at."""


def load_data(
    config: RunConfig, dataset: str, observer: Observer | None, extract: bool = True
) -> FeatureTable:
    """The features of one of a configuration's data sets.

    Args:
        config: says how they are made.
        dataset: ``config.dataset`` or ``config.ood``.
        observer: None shows no progress bars.
        extract: False looks no further than the cache.

    Raises:
        NotExtractedError: the cache does not have them, but ``extract`` is false.
        UserError: the data cannot be used.
    """
    return load_table(
        dataset,
        **data_options(config),
        extraction_batch=config.extraction_batch,
        progress=observer is not None,
        extract=extract,
    )


def data_options(config: RunConfig) -> dict[str, Any]:
    """All that a data set's features follow from but its name."""
    names = (
        *("data_dir", "backbone", "backbone_weights"),
        *("image_size", "skip_unreadable", "groups"),
    )
    return {name: getattr(config, name) for name in names}


def check_places(config: RunConfig, output: Path) -> None:
    """Refuse to write where it would be taken for something else.

    Raises:
        UserError: the output folder or the cache would lie in a folder of data, where the next run
            would take them for data, or the cache in the output folder, which has to be new.
    """
    places = {"--output": output, "EVOJAX_PRUNE_CACHE": cache.folder(None)}
    kept = Path(os.path.realpath(places["EVOJAX_PRUNE_CACHE"]))
    if kept.is_relative_to(os.path.realpath(output)):
        raise UserError(
            f"EVOJAX_PRUNE_CACHE is {kept}, inside --output {output}, which only results may lie "
            "in: give another folder"
        )
    for data in (config.dataset, config.ood):
        if data is None or not Path(data).expanduser().is_dir():
            continue
        root = os.path.realpath(Path(data).expanduser())
        for called, place in places.items():
            inner = Path(os.path.realpath(place))
            if inner.is_relative_to(root) and not any(
                part.startswith(".")
                for part in inner.relative_to(root).parts  # passed over
            ):
                raise UserError(
                    f"{called} is {place}, inside the data {data}, where the next run would take "
                    "its files for data: give another folder"
                )


def content_digest(config: RunConfig) -> str:
    """Hex digest of the rows of a configuration's data sets; no image is decoded.

    Raises:
        UserError: the data cannot be used.
    """
    sets = [config.dataset] + ([config.ood] if config.ood is not None else [])
    return digest([content_key(name, **data_options(config)) for name in sets])


def run_digest(config: RunConfig, content: str | None = None, more: object = None) -> str:
    """Hex digest of all that decides a run's numbers: settings, data, version of this package.

    Args:
        config: the settings.
        content: of :func:`content_digest`, if it is known already.
        more: plain data that decides the numbers, too.

    Raises:
        UserError: the data cannot be used.
    """
    content = content_digest(config) if content is None else content
    return digest([config.repeatable(), content, __version__, more])


def digest(plain: object) -> str:
    """20 hexadecimal digits that tell plain data from other plain data."""
    text = json.dumps(plain, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=10).hexdigest()


def load_splits(config: RunConfig | str | Path) -> list[FeatureSplits]:
    """The splits that a run works on, one element or one per fold.

    Args:
        config: a run's configuration, or its ``config.yaml``.

    Raises:
        UserError: the configuration or its data cannot be used.
    """
    if not isinstance(config, RunConfig):
        config = validated(load_settings(checked_path(config, "config")))
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
