"""Distances between genomes."""

from __future__ import annotations

import numpy as np


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
