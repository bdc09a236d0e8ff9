"""Matrices in the kernel's own layout (``panels.h``), and aligned memory for them."""

from __future__ import annotations

import ctypes

import numpy as np

from evojax_prune.engine.native.library import FLOATS, kernel

CACHE_LINE = 64
"""Bytes; a vector across two lines costs two loads."""


def aligned_empty(count: int) -> np.ndarray:
    """Uninitialised ``float32 [count]`` that starts at a cache line."""
    memory = np.empty(count + CACHE_LINE // 4, np.float32)
    start = -memory.ctypes.data % CACHE_LINE // 4
    return memory[start : start + count]


def aligned_zeros(count: int) -> np.ndarray:
    """Zeros ``float32 [count]`` that start at a cache line."""
    array = aligned_empty(count)
    array.fill(0.0)
    return array


def empty(rows: int, columns: int) -> np.ndarray:
    """Memory for a matrix in panels."""
    return aligned_empty(kernel().ep_floats(rows, columns))


def pack(matrix: np.ndarray, *, transposed: bool) -> np.ndarray:
    """A ``float32`` matrix, or its transpose, in panels."""
    plain = np.ascontiguousarray(matrix, np.float32)
    rows, columns = plain.shape[::-1] if transposed else plain.shape
    packed = empty(rows, columns)
    kernel().ep_pack(floats(plain), rows, columns, transposed, floats(packed))
    return packed


def unpack(packed: np.ndarray, shape: tuple[int, int], *, transposed: bool) -> np.ndarray:
    """The matrix of a shape that :func:`pack` has packed."""
    plain = np.empty(shape, np.float32)
    rows, columns = shape[::-1] if transposed else shape
    kernel().ep_unpack(floats(packed), rows, columns, transposed, floats(plain))
    return plain


def floats(array: np.ndarray | None) -> ctypes._Pointer[ctypes.c_float] | None:
    """Pointer to the floats of a contiguous array."""
    return None if array is None else array.ctypes.data_as(FLOATS)
