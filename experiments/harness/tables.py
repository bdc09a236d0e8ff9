"""Results as CSV (every figure) and Markdown (the paper's layout)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evojax_prune.analysis import Summary, summarise
from evojax_prune.core.protocol import Protocol
from experiments.harness.command import Experiment
from experiments.harness.runs import Run

Row = dict[str, Any]

ABSENT = "–"


def head_row(run: Run, name: str, key: str) -> Row:
    """One head of a run (``key`` of its ``result.json``) as a CSV row."""
    head = run.result[key]
    return run_columns(run) | {
        "head": name,
        "at": "whole" if key == "dense" else "same",
        "active_fraction": head["active_fraction"],
        "selection_accuracy": head["selection_accuracy"],
        "test_accuracy": head["test_accuracy"],
        "parameters": head["parameters"],
    }


def run_columns(run: Run) -> Row:
    """What every CSV row says of its run."""
    config, result = run.config, run.result
    return {
        "dataset": result["dataset"]["name"],
        "variant": run.variant.words,
        "features": result["dataset"]["source"],
        "selection": config.selection,
        "selected_on_test": result["selected_on_test"],
        "protocol": config.protocol,
        "mode": config.mode,
        "grain": config.grain,
        "seed": config.seed,
        "run": run.folder.name,
    }


def over_seeds(rows: Iterable[Row], column: str, **where: object) -> Summary:
    """Summary of a column over the rows with given values."""
    return summarise([r[column] for r in rows if all(r[k] == v for k, v in where.items())])


def percent(summary: Summary) -> str:
    """An active fraction as the paper has it: whole percent."""
    return f"{100 * summary.mean:.0f}" if summary.n else ABSENT


def accuracy(summary: Summary) -> str:
    """Mean, and standard deviation where there are several seeds."""
    return str(summary) if summary.n else ABSENT


def figure(value: float | None, digits: int = 3) -> str:
    """A published figure, or a dash."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first two are right-aligned."""
    rules = ["---" if i < 2 else "---:" for i in range(len(header))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (header, rules, *lines)) + "\n"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows; columns are those of the first one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_markdown(experiment: Experiment, runs: Sequence[Run], title: str, *parts: str) -> Path:
    """The tables under a heading that says what was run, on what, selected on what."""
    first = runs[0]
    data, config = first.result["dataset"], first.config
    selected = "**selected on test**" if first.result["selected_on_test"] else config.selection
    folds = f" in each of {data['folds']} folds" if data["folds"] > 1 else ""
    versions = ", ".join(f"{k} {v}" for k, v in first.result["versions"].items())
    search = "; ".join(
        f"{mode}: {config.strategy}, {config.evaluations} evaluations"
        for mode, config in {r.config.mode: r.config for r in runs}.items()
    )
    lines = [
        f"# {title}",
        "",
        f"- Data: {data['name']} {data['version']}; {data['train']} training, {data['selection']} "
        f"selection, {data['test']} test rows{folds}; {data['classes']} classes; {data['source']}.",
        f"- Selection: {selected}{_groups(first)}. Protocol: {config.protocol}.",
        f"- Search: {search}.",
        f"- Training: {_protocol(config.search_protocol)} in the search, "
        f"{_protocol(config.final_protocol)} for the tables.",
        f"- Seeds: {', '.join(map(str, experiment.options.seeds))}; figures are mean ± standard "
        "deviation over them.",
        f"- Machine: {first.result['search']['device']}; {versions}.",
        f"- Command: `{experiment.command}`",
        "",
        *parts,
    ]
    path = experiment.folder / f"{experiment.label}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _groups(run: Run) -> str:
    return f", grouped by `{run.config.groups}`" if run.config.groups else ""


def _protocol(options: Protocol) -> str:
    return f"at most {options.epochs} epochs at {options.learning_rate:g}"
