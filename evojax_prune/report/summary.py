"""What the user reads at the end: one table, one sentence."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from evojax_prune.analysis.paired import Noninferiority
from evojax_prune.core.errors import one_line
from evojax_prune.core.mode import ModeName

if TYPE_CHECKING:
    from evojax_prune.methods.found import Found
    from evojax_prune.report.result import DatasetResult, HeadResult, Result

SELECTED_ON_TEST = "selected on test"

BALANCED_DIFFERS = 0.05
"""Balanced accuracy is shown where it differs from accuracy by more than this."""

_VERDICTS = {
    "better": "So it beats the dense head.",
    "not worse by more than the margin": "So it is not worse than the dense head by more than the "
    "margin of {margin:g}.",
    "worse": "So it does worse than the dense head.",
    "not known": "So neither is shown to be better, and a loss above the margin of {margin:g} is "
    "not ruled out.",
}


def table(result: Result) -> Table:
    """Dense, random and pruned head side by side."""
    config, data = result.config, result.dataset
    counted = f"active {counted_as(config['mode'])}"
    mark = f", {SELECTED_ON_TEST}" if result.selected_on_test else ""
    name = one_line(data.name)
    lines = Table(
        title=f"{name}, mode {config['mode']}, {config['grain']}: {rows_of(data)}{mark}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    lines.add_column("head", no_wrap=True)
    test = f"test ({SELECTED_ON_TEST})" if result.selected_on_test else "test accuracy"
    names = ["selection", f"{test}, 95% interval", counted, "parameters", "optimism"]
    known = {"dense": result.metrics["dense"], result.best_name: result.metrics["best"]}
    balanced = {name: f"{one.balanced_accuracy:.4f}" for name, one in known.items()}
    if unlike := _classes_differ(result):
        names.insert(2, "balanced")
    for name in names:
        lines.add_column(name, justify="right", no_wrap=True)
    rows: dict[str, tuple[str, HeadResult]] = {
        "dense": ("dense", result.dense),
        "random": (f"random, best of {result.random.masks}", result.random),
    }
    if result.ranking is not None:
        rows["ranking"] = result.ranking.name, result.ranking
    rows["best"] = result.best_name, result.best
    for role, (name, head) in rows.items():
        low, high = head.test_interval
        lines.add_row(
            f"{name}, not converged" if role in result.unfinished else name,
            f"{head.selection_accuracy:.4f}",
            f"{head.test_accuracy:.4f}, {low:.4f} to {high:.4f}",
            *[balanced.get(name, "")] * unlike,
            f"{head.active_units:,} ({head.active_units / result.dense.active_units:.0%})",
            f"{head.parameters:,} ({head.parameter_fraction:.0%})",
            f"{head.optimism:+.4f}",
            style="bold" if head is result.best else None,
        )
    if result.ensemble is not None:
        together = result.ensemble
        size = f"{together.parameters:,} ({together.parameters / result.dense.parameters:.0%})"
        cells = ["", f"{together.test_accuracy:.4f}", *[""] * unlike, "", size, ""]
        lines.add_row(f"all {together.heads} finalists", *cells)
    return lines


def _classes_differ(result: Result) -> bool:
    """Whether accuracy hides how the classes fare: balanced accuracy is shown beside it then."""
    heads = {"dense": result.dense, "best": result.best}
    return any(
        abs(result.metrics[name].balanced_accuracy - head.test_accuracy) > BALANCED_DIFFERS
        for name, head in heads.items()
    )


def rows_of(data: DatasetResult) -> str:
    """How many rows each split has."""
    if not data.selection:
        return f"{data.train} training and selection, {data.test} test rows"
    return f"{data.train} training, {data.selection} selection, {data.test} test rows"


def baselines_table(result: Result) -> Table:
    """Other ways of pruning, a line each: at the pruned head's size, and at its own best size."""
    mark = f", {SELECTED_ON_TEST}" if result.selected_on_test else ""
    lines = Table(
        title="other ways of pruning, at the pruned head's active fraction and at the one "
        f"that is best on selection{mark}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    lines.add_column("method", no_wrap=True)
    own = ("selection", "test accuracy", "active at best", "selection", "test accuracy")
    for name in (*own, "parameters"):
        lines.add_column(name, justify="right", min_width=max(map(len, name.split())))
    rows = {(row.name, row.at): row for row in result.baselines}
    for name in dict.fromkeys(row.name for row in result.baselines):
        same = rows.get((name, "same"))
        best = rows.get((name, "best"), rows.get((name, "whole")))
        cells = ["", ""]
        if same is not None:
            cells = [_accuracy(same.selection_accuracy), _accuracy(same.test_accuracy)]
        if best is not None:
            cells += [f"{best.active_fraction:.0%}", _accuracy(best.selection_accuracy)]
            cells += [_accuracy(best.test_accuracy), f"{best.parameters:,}"]
        lines.add_row(name, *cells)
    return lines


def _accuracy(value: float | None) -> str:
    return "diverged" if value is None else f"{value:.4f}"


def sentence(
    found: Found,
    difference: Noninferiority,
    mode: ModeName,
    selected_on_test: bool,
    unfinished: Collection[str] = (),
) -> str:
    """Whether the pruned head is as good as the dense one on test."""
    pruned, dense, kind = found.pruned, found.dense, found.kind
    said = (
        f"On test the {kind} head scores {pruned.test:.4f} and the dense head {dense.test:.4f}: "
        f"{difference.value:+.4f}, 95% interval {difference.low:+.4f} to {difference.high:+.4f}. "
        f"{_VERDICTS[difference.verdict].format(margin=difference.margin)} The {kind} head has "
        f"{pruned.active_units:,} of {dense.active_units:,} {counted_as(mode)} and "
        f"{pruned.parameters / dense.parameters:.0%} of the parameters."
    )
    names = {"dense": "dense", "best": kind}
    if slow := [name for role, name in names.items() if role in unfinished]:
        heads = f"{' and the '.join(slow)} head{'s' * (len(slow) > 1)}"
        said += (
            f" But the training of the {heads} has not converged, so raise "
            "--final-protocol.epochs before you compare them."
        )
    if selected_on_test:
        said += (
            f" But it was {SELECTED_ON_TEST}: what was chosen was chosen on these rows, so this "
            "says little about new ones."
        )
    return said


def counted_as(mode: ModeName) -> str:
    """What a mode's bits switch."""
    return "features" if mode == "features" else "units"
