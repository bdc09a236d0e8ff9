"""``evaluations.csv``: one row per genome that was tried."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from evojax_prune.methods.found import Trials


def evaluations_csv(trials: Trials) -> str:
    """The file's content.

    ``genome`` is the genome's hash; each objective has a column of its name, empty where training
    diverged; ``epochs`` and ``seconds`` are those of training it, summed over folds and looks.
    Where genomes are looked at on fresh splits, objectives are estimates, ``looks`` says out of how
    many, and ``<objective> error`` is the standard error.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [objective.name for objective in trials.objectives]
    writer.writerow(
        ("evaluation", "generation", "genome", "active_fraction", *names, *trials.columns)
    )
    count = len(trials)
    generation = np.zeros(count, np.int64) if trials.generation is None else trials.generation
    active = trials.active_fraction
    for i, name in enumerate(trials.hashes):
        values = ("" if math.isnan(v) else float(v) for v in trials.values[i])
        columns = (_cell(column[i]) for column in trials.columns.values())
        writer.writerow((i + 1, generation[i], name, f"{active[i]:.6f}", *values, *columns))
    return text.getvalue()


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value
