"""How fast sensitivities are: against naive loops and PyTorch, and how they grow with N, C and F.

    python -m experiments.sensitivity_speed --output runs/sensitivity-speed

Every method computes the same thing, which is checked first: power means for p = 1, 2 and inf over
patterns of the Jacobian of a one-hidden-layer head's softmax. Rounds are interleaved (every method
once, in random order), medians are reported, and with them the spread, since machines are shared.
PyTorch is measured where it is installed. Peak memory is that of a process of its own, above the
features. ``--full`` adds N = 50,000, C = 100, F = 2048: minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from evojax_prune.core.head import HeadSpec, Params, init_params
from evojax_prune.sensitivity import power_mean, sensitivities
from evojax_prune.sensitivity.jacobian import jacobian, outputs
from evojax_prune.sensitivity.norms import StreamedPowerMeans, chunk_power_sums

PS = (1.0, 2.0, math.inf)
HIDDEN = 512
Method = Callable[[Params, np.ndarray], np.ndarray]
"""Head and features ``[N, F]`` to power means ``[3, C, F]``."""


def case(patterns: int, classes: int, features: int) -> tuple[Params, np.ndarray]:
    """A head and features, the same for the same sizes."""
    spec = HeadSpec(features, (HIDDEN,), classes, (False, True))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((patterns, features), np.float32)
    return init_params(spec, 0), np.maximum(x, 0, out=x)  # in place: no peak of its own


def ours(params: Params, x: np.ndarray) -> np.ndarray:
    return sensitivities(params, x, p=PS).per_output


@jax.jit
def _one_jacobian(params: Params, row: jax.Array) -> jax.Array:
    return jax.jacrev(lambda a: outputs(params, a, 0, "probabilities"))(row)


def loop(params: Params, x: np.ndarray) -> np.ndarray:
    """One jitted ``jax.jacrev`` a pattern, the norms in NumPy."""
    on_device = jax.device_put(params)
    absolute = square = peak = 0.0
    for row in x:
        magnitude = np.abs(np.asarray(_one_jacobian(on_device, row)))
        absolute = absolute + magnitude.astype(np.float64)
        square = square + np.square(magnitude, dtype=np.float64)
        peak = np.maximum(peak, magnitude)
    return np.stack([absolute / len(x), np.sqrt(square / len(x)), peak])


@jax.jit
def _whole(params: Params, x: jax.Array) -> jax.Array:
    magnitude = jnp.abs(jacobian(params, x, 0, "probabilities"))
    root = jnp.sqrt((magnitude * magnitude).mean(0))
    return jnp.stack([magnitude.mean(0), root, magnitude.max(0)])


def whole(params: Params, x: np.ndarray) -> np.ndarray:
    """``vmap(jacrev)`` of all patterns at once, the norms by ``jnp`` reductions."""
    return np.asarray(_whole(params, x))


@jax.jit
def _closed_chunk(
    params: Params, x: jax.Array, peak: jax.Array
) -> tuple[jax.Array, list[jax.Array]]:
    first, second = params["layer_0"]["kernel"], params["layer_1"]
    before = x @ first
    logits = jax.nn.relu(before) @ second["kernel"] + second["bias"][None]
    q = jax.nn.softmax(logits)
    downstream = second["kernel"].T[None] - (q @ second["kernel"].T)[:, None, :]
    downstream = jnp.where((before > 0)[:, None, :], q[:, :, None] * downstream, 0)
    product = downstream.reshape(-1, HIDDEN) @ first.T
    return chunk_power_sums(product.reshape(len(x), -1, x.shape[1]), peak, PS[:2])


def closed_form(params: Params, x: np.ndarray) -> np.ndarray:
    """The products of a ReLU head written out, in our chunks with our reduction."""
    classes = params["layer_1"]["kernel"].shape[1]
    size = 1 << ((8 * 2**20 // (4 * classes * x.shape[1])).bit_length() - 1)
    if len(x) % size:
        raise ValueError(f"{len(x)} patterns are not a multiple of the chunk of {size}")
    on_device, peak = jax.device_put(params), jnp.zeros((classes, x.shape[1]))
    means = StreamedPowerMeans(PS, peak.shape)
    for start in range(0, len(x), size):
        peak, sums = _closed_chunk(on_device, x[start : start + size], peak)
        means.add(size, np.asarray(peak), [np.asarray(s) for s in sums])
    return means.result()


def torch_method(chunk: int) -> Method:
    """``torch.func.vmap(torch.func.jacrev)`` in chunks, the norms in PyTorch, float64 sums."""
    import torch

    def measure(params: Params, x: np.ndarray) -> np.ndarray:
        tensors = jax.tree.map(lambda leaf: torch.tensor(np.asarray(leaf)), params)
        first, second = tensors["layer_0"]["kernel"], tensors["layer_1"]

        def probabilities(row: torch.Tensor) -> torch.Tensor:
            hidden = torch.relu(row @ first)
            return torch.softmax(hidden @ second["kernel"] + second["bias"], 0)

        batched = torch.func.vmap(torch.func.jacrev(probabilities))
        absolute = square = peak = None
        for start in range(0, len(x), chunk):
            magnitude = batched(torch.from_numpy(x[start : start + chunk])).abs()
            sums = magnitude.sum(0).double(), magnitude.square().sum(0).double()
            highest = magnitude.amax(0)
            if absolute is None:
                (absolute, square), peak = sums, highest
            else:
                absolute, square = absolute + sums[0], square + sums[1]
                peak = torch.maximum(peak, highest)
        root = torch.sqrt(square / len(x))
        return torch.stack([absolute / len(x), root, peak.double()]).numpy()

    return measure


def methods(features: int, classes: int) -> dict[str, Method]:
    """Every method that can run here."""
    found: dict[str, Method] = {
        "evojax_prune": ours,
        "closed form, same chunks": closed_form,
        "vmap(jacrev), one array": whole,
        "jacrev, a loop over patterns": loop,
    }
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    for chunk in (16, 128):
        if 4 * chunk * classes * features < 2**30:
            found[f"torch.func, chunks of {chunk}"] = torch_method(chunk)
    return found


def compare(patterns: int, classes: int, features: int, rounds: int) -> dict:
    """Patterns a second of every method, interleaved, and how far each is from float64."""
    params, x = case(patterns, classes, features)
    candidates = methods(features, classes)
    reference = _float64(params, x[:64])
    wall: dict[str, list[float]] = {name: [] for name in candidates}
    cpu: dict[str, list[float]] = {name: [] for name in candidates}
    error = {}
    for name, method in candidates.items():  # warms every method up at the size that is timed
        method(params, x)
        found = method(params, x[:64]) if name != "closed form, same chunks" else None
        if found is not None:
            error[name] = float(np.abs(found - reference).max() / reference.max())
    exact = ours(params, x)
    gap = float(np.abs(closed_form(params, x) - exact).max() / exact.max())
    error["closed form, same chunks"] = gap
    if max(error.values()) > 1e-5:
        raise AssertionError(f"the methods disagree: {error}")
    rng = np.random.default_rng(0)
    for _ in range(rounds):
        for name in rng.permutation(list(candidates)):
            before = time.perf_counter(), time.process_time()
            candidates[name](params, x)
            wall[name].append(time.perf_counter() - before[0])
            cpu[name].append(time.process_time() - before[1])
    rows = [
        {
            "method": name,
            "patterns_per_second": patterns / float(np.median(wall[name])),
            "slowest": patterns / max(wall[name]),
            "fastest": patterns / min(wall[name]),
            "patterns_per_cpu_second": patterns / float(np.median(cpu[name])),
            "error": error[name],
        }
        for name in candidates
    ]
    return {"patterns": patterns, "classes": classes, "features": features, "rows": rows}


def _float64(params: Params, x: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), params)
        full = np.asarray(jacobian(exact, jnp.asarray(x, jnp.float64), 0, "probabilities"))
    return np.stack([power_mean(full, p) for p in PS])


def measure_one(patterns: int, classes: int, features: int) -> dict:
    """Seconds of one pass, and the process's peak memory above what it was with the features."""
    params, x = case(patterns, classes, features)
    warm_up, _ = x[: min(patterns, 2048)], jax.block_until_ready(jax.device_put(params))
    before = _peak_bytes()
    started = time.perf_counter()
    ours(params, warm_up)
    compiled = time.perf_counter() - started
    started, processor = time.perf_counter(), time.process_time()
    ours(params, x)
    return {
        "patterns": patterns,
        "classes": classes,
        "features": features,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - processor,
        "first_call_seconds": compiled,
        "megabytes_above_features": (_peak_bytes() - before) / 2**20,
    }


def _peak_bytes() -> int:
    """Highest resident size of this process, Linux; ``ru_maxrss`` would be its parent's too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def growth(full: bool) -> list[dict]:
    """One size varied at a time, each in a process of its own."""
    n, c, f = 2048, 10, 1280
    sizes = [(k * n, c, f) for k in (1, 2, 4, 8)]
    sizes += [(n, c * k, f) for k in (2, 5, 10)]
    sizes += [(n, c, f * k // 2) for k in (1, 4, 8)]
    sizes += [(50_000, 100, 2048)] if full else []
    found = []
    for size in sizes:
        words = [sys.executable, "-m", "experiments.sensitivity_speed", "--measure"]
        words += [str(number) for number in size]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
        print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def table(result: dict) -> str:
    """Both measurements as Markdown."""
    lines = []
    for block in result["comparison"]:
        lines += [
            f"N = {block['patterns']}, C = {block['classes']}, F = {block['features']}, "
            f"H = {HIDDEN}, p = 1, 2 and inf at once",
            "",
            "| method | patterns/s (slowest to fastest) | patterns per CPU second | error |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row['method']} | {row['patterns_per_second']:.0f} ({row['slowest']:.0f} to "
            f"{row['fastest']:.0f}) | {row['patterns_per_cpu_second']:.0f} | {row['error']:.0e} |"
            for row in block["rows"]
        ]
        lines.append("")
    lines += [
        "| N | C | F | seconds | CPU seconds | peak memory above the features, MB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['patterns']} | {row['classes']} | {row['features']} | {row['seconds']:.2f} | "
        f"{row['cpu_seconds']:.2f} | {row['megabytes_above_features']:.0f} |"
        for row in result["growth"]
    ]
    return "\n".join(lines) + "\n"


def picture(result: dict, path: Path) -> None:
    """Rates of the methods, and time and memory against each size."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper = figure.subfigures(2, 1)
    for axes, block in zip(
        np.atleast_1d(upper[0].subplots(1, len(result["comparison"]))),
        result["comparison"],
        strict=True,
    ):
        rows = block["rows"][::-1]
        rates = [row["patterns_per_second"] for row in rows]
        axes.barh([row["method"] for row in rows], rates)
        axes.set_xlabel("patterns per second")
        axes.set_title(f"C = {block['classes']}, F = {block['features']}", fontsize="medium")
    base = result["growth"][0]
    for axes, name in zip(
        upper[1].subplots(1, 3), ("patterns", "classes", "features"), strict=True
    ):
        others = [k for k in ("patterns", "classes", "features") if k != name]
        rows = [r for r in result["growth"] if all(r[k] == base[k] for k in others)]
        rows.sort(key=lambda row: row[name])
        sizes = [row[name] for row in rows]
        axes.loglog(sizes, [row["cpu_seconds"] for row in rows], "o-", label="CPU seconds")
        memory = [row["megabytes_above_features"] for row in rows]
        axes.loglog(sizes, np.maximum(memory, 1), "s--", label="MB above the features")
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
        axes.set_xlabel(name)
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/sensitivity-speed"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="also N = 50,000, C = 100, F = 2048")
    parser.add_argument("--measure", type=int, nargs=3, metavar=("N", "C", "F"))
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure_one(*args.measure)))
        return
    result = {
        "machine": f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"jax {jax.__version__} on {jax.default_backend()}",
        "comparison": [
            compare(1024, 10, 1280, args.rounds),
            compare(128, 100, 2048, args.rounds),
        ],
        "growth": growth(args.full),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "speed.json").write_text(json.dumps(result, indent=1), encoding="utf-8")
    (args.output / "speed.md").write_text(table(result), encoding="utf-8")
    picture(result, args.output / "speed.png")
    print(table(result))


if __name__ == "__main__":
    main()
