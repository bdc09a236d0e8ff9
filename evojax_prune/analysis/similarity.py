"""Centered kernel alignment: how alike two representations are, 0 to 1 (Kornblith et al. 2019).

A representation is a matrix with one row per example (activations) or per input (the weights
that leave it); CKA compares which rows are alike in one with which rows are alike in the other. It
does not change under orthogonal transforms of the columns and isotropic scaling.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

Kernel = Literal["linear", "rbf"]

LEAST_UNBIASED = 4
"""Rows below which the unbiased estimator does not exist."""


def linear_gram(x: np.ndarray) -> np.ndarray:
    """Inner products ``float64 [n, n]`` of the rows of ``x [n, d]``."""
    x = np.asarray(x, np.float64)
    return x @ x.T


def rbf_gram(x: np.ndarray, bandwidth: float = 1.0) -> np.ndarray:
    """``exp(-d^2 / (2 s^2))`` of the rows' distances d, ``float64 [n, n]``.

    Args:
        x: ``[n, d]``.
        bandwidth: s as a multiple of the median distance between two different rows.

    Raises:
        ValueError: all rows are equal, so there is no scale.
    """
    products = linear_gram(x)
    squares = np.diag(products)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * products, 0.0)
    np.fill_diagonal(distances, 0.0)
    apart = distances[distances > 0]
    if not len(apart):
        raise ValueError("an RBF kernel needs rows that differ, all are equal")
    return np.exp(-distances / (2 * bandwidth**2 * np.median(apart)))


def hsic(k: np.ndarray, l: np.ndarray, unbiased: bool = False) -> float:  # noqa: E741
    """Hilbert-Schmidt independence criterion of two Gram matrices ``[n, n]``.

    Args:
        k: Gram matrix of one representation.
        l: that of the other, of the same rows.
        unbiased: the estimator of Song et al. 2012 (equation 5), which may be negative; otherwise
            that of Gretton et al. 2005, ``tr(KHLH) / (n - 1)^2``, which is too large where n is not
            much larger than the columns.

    Raises:
        ValueError: matrices of different or too few rows.
    """
    n = len(k)
    least = LEAST_UNBIASED if unbiased else 2
    if k.shape != (n, n) or l.shape != (n, n) or n < least:
        raise ValueError(
            f"Gram matrices have shapes {k.shape} and {l.shape}, expected the same square, "
            f"at least {least} rows"
        )
    if not unbiased:
        centred = k - k.mean(0)[None] - k.mean(1)[:, None] + k.mean()
        return float((centred * l).sum() / (n - 1) ** 2)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    rows_k, rows_l = k.sum(1), l.sum(1)
    total = (
        (k * l).sum()
        + rows_k.sum() * rows_l.sum() / ((n - 1) * (n - 2))
        - 2 * (rows_k @ rows_l) / (n - 2)
    )
    return float(total / (n * (n - 3)))


def cka(
    x: np.ndarray,
    y: np.ndarray,
    kernel: Kernel = "linear",
    *,
    unbiased: bool = False,
    bandwidth: float = 1.0,
) -> float:
    """Centered kernel alignment ``HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y))``.

    Args:
        x: a representation ``[n, d]``.
        y: another of the same rows ``[n, e]``.
        kernel: how rows are compared.
        unbiased: which estimator of HSIC; see :func:`hsic`.
        bandwidth: of the RBF kernel, in median distances.

    Returns:
        1 for equal representations, 0 for unrelated ones; NaN where one of them does not vary.
    """
    return minibatch_cka(x, y, len(x), kernel, unbiased=unbiased, bandwidth=bandwidth)


def minibatch_cka(
    x: np.ndarray,
    y: np.ndarray,
    rows: int,
    kernel: Kernel = "linear",
    *,
    unbiased: bool = True,
    bandwidth: float = 1.0,
) -> float:
    """CKA whose HSICs are means over minibatches, for more rows than Gram matrices can be held of.

    With the unbiased estimator it does not depend on the size of the minibatches but for noise
    (Nguyen et al. 2021, equation 3).

    Args:
        x: a representation ``[n, d]``.
        y: another of the same rows ``[n, e]``.
        rows: rows of a minibatch; what is left of the last one is not used.
        kernel: as in :func:`cka`.
        unbiased: as in :func:`cka`.
        bandwidth: as in :func:`cka`, in median distances within the minibatch.
    """
    if len(x) != len(y):
        raise ValueError(f"representations have {len(x)} and {len(y)} rows, expected the same")
    sums = np.zeros(3)
    for start in range(0, len(x) - rows + 1, rows):
        k, l = (_gram(z[start : start + rows], kernel, bandwidth) for z in (x, y))  # noqa: E741
        sums += [hsic(k, l, unbiased), hsic(k, k, unbiased), hsic(l, l, unbiased)]
    between, first, second = sums
    if first <= 0 or second <= 0:
        return math.nan
    return float(between / math.sqrt(first * second))


def _gram(x: np.ndarray, kernel: Kernel, bandwidth: float) -> np.ndarray:
    x = np.asarray(x, np.float64)
    x = x - x.mean(0)[None]  # a common shift says nothing but costs digits
    return linear_gram(x) if kernel == "linear" else rbf_gram(x, bandwidth)


def hamming(genome: np.ndarray, genomes: np.ndarray) -> np.ndarray:
    """Fraction of the bits in which each of ``genomes [E, G]`` differs from ``genome [G]``."""
    return (np.asarray(genomes, bool) != np.asarray(genome, bool)[None]).mean(1)


def closest(genome: np.ndarray, genomes: np.ndarray) -> tuple[int, float]:
    """The genome nearest to another one, equal ones left out.

    Args:
        genome: ``bool [G]``.
        genomes: ``bool [E, G]``.

    Returns:
        Its index (of equally near ones the first) and its Hamming distance, in (0, 1].

    Raises:
        ValueError: there is no other genome.
    """
    distances = hamming(genome, genomes)
    if not (distances > 0).any():
        raise ValueError("every genome is equal to the one that a neighbour is wanted of")
    index = int(np.where(distances > 0, distances, np.inf).argmin())
    return index, float(distances[index])
