"""A sweep file becomes runs, or every mistake in it a sentence."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sweep_cases import blobs, sweep_file

from evojax_prune.cli import main as command
from evojax_prune.core.errors import UserError
from evojax_prune.run import data as run_data
from evojax_prune.run.config import validated
from evojax_prune.run.data import run_digest
from evojax_prune.sweep.file import (
    MistakesError,
    SweepFile,
    axes_of,
    flat,
    load_sweep,
    nested,
    points_of,
)
from evojax_prune.sweep.plan import SweepPlan, make_plan


def plan_of(tmp_path: Path, text: str, **more: object) -> SweepPlan:
    return make_plan(load_sweep(sweep_file(tmp_path, text)), tmp_path / "out", "small", **more)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(MistakesError) as caught:
        plan_of(tmp_path, text)
    return caught.value.sentences


def test_grid_groups_and_variants_multiply(tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        """
variants:
  way:
    one: {objectives: [accuracy]}
    guided: {init: sensitivity, final_protocol: {epochs: 5}}
zip:
  - {population: [4, 5], evaluations: [9, 11]}
grid:
  seed: [0, 1, 2]
  search_protocol.epochs: [2, 3]
""",
    )
    assert plan.columns == ("way", "population", "evaluations", "seed", "search_protocol.epochs")
    assert plan.by == ("way", "population", "evaluations", "search_protocol.epochs")
    found = {
        (
            task.labels["way"],
            c.population,
            c.evaluations,
            c.seed,
            c.search_protocol.epochs,
            c.init,
            c.final_protocol.epochs,
        )
        for task in plan.tasks
        for c in [task.config]
    }
    wanted = itertools.product(
        [("one", "random", 3), ("guided", "sensitivity", 5)], [(4, 9), (5, 11)], range(3), (2, 3)
    )
    assert found == {(w[0], *z, seed, e, w[1], w[2]) for w, z, seed, e in wanted}
    assert len(plan.tasks) == len({task.folder for task in plan.tasks}) == 24
    assert [task.config.seed for task in plan.tasks] == sorted([0, 1, 2] * 8)


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(), min_size=1, max_size=3)),
    st.integers(1, 3),
)
def test_every_combination_once(grid: dict[str, list[int]], length: int) -> None:
    """Against itertools, with fields that no configuration has."""
    sweep = SweepFile(grid={k: tuple(dict.fromkeys(v)) for k, v in grid.items()})
    from evojax_prune.sweep.file import _list_axis

    axes = [_list_axis({name: values}) for name, values in sweep.grid.items()]
    axes.append(_list_axis({"x": tuple(range(length)), "y": tuple(range(length))}))
    found = [point.settings for point in points_of(SweepFile(), axes)]
    names = [*sweep.grid, "x"]
    rows = itertools.product(*sweep.grid.values(), range(length))
    assert found == [dict(zip(names, row, strict=True)) | {"y": row[-1]} for row in rows]


def test_dots_and_groups_are_one(tmp_path: Path) -> None:
    given = {"final_protocol": {"epochs": 3}, "strategy_options": {"a": 1}, "seed": 2}
    assert flat(given) == {
        "final_protocol.epochs": 3,
        "strategy_options": {"a": 1},
        "seed": 2,
    }
    assert nested(flat(given)) == given


def test_a_file_without_axes_is_one_run(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "")
    assert len(plan.tasks) == 1
    assert plan.by == ("dataset",)


def test_names_tell_of_settings_data_and_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = blobs(tmp_path / "a.npz")
    config = validated({"dataset": str(file)})
    first = run_digest(config)
    assert run_digest(validated({"dataset": str(file), "output": "elsewhere"})) == first
    assert run_digest(validated({"dataset": str(file), "seed": 1})) != first
    with monkeypatch.context() as patch:
        patch.setattr(run_data, "__version__", "9")
        assert run_digest(config) != first
    blobs(file, seed=1)
    assert run_digest(config) != first
    blobs(file)
    assert run_digest(config) == first


WRONG = {
    "popultion: 3": ["unknown key 'popultion'"],
    "seed: [1]": ["seed stands alone"],
    "grid: {seed: 3}": ["grid.seed is 3, expected a list"],
    "grid: {seed: []}": ["seed in grid is an empty list"],
    "grid: {seed: [1, 1]}": ["seed in grid has 1 twice"],
    "grid: {sede: [1]}": ["unknown field 'sede' in grid, did you mean 'seed'?"],
    "grid: {final_protocol.epoch: [1]}": ["'final_protocol.epoch' in grid, did you mean 'epochs'?"],
    "grid: {seed.x: [1]}": ["seed has no fields of its own"],
    "grid: {output: [a]}": ["grid sets output, which the sweep sets itself"],
    "grid: {plugin: [[a.py]]}": ["grid sets plugin: put it below base"],
    "zip: [{}]": ["zip group 1 is empty"],
    "zip: [{seed: [1, 2], folds: [3]}]": ["zip group 1 have unequal lengths (seed 2, folds 1)"],
    "zip: {seed: [1]}": ["zip is {'seed': [1]}, expected a list"],
    "variants: {way: {}}": ["way in variants is empty"],
    "variants: {way: [a, b]}": ["variants.way is ['a', 'b'], expected names with values"],
    "variants: {way: {on: {seed: 1}}}": [
        "variants.way has the name True, which is not text: write it"
    ],
    "output: ''": ["output is '', expected a path"],
    "variants: {'a b': {x: {seed: 1}}}": ["expected a name of letters"],
    "variants: {status: {x: {seed: 1}}}": ["status, which is a column of the results"],
    "variants: {way: {x: {sede: 1}}}": ["unknown field 'sede' in way 'x' of variants"],
    "variants: {way: {x: {seed: 1}}}\ngrid: {seed: [2]}": ["seed is set by both way and seed"],
    "variants: {seed: {x: {folds: 3}}}\ngrid: {seed: [2]}": ["two axes are called seed"],
    "variants: {w: {x: {final_protocol: {epochs: 1}}}}\ngrid: {final_protocol.epochs: [2]}": [
        "final_protocol.epochs is set by both w and final_protocol.epochs"
    ],
    "variants: {way: {x: {seed: 1}, y: {seed: 1}}}": ["way x and way y are the same run"],
    "variants: {way: {x: {}, y: {seed: 0}}}": ["way x and way y are the same run"],
    "grid: {seed: [0, -1, true]}": ["seed is -1, expected at least 0 (in 1 run)", "seed is true"],
    "grid: {mode: [fc3, features], seed: [0, 1]}": ["mode is fc3", "(in 2 runs)"],
    "grid: {strategy: [nsga2, foo]}": ["foo"],
    "grid: {mode: [both]}": ["--hidden does not suit"],
    "grid: {dataset: [nowhere, other.npz]}": ["'nowhere'", "other.npz"],
    "by: [nothing]": ["unknown field 'nothing' in by"],
    "timeout: 0": ["timeout is 0, expected more than 0"],
    f"grid: {{seed: {list(range(20001))}}}": ["20,001 runs, expected at most 20,000"],
}


@pytest.mark.parametrize("text", WRONG)
def test_a_mistake_is_told_in_a_sentence(tmp_path: Path, text: str) -> None:
    if len(text) > 10_000:
        sweep = SweepFile(grid={"seed": tuple(range(20001))})
        with pytest.raises(MistakesError, match="20,001 runs, expected at most 20,000"):
            axes_of(sweep)
        return
    found = mistakes(tmp_path, text)
    for part in WRONG[text]:
        assert any(part in sentence for sentence in found), found
    assert not any("\n" in sentence for sentence in found)


def test_all_mistakes_are_told_at_once_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sweep_file(tmp_path, "grid: {mode: [], sede: [1]}\nzip: [{}]\n")
    out = tmp_path / "out"
    assert command.main(["sweep", str(file), "--output", str(out)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("error: ")]) == 3
    assert said[-1] == "3 mistakes; nothing was run"
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--executor", "foo"], "expected one of local, ray, slurm"),
        (["--workers", "0"], "--workers is 0"),
        (["--cpus", "2"], "--cpus does nothing without --executor ray or slurm"),
        (["--tpus", "1", "--executor", "slurm"], "--tpus does nothing without --executor ray"),
        (["--timeout", "nan"], "--timeout is nan"),
        (["--nonsense"], "unknown flag --nonsense"),
        (["--output", "small.yaml"], "is a file, expected a folder"),
        (["--output", "."], "holds something else than a sweep"),
        (["--executor", "slurm", "--slurm", "partition"], "expected NAME=VALUE"),
        (["--plugin", "nowhere.py"], "nowhere.py"),
    ],
)
def test_a_wrong_word_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    if "--slurm" in words and importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed")
    sweep_file(tmp_path, "grid: {seed: [0]}")
    monkeypatch.chdir(tmp_path)
    assert command.main(["sweep", "small.yaml", *words]) == 2
    assert said in capsys.readouterr().err
    assert {entry.name for entry in tmp_path.iterdir()} == {"small.yaml", "blobs.npz"}


def test_a_folder_is_not_a_sweep_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["sweep", str(tmp_path)]) == 2
    assert command.main(["sweep", str(tmp_path / "none.yaml")]) == 2
    err = capsys.readouterr().err
    assert "it is a folder" in err
    assert "No such file" in err


def test_a_dry_run_counts_and_estimates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sweep_file(tmp_path, "grid: {seed: [0, 1, 2]}\n")
    out = tmp_path / "out"
    assert command.main(["sweep", str(file), "--output", str(out), "--dry-run"]) == 0
    said = capsys.readouterr().err
    assert "small: 3 runs; about " in said
    assert not out.exists()
    assert command.main(["sweep", str(file), "--output", str(tmp_path), "--dry-run"]) == 2
    assert "holds something else than a sweep" in capsys.readouterr().err


def test_a_longer_run_is_expected_to_take_longer(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "grid: {final_protocol.epochs: [4, 4000]}\n")
    short, long = (task.expected for task in plan.tasks)
    assert long > short + 1


def test_missing_extras_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from evojax_prune.sweep.on_ray import RayExecutor
    from evojax_prune.sweep.on_slurm import SlurmExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install 'evojax-prune\[ray\]'"):
        RayExecutor(print)
    with pytest.raises(UserError, match=r"pip install 'evojax-prune\[slurm\]'"):
        SlurmExecutor(print, None, tmp_path)
