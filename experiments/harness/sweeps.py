"""Finished sweeps, read back: their runs, what tells the runs apart, what was computed from them.

``python -m evojax_prune sweep`` does the runs. What an experiment computes from a finished run is
kept beside the run's own files, so that it is computed once.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.files import make_folder, write_file
from evojax_prune.core.objective import Objective
from evojax_prune.methods.problem import Problem
from evojax_prune.objectives import OBJECTIVES
from evojax_prune.run.config import validated
from evojax_prune.run.data import digest, load_problem
from evojax_prune.run.store import MARK
from evojax_prune.sweep.file import axes_of, load_sweep
from evojax_prune.sweep.run import SOURCE
from evojax_prune.sweep.task import FOLDER
from evojax_prune.version import __version__

TITLES = {
    "fc1": "First layer",
    "fc2": "Second layer",
    "both": "Both layers",
    "features": "Feature selection",
}
"""What the paper calls a prune mode."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where its files are.
        labels: its row of ``runs.csv``.
        result: what its ``result.json`` holds.
    """

    folder: Path
    labels: Mapping[str, str]
    result: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its configuration as plain data."""
        settings: Mapping[str, Any] = self.result["config"]
        return settings

    @property
    def objective(self) -> Objective:
        """What it searched for first.

        Raises:
            UserError: an objective of a plugin, whose direction is not known here.
        """
        name = self.settings["objectives"][0]
        if name not in OBJECTIVES:
            raise UserError(
                f"{self.folder.name} searched for {name}, expected one of {', '.join(OBJECTIVES)}"
            )
        return OBJECTIVES[name].objective

    @functools.cached_property
    def problem(self) -> Problem:
        """The data and the head, loaded anew."""
        return load_problem(validated(dict(self.settings)))

    @property
    def genome(self) -> np.ndarray:
        """The pruned head's genome ``bool [G]``."""
        with np.load(self.folder / "best_mask.npz") as file:
            genome: np.ndarray = file["genome"]
        return genome

    def once(self, name: str, settings: object, compute: Callable[[], Any]) -> Any:
        """What was computed from this run before, or is now, as JSON can hold it."""
        return once(self.folder, name, settings, compute)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """The finished runs of a sweep.

    Attributes:
        folder: of the sweep.
        columns: fields that tell the lines of a table apart: all that vary but the seed, or else
            the mode.
        runs: finished ones, in the order of ``runs.csv``.
        unfinished: number of the others.
    """

    folder: Path
    columns: tuple[str, ...]
    runs: tuple[Run, ...]
    unfinished: int

    def lines(self) -> dict[tuple[str, ...], list[Run]]:
        """The runs that differ in the seed alone, by what else they are."""
        found: dict[tuple[str, ...], list[Run]] = {}
        for run in self.runs:
            found.setdefault(tuple(shown(run, name) for name in self.columns), []).append(run)
        return found

    @property
    def source(self) -> str:
        """Text of the sweep file."""
        return (self.folder / SOURCE).read_text(encoding="utf-8")


def shown(run: Run, column: str) -> str:
    """A label as a table has it."""
    value = run.labels[column]
    if column == "mode":
        return TITLES[value]
    return Path(value).stem if column in ("dataset", "ood") else value


def read_sweep(folder: Path) -> Sweep:
    """A sweep that was run before.

    Args:
        folder: the sweep's.

    Raises:
        UserError: there is no sweep, or none of its runs is finished.
    """
    table = folder / "runs.csv"
    if not table.is_file() or not (folder / SOURCE).is_file():
        raise UserError(
            f"{folder} holds no sweep that was run to its end: give the folder that python -m "
            "evojax_prune sweep wrote to"
        )
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    done = [row for row in rows if row["status"] == "done"]
    if not done:
        raise UserError(f"no run of the sweep in {folder} is finished: start the sweep again")
    names = [name for axis in axes_of(load_sweep(folder / SOURCE)) for name in axis.names]
    columns = [n for n in names if n != "seed" and len({row[n] for row in done}) > 1]
    runs = [_run(folder / FOLDER / row["run"], row) for row in done]
    return Sweep(folder, tuple(columns or ["mode"]), tuple(runs), len(rows) - len(done))


def _run(folder: Path, row: dict[str, str]) -> Run:
    return Run(folder, row, json.loads((folder / MARK).read_text(encoding="utf-8")))


def once(folder: Path, name: str, settings: object, compute: Callable[[], Any]) -> Any:
    """What settings gave before, or give now, kept in a JSON file of its own.

    Args:
        folder: of such files.
        name: what is computed.
        settings: plain data; with the package's version it decides the result and the file's name,
            so it has to tell of the content of the data, too.
        compute: gives something that JSON can hold.
    """
    file = folder / f"{name}-{digest([settings, __version__])}.json"
    if not file.exists():
        made = compute()
        make_folder(folder)
        write_file(file, json.dumps({"settings": settings, "result": made}, indent=1) + "\n")
    return json.loads(file.read_text(encoding="utf-8"))["result"]
