"""Tables of a sweep: against NumPy and SciPy, with ties and with runs that failed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest
from pydantic import BaseModel
from scipy import stats
from sweep_cases import sweep_file

from evojax_prune.core.errors import UserError
from evojax_prune.report.result import FinalistResult, HeadResult, Result
from evojax_prune.run.config import RunConfig
from evojax_prune.run.store import MARK
from evojax_prune.sweep import page
from evojax_prune.sweep.file import COLUMNS, load_sweep
from evojax_prune.sweep.plan import SweepPlan, make_plan
from evojax_prune.sweep.results import contests_of, csv_text, groups_of, make_rows
from evojax_prune.sweep.run import seconds_left
from evojax_prune.sweep.worker import Ended

WAYS = {"one": 0.0, "two": 0.05}


def filled(kind: Any) -> Any:
    """Some value of a type; of a model, all its fields as plain data."""
    if isinstance(kind, type) and not get_args(kind) and issubclass(kind, BaseModel):
        return {
            name.rstrip("_"): filled(field.annotation) for name, field in kind.model_fields.items()
        }
    if get_origin(kind) is tuple:
        return [filled(part) for part in get_args(kind)]
    return (get_origin(kind) or kind)() if type(None) not in get_args(kind) else None


def head(accuracy: float, units: int) -> dict[str, Any]:
    return filled(HeadResult) | {
        "test_accuracy": accuracy,
        "selection_accuracy": accuracy,
        "active_units": units,
        "active_fraction": units / 12,
        "parameters": 10 * units,
        "parameter_fraction": units / 12,
        "optimism": 0.0,
    }


def finished(plan: SweepPlan, accuracy: dict[str, float]) -> None:
    """Results as runs would have left them."""
    for task in plan.tasks:
        if task.name in accuracy:
            task.folder.mkdir(parents=True)
            value = accuracy[task.name]
            result = {
                "dense": head(0.7, 12),
                "random": head(0.5, 4) | {"masks": 1},
                "ranking": None,
                "best": head(value, 4),
                "finalists": [
                    filled(FinalistResult) | head(*at) for at in ((value, 4), (value - 0.1, 2))
                ],
                "selected_on_test": False,
                "wall_seconds": 2.0,
                "config": task.config.repeatable(),
            }
            (task.folder / MARK).write_text(json.dumps(filled(Result) | result))


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    text = (
        "variants: {way: {one: {objectives: [accuracy]}, '<b>two': {init: sensitivity}}}\n"
        "zip: [{population: [4, 5], evaluations: [9, 11]}]\ngrid: {seed: [0, 1, 2]}\n"
        "by: [way]\n"
    )
    (tmp_path / "out").mkdir()
    return make_plan(load_sweep(sweep_file(tmp_path, text)), tmp_path / "out", "<i>small")


DAMAGED = [
    b"",
    b"{}",
    b"[]",
    b"\xff",
    (b'"test_accuracy": 0.8', b'"test_accuracy": Infinity'),
    (b'"test_accuracy": 0.8', b'"test_accuracy": NaN'),
    (b'"test_accuracy": 0.8', b'"test_accuracy": 2.0'),
    (b'"test_accuracy": 0.8', b'"test_accuracy": "0.8"'),
    (b'"active_units": 4', b'"active_units": %d' % 10**30),
    (b'"seed": 0', b'"seed": 1'),
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_result_is_named(plan: SweepPlan, damage: Any) -> None:
    name = plan.tasks[0].name
    finished(plan, {name: 0.8})
    file = plan.tasks[0].folder / MARK
    content = file.read_bytes()
    file.write_bytes(damage if isinstance(damage, bytes) else content.replace(*damage))
    for use in (lambda: make_rows(plan, {}), lambda: seconds_left(plan, 1)):
        with pytest.raises(UserError, match=r"result\.json is not the result of a run") as said:
            use()
        assert len(str(said.value)) < 600


def test_groups_have_means_spreads_and_paired_tests(plan: SweepPlan) -> None:
    rng = np.random.default_rng(0)
    accuracy = {task.name: round(float(rng.uniform(0.5, 0.9)), 3) for task in plan.tasks}
    finished(plan, accuracy)
    rows = make_rows(plan, {})
    one, two = groups_of(rows, plan.by)
    assert (one.values, one.runs, two.runs) == (("one",), 6, 6)
    own = np.array([accuracy[t.name] for t in plan.tasks if t.labels["way"] == "one"])
    assert one.heads["pruned"].mean == pytest.approx(own.mean())
    assert one.heads["pruned"].sd == pytest.approx(own.std(ddof=1))
    assert one.heads["ranking"].n == 0
    assert one.tests["dense"].t_p == pytest.approx(stats.ttest_1samp(own - 0.7, 0).pvalue)
    assert "ranking" not in one.tests

    (contest,) = contests_of(plan, rows, plan.by)
    (test,) = contest.tests
    assert (contest.first, test.name, test.pairs) == ("one", "<b>two", 6)
    key = {
        (t.labels["way"], t.labels["population"], t.labels["seed"]): accuracy[t.name]
        for t in plan.tasks
    }
    pairs = [(v, key["<b>two", *rest]) for (way, *rest), v in key.items() if way == "one"]
    assert test.mean == pytest.approx(np.mean([a - b for a, b in pairs]))
    assert test.wilcoxon_p == pytest.approx(stats.wilcoxon(*zip(*pairs, strict=True)).pvalue)


def test_runs_that_failed_leave_their_partners_unpaired(plan: SweepPlan) -> None:
    lost = plan.tasks[0]
    assert lost.labels["way"] == "one"
    finished(plan, {task.name: 0.75 for task in plan.tasks[1:]})
    failed = {lost.name: Ended("timed out", 1.0, "it took <u>too long")}
    groups, contests = page.write_all(plan, failed)
    assert [group.runs for group in groups] == [5, 6]
    assert contests[0].unpaired == {"<b>two": 1}
    assert contests[0].tests[0].wilcoxon_p == 1  # all pairs are tied

    rows = make_rows(plan, {lost.name: "timed out"})
    assert rows[0]["status"] == "timed out"
    assert rows[0]["pruned_test_accuracy"] is None
    first = csv_text(rows).splitlines()[1]
    assert first.startswith(f"{lost.name},timed out,one,4,9,0")
    text = (plan.folder / "sweep.html").read_text()
    assert "11 of 12 runs are finished" in text
    for markup in ("<b>two", "<i>small", "<u>too"):
        assert markup not in text


def test_nothing_finished_is_no_table(plan: SweepPlan) -> None:
    groups, contests = page.write_all(plan, {})
    assert (groups, contests) == ([], [])
    assert not (plan.folder / "accuracy.png").exists()
    assert "0 of 12 runs are finished" in (plan.folder / "sweep.html").read_text()


def test_the_picture_has_test_accuracy_by_active_units(
    plan: SweepPlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(page, "save", lambda figure, part: (drawn.append(figure), part.touch()))
    tasks = [next(t for t in plan.tasks if t.labels["way"] == way) for way in ("one", "<b>two")]
    finished(plan, {tasks[0].name: 0.8, tasks[1].name: 0.75})
    page.draw(plan.folder / "accuracy.png", plan, make_rows(plan, {}))
    first, second = drawn[0].axes[:2]
    points = [line.get_xydata().tolist() for line in first.lines]
    assert points[:2] == [[[4, 0.8], [2, pytest.approx(0.7)]], [[4, 0.8]]]
    assert points[2] == [[0, 0.7], [1, 0.7]]  # the dense head, all across
    assert second.lines[1].get_xydata().tolist() == [[4, 0.75]]


def test_parquet_has_what_the_csv_has(plan: SweepPlan) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    finished(plan, {task.name: 0.75 for task in plan.tasks[:5]})
    page.write_all(plan, {})
    table = parquet.read_table(plan.folder / "runs.parquet")
    assert table.column_names == list(make_rows(plan, {})[0])
    assert table.column("pruned_test_accuracy").to_pylist() == [0.75] * 5 + [None] * 7


def test_any_setting_can_be_a_field_of_the_table(plan: SweepPlan) -> None:
    other = dataclasses.replace(plan, by=("scale", "seed"))
    finished(plan, {task.name: 0.75 for task in plan.tasks})
    assert [g.values for g in groups_of(make_rows(other, {}), other.by)] == [
        ("none", 0), ("none", 1), ("none", 2),
    ]  # fmt: skip


def test_the_columns_of_the_results_are_no_axes(plan: SweepPlan) -> None:
    row = make_rows(plan, {})[0]
    own = row.keys() - plan.columns - RunConfig.model_fields.keys()
    assert all(COLUMNS.fullmatch(name) for name in own)
