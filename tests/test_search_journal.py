"""The journal: resuming to the same numbers, and what is kept exactly."""

from __future__ import annotations

import base64
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from journal_cases import resume, write_journal
from search_cases import FITNESS, GENERATIONAL, LENGTH, STEADY, Counted, matches, same, search

from evojax_prune.core.errors import UserError
from evojax_prune.search import (
    Evaluation,
    GenerationInfo,
    GeneticOptions,
    Strategy,
    make_strategy,
)
from evojax_prune.search import journal as journals


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_journal(tmp_path_factory.mktemp("journal") / "journal.jsonl")


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


@pytest.mark.slow
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


def test_other_rankings_are_another_run(tmp_path: Path) -> None:
    guide = make_strategy("generational", LENGTH, GUIDED, scores=SCORES).plan.guide
    assert guide is not None
    journals.Journal(tmp_path / "journal", {}, [FITNESS], guide)
    swapped = guide.copy()  # as another accelerator may compute them
    swapped[0, [3, 5]] = guide[0, [5, 3]]
    kept = journals.Journal(tmp_path / "journal", {}, [FITNESS], swapped).guide
    np.testing.assert_array_equal(kept, guide)
    for other in (1 - guide, guide[:1], None):
        with pytest.raises(UserError, match="other rankings of the bits"):
            journals.Journal(tmp_path / "journal", {}, [FITNESS], other)


def test_several_values_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = journals.Journal(path, {}, [FITNESS, FITNESS])
    values = np.array([[0.5, 3.0], [np.nan, 4.0]])
    journal.record(["0" * 32, "1" * 32], 3, Evaluation(values, {"word": np.array(["a", "bc"])}))
    there, recalled = journals.Journal(path, {}, [FITNESS, FITNESS]).recall(["1" * 32, "0" * 32], 3)
    assert there.all()
    np.testing.assert_array_equal(recalled.values, values[::-1])
    assert recalled.columns["word"].tolist() == ["bc", "a"]
    with pytest.raises(UserError, match=r"line 2 .*not a batch"):
        journals.Journal(path, {}, [FITNESS])
    there, recalled = journals.Journal(path, {}, [FITNESS, FITNESS]).recall(["0" * 32, "1" * 32], 3)
    assert there.all()
