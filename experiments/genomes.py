"""A plugin that keeps every genome that a run tried, for ``experiments.cka``.

    python -m evojax_prune sweep configs/sweeps/classes.yaml --plugin experiments/genomes.py

``genomes.npz`` holds ``packed uint8 [E, ceil(G / 8)]``, in the order of ``evaluations.csv``, and
``length``, the bits G of a genome.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evojax_prune.core.files import save_file
from evojax_prune.report.pruned import Pruned
from evojax_prune.report.writers import WRITERS


def write(path: Path, pruned: Pruned) -> None:
    """Every genome that was tried, eight bits per byte."""

    def save(part: Path) -> None:
        length = np.int64(pruned.found.trials.genome_length)
        with part.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, packed=pruned.found.packed, length=length)

    save_file(path, save)


WRITERS["genomes.npz"] = write
