"""Host arrays stacked over folds and members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from evojax_prune.core.splits import Split

EVALUATION_ROWS = 1024
"""Rows evaluated at a time, so that memory does not grow with the split."""


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
