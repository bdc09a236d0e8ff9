"""Runs of a sweep: skipped, retried, killed, hanging, and the same as single runs."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from sweep_acting import WAYS, act
from sweep_cases import Here, blobs, contents, sweep_file

from evojax_prune.cli import main as command
from evojax_prune.core import errors
from evojax_prune.core.errors import UserError
from evojax_prune.methods import dense, shared
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.observer import Observer
from evojax_prune.methods.problem import Problem
from evojax_prune.run.config import validated
from evojax_prune.run.data import load_problem
from evojax_prune.run.run import prune
from evojax_prune.sweep import page, worker
from evojax_prune.sweep.file import load_sweep
from evojax_prune.sweep.local import LocalExecutor
from evojax_prune.sweep.plan import SweepPlan, make_plan
from evojax_prune.sweep.run import Executor, SweepOutcome, run_sweep, seconds_left
from evojax_prune.sweep.task import Task


def plan_of(folder: Path, text: str, timeout: float | None = None) -> SweepPlan:
    sweep = load_sweep(sweep_file(folder, text))
    return make_plan(sweep, folder / "out", "small", timeout=timeout)


def swept(plan: SweepPlan, executor: Executor) -> SweepOutcome:
    return run_sweep(plan, "# the file", executor, Observer())


def test_processes_that_fail_die_or_hang_stop_nobody_else(tmp_path: Path) -> None:
    ways = ", ".join(f"{way}: {{margin: 0.{i + 1}}}" for i, way in enumerate(WAYS))
    plan = plan_of(tmp_path, f"variants: {{way: {{{ways}}}}}\n", timeout=1.5)
    outcome = swept(plan, LocalExecutor(2, act))
    name = {task.labels["way"]: task.name for task in plan.tasks}
    assert {way: outcome.attempts[name[way]] for way in WAYS} == {
        "fine": 1, "stumbles": 2, "fails": 2, "dies": 2, "hangs": 1,
    }  # fmt: skip
    assert {n: e.status for n, e in outcome.failed.items()} == {
        name["fails"]: "failed",
        name["hangs"]: "timed out",
    }
    assert outcome.failed[name["fails"]].sentence == "it fails"
    hanging = next(task for task in plan.tasks if task.labels["way"] == "hangs")
    assert "in acting" in hanging.log.read_text()  # the watchdog says where it hung
    assert not list(plan.folder.glob("runs/*.partial"))
    finished = [task.labels["way"] for task in plan.tasks if task.finished]
    assert finished == ["fine", "stumbles", "dies"]


def test_a_sweep_is_its_single_runs_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = sweep_file(tmp_path, "grid: {margin: [0.02], seed: [0, 1, 2]}\n")
    plan = make_plan(load_sweep(file), tmp_path / "out", "small")
    here = Here()
    with monkeypatch.context() as patch:
        stopped = plan.tasks[1]

        def stop(task: Task) -> worker.Ended:
            if task.name == stopped.name:
                raise KeyboardInterrupt
            return worker.work(task)

        patch.setattr("sweep_cases.work", stop)
        with pytest.raises(KeyboardInterrupt):
            swept(plan, here)
    assert seconds_left(plan, 1) > 0
    outcome = swept(plan, rest := Here())
    assert (outcome.skipped, outcome.failed) == (1, {})
    assert rest.asked == [task.name for task in plan.tasks[1:]]

    for task in plan.tasks[1:2]:
        single = tmp_path / "single" / task.name
        prune(task.config.model_copy(update={"output": single}))
        assert contents(single) == contents(task.folder)

    page.write_all(plan, outcome.failed)
    assert {entry.name for entry in plan.folder.iterdir()} >= {
        "runs", "logs", "runs.csv", "table.csv", "accuracy.png", "sweep.html", "sweep.yaml",
    }  # fmt: skip
    with (plan.folder / "runs.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(r["margin"], r["seed"], r["status"]) for r in rows] == [
        ("0.02", str(t.config.seed), "done") for t in plan.tasks
    ]
    capsys.readouterr()
    assert command.main(["sweep", str(file), "--output", str(plan.folder), "--by", "seed"]) == 0
    out, err = capsys.readouterr()
    assert "3 runs, 3 of them finished" in err
    assert "3 of 3 runs are finished" in out


def test_other_data_are_another_run(tmp_path: Path) -> None:
    text = "grid: {seed: [0]}\n"
    first = plan_of(tmp_path, text)
    assert swept(first, Here()).failed == {}
    blobs(tmp_path / "blobs.npz", seed=1)
    ended = worker.work(first.tasks[0])
    assert ended.status == "done"  # finished is finished
    second = plan_of(tmp_path, text)
    assert second.tasks[0].folder != first.tasks[0].folder
    blobs(tmp_path / "blobs.npz", seed=2)
    ended = worker.work(second.tasks[0])
    assert ended.status == "failed"
    assert "has changed since the sweep began" in ended.sentence


def test_a_plugin_that_leaves_the_process_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(_: Task) -> None:
        sys.exit(0)

    monkeypatch.setattr(worker, "_run", leave)
    monkeypatch.setitem(errors.PLUGINS, __file__, "mine.py (method mine)")
    (task,) = plan_of(tmp_path, "grid: {seed: [0]}\n").tasks
    ended = worker.work(task)
    assert ended.status == "failed"
    assert "the plugin mine.py (method mine) failed in line" in ended.sentence
    assert ended.sentence.endswith(f"{task.log} has the traceback")
    assert "SystemExit: 0" in task.log.read_text()


@pytest.mark.parametrize("place", ["runs", "logs", "runs/{name}"])
def test_a_sweep_does_not_write_where_links_lead(tmp_path: Path, place: str) -> None:
    plan = plan_of(tmp_path, "grid: {seed: [0]}\n")
    link = plan.folder / place.format(name=plan.tasks[0].name)
    link.parent.mkdir(parents=True)
    (elsewhere := tmp_path / "elsewhere").mkdir()
    link.symlink_to(elsewhere)
    with pytest.raises(UserError, match="is a link, but a sweep writes into folders of its own"):
        swept(plan, Here())
    assert not any(elsewhere.iterdir())


def test_a_sweep_keeps_another_out(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "grid: {seed: [0]}\n")

    class Nested(Here):
        def run(self, tasks):  # type: ignore[no-untyped-def]
            with pytest.raises(UserError, match="another sweep is writing"):
                swept(plan, Here())
            yield None

    assert swept(plan, Nested()).attempts == {}


def test_runs_share_a_dense_head_where_it_sees_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = blobs(tmp_path / "blobs.npz")
    trained = []

    def final_fits(problem: Problem, *_: object) -> str:
        trained.append(problem)
        return f"fits {len(trained)}"

    monkeypatch.setattr(Problem, "final_fits", final_fits)
    monkeypatch.setattr(Problem, "judged", lambda *_: ["outcome"])
    monkeypatch.setattr(dense, "best_outcome", lambda outcomes: outcomes[0])

    def fits(**settings: object) -> object:
        config = validated({"dataset": str(data), "hidden": [6], **settings})
        return dense.dense_head(load_problem(config), Observer())[0]

    assert (fits(), fits()) == ("fits 1", "fits 2")  # a run of its own shares nothing
    try:
        shared.share(2, 0)
        assert (fits(), fits(population=8)) == ("fits 3", "fits 3")
        assert fits(method="sensitivity") == "fits 3"
        different = [
            {"seed": 1}, {"hidden": [7]}, {"grain": "connections", "init": "random"},
            {"scale": "l2"}, {"selection_fraction": 0.4}, {"final_protocol": {"epochs": 3}},
            {"selection": "holdout"},
        ]  # fmt: skip
        assert [fits(**one) for one in different] == [f"fits {i}" for i in range(4, 11)]
        assert fits() == "fits 11"  # only the last ones are kept
        blobs(data, seed=1)
        assert fits() == "fits 12"
    finally:
        shared.share(0, 0)


def test_searches_share_populations_where_their_beginnings_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = blobs(tmp_path / "blobs.npz")
    common = {
        "dataset": str(data), "hidden": [6], "search_protocol": {"epochs": 2},
        "final_protocol": {"epochs": 3}, "population": 4, "finalists": 2, "init": "random",
        "strategy": "generational", "objectives": ["cross-entropy"],
    }  # fmt: skip
    trained = []
    train = Evaluator._train

    def counted(evaluator: Evaluator, genomes: np.ndarray, occasion: int | None) -> object:
        trained.append(len(genomes))
        return train(evaluator, genomes, occasion)

    monkeypatch.setattr(Evaluator, "_train", counted)

    def evaluations(**settings: object) -> tuple[int, object]:
        trained.clear()
        found = prune(validated({**common, "evaluations": 12, **settings}))
        rows = found.found.trials
        return sum(trained), (rows.hashes, rows.values.tolist(), rows.active.tolist())

    alone, _ = evaluations()
    try:
        shared.share(2, 20)
        first = evaluations()
        assert first[0] == alone
        assert evaluations() == (0, first[1])
        assert evaluations(margin=0.1) == (0, first[1])
        masks, same = evaluations(finalists=1)
        assert same == first[1]
        assert masks <= 12 < alone  # at most the random masks, of another size
        assert evaluations(seed=1)[0] == alone
        assert evaluations(objectives=["accuracy"])[0] == alone
        assert evaluations(search_protocol={"epochs": 3})[0] == alone
        longer = evaluations(evaluations=20)
        shared.share(0, 0)
        whole = evaluations(evaluations=20)
        assert whole[1] == longer[1]
        assert longer[0] <= whole[0] - 8
    finally:
        shared.share(0, 0)
