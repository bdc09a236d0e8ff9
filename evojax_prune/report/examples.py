"""Rows that show what a head does: its most confident errors, and what excites its units."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np

from evojax_prune.analysis.metrics import softmax
from evojax_prune.core.compact_head import CompactHead
from evojax_prune.core.compaction import active_parts
from evojax_prune.core.errors import UserError
from evojax_prune.core.forward import affine
from evojax_prune.core.masks import kernel_masks
from evojax_prune.core.splits import Split
from evojax_prune.report.pruned import Pruned
from evojax_prune.sensitivity import plain_sensitivities

PATTERNS = 500
"""Most rows over which sensitivities are taken for a page; fewer where there are many classes."""

SIDE = 160
"""Longest side of a thumbnail, pixels."""

TINY = 48
"""Images up to this side are kept as they are, and shown enlarged."""


@dataclasses.dataclass(frozen=True)
class Error:
    """A test row that the pruned head takes for another class.

    Attributes:
        place: its place in the test split.
        true: its class.
        predicted: the class that it is taken for.
        confidence: the probability of that class.
    """

    place: int
    true: int
    predicted: int
    confidence: float


@dataclasses.dataclass(frozen=True)
class Unit:
    """A feature or hidden unit that the pruned head keeps.

    Attributes:
        group: 0 for the features, i for the i-th hidden layer.
        number: which of the group, counted from 0.
        sensitivity: root-mean-square sensitivity of the pruned head's probabilities to it.
        places: test rows with its highest values, the highest first.
    """

    group: int
    number: int
    sensitivity: float
    places: np.ndarray


def errors(pruned: Pruned, count: int) -> list[Error]:
    """The most confident errors of the pruned head, of several folds the first one's."""
    test = pruned.problem.splits[0].test
    probabilities = softmax(pruned.found.pruned.heads[0].logits(test.x))
    predicted, confidence = probabilities.argmax(1), probabilities.max(1)
    wrong = np.flatnonzero(predicted != test.y)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:count]
    return [
        Error(int(row), int(test.y[row]), int(predicted[row]), float(confidence[row]))
        for row in worst
    ]


def kept_units(pruned: Pruned, group: int) -> np.ndarray:
    """Which units of a pruned group keep a weight, ``bool [U]``."""
    pruning = pruned.problem.pruning
    kernels = kernel_masks(pruning.masks(pruned.genome[None]), 0)
    layer, axis = pruning.mode.place(group)
    return np.asarray(kernels[layer].any(1 - axis))


def scores(pruned: Pruned, group: int) -> np.ndarray:
    """What each unit of a pruned group is worth to the dense head, ``float64 [U]``.

    The scores that the method followed, where there are some; else root-mean-square sensitivities
    of the dense head's probabilities.
    """
    problem, found = pruned.problem, pruned.found
    if found.scores is not None and problem.pruning.grain == "neurons":
        return found.scores[problem.pruning.mode.groups.index(group)]
    return _sensitivities(found.dense.heads[0], problem.splits[0].train, group)


def important_units(pruned: Pruned, group: int, count: int, rows: int) -> list[Unit]:
    """The kept units that the pruned head's outputs depend on most, of several folds the first's.

    Args:
        pruned: a finished run.
        group: 0 for the features, i for the i-th hidden layer.
        count: most units.
        rows: test rows of each.
    """
    problem, head = pruned.problem, pruned.found.pruned.heads[0]
    splits = problem.splits[0]
    numbers = active_parts(problem.pruning.masks(pruned.genome[None]), 0).index[group]
    worth = _sensitivities(head, splits.train, group)
    values = _activations(head, splits.test.x, group)
    kept = np.flatnonzero(kept_units(pruned, group)[numbers])
    best = kept[np.argsort(-worth[kept], kind="stable")][:count]
    return [
        Unit(
            group,
            int(numbers[unit]),
            float(worth[unit]),
            np.argsort(-values[:, unit], kind="stable")[:rows],
        )
        for unit in best
    ]


def row_name(split: Split, place: int) -> str:
    """What to call a row: the path of its image, or its number in the data as given."""
    if split.rows is None:
        return f"test row {place}"
    given, number = split.rows.given, int(split.rows.numbers[place])
    if given.names is not None:
        # A file name need not be text, and a page is.
        return given.names[number].encode("utf-8", "backslashreplace").decode()
    return f"row {number}" + ("" if given.name == "all" else f" of {given.name}")


def thumbnails(split: Split, places: Sequence[int]) -> tuple[dict[int, str], str]:
    """Small pictures of some rows, as ``data:`` addresses.

    Returns:
        Address of each place, and why there are none, if so.
    """
    if split.rows is None or split.rows.given.images is None:
        return {}, "There are no pictures here, since the features did not come from images."
    wanted = sorted(set(places))
    try:
        images = split.rows.given.images([int(split.rows.numbers[place]) for place in wanted])
    except UserError as error:
        return {}, f"There are no pictures here: {error}"
    return {place: _address(image) for place, image in zip(wanted, images, strict=True)}, ""


def _address(pixels: np.ndarray) -> str:
    from PIL import Image

    image, data = Image.fromarray(pixels), io.BytesIO()
    if max(image.size) <= TINY:
        kind = "png"
        image.save(data, "PNG", optimize=True)
    else:
        kind = "jpeg"
        image.thumbnail((SIDE, SIDE))
        image.save(data, "JPEG", quality=80)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode()}"


def _sensitivities(head: CompactHead, train: Split, group: int) -> np.ndarray:
    classes = head.layers[-1][0].shape[1]
    count = min(len(train), PATTERNS, max(20, 20 * PATTERNS // classes))
    rows = np.linspace(0, len(train) - 1, count).astype(np.int64)
    return plain_sensitivities(head.layers[group:], _activations(head, train.x[rows], group))


def _activations(head: CompactHead, x: np.ndarray, group: int) -> np.ndarray:
    """Values ``[n, U]`` of a group's units that the head has."""
    units = x[:, head.features]
    for layer in head.layers[:group]:
        units = np.maximum(affine(units, layer), np.float32(0))
    return units
