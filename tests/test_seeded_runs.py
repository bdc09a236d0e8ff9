"""Runs whose figures were recorded before the package was rebuilt: what they say must not change.

``tests/data/seeded_runs.json`` holds them. Other processors add in another order, so a head may
take another side on a row or two; which genomes are tried first must be the same everywhere.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from evojax_prune.cli import main as command

RECORDED = json.loads((Path(__file__).parent / "data" / "seeded_runs.json").read_text())

COMMON = (
    *("--search-protocol.epochs", "2", "--final-protocol.epochs", "6", "--seed", "3"),
    *("--final-protocol.learning-rate", "0.02"),
)
SEARCH = ("--population", "6", "--evaluations", "14", "--finalists", "2")

RUNS: dict[str, tuple[str, ...]] = {
    "features": ("--hidden", "12", *SEARCH),
    "fc1": ("--mode", "fc1", "--hidden", "12", "10", *SEARCH),
    "fc2": ("--mode", "fc2", "--hidden", "12", "10", *SEARCH),
    "both": ("--mode", "both", "--hidden", "12", "10", *SEARCH),
    "kfold": ("--selection", "kfold", "--folds", "3", "--hidden", "12", *SEARCH),
    "steady-state": ("--strategy", "steady-state", "--hidden", "12", *SEARCH),
    "guided": ("--init", "sensitivity", "--mutation-bias", "1", "--hidden", "12", *SEARCH),
    "sensitivity": ("--method", "sensitivity", "--hidden", "12"),
    "sensitivity both": ("--method", "sensitivity", "--keep", "0.3", "--mode", "both",
                         "--hidden", "12", "10"),
}  # fmt: skip


def table(file: Path) -> Path:
    """Three classes that 4 of 20 features tell apart."""
    rng = np.random.default_rng(11)
    arrays = {}
    for name, rows in (("train", 120), ("test", 90)):
        y = np.arange(rows) % 3
        x = rng.normal(size=(rows, 20))
        x[:, :4] += 1.3 * np.eye(3, 4)[y]
        arrays |= {f"x_{name}": x.astype(np.float32), f"y_{name}": y}
    np.savez(file, **arrays)
    return file


def figures(folder: Path) -> dict[str, object]:
    """What is compared of a finished run."""
    result = json.loads((folder / "result.json").read_text())
    with (folder / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    name = "fitness" if "fitness" in rows[0] else "accuracy"
    heads = {key: result[key] for key in ("dense", "random", "best")}
    return {
        "first genomes": [row["genome"] for row in rows if row["generation"] == "0"],
        "values": [float(row[name]) for row in rows],
        "test": {key: head["test_accuracy"] for key, head in heads.items()},
        "selection": {key: head["selection_accuracy"] for key, head in heads.items()},
        "dense parameters": result["dense"]["parameters"],
    }


SLOW = ("fc1", "fc2", "features", "steady-state", "sensitivity")
"""What is alike: both layers, folds and a guide are the quick cases."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(run, marks=[pytest.mark.slow] if run in SLOW else []) for run in RUNS],
)
def test_a_seeded_run_says_what_it_said(name: str, tmp_path: Path) -> None:
    words = ["--protocol", "holdout", "--dataset", str(table(tmp_path / "data.npz"))]
    assert command.main([*words, "--output", str(tmp_path / "run"), *COMMON, *RUNS[name]]) == 0
    found, recorded = figures(tmp_path / "run"), RECORDED[name]
    for exact in ("first genomes", "dense parameters"):
        assert found[exact] == recorded[exact]
    first = len(recorded["first genomes"])  # later ones follow from these values
    np.testing.assert_allclose(found["values"][:first], recorded["values"][:first], atol=0.05)
    for split in ("test", "selection"):
        assert found[split]["dense"] == pytest.approx(recorded[split]["dense"], abs=0.03)
        assert found[split]["best"] == pytest.approx(recorded[split]["best"], abs=0.12)
