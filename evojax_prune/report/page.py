"""``report.html``: everything about a run on one page that needs nothing but itself."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evojax_prune.core.files import write_file
from evojax_prune.report import figures, head_figures, summary
from evojax_prune.report.examples import (
    errors,
    important_units,
    kept_units,
    row_name,
    thumbnails,
)
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.result import Result

if TYPE_CHECKING:
    import jinja2

TEMPLATE = "page.html"

WIDTH = 4.6
"""Inches of a picture: narrow, so that its text can be read on a phone."""

ERRORS = 12
"""Errors that are shown."""

UNITS = 5
"""Most important features or units that are shown."""

EXCITED = 6
"""Test rows shown of each."""

CONFUSIONS = 8
"""Pairs of classes that are listed."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture of the page.

    Attributes:
        title: above it.
        svg: the picture itself.
        says: what it shows, for those who cannot see it, and as a caption.
    """

    title: str
    svg: str
    says: str


def write_page(path: Path, pruned: Pruned) -> None:
    """Write ``report.html``."""
    write_file(path, page_text(pruned))


def page_text(pruned: Pruned) -> str:
    """The page of a finished run, self-contained HTML."""
    return _template().render(_content(pruned))


@cache
def _template() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE)


def _content(pruned: Pruned) -> dict[str, Any]:
    """Everything that the template names."""
    result, problem = pruned.result, pruned.problem
    return {
        "result": result,
        "title": f"{result.dataset.name}, {result.config.get('mode', '')}",
        "kind": pruned.found.kind,
        "counted": summary.counted_as(problem.pruning.mode.name),
        "table_content": _table(summary.table(result)),
        "baselines": _table(summary.baselines_table(result)) if result.baselines else None,
        "searched": pruned.found.trials.generation is not None,
        "size_pictures": list(_size_pictures(pruned)),
        "class_pictures": [*_confusion_matrices(pruned), _recall_picture(result)],
        "confusions": _confusions(result),
        "recall": _recall(result),
        "calibration": _calibration(pruned),
        **_examples(pruned),
        "features": list(_features(pruned)),
        "splits": _splits(pruned),
        "class_counts": _class_counts(pruned),
        "outside": None if problem.outside is None else len(problem.outside[0]),
        "search": _search(result),
        "settings": dict(_flat(result.config)),
    }


def _table(lines: Any) -> dict[str, Any]:
    """A table of the terminal as headers and rows."""
    cells = zip(*(column.cells for column in lines.columns), strict=True)
    return {
        "title": str(lines.title),
        "headers": [str(column.header) for column in lines.columns],
        "rows": [
            {"cells": [str(cell) for cell in row], "bold": line.style == "bold"}
            for row, line in zip(cells, lines.rows, strict=True)
        ],
    }


def _picture(
    draw: Callable[[Any], object],
    name: str,
    title: str,
    says: str,
    height: float,
    *,
    whole: bool = False,
) -> Picture:
    """A picture by a function of an axis, or of a whole figure."""
    svg = figures.svg_text(
        draw if whole else lambda figure: draw(figure.subplots()), WIDTH, height, prefix=name
    )
    told = f'<svg role="img" aria-label="{html.escape(f"{title}. {says}")}"'
    return Picture(title, told + svg.removeprefix("<svg"), says)


def _size_pictures(pruned: Pruned) -> Iterator[Picture]:
    """Accuracy against size, and how the search came there."""
    result = pruned.result
    yield _picture(
        partial(figures.plot_front, pruned),
        "front",
        "Accuracy against size",
        f"Test accuracy of the finalists, against {summary.counted_as(result.config['mode'])} on a "
        f"logarithmic scale. The head that was taken has {result.best.active_units:,} and scores "
        f"{result.best.test_accuracy:.4f}; the dense head has {result.dense.active_units:,} and "
        f"scores {result.dense.test_accuracy:.4f}.",
        6.2 if result.baselines else 4.6,
    )
    trials, dense = pruned.found.trials, float(pruned.found.dense_values[0])
    if trials.generation is None:
        yield _picture(
            partial(figures.plot_convergence, pruned),
            "progress",
            "Sizes that were tried",
            "Selection accuracy of every size that was tried.",
            4.2,
        )
        return
    says = (
        "How far the search came by its own measure, against the genomes that it tried, and the "
        "mean share of active bits in each generation's new genomes."
    )
    if len(trials.objectives) > 1:
        says += " The hypervolume grows as the front moves; its scale has no meaning."
    yield _picture(
        lambda figure: figures.convergence(figure, trials, dense, ""),
        "progress",
        "Progress of the search",
        says,
        4.6,
        whole=True,
    )


def _confusion_matrices(pruned: Pruned) -> Iterator[Picture]:
    for head, name in (("dense", "dense"), ("best", pruned.found.kind)):
        yield _picture(
            partial(head_figures.plot_confusion, pruned, head),
            f"confusion-{head}",
            f"Confusion matrix, {name} head",
            f"Test rows of each class that the {name} head takes for each class; the stronger the "
            "colour, the larger the share of the class's rows.",
            4.6,
        )


def _recall_picture(result: Result) -> Picture:
    classes = result.dataset.classes
    shown = min(classes, head_figures.MOST_CLASSES)
    says = "Share of each class's test rows that is classified correctly."
    if shown < classes:
        says += f" Of {classes} classes the {shown} with the lowest recall; the table has all."
    return _picture(
        partial(head_figures.plot_recall, result),
        "recall",
        "Recall of each class",
        says,
        1.2 + 0.24 * shown,
    )


def _calibration(pruned: Pruned) -> Picture:
    errors = [f"{pruned.result.metrics[head].calibration_error:.3f}" for head in ("dense", "best")]
    return _picture(
        partial(head_figures.plot_reliability, pruned),
        "reliability",
        "Reliability diagram",
        "Accuracy of the test rows against the probability of their predicted class, in 15 bins. "
        f"The expected calibration error is {errors[0]} for the dense head and {errors[1]} for the "
        f"{pruned.found.kind} one.",
        4.4,
    )


def _recall(result: Result) -> list[tuple[str, str, str, int]]:
    """Recall of both heads and test rows, of every class."""

    def text(value: float | None) -> str:
        return "no rows" if value is None else f"{value:.3f}"

    dense, best = result.metrics["dense"], result.metrics["best"]
    return [
        (name, text(dense.recall[name]), text(best.recall[name]), sum(counts))
        for name, counts in zip(result.dataset.class_names, best.confusion, strict=True)
    ]


def _confusions(result: Result) -> list[tuple[str, str, int, int]]:
    """The most frequent ones of the pruned head: class, taken for, rows, rows of the class."""
    counts, names = np.array(result.metrics["best"].confusion), result.dataset.class_names
    wrong = counts - np.diag(counts.diagonal())
    worst = np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]
    pairs = np.transpose(np.unravel_index(worst, wrong.shape))
    return [
        (names[true], names[taken], int(wrong[true, taken]), int(counts[true].sum()))
        for true, taken in pairs
        if wrong[true, taken]
    ]


def _examples(pruned: Pruned) -> dict[str, Any]:
    """Errors and exciting rows, with the pictures of both read at once."""
    test, names = pruned.problem.splits[0].test, pruned.result.dataset.class_names
    wrong = errors(pruned, ERRORS)
    groups = pruned.problem.pruning.mode.groups
    units = [
        unit
        for group in groups
        for unit in important_units(pruned, group, -(-UNITS // len(groups)), EXCITED)
    ]
    places = [error.place for error in wrong] + [int(p) for unit in units for p in unit.places]
    pictures, why_none = thumbnails(test, places)

    def row(place: int) -> dict[str, Any]:
        name = row_name(test, place)
        return {"name": name, "image": pictures.get(place), "true": names[test.y[place]]}

    return {
        "no_pictures": why_none,
        "errors": [
            row(error.place)
            | {"predicted": names[error.predicted], "confidence": f"{error.confidence:.1%}"}
            for error in wrong
        ],
        "units": [
            {
                "name": head_figures.unit_name(unit.group, unit.number),
                "sensitivity": f"{unit.sensitivity:.4f}",
                "rows": [row(int(place)) for place in unit.places],
            }
            for unit in units
        ],
    }


def _features(pruned: Pruned) -> Iterator[dict[str, Any]]:
    """What stayed of each group that is pruned."""
    by_weight = pruned.problem.pruning.grain == "connections"
    for group in pruned.problem.pruning.mode.groups:
        kept, name = kept_units(pruned, group), head_figures.unit_name(group)
        plural = head_figures.unit_name(group, plural=True)
        lines = -(-len(kept) // head_figures.COLUMNS)
        mask = _picture(
            partial(head_figures.plot_mask, pruned, group),
            f"mask-{group}",
            f"Which {plural} stayed",
            f"Each field is a {name}, counted along the lines; {kept.sum():,} of {len(kept):,} are "
            f"kept and filled.{' Kept are those that keep a weight.' * by_weight}",
            max(1.4, min(4.0, 0.5 + 0.13 * lines)),
        )
        followed = pruned.found.scores is not None
        by = f"the scores that were followed ({pruned.found.how})" if followed else "sensitivities"
        scores = _picture(
            partial(head_figures.plot_scores, pruned, group),
            f"scores-{group}",
            f"Scores of all {plural}",
            f"What the {plural} are worth to the dense head, by {by}, from the best to the worst. "
            "The coloured part of a bar is the share that is kept.",
            3.8,
        )
        numbers = ", ".join(map(str, np.flatnonzero(kept)))
        yield {
            "pictures": [mask, scores],
            "name": plural,
            "kept": numbers,
            "count": int(kept.sum()),
        }


def _splits(pruned: Pruned) -> list[tuple[str, int, int | None]]:
    """Rows and groups of each split."""
    return [
        (name, len(split), None if split.rows is None or split.rows.groups is None
         else len(np.unique(split.rows.groups)))
        for name, split in _named_splits(pruned)
    ]  # fmt: skip


def _named_splits(pruned: Pruned) -> Iterator[tuple[str, Any]]:
    problem = pruned.problem
    first, fold = problem.splits[0], ", first fold" if problem.folds > 1 else ""
    if problem.resampled:
        yield "training and selection", first.train
    else:
        yield f"training{fold}", first.train
        if not problem.selected_on_test:
            yield f"selection{fold}", first.selection
    yield "test and selection" if problem.selected_on_test else "test", first.test


def _class_counts(pruned: Pruned) -> list[tuple[str, list[int]]]:
    """Rows of each class in each split."""
    names = pruned.result.dataset.class_names
    counts = [np.bincount(split.y, minlength=len(names)) for _, split in _named_splits(pruned)]
    return [(name, [int(c[i]) for c in counts]) for i, name in enumerate(names)]


def _search(result: Result) -> dict[str, str]:
    """How the head was found and what that cost."""
    search = result.search
    return {
        "how": search.strategy,
        "objectives": ", ".join(search.objectives),
        "heads trained": f"{search.evaluations:,}, of {search.genomes:,} genomes",
        "generations": f"{search.generations:,}",
        "which head was taken": search.chosen,
        "ended": search.ended,
        "epochs": f"{search.member_epochs:,}",
        "time": f"{search.wall_seconds:,.0f} s of {result.wall_seconds:,.0f} s in all",
        "device": search.device,
        "engine": ", ".join(f"{path} ({heads:,} heads)" for path, heads in search.paths.items()),
    }


def _flat(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Settings by the names that flags have."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif value not in (None, [], ()):
            shown = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            yield f"{before}{name}", shown
