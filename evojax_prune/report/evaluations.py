"""``evaluations.csv``: one row an evaluation of the search."""

from __future__ import annotations

import csv
import io
import math

from evojax_prune.search import SearchResult

COLUMNS = (
    "evaluation",
    "generation",
    "genome",
    "active_fraction",
    "fitness",
    "epochs",
    "seconds",
)


def evaluations_csv(search: SearchResult) -> str:
    """The file's content.

    ``genome`` is the genome's hash; ``fitness`` is empty where training diverged; ``epochs`` and
    ``seconds`` are those of training it, summed over folds.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    active, epochs, seconds = (
        search.active_fraction,
        search.columns["epochs"],
        search.columns["seconds"],
    )
    for i, name in enumerate(search.hashes):
        fitness = float(search.fitness[i])
        writer.writerow(
            (
                i + 1,
                search.generation[i],
                name,
                f"{active[i]:.6f}",
                "" if math.isnan(fitness) else fitness,
                epochs[i],
                f"{seconds[i]:.4f}",
            )
        )
    return text.getvalue()
