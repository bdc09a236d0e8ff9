"""A journal on disk: what was evaluated is never evaluated again, even if the run is killed.

The file is JSON lines. The first line says which run it belongs to and keeps the rankings that
guide it; each further line is one batch of evaluations, appended and flushed to the disk before the
search goes on. Every line carries a checksum of its bytes and of the line before, so that a
damaged, missing or repeated line is found. A last line cut short by a crash is dropped when the
file is opened again. A resumed search replays the strategy from the start with the same seed,
taking values from the journal, and so comes to the very state it was in.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError, shortened
from evojax_prune.core.files import make_folder, os_errors, total_memory, write_file
from evojax_prune.core.objective import Objective
from evojax_prune.search.result import Evaluation

FAMILY = "evojax_prune.search.journal/"
SCHEMA = f"{FAMILY}2"

ALIKE = 0.05
"""Largest mean difference, in quantiles, between the rankings of a run and of its resumption. An
accelerator may change a rank; other rankings are another search."""

_SUM = 16  # hexadecimal digits of a line's checksum
_HEAD = b'{"sum":"'
_SAFE = getattr(os, "O_NOFOLLOW", 0) | getattr(
    os, "O_NONBLOCK", 0
)  # no link, no waiting for a pipe
MOST = 2**50
"""Above every count and number of seconds."""

REMEDY = "choose another folder with --output, or remove the file to start anew"


class Journal:
    """Evaluations of one run, by genome and occasion.

    Attributes:
        path: the file; its folder is made if need be.
        config: plain data (as JSON has it) that decides the run's numbers.
        guide: rankings ``float32 [R, G]`` that guide the search, as the run started with them, or
            None.
    """

    def __init__(
        self,
        path: Path,
        config: Mapping[str, Any],
        objectives: Sequence[Objective],
        guide: np.ndarray | None = None,
        columns: Mapping[str, type] | None = None,
    ):
        """Open, or start, the journal.

        Args:
            path: the file.
            config: plain data that decides the run's numbers.
            objectives: of which each evaluation has a value, M of them.
            guide: rankings as quantiles ``float32 [R, G]`` of a guided search.
            columns: names and types of the further columns, counts and seconds; None for any.

        Raises:
            UserError: the file is not a journal, is damaged, or is of a run with another config;
                or it cannot be read or written.
        """
        self.path = Path(path)
        self.config = json.loads(json.dumps(config))
        self.guide = guide
        self._objectives, self._columns = objectives, columns
        self._batches: list[_Batch] = []
        self._known: dict[tuple[int, str], tuple[int, int]] = {}  # batch, and row in it
        self._unread: set[tuple[int, str]] = set()
        self._last = ""
        content = self._content()
        if content:
            self._read(content)
        else:
            self._start()

    def recall(self, names: list[str], occasion: int) -> tuple[np.ndarray, Evaluation]:
        """What is journalled of a batch of genomes.

        Args:
            names: the genomes' digests.
            occasion: on which they are judged.

        Returns:
            Which of them are journalled, ``bool [n]``, and their evaluation.

        Raises:
            UserError: the replay took another way than the run that wrote the journal.
        """
        asked = [(occasion, name) for name in names]
        places = [self._known.get(one) for one in asked]
        found = [place for place in places if place is not None]
        self._unread.difference_update(asked)
        if self._unread and len(found) < len(names):
            raise UserError(
                f"the journal {self.path} holds evaluations that this search does not ask for, so "
                "it was written by another version of JAX, evosax or evojax_prune: continue with "
                f"that version, or {REMEDY}"
            )
        rows = [(self._batches[batch], row) for batch, row in found]
        values = np.array([batch.values[row] for batch, row in rows], np.float64)
        columns = rows[0][0].columns if rows else ()
        return (
            np.array([place is not None for place in places], bool),
            Evaluation(
                values.reshape(len(rows), len(self._objectives)),
                {c: np.array([batch.columns[c][row] for batch, row in rows]) for c in columns},
            ),
        )

    def record(self, names: list[str], occasion: int, evaluation: Evaluation) -> None:
        """Append a batch; when this returns, it is on the disk.

        Raises:
            UserError: it cannot be written (the disk is full, say).
        """
        line = self._sealed(
            {
                "occasion": occasion,
                "genomes": names,
                "values": evaluation.values.tolist(),
                "columns": {name: values.tolist() for name, values in evaluation.columns.items()},
            }
        )
        with os_errors(f"write the journal {self.path}", len(line)):
            _append(self.path, line)

    def _start(self) -> None:
        header: dict[str, Any] = {"schema": SCHEMA, "config": self.config}
        if self.guide is not None:
            header["guide"] = _written_guide(self.guide)
        make_folder(self.path.parent)
        write_file(self.path, self._sealed(header))

    def _content(self) -> bytes:
        """The file's content; nothing if there is none."""
        with os_errors(f"read the journal {self.path}"), contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self.path).st_mode):
                raise UserError(f"{self.path} is not a regular file: {REMEDY}")
            with os.fdopen(os.open(self.path, os.O_RDONLY | _SAFE), "rb") as file:
                if (size := os.fstat(file.fileno()).st_size) > total_memory() / 8:
                    raise UserError(f"{self.path} has {size:,} bytes, too many: {REMEDY}")
                return file.read()
        return b""

    def _read(self, content: bytes) -> None:
        whole, newline, cut = content.rpartition(b"\n")
        header, *lines = (whole if newline else content).split(b"\n")
        self._check(self._header(header))
        for number, line in enumerate(lines, 2):
            self._keep(self._parsed(line, number), number)
        self._unread = set(self._known)
        if cut:  # by a crash; only now is it sure that the file is ours to change
            with os_errors(f"write the journal {self.path}"):
                os.truncate(self.path, len(whole) + 1)

    def _header(self, line: bytes) -> dict[str, Any]:
        """The first line, which says what the file is."""
        try:
            schema = str(json.loads(line)["schema"])
        except (ValueError, TypeError, LookupError, RecursionError):
            schema = ""
        if schema.startswith(FAMILY) and schema != SCHEMA:
            raise UserError(
                f"the journal {self.path} was written by another version of evojax_prune "
                f"({schema}, this one reads {SCHEMA}): finish the run with that version, or "
                f"{REMEDY}"
            )
        if schema != SCHEMA:
            raise UserError(
                f"{self.path} is not a search journal ({SCHEMA}), or its first line is damaged: "
                f"{REMEDY}"
            )
        header = self._parsed(line, 1)
        if not isinstance(header.get("config"), dict):
            raise self._damaged(1, "it has no config")
        return header

    def _check(self, header: dict[str, Any]) -> None:
        try:
            here, there = _flat(self.config), _flat(header["config"])
        except RecursionError:
            raise self._damaged(1, "its config is nested too deeply") from None
        differing = [k for k in here.keys() | there.keys() if here.get(k) != there.get(k)]
        if differing:
            # a digest says least, and a cause of its difference may be among the others
            first, *others = sorted(differing, key=lambda name: (name == "data", name))
            also = f"; also different: {shortened(', '.join(others), 200)}" if others else ""
            raise UserError(
                f"the journal {self.path} belongs to another run ({shortened(first)} is "
                f"{shortened(repr(there.get(first)))} there and "
                f"{shortened(repr(here.get(first)))} here{also}): use the same settings to resume "
                f"it, or {REMEDY}"
            )
        kept = _read_guide(header["guide"]) if "guide" in header else None
        if "guide" in header and kept is None:
            raise self._damaged(1, "its rankings are not what they should be")
        if (kept is None) != (self.guide is None) or (
            kept is not None
            and self.guide is not None
            and (kept.shape != self.guide.shape or np.abs(kept - self.guide).mean() > ALIKE)
        ):
            raise UserError(
                f"the journal {self.path} belongs to a run with other rankings of the bits: use "
                f"the same ones to resume it, or {REMEDY}"
            )
        self.guide = kept

    def _keep(self, line: dict[str, Any], number: int) -> None:
        batch = _Batch.of(line, self._objectives)
        if batch is None:
            raise self._damaged(number, "it is not a batch of evaluations")
        keys = [(batch.occasion, name) for name in batch.genomes]
        if len(set(keys)) < len(keys) or any(key in self._known for key in keys):
            raise self._damaged(number, "it evaluates a genome again")
        kinds = {name: type(column[0]) for name, column in batch.columns.items()}
        counts = (value for column in batch.columns.values() for value in column)
        if self._columns is not None and not (
            kinds == self._columns and all(0 <= value < MOST for value in counts)
        ):
            raise self._damaged(number, "its columns are not those of such a search")
        if self._batches and batch.columns.keys() != self._batches[0].columns.keys():
            raise self._damaged(number, "its columns are not those of the lines before")
        self._known.update({key: (len(self._batches), row) for row, key in enumerate(keys)})
        self._batches.append(batch)

    def _sealed(self, data: dict[str, Any]) -> bytes:
        """A line with its checksum, the next one of this file."""
        # NaN, of a failed evaluation, is written and read as Python's json does.
        payload = json.dumps(data, separators=(",", ":")).encode()
        self._last = _checksum(self._last, payload)
        return _HEAD + self._last.encode() + b'",' + payload[1:] + b"\n"

    def _parsed(self, line: bytes, number: int) -> dict[str, Any]:
        """The data of a line whose checksum is right."""
        start = len(_HEAD) + _SUM + 2
        payload = b"{" + line[start:]
        expected = _checksum(self._last, payload)
        if line[:start] != _HEAD + expected.encode() + b'",':
            raise self._damaged(number, "its checksum is wrong")
        self._last = expected
        try:
            return dict(json.loads(payload))
        except (ValueError, TypeError, RecursionError):
            raise self._damaged(number, "it is not JSON") from None

    def _damaged(self, number: int, why: str) -> UserError:
        return UserError(
            f"line {number} of the journal {self.path} is damaged or out of place ({why}): remove "
            "that line and all after it to go on from there, or " + REMEDY
        )


class _Batch:
    """One line of evaluations, found sound.

    Attributes:
        occasion: on which they were made.
        genomes: digests, n of them.
        values: n lists of M numbers.
        columns: n numbers, words or truths each.
    """

    def __init__(
        self,
        occasion: int,
        genomes: list[str],
        values: list[list[float]],
        columns: dict[str, list[Any]],
    ):
        self.occasion = occasion
        self.genomes = genomes
        self.values = values
        self.columns = columns

    @classmethod
    def of(cls, line: dict[str, Any], objectives: Sequence[Objective]) -> _Batch | None:
        """The batch of a parsed line, or None if anything in it is not as expected."""
        if line.keys() != {"occasion", "genomes", "values", "columns"}:
            return None
        occasion, genomes, values, columns = (
            line[name] for name in ("occasion", "genomes", "values", "columns")
        )
        sound = (
            type(occasion) is int
            and 0 <= occasion < 2**63
            and isinstance(genomes, list)
            and all(map(_is_digest, genomes))
            and isinstance(values, list)
            and len(values) == len(genomes) > 0
            and all(isinstance(row, list) and len(row) == len(objectives) for row in values)
            and all(
                _is_value(*pair) for row in values for pair in zip(row, objectives, strict=True)
            )
            and isinstance(columns, dict)
            and all(_is_column(column, len(genomes)) for column in columns.values())
        )
        return cls(occasion, genomes, values, columns) if sound else None


def _is_digest(name: object) -> bool:
    return isinstance(name, str) and len(name) == 32 and set(name) <= set("0123456789abcdef")


def _is_value(value: object, objective: Objective) -> bool:
    """Whether it is a value that an objective can have; NaN is that of a failed evaluation."""
    lowest, highest = objective.bounds
    off = 1e-6  # of sums in float32
    return type(value) is float and not (value < lowest - off or value > highest + off)


def _is_column(column: object, count: int) -> bool:
    """Whether it is so many numbers, words or truths, all of a kind."""
    if not isinstance(column, list) or len(column) != count:
        return False
    kinds = {type(value) for value in column}
    small = all(-(2**63) <= value < 2**63 for value in column) if kinds == {int} else True
    return len(kinds) == 1 and kinds <= {int, float, str, bool} and small


def _checksum(before: str, payload: bytes) -> str:
    return hashlib.blake2b(before.encode() + payload, digest_size=_SUM // 2).hexdigest()


def _written_guide(guide: np.ndarray) -> dict[str, Any]:
    """Quantiles ``float32 [R, G]`` as plain data, exactly: twice each rank is a whole number."""
    ranks = np.rint(2 * (guide.astype(np.float64) * guide.shape[1] + 0.5)).astype("<u4")
    return {"shape": list(guide.shape), "ranks": base64.b64encode(ranks.tobytes()).decode()}


def _read_guide(data: Any) -> np.ndarray | None:
    """Quantiles from what :func:`_written_guide` gave; None if it is something else."""
    try:
        rankings, length = data["shape"]
        content = base64.b64decode(data["ranks"], validate=True)
        ranks = np.frombuffer(content, "<u4").reshape(rankings, length)
    except (TypeError, ValueError, LookupError):
        return None
    if not ((ranks >= 2) & (ranks <= 2 * length)).all():
        return None
    return ((ranks / 2 - 0.5) / length).astype(np.float32)


def _append(path: Path, line: bytes) -> None:
    """Append a line and wait until it is on the disk; if that fails, leave the file as it was."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | _SAFE)
    try:
        length = os.fstat(descriptor).st_size
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, length)
            raise
    finally:
        os.close(descriptor)


def _flat(data: Any, name: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    if not isinstance(data, dict):
        return {name: data}
    parts = [_flat(value, f"{name}.{key}" if name else key) for key, value in data.items()]
    return {key: value for part in parts for key, value in part.items()}
