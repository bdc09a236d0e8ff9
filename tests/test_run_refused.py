"""Bad input to the main command, and training that diverges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from run_cases import QUICK, Run, blobs, pictures, run_on, saved, write_table

from evojax_prune.cli import main as command
from evojax_prune.methods.problem import Problem


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "blobs.npz")


@pytest.fixture
def run(table: Path) -> Run:
    return run_on(table)


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
