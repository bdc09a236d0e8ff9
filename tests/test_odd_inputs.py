"""Odd input that has an answer, and what Python may hand over that has none."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import deploy_cases
import numpy as np
import pytest
from hostile_cases import (
    DENSE,
    SEARCH,
    Refused,
    X,
    Y,
    blobs,
    content,
    link,
    members,
    npy,
    pruned,
    saved,
)
from rich.console import Console

import evojax_prune
from evojax_prune.cli import main as command
from evojax_prune.cli import progress
from evojax_prune.core.errors import UserError
from evojax_prune.methods import search as searching
from evojax_prune.report import writers
from evojax_prune.search import Evaluation

pytestmark = pytest.mark.usefixtures("in_time")


def test_one_feature_has_a_sensitivity(tmp_path: Path) -> None:
    x = Y[:, None].astype(np.float32)
    best = pruned(tmp_path, *DENSE, "--final-protocol.learning-rate", "0.1", x_train=x).best
    assert best.active_units == best.active_fraction == 1
    assert best.test_accuracy == 1


def test_a_dense_head_that_diverges_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--dataset", str(saved(tmp_path / "t.npz")), "--output", str(tmp_path / "run"), *DENSE]
    assert command.main([*words, "--final-protocol.learning-rate", "1e30"]) == 2
    assert "diverged: lower --final-protocol.learning-rate" in capsys.readouterr().err


def test_names_are_neither_markup_nor_formulas(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = saved(tmp_path / "[red]$\\frac$:x:.npz"), tmp_path / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 0
    assert "[red]$\\frac$:x:, mode features" in capsys.readouterr().out


def test_control_characters_in_notices_are_made_visible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = progress.show_notices(Console(stderr=True, width=80))
    with said:
        logging.getLogger("evojax_prune").warning("left out: %s", "a\x1b[2Jb\n\udcff")
    assert capsys.readouterr().err == "note: left out: a\\x1b[2Jb\\n\\udcff\n"


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_features_of_any_scale_are_told_apart(scale: float, tmp_path: Path) -> None:
    """Three features on one scale, the others on that of the noise, and constant ones."""
    x, y = blobs(90)
    x[:, :3] *= scale
    constant = np.full((90, 2), [0, 7], np.float32)
    result = pruned(
        tmp_path,
        *(*DENSE, "--hidden", "32", "--final-protocol.learning-rate", "0.05"),
        x_train=np.concatenate([x, constant], axis=1),
        y_train=y,
    )
    assert result.dense.test_accuracy == result.best.test_accuracy == 1


@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_features_that_are_not_scaled_and_should_be_are_told(
    scale: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, y = blobs(60, scale)
    pruned(tmp_path, *DENSE, "--scale", "none", x_train=x, y_train=y)
    said = "note: the features are not scaled, and the largest standard deviation of one is"
    assert (said in capsys.readouterr().err) == (scale != 1)


def test_class_weights_lift_the_rare_class(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 20 == 0).astype(int)
    x = rng.normal(size=(600, 4)).astype(np.float32)
    x[:, 0] += 2 * y
    words = (*DENSE, "--overwrite", "--final-protocol.class-weights")
    plain, weighted = (
        pruned(tmp_path, *words, kind, x_train=x, y_train=y).metrics["dense"]
        for kind in ("none", "balanced")
    )
    assert "balanced" in capsys.readouterr().out  # a column of the table
    assert weighted.balanced_accuracy > plain.balanced_accuracy + 0.1
    assert plain.confusion[0][0] > weighted.confusion[0][0]


def test_a_rare_class_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = blobs(129)
    y[:] = np.arange(129) >= 6
    pruned(tmp_path, *DENSE, x_train=x, y_train=y)
    said = "note: 123 rows are of class '1' and 6 of '0': accuracy says little about small classes"
    assert said in capsys.readouterr().err
    x, y = blobs(126)
    y[:] = np.arange(126) >= 6
    pruned(tmp_path, *DENSE, "--overwrite", x_train=x, y_train=y)
    assert "accuracy says little" not in capsys.readouterr().err


def test_the_head_may_be_read_by_whom_the_other_files_may(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        pruned(tmp_path, *DENSE)
    finally:
        os.umask(before)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o640}
    assert "head.safetensors" in modes


def test_hostile_features_are_not_predicted(
    refused: Refused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pruned(tmp_path, *DENSE)
    capsys.readouterr()
    for number, (make, said) in enumerate(
        [
            (members(x__npy=npy("(1000000000000, 12)")), "its head tells"),
            (os.mkfifo, "it is a named pipe, expected a regular file"),
            (content(b"hello"), "File is not a zip file"),
            (link("/dev/zero"), "it is a device, expected a regular file"),
            (members(z__npy=npy()), "has no features, expected them as x or x_test"),
        ]
    ):
        make(file := tmp_path / f"{number}.npz")
        refused(["predict", str(tmp_path / "run"), str(file)], said)


def test_results_go_into_regular_files_only(
    refused: Refused, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is moved to the place of a pipe or a device would replace it."""
    pruned(tmp_path, *DENSE)
    capsys.readouterr()
    rows = saved(tmp_path / "rows.npz", x_train=None, y_train=None, x=X)
    os.mkfifo(tmp_path / "pipe")
    run = str(tmp_path / "run")
    for place in (tmp_path / "pipe", "/dev/null"):
        for words in (["predict", run, str(rows)], ["export", run, "--format", "safetensors"]):
            refused([*words, "--output", str(place)], "is a pipe or a device, expected a regular")
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


X_MASKED, Y_MASKED = np.ma.masked_greater(X, 6), np.ma.masked_equal(Y, 1)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda _: evojax_prune.prune(X_MASKED, Y), "x has masked values: fill them"),
        (lambda _: evojax_prune.prune(X, Y_MASKED), "y has masked values: fill them"),
        (lambda _: evojax_prune.prune(X, Y, groups=Y_MASKED), "groups has masked values"),
        (lambda _: evojax_prune.prune([[10**400] * 6] * 30, Y), "x cannot be made an array .int"),
        (lambda _: evojax_prune.prune(X, Y, sead=1), "unknown setting sead, did you mean 'seed'"),
        (lambda _: evojax_prune.prune(X, Y, hidden=10**11), "at most 65536$|expected a list"),
        (lambda _: evojax_prune.load(None), "run is None, expected a path"),
        (lambda _: evojax_prune.load(3), "run is 3, expected a path"),
        (lambda _: evojax_prune.load(""), "run is '', expected a path"),
        (lambda _: evojax_prune.load("a\0b"), "a path cannot hold a NUL"),
        (lambda _: evojax_prune.load_splits(3), "config is 3, expected a path"),
        (lambda _: evojax_prune.prune(X, Y, observer=3), "observer is a int, expected an Observer"),
        (lambda _: evojax_prune.prune("digits"), "prune is given 'digits', expected features and"),
        (lambda _: evojax_prune.prune(X, Y, mode="fc1", hidden=[3]), "^hidden does not suit: mode"),
        (lambda _: evojax_prune.extract_features(None), "images are NoneType, expected uint8"),
        (
            lambda run: evojax_prune.load(run).predict(None),
            "inputs of type NoneType cannot be used, expected paths",
        ),
    ],
)
def test_what_python_gives(call: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    deploy_cases.write_run(tmp_path / "run")
    with pytest.raises(UserError, match=said):
        call(tmp_path / "run")


def test_a_writer_that_fails_holds_back_none_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no\nfont")

    monkeypatch.setitem(writers.WRITERS, "convergence.png", fail)
    file, output = saved(tmp_path / "t.npz"), tmp_path / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"error: the results are in {output}, but not all of them: ")
    assert "convergence.png could not be made (RuntimeError: no font)" in last
    names = {file.name for file in output.iterdir()}
    assert names == {*writers.ESSENTIAL, *writers.WRITERS} - {"convergence.png"}
    monkeypatch.undo()
    assert command.main(["--dataset", str(file), "--output", str(output), *DENSE]) == 0
    assert (output / "convergence.png").exists()
    assert not (tmp_path / "run.partial").exists()


def test_a_generation_of_which_all_diverge_is_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Diverging(searching.Evaluator):
        calls = 0

        def __call__(self, genomes: np.ndarray, occasion: int | None = None) -> Evaluation:
            found = super().__call__(genomes, occasion)
            Diverging.calls += 1
            if Diverging.calls == 3:  # after the dense head and the first generation
                found.values[:] = np.nan
            return found

    monkeypatch.setattr(searching, "Evaluator", Diverging)
    result = pruned(tmp_path, *SEARCH, "--strategy", "generational", "--selection", "holdout")
    assert Diverging.calls > 3
    assert np.isfinite(result.search.best_fitness)
    written = {file.name for file in (tmp_path / "run").iterdir()}
    assert written == {*writers.ESSENTIAL, *writers.WRITERS}


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    for words in (["--dataset", "digits"], ["sweep", str(tmp_path / "sweep.yaml")]):
        assert command.main(words) == 2
        assert "the current folder is gone: change to one" in capsys.readouterr().err
