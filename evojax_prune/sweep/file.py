"""The sweep file, and the points of the space that it spans.

A point is one run's settings. ``base`` is shared by all; each field of ``grid``, each group of
``zip`` and each entry of ``variants`` is an axis, and there is a point for every combination.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from evojax_prune.core.errors import UserError, shortened
from evojax_prune.core.options import Options, sentences, suggestion
from evojax_prune.run.config import OutputOptions, RunConfig, UserPath
from evojax_prune.run.presets import merged
from evojax_prune.run.settings_file import nested_fields, read_mapping

MOST_RUNS = 20_000

COLUMNS = re.compile(
    r"run|status|selected_on_test|optimism|difference|p_value|verdict|package|wall_seconds"
    r"|(data|rows|dense|random|ranking|pruned|search)_.*"
)
"""Names that the table of the runs has for itself."""

Settings = dict[str, Any]
"""Values by field; those of a group within the settings have dots, as in ``final_protocol.epochs``.
"""


class MistakesError(UserError):
    """Everything that is wrong with a sweep.

    Attributes:
        sentences: one per mistake.
    """

    def __init__(self, found: Iterable[str]):
        self.sentences = list(dict.fromkeys(found))
        super().__init__("; ".join(self.sentences))


class SweepFile(Options):
    """What a sweep file may hold."""

    base: dict[str, Any] = Field({}, description="settings of all runs")
    grid: dict[str, tuple[Any, ...]] = Field({}, description="fields with a list of values each")
    zip: tuple[dict[str, tuple[Any, ...]], ...] = Field(
        (), description="groups of fields whose lists go side by side"
    )
    variants: dict[str, dict[str, dict[str, Any]]] = Field(
        {}, description="axes of named settings: axis, name, settings"
    )
    by: tuple[str, ...] = Field((), description="fields by which the table has its lines")
    timeout: float | None = Field(None, gt=0, description="seconds that one run may take")
    output: UserPath | None = Field(None, description="folder of the sweep")


@dataclasses.dataclass(frozen=True)
class Axis:
    """One direction of the space.

    Attributes:
        names: columns of the results that it fills.
        labels: for each place, what those columns hold.
        settings: for each place, the fields that it sets.
    """

    names: tuple[str, ...]
    labels: tuple[tuple[Any, ...], ...]
    settings: tuple[Settings, ...]

    @property
    def fields(self) -> set[str]:
        """Every field that some place of it sets."""
        return {name for place in self.settings for name in place}


@dataclasses.dataclass(frozen=True)
class Point:
    """The settings of one run.

    Attributes:
        labels: value of each axis' columns.
        settings: as a settings file has them.
    """

    labels: dict[str, Any]
    settings: dict[str, Any]


def load_sweep(path: Path) -> SweepFile:
    """A sweep file, its layout checked; :func:`axes_of` checks what it names.

    Raises:
        MistakesError: keys or values that a sweep file cannot have.
        UserError: the file cannot be read, or is not a YAML mapping.
    """
    given = read_mapping(path, "SWEEP.yaml", "sweep file")
    if not given:
        raise UserError(f"the sweep file {path} is empty: put settings that vary below grid")
    unknown = [key for key in given if key not in SweepFile.model_fields]
    found = [_unknown_key(key) for key in unknown]
    try:
        sweep = SweepFile.model_validate({k: v for k, v in given.items() if k not in unknown})
    except ValidationError as error:
        found += [
            f"in the sweep file, {sentence}"
            for sentence in sentences(error, RunConfig.model_fields)
        ]
        raise MistakesError(found) from None
    if found:
        raise MistakesError(found)
    return sweep


def _unknown_key(key: object) -> str:
    text = shortened(str(key))
    if text in RunConfig.model_fields:
        return f"{text} stands alone in the sweep file: put it below base or, as a list, below grid"
    return f"unknown key {text!r} in the sweep file{suggestion(text, SweepFile.model_fields)}"


def axes_of(sweep: SweepFile) -> list[Axis]:
    """The axes: variants, then zipped groups, then the grid, each in the file's order.

    Raises:
        MistakesError: unknown fields, lists that are empty or unequal, a value that comes twice, a
            field that two axes set, or too many combinations.
    """
    found = list(_wrong_fields(sweep)) + list(_wrong_lists(sweep))
    if found:
        raise MistakesError(found)
    axes = [_variant_axis(name, places) for name, places in sweep.variants.items()]
    axes += [_list_axis(group) for group in sweep.zip]
    axes += [_list_axis({name: values}) for name, values in sweep.grid.items()]
    if found := list(_clashes(axes)):
        raise MistakesError(found)
    count = math.prod(len(axis.settings) for axis in axes)
    if count > MOST_RUNS:
        raise MistakesError([f"the sweep has {count:,} runs, expected at most {MOST_RUNS:,}"])
    return axes


def points_of(sweep: SweepFile, axes: list[Axis]) -> Iterator[Point]:
    """Every combination; the last axis moves fastest."""
    base = nested(flat(sweep.base))
    for places in itertools.product(*(range(len(axis.settings)) for axis in axes)):
        labels: dict[str, Any] = {}
        settings: Settings = {}
        for axis, place in zip(axes, places, strict=True):
            labels |= dict(zip(axis.names, axis.labels[place], strict=True))
            settings |= axis.settings[place]
        yield Point(labels, merged(base, nested(settings)))


def flat(settings: Mapping[str, Any]) -> Settings:
    """Settings with dots for those of a group."""
    result: Settings = {}
    for name, value in settings.items():
        if isinstance(value, dict) and _group(name) is not None:
            result |= {f"{name}.{inner}": deeper for inner, deeper in value.items()}
        else:
            result[name] = value
    return result


def nested(settings: Settings) -> dict[str, Any]:
    """Settings as a settings file has them."""
    result: dict[str, Any] = {}
    for name, value in settings.items():
        group, dot, inner = name.partition(".")
        result = merged(result, {group: {inner: value}} if dot else {name: value})
    return result


def shown(value: Any) -> str:
    """A value as a table and a name have it."""
    if isinstance(value, list | tuple):
        return " ".join(map(shown, value))
    if isinstance(value, dict):
        return " ".join(f"{name}={shown(part)}" for name, part in value.items())
    return "none" if value is None else str(value)


def _group(name: str) -> Mapping[str, Any] | None:
    return nested_fields(RunConfig.model_fields[name]) if name in RunConfig.model_fields else None


def _variant_axis(name: str, places: Mapping[str, Mapping[str, Any]]) -> Axis:
    return Axis((name,), tuple((label,) for label in places), tuple(map(flat, places.values())))


def _list_axis(group: Mapping[str, tuple[Any, ...]]) -> Axis:
    rows = list(zip(*group.values(), strict=True))
    labels = tuple(tuple(v if isinstance(v, int | float) else shown(v) for v in r) for r in rows)
    settings = tuple(flat(dict(zip(group, row, strict=True))) for row in rows)
    return Axis(tuple(group), labels, settings)


# --- mistakes ------------------------------------------------------------------------------------


def _wrong_fields(sweep: SweepFile) -> Iterator[str]:
    places: list[tuple[str, Mapping[str, Any]]] = [("base", sweep.base), ("grid", sweep.grid)]
    places += [(f"zip group {i}", group) for i, group in enumerate(sweep.zip, 1)]
    for axis, named in sweep.variants.items():
        places += [(f"{axis} {name!r} of variants", settings) for name, settings in named.items()]
    for where, settings in places:
        inner = [name for name, value in settings.items() if isinstance(value, dict)]
        for name in settings:
            group, dot, _ = name.partition(".")
            if dot and group in inner:
                yield f"{where} sets {group} and {name}: set it in one place"
        for name in flat(settings):
            if sentence := _wrong_field(name, where):
                yield sentence


def _wrong_field(name: str, where: str) -> str | None:
    outer, dot, inner = name.partition(".")
    if outer in OutputOptions.model_fields:
        return f"{where} sets {outer}, which the sweep sets itself: leave it out"
    if outer == "plugin" and where != "base":
        return f"{where} sets plugin: put it below base, for all runs"
    valid = RunConfig.model_fields
    if outer not in valid:
        return f"unknown field {shortened(repr(outer))} in {where}{suggestion(outer[:80], valid)}"
    group = _group(outer)
    if dot and (group is None or inner not in group):
        said = suggestion(inner[:80], group) if group else f"; {outer} has no fields of its own"
        return f"unknown field {shortened(repr(name))} in {where}{said}"
    return None


def _wrong_lists(sweep: SweepFile) -> Iterator[str]:
    groups = [("grid", sweep.grid)] + [(f"zip group {i}", g) for i, g in enumerate(sweep.zip, 1)]
    for where, group in groups:
        if not group and where != "grid":
            yield f"{where} is empty: give it fields with lists, or drop it"
        for name, values in group.items():
            if not values:
                yield f"{name} in {where} is an empty list: give it values, or drop it"
            elif where == "grid" and (twice := _twice(values)) is not None:
                yield f"{name} in grid has {shortened(twice)} twice: give each value once"
        lengths = {name: len(values) for name, values in group.items()}
        if where != "grid" and len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} {count}" for name, count in lengths.items())
            yield f"the lists of {where} have unequal lengths ({told}): make them equally long"
    for axis, places in sweep.variants.items():
        if not re.fullmatch(r"\w[\w.-]{0,40}", axis):
            yield f"variants has {shortened(repr(axis))}, expected a name of letters, digits, _ - ."
        if COLUMNS.fullmatch(axis) and axis not in RunConfig.model_fields:
            yield f"variants has {axis}, which is a column of the results: choose another name"
        if not places:
            yield f"{axis} in variants is empty: give it named settings, or drop it"


def _twice(values: Iterable[Any]) -> str | None:
    """The first value that comes twice, as text."""
    seen = set()
    for value in values:
        key = json.dumps(value, sort_keys=True, default=str)
        if key in seen:
            return shown(value)
        seen.add(key)
    return None


def _clashes(axes: list[Axis]) -> Iterator[str]:
    for first, second in itertools.combinations(axes, 2):
        one, other = "/".join(first.names), "/".join(second.names)
        if set(first.names) & set(second.names):
            yield f"two axes are called {one}: name them differently, or drop one"
            continue
        for name in sorted(first.fields):
            group = name.partition(".")[0]
            if name in second.fields or any(
                f == group or f.startswith(f"{name}.") for f in second.fields
            ):
                yield f"{name} is set by both {one} and {other}: set it in one place"
