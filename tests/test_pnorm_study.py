"""The p-norm study as a whole, on a small features file: a plugin's method, and its report."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sweep_cases import Here

from evojax_prune.core.errors import UserError
from evojax_prune.methods import METHODS
from evojax_prune.methods.observer import Observer
from evojax_prune.report.writers import WRITERS
from evojax_prune.run.config import validated
from evojax_prune.run.run import prune
from evojax_prune.sweep.file import load_sweep
from evojax_prune.sweep.plan import make_plan
from evojax_prune.sweep.results import make_rows, write_rows
from evojax_prune.sweep.run import run_sweep
from experiments.harness.sweeps import read_sweep
from experiments.pnorm import __main__ as command
from experiments.pnorm.networks import Network, make_network, volatility

LEVELS = (0.25, 0.5, 0.75)

SWEEP = """
base:
  dataset: {data}
  protocol: holdout
  method: norms
  method_options: {{levels: [0.25, 0.5, 0.75]}}
  hidden: [16]
  final_protocol: {{epochs: 8, learning_rate: 0.02, patience: 0}}
grid:
  seed: [0, 1]
"""


@pytest.fixture(scope="module", autouse=True)
def method() -> Any:
    """The plugin as a module; what it registers is taken back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "norms", METHODS["search"])
        patch.setitem(WRITERS, "norms.json", WRITERS["evaluations.csv"])
        from experiments.pnorm import method

        patch.setitem(METHODS, "norms", method.Method(method.NormsOptions, lambda: method.find))
        patch.setitem(WRITERS, "norms.json", method._write)
        yield method


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes that the first 6 of 24 features tell apart."""
    rng = np.random.default_rng(0)

    def part(n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 3, n).astype(np.int32)
        x = rng.normal(size=(n, 24)).astype(np.float32)
        x[:, :6] += 1.5 * np.eye(3, dtype=np.float32)[y].repeat(2, 1)
        return x, y

    path = tmp_path_factory.mktemp("data") / "small.npz"
    (x_train, y_train), (x_test, y_test) = part(240), part(200)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


@pytest.fixture(scope="module")
def folder(data: Path) -> Path:
    """A finished sweep of two seeds."""
    file = data.with_name("norms.yaml")
    file.write_text(SWEEP.format(data=data))
    plan = make_plan(load_sweep(file), data.with_name("sweep"), "norms")
    outcome = run_sweep(plan, file.read_text(), Here(), Observer())
    assert not outcome.failed
    write_rows(plan.folder, make_rows(plan, {}))
    return plan.folder


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    (network,) = command.networks(read_sweep(folder))
    return network


def run(data: Path, options: dict[str, Any], **settings: Any) -> Any:
    """A run of the method alone."""
    quick = {"protocol": "holdout", "final_protocol": {"epochs": 4}, "hidden": [8]}
    given = quick | {"dataset": str(data), "method": "norms", "method_options": options}
    return prune(validated(given | settings))


def test_every_ranking_level_and_seed_is_a_row(
    folder: Path, method: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([str(folder)]) == 0
    assert "Volatility" in capsys.readouterr().out
    with (folder / "tables" / "norms.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rankings = {"p=1", "p=2", "p=inf", *method.BASELINES}
    assert {row["ranking"] for row in rows} == rankings
    assert len(rows) == 2 * len(rankings) * len(LEVELS)
    for row in rows:
        assert int(row["kept"]) == round((1 - float(row["level"])) * 24)
        assert 0 <= float(row["test_accuracy"]) <= 1
    text = (folder / "tables" / "pnorm.md").read_text()
    assert text.count("| p=2 |") == 1
    names = {path.stem.rpartition("-")[2] for path in (folder / "tables").glob("*.png")}
    assert names == {"curves", "map", "overlap"}
    with (folder / "tables" / "norms-overlap.csv").open(newline="") as file:
        pairs = [row for row in csv.DictReader(file) if row["second"] == "highest"]
    opposite = [row for row in pairs if row["first"] == "p=2"]
    assert len(opposite) == len(LEVELS)
    assert all(float(row["rank_correlation"]) == pytest.approx(-1) for row in opposite)


def test_the_runs_head_is_one_of_its_rows(folder: Path) -> None:
    for mark in folder.glob("runs/*/result.json"):
        result = json.loads(mark.read_text())
        rows = json.loads((mark.parent / "norms.json").read_text())["rows"]
        best, name = result["best"], result["best_name"]
        (own,) = (
            row for row in rows if (row["ranking"], row["parameters"]) == (name, best["parameters"])
        )
        assert own["test_accuracy"] == pytest.approx(best["test_accuracy"])
        assert own["selection_accuracy"] == pytest.approx(best["selection_accuracy"])
        assert own["kept"] == best["active_units"]


def test_the_lowest_are_missed_less_than_the_highest(network: Network) -> None:
    mean = dict(zip(network.rankings, network.mean("test"), strict=True))
    last = LEVELS.index(0.75)  # what tells the classes apart is exactly what can be kept
    assert mean["p=2"][last] > mean["random"][last] > mean["highest"][last]


def test_best_and_auto_are_chosen_on_the_selection_split(network: Network) -> None:
    norm, level = network.best()
    score = network.mean("selection")[:3]
    assert score[norm, level] == score.max()
    auto = network.auto()
    error = np.sqrt(score.max() * (1 - score.max()) / network.selection_rows)
    assert auto is None or score[auto] >= score.max() - error
    figure = network.volatility()
    assert 0 <= figure.norms <= figure.volatility


def test_seeds_of_other_levels_are_refused(folder: Path) -> None:
    first, second = (command._cell(run) for run in read_sweep(folder).runs)
    with pytest.raises(UserError, match="differ in their norms or levels"):
        make_network(("small",), [first, second | {"rows": second["rows"][::-1]}])


def test_hidden_units_and_fine_tuning(data: Path) -> None:
    few = {"p": [2], "levels": [0.5], "baselines": ["random"]}
    settings = {"mode": "both", "hidden": [12, 8]}
    tuned = run(data, few | {"fine_tune": True}, **settings).found.study
    afresh = run(data, few, **settings).found.study
    assert [row["ranking"] for row in tuned["rows"]] == ["p=2", "random"]
    assert [row["kept"] for row in tuned["rows"]] == [10, 10]
    assert tuned["rows"] != afresh["rows"]
    assert tuned["overlap"] == afresh["overlap"]


def test_folds_share_their_genomes(data: Path) -> None:
    one = {"p": [1], "levels": [0.5], "baselines": []}
    kfold = {"selection": "kfold", "folds": 3}
    (row,) = run(data, one, **kfold).found.study["rows"]
    assert row["kept"] == 12
    with pytest.raises(UserError, match="fine_tune"):
        run(data, one | {"fine_tune": True}, **kfold)
    with pytest.raises(UserError, match="resampled"):
        run(data, one, selection="resampled")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"p": [0.5]}, "p is 0.5"),
        ({"levels": [1.0]}, "levels is 1.0"),
        ({"norms": [1]}, "norms"),
        ({"p": []}, "p is"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        validated({"method": "norms", "method_options": options})


def test_a_sweep_of_another_method_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = read_sweep(folder)
    with pytest.raises(UserError, match="is not of the method norms"):
        command._cell(dataclasses.replace(sweep.runs[0], folder=tmp_path))
    assert command.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_volatility_is_nothing_where_the_level_says_all():
    dense = np.array([0.9, 0.8])
    drop = np.array([0.01, 0.05, 0.3])
    pruned = np.broadcast_to(dense, (4, 3, 2)) - drop[None, :, None]
    figure = volatility(pruned, dense)
    assert figure.volatility == pytest.approx(0, abs=1e-12)
    assert figure.loss == pytest.approx(drop.mean())


def test_volatility_splits_into_norms_and_seeds():
    rng = np.random.default_rng(0)
    by_norm = rng.normal(0, 0.05, (3, 5, 1))
    figure = volatility(0.7 + np.repeat(by_norm, 4, 2), np.full(4, 0.7))
    assert figure.norms == pytest.approx(figure.volatility)
    assert figure.norms == pytest.approx(np.sqrt(by_norm.var(0).mean()))
    by_seed = rng.normal(0, 0.05, (1, 5, 4))
    figure = volatility(0.7 + np.repeat(by_seed, 3, 0), np.full(4, 0.7))
    assert figure.norms == pytest.approx(0)
    assert figure.volatility == pytest.approx(np.sqrt(by_seed[0].var(1).mean()))
