"""Members as the XLA programs take them: compacted, zero-padded, stacked into pytrees."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from evojax_prune.core.compaction import Active, compact, crop_layers, expand, pad_layers
from evojax_prune.core.forward import Layer
from evojax_prune.core.head import Params
from evojax_prune.core.splits import Split
from evojax_prune.engine.fold import Fold
from evojax_prune.engine.xla.sgd import Weights

EVALUATION_ROWS = 1024
"""Rows evaluated at a time, so that memory does not grow with the split."""


@dataclasses.dataclass(frozen=True)
class PaddedMember:
    """One head ready to train.

    Attributes:
        active: its active features and units.
        columns: active features ``int32`` padded with F, or None for all.
        weights: initial weights, padded.
        kept: for each layer the padded mask of its connections, or None.
    """

    active: Active
    columns: np.ndarray | None
    weights: Weights
    kept: list[np.ndarray | None]


def make_member(
    fold: Fold, active: Active, widths: tuple[int, ...], pick_columns: bool
) -> PaddedMember:
    """Compacts and pads one member.

    Args:
        fold: what it is trained on.
        active: its active parts.
        widths: padded widths.
        pick_columns: name the active features; False only where all are active.
    """
    columns = None
    if pick_columns:
        columns = np.full(widths[0], fold.head.features, np.int32)
        columns[: active.widths[0]] = active.index[0]
    layers = _prune_connections(compact(fold.params, active), active)
    padded = pad_layers(layers, widths)
    kept = [
        None if mask is None else _grow(mask, kernel.shape)
        for mask, (kernel, _) in zip(active.connections, padded, strict=True)
    ]
    return PaddedMember(active, columns, as_weights(padded), kept)


def as_weights(layers: list[Layer]) -> Weights:
    """Layers as the programs take them; a missing first bias is zeros."""
    (first, bias), *later = layers
    stack = [{"kernel": k} if b is None else {"kernel": k, "bias": b} for k, b in later]
    return Weights(first, np.zeros(first.shape[1], np.float32) if bias is None else bias, stack)


def restore_params(member: PaddedMember, weights: Weights, fold: Fold) -> Params:
    """Full-shaped parameters of a trained member."""
    bias = weights.bias if fold.head.bias[0] else None
    layers: list[Layer] = [(np.asarray(weights.first), bias)]
    layers += [(np.asarray(s["kernel"]), s.get("bias")) for s in weights.later]
    return expand(crop_layers(layers, member.active), member.active, fold.params)


def _prune_connections(layers: list[Layer], active: Active) -> list[Layer]:
    return [
        (kernel if mask is None else np.where(mask, kernel, np.float32(0)), bias)
        for (kernel, bias), mask in zip(layers, active.connections, strict=True)
    ]


def _grow(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    grown = np.zeros(shape, bool)
    grown[: mask.shape[0], : mask.shape[1]] = mask
    return grown


def stack_rows(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of nearly equal length stacked, the shorter ones padded with zero rows at the end."""
    rows = max(len(a) for a in arrays)
    stacked = np.zeros((len(arrays), rows, *arrays[0].shape[1:]), arrays[0].dtype)
    for i, array in enumerate(arrays):
        stacked[i, : len(array)] = array
    return stacked


def stack_trees(trees: Sequence[Any]) -> Any:
    """Pytrees of equal shapes, stacked along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


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
