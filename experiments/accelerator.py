"""The engine on an accelerator: rates, memory, arithmetic and roofline as one Markdown table.

    python -m experiments.engine_speed --accelerator [--seconds 400] [--populations 30 256 ...]

What it measures is the path that an accelerator takes, on any device: compiled programs, members
side by side. On a CPU that is not the engine's choice; the table is then a test of the program.
Within a setting the engine and plain jitted JAX, one head after another with the same products in
full float32, take turns. A setting that fails is a row that says why.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from evojax_prune.core.compaction import active_parts
from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import SEARCH, Protocol
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.core.scaling import scale_splits
from evojax_prune.engine import Fits, fit_population
from evojax_prune.engine.compilation import keep_compiled
from evojax_prune.engine.fold import make_fold
from evojax_prune.engine.machine import measure
from evojax_prune.engine.plan import plan
from evojax_prune.engine.xla import side_by_side
from experiments.contenders import Case, batches_of, kept_of, member_program
from experiments.engine_speed import make_splits
from experiments.xla_costs import Watch, by_xla, first_line, watched

PEAKS: dict[str, tuple[float, float]] = {
    "NVIDIA H100 PCIe": (51.2e12, 2.04e12),
    "NVIDIA H100": (66.9e12, 3.35e12),
    "NVIDIA H200": (66.9e12, 4.8e12),
    "NVIDIA A100-SXM4-40GB": (19.5e12, 1.555e12),
    "NVIDIA A100-PCIE-40GB": (19.5e12, 1.555e12),
    "NVIDIA A100": (19.5e12, 2.039e12),
    "TPU v5 lite": (197e12 / 6, 0.819e12),
    "TPU v5e": (197e12 / 6, 0.819e12),
}
"""Float32 operations and bytes a second of one device by the start of its ``device_kind``.

From the makers' data sheets: NVIDIA's figures are those of float32 outside the tensor cores; a
float32 product on a TPU takes six passes of its bfloat16 units.
"""

MODES_MEASURED = ("features", "both", "fc1")
POPULATIONS = (30, 256, 1024, 4096, 10_000)
TURNS = 3
SEEDS_OF_MASKS = 1


@dataclasses.dataclass(frozen=True)
class Setting:
    """One row: a mode and a population."""

    mode: str
    members: int


def make_case(options: argparse.Namespace, setting: Setting) -> Case:
    """Genomes of the setting: exactly ``--active`` features, or each unit with ``--density``."""
    head = head_spec(setting.mode, options.features, 10, _hidden(setting.mode, options.hidden))
    rng = np.random.default_rng(SEEDS_OF_MASKS)
    length = Pruning(head, MODES[setting.mode]).genome_length
    if setting.mode == "features":
        order = rng.random((setting.members, length)).argsort(1).argsort(1)
        genomes = order < options.active
    else:
        genomes = rng.random((setting.members, length)) < options.density
    epochs = options.epochs or SEARCH.for_rows(options.rows).epochs
    protocol = Protocol(epochs=epochs, learning_rate=SEARCH.learning_rate, patience=0)
    return Case(options.splits, head, decode(genomes, head, setting.mode), protocol)


def _hidden(mode: str, units: int) -> tuple[int, ...]:
    return (units,) * len(MODES[mode].hidden)


def engine(case: Case, members: int | None = None) -> Fits:
    """The side-by-side path on all devices, scored on selection as a search does."""
    masks = case.masks if members is None else case.masks[:members]
    return fit_population(
        masks,
        case.splits,
        case.protocol,
        head=case.head,
        evaluate=("selection",),
        engine="xla",
        form="side-by-side",
    )


def plain(case: Case) -> Callable[[int], list[float]]:
    """Plain jitted JAX, one head after another; gives each head's lowest loss of an epoch."""
    program, batches = jax.jit(member_program(case)), batches_of(case)
    params, rows = jax.device_put(case.params), len(case.splits.train)
    each = np.asarray(batches[1]).sum(1)

    def run(members: int) -> list[float]:
        lowest = []
        with jax.default_matmul_precision("highest"):
            for m in range(members):
                losses = np.asarray(program(params, kept_of(case, m), *batches), np.float64)
                sums = (losses * each).reshape(case.protocol.epochs, -1).sum(1)
                lowest.append(float(sums.min()) / rows)
        return lowest

    return run


def row_of(options: argparse.Namespace, setting: Setting, deadline: float) -> dict[str, Any]:
    """Measures one setting."""
    case, device = make_case(options, setting), jax.local_devices()[0]
    one_by_one, few = plain(case), min(options.plain_members, setting.members)
    before = _peak(device)
    with watched() as watch:
        cold = engine(case)
    peak = _peak(device)
    losses = one_by_one(few)
    seconds, share, plain_seconds, again = _turns(case, one_by_one, few, deadline)
    rate = setting.members * case.protocol.epochs / seconds
    plain_rate = few * case.protocol.epochs / plain_seconds
    largest = max(watch.portions, key=lambda group: len(group.rows))
    planned = side_by_side.member_bytes(largest) * watch.members // jax.local_device_count()
    flops, moved = own_work(case)
    return {
        "mode": setting.mode,
        "P": setting.members,
        "form": ", ".join(f"{n} {name}" for name, n in cold.report.paths.items()),
        "epochs": case.protocol.epochs,
        "seconds": seconds,
        "heads/s": setting.members / seconds,
        "member-epochs/s": rate,
        "host share": share,
        "plain JAX member-epochs/s": plain_rate,
        "ratio": rate / plain_rate,
        "largest loss difference": float(np.max(np.abs(cold.loss[:few] - losses))),
        "peak bytes": peak if peak and peak > (before or 0) else None,
        "peak bytes at most": peak,
        "planned bytes": planned,
        **_analysed(watch, case),
        "own flops": flops,
        "own bytes": moved,
        "roofline": roofline(options.peaks, flops, moved, rate),
        "bound": bound(options.peaks, flops, moved),
        "programs": cold.report.programs,
        "programs again": again,
        "compile seconds": cold.report.compile_seconds,
        "portions": len(watch.portions),
        "waits": watch.waits,
        "note": "",
    }


def _turns(
    case: Case, one_by_one: Callable[[int], Any], few: int, deadline: float
) -> tuple[float, float, float, int]:
    """Medians of the engine's seconds, its share outside the device's programs, plain seconds."""
    seconds, shares, plain_seconds, again = [], [], [], 0
    for turn in range(TURNS):
        if turn and time.perf_counter() > deadline:
            break
        started = time.perf_counter()
        with watched() as watch:
            again += engine(case).report.programs
        middle = time.perf_counter()
        one_by_one(few)
        plain_seconds.append(time.perf_counter() - middle)
        seconds.append(middle - started)
        shares.append(1 - watch.seconds / seconds[-1])
    median = statistics.median
    return median(seconds), median(shares), median(plain_seconds), again


def _analysed(watch: Watch, case: Case) -> dict[str, float | None]:
    """XLA's analysis; a failure costs its own columns only."""
    rows, protocol = len(case.splits.train), case.protocol
    try:
        return by_xla(watch, rows, protocol.batch_size, protocol.epochs)
    except Exception as error:
        print(f"  not analysed: {first_line(error)}", file=sys.stderr)
        return dict.fromkeys(("XLA flops", "XLA bytes", "XLA memory"))


def own_work(case: Case) -> tuple[float, float]:
    """Mean flops and bytes of a member's epoch by the planner's count, at the exact sizes."""
    fold = make_fold(case.splits, case.head, params=case.params)
    few = range(min(64, len(case.masks)))
    actives = [active_parts(case.masks, row) for row in few]
    path, forms = plan(fold, actives, case.protocol, "xla", "side-by-side")
    costs = [
        path.cost(fold, active, case.protocol, form, scored=False)
        for active, form in zip(actives, forms, strict=True)
    ]
    return float(np.mean([c.flops for c in costs])), float(np.mean([c.bytes for c in costs]))


def _peak(device: jax.Device) -> int | None:
    stats = device.memory_stats() if device.platform != "cpu" else None
    return None if not stats else stats.get("peak_bytes_in_use")


def peaks_of(kind: str) -> tuple[float, float] | None:
    """Of a device; None where it is not in the table."""
    return next((peaks for start, peaks in PEAKS.items() if kind.startswith(start)), None)


def roofline(
    peaks: tuple[float, float] | None, flops: float, moved: float, rate: float
) -> float | None:
    """Share of the rate that the device's peaks would allow, 0 to 1, on all local devices."""
    if peaks is None:
        return None
    least = max(flops / peaks[0], moved / peaks[1])
    return rate * least / jax.local_device_count()


def bound(peaks: tuple[float, float] | None, flops: float, moved: float) -> str:
    """What the peaks limit: arithmetic or memory traffic."""
    if peaks is None:
        return "unknown"
    return "flops" if flops / peaks[0] > moved / peaks[1] else "memory"


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "mode": lambda r: f"`{r['mode']}`",
    "P": lambda r: f"{r['P']:,}",
    "trained as": lambda r: r["form"].replace(" side by side", ""),
    "heads/s": lambda r: _number(r["heads/s"]),
    "member-epochs/s": lambda r: _number(r["member-epochs/s"]),
    "host": lambda r: f"{r['host share']:.0%}",
    "plain JAX": lambda r: f"{_number(r['plain JAX member-epochs/s'])} ({r['ratio']:.1f}×)",
    "loss differs by": lambda r: f"{r['largest loss difference']:.0e}",
    "peak GB": lambda r: _peak_cell(r),
    "by XLA": lambda r: _scaled(r["XLA memory"], 1e9),
    "planned": lambda r: _scaled(r["planned bytes"], 1e9),
    "MF": lambda r: _both(r, "flops"),
    "MB": lambda r: _both(r, "bytes"),
    "of roofline": lambda r: _share(r),
    "programs (s)": lambda r: (
        f"{r['programs']} ({r['compile seconds']:.0f}), then {r['programs again']}"
    ),
    "waits": lambda r: str(r["waits"]),
}
"""Columns of the Markdown table, and each one's cell of a row."""

LEGEND = """
`host`: share of the time outside the device's programs. `plain JAX`: member-epochs/s of the plain
jitted program, one head after another, in full float32, and how much faster the engine is. `loss
differs by`: largest difference of the two in a head's lowest training loss. `peak GB`: of the
device, as the allocator has it (≤: an earlier row needed more); `by XLA`: arguments, results and
temporaries of the training program; `planned`: the planner's estimate. `MF`, `MB`: millions of
operations and bytes of one member's epoch, by XLA's cost analysis of the padded program / by the
planner's count at the exact size. `of roofline`: share of what the device's peaks allow for the
planner's count, and what limits. `programs`: compiled in the first call (seconds), and in all later
ones. `waits`: times the host waits for the device in a generation.
"""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _scaled(value: float | None, unit: float) -> str:
    return "unknown" if value is None else f"{value / unit:.3g}"


def _both(row: dict[str, Any], what: str) -> str:
    return f"{_scaled(row[f'XLA {what}'], 1e6)} / {_scaled(row[f'own {what}'], 1e6)}"


def _peak_cell(row: dict[str, Any]) -> str:
    if row["peak bytes"] is not None:
        return _scaled(row["peak bytes"], 1e9)
    at_most = row["peak bytes at most"]
    return "unknown" if at_most is None else f"≤ {_scaled(at_most, 1e9)}"


def _share(row: dict[str, Any]) -> str:
    return "unknown" if row["roofline"] is None else f"{row['roofline']:.0%} ({row['bound']})"


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table; a setting without figures says why in their place."""
    lines = [list(COLUMNS), ["---", *["---:"] * (len(COLUMNS) - 1)]]
    for row in rows:
        if row["note"]:
            cells = [f"`{row['mode']}`", f"{row['P']:,}", row["note"].replace("|", "/")]
            lines.append(cells + [""] * (len(COLUMNS) - len(cells)))
        else:
            lines.append([cell(row) for cell in COLUMNS.values()])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def heading(options: argparse.Namespace) -> str:
    """What ran where."""
    device = jax.local_devices()[0]
    rates, peaks = measure(device), options.peaks
    known = "unknown"
    if peaks is not None:
        known = f"{peaks[0] / 1e12:.3g} TF/s, {peaks[1] / 1e9:,.0f} GB/s"
    return (
        f"{jax.device_count()} × {device.device_kind} ({device.platform}), JAX {jax.__version__},"
        f" {options.rows} training rows, {options.features} features, {options.hidden} units,"
        f" float32. Peaks of the data sheet: {known}; measured by the planner:"
        f" {rates.gemm / 1e12:.3g} TF/s, {rates.stream / 1e9:,.0f} GB/s,"
        f" {rates.step * 1e6:.3g} µs a step. Command: `python -m experiments.engine_speed"
        f" {' '.join(sys.argv[1:])}`"
    )


def write(rows: list[dict[str, Any]], file: Path) -> None:
    """Every figure as CSV."""
    file.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)


def measured(options: argparse.Namespace, settings: list[Setting]) -> list[dict[str, Any]]:
    """The rows of all settings, the small ones first; those for which time is short are notes."""
    deadline = time.perf_counter() + options.seconds
    rows: list[dict[str, Any]] = []
    rates: dict[str, float] = {}
    for setting in settings:
        left = deadline - time.perf_counter()
        needed = setting.members / rates.get(setting.mode, float("inf"))
        if left < needed:
            note = f"left out: {left:.0f} s left, about {needed:.0f} s a call"
            rows.append({"mode": setting.mode, "note": note})
        else:
            try:
                rows.append(row_of(options, setting, deadline))
                rates[setting.mode] = rows[-1]["heads/s"]
            except Exception as error:
                rows.append({"mode": setting.mode, "note": f"failed: {first_line(error)}"})
        rows[-1]["P"] = setting.members
        print(f"{left:6.0f} s left  {markdown(rows[-1:]).splitlines()[-1]}", file=sys.stderr)
        write(rows, options.output)
    return rows


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.engine_speed --accelerator",
        description=__doc__.split("\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--seconds", type=float, default=400, help="no setting begins that would end later")
    add("--modes", nargs="+", default=list(MODES_MEASURED), choices=list(MODES))
    add("--populations", nargs="+", type=int, default=list(POPULATIONS))
    add("--rows", type=int, default=1000, help="training rows N")
    add("--selection-rows", type=int, default=500, help="rows that heads are scored on")
    add("--features", type=int, default=1280, help="features F")
    add("--hidden", type=int, default=512, help="units of each hidden layer")
    add("--active", type=int, default=64, help="active features of a genome, mode features")
    add("--density", type=float, default=0.5, help="of a genome, other modes")
    add("--epochs", type=int, default=None, help="of a head; as the search trains, unless given")
    add("--plain-members", type=int, default=3, help="heads that plain JAX trains a turn")
    add("--peaks", nargs=2, type=float, metavar=("FLOPS", "BYTES"), help="of a device, a second")
    add("--output", type=Path, default=Path("runs/accelerator.csv"))
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    options = parse(words)
    options.peaks = options.peaks or peaks_of(jax.local_devices()[0].device_kind)
    splits = make_splits(options.rows, options.features, selection=options.selection_rows)
    options.splits, _ = scale_splits(splits, "standard")
    settings = [Setting(m, p) for p in sorted(options.populations) for m in options.modes]
    with tempfile.TemporaryDirectory() as folder:
        # programs are compiled again for their analysis: read back from here, that costs nothing
        keep_compiled(Path(folder))
        rows = measured(options, settings)
    print(heading(options), markdown(rows), LEGEND, sep="\n\n")
