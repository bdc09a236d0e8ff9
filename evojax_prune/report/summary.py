"""What the user reads at the end: one table, one sentence."""

from __future__ import annotations

from rich.table import Table

from evojax_prune.report.outcome import Outcome
from evojax_prune.report.result import HeadResult, Result
from evojax_prune.report.statistics import Difference

SELECTED_ON_TEST = "selected on test"


def table(result: Result) -> Table:
    """Dense, random and evolved head side by side."""
    config, data = result.config, result.dataset
    counted = "active features" if config["mode"] == "features" else "active units"
    mark = f", {SELECTED_ON_TEST}" if result.selected_on_test else ""
    lines = Table(
        title=f"{data.name}, mode {config['mode']}, {config['grain']}: "
        f"{data.train} training, {data.selection} selection, {data.test} test rows{mark}",
        title_justify="left",
    )
    lines.add_column("head")
    test = f"test accuracy ({SELECTED_ON_TEST})" if result.selected_on_test else "test accuracy"
    for name in ("selection accuracy", test, "95% interval", counted, "parameters", "optimism"):
        lines.add_column(name, justify="right")
    rows: dict[str, HeadResult] = {
        "dense": result.dense,
        f"random (best of {result.random.masks})": result.random,
        "evolved": result.best,
    }
    for name, head in rows.items():
        low, high = head.test_interval
        lines.add_row(
            name,
            f"{head.selection_accuracy:.4f}",
            f"{head.test_accuracy:.4f}",
            f"{low:.4f} – {high:.4f}",
            f"{head.active_units} ({head.active_units / result.dense.active_units:.0%})",
            f"{head.parameters} ({head.parameter_fraction:.0%})",
            f"{head.optimism:+.4f}",
            style="bold" if head is result.best else None,
        )
    return lines


def sentence(
    evolved: Outcome, dense: Outcome, difference: Difference, selected_on_test: bool
) -> str:
    """Whether the evolved head beat the dense one on test."""
    interval = f"95% interval {difference.low:+.4f} to {difference.high:+.4f}"
    scores = f"{evolved.test:.4f} to {dense.test:.4f}, {difference.value:+.4f}"
    size = f"with {evolved.parameters / dense.parameters:.0%} of the parameters"
    if difference.verdict == "better":
        said = f"The evolved head beats the dense head on test ({scores}, {interval}) {size}."
    elif difference.verdict == "worse":
        said = (
            f"The evolved head is worse than the dense head on test ({scores}, {interval}) {size}."
        )
    else:
        said = (
            "The evolved head neither beats the dense head on test nor falls behind it: the "
            f"difference lies within the interval ({scores}, {interval}), {size}."
        )
    if selected_on_test:
        said += (
            f" But it was {SELECTED_ON_TEST}: the search saw these rows, so this says little about "
            "new ones."
        )
    return said
