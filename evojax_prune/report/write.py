"""From what was found to ``result.json``, the other files, and the words on the screen."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from rich.console import Console

from evojax_prune.analysis.comparison import paired_difference
from evojax_prune.cli import flags as cli
from evojax_prune.cli.progress import say
from evojax_prune.core.compact_head import save_heads
from evojax_prune.core.head_card import DataCard, HeadCard, HeadMetrics
from evojax_prune.core.masks import kernel_masks
from evojax_prune.data import dataset_kind
from evojax_prune.features.extract import backbone_card
from evojax_prune.methods.pipeline import Problem
from evojax_prune.report import figures, summary
from evojax_prune.report.evaluations import evaluations_csv
from evojax_prune.report.found import Found
from evojax_prune.report.result import (
    DatasetResult,
    HeadResult,
    Result,
    SearchResultPart,
    baseline_result,
    comparison_result,
    head_result,
    random_result,
    versions,
)
from evojax_prune.run.folder import MARK, PartialFolder
from evojax_prune.search.archive import digests, pack
from evojax_prune.version import __version__

TABLE_WIDTH = 120
"""Columns of the table where the output is no terminal."""


def make_result(problem: Problem, found: Found, seconds: float) -> Result:
    """Everything that ``result.json`` holds."""
    difference = paired_difference(found.pruned.right, found.dense.right)
    said = summary.sentence(
        found.name, found.pruned, found.dense, difference, problem.selected_on_test
    )
    return Result(
        config=problem.config.repeatable(),
        dataset=_dataset(problem),
        dense=head_result(found.dense, found.dense),
        random=random_result(found.random, found.dense, found.masks),
        best=head_result(found.pruned, found.dense),
        best_name=found.name,
        baselines=[baseline_result(row) for row in found.baselines],
        genome=digests(pack(found.pruned.genome[None]))[0],
        comparison=comparison_result(difference, said),
        search=_search(problem, found),
        selected_on_test=problem.selected_on_test,
        wall_seconds=round(seconds, 3),
        versions=versions(),
    )


def _dataset(problem: Problem) -> DatasetResult:
    first = problem.splits[0]
    return DatasetResult(
        name=problem.name,
        version=problem.version,
        classes=len(first.classes),
        class_names=list(first.classes),
        train=len(first.train),
        selection=len(first.selection),
        test=len(first.test),
        folds=len(problem.splits),
        features=problem.pruning.spec.features,
        source=problem.source,
    )


def _search(problem: Problem, found: Found) -> SearchResultPart:
    search, report = found.search, found.reports[-1]
    return SearchResultPart(
        strategy=problem.config.strategy if problem.config.method == "search" else found.name,
        evaluations=len(search),
        generations=search.generations,
        cached=search.cached,
        best_fitness=float(search.fitness[search.best]),
        dense_fitness=None if math.isnan(found.dense_fitness) else found.dense_fitness,
        member_epochs=int(search.columns["epochs"].sum()),
        wall_seconds=round(found.seconds, 3),
        device=report.device,
        engine=report.reason,
        paths=found.paths,
        compile_seconds=round(found.compile_seconds, 3),
        resumed=found.resumed,
        ended=search.stopped,
    )


def write_files(partial: PartialFolder, problem: Problem, found: Found, result: Result) -> None:
    """Write every file of the result."""
    partial.write("config.yaml", cli.dump(problem.config))
    partial.write(MARK, result.text())
    partial.write("evaluations.csv", evaluations_csv(found.search))
    _save_mask(partial.path / "best_mask.npz", problem, found)
    save_heads(partial.path / "head.safetensors", found.pruned.heads, head_card(problem, result))
    _draw(partial.path / "convergence.png", problem, found)


def _draw(path: Path, problem: Problem, found: Found) -> None:
    """How fitness moved with the evaluations, or with the size."""
    on = (
        f"test split: {summary.SELECTED_ON_TEST}" if problem.selected_on_test else "selection split"
    )
    name = "accuracy" if problem.config.fitness == "accuracy" else "- cross-entropy (nats)"
    if problem.config.size_penalty:
        name += f" - {problem.config.size_penalty:g} x active fraction"
    if problem.config.method == "sensitivity":
        figures.levels(
            path,
            found.search.active_fraction,
            found.search.fitness,
            found.pruned.active_fraction,
            found.dense_fitness,
            f"{problem.name}, {problem.config.mode}: {found.name} on the {on}",
        )
        return
    figures.convergence(
        path,
        found.search.fitness,
        found.search.generation,
        found.search.active_fraction,
        found.dense_fitness,
        f"{problem.name}, {problem.config.mode}: fitness on the {on}",
        f"fitness: {name}",
    )


def _save_mask(path: Path, problem: Problem, found: Found) -> None:
    """The genome, and the masks that it means."""
    masks = problem.pruning.masks(found.pruned.genome[None])
    arrays = {"genome": found.pruned.genome, "features": masks.features[0]}
    arrays |= {f"units_{i}": units[0] for i, units in enumerate(masks.units)}
    arrays |= {f"layer_{i}": kernel for i, kernel in enumerate(kernel_masks(masks, 0))}
    np.savez_compressed(path, allow_pickle=False, **arrays)


def head_card(problem: Problem, result: Result) -> HeadCard:
    """What ``head.safetensors`` says of itself."""
    config, data = problem.config, result.dataset
    backbone = None
    if dataset_kind(config.dataset) != "features":
        backbone = backbone_card(config.backbone, config.backbone_weights, config.image_size)
    return HeadCard(
        backbone=backbone,
        features=data.features,
        hidden=problem.pruning.spec.hidden,
        classes=tuple(data.class_names),
        mode=config.mode,
        grain=config.grain,
        groups=config.groups,
        data=DataCard(
            name=data.name,
            version=data.version,
            digest=problem.digest(),
            train=data.train,
            selection=data.selection,
            test=data.test,
        ),
        metrics={
            name: _metrics(head)
            for name, head in (
                ("pruned", result.best),
                ("dense", result.dense),
                ("random", result.random),
            )
        },
        selected_on_test=result.selected_on_test,
        sentence=result.comparison.sentence,
        written_by=__version__,
    )


def _metrics(head: HeadResult) -> HeadMetrics:
    selection = head.selection_accuracy
    return HeadMetrics(
        test_accuracy=head.test_accuracy,
        test_interval=head.test_interval,
        selection_accuracy=None if math.isnan(selection) else selection,
        parameters=head.parameters,
    )


def show(result: Result, output: Path) -> None:
    """Print the table and what it means."""
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, TABLE_WIDTH)
    console.print()
    console.print(summary.table(result))
    if result.baselines:
        console.print(summary.baselines_table(result))
    say(console, result.comparison.sentence)
    kind = "search" if result.config["method"] == "search" else "pruning"
    say(console, f"The {kind} ended: {result.search.ended}. Everything is in {output}")
