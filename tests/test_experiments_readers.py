"""What reads finished sweeps, all of it on one small sweep; and the sweep files of the papers."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sweep_cases import Here, sweep_file

from evojax_prune.cli.plugins import load_plugins
from evojax_prune.methods import METHODS
from evojax_prune.methods.observer import Observer
from evojax_prune.report.writers import WRITERS
from evojax_prune.run.config import RunConfig
from evojax_prune.run.run import prune
from evojax_prune.sweep import plan as planning
from evojax_prune.sweep.estimate import DataSize
from evojax_prune.sweep.file import load_sweep
from evojax_prune.sweep.plan import make_plan
from evojax_prune.sweep.results import make_rows, write_rows
from evojax_prune.sweep.run import run_sweep
from evojax_prune.sweep.task import data_key
from experiments import cka, convergence, paper, published, statistics
from experiments.harness import tables
from experiments.harness.sweeps import Sweep, read_sweep

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))

CASES = """
grid:
  seed: [0, 1]
variants:
  case:
    whole set: {compare: true, compare_fractions: []}
    one epoch: {search_protocol: {epochs: 1}}
    without 1: {class_shares: {"1": 0}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three cases and two seeds, whose runs kept their genomes."""
    home = tmp_path_factory.mktemp("experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(WRITERS, "genomes.npz", WRITERS["evaluations.csv"])  # undone in the end
        patch.setenv("EVOJAX_PRUNE_CACHE", str(home / "cache"))
        load_plugins([str(ROOT / "experiments" / "genomes.py")], {})
        file = sweep_file(home, CASES)
        plan = make_plan(load_sweep(file), home / "sweep", "small")
        outcome = run_sweep(plan, file.read_text(), Here(), Observer())
        assert not outcome.failed
        write_rows(plan.folder, make_rows(plan, {}))
    return home / "sweep"


@pytest.fixture(scope="module")
def sweep(folder: Path) -> Sweep:
    return read_sweep(folder)


def written(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / "tables" / f"{name}.csv").open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def cells(text: str, *starts: str) -> list[str]:
    """Cells of the line of a Markdown table that begins so."""
    (line,) = (row for row in text.splitlines() if row.startswith(f"| {' | '.join(starts)} |"))
    return [cell.strip() for cell in line.strip("| ").split("|")]


@pytest.mark.slow
def test_a_sweep_is_read_as_it_was_run(sweep: Sweep) -> None:
    assert sweep.columns == ("case",)
    assert [run.settings["seed"] for run in sweep.runs] == [0, 0, 0, 1, 1, 1]
    assert list(sweep.lines()) == [("whole set",), ("one epoch",), ("without 1",)]
    assert sweep.unfinished == 0
    for run in sweep.runs:
        searched = cka.searched(run)
        assert searched.shape == (9, 12)
        assert (searched == run.genome).all(1).any()
    for run in sweep.runs[1:3]:
        alone = prune(RunConfig.model_validate(dict(run.settings)))
        assert alone.result.best.test_accuracy == run.result["best"]["test_accuracy"]
        np.testing.assert_array_equal(alone.genome, run.genome)


@pytest.mark.slow
def test_the_table_of_the_paper(folder: Path, sweep: Sweep, capsys: pytest.CaptureFixture) -> None:
    assert paper.main([str(folder)]) == 0
    shown = capsys.readouterr().out
    rows = written(folder, "paper")
    assert {r["head"] for r in rows} >= {"dense", "evolved", "polynomial decay", "random forest"}

    def mean(case: str, head: str, name: str) -> str:
        some = [r for r in rows if (r["case"], r["head"]) == (case, head) and r["at"] != "best"]
        own = [float(r[name]) for r in some]
        assert len(own) == 2
        return f"{np.mean(own):.3f} ± {np.std(own, ddof=1):.3f}"

    first = cells(shown, "whole set", "Accuracy (test)")
    assert first[2] == mean("whole set", "dense", "test_accuracy")
    assert first[4] == mean("whole set", "weight magnitude, not retrained", "test_accuracy")
    assert first[-1] == mean("whole set", "evolved", "test_accuracy")
    other = cells(shown, "without 1", "Accuracy (test)")
    assert other[4:7] == ["–"] * 3
    assert other[-1] == mean("without 1", "evolved", "test_accuracy")
    evolved, dense = (
        [run.result[key]["test_accuracy"] for run in sweep.lines()["whole set",]]
        for key in ("best", "dense")
    )
    ahead = sum(a > b for a, b in zip(evolved, dense, strict=True))
    assert cells(shown, "whole set", "dense", "whole")[5] == f"{ahead} of 2"
    text = (folder / "tables" / "paper.md").read_text(encoding="utf-8")
    assert "48 training, 12 selection, 30 test rows; 3 classes" in text
    assert "blobs (without 1)" in text
    assert "- Seeds: 0, 1;" in text
    assert CASES.strip() in text
    assert (folder / "tables" / "paper.png").read_bytes().startswith(b"\x89PNG")


def test_of_several_heads_the_best_on_selection_stands_in_a_column() -> None:
    incoming, outgoing = paper.COLUMNS["Neuron"]
    rows = [
        {"head": incoming, "at": "same", "selection_accuracy": float("nan")},
        {"head": outgoing, "at": "same", "selection_accuracy": 0.2},
        {"head": outgoing, "at": "best", "selection_accuracy": 0.9},
    ]
    assert paper.picked(rows, "Neuron") is rows[1]
    assert paper.picked(rows, "Weight") is None


@pytest.mark.slow
def test_the_papers_figures_stand_beside_ours(sweep: Sweep) -> None:
    run = sweep.runs[0]
    settings = dict(run.settings) | {"dataset": "data/painting"}

    def beside(**changes: object) -> list[list[str]]:
        result = dict(run.result) | {"config": settings | changes}
        own = type(run)(run.folder, {}, result)
        return paper._published(sweep, own, list(paper.COLUMNS))

    accuracy, active = beside()
    assert accuracy == ["Paper: accuracy", "0.939", "–", "0.962", "0.968", "0.883", "0.958"]
    assert active == ["Paper: % active", "100", "–", "55", "55", "55", "55"]
    left_out = beside(class_shares={"Engraving": 0.0}, mode="both")[0]
    assert left_out == ["Paper: accuracy", "0.974", *["–"] * 4, "0.979"]
    assert beside(class_shares={"iconography": 0.4})[0][-1] == "0.950"
    assert beside(class_shares={"iconography": 0.5}) == beside(dataset="digits") == []
    assert beside(class_shares={"iconography": 0.4}, backbone="vgg19") == []
    assert beside(backbone="vgg19")[0][-1] == "0.943"
    assert beside(backbone="vgg19", mode="both") == []


@pytest.mark.slow
def test_best_fitness_never_falls(folder: Path, sweep: Sweep) -> None:
    assert convergence.main([str(folder)]) == 0
    rows = written(folder, "convergence")
    assert len(rows) == 6 * 9
    for run in sweep.runs:
        own = [r for r in rows if r["run"] == run.folder.name]
        fitness = [float(r["best_fitness"]) for r in own]
        assert fitness == sorted(fitness)
        assert fitness[-1] == run.result["search"]["best_fitness"]
    names = {file.name for file in (folder / "tables").glob("convergence*.png")}
    assert names == {f"convergence-{case}.png" for case in ("whole-set", "one-epoch", "without-1")}


@pytest.mark.slow
def test_the_smaller_of_equal_genomes_leads_and_nan_never_does(
    sweep: Sweep, tmp_path: Path
) -> None:
    lines = ["accuracy,active_fraction", ",0.1", "0.5,0.6", "0.5,0.4", ",0.2", "0.7,0.9"]
    (tmp_path / "evaluations.csv").write_text("\n".join(lines))
    run = type(sweep.runs[0])(tmp_path, {}, sweep.runs[0].result)
    best, active = convergence.curves(run)
    np.testing.assert_array_equal(best, [np.nan, 0.5, 0.5, 0.5, 0.7])
    np.testing.assert_array_equal(active, [0.1, 0.6, 0.4, 0.4, 0.9])


@pytest.mark.slow
def test_cka_of_the_best_head_is_computed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cka.main([str(folder)]) == 0
    rows = written(folder, "cka")
    assert {(r["kernel"], r["estimator"]) for r in rows} == {
        (k, e) for k in ("rbf", "linear") for e in ("biased", "unbiased")
    }
    assert {r["of"] for r in rows} == {"weights of layer 1", "activations"}
    for row in rows:
        assert 0 < float(row["hamming_closest"]) <= float(row["hamming_dense"]) < 1
        for other in ("closest", "dense"):
            value = float(row[f"cka_{other}"])
            assert 0 <= value <= 1 + 1e-6 or row["estimator"] == "unbiased"
    monkeypatch.setattr(cka, "_measure", lambda _: pytest.fail("computed again"))
    assert cka.main([str(folder)]) == 0
    assert written(folder, "cka") == rows


@pytest.mark.slow
def test_heads_are_tested_run_by_run(folder: Path, sweep: Sweep) -> None:
    assert statistics.main([str(folder)]) == 0
    tests = {row["other"]: row for row in written(folder, "statistics-runs")}
    assert tests["dense (whole)"]["pairs"] == "6"
    assert tests["polynomial decay (same)"]["pairs"] == "2"
    differences = [
        run.result["best"]["test_accuracy"] - run.result["dense"]["test_accuracy"]
        for run in sweep.runs
    ]
    assert float(tests["dense (whole)"]["difference"]) == pytest.approx(np.mean(differences))
    (scores,) = statistics.heads_of([sweep]).values()
    first, second = statistics.paired(scores["evolved"], scores["dense (whole)"], "datasets")
    whole, other = np.reshape(differences, (2, 3))[:, :2], np.reshape(differences, (2, 3))[:, 2]
    np.testing.assert_allclose(first - second, [whole.mean(), other.mean()])


@pytest.mark.slow
def test_levels_are_tested_and_sweeps_pooled(folder: Path, sweep: Sweep, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for mark in other.glob("runs/*/result.json"):
        result = json.loads(mark.read_text())
        result["dataset"]["name"] = f"other {result['dataset']['name']}"
        mark.write_text(json.dumps(result))
    assert statistics.main([str(folder), str(other), "--levels", "case"]) == 0
    found = {(row["measure"], row["other"]): row for row in written(folder, "statistics-runs-case")}
    assert found.keys() == {("best fitness", "one epoch"), ("test accuracy", "one epoch")}
    plain, short = (
        np.mean([run.result["search"]["best_fitness"] for run in sweep.lines()[case,]])
        for case in ("whole set", "one epoch")
    )
    row = found["best fitness", "one epoch"]
    assert row["pairs"] == "4"
    assert float(row["difference"]) == pytest.approx(short - plain)


@pytest.mark.slow
def test_what_cannot_be_read_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for reader in (paper, convergence, cka, statistics):
        assert reader.main([str(tmp_path)]) == 2
        assert "holds no sweep that was run to its end" in capsys.readouterr().err
    assert statistics.main([str(folder), "--levels", "mode"]) == 2
    assert "in " + str(folder) + " vary case" in capsys.readouterr().err
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for file in (*other.glob("runs/*/genomes.npz"), *other.glob("runs/*/cka-*.json")):
        file.unlink()
    assert cka.main([str(other)]) == 2
    assert "--plugin experiments/genomes.py" in capsys.readouterr().err
    table = other / "runs.csv"
    table.write_text(table.read_text().replace(",done,", ",failed,", 5))
    assert len(read_sweep(other).runs) == 1
    assert convergence.main([str(other)]) == 0
    assert "5 runs are not finished" in capsys.readouterr().err
    table.write_text(table.read_text().replace(",done,", ",failed,"))
    assert paper.main([str(other)]) == 2


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_papers_sweep_file_is_right_but_for_its_data(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(configs: list[RunConfig], *_: object) -> dict[str, object]:
        return {data_key(c): planning._Data("", DataSize(100, 1280, 3)) for c in configs}

    monkeypatch.setattr(planning, "_look", known)
    monkeypatch.chdir(ROOT)
    text = file.read_text(encoding="utf-8")
    for registry in (METHODS, WRITERS):  # what plugins register is undone in the end
        for name in ("norms", "norms.json", "genomes.npz"):
            monkeypatch.setitem(registry, name, None)
            del registry[name]
    sweep = load_sweep(file)
    load_plugins(re.findall(r"--plugin (\S+)", text), sweep.base)
    plan = make_plan(sweep, tmp_path, file.stem)
    seeds = {task.config.seed for task in plan.tasks}
    assert seeds >= {0, 1, 2}
    assert len(plan.tasks) == len(seeds) * math.prod(
        len(axis.labels) for axis in plan.axes if axis.names != ("seed",)
    )
    assert text.startswith("# ")
    assert f"sweep configs/sweeps/{file.name}" in text
    assert re.search(rf"experiments\.\w+ runs/{file.stem}\b", text)
    assert len(text.splitlines()) <= 40


def test_published_figures_are_figures() -> None:
    for table in (published.PRUNING, published.BACKBONES):
        for name, modes in table.items():
            assert name in published.NAMES.values()
            for figures in modes.values():
                assert all(0 < f < 1 for f in figures[:4] if f is not None)
                assert 10 < figures.active < 100
    known = published.figures("RPS", "resnet50", "features", {})
    assert known is not None
    assert (known.accuracy["Evolved"], known.active) == (0.985, 45)
    assert published.paper_name(["a/rps28", "x"]) == published.paper_name(["RPS"]) == "RPS"
    assert published.paper_name(["cifar10", "painted"]) is None


def test_a_table_is_markdown() -> None:
    text = tables.markdown(["a", "b", "c"], [["1", "2", "3"]])
    assert text == "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n"
