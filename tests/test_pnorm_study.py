"""The p-norm study as a whole, on a small features file."""

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from evojax_prune.core.errors import UserError
from evojax_prune.features import backbones
from experiments.pnorm import __main__ as command
from experiments.pnorm.networks import networks, volatility
from experiments.pnorm.settings import BASELINES, Study, parse

LEVELS = (0.25, 0.5, 0.75)


@pytest.fixture(scope="module")
def features_file(tmp_path_factory):
    """Three classes that the first 6 of 24 features tell apart."""
    rng = np.random.default_rng(0)

    def part(n):
        y = rng.integers(0, 3, n).astype(np.int32)
        x = rng.normal(size=(n, 24)).astype(np.float32)
        x[:, :6] += 1.5 * np.eye(3, dtype=np.float32)[y].repeat(2, 1)
        return x, y

    path = tmp_path_factory.mktemp("data") / "small.npz"
    (x_train, y_train), (x_test, y_test) = part(240), part(200)
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def make_study(path, output, **changes):
    protocol = {
        **dataclasses.asdict(Study().protocol),
        "epochs": 8,
        "learning_rate": 0.02,
        "patience": 0,
    }
    settings = {
        "datasets": (str(path),),
        "seeds": (0, 1),
        "levels": LEVELS,
        "hidden": (16,),
        "protocol": protocol,
        "output": output,
    }
    return Study(**(settings | changes))


@pytest.fixture(scope="module")
def results(features_file, tmp_path_factory):
    output = tmp_path_factory.mktemp("study")
    command.run(make_study(features_file, output))
    return output


def cells(output):
    return [json.loads(path.read_text()) for path in sorted((output / "cells").glob("*.json"))]


def test_every_ranking_level_and_seed_is_a_row(results):
    with (results / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rankings = {"p=1", "p=2", "p=inf", *BASELINES}
    assert {row["ranking"] for row in rows} == rankings
    assert len(rows) == 2 * len(rankings) * len(LEVELS)
    for row in rows:
        assert int(row["kept"]) == round((1 - float(row["level"])) * 24)
        assert 0 <= float(row["test_accuracy"]) <= 1


def test_reports_and_pictures_are_written(results):
    text = (results / "summary.md").read_text()
    assert "volatility" in text
    assert text.count("| p=2 |") == 1
    names = {path.name.rpartition("--")[2] for path in results.glob("*.png")}
    assert names == {"curves.png", "map.png", "overlap.png"}
    with (results / "overlap.csv").open(newline="") as file:
        pairs = [row for row in csv.DictReader(file) if row["second"] == "highest"]
    opposite = [row for row in pairs if row["first"] == "p=2"]
    assert all(float(row["rank_correlation"]) == pytest.approx(-1) for row in opposite)


def test_the_lowest_are_missed_less_than_the_highest(results):
    (network,) = networks(cells(results))
    mean = dict(zip(network.rankings, network.mean("test"), strict=True))
    last = LEVELS.index(0.75)  # what tells the classes apart is exactly what can be kept
    assert mean["p=2"][last] > mean["random"][last] > mean["highest"][last]


def test_best_and_auto_are_chosen_on_the_selection_split(results):
    (network,) = networks(cells(results))
    norm, level = network.best()
    score = network.mean("selection")[:3]
    assert score[norm, level] == score.max()
    auto = network.auto()
    error = np.sqrt(score.max() * (1 - score.max()) / network.selection_rows)
    assert auto is None or score[auto] >= score.max() - error
    figure = network.volatility()
    assert 0 <= figure.norms <= figure.volatility


def test_a_study_goes_on_where_it_stopped(results, features_file, monkeypatch):
    before = (results / "summary.md").read_text()
    ran = []
    (results / "cells" / "small--efficientnet-lite0--1.json").unlink()
    monkeypatch.setattr(
        command, "run_cell", lambda *a, f=command.run_cell: ran.append(a[-1]) or f(*a)
    )
    command.run(make_study(features_file, results))
    assert ran == [1]
    assert (results / "summary.md").read_text() == before


def test_results_of_other_settings_are_refused(results, features_file):
    with pytest.raises(UserError, match="other settings"):
        command.run(make_study(features_file, results, hidden=(8,)))


@pytest.mark.parametrize("mode", ["both"])
def test_hidden_units_and_fine_tuning(features_file, tmp_path, mode):
    study = make_study(
        features_file,
        tmp_path,
        mode=mode,
        hidden=(12, 8),
        fine_tune=True,
        seeds=(0,),
        p=(2.0,),
        levels=(0.5,),
        baselines=("random",),
    )
    command.run(study)
    (network,) = networks(cells(tmp_path))
    assert network.rankings == ("p=2", "random")
    assert network.best() == (0, 0)


def test_folds_share_their_genomes(features_file, tmp_path):
    settings = {str(features_file): {"selection": "kfold"}}
    study = make_study(
        features_file,
        tmp_path,
        dataset_settings=settings,
        seeds=(0,),
        p=(1.0,),
        levels=(0.5,),
        baselines=(),
    )
    command.run(study)
    assert not (tmp_path / "overlap.csv").exists()
    (cell,) = cells(tmp_path)
    assert len(cell["rows"]) == 1
    with pytest.raises(ValueError, match="fine_tune"):
        make_study(features_file, tmp_path, dataset_settings=settings, fine_tune=True)


def test_flags_lie_over_the_file(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("p: [1, .inf]\nseeds: [4]\ndataset_settings: {rps: {selection: test-half}}\n")
    study = parse(["--config", str(file), "--seeds", "5", "6", "--protocol.epochs", "3"])
    assert study.p == (1.0, float("inf"))
    assert study.seeds == (5, 6)
    assert study.protocol.epochs == 3
    assert study.split_of("rps").selection == "test-half"
    assert study.split_of("other").selection == "holdout"


@pytest.mark.parametrize("name", ["paper", "embedded"])
def test_the_studies_that_come_along_are_valid(name):
    folder = Path(command.__file__).parent
    study = parse(["--config", str(folder / f"{name}.yaml")])
    assert len(study.datasets) == 3
    assert set(study.dataset_settings) <= set(study.datasets)
    assert set(study.backbones) <= set(backbones.available())


@pytest.mark.parametrize(
    ("text", "says"),
    [("p: [0.5]", "p.0"), ("levels: [1.0]", "levels.0"), ("norms: [1]", "norms"), ("7", "key")],
)
def test_an_impossible_study_is_refused(tmp_path, text, says):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=says):
        parse(["--config", str(file)])


def test_the_command_ends_with_a_sentence_and_status_2(tmp_path, capsys):
    assert command.main(["--datasets", str(tmp_path / "none.npz")]) == 2
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
