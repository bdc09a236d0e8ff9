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
    kernel().ep_pack(floats(plain), *plain.shape, floats(packed))
    return packed


def unpack(packed: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The matrix of a shape that :func:`pack` has packed."""
    plain = np.empty(shape, np.float32)
    kernel().ep_unpack(floats(packed), *shape, floats(plain))
    return plain


def floats(array: np.ndarray | None) -> ctypes._Pointer[ctypes.c_float] | None:
    """Pointer to the floats of a contiguous array."""
    return None if array is None else array.ctypes.data_as(FLOATS)
