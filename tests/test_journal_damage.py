"""Journals that are damaged, or are none: a sentence, and the file as it was."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_cases import resume, sealed, unsealed, write_journal
from search_cases import FITNESS

from evojax_prune.core.errors import UserError
from evojax_prune.objectives import OBJECTIVES, Measure, penalised
from evojax_prune.search import journal as journals


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found_or_harmless(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "journal"
    bit = data.draw(st.integers(0, 8 * len(written) - 1))
    damaged = bytearray(written)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    if bit // 8 == len(written) - 1:  # the last line's end: cut short, and evaluated again
        assert resume(path)[1] == 10
        assert path.read_bytes() == written
        return
    line = 1 + written[: bit // 8].count(b"\n")
    with pytest.raises(UserError, match=rf"line {line} of the journal|first line|another version"):
        resume(path)
    assert path.read_bytes() == damaged


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_give_a_sentence(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, content: bytes, appended: bool
) -> None:
    path = tmp_path_factory.mktemp("bytes") / "journal"
    path.write_bytes((written if appended else b"") + content)
    with contextlib.suppress(UserError):  # the sentence; whatever else is raised fails the test
        resume(path)


HEADER = {"schema": journals.SCHEMA, "config": {}}


@pytest.mark.parametrize(
    "change",
    [
        lambda header, batch: [{}],
        lambda header, batch: [{"schema": journals.SCHEMA}],
        lambda header, batch: [{**header, "config": []}],
        lambda header, batch: [header, {}],
        lambda header, batch: [header, {**batch, "values": batch["values"][:-1]}],
        lambda header, batch: [header, {**batch, "genomes": batch["genomes"][:-1]}],
        lambda header, batch: [header, {**batch, "genomes": ["x" * 32, *batch["genomes"][1:]]}],
        lambda header, batch: [header, {**batch, "genomes": [7, *batch["genomes"][1:]]}],
        lambda header, batch: [header, {**batch, "genomes": {}}],
        lambda header, batch: [header, {**batch, "values": [["0.5"], *batch["values"][1:]]}],
        lambda header, batch: [header, {**batch, "values": [[True], *batch["values"][1:]]}],
        lambda header, batch: [header, {**batch, "values": [[0.5, 0.5], *batch["values"][1:]]}],
        lambda header, batch: [header, {**batch, "values": [0.5, *batch["values"][1:]]}],
        lambda header, batch: [header, {**batch, "values": None}],
        lambda header, batch: [header, {**batch, "columns": {"size": [1]}}],
        lambda header, batch: [header, {**batch, "columns": {"size": [[]] * 20}}],
        lambda header, batch: [header, {**batch, "columns": {"size": [10**30] * 20}}],
        lambda header, batch: [header, {**batch, "columns": []}],
        lambda header, batch: [header, {**batch, "occasion": -1}],
        lambda header, batch: [header, {**batch, "occasion": "0"}],
        lambda header, batch: [header, {**batch, "more": 1}],
        lambda header, batch: [header, batch, batch],
        lambda header, batch: [header, {**batch, "genomes": [batch["genomes"][0]] * 20}],
        lambda header, batch: [header, batch, {"genomes": [], "values": [], "columns": {}}],
        lambda header, batch: [{**header, "guide": {"shape": [1, 60], "ranks": "AAAA"}}],
        lambda header, batch: [{**header, "guide": {"shape": [1e400], "ranks": "AAAA"}}],
        lambda header, batch: [{**header, "guide": {"shape": [1, 1], "ranks": "AAAAAA=="}}],
        lambda header, batch: [{**header, "guide": None}],
        lambda header, batch: [{**header, "config": json.loads('{"a":' * 700 + "1" + "}" * 700)}],
        lambda header, batch: [header, {**batch, "values": [[np.inf], *batch["values"][1:]]}],
        lambda header, batch: [header, {**batch, "values": [[-1e308], *batch["values"][1:]]}],
    ],
)
def test_what_a_line_holds_is_looked_at_before_it_is_trusted(
    written: bytes, tmp_path: Path, change: Callable[..., Any]
) -> None:
    header, batch, *_ = unsealed(written)
    path = tmp_path / "journal"
    path.write_bytes(sealed(*change(header, batch)))
    before = path.read_bytes()
    said = r"line \d of the journal .*damaged|not a search journal|is damaged or of another run"
    with pytest.raises(UserError, match=said):
        resume(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"epochs": [1, 1]},
        {"epochs": [1, 1], "seconds": ["x", "x"]},
        {"epochs": [1, 1], "seconds": [0.5, np.inf]},
        {"epochs": [1, 1], "seconds": [0.5, np.nan]},
        {"epochs": [1, 2**60], "seconds": [0.5, 0.5]},
        {"epochs": [True, True], "seconds": [0.5, 0.5]},
    ],
)
def test_columns_are_those_that_are_expected(tmp_path: Path, columns: dict[str, Any]) -> None:
    path, expected = tmp_path / "journal", {"epochs": int, "seconds": float}
    sound = {"epochs": [1, 1], "seconds": [0.5, 2.0]}
    batch = {"occasion": 0, "genomes": ["0" * 32, "1" * 32], "values": [[0.5], [0.5]]}
    path.write_bytes(sealed(HEADER, {**batch, "columns": sound}))
    journals.Journal(path, {}, [FITNESS], columns=expected)
    path.write_bytes(sealed(HEADER, {**batch, "columns": columns}))
    with pytest.raises(UserError, match="its columns are not those of such a search"):
        journals.Journal(path, {}, [FITNESS], columns=expected)


@pytest.mark.parametrize(
    ("objective", "sound", "unsound"),
    [
        (OBJECTIVES["accuracy"], [0.0, 1.0, np.nan], [7.5, -0.1, np.inf]),
        (OBJECTIVES["cross-entropy"], [0.0, 9e9, np.nan], [-0.1, -np.inf]),
        (OBJECTIVES["size"], [1.0, 1e6], [0.0]),
        (penalised(OBJECTIVES["accuracy"], 0.5), [-0.5, 1.0], [-0.6, 1.1]),
        (penalised(OBJECTIVES["cross-entropy"], 0.5), [0.0, 9e9], [-0.1]),
    ],
)
def test_values_are_those_that_an_objective_can_have(
    tmp_path: Path, objective: Measure, sound: list[float], unsound: list[float]
) -> None:
    path, of = tmp_path / "journal", [objective.objective]
    for values in (sound, *([value] for value in unsound)):
        batch = {
            "occasion": 0,
            "genomes": [str(i) * 32 for i in range(len(values))],
            "values": [[value] for value in values],
            "columns": {},
        }
        path.write_bytes(sealed(HEADER, batch))
        if values is sound:
            journals.Journal(path, {}, of)
            continue
        with pytest.raises(UserError, match="it is not a batch of evaluations"):
            journals.Journal(path, {}, of)


@pytest.mark.parametrize("order", [[0, 1, 1, 2], [0, 2, 1], [0, 2], [1, 2]])
def test_lines_out_of_place_are_found(written: bytes, tmp_path: Path, order: list[int]) -> None:
    lines = written.splitlines(keepends=True)
    path = tmp_path / "journal"
    path.write_bytes(b"".join(lines[i] for i in order))
    with pytest.raises(UserError, match=r"line \d of the journal|first line is damaged"):
        resume(path)


def test_without_the_damaged_lines_the_search_goes_on(written: bytes, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    lines = written.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    result, evaluated = resume(path)
    assert evaluated == 10
    assert path.read_bytes() == written
    assert len(result) == 40


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n', "is not a search journal"),
        (b"genomes\n", "first line is damaged"),
        (b"some text", "is not a search journal"),
        (b"[" * 5000 + b"\n", "is not a search journal"),
        (b"\xff\xfe\n", "is not a search journal"),
        (
            b'{"schema":"evojax_prune.search.journal/1","config":{}}\n',
            "written by another version of evojax_prune .*journal/1",
        ),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "journal"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        resume(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "pipe", "link", "dangling link", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "journal", tmp_path / "other"
    other.write_bytes(b"")
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path.symlink_to(other if kind == "link" else tmp_path / "nothing")
    with pytest.raises(UserError, match="is not a regular file: choose another folder"):
        resume(path)
    assert other.read_bytes() == b""
    assert sorted(tmp_path.iterdir()) == sorted({other, path} - {Path("/dev/null")})


def test_a_genome_that_is_not_asked_for_is_blamed_on_the_version(
    written: bytes, tmp_path: Path
) -> None:
    header, batch, *_ = unsealed(written)
    batch["genomes"][0] = "0" * 32
    path = tmp_path / "journal"
    path.write_bytes(sealed(header, batch))
    with pytest.raises(UserError, match="another version of JAX"):
        resume(path)
