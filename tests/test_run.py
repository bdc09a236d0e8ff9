"""The main command, end to end, on features that are small enough to be quick."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from run_cases import (
    FILES,
    QUICK,
    TRAINING,
    TWO_LAYERS,
    Run,
    blobs,
    environment,
    evaluations,
    numbers,
    pictures,
    predict,
    run_on,
    saved,
    write_table,
)
from safetensors.numpy import load_file

import evojax_prune
from evojax_prune.cli import flags as cli
from evojax_prune.cli import main as command
from evojax_prune.methods import guides
from evojax_prune.methods import search as searching
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.report.result import Result
from evojax_prune.run.data import load_problem
from evojax_prune.sensitivity import sensitivities


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "blobs.npz")


@pytest.fixture
def run(table: Path) -> Run:
    return run_on(table)


def test_a_run_writes_everything_and_says_what_it_found(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run()
    out, err = capsys.readouterr()
    folder = tmp_path / "results"
    assert {entry.name for entry in folder.iterdir()} == FILES

    for word in ("dense", "random, best of 14", "evolved", "95% interval", "optimism"):
        assert word in out
    assert "selected on test" not in out
    assert result.comparison.sentence in out
    assert "14/14 evaluations" in err
    assert "generation" in err

    data = result.dataset
    assert (data.classes, data.train, data.selection, data.test) == (3, 96, 24, 60)
    assert data.features == 20
    assert result.dense.parameters == 20 * 12 + 12 * 3 + 3
    assert result.dense.active_fraction == result.dense.parameter_fraction == 1
    assert result.best.active_units == round(result.best.active_fraction * 20)
    assert result.random.active_units == result.best.active_units
    assert result.best.parameters == result.best.active_units * 12 + 12 * 3 + 3
    assert result.best.optimism == pytest.approx(
        result.best.selection_accuracy - result.best.test_accuracy
    )
    assert result.search.evaluations == 14
    assert result.search.member_epochs == 14 * 2
    assert not result.selected_on_test
    assert result.baselines == []

    rows = evaluations(folder)
    assert len(rows) == len({row["genome"] for row in rows}) == 14
    assert result.genome in {row["genome"] for row in rows}
    assert max(float(row["accuracy"]) for row in rows) == result.search.best_fitness

    mask = np.load(folder / "best_mask.npz")
    assert mask["genome"].sum() == result.best.active_units
    np.testing.assert_array_equal(mask["genome"], mask["features"])


def test_the_configuration_that_is_written_repeats_the_run(run: Run, tmp_path: Path) -> None:
    first = run("--seed", "5")
    again = tmp_path / "again"
    file = tmp_path / "results" / "config.yaml"
    assert command.main(["--config", str(file), "--output", str(again)]) == 0
    second = Result.model_validate_json((again / "result.json").read_text())
    assert numbers(first) == numbers(second)
    assert yaml.safe_load(file.read_text()) == first.config

    other = run("--seed", "6", name="other")
    assert numbers(other) != numbers(first)


@pytest.mark.parametrize(
    "args",
    [
        pytest.param(("--mode", "features", "--grain", "connections"), marks=pytest.mark.slow),
        pytest.param(("--mode", "fc2", *TWO_LAYERS), marks=pytest.mark.slow),
        pytest.param(
            ("--mode", "both", "--selection", "test", *TWO_LAYERS), marks=pytest.mark.slow
        ),
        ("--selection", "test-half"),
    ],
    ids=" ".join,
)
def test_the_written_head_reproduces_the_test_accuracy(
    run: Run, tmp_path: Path, args: tuple[str, ...]
) -> None:
    result = run(*args)
    head = load_file(tmp_path / "results" / "head.safetensors")
    (splits,) = evojax_prune.load_splits(tmp_path / "results" / "config.yaml")
    assert np.mean(predict(head, splits.test.x) == splits.test.y) == result.best.test_accuracy
    assert (
        np.mean(predict(head, splits.selection.x) == splits.selection.y)
        == result.best.selection_accuracy
    )
    if result.config["grain"] == "neurons":
        stored = sum(v.size for name, v in head.items() if name != "features")
        assert stored == result.best.parameters


def test_folds_share_one_test_split(run: Run, tmp_path: Path) -> None:
    result = run("--selection", "kfold", "--folds", "3")
    head = load_file(tmp_path / "results" / "head.safetensors")
    splits = evojax_prune.load_splits(tmp_path / "results" / "config.yaml")
    assert result.dataset.folds == len(splits) == 3
    scores = [
        np.mean(predict(head, s.test.x, f"fold_{i}.") == s.test.y) for i, s in enumerate(splits)
    ]
    assert np.mean(scores) == pytest.approx(result.best.test_accuracy)
    assert result.search.member_epochs == 14 * 2 * 3


def test_the_paper_protocol_says_what_it_selects_on(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run("--protocol", "paper", "--search-protocol.epochs", "2")
    assert result.selected_on_test
    assert result.search.strategy == "steady-state"
    assert result.best.optimism == result.dense.optimism == 0
    out = capsys.readouterr().out
    assert out.count("selected on test") >= 2  # table and sentence


@pytest.mark.slow
def test_an_evosax_algorithm_by_name(run: Run) -> None:
    assert run("--strategy", "PGPE").search.strategy == "PGPE"


def test_a_price_for_size_is_paid(run: Run, tmp_path: Path) -> None:
    cheap = run("--objectives", "accuracy", "--size-penalty", "100", "--evaluations", "40")
    rows = evaluations(tmp_path / "results")
    least = min(float(row["active_fraction"]) for row in rows)
    assert cheap.search.best_fitness == pytest.approx(-100 * least, abs=10)
    assert cheap.search.best_fitness < 0


@pytest.mark.parametrize(
    "args",
    [
        ("--keep", "0.3"),
        ("--keep", "0.3", "--p", "inf", "--mode", "both", *TWO_LAYERS),
        ("--keep", "0.3", "--selection", "kfold", "--folds", "2"),
    ],
    ids=" ".join,
)
def test_sensitivities_prune_without_a_search(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], args: tuple[str, ...]
) -> None:
    result = run("--method", "sensitivity", *args)
    folder = tmp_path / "results"
    assert {entry.name for entry in folder.iterdir()} == FILES
    assert result.best_name == ("sensitivity, p=inf" if "inf" in args else "sensitivity, p=2")
    assert result.best_name in capsys.readouterr().out
    units = 22 if "both" in args else 20
    assert result.best.active_units == (round(0.3 * 12) + 3 if units == 22 else 6)
    assert result.random.active_units == pytest.approx(result.best.active_units, abs=1)
    assert result.random.masks == 1  # as many as sizes
    (row,) = evaluations(folder)
    assert float(row["accuracy"]) == result.best.selection_accuracy
    assert row["genome"] == result.genome

    head = load_file(folder / "head.safetensors")
    splits = evojax_prune.load_splits(folder / "config.yaml")
    prefixes = [f"fold_{i}." for i in range(len(splits))] if len(splits) > 1 else [""]
    right = [
        np.mean(predict(head, s.test.x, prefix) == s.test.y)
        for s, prefix in zip(splits, prefixes, strict=True)
    ]
    assert np.mean(right) == pytest.approx(result.best.test_accuracy)


def test_sensitivities_find_the_features_that_matter(run: Run, tmp_path: Path) -> None:
    x, y = blobs(120, 0)
    x[:, :3] += 2 * np.eye(3)[y]
    file = saved(tmp_path / "clear.npz", x_train=x, y_train=y)
    run("--dataset", str(file), "--method", "sensitivity", "--keep", "0.15")
    genome = np.load(tmp_path / "results" / "best_mask.npz")["genome"]
    assert set(np.flatnonzero(genome)) == {0, 1, 2}


def test_the_smallest_size_within_one_standard_error_is_taken(run: Run, tmp_path: Path) -> None:
    result = run("--method", "sensitivity", "--final-protocol.epochs", "60")
    rows = evaluations(tmp_path / "results")
    sizes = [round(20 * float(row["active_fraction"])) for row in rows]
    assert sizes == [*range(20, 0, -2), 1]
    assert float(rows[0]["accuracy"]) == result.dense.selection_accuracy
    accuracy = np.array([float(row["accuracy"]) for row in rows])
    error = np.sqrt(accuracy.max() * (1 - accuracy.max()) / result.dataset.selection)
    good = [row for row, a in zip(rows, accuracy, strict=True) if a >= accuracy.max() - error]
    assert result.genome == good[-1]["genome"]  # the sizes fall
    assert (
        numbers(run("--method", "sensitivity", "--final-protocol.epochs", "60", name="again"))[
            "best"
        ]
        == result.best.model_dump()
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["features", "both"])
def test_a_search_follows_sensitivities(run: Run, mode: str) -> None:
    guided = ("--init", "sensitivity", "--mutation-bias", "2", "--evaluations", "30")
    hidden = TWO_LAYERS if mode == "both" else ()
    first = run("--mode", mode, *hidden, *guided)
    assert first.search.evaluations == 30
    assert numbers(run("--mode", mode, *hidden, *guided, name="again")) == numbers(first)


@pytest.mark.slow
def test_first_genomes_and_mutations_prefer_what_matters(table: Path) -> None:
    """Over many draws: the least sensitive bit is on least often, the most sensitive one most."""
    words = ["--dataset", str(table), *QUICK, "--init", "sensitivity", "--sharpness", "20"]
    config = cli.parse([*words, "--population", "200", "--evaluations", "200"])
    problem = load_problem(config)
    result = searching.search(problem, config, Evaluator(problem, config))
    frequency = result.genomes.mean(0)
    order = np.argsort(guides.sensitivities_of_bits(problem).mean(0))
    assert frequency[order[-5:]].mean() > frequency[order[:5]].mean() + 0.4


@pytest.mark.parametrize(("mode", "parts"), [("features", (20,)), ("both", (12, 10))])
def test_bits_are_ranked_layer_by_layer(table: Path, mode: str, parts: tuple[int, ...]) -> None:
    words = ["--dataset", str(table), *QUICK, "--mode", mode, "--hidden", "12", "10"]
    problem = load_problem(cli.parse(words if mode == "both" else words[:-1]))
    scores = guides.sensitivities_of_bits(problem)
    assert scores.shape == (len(guides.NORMS), sum(parts))
    protocol = problem.training.search_protocol
    (params,) = problem.fit(problem.pruning.dense, protocol, (), return_params=True).params or ()
    x = problem.splits[0].train.x
    start = 0
    for layer, units in enumerate(parts, start=mode == "both"):
        own = sensitivities(params, x, p=1.0, layer=layer).scores(1.0)
        quantiles = scores[0, start : start + units]
        np.testing.assert_array_equal(np.argsort(quantiles), np.argsort(own))
        assert (quantiles.min(), quantiles.max()) == (1 / units, 1)
        start += units


def test_other_ways_of_pruning_beside_it(
    run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    result = run("--compare", "--compare-fractions", "0.25", "0.5")
    out = capsys.readouterr().out
    rows = {(row.name, row.at): row for row in result.baselines}
    for name in ("random masks", "weight magnitude", "group lasso", "polynomial decay"):
        assert name in out
        same, best = rows[name, "same"], rows[name, "best"]
        assert same.active_fraction == pytest.approx(result.best.active_fraction, abs=0.03)
        assert same.selection_accuracy is not None
        assert best.selection_accuracy is not None
        tried = (same.active_fraction, 0.25, 0.5)
        assert min(abs(best.active_fraction - fraction) for fraction in tried) < 0.1
    assert ("dense", "whole") not in rows


def test_few_units_have_few_sizes(run: Run, tmp_path: Path) -> None:
    result = run("--method", "sensitivity", "--mode", "fc1", "--hidden", "4", "4")
    rows = evaluations(tmp_path / "results")
    assert len({row["genome"] for row in rows}) == len(rows) == result.search.evaluations == 4
    assert result.random.masks == 4 or result.best.active_fraction == 1


@pytest.mark.slow
def test_every_table_says_selected_on_test(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    fast = ("--method", "sensitivity", "--keep", "0.5", "--compare", "--compare-fractions", "0.5")
    run("--selection", "test", *fast)
    assert capsys.readouterr().out.count("selected on test") >= 4


@pytest.mark.slow
def test_the_command_itself(table: Path, tmp_path: Path) -> None:
    """In a process of its own, off a terminal, as a user starts it."""
    words = [sys.executable, "-m", "evojax_prune.run", "--dataset", str(table), *TRAINING]
    words += ["--method", "sensitivity", "--keep", "0.5"]
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    assert "sensitivity" in done.stdout
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("blobs-features-")
    assert {entry.name for entry in folder.iterdir()} == FILES


@pytest.mark.slow
def test_a_second_run_on_images_needs_neither_backbone_nor_keras_nor_tfds(tmp_path: Path) -> None:
    images = pictures(tmp_path / "images", {"ant": 12, "bee": 12})
    program = (
        "import sys; from evojax_prune.cli.main import main\n"
        f"status = main(['--dataset', {str(images)!r}, '--output', sys.argv[1], *{QUICK!r}])\n"
        "heavy = {'keras', 'tensorflow', 'tensorflow_datasets'}\n"
        "heavy.add('evojax_prune.features.backbones.lite')\n"
        "print('imported:', *sorted(heavy & sys.modules.keys()))\n"
        "sys.exit(status)\n"
    )
    said = []
    for name in ("first", "second"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / name)],
            capture_output=True,
            text=True,
            env=environment(),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.splitlines()[-1])
    assert said == ["imported: evojax_prune.features.backbones.lite", "imported:"]
    first, second = (
        json.loads((tmp_path / n / "result.json").read_text()) for n in ("first", "second")
    )
    assert first["best"] == second["best"]
