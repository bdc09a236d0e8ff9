"""Is a consensus of the final population a better head than the members of its size?

    python -m experiments.consensus --data digits.npz flowers128.npz --seeds 0 1

The main command's search for the whole front of cross-entropy and size, 3,000 evaluations. Its
finalists, spread over the front's sizes, against the consensus of each finalist's size: the bits
that most members of about that size share. All are trained on all rows that are not test rows, the
mean of three trainings, and looked at on test. So are the heads that the main command would give
back, without and with the consensus among the finalists. Files as :mod:`experiments.honest` takes
them.

Success, written down before it was run: by the mean over data sets and seeds a consensus scores
higher than the finalist of its size, with a 95% interval above 0. Then ``--consensus`` is the
default; otherwise it is not, as it costs as many more trainings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from evojax_prune.analysis import paired_tests
from evojax_prune.core.outcome import Outcome
from evojax_prune.methods import guides
from evojax_prune.methods.choice import choose
from evojax_prune.methods.evaluator import Evaluator
from evojax_prune.methods.finalists import consensus_of, finalists
from evojax_prune.methods.search import search
from experiments.harness import tables
from experiments.harness.command import on_files
from experiments.harness.sweeps import once
from experiments.honest import (
    TRAININGS,
    final_accuracy,
    pooled,
    problem_of,
    rankings_of,
    starts_of,
)

HOME = Path("runs/experiments/consensus")
OWN, AGREED = "finalists", "consensus"


def compared(path: Path, seed: int) -> tables.Row:
    """One data set and seed: both ways' mean test accuracy at the same sizes, and their choices."""
    table = pooled(path)
    problem, config = problem_of(
        table, seed, objectives=["cross-entropy", "size"], population=60, finalists=8
    )
    starts = starts_of(rankings_of(problem, guides.QUICK))
    result = search(problem, config, Evaluator(problem, config), starts)
    own = finalists(problem, result, config)
    agreed = np.stack([consensus_of(result, int(size)) for size in own.sum(1)])
    genomes = np.concatenate([own, agreed])
    (dense,), heads = problem.refit(problem.pruning.dense), problem.refit(genomes)
    tested = final_accuracy(problem, genomes, TRAININGS)

    def taken(heads: Sequence[Outcome]) -> int:
        """Place of the head that the main command would take."""
        found = choose("smallest", dense, heads, problem.judging_rows)
        return next(place for place, head in enumerate(heads) if head is found)

    without, of_both = taken(heads[: len(own)]), taken(heads)
    row: tables.Row = {
        "dataset": table.name,
        "seed": seed,
        OWN: float(tested[: len(own)].mean()),
        AGREED: float(tested[len(own) :].mean()),
        "chosen": float(tested[without]),
        "size": int(genomes[without].sum()),
        "chosen with": float(tested[of_both]),
        "size with": int(genomes[of_both].sum()),
    }
    print(row, flush=True)
    return row


def work(options: argparse.Namespace) -> None:
    """Run what is missing, then print the table."""
    rows = []
    for seed in options.seeds:
        for file in options.data:
            key = {"data": pooled(file).version, "seed": seed}
            rows.append(once(HOME, "consensus", key, partial(compared, file, seed)))
    lines = [
        [
            *(row["dataset"], str(row["seed"]), f"{row[OWN]:.4f}", f"{row[AGREED]:.4f}"),
            f"{row['chosen']:.4f} with {row['size']}",
            f"{row['chosen with']:.4f} with {row['size with']}",
        ]
        for row in rows
    ]
    print(tables.markdown(("data", "seed", OWN, AGREED, "taken", "of both"), lines))
    if len(rows) > 1:
        for one, other in ((AGREED, OWN), ("chosen with", "chosen")):
            (test,) = paired_tests([r[one] for r in rows], {other: [r[other] for r in rows]})
            print(f"{one} less {other}: {test.mean:+.4f}, {test.low:+.4f} to {test.high:+.4f}")


def main(args: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    return on_files("consensus", __doc__ or "", work, args)


if __name__ == "__main__":
    sys.exit(main())
