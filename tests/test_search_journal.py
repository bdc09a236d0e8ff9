"""The journal: resuming to the same numbers, and everything that may be wrong with the file."""

from __future__ import annotations

import base64
import contextlib
import errno
import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import Counted, same

from evojax_prune.core.errors import UserError
from evojax_prune.core.objective import Objective
from evojax_prune.search import (
    Evaluation,
    GenerationInfo,
    GeneticOptions,
    SearchResult,
    SteadyStateOptions,
    Strategy,
    make_strategy,
    run_search,
)
from evojax_prune.search import (
    journal as journals,
)

LENGTH = 60
TARGET = np.random.default_rng(3).random(LENGTH) < 0.4
FITNESS = Objective("fitness", "fitness")
search = functools.partial(run_search, objectives=[FITNESS])
GENERATIONAL = make_strategy("generational", LENGTH, GeneticOptions(population=20))
STEADY = make_strategy("steady-state", LENGTH, SteadyStateOptions(population=20, children=6))


def matches(genomes: np.ndarray) -> np.ndarray:
    return (genomes == TARGET).mean(1)


def test_a_killed_search_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole = search(GENERATIONAL, Counted(matches), evaluations=75, seed=3)
    for deadly in (0, 1, 3):
        journal = tmp_path / f"{deadly}.jsonl"
        killed, resumed = Counted(matches, deadly=deadly), Counted(matches)
        with pytest.raises(KeyboardInterrupt):
            search(GENERATIONAL, killed, evaluations=75, seed=3, journal=journal)
        told: list[GenerationInfo] = []
        result = search(
            GENERATIONAL,
            resumed,
            evaluations=75,
            seed=3,
            journal=journal,
            on_generation=told.append,
        )
        same(result, whole)
        assert killed.count + resumed.count == 75
        assert [info.replayed for info in told] == [i < deadly for i in range(len(told))]


def test_a_finished_search_replays_without_evaluating_and_may_go_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    first = search(GENERATIONAL, Counted(matches), evaluations=45, seed=0, journal=journal)
    again = Counted(matches)
    same(search(GENERATIONAL, again, evaluations=45, seed=0, journal=journal), first)
    assert again.count == 0
    longer = search(GENERATIONAL, Counted(matches), evaluations=80, seed=0, journal=journal)
    same(longer, search(GENERATIONAL, Counted(matches), evaluations=80, seed=0))


def test_failures_and_extremes_survive_the_journal(tmp_path: Path) -> None:
    def odd(genomes: np.ndarray) -> np.ndarray:
        values = np.array([np.nan, -np.inf, 0.1 + 0.2, 1e-300, -0.0])
        return values[genomes[:, :3].sum(1) + genomes[:, 3]]

    journal = tmp_path / "journal.jsonl"
    first = search(GENERATIONAL, odd, evaluations=40, seed=0, journal=journal)
    again = search(GENERATIONAL, odd, evaluations=40, seed=0, journal=journal)
    same(first, again)
    assert np.isnan(first.fitness).any()
    assert np.isneginf(first.fitness).any()


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    whole = search(GENERATIONAL, Counted(matches), evaluations=60, seed=0, journal=journal)
    content = journal.read_bytes()
    for cut in (1, 100):
        journal.write_bytes(content[:-cut])
        resumed = Counted(matches)
        same(search(GENERATIONAL, resumed, evaluations=60, seed=0, journal=journal), whole)
        assert resumed.count == 10
        assert journal.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"config": {"data": {"name": "b"}}}, "data.name is 'a' there and 'b' here"),
        ({"strategy": STEADY}, "strategy.children is 10 there and 6 here"),
        ({"seed": 1, "config": {"data": "5be6"}}, "data.name is .*; also different: seed, data\\)"),
        ({"config": {"data": {"name": "v" * 9999}}}, "and 'v{79}... \\(10,001 characters\\) here"),
        ({"config": {"k" * 9999: 1}}, "also different: k{200}... \\(9,999 characters\\)\\)"),
    ],
)
def test_a_journal_of_another_run_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    def again(seed: int = 0, config: Any = None, strategy: Strategy = GENERATIONAL) -> None:
        search(
            strategy,
            matches,
            evaluations=20,
            seed=seed,
            journal=tmp_path / "journal",
            journal_config=config or {"data": {"name": "a"}},
        )

    again()
    before = (tmp_path / "journal").read_bytes()
    with pytest.raises(UserError, match=message):
        again(**change)
    assert (tmp_path / "journal").read_bytes() == before


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A journal of three batches."""
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    search(GENERATIONAL, Counted(matches), evaluations=40, seed=0, journal=path)
    return path.read_bytes()


def resume(path: Path, evaluations: int = 40) -> tuple[SearchResult, int]:
    """The search, and how many genomes it evaluated itself."""
    evaluate = Counted(matches)
    result = search(GENERATIONAL, evaluate, evaluations=evaluations, seed=0, journal=path)
    return result, evaluate.count


def sealed(*lines: dict[str, Any]) -> bytes:
    """Lines with sound checksums, whatever they hold."""
    content, last = b"", ""
    for line in lines:
        payload = json.dumps(line, separators=(",", ":")).encode()
        last = journals._checksum(last, payload)
        content += b'{"sum":"' + last.encode() + b'",' + payload[1:] + b"\n"
    return content


def unsealed(content: bytes) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in content.splitlines()]
    return [{key: value for key, value in line.items() if key != "sum"} for line in lines]


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
    journals.Journal(path, {}, 1, columns=expected)
    path.write_bytes(sealed(HEADER, {**batch, "columns": columns}))
    with pytest.raises(UserError, match="its columns are not those of such a search"):
        journals.Journal(path, {}, 1, columns=expected)


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


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_full_disk_ends_in_a_sentence_and_the_search_goes_on_later(
    written: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    path = tmp_path / "journal"
    real, calls = getattr(os, call), []

    def failing(descriptor: int, *rest: Any) -> Any:
        calls.append(call)
        if len(calls) < 3:
            return real(descriptor, *rest)
        if call == "write":
            real(descriptor, rest[0][:7])  # as much as there is room for
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(journals.os, call, failing)
        with pytest.raises(
            UserError, match=r"cannot write the journal .*(full|used up|read-only|larger)"
        ):
            resume(path)
    kept = path.read_bytes()
    assert written.startswith(kept)
    assert kept.endswith(b"\n")
    resume(path)
    assert path.read_bytes() == written


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot (read|write) the journal"):
        resume(tmp_path / "file" / "journal")
    with pytest.raises(UserError, match="cannot read the journal"):
        resume(tmp_path / ("x" * 300))


SCORES = np.random.default_rng(0).normal(size=(3, LENGTH)).round(1)  # with ties
GUIDED = GeneticOptions(population=20, init="scores", mutation_bias=1.0)


def test_a_guided_search_resumes_with_the_rankings_it_began_with(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    strategy = make_strategy("generational", LENGTH, GUIDED, scores=SCORES)
    whole = search(strategy, Counted(matches), evaluations=60, seed=0)
    with pytest.raises(KeyboardInterrupt):
        search(strategy, Counted(matches, deadly=2), evaluations=60, seed=0, journal=path)
    changed = SCORES.copy()  # as another accelerator may compute them
    changed[0, [3, 5]] = changed[0, [5, 3]]
    again = make_strategy("generational", LENGTH, GUIDED, scores=changed)
    resumed = Counted(matches)
    same(search(again, resumed, evaluations=60, seed=0, journal=path), whole)
    assert resumed.count == 60 - 30
    other = make_strategy("generational", LENGTH, GUIDED, scores=-SCORES)
    with pytest.raises(UserError, match="other rankings of the bits"):
        search(other, matches, evaluations=60, seed=0, journal=path)
    fewer = make_strategy("generational", LENGTH, GUIDED, scores=SCORES[:1])
    with pytest.raises(UserError, match="other rankings of the bits"):
        search(fewer, matches, evaluations=60, seed=0, journal=path)


def test_rankings_are_kept_exactly() -> None:
    strategy = make_strategy("generational", LENGTH, GUIDED, scores=SCORES)
    data = json.loads(json.dumps(journals._written_guide(strategy.plan.guide)))
    np.testing.assert_array_equal(journals._read_guide(data), strategy.plan.guide)
    assert len(base64.b64decode(data["ranks"])) == 4 * SCORES.size


def test_several_values_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = journals.Journal(path, {}, 2)
    values = np.array([[0.5, 3.0], [np.nan, 4.0]])
    journal.record(["0" * 32, "1" * 32], 3, Evaluation(values, {"word": np.array(["a", "bc"])}))
    there, recalled = journals.Journal(path, {}, 2).recall(["1" * 32, "0" * 32], 3)
    assert there.all()
    np.testing.assert_array_equal(recalled.values, values[::-1])
    assert recalled.columns["word"].tolist() == ["bc", "a"]
    with pytest.raises(UserError, match=r"line 2 .*not a batch"):
        journals.Journal(path, {}, 1)
    there, recalled = journals.Journal(path, {}, 2).recall(["0" * 32, "1" * 32], 3)
    assert there.all()
