"""Runs that are interrupted go on to the same numbers, and nothing found is lost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_cases import (
    QUICK,
    TRAINING,
    Run,
    evaluations,
    interrupted_after,
    numbers,
    run_on,
    write_table,
)

from evojax_prune.cli import flags as cli
from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.core.outcome import Outcome
from evojax_prune.engine import Fits
from evojax_prune.methods import search as searching
from evojax_prune.methods.problem import Problem
from evojax_prune.report.result import Result
from evojax_prune.run.run import prune


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "blobs.npz")


@pytest.fixture
def run(table: Path) -> Run:
    return run_on(table)


def test_a_terminated_run_goes_on_to_the_same_numbers(
    run: Run,
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = run(name="whole")

    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", interrupted_after(3, signal.SIGTERM))
        args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
        assert command.main(args) == 128 + signal.SIGTERM
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("stopped by SIGTERM; to go on")
    assert f"--config {tmp_path}/results.partial/config.yaml" in last
    assert (tmp_path / "results.partial" / "config.yaml").exists()
    assert not (tmp_path / "results").exists()

    resumed = run()
    assert 0 < resumed.search.resumed < 14
    assert numbers(resumed) == numbers(whole)
    strip = [
        {k: v for k, v in r.items() if k != "seconds"} for r in evaluations(tmp_path / "whole")
    ]
    assert strip == [
        {k: v for k, v in r.items() if k != "seconds"} for r in evaluations(tmp_path / "results")
    ]


def test_an_interrupted_run_is_not_continued_under_other_settings(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", interrupted_after(2))
        assert command.main(args) == 130
    with pytest.raises(UserError, match="seed"):
        prune(cli.parse([*args, "--seed", "9"]))
    assert run("--seed", "9", "--overwrite").config["seed"] == 9


def test_results_are_not_overwritten_unasked(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run()
    args = ["--dataset", str(tmp_path / "blobs.npz"), "--output", str(tmp_path / "results"), *QUICK]
    assert command.main([*args, "--seed", "2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    kept = Result.model_validate_json((tmp_path / "results" / "result.json").read_text())
    assert kept == first
    assert run("--seed", "2", "--overwrite").config["seed"] == 2


def test_a_search_survives_a_final_protocol_that_diverges(
    run: Run,
    table: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    assert command.main([*args, "--final-protocol.learning-rate", "1e30"]) == 2
    err = capsys.readouterr().err
    assert "lower --final-protocol.learning-rate" in err
    assert "search" not in err.partition("error")[0].replace("bits to search", "")
    assert not (tmp_path / "results.partial").exists()  # the dense head was the first to be trained

    judged = Problem.judged
    with monkeypatch.context() as patched:

        def diverged(self: Problem, fits: Fits, genomes: np.ndarray, *more: Any) -> list[Outcome]:
            fits.loss[:] = np.nan if len(genomes) == 2 else fits.loss
            return judged(self, fits, genomes, *more)

        patched.setattr(Problem, "judged", diverged)
        assert command.main(args) == 2
    err = capsys.readouterr().err
    assert "lower --final-protocol.learning-rate" in err
    assert "to go on" in err
    assert not (tmp_path / "results").exists()
    assert run().search.resumed == 14


def test_pruning_without_a_search_does_not_discard_an_interrupted_one(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", interrupted_after(3))
        assert command.main(args) == 130
    journal = (tmp_path / "results.partial" / "state" / "journal.jsonl").read_bytes()
    args = [*args[:4], *TRAINING]
    assert command.main([*args, "--method", "sensitivity"]) == 2
    assert "interrupted search" in capsys.readouterr().err
    assert (tmp_path / "results.partial" / "state" / "journal.jsonl").read_bytes() == journal
    assert command.main([*args, "--method", "sensitivity", "--overwrite"]) == 0


@pytest.mark.slow
def test_a_guided_search_goes_on_to_the_same_numbers(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = ("--init", "sensitivity", "--mutation-bias", "1")
    whole = run(*guided, name="whole")
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK, *guided]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", interrupted_after(3))
        assert command.main(args) == 130
    resumed = run(*guided)
    assert resumed.search.resumed > 0
    assert numbers(resumed) == numbers(whole)
