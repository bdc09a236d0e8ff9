"""Results as CSV (every figure) and Markdown (the paper's layout)."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evojax_prune.analysis import Summary, summarise
from evojax_prune.core.files import make_folder, write_file
from experiments.harness.sweeps import Run, Sweep

Row = dict[str, Any]

ABSENT = "–"

EVOLVED = "evolved"
BEST_RANDOM = "best of as many random masks"


def run_columns(run: Run) -> Row:
    """What every CSV row says of its run."""
    data, settings = run.result["dataset"], run.settings
    named = ("selection", "protocol", "backbone", "mode", "grain", "seed")
    return {
        "dataset": data["name"],
        "features": data["source"],
        "selected_on_test": run.result["selected_on_test"],
        **{name: settings[name] for name in named},
        "run": run.folder.name,
    }


def head_rows(run: Run) -> list[Row]:
    """Every head of a run: dense, random masks, other ways of pruning if it compared, evolved."""
    own = (("dense", "dense", "whole"), (BEST_RANDOM, "random", "same"), (EVOLVED, "best", "same"))
    heads = [{**run.result[key], "name": name, "at": at} for name, key, at in own]
    heads[2:2] = run.result["baselines"]
    figures = ("active_fraction", "selection_accuracy", "test_accuracy", "parameters")
    return [
        run_columns(run)
        | {"head": head["name"], "at": head["at"]}
        | {name: math.nan if head[name] is None else head[name] for name in figures}
        for head in heads
    ]


def percent(summary: Summary) -> str:
    """An active fraction as the paper has it: whole percent."""
    return f"{100 * summary.mean:.0f}" if summary.n else ABSENT


def accuracy(summary: Summary) -> str:
    """Mean, and standard deviation where there are several seeds."""
    return str(summary) if summary.n else ABSENT


def column(rows: Iterable[Row], name: str) -> Summary:
    """Summary of one column."""
    return summarise([row[name] for row in rows])


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]], left: int = 2) -> str:
    """A Markdown table; all columns but the first ``left`` are right-aligned."""
    rules = ["---" if i < left else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rules, *lines)) + "\n"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows; columns are those of the first one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def home(sweep: Sweep) -> Path:
    """Folder of what is made of a sweep."""
    folder = sweep.folder / "tables"
    make_folder(folder)
    return folder


def write_markdown(sweep: Sweep, name: str, title: str, *parts: str) -> Path:
    """Tables under a heading that says on what data, how and where they were made.

    Args:
        sweep: whose runs they are of.
        name: of the reader, and of the file.
        title: of the page.
        parts: its tables and paragraphs.
    """
    first = sweep.runs[0].result
    seeds = sorted({run.settings["seed"] for run in sweep.runs})
    versions = ", ".join(f"{library} {version}" for library, version in first["versions"].items())
    lines = [
        f"# {title}",
        "",
        *dict.fromkeys(_data_line(run) for run in sweep.runs),
        f"- Seeds: {', '.join(map(str, seeds))}; figures are mean ± standard deviation over them.",
        f"- Machine: {first['search']['device']}; {versions}.",
        f"- Runs: {len(sweep.runs)} of {len(sweep.runs) + sweep.unfinished}, by the sweep file "
        f"below. Command: `python -m experiments.{name} {sweep.folder}`",
        "",
        *parts,
        "## Sweep file\n",
        f"```yaml\n{sweep.source.rstrip()}\n```\n",
    ]
    path = home(sweep) / f"{name}.md"
    write_file(path, "\n".join(lines))
    return path


def _data_line(run: Run) -> str:
    """The data of a run and how they are split."""
    data, groups = run.result["dataset"], run.settings["groups"]
    selected = run.settings["selection"]
    selected = "**selected on test**" if run.result["selected_on_test"] else f"{selected} selection"
    folds = f" in each of {data['folds']} folds" if data["folds"] > 1 else ""
    grouped = f", grouped by `{groups}`" if groups else ""
    return (
        f"- Data: {data['name']} {data['version']}; {data['train']} training, {data['selection']} "
        f"selection, {data['test']} test rows{folds}; {data['classes']} classes; {data['source']}; "
        f"{selected}{grouped}."
    )
