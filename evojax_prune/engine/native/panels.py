"""Matrices in the kernel's own layout (``panels.h``), and aligned memory for them."""

from __future__ import annotations

import numpy as np

from evojax_prune.engine.native.library import kernel

CACHE_LINE = 64
"""Bytes; a vector across two lines costs two loads."""


def aligned_empty(count: int) -> np.ndarray:
    """Uninitialised ``float32 [count]`` that starts at a cache line."""
    memory = np.empty(count + CACHE_LINE // 4, np.float32)
    start = -memory.ctypes.data % CACHE_LINE // 4
    return memory[start : start + count]


def empty(rows: int, columns: int) -> np.ndarray:
    """Memory for a matrix in panels."""
    return aligned_empty(kernel().ep_floats(rows, columns))


def zeros(rows: int, columns: int) -> np.ndarray:
    """A matrix of zeros in panels."""
    array = empty(rows, columns)
    array.fill(0.0)
    return array


def pack(matrix: np.ndarray) -> np.ndarray:
    """A ``float32`` matrix in panels."""
    plain = np.ascontiguousarray(matrix, np.float32)
    packed = empty(*plain.shape)
    kernel().ep_pack(address(plain), *plain.shape, address(packed))
    return packed


def unpack(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The matrix of a shape that :func:`pack` has packed."""
    plain = np.empty(shape, np.float32)
    kernel().ep_unpack(address(packed), *shape, address(plain))
    return plain


def choose_features(by_feature: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Some features of every row, quicker than ``x[:, chosen]``: what lies between stays unread.

    Args:
        by_feature: features ``float32 [F, N]``, contiguous.
        chosen: indices ``int64 [f]`` of features.

    Returns:
        ``float32 [N, f]``.

    Raises:
        ValueError: another type or layout, or an index out of range.
    """
    features, rows = by_feature.shape
    if by_feature.dtype != np.float32 or not by_feature.flags.c_contiguous:
        raise ValueError(f"features must be contiguous float32, not {by_feature.dtype}")
    chosen = np.ascontiguousarray(chosen, np.int64)
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < features:
        raise ValueError(f"chosen features must be in [0, {features})")
    x = np.empty((rows, len(chosen)), np.float32)
    kernel().ep_choose(address(by_feature), address(chosen), len(chosen), rows, address(x))
    return x


def address(array: np.ndarray | None) -> int | None:
    """Where the numbers of a contiguous array lie."""
    return None if array is None else array.ctypes.data
