"""A journal on disk: what was evaluated is never evaluated again, even if the run is killed.

The file is JSON lines. The first line says which run it belongs to; each further line is one batch
of evaluations, appended and flushed to the disk before the search goes on. A line cut short by a
crash is dropped when the file is opened again. A resumed search replays the strategy from the start
with the same seed, taking fitness from the journal, and so comes to the very state it was in.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.search.result import Evaluation

SCHEMA = "evojax_prune.search.journal/1"


class Journal:
    """Evaluations of one run, by genome.

    Attributes:
        path: the file; its folder is made if need be.
        config: plain data (as JSON has it) that decides the run's numbers.
    """

    def __init__(self, path: Path, config: Mapping[str, Any]):
        """Open, or start, the journal.

        Raises:
            UserError: the file is no journal, or one of a run with another config.
        """
        self.path = Path(path)
        self.config = json.loads(json.dumps(config))
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}
        self._unread: set[str] = set()
        if self.path.exists() and self.path.stat().st_size:
            self._read()
        else:
            self._start()

    def recall(self, names: list[str]) -> Evaluation | None:
        """The evaluations of a batch of genomes, or None if not all of them are journalled.

        Args:
            names: the genomes' digests.

        Raises:
            UserError: the replay took another way than the run that wrote the journal.
        """
        if all(name in self._known for name in names):
            self._unread.difference_update(names)
            rows = [self._known[name] for name in names]
            columns = rows[0][1].keys() if rows else ()
            return Evaluation(
                np.array([fitness for fitness, _ in rows], np.float64),
                {c: np.array([row[c] for _, row in rows]) for c in columns},
            )
        if self._unread - set(names):
            raise UserError(
                f"the journal {self.path} holds evaluations that this search does not ask for, so "
                "it was written by another version of JAX, evosax or evojax_prune: continue with "
                "that version, or remove the file to start anew"
            )
        return None

    def record(self, names: list[str], evaluation: Evaluation) -> None:
        """Append a batch; when this returns, it is on the disk."""
        columns = {name: np.asarray(values).tolist() for name, values in evaluation.columns.items()}
        fitness = np.asarray(evaluation.fitness, np.float64).tolist()
        self._append({"genomes": names, "fitness": fitness, "columns": columns})
        self._keep(names, fitness, columns)
        self._unread.difference_update(names)

    def _start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
        new.write_text(_line({"schema": SCHEMA, "config": self.config}))
        os.replace(new, self.path)

    def _append(self, batch: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(batch))
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> None:
        whole, _, cut = self.path.read_bytes().rpartition(b"\n")
        header, *batches = whole.split(b"\n")
        self._check(_parsed(self.path, header))
        for line in batches:
            batch = _parsed(self.path, line)
            self._keep(batch["genomes"], batch["fitness"], batch["columns"])
        self._unread = set(self._known)
        if cut:  # by a crash; only now is it sure that the file is ours to change
            os.truncate(self.path, len(whole) + 1)

    def _check(self, header: dict[str, Any]) -> None:
        if header.get("schema") != SCHEMA:
            raise UserError(
                f"{self.path} is no search journal of this version ({SCHEMA}): name another file, "
                "or remove this one"
            )
        here, there = _flat(self.config), _flat(header["config"])
        differing = sorted(k for k in here.keys() | there.keys() if here.get(k) != there.get(k))
        if differing:
            first = differing[0]
            raise UserError(
                f"the journal {self.path} belongs to another run ({first} is {there.get(first)!r} "
                f"there and {here.get(first)!r} here"
                + (f"; also different: {', '.join(differing[1:])}" if differing[1:] else "")
                + "): use the same settings to resume it, or remove it to start anew"
            )

    def _keep(self, names: list[str], fitness: list[float], columns: dict[str, list[Any]]) -> None:
        for i, name in enumerate(names):
            row = {column: values[i] for column, values in columns.items()}
            self._known[name] = (fitness[i], row)


def _parsed(path: Path, line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path} is no search journal, or damaged ({error}): name another file, or remove this "
            "one to start anew"
        ) from None


def _line(data: dict[str, Any]) -> str:
    # NaN, of a failed evaluation, is written and read as Python's json does.
    return json.dumps(data, separators=(",", ":")) + "\n"


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    if not isinstance(data, dict):
        return {name: data}
    parts = [_flat(value, f"{name}.{key}" if name else key) for key, value in data.items()]
    return {key: value for part in parts for key, value in part.items()}
