"""The files of a result, one writer each.

What a user cannot do without comes first: ``result.json``, the mask, the head. A writer that fails
holds back none of the others.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from evojax_prune.core.compact_head import head_tensors, save_heads
from evojax_prune.core.errors import UserError, described, plugin_error, show_traceback
from evojax_prune.core.files import save_file, write_file
from evojax_prune.core.head_card import BackboneCard, DataCard, HeadCard, HeadMetrics
from evojax_prune.core.masks import kernel_masks
from evojax_prune.core.options import PROGRAM
from evojax_prune.data import find_source
from evojax_prune.features.extract import backbone_card
from evojax_prune.report import figures, summary
from evojax_prune.report.page import write_page
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.result import HeadResult
from evojax_prune.version import __version__

Writer = Callable[[Path, Pruned], None]
"""Writes one file of a result to a path."""


def write_results(
    folder: Path, pruned: Pruned, more: Mapping[str, Writer] | None = None
) -> list[str]:
    """Write every file of a result.

    Args:
        folder: where to; it exists.
        pruned: the finished run.
        more: writers of further files, by name.

    Returns:
        A sentence for each file of :data:`WRITERS` that could not be written.

    Raises:
        UserError: one of :data:`ESSENTIAL` could not be written.
    """
    for name, write in ESSENTIAL.items():
        write(folder / name, pruned)
    failed = []
    for name, write in {**WRITERS, **(more or {})}.items():
        try:
            write(folder / name, pruned)
            if not (folder / name).exists():
                failed.append(f"{name}: its writer wrote no such file")
        except UserError as error:
            failed.append(f"{name}: {error}")
        except (Exception, SystemExit) as error:  # a picture must not cost the user the result
            show_traceback(error)
            why = plugin_error(error) or described(error)
            failed.append(f"{name} could not be made ({why})")
    return failed


def settings_text(settings: dict[str, Any]) -> str:
    """The YAML file that repeats a run; where its results go is left out."""
    # PyYAML is built without its C part on some systems; the text is the same
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text = yaml.dump(settings, Dumper=dumper, sort_keys=False, allow_unicode=True)
    return f"# {PROGRAM} --config THIS_FILE repeats this run.\n{text}"


def _settings(path: Path, pruned: Pruned) -> None:
    write_file(path, settings_text(pruned.settings))


def _result(path: Path, pruned: Pruned) -> None:
    write_file(path, pruned.result.text())


def _mask(path: Path, pruned: Pruned) -> None:
    """The genome, and the masks that it means."""
    masks = pruned.problem.pruning.masks(pruned.genome[None])
    arrays = {"genome": pruned.genome, "features": masks.features[0]}
    arrays |= {f"units_{i}": units[0] for i, units in enumerate(masks.units)}
    arrays |= {f"layer_{i}": kernel for i, kernel in enumerate(kernel_masks(masks, 0))}

    def save(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)

    save_file(path, save)


def _head(path: Path, pruned: Pruned) -> None:
    size = sum(tensor.nbytes for tensor in head_tensors(pruned.heads).values())
    save_file(path, lambda part: save_heads(part, pruned.heads, head_card(pruned)), size)


def head_card(pruned: Pruned) -> HeadCard:
    """What ``head.safetensors`` says of itself."""
    problem, result = pruned.problem, pruned.result
    data, pruning = result.dataset, problem.pruning
    counts = {name: getattr(data, name) for name in ("train", "selection", "test")}
    scaling = pruned.head.scaling
    return HeadCard(
        backbone=_backbone(pruned.settings),
        features=data.features,
        hidden=pruning.spec.hidden,
        scaling="none" if scaling is None else scaling.kind,
        classes=tuple(data.class_names),
        mode=pruning.mode.name,
        grain=pruning.grain,
        groups=pruned.settings.get("groups"),
        data=DataCard(name=data.name, version=data.version, digest=problem.digest(), **counts),
        metrics={
            "pruned": _metrics(result.best),
            "dense": _metrics(result.dense),
            "random": _metrics(result.random),
        },
        selected_on_test=result.selected_on_test,
        sentence=result.comparison.sentence,
        written_by=__version__,
    )


def _backbone(settings: dict[str, Any]) -> BackboneCard | None:
    """What made the features; None where they came from a file or an array."""
    if "backbone" not in settings or "backbone" not in find_source(settings["dataset"]).reads:
        return None
    weights = settings["backbone_weights"]
    return backbone_card(
        settings["backbone"], None if weights is None else Path(weights), settings["image_size"]
    )


def _metrics(head: HeadResult) -> HeadMetrics:
    selection = head.selection_accuracy
    return HeadMetrics(
        test_accuracy=head.test_accuracy,
        test_interval=head.test_interval,
        selection_accuracy=None if math.isnan(selection) else selection,
        parameters=head.parameters,
    )


def _evaluations(path: Path, pruned: Pruned) -> None:
    """One row per genome that was tried.

    ``genome`` is the genome's hash; each objective has a column of its name, empty where training
    diverged; ``epochs`` and ``seconds`` are those of training it, summed over folds and looks.
    Where genomes are looked at on fresh splits, objectives are estimates, ``looks`` says out of how
    many, and ``<objective> error`` is the standard error.
    """
    text, trials = io.StringIO(), pruned.found.trials
    writer = csv.writer(text, lineterminator="\n")
    names = [objective.name for objective in trials.objectives]
    writer.writerow(
        ("evaluation", "generation", "genome", "active_fraction", *names, *trials.columns)
    )
    count = len(trials)
    generation = np.zeros(count, np.int64) if trials.generation is None else trials.generation
    active = trials.active_fraction
    for i, name in enumerate(trials.hashes):
        values = ("" if math.isnan(v) else float(v) for v in trials.values[i])
        columns = (_cell(column[i]) for column in trials.columns.values())
        writer.writerow((i + 1, generation[i], name, f"{active[i]:.6f}", *values, *columns))
    write_file(path, text.getvalue())


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def _convergence(path: Path, pruned: Pruned) -> None:
    """How the objective moved with the evaluations, or with the size."""
    problem, found = pruned.problem, pruned.found
    if problem.selected_on_test:
        on = f"the test split: {summary.SELECTED_ON_TEST}"
    elif problem.resampled:
        on = "fresh splits"
    else:
        on = "the selection split" if problem.folds == 1 else f"{problem.folds} folds"
    name, mode = figures.literal(problem.name), problem.pruning.mode.name
    trials = found.trials
    with figures.style():
        figure = figures.new_figure()
        if trials.generation is None:
            title = f"{name}, {mode}: {figures.literal(found.name)} on {on}"
            figures.plot_convergence(pruned, figure.subplots()).set_title(title, size="medium")
        else:
            title = f"{name}, {mode}: search on {on}"
            figures.convergence(figure, trials, found.dense_values[0], title)
        save_file(path, lambda part: figures.save(figure, part))


def _front_csv(path: Path, pruned: Pruned) -> None:
    """The finalists, one row each: what ``result.json`` has of them, as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [
        *("genome", "chosen", "active_units", "active_fraction", "parameters"),
        *("selection_accuracy", "test_accuracy", "optimism", "epochs"),
    ]
    writer.writerow(columns)
    for head in pruned.result.finalists:
        writer.writerow([getattr(head, column) for column in columns])
    write_file(path, text.getvalue())


def _front(path: Path, pruned: Pruned) -> None:
    """Accuracy against size."""
    problem = pruned.problem
    mark = f", {summary.SELECTED_ON_TEST}" if problem.selected_on_test else ""
    name = figures.literal(problem.name)
    title = f"{name}, {problem.pruning.mode.name}: accuracy against size{mark}"
    with figures.style():
        figure = figures.new_figure()
        figures.plot_front(pruned, figure.subplots()).set_title(title, size="medium")
        save_file(path, lambda part: figures.save(figure, part))


ESSENTIAL: dict[str, Writer] = {
    "config.yaml": _settings,
    "result.json": _result,
    "best_mask.npz": _mask,
    "head.safetensors": _head,
}
"""Files without which a run is not finished."""

WRITERS: dict[str, Writer] = {
    "evaluations.csv": _evaluations,
    "convergence.png": _convergence,
    "front.csv": _front_csv,
    "front.png": _front,
    "report.html": write_page,
}
"""Further files; one more is one line here."""
