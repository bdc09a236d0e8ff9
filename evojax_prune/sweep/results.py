"""The results of a sweep as tables: one row per run, and one line per group of runs."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evojax_prune.analysis import PairedTest, Summary, paired_tests, summarise
from evojax_prune.core.errors import UserError, said_of, shortened
from evojax_prune.core.files import save_file, write_file
from evojax_prune.data.files import open_file
from evojax_prune.report.result import Result
from evojax_prune.run.store import MARK
from evojax_prune.sweep.file import shown
from evojax_prune.sweep.plan import SweepPlan
from evojax_prune.sweep.task import Task

Row = dict[str, Any]

SETTINGS = (
    "dataset",
    "backbone",
    "mode",
    "method",
    "strategy",
    "population",
    "evaluations",
    "seed",
)
"""Settings that every row has, whether they vary or not."""

HEADS = {"dense": "dense", "random": "random", "ranking": "ranking", "pruned": "best"}
"""The heads of a run, by their names in ``result.json``."""

FIGURES = ("test_accuracy", "selection_accuracy", "active_units", "parameters")
"""What a row has of each head."""

PRUNED = "pruned_test_accuracy"


def make_rows(plan: SweepPlan, failed: Mapping[str, str]) -> list[Row]:
    """One row per run, in the order of the plan.

    Args:
        plan: the sweep.
        failed: status of the runs that are not finished, by name.
    """
    settings = dict.fromkeys([*SETTINGS, *plan.by])
    return [_row(task, failed.get(task.name, "not started"), settings) for task in plan.tasks]


def _row(task: Task, status: str, settings: Iterable[str]) -> Row:
    row: Row = {"run": task.name, "status": "done" if task.finished else status}
    row |= task.labels
    for name in settings:
        if name not in row:
            row[name] = plain_value(getattr(task.config, name))
    return row | _figures(read_result(task) if task.finished else {})


def read_result(task: Task) -> dict[str, Any]:
    """The ``result.json`` of a finished run.

    Raises:
        UserError: it is damaged, or another run's.
    """
    folder = task.folder
    try:
        with open_file(folder / MARK) as file:
            content = file.read()
        Result.model_validate_json(content, strict=True)
        result = dict(json.loads(content))
        _check_numbers(result)
        _check_settings(result, task)
    except (OSError, ValueError) as error:
        why = said_of(error)
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            why = shortened(": ".join(part for part in (where, first["msg"]) if part))
        raise UserError(
            f"{folder / MARK} is not the result of a run ({why}): remove {folder}, and the same "
            "command does this run again"
        ) from None
    return result


def _check_numbers(result: Mapping[str, Any]) -> None:
    """Refuse what no run has found and no table can hold."""
    figures = {k: v for k, v in _figures(result).items() if isinstance(v, int | float)}
    numbers = [*figures.values(), *(head["active_units"] for head in result["finalists"])]
    shares = [value for name, value in figures.items() if name.endswith(_SHARES)]
    shares += [head["test_accuracy"] for head in result["finalists"]]
    if any(abs(n) > 2**53 for n in numbers) or not all(0 <= share <= 1 for share in shares):
        raise ValueError("it has impossible numbers")


def _check_settings(result: Mapping[str, Any], task: Task) -> None:
    """Refuse the result of a run with other settings."""
    found = result["config"]
    for name, wanted in json.loads(json.dumps(task.config.repeatable())).items():
        if found.get(name) != wanted:
            has, expected = shortened(shown(found.get(name))), shortened(shown(wanted))
            raise ValueError(f"its {name} is {has}, expected {expected}")


_SHARES = ("test_accuracy", "active_fraction", "parameter_fraction", "p_value")
"""Ends of the names of figures that lie between 0 and 1."""


def _figures(result: Mapping[str, Any]) -> Row:
    """Columns of a result; None where there is none."""

    def at(*keys: str) -> Any:
        value: Any = result
        for key in keys:
            value = None if value is None else value.get(key)
        return value

    row: Row = {f"data_{name}": at("dataset", name) for name in ("name", "version", "source")}
    row |= {f"rows_{name}": at("dataset", name) for name in ("train", "selection", "test")}
    row["selected_on_test"] = at("selected_on_test")
    for name, key in HEADS.items():
        row |= {f"{name}_{figure}": at(key, figure) for figure in FIGURES}
    row |= {f"pruned_{n}": at("best", n) for n in ("active_fraction", "parameter_fraction")}
    row["optimism"] = at("best", "optimism")
    row["difference"] = at("comparison", "difference")
    row["p_value"] = at("comparison", "p_value")
    row["verdict"] = at("comparison", "verdict")
    row["search_evaluations"] = at("search", "evaluations")
    row["search_seconds"] = at("search", "wall_seconds")
    row["wall_seconds"] = at("wall_seconds")
    row["package"] = at("versions", "evojax_prune")
    return row


def plain_value(value: Any) -> Any:
    """A setting as a table has it."""
    return value if isinstance(value, int | float) else shown(value)


# --- files ---------------------------------------------------------------------------------------


def write_rows(folder: Path, rows: Sequence[Row]) -> None:
    """``runs.csv``, and ``runs.parquet`` where pyarrow is installed."""
    write_file(folder / "runs.csv", csv_text(rows))
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        return
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    for name, values in columns.items():
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 and not kinds <= {int, float}:
            columns[name] = [None if v is None else str(v) for v in values]
    table = pa.table(columns)
    save_file(folder / "runs.parquet", lambda part: parquet.write_table(table, part))


def csv_text(rows: Sequence[Row]) -> str:
    """Rows as CSV; columns are those of the first one, and what is not known is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


# --- groups --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class RunGroup:
    """Runs that agree in the fields of the table.

    Attributes:
        values: of those fields.
        runs: that are finished.
        heads: test accuracy of each kind of head.
        units: active features or units of the pruned heads.
        parameters: their parameters over the dense head's.
        tests: the pruned heads against each other kind, paired by run.
    """

    values: tuple[Any, ...]
    runs: int
    heads: dict[str, Summary]
    units: Summary
    parameters: Summary
    tests: dict[str, PairedTest]


def groups_of(rows: Sequence[Row], by: Sequence[str]) -> list[RunGroup]:
    """A group for every combination of values, in the order of the rows; finished runs only."""
    members: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row["status"] == "done":
            members.setdefault(tuple(row[name] for name in by), []).append(row)
    return [_group(values, some) for values, some in members.items()]


def _group(values: tuple[Any, ...], rows: Sequence[Row]) -> RunGroup:
    heads = {name: _column(rows, f"{name}_test_accuracy") for name in HEADS}
    others = {n: v for n, v in heads.items() if n != "pruned" and not any(map(math.isnan, v))}
    pruned = heads["pruned"]
    return RunGroup(
        values,
        len(rows),
        {name: summarise(accuracies) for name, accuracies in heads.items()},
        summarise(_column(rows, "pruned_active_units")),
        summarise(_column(rows, "pruned_parameter_fraction")),
        {test.name: test for test in paired_tests(pruned, others)},
    )


def _column(rows: Iterable[Row], name: str) -> list[float]:
    return [math.nan if row[name] is None else float(row[name]) for row in rows]


@dataclasses.dataclass(frozen=True)
class Contest:
    """The levels of one field, each against the first one.

    Attributes:
        field: that tells the levels apart.
        first: the level that the others are compared with.
        tests: test accuracy of the first one's pruned heads less that of each other level's, paired
            by all other axes.
        unpaired: runs of each other level without a partner.
    """

    field: str
    first: Any
    tests: tuple[PairedTest, ...]
    unpaired: dict[str, int]


def contests_of(plan: SweepPlan, rows: Sequence[Row], by: Sequence[str]) -> list[Contest]:
    """A contest for each field of the table that is an axis of several levels."""
    found = []
    for axis in plan.axes:
        if (field := next((name for name in by if name in axis.names), None)) is None:
            continue
        partners = [name for other in plan.axes if other is not axis for name in other.names]
        contest = _contest(rows, field, axis.names, partners)
        if contest is not None:
            found.append(contest)
    return found


def _contest(
    rows: Sequence[Row], field: str, names: Sequence[str], partners: Sequence[str]
) -> Contest | None:
    """One axis' levels; each is called by all of the axis' columns."""
    levels: dict[str, dict[tuple[Any, ...], float]] = {}
    for row in rows:
        if row["status"] == "done":
            level = " ".join(shown(row[name]) for name in names)
            levels.setdefault(level, {})[tuple(row[p] for p in partners)] = row[PRUNED]
    if len(levels) < 2:
        return None
    (first, reference), *others = levels.items()
    common = [key for key in reference if all(key in level for _, level in others)]
    if not common:
        return None
    tests = paired_tests(
        [reference[key] for key in common],
        {name: [level[key] for key in common] for name, level in others},
    )
    unpaired = {name: len(level) - len(common) for name, level in others}
    return Contest("/".join(names), first, tuple(tests), unpaired)
