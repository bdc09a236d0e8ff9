"""Members as the XLA programs take them: indices and masks, zero-padded and stacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from evojax_prune.core.compaction import Active, crop_layers, expand
from evojax_prune.core.forward import Layer, layers_of
from evojax_prune.core.head import Params
from evojax_prune.core.splits import Split
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.xla.sgd import Weights

EVALUATION_ROWS = 1024
"""Rows evaluated at a time, so that memory does not grow with the split."""


def stack_indices(
    actives: Sequence[Active], widths: tuple[int, ...], full: tuple[int, ...], own_columns: bool
) -> list[np.ndarray | None]:
    """For the features and each hidden layer the members' active places ``int32 [P, width]``.

    Args:
        actives: the members' active parts.
        widths: padded widths; what a member lacks is padded with the full width.
        full: widths of the dense head.
        own_columns: name the active features; False only where all are active.
    """
    stacked: list[np.ndarray | None] = []
    for i, (width, most) in enumerate(zip(widths, full, strict=True)):
        if not own_columns if i == 0 else all(len(a.index[i]) == most for a in actives):
            stacked.append(None)
            continue
        places = np.full((len(actives), width), most, np.int32)
        for row, active in zip(places, actives, strict=True):
            row[: len(active.index[i])] = active.index[i]
        stacked.append(places)
    return stacked


def stack_connections(
    actives: Sequence[Active], widths: tuple[int, ...], classes: int
) -> list[np.ndarray | None]:
    """For each layer the members' masks of connections ``bool [P, in, out]``, or None."""
    stacked: list[np.ndarray | None] = []
    for i, shape in enumerate(zip(widths, (*widths[1:], classes), strict=True)):
        masks = [active.connections[i] for active in actives]
        if masks[0] is None:
            stacked.append(None)
            continue
        grown = np.zeros((len(actives), *shape), bool)
        for room, mask in zip(grown, masks, strict=True):
            assert mask is not None
            room[: mask.shape[0], : mask.shape[1]] = mask
        stacked.append(grown)
    return stacked


def stack_params(folds: Sequence[Fold]) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """For each layer of the dense head the initial kernels and biases, stacked over folds."""
    layers = zip(*(layers_of(fold.params) for fold in folds), strict=True)
    return [
        (
            np.stack([k for k, _ in each]),
            None if each[0][1] is None else np.stack([b for _, b in each]),
        )
        for each in layers
    ]


def restore_params(active: Active, weights: Weights, fold: Fold) -> Params:
    """Full-shaped parameters of a trained member."""
    bias = weights.bias if fold.head.bias[0] else None
    layers: list[Layer] = [(np.asarray(weights.first), bias)]
    layers += [(np.asarray(s["kernel"]), s.get("bias")) for s in weights.later]
    return expand(crop_layers(layers, active), active, fold.params)


def stack_rows(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of nearly equal length stacked, the shorter ones padded with zero rows at the end."""
    rows = max(len(a) for a in arrays)
    stacked = np.zeros((len(arrays), rows, *arrays[0].shape[1:]), arrays[0].dtype)
    for i, array in enumerate(arrays):
        stacked[i, : len(array)] = array
    return stacked


def stack_chunks(splits: Sequence[Split]) -> tuple[np.ndarray, np.ndarray]:
    """Splits cut into chunks of rows: ``x [K, chunks, rows, F]`` and ``y [K, chunks, rows]``.

    Missing rows are zeros with the label -1.
    """
    most = max(1, *(len(s) for s in splits)) if len(splits) > 1 else max(1, len(splits[0]))
    rows = min(EVALUATION_ROWS, most)
    count = -(-most // rows)
    x = np.zeros((len(splits), count * rows, splits[0].x.shape[1]), np.float32)
    y = np.full((len(splits), count * rows), -1, np.int32)
    for i, split in enumerate(splits):
        x[i, : len(split)], y[i, : len(split)] = split.x, split.y
    return x.reshape(len(splits), count, rows, -1), y.reshape(len(splits), count, rows)
