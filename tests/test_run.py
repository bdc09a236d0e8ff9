"""The main command, end to end, on features that are small enough to be quick."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.numpy import load_file

import evojax_prune
from evojax_prune.cli import flags as cli
from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.core.outcome import Outcome
from evojax_prune.engine import Fits
from evojax_prune.methods import guides
from evojax_prune.methods import search as searching
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.problem import Problem
from evojax_prune.report.result import Result
from evojax_prune.run.data import load_problem
from evojax_prune.run.run import prune
from evojax_prune.search import Evaluation
from evojax_prune.sensitivity import sensitivities

FILES = {
    "best_mask.npz",
    "config.yaml",
    "convergence.png",
    "evaluations.csv",
    "front.csv",
    "front.png",
    "head.safetensors",
    "report.html",
    "result.json",
}
TRAINING = (
    *("--protocol", "holdout"),
    *("--hidden", "12", "--search-protocol.epochs", "2", "--final-protocol.epochs", "6"),
    *("--final-protocol.learning-rate", "0.02"),
)
SIZES = ("--population", "6", "--evaluations", "14", "--finalists", "2")
QUICK = (*TRAINING, *SIZES)

TWO_LAYERS = ("--hidden", "12", "10")


def blobs(rows: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that 4 of 20 features tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 20))
    x[:, :4] += 1.3 * np.eye(3, 4)[y] + shift
    return x.astype(np.float32), y


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "blobs.npz"
    x, y = blobs(120, 0)
    x_test, y_test = blobs(60, 1, shift=0.3)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


Run = Callable[..., Result]


@pytest.fixture
def run(table: Path, tmp_path: Path) -> Run:
    """Run the command on the small table; returns what it wrote."""

    def run(*args: str, name: str = "results") -> Result:
        output = tmp_path / name
        quick = TRAINING if "sensitivity" in args and "--method" in args else QUICK
        status = command.main(["--dataset", str(table), "--output", str(output), *quick, *args])
        assert status == 0
        assert not output.with_name(f"{name}.partial").exists()
        return Result.model_validate_json((output / "result.json").read_text())

    return run


def environment() -> dict[str, str]:
    """For a process of its own: this test's cache folder, and the package wherever it starts."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def numbers(result: Result) -> dict[str, object]:
    """A result without its times."""
    plain = result.model_dump()
    for name in ("wall_seconds", "compile_seconds", "engine", "paths", "resumed"):
        plain["search"].pop(name)
    plain.pop("wall_seconds")
    return plain


def evaluations(folder: Path) -> list[dict[str, str]]:
    with (folder / "evaluations.csv").open() as file:
        return list(csv.DictReader(file))


def predict(head: dict[str, np.ndarray], features: np.ndarray, prefix: str = "") -> np.ndarray:
    """The recipe of the README, word for word but for the prefix."""
    x = features[:, head[f"{prefix}features"]]
    layers = sum(name.startswith(prefix) and name.endswith(".kernel") for name in head)
    for i in range(layers):
        x = x @ head[f"{prefix}layer_{i}.kernel"]
        if f"{prefix}layer_{i}.bias" in head:
            x = x + head[f"{prefix}layer_{i}.bias"]
        if i < layers - 1:
            x = np.maximum(x, 0)
    return x.argmax(1)


@pytest.mark.usefixtures("pictures")
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

    rows = evaluations(folder)
    assert len(rows) == len({row["genome"] for row in rows}) == 14
    assert result.genome in {row["genome"] for row in rows}
    assert max(float(row["accuracy"]) for row in rows) == result.search.best_fitness
    assert (folder / "convergence.png").read_bytes().startswith(b"\x89PNG")

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
        ("--mode", "features", "--grain", "connections"),
        pytest.param(("--mode", "fc2", *TWO_LAYERS), marks=pytest.mark.slow),
        ("--mode", "both", "--selection", "test", *TWO_LAYERS),
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


@pytest.mark.parametrize("mode", ["features", pytest.param("both", marks=pytest.mark.slow)])
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
    assert run(name="without").baselines == []


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name="whole")

    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", _interrupted_after(3))
        args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
        assert command.main(args) == 130
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


def _interrupted_after(calls: int) -> type[searching.Evaluator]:
    class Interrupted(searching.Evaluator):
        left = calls

        def __call__(self, genomes: np.ndarray, occasion: int | None = None) -> Evaluation:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().__call__(genomes, occasion)

    return Interrupted


def test_an_interrupted_run_is_not_continued_under_other_settings(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", _interrupted_after(2))
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


# --- bad input -----------------------------------------------------------------------------------


def pictures(folder: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    return folder


def saved(path: Path, **arrays: np.ndarray) -> Path:
    x, y = blobs(30, 0)
    np.savez(path, **({"x_train": x, "y_train": y} | arrays))
    return path


def _empty(here: Path) -> tuple[str, ...]:
    (here / "empty").mkdir()
    return "--dataset", str(here / "empty")


def _lonely(here: Path) -> tuple[str, ...]:
    return "--dataset", str(pictures(here / "images", {"cat": 9, "dog": 1}))


def _no_image(here: Path) -> tuple[str, ...]:
    folder = pictures(here / "images", {"cat": 9, "dog": 9})
    (folder / "dog" / "broken.png").write_text("not a picture")
    return "--dataset", str(folder)


def _nan(here: Path) -> tuple[str, ...]:
    x, _ = blobs(30, 0)
    x[3, 2] = np.nan
    return "--dataset", str(saved(here / "nan.npz", x_train=x))


def _shapes(here: Path) -> tuple[str, ...]:
    return "--dataset", str(saved(here / "shapes.npz", y_train=np.zeros(7, int)))


def _fractions(here: Path) -> tuple[str, ...]:
    return "--dataset", str(saved(here / "labels.npz", y_train=np.linspace(0, 1, 30)))


def _pattern(here: Path) -> tuple[str, ...]:
    folder = pictures(here / "images", {"cat": 9, "dog": 9})
    return "--dataset", str(folder), "--groups", r"hand(\d\d)"


def _weights(here: Path) -> tuple[str, ...]:
    (here / "other.pth").write_bytes(b"nothing of the kind")
    return "--backbone-weights", str(here / "other.pth")


BAD: dict[str, tuple[Callable[[Path], tuple[str, ...]], tuple[str, ...]]] = {
    "missing folder": (lambda here: ("--dataset", str(here / "nowhere")), ("nowhere",)),
    "empty folder": (_empty, ("empty",)),
    "a class with one image": (_lonely, ("dog", "1")),
    "a file that is no image": (_no_image, ("broken.png", "--skip-unreadable")),
    "unknown data set": (lambda _: ("--dataset", "cifar11"), ("cifar11",)),
    "unknown backbone": (lambda _: ("--backbone", "resnet51"), ("resnet51", "resnet50")),
    "unknown mode": (lambda _: ("--mode", "fc3"), ("fc3", "fc2")),
    "unknown strategy": (lambda _: ("--strategy", "simplega"), ("simplega", "SimpleGA")),
    "unknown engine": (lambda _: ("--engine", "warp"), ("warp", "auto")),
    "unknown optimizer": (lambda _: ("--final-protocol.optimizer", "adm"), ("adm", "adam")),
    "missing weights": (lambda here: ("--backbone-weights", str(here / "w.pth")), ("w.pth",)),
    "weights of another network": (_weights, ("other.pth",)),
    "population 1": (lambda _: ("--population", "1"), ("population", "2")),
    "too few evaluations": (lambda _: ("--evaluations", "10"), ("evaluations", "population")),
    "NaN": (_nan, ("nan.npz", "NaN", "3")),
    "mismatched shapes": (_shapes, ("y_train", "30")),
    "labels that are no integers": (_fractions, ("y_train", "integers")),
    "a groups pattern that matches nothing": (_pattern, ("hand",)),
    "unwritable output": (lambda _: ("--output", "/proc/results"), ("/proc/results",)),
    "output is a file": (lambda here: ("--output", str(saved(here / "f.npz"))), ("f.npz",)),
    "a fraction to keep of 0": (
        lambda _: ("--method", "sensitivity", "--keep", "0"),
        ("keep", "0.3"),
    ),
    "a norm below 1": (lambda _: ("--p", "0.5"), ("p is 0.5", "1")),
    "a norm that is no number": (lambda _: ("--p", "nan"), ("p is nan", "1")),
    "a norm without sensitivities": (lambda _: ("--p", "1"), ("--p", "--method sensitivity")),
    "a size penalty without a search": (
        lambda _: ("--method", "sensitivity", "--size-penalty", "1"),
        ("--size-penalty", "--method search"),
    ),
    "a mutation bias beyond all bounds": (lambda _: ("--mutation-bias", "400"), ("400", "20")),
    "sensitivities of connections": (
        lambda _: ("--method", "sensitivity", "--grain", "connections"),
        ("--grain neurons",),
    ),
    "a guided search that cannot follow": (
        lambda _: ("--strategy", "PGPE", "--mutation-bias", "1"),
        ("PGPE", "mutation_bias"),
    ),
    "too few hidden layers": (
        lambda here: ("--dataset", str(saved(here / "f.npz")), "--mode", "both", "--hidden", "4"),
        ("--hidden", "both"),
    ),
    "no test split to select on": (
        lambda here: ("--dataset", str(saved(here / "f.npz")), "--selection", "test"),
        ("test split",),
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_sentence_and_nothing_is_written(
    case: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make, said = BAD[case]
    (tmp_path / "here").mkdir()
    args = make(tmp_path / "here")
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert command.main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    for word in said:
        assert word in err
    assert sorted(tmp_path.rglob("*")) == before


def test_training_that_diverges_is_bad_input(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    assert command.main([*args, "--search-protocol.learning-rate", "1e30"]) == 2
    assert "--search-protocol.learning-rate" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["blobs.npz"]


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


def test_a_diverged_head_is_never_the_best(
    run: Run, monkeypatch: pytest.MonkeyPatch, table: Path
) -> None:
    whole = run(name="whole")
    fit = Problem.fit

    def lucky_but_diverged(self: Problem, genomes: np.ndarray, *args, **kwargs):
        fits = fit(self, genomes, *args, **kwargs)
        if fits.params is not None and len(genomes) == 2:  # finalists
            fits.loss[0] = np.nan
        return fits

    monkeypatch.setattr(Problem, "fit", lucky_but_diverged)
    rows = run()
    assert not np.isnan(rows.best.selection_accuracy)
    assert rows.genome != whole.genome or rows.best == whole.best


def test_pruning_without_a_search_does_not_discard_an_interrupted_one(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", _interrupted_after(3))
        assert command.main(args) == 130
    journal = (tmp_path / "results.partial" / "state" / "journal.jsonl").read_bytes()
    args = [*args[:4], *TRAINING]
    assert command.main([*args, "--method", "sensitivity"]) == 2
    assert "interrupted search" in capsys.readouterr().err
    assert (tmp_path / "results.partial" / "state" / "journal.jsonl").read_bytes() == journal
    assert command.main([*args, "--method", "sensitivity", "--overwrite"]) == 0


def test_a_guided_search_goes_on_to_the_same_numbers(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guided = ("--init", "sensitivity", "--mutation-bias", "1")
    whole = run(*guided, name="whole")
    args = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK, *guided]
    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", _interrupted_after(3))
        assert command.main(args) == 130
    resumed = run(*guided)
    assert resumed.search.resumed > 0
    assert numbers(resumed) == numbers(whole)


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


def test_the_command_itself(table: Path, tmp_path: Path) -> None:
    """In a process of its own, off a terminal, as a user starts it."""

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "evojax_prune.run", "--dataset", str(table), *args]
        return subprocess.run(
            words, capture_output=True, text=True, cwd=tmp_path, env=environment(), check=False
        )

    refused = call("--mode", "fc3")
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    done = call(*QUICK)
    assert done.returncode == 0, done.stderr
    assert "evolved" in done.stdout
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
