"""The paper's experiments, each on a small features file; runs are kept and not run twice."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from evojax_prune.methods.problem import Problem
from experiments import (
    backbones,
    baselines,
    bridge,
    cka,
    classes,
    convergence,
    models,
    published,
    statistics,
    summary,
)
from experiments.harness import command, runs, tables

QUICK = [
    "--hidden", "6", "--evaluations", "9", "--population", "4", "--finalists", "2",
    "--search-protocol.epochs", "2", "--final-protocol.epochs", "3",
    "--final-protocol.learning-rate", "0.01", "--modes", "features",
]  # fmt: skip


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Flags for a small run, whose results all tests here share."""
    rng = np.random.default_rng(0)

    def part(rows: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(rows, dtype=np.int32) % 3
        x = rng.normal(size=(rows, 12)).astype(np.float32)
        x[:, :3] += 2 * np.eye(3, dtype=np.float32)[y]
        return x, y

    folder = tmp_path_factory.mktemp("experiments")
    (x, y), (x_test, y_test) = part(60), part(30)
    np.savez(folder / "small.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return ["--dataset", str(folder / "small.npz"), "--home", str(folder / "home"), *QUICK]


def home(words: list[str]) -> Path:
    return Path(words[words.index("--home") + 1])


def rows_of(folder: Path) -> list[dict[str, str]]:
    (file,) = folder.glob("*.csv")
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_models_runs_once_and_tells_what_it_ran(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.main([*words, "--seeds", "0", "1"]) == 0
    folder = home(words) / "models"
    first = rows_of(folder)
    assert len(first) == 2 * 3
    text = next(folder.glob("*.md")).read_text(encoding="utf-8")
    assert "60 training" not in text
    assert "48 training, 12 selection, 30 test rows" in text
    assert "| Feature selection | Accuracy (test) |" in text
    assert "at most 2 epochs at 0.01 in the search, at most 3 epochs at 0.01 for the tables" in text
    assert "--seeds 0 1`" in text
    assert "--modes features" in text
    assert next(folder.glob("*.png")).read_bytes().startswith(b"\x89PNG")

    def never(*_: object) -> None:
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(runs, "_run", never)
    assert models.main([*words, "--seeds", "0", "1"]) == 0
    assert rows_of(folder) == first
    assert capsys.readouterr().out.count("Feature selection") == 2


@pytest.mark.slow
def test_baselines_then_statistics(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--seeds", "0", "1", "--fractions", "--masks", "2"]
    assert baselines.main([*words, *few]) == 0
    rows = rows_of(home(words) / "baselines")
    assert {r["head"] for r in rows} >= {"dense", "evolved", "polynomial decay", "random forest"}
    (text,) = (f.read_text(encoding="utf-8") for f in (home(words) / "baselines").glob("*.md"))
    assert "| Mode | Measure | Weight | Poly. decay | Neuron | Evolved |" in text

    assert statistics.main(["--home", str(home(words))]) == 0
    tests = rows_of(home(words) / "statistics")
    assert {r["pairs"] for r in tests} == {"2"}
    one = next(r for r in tests if r["head"] == "dense")
    evolved, dense = (
        {r["seed"]: float(r["test_accuracy"]) for r in rows if r["head"] == head}
        for head in ("evolved", "dense")
    )
    mean = np.mean([evolved[s] - dense[s] for s in evolved])
    assert float(one["difference"]) == pytest.approx(mean)

    capsys.readouterr()
    assert summary.main(["--home", str(home(words))]) == 0
    cells = [c.strip() for c in capsys.readouterr().out.splitlines()[2].split("|")]
    ahead = sum(evolved[s] > dense[s] for s in evolved)
    assert cells[4] == f"{np.mean(list(dense.values())):.3f} ({ahead}/2)"
    for reader in (summary, statistics):
        assert reader.main(["--home", str(home(words)), "--tables", "none"]) == 2
    assert "no table none" in capsys.readouterr().err


def test_backbones_and_convergence(words: list[str]) -> None:
    few = ["--seeds", "0", "--backbones", "efficientnet-lite0"]
    assert backbones.main([*words, *few]) == 0
    assert {r["backbone"] for r in rows_of(home(words) / "backbones")} == {"efficientnet-lite0"}
    assert convergence.main([*words, "--seeds", "0", "1"]) == 0
    best = [r for r in rows_of(home(words) / "convergence") if r["seed"] == "1"]
    assert len(best) == 9
    fitness = [float(r["best_fitness"]) for r in best]
    assert fitness == sorted(fitness)


@pytest.mark.slow
def test_bridge_keeps_its_searches_and_pools_data_sets(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bridge.main([*words, "--seeds", "1"]) == 0
    folder = home(words) / "bridge"
    rows = rows_of(folder)
    assert [(r["seed"], r["variant"]) for r in rows] == [("1", v) for v in bridge.VARIANTS]
    for row in rows:
        ends = [float(row[f"fitness at {share:.0%}"]) for share in bridge.SHARES]
        assert ends == sorted(ends)
        assert ends[-1] == float(row["best_fitness"])
    gain = float(rows[3]["best_fitness"]) - float(rows[0]["best_fitness"])
    (text,) = (file.read_text(encoding="utf-8") for file in folder.glob("*.md"))
    assert f"| fitness | both | 1 | {gain:+.4f} |" in text

    monkeypatch.setattr(bridge, "searched", lambda _: pytest.fail("searched again"))
    (file,) = folder.glob("*.csv")
    other = folder / "other.csv"
    other.write_text(file.read_text().replace(rows[0]["dataset"], "other"))
    capsys.readouterr()
    assert bridge.main([*words, "--seeds", "1", "--pool", str(other)]) == 0
    assert f"| fitness | both | 2 | {gain:+.4f} |" in capsys.readouterr().out
    other.unlink()


def test_cka_of_the_best_head(words: list[str]) -> None:
    assert cka.main([*words, "--seeds", "0"]) == 0
    rows = rows_of(home(words) / "cka")
    assert {(r["kernel"], r["estimator"]) for r in rows} == {
        (k, e) for k in ("rbf", "linear") for e in ("biased", "unbiased")
    }
    assert {r["of"] for r in rows} == {"weights of layer 1", "activations"}
    for row in rows:
        assert 0 < float(row["hamming_closest"]) <= float(row["hamming_dense"]) < 1
        assert float(row["cka_closest"]) <= 1 + 1e-6


def test_classes_are_added(words: list[str]) -> None:
    assert classes.main([*words, "--seeds", "0", "--part", "added"]) == 0
    rows = rows_of(home(words) / "classes")
    assert list(dict.fromkeys(r["part"] for r in rows)) == ["+ 1", "+ 2"]
    assert [r["variant"] for r in rows] == ["only 0, 1", "only 0, 1", "", ""]
    assert [r["head"] for r in rows[:2]] == ["evolved", "not pruned"]


def test_parts_of_the_data(words: list[str]) -> None:
    def parts(*more: str) -> dict[str, tuple[int, int]]:
        asked = command.parse("classes", "", [*words, *more], add=classes.add_flags)
        whole = runs.load(asked.base).splits[0]
        cut = {line: v.cut(whole) for line, v in classes.variants(asked).items()}
        return {line: (len(s.classes), len(s.train)) for line, s in cut.items()}

    assert parts("--part", "left-out") == dict.fromkeys("012", (2, 32)) | {"": (3, 48)}
    shares = {f"{s}%": (3, 32 + round(16 * s / 100)) for s in (20, 40, 60, 80, 100)}
    assert parts("--part", "shares", "--class", "1") == shares


def test_a_stopped_run_goes_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = command.parse("models", "", [*words, "--seeds", "5"])
    with monkeypatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Problem, "refit", stop)
        assert models.main([*words, "--seeds", "5"]) == 130
    run = asked.run("features", 5)
    assert run.result["search"]["resumed"] == 9
    searched = run.searched()
    assert searched["genomes"].shape == (9, 12)
    assert (searched["genomes"] == run.genome).all(1).any()


def test_what_an_experiment_sets_itself_is_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert models.main([*words, "--seed", "3"]) == 2
    assert "--seed is set by the experiment" in capsys.readouterr().err
    assert classes.main([*words, "--part", "shares", "--class", "zebra"]) == 2
    assert "expected one of" in capsys.readouterr().err
    assert statistics.main(["--home", "/nonexistent"]) == 2


def test_published_figures_are_figures() -> None:
    for table in (published.PRUNING, published.BACKBONES):
        for name, modes in table.items():
            assert name in published.NAMES.values()
            for figures in modes.values():
                assert all(0 < f < 1 for f in figures[:4] if f is not None)
                assert 10 < figures.active < 100
    assert published.with_backbone("RPS", "resnet50") == published.PRUNING["RPS"]["features"]
    assert published.with_backbone("RPS", "vgg19").evolved == 0.982
    assert published.with_backbone("cifar10", "vgg19") is None


def test_a_table_is_markdown() -> None:
    text = tables.markdown(["a", "b", "c"], [["1", "2", "3"]])
    assert text == "| a | b | c |\n| --- | --- | ---: |\n| 1 | 2 | 3 |\n"
