"""A small sweep, and what its runs give apart from times."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.methods.shared import share
from evojax_prune.sweep import worker
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended, work

BASE = """
base:
  dataset: {data}
  protocol: holdout
  hidden: [6]
  search_protocol: {{epochs: 2}}
  final_protocol: {{epochs: 3, learning_rate: 0.01}}
  population: 4
  evaluations: 9
  finalists: 2
"""

TIMES = {"wall_seconds", "compile_seconds", "seconds", "resumed", "engine", "paths", "device"}
"""What may differ between two runs of one configuration."""


def blobs(path: Path, seed: int = 0) -> Path:
    """A features file: three classes that 4 of 12 features tell apart."""
    rng = np.random.default_rng(seed)

    def part(rows: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(rows) % 3
        x = rng.normal(size=(rows, 12)) + 1.3 * np.eye(3, 12)[y]
        return x.astype(np.float32), y

    (x, y), (x_test, y_test) = part(60), part(30)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


def sweep_file(folder: Path, text: str) -> Path:
    """A sweep file of small runs, with its data beside it."""
    data = folder / "blobs.npz"
    if not data.exists():
        blobs(data)
    path = folder / "small.yaml"
    path.write_text(BASE.format(data=data) + text)
    return path


class Here:
    """An executor of this process, which keeps account of what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the process as it was: other tests count the heads that are trained."""
        share(0, 0)
        worker._ready.cache_clear()

    def prepare(self, tasks: Sequence[Task]) -> None:
        pass

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[Task, Ended] | None]:
        for task in tasks:
            self.asked.append(task.name)
            yield task, work(task)


def contents(folder: Path) -> dict[str, Any]:
    """What a run's files say, times apart; of the page, which has times in its text, that it is."""
    return {file.name: _content(file) for file in sorted(folder.iterdir())}


def _content(file: Path) -> Any:
    if file.name == "result.json":
        return _timeless(json.loads(file.read_text()))
    if file.name == "evaluations.csv":
        with file.open() as lines:
            return [_timeless(row) for row in csv.DictReader(lines)]
    return file.read_bytes() if file.name != "report.html" else None


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(part) for name, part in value.items() if name not in TIMES}
    if isinstance(value, list):
        return [_timeless(part) for part in value]
    return value
