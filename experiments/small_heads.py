"""The rate at which populations of small heads train, against the machine's rate of products.

    python -m experiments.small_heads [--turns 5]

Heads of F of 1,280 features, 512 hidden units and C = 4 classes train for 5 epochs on N = 1,200
rows in minibatches of 32 and are scored on 600 selection rows, as in the default search. Set-up is
included: each turn has rows of its own, as each generation has a split of its own. For each F turns
alternate with ten large float32 products, one per core. A share is the median over turns of the
heads' rate (what the formulas need, without regard to zeros) over that of the products: of the
median one, which is the like of a turn of heads, and of the best one, which is the machine's
ceiling. The last column is the same heads on the same rows again, so it tells what fresh splits
cost.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from evojax_prune.core.head import head_spec
from evojax_prune.core.masks import Masks
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import decode
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine import fit_population
from experiments.ceiling import measure
from experiments.harness import tables

FEATURES, UNITS, CLASSES, ROWS, SELECTION, EPOCHS = 1280, 512, 4, 1200, 600, 5
ACTIVE = (16, 64, 320)
HEADS = 300
PROTOCOL = Protocol(epochs=EPOCHS, learning_rate=3e-3, patience=0)
HEAD = head_spec("features", FEATURES, CLASSES, (UNITS,))


def work_of(active: int) -> float:
    """Floating-point operations of one head: first and last layer, forwards and backwards."""
    row = 4 * active * UNITS + 6 * UNITS * CLASSES
    scored = 2 * active * UNITS + 2 * UNITS * CLASSES
    return float(EPOCHS * ROWS * row + SELECTION * scored)


def rows_of(turn: int, active: int) -> FeatureSplits:
    """Rows that no other population has."""
    rng = np.random.default_rng([turn, active])

    def split(count: int) -> Split:
        x = rng.standard_normal((count, FEATURES), np.float32)
        return Split(x, rng.integers(0, CLASSES, count).astype(np.int32))

    return FeatureSplits(split(ROWS), split(SELECTION), split(1), ("a", "b", "c", "d"))


def genomes(active: int) -> Masks:
    """Random features, the same in every turn."""
    order = np.argsort(np.random.default_rng(active).random((HEADS, FEATURES)), axis=1)
    return decode(order < active, HEAD, "features")


def seconds(masks: Masks, splits: FeatureSplits) -> float:
    """Wall seconds of one population."""
    began = time.perf_counter()
    fit_population(masks, splits, PROTOCOL, head=HEAD, evaluate=("selection",))
    return time.perf_counter() - began


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--turns", type=int, default=5, help="turns for each size (5)")
    turns = parser.parse_args().turns
    masks = {active: genomes(active) for active in ACTIVE}
    typical: dict[int, list[float]] = {active: [] for active in ACTIVE}
    shares: dict[int, list[float]] = {active: [] for active in ACTIVE}
    times: dict[int, list[float]] = {active: [] for active in ACTIVE}
    again: dict[int, list[float]] = {active: [] for active in ACTIVE}
    for active in ACTIVE:
        seconds(masks[active], rows_of(turns, active))  # warm
    for turn in range(turns):
        for active in ACTIVE:
            splits = rows_of(turn, active)
            ceiling = measure(memory=False)
            times[active].append(seconds(masks[active], splits) / HEADS)
            again[active].append(seconds(masks[active], splits) / HEADS)
            rate = work_of(active) / times[active][-1]
            typical[active].append(rate / ceiling["gemm_median"])
            shares[active].append(rate / ceiling["gemm"])
    lines = [
        [
            str(active),
            f"{1000 * statistics.median(times[active]):.2f}",
            f"{statistics.median(typical[active]):.0%}",
            f"{statistics.median(shares[active]):.0%}",
            f"{min(shares[active]):.0%} to {max(shares[active]):.0%}",
            f"{1000 * statistics.median(again[active]):.2f}",
        ]
        for active in ACTIVE
    ]
    header = (
        "active features",
        "ms per head",
        "of the median product",
        "of the best",
        "turns",
        "ms, rows known",
    )
    print(tables.markdown(header, lines))


if __name__ == "__main__":
    main()
