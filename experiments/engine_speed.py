"""Member-epochs a second of the engine and of five other ways to train the same heads.

    python -m experiments.engine_speed [--quick] [--contenders engine "plain JAX" ...]
    python -m experiments.engine_speed --table FILE.json ...
    python -m experiments.engine_speed --accelerator [--help]

Everything is measured in one run: after a warm-up call each, the contenders of a case take turns,
and the medians of their rates stand side by side. Slow contenders train fewer members a turn (the
table says how many); all train the same heads for the same epochs on the same minibatches. The
last columns give the engine's share of the machine's ceilings, measured in the same run, for the
operations and bytes that the chosen paths need. ``--table`` measures nothing: it lays out what
earlier runs wrote as one Markdown table. ``--accelerator`` measures the path that GPUs and TPUs
take, by :mod:`experiments.accelerator`, which has flags of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import jax
import numpy as np

from evojax_prune.core.compaction import active_parts
from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.core.splits import FeatureSplits, Split
from evojax_prune.engine.fold import make_fold
from evojax_prune.engine.plan import plan
from experiments.ceiling import measure
from experiments.contenders import CONTENDERS, Case

SHAPES = [
    ("both", 2048, 300),
    ("both", 2048, 1000),
    ("both", 2048, 2400),
    ("both", 1280, 1000),
    ("features", 2048, 1000),
    ("features", 1280, 300),
]
"""Mode, features F and training rows N that are measured."""

MORE = [
    *(("features", 2048, n) for n in (300, 2400)),
    *((mode, 2048, n) for mode in ("fc1", "fc2") for n in (300, 1000, 2400)),
]
"""What is missing there of every mode at N of 300, 1,000 and 2,400."""

CLASSES = 10
EPOCHS = 10
WIDTH = 16
MEMBERS_A_TURN = {
    "naive vmap": 6,
    "plain JAX": 2,
    "Keras fit": 2,
    "torch threads": 6,
    "torch processes": 12,
}
"""Members a contender trains a turn, where not as many as the case has."""

MANY_ROWS = 500
FEWER_A_TURN = {"naive vmap": 2, "torch threads": 4}
"""The same above MANY_ROWS training rows, where a member takes seconds."""


def make_splits(rows: int, features: int, seed: int = 0, *, selection: int = 32) -> FeatureSplits:
    """Features with the statistics of a ReLU backbone's: mean about 0.45, a third zeros."""
    rng = np.random.default_rng(seed)
    centres = 0.12 * rng.standard_normal((CLASSES, features))

    def draw(n: int) -> Split:
        y = rng.integers(0, CLASSES, n).astype(np.int32)
        noise = 0.45 * rng.standard_normal((n, features))
        return Split(np.maximum(centres[y] + noise + 0.2, 0).astype(np.float32), y)

    return FeatureSplits(draw(rows), draw(selection), draw(32), tuple("0123456789"))


def make_case(
    mode: str, features: int, rows: int, members: int, density: float | None, epochs: int = EPOCHS
) -> Case:
    """A case of the benchmark; ``density`` None draws each member's from U(0, 1)."""
    splits = make_splits(rows, features)
    head = head_spec(mode, features, CLASSES)
    rng = np.random.default_rng(1)
    length = Pruning(head, MODES[mode]).genome_length
    densities = np.full((members, 1), density) if density else _uniform(rng, members)
    masks = decode(rng.random((members, length)) < densities, head, mode)
    return Case(splits, head, masks, Protocol(epochs=epochs, patience=0))


def _uniform(rng: np.random.Generator, members: int) -> np.ndarray:
    """Densities ``[members, 1]`` from U(0, 1) in pairs d, 1 - d: two members are no odd sample."""
    half = rng.random((-(-members // 2), 1))
    return np.stack([half, 1 - half], axis=1).reshape(-1, 1)[:members]


def rates(case: Case, names: list[str], repeats: int) -> dict[str, list[float]]:
    """Member-epochs a second of every turn, contenders taking turns after a warm-up each."""
    runs, members = {}, {}
    for name in names:
        runs[name] = CONTENDERS[name](case)
        few = MEMBERS_A_TURN
        if len(case.splits.train) > MANY_ROWS:
            few = MEMBERS_A_TURN | FEWER_A_TURN
        members[name] = min(few.get(name, len(case.masks)), len(case.masks))
        runs[name](members[name])
    measured: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(repeats):
        for name in names:
            started = time.perf_counter()
            runs[name](members[name])
            seconds = time.perf_counter() - started
            measured[name].append(members[name] * case.protocol.epochs / seconds)
    return measured


def work_of(case: Case) -> tuple[float, float]:
    """Mean operations and bytes of a member's epoch by the paths that the engine chooses."""
    fold = make_fold(case.splits, case.head, params=case.params)
    actives = [active_parts(case.masks, row) for row in range(len(case.masks))]
    path, forms = plan(fold, actives, case.protocol)
    costs = [
        path.cost(fold, active, case.protocol, form, scored=False)
        for active, form in zip(actives, forms, strict=True)
    ]
    return float(np.mean([c.flops for c in costs])), float(np.mean([c.bytes for c in costs]))


def measure_case(
    mode: str,
    features: int,
    rows: int,
    members: int,
    density: float | None,
    names: list[str],
    repeats: int,
    ceiling: dict[str, float],
    epochs: int = EPOCHS,
) -> dict:
    """One row of the table."""
    case = make_case(mode, features, rows, members, density, epochs)
    measured = rates(case, names, repeats)
    medians = {name: statistics.median(values) for name, values in measured.items()}
    flops, moved = work_of(case)
    return {
        "mode": mode,
        "features": features,
        "rows": rows,
        "members": members,
        "density": density or "U(0,1)",
        "rate": medians,
        "turns": measured,
        "ratio": {n: medians["engine"] / r for n, r in medians.items() if n != "engine"},
        "flops": flops,
        "bytes": moved,
        "of gemm ceiling": medians["engine"] * flops / ceiling["gemm"],
        "of memory ceiling": medians["engine"] * moved / ceiling["memory"],
    }


def show(row: dict, names: list[str]) -> str:
    """One line of the table for people."""
    case = [row[k] for k in ("mode", "features", "rows", "members", "density")]
    cells = [f"{cell:>8}" for cell in case]
    for name in names:
        rate = f"{row['rate'][name]:.3g}"
        ratio = "" if name == "engine" else f" ({row['ratio'][name]:.1f}x)"
        cells.append(f"{rate + ratio:>{WIDTH}}")
    return " ".join([*cells, f"{row['of gemm ceiling']:>8.0%}"])


def header(names: list[str]) -> str:
    """The table's first line."""
    case = [f"{name:>8}" for name in ("mode", "F", "N", "P", "density")]
    return " ".join([*case, *(f"{name:>{WIDTH}}" for name in names), f"{'of GEMM':>8}"])


def markdown(files: list[Path]) -> str:
    """The cases of several files as one table."""
    rows = [row for file in files for row in json.loads(file.read_text())["cases"]]
    names = [name for name in CONTENDERS if any(name in row["rate"] for row in rows)]
    head = ["mode", "F", "N", "P", "density", *names, "of GEMM"]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *(_cells(row, names) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: dict, names: list[str]) -> list[str]:
    cells = [f"`{row['mode']}`", f"{row['features']:,}", f"{row['rows']:,}"]
    cells += [str(row["members"]), str(row["density"])]
    for name in names:
        ratio = f" ({row['ratio'][name]:.1f}×)" if name in row["ratio"] else ""
        cells.append(f"{row['rate'][name]:.3g}{ratio}" if name in row["rate"] else "–")
    return [*cells, f"{row['of gemm ceiling']:.0%}"]


def main() -> None:
    if "--accelerator" in sys.argv:
        from experiments import accelerator

        accelerator.main([word for word in sys.argv[1:] if word != "--accelerator"])
        return
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--contenders", nargs="+", default=list(CONTENDERS), choices=CONTENDERS)
    parser.add_argument("--repeats", type=int, default=3, help="turns a contender (3)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of a head ({EPOCHS})")
    parser.add_argument("--rows", type=int, nargs="+", help="only cases of so many training rows")
    parser.add_argument("--members", type=int, nargs="+", help="only cases of so many members")
    parser.add_argument("--quick", action="store_true", help="the six shapes at density 0.5 only")
    parser.add_argument("--output", type=Path, default=Path("runs/engine_speed.json"))
    parser.add_argument("--table", type=Path, nargs="+", metavar="FILE", help="of earlier runs")
    options = parser.parse_args()
    if options.table:
        try:
            print(markdown(options.table))
        except (OSError, ValueError, KeyError, TypeError) as error:
            parser.error(f"--table takes files that --output has written: {error}")
        return
    names = ["engine", *(n for n in options.contenders if n != "engine")]
    cases = [(*shape, 30, 0.5) for shape in SHAPES]
    if not options.quick:
        cases += [(*shape, 30, 0.5) for shape in MORE]
        cases += [(*shape, 30, None) for shape in (*SHAPES, *MORE)]
        cases += [(*shape, 256, density) for density in (0.5, None) for shape in SHAPES]
    cases = [
        case
        for case in cases
        if (options.rows is None or case[2] in options.rows)
        and (options.members is None or case[3] in options.members)
    ]
    ceiling, rows = measure(), []
    gemm, memory = ceiling["gemm"] / 1e9, ceiling["memory"] / 1e9
    print(f"member-epochs/s (how much faster the engine is); {gemm:.0f} GF/s, {memory:.0f} GB/s")
    print(header(names))
    for case in cases:
        rows.append(measure_case(*case, names, options.repeats, ceiling, options.epochs))
        print(show(rows[-1], names), flush=True)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        device = f"{jax.default_backend()}, {jax.device_count()} devices"
        options.output.write_text(
            json.dumps({"ceiling": ceiling, "device": device, "cases": rows}, indent=1)
        )


if __name__ == "__main__":
    main()
