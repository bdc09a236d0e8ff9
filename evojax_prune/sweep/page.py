"""What a sweep found, to look at: a picture, a table on the console, and ``sweep.html``."""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evojax_prune.analysis import PairedTest
from evojax_prune.core.errors import one_line
from evojax_prune.core.files import save_file, write_file
from evojax_prune.report.figures import in_legend, literal, new_figure, save
from evojax_prune.sweep.file import shown
from evojax_prune.sweep.plan import SweepPlan
from evojax_prune.sweep.results import (
    Contest,
    Row,
    RunGroup,
    contests_of,
    csv_text,
    groups_of,
    make_rows,
    read_result,
    write_rows,
)
from evojax_prune.sweep.task import Task
from evojax_prune.sweep.worker import Ended
from evojax_prune.version import __version__

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.table import Table

MOST_PANELS = 24
ABSENT = "–"
ON_PAGE_ONLY = {"parameters", "t test", "Wilcoxon", "pruned - random"}
"""Columns that a terminal has no room for."""

Lines = list[list[str]]


def write_all(plan: SweepPlan, failed: Mapping[str, Ended]) -> tuple[list[RunGroup], list[Contest]]:
    """Write every file about the sweep as a whole.

    Args:
        plan: the sweep.
        failed: how each run ended that is not finished, by name.

    Returns:
        What the tables hold.
    """
    rows = make_rows(plan, {name: ended.status for name, ended in failed.items()})
    groups, contests = groups_of(rows, plan.by), contests_of(plan, rows, plan.by)
    write_rows(plan.folder, rows)
    header, lines = group_lines(plan, groups)
    write_file(
        plan.folder / "table.csv",
        csv_text([dict(zip(header, line, strict=True)) for line in lines]),
    )
    picture = plan.folder / "accuracy.png"
    if groups:
        draw(picture, plan, rows)
    page = _page(plan, rows, groups, contests, failed, picture if groups else None)
    write_file(plan.folder / "sweep.html", page)
    return groups, contests


# --- tables --------------------------------------------------------------------------------------


def group_lines(plan: SweepPlan, groups: Sequence[RunGroup]) -> tuple[list[str], Lines]:
    """Header and lines of the table: a line per group."""
    header = [
        *plan.by,
        *("runs", "dense", "random", "ranking", "pruned", "active units", "parameters"),
        *("pruned - dense", "95% interval", "t test", "Wilcoxon", "pruned - random"),
    ]
    return header, [_group_line(group) for group in groups]


def _group_line(group: RunGroup) -> list[str]:
    dense, random = group.tests.get("dense"), group.tests.get("random")
    return [
        *map(shown, group.values),
        str(group.runs),
        *(ABSENT if math.isnan(s.mean) else str(s) for s in group.heads.values()),
        f"{group.units.mean:.0f}",
        f"{group.parameters.mean:.1%}",
        *_test_cells(dense),
        ABSENT if random is None else f"{random.mean:+.4f}",
    ]


def _test_cells(test: PairedTest | None) -> list[str]:
    """Difference, interval, p values."""
    if test is None:
        return [ABSENT] * 4
    difference = f"{test.mean:+.4f}"
    if test.pairs < 2:
        return [difference, *[ABSENT] * 3]
    interval = f"{test.low:+.4f} to {test.high:+.4f}"
    return [difference, interval, f"{test.t_p:.3f}", f"{test.wilcoxon_p:.3f}"]


CONTEST_HEADER = [
    *("", "against", "pairs", "unpaired", "difference", "95% interval"),
    *("ahead", "t test, Holm", "Wilcoxon, Holm"),
]


def contest_lines(contest: Contest) -> Lines:
    """Lines of a contest's table, a line per level but the first."""
    return [
        [
            shown(contest.first),
            test.name,
            str(test.pairs),
            str(contest.unpaired[test.name]),
            *_test_cells(test)[:2],
            str(test.ahead),
            f"{test.t_holm:.3f}" if test.pairs > 1 else ABSENT,
            f"{test.wilcoxon_holm:.3f}" if test.pairs > 1 else ABSENT,
        ]
        for test in contest.tests
    ]


def console_table(plan: SweepPlan, groups: Sequence[RunGroup]) -> Table:
    """The table of the groups for a terminal."""
    from rich import box
    from rich.table import Table

    header, lines = group_lines(plan, groups)
    table = Table(
        title=f"{one_line(plan.title)}: test accuracy by {', '.join(plan.by)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    kept = [i for i, name in enumerate(header) if name not in ON_PAGE_ONLY]
    for i in kept:
        table.add_column(header[i], justify="left" if i < len(plan.by) else "right", no_wrap=True)
    for line in lines:
        table.add_row(*(one_line(line[i]) for i in kept))
    return table


# --- picture -------------------------------------------------------------------------------------


def draw(path: Path, plan: SweepPlan, rows: Sequence[Row]) -> None:
    """Accuracy against size: a panel per value of the first field, a colour per value of the rest.

    Args:
        path: file for the picture.
        plan: the sweep.
        rows: its runs.
    """
    done = [row for row in rows if row["status"] == "done"]
    tasks = {task.name: task for task in plan.tasks}
    panels: dict[str, list[Row]] = {}
    for row in done:
        panels.setdefault(shown(row[plan.by[0]]), []).append(row)
    names = list(panels)[:MOST_PANELS]
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    figure = new_figure(3.4 * columns + 1.2, 2.9 * lines + 0.6)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    colours: dict[str, str] = {}
    for axes, name in zip(grid, names, strict=False):
        _panel(axes, plan.by, panels[name], tasks, colours)
        axes.set_title(literal(f"{plan.by[0]} {name}"), fontsize="small")
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    figure.supxlabel("active features or units", fontsize="small")
    figure.supylabel("test accuracy", fontsize="small")
    left_out = len(panels) - len(names)
    more = f" ({left_out} more values of {plan.by[0]} are not shown)" if left_out else ""
    title = literal(f"{plan.title}: accuracy against size{more}")
    figure.suptitle(title, fontsize="medium")
    save_file(path, lambda part: save(figure, part))


def _panel(
    axes: Axes,
    by: Sequence[str],
    rows: Sequence[Row],
    tasks: Mapping[str, Task],
    colours: dict[str, str],
) -> None:
    seen = set()
    for row in rows:
        label = in_legend(", ".join(shown(row[name]) for name in by[1:]) or "pruned")
        colour = colours.setdefault(label, f"C{len(colours) % 10}")
        finalists = _finalists(tasks[row["run"]])
        axes.plot(*zip(*finalists, strict=True), ".", color=colour, alpha=0.3, markersize=4)
        axes.plot(
            row["pruned_active_units"],
            row["pruned_test_accuracy"],
            "o",
            color=colour,
            markersize=5,
            label=None if label in seen else label,
        )
        seen.add(label)
    dense = sum(row["dense_test_accuracy"] for row in rows) / len(rows)
    axes.axhline(dense, color="0.3", linestyle="--", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(labelsize="x-small")
    axes.grid(alpha=0.3)
    title = literal(", ".join(by[1:])) or None
    axes.legend(fontsize="x-small", title_fontsize="x-small", title=title, loc="lower right")


def _finalists(task: Task) -> list[tuple[float, float]]:
    heads = read_result(task)["finalists"]
    return [(head["active_units"], head["test_accuracy"]) for head in heads]


# --- page ----------------------------------------------------------------------------------------


def _page(
    plan: SweepPlan,
    rows: Sequence[Row],
    groups: Sequence[RunGroup],
    contests: Sequence[Contest],
    failed: Mapping[str, Ended],
    picture: Path | None,
) -> str:
    """The text of ``sweep.html``, which needs no other file but for its links."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("evojax_prune.sweep", "."), autoescape=True
    )
    header, lines = group_lines(plan, groups)
    columns = dict.fromkeys(
        ["status", *plan.columns, "pruned_test_accuracy", "dense_test_accuracy"]
    )
    columns |= dict.fromkeys(["pruned_active_units", "wall_seconds"])
    values: dict[str, Any] = {
        "title": plan.title,
        "version": __version__,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "total": len(rows),
        "done": sum(row["status"] == "done" for row in rows),
        "selected_on_test": any(row["selected_on_test"] for row in rows),
        "by": plan.by,
        "header": header,
        "lines": lines,
        "contest_header": CONTEST_HEADER,
        "contests": [(contest.field, contest_lines(contest)) for contest in contests],
        "failed": [(name, ended.status, ended.sentence) for name, ended in failed.items()],
        "picture": picture and base64.b64encode(picture.read_bytes()).decode(),
        "columns": list(columns),
        "runs": [(row["run"], [_cell(row[name]) for name in columns]) for row in rows],
    }
    return environment.get_template("sweep.html").render(values)


def _cell(value: Any) -> str:
    if value is None:
        return ABSENT
    return f"{value:.4g}" if isinstance(value, float) else shown(value)
