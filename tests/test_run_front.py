"""The default search, end to end: fresh splits, a front, a choice, and nothing seen of test."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from run_cases import interrupted_after

import evojax_prune
from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.core.outcome import Outcome
from evojax_prune.methods import search as searching
from evojax_prune.methods.choice import choose
from evojax_prune.methods.finalists import consensus_of
from evojax_prune.report.result import Result
from evojax_prune.search import SearchResult

QUICK = (
    *("--hidden", "8", "--population", "6", "--evaluations", "60", "--finalists", "3"),
    *("--search-protocol.epochs", "20", "--final-protocol.epochs", "60"),
)


def blobs(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that 9 of 12 features tell apart, the first three best."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 12))
    x[:, :9] += np.repeat([2, 1, 1], 3) * np.tile(np.eye(3), 3)[y]
    return x.astype(np.float32), y


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (x, y), (x_test, y_test) = blobs(150, 0), blobs(90, 1)
    path = tmp_path / "blobs.npz"
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


Run = Callable[..., Result]


@pytest.fixture
def run(table: Path, tmp_path: Path) -> Run:
    def run(*args: str, name: str = "results", data: Path = table) -> Result:
        words = ["--dataset", str(data), "--output", str(tmp_path / name), *QUICK, *args]
        assert command.main(words) == 0
        return Result.model_validate_json((tmp_path / name / "result.json").read_text())

    return run


def rows(file: Path) -> list[dict[str, str]]:
    with file.open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.usefixtures("pictures")
def test_a_front_is_found_and_one_head_of_it_is_taken(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run()
    assert result.search.strategy == "nsga2"
    assert result.search.objectives == ["cross-entropy", "size"]
    assert (result.dataset.train, result.dataset.selection) == (150, 0)
    assert result.search.evaluations == 60 >= result.search.genomes
    looks = [int(row["looks"]) for row in rows(tmp_path / "results" / "evaluations.csv")]
    assert sum(looks) == 60
    assert max(looks) > 1
    front = rows(tmp_path / "results" / "front.csv")
    assert [row["chosen"] for row in front].count("True") == 1
    assert len(front) == len(result.finalists) <= 3
    out = capsys.readouterr().out
    for word in ("dense", "random, best of", "evolved", "finalists", "training and selection"):
        assert word in out
    assert result.ranking is not None
    assert result.ranking.name in out
    assert set(result.metrics) == {"dense", "best"}
    assert result.metrics["best"].balanced_accuracy == pytest.approx(
        np.mean([value for value in result.metrics["best"].recall.values() if value is not None])
    )
    for picture in ("front.png", "convergence.png"):
        assert (tmp_path / "results" / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "asked",
    [(), pytest.param(("--compare", "--compare-fractions", "0.25"), marks=pytest.mark.slow)],
    ids=["search", "other ways"],
)
def test_nothing_depends_on_the_test_rows_but_the_scores_on_them(
    asked: tuple[str, ...], run: Run, table: Path, tmp_path: Path
) -> None:
    """The same training data with another test split: the same search, choice and head."""
    arrays = dict(np.load(table))
    x_test, y_test = blobs(90, 77)
    other = tmp_path / "other.npz"
    np.savez(other, **(arrays | {"x_test": 5 * x_test - 3, "y_test": y_test[::-1].copy()}))
    first, second = run(*asked, name="a"), run(*asked, name="b", data=other)
    for name in ("best_mask.npz",):
        a, b = (np.load(tmp_path / run_ / name)["genome"] for run_ in "ab")
        np.testing.assert_array_equal(a, b)

    def searched(folder: str) -> list[dict[str, str]]:
        found = rows(tmp_path / folder / "evaluations.csv")
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found]

    assert searched("a") == searched("b")
    for one, two in zip(first.finalists, second.finalists, strict=True):
        assert (one.genome, one.selection_accuracy) == (two.genome, two.selection_accuracy)
    assert bool(first.baselines) == bool(asked)
    for one, two in zip(first.baselines, second.baselines, strict=True):
        assert one.selection_accuracy is not None
        assert (one.active_fraction, one.selection_accuracy) == (
            two.active_fraction,
            two.selection_accuracy,
        )
    assert first.best.test_accuracy != second.best.test_accuracy


def test_an_interrupted_search_on_fresh_splits_goes_on_to_the_same_numbers(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(name="whole")

    with monkeypatch.context() as patched:
        patched.setattr(searching, "Evaluator", interrupted_after(3))
        words = ["--dataset", str(table), "--output", str(tmp_path / "results"), *QUICK]
        assert command.main(words) == 130
    resumed = run()
    assert resumed.search.resumed > 0
    assert resumed.finalists == whole.finalists
    assert resumed.best == whole.best


def test_telling_other_data_apart_is_an_objective(
    run: Run, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows between the classes score lower than the data's own, by a head that reads the signal."""
    between = np.random.default_rng(0).normal(scale=0.3, size=(60, 12)).astype(np.float32)
    for width in (12, 11):
        file = tmp_path / f"{width}.npz"
        np.savez(file, x_train=between[:, :width], y_train=np.arange(60) % 3)
    asked = ("--objectives", "cross-entropy", "ood", "--ood")
    result = run(*asked, str(tmp_path / "12.npz"))
    assert result.search.objectives == ["cross-entropy", "ood"]
    found = rows(tmp_path / "results" / "evaluations.csv")
    assert all(0 <= float(row["ood"]) <= 1 for row in found)
    assert max(float(row["ood"]) for row in found) > 0.7
    assert all(float(row["ood error"]) >= 0 for row in found)
    words = ["--dataset", str(table), "--output", str(tmp_path / "none"), *asked]
    assert command.main([*words, str(tmp_path / "11.npz")]) == 2
    assert "--ood has 11 features and the data set 12" in capsys.readouterr().err
    assert not list(tmp_path.glob("none*"))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fc1", "both"])
def test_units_are_searched_for_like_features(run: Run, mode: str) -> None:
    result = run("--mode", mode, "--hidden", "10", "8")
    assert result.best.active_units <= result.dense.active_units
    assert result.ranking is not None


@pytest.mark.slow
def test_a_search_of_one_objective_keeps_every_genome_at_the_size(run: Run) -> None:
    one = run("--objectives", "cross-entropy", "--size", "4")
    assert {head.active_units for head in one.finalists} == {4}


def test_a_size_is_kept_to(run: Run) -> None:
    front = run("--size", "2", name="front")
    assert max(head.active_units for head in front.finalists) <= 2
    assert front.best.test_accuracy > 0.5  # two of the four that matter


@pytest.mark.slow
def test_other_data_as_a_third_objective(run: Run, tmp_path: Path) -> None:
    x, y = blobs(60, 5)
    np.savez(tmp_path / "outside.npz", x_train=4 * x + 2, y_train=y)
    result = run(
        *("--objectives", "cross-entropy", "size", "ood"),
        *("--ood", str(tmp_path / "outside.npz")),
    )
    assert result.search.objectives[-1] == "ood"
    values = [float(row["ood"]) for row in rows(tmp_path / "results" / "evaluations.csv")]
    assert all(0 <= value <= 1.05 for value in values)  # estimates may pass 1 by a little


def test_recursive_elimination_as_a_method(table: Path, tmp_path: Path) -> None:
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), "--hidden", "8"]
    words += ["--method", "sensitivity", "--recursive", "--keep", "0.34"]
    assert command.main(words) == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["best_name"] == "recursive elimination"
    genome = np.load(tmp_path / "run" / "best_mask.npz")["genome"]
    assert set(np.flatnonzero(genome)) >= {0, 1, 2}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--objectives", "cross-entropy", "sise"), "unknown objective 'sise'"),
        (("--objectives", "size", "size"), "expected different names"),
        (("--strategy", "generational"), "searches for one objective"),
        (("--objectives", "cross-entropy", "ood"), "name it by --ood"),
        (("--ood", "digits"), "--ood does nothing without --objectives ood"),
        (("--objectives", "accuracy", "--choice", "knee"), "--choice does nothing"),
        (("--size-penalty", "0.1"), "--size-penalty does nothing"),
        (("--scale", "minmax"), "scale is minmax"),
        (("--margin", "1.5"), "margin is 1.5"),
    ],
)
def test_what_does_not_fit_is_refused(
    table: Path,
    tmp_path: Path,
    args: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--dataset", str(table), "--output", str(tmp_path / "run"), *QUICK, *args]
    assert command.main(words) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def _head(parameters: int, selection: float) -> Outcome:
    genome, right = np.ones(2, bool), np.ones((1, 4), bool)
    return Outcome(genome, (), selection, right, 1, parameters, 1, 0.1)


def test_choices() -> None:
    dense = _head(1000, 0.80)
    heads = [_head(10, 0.60), _head(50, 0.79), _head(200, 0.81), _head(400, 0.805)]
    assert choose("best", dense, heads, 400).parameters == 200
    assert choose("smallest", dense, heads, 300).parameters == 50  # one error is 0.0226
    assert choose("smallest", dense, heads, 40_000).parameters == 200
    assert choose("knee", dense, heads, 400).parameters == 50
    assert choose("knee", dense, [_head(1000, 0.8), _head(1000, 0.85)], 400).selection == 0.85
    equally_small = [_head(10, 0.3), _head(10, 0.6), _head(50, 0.7)]
    assert choose("knee", dense, equally_small, 400).parameters == 50  # above the better one's line
    assert choose("smallest", _head(1000, 0.95), heads, 400).parameters == 200  # only dense is best


def test_a_consensus_of_each_finalists_size_is_a_finalist_too(run: Run) -> None:
    alone = {head.genome: head.active_units for head in run(name="alone").finalists}
    both = {h.genome: h.active_units for h in run("--consensus", name="both").finalists}
    assert alone.items() < both.items()
    assert {*both.values()} == {*alone.values()}


@pytest.mark.parametrize(("few", "agreed"), [(9, [2, 3]), (10, [0, 1])])
def test_a_consensus_is_that_of_enough_members_of_about_its_size(
    few: int, agreed: list[int]
) -> None:
    genomes = np.zeros((few + 12, 12), bool)
    genomes[:few, :2] = genomes[few:, 2:10] = True
    everyone = np.arange(len(genomes))
    result = SimpleNamespace(active=genomes.sum(1), population=everyone, rows=genomes.__getitem__)
    assert np.flatnonzero(consensus_of(cast(SearchResult, result), 2)).tolist() == agreed


def test_arrays_are_pruned_without_a_file(tmp_path: Path) -> None:
    x, y = blobs(120, 0)
    names = np.array(["cat", "dog", "eel"])[y]
    settings = {"size": 2, "population": 6, "evaluations": 24}
    pruned = evojax_prune.prune(x.astype(np.float64), names, hidden=[8], **settings)
    assert max(head.active_units for head in pruned.result.finalists) <= 2
    assert pruned.problem.splits[0].classes == ("cat", "dog", "eel")
    assert pruned.head.predict(x).shape == (120,)
    pruned.save(tmp_path / "saved")
    assert evojax_prune.load(tmp_path / "saved").predict(x[:3]).tolist() == list(
        np.array(["cat", "dog", "eel"])[pruned.head.predict(x[:3])]
    )
    with pytest.raises(UserError, match="backbone does nothing for features in memory"):
        evojax_prune.prune(x, y, backbone="resnet50")
    with pytest.raises(UserError, match="a configuration alone"):
        evojax_prune.prune(evojax_prune.RunConfig(), y)


@pytest.mark.slow
def test_groups_of_arrays_are_not_split() -> None:
    x, y = blobs(120, 0)
    groups = np.arange(120) // 6
    settings = {"hidden": [6], "population": 4, "evaluations": 12, "finalists": 1}
    pruned = evojax_prune.prune(x, y, groups=groups, **settings)
    train = {row.tobytes() for row in pruned.problem.scalings[0].apply(x)}
    test = [row.tobytes() in train for row in pruned.problem.splits[0].test.x]
    assert all(test)  # rows of x
    rows_of = {row.tobytes(): i for i, row in enumerate(pruned.problem.scalings[0].apply(x))}
    inside = {groups[rows_of[row.tobytes()]] for row in pruned.problem.splits[0].train.x}
    outside = {groups[rows_of[row.tobytes()]] for row in pruned.problem.splits[0].test.x}
    assert not inside & outside
