"""From a sweep file to runs that are named, checked, and known to be finished or not."""

from __future__ import annotations

import dataclasses
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evojax_prune.core.errors import UserError, shortened
from evojax_prune.core.options import sentences, suggestion
from evojax_prune.data import FeatureTable, ImageDataset
from evojax_prune.features import NotExtractedError
from evojax_prune.methods.options import SearchOptions
from evojax_prune.run.config import DataOptions, HeadOptions, RunConfig, validated
from evojax_prune.run.data import (
    check_names,
    check_places,
    content_digest,
    digest,
    load_data,
    make_problem,
    run_digest,
)
from evojax_prune.sweep.estimate import DataSize, expected_seconds
from evojax_prune.sweep.file import (
    Axis,
    MistakesError,
    Point,
    SweepFile,
    axes_of,
    points_of,
    shown,
)
from evojax_prune.sweep.task import FOLDER, LOGS, Task, data_key


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """A checked sweep.

    Attributes:
        title: what to call it.
        folder: where everything goes.
        axes: of the space.
        by: fields by which the table has its lines.
        tasks: every run, those on the same data and seed together.
        images: that have to be turned into features first.
    """

    title: str
    folder: Path
    axes: tuple[Axis, ...]
    by: tuple[str, ...]
    tasks: tuple[Task, ...]
    images: int

    @property
    def columns(self) -> tuple[str, ...]:
        """What tells the runs apart, by name."""
        return tuple(name for axis in self.axes for name in axis.names)


def make_plan(
    sweep: SweepFile,
    folder: Path,
    title: str,
    by: tuple[str, ...] = (),
    timeout: float | None = None,
) -> SweepPlan:
    """Expand a sweep file and check every run of it; writes nothing.

    Args:
        sweep: the file's content.
        folder: where everything goes.
        title: what to call it.
        by: instead of the file's.
        timeout: instead of the file's.

    Raises:
        MistakesError: everything that is wrong with it.
    """
    axes = axes_of(sweep)
    points = list(points_of(sweep, axes))
    wrong: list[str] = []
    looked_at: dict[str, str | None] = {}
    checked = [_config(point, wrong, looked_at) for point in points]
    mistakes = list(_counted(wrong, len(points)))
    configs = [config for config in checked if config is not None]
    mistakes += _same(configs, points) if not mistakes else []
    folder = Path(os.path.realpath(folder))
    known = _look(configs, folder, mistakes)
    by = tuple(dict.fromkeys(by or sweep.by))
    columns = [name for axis in axes for name in axis.names]
    valid = dict.fromkeys([*columns, *RunConfig.model_fields])
    mistakes += [f"unknown field {n!r} in by{suggestion(n, valid)}" for n in by if n not in valid]
    if mistakes:
        raise MistakesError(mistakes)
    if not by:
        several = [name for axis in axes if len(axis.labels) > 1 for name in axis.names]
        by = tuple(n for n in several if n != "seed") or tuple(columns[:1]) or ("dataset",)
    tasks = [
        _task(point, config, known[data_key(config)], folder, timeout or sweep.timeout)
        for point, config in zip(points, configs, strict=True)
    ]
    order = {data: i for i, data in enumerate(dict.fromkeys(task.data for task in tasks))}
    tasks.sort(key=lambda task: (order[task.data], task.config.seed))
    images = sum(data.size.images for data in known.values())
    return SweepPlan(title, folder, tuple(axes), by, tuple(tasks), images)


def _config(point: Point, wrong: list[str], looked_at: dict[str, str | None]) -> RunConfig | None:
    """A point's configuration; None if there is none, and why."""
    try:
        config = RunConfig.model_validate(point.settings)
    except ValidationError as error:
        wrong += sentences(error, RunConfig.model_fields)
        return None
    named = (*SearchOptions.model_fields, "method", "engine", "search_protocol", "final_protocol")
    names = repr([getattr(config, name) for name in named])
    if names not in looked_at:  # many runs share them, and to make a strategy takes time
        looked_at[names] = _wrong_names(config)
    if sentence := looked_at[names]:
        wrong.append(sentence)
        return None
    return config


def _wrong_names(config: RunConfig) -> str | None:
    try:
        check_names(config)
    except UserError as error:
        return str(error)
    return None


def _counted(wrong: Iterable[str], runs: int) -> Iterable[str]:
    """Each mistake once, with the number of runs that have it."""
    for sentence, count in Counter(wrong).items():
        some = "all runs" if count == runs else "1 run" if count == 1 else f"{count} runs"
        yield sentence if runs == 1 else f"{sentence} (in {some})"


def _same(configs: list[RunConfig], points: list[Point]) -> Iterable[str]:
    """A sentence per pair of points that are one and the same run."""
    first: dict[str, Point] = {}
    for config, point in zip(configs, points, strict=True):
        earlier = first.setdefault(digest(config.repeatable()), point)
        if earlier is not point:
            yield (f"{_words(earlier)} and {_words(point)} are the same run: leave one of them out")


def _words(point: Point) -> str:
    return shortened(", ".join(f"{name} {shown(v)}" for name, v in point.labels.items()), 200)


@dataclasses.dataclass(frozen=True)
class _Data:
    """What is known of a configuration's data before any run."""

    digest: str
    size: DataSize


def _look(configs: Iterable[RunConfig], folder: Path, mistakes: list[str]) -> dict[str, _Data]:
    """Look at each data set once, and see that it can be cut as the runs want it.

    Returns:
        By :func:`data_key`; of data that cannot be used there is a mistake instead.
    """
    users: dict[str, dict[str, RunConfig]] = {}
    for config in configs:
        users.setdefault(data_key(config), {}).setdefault(_shape_key(config), config)
    found = {}
    for key, shapes in users.items():
        first = next(iter(shapes.values()))
        try:
            check_places(first, folder)
            content = content_digest(first)
            table = load_data(first, first.dataset, None, extract=False)
        except NotExtractedError as missing:
            found[key] = _Data(content, _size_of_images(missing.images))
        except UserError as error:
            mistakes.append(str(error))
        else:
            width = next(iter(table.x.values())).shape[1]
            rows = sum(len(y) for name, y in table.y.items() if name != "test")
            found[key] = _Data(content, DataSize(rows, width, len(table.classes)))
            mistakes += _uncut(shapes.values(), table)
    return found


def _uncut(configs: Iterable[RunConfig], table: FeatureTable) -> Iterable[str]:
    """A sentence for each head or split that the data do not have."""
    for config in configs:
        try:
            make_problem(config, table)
        except UserError as error:
            yield str(error)


def _size_of_images(images: ImageDataset) -> DataSize:
    counts = {name: len(split) for name, split in images.splits.items()}
    rows = sum(count for name, count in counts.items() if name != "test")
    return DataSize(rows, 1280, len(images.classes), sum(counts.values()))


def _shape_key(config: RunConfig) -> str:
    """What is equal for configurations that cut the same data and head alike, seeds apart."""
    names = (*DataOptions.model_fields, *HeadOptions.model_fields)
    return repr([getattr(config, name) for name in names])


def _task(
    point: Point, config: RunConfig, data: _Data, folder: Path, timeout: float | None
) -> Task:
    words = [_part(name, value) for name, value in point.labels.items()]
    readable = re.sub(r"[^\w.=-]+", "-", "-".join(words)).strip("-.")[:100] or "run"
    name = f"{readable}-{run_digest(config, data.digest)}"
    settings = config.repeatable() | {"output": folder / FOLDER / name}
    return Task(
        name,
        point.labels,
        validated(settings),
        data.digest,
        folder / LOGS / f"{name}.txt",
        timeout,
        expected_seconds(config, data.size),
    )


def _part(name: str, value: Any) -> str:
    """A label as part of a name."""
    text = shown(value)
    if name in ("dataset", "ood"):
        return Path(text).stem
    return f"{name}{text}" if re.fullmatch(r"[-\d.e+]+|True|False|none", text) else text
