"""How the engine's cost grows with the population, the training rows, the features, the density.

    python -m experiments.engine_curves [--output runs/engine_curves.json]

One quantity varies at a time around ``both``, P=30, N=1000, F=2048, density 0.5. Each point is the
median over turns in which all points of a curve take their turn. Writes a JSON and, where
matplotlib is installed, a picture beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

from experiments.contenders import engine
from experiments.engine_speed import make_case

BASE = {"mode": "both", "features": 2048, "rows": 1000, "members": 30, "density": 0.5}
EPOCHS = 5
CURVES: dict[str, list] = {
    "members": [1, 4, 16, 64, 256, 1024],
    "rows": [100, 300, 1000, 2400, 6000],
    "features": [256, 512, 1280, 2048, 4096],
    "density": [0.05, 0.1, 0.25, 0.5, 0.75, 1.0],
}


def curve(name: str, values: list, repeats: int) -> list[dict]:
    """Seconds a member-epoch at each value of one quantity, the others at their base."""
    cases = [make_case(**{**BASE, name: value}, epochs=EPOCHS) for value in values]
    runs = [engine(case) for case in cases]
    times: list[list[float]] = [[] for _ in values]
    for turn in range(repeats + 1):
        for i, (run, case) in enumerate(zip(runs, cases, strict=True)):
            started = time.perf_counter()
            run(len(case.masks))
            if turn:  # the first is the warm-up
                times[i].append((time.perf_counter() - started) / (len(case.masks) * EPOCHS))
    return [
        {name: value, "seconds": statistics.median(t), "rate": 1 / statistics.median(t)}
        for value, t in zip(values, times, strict=True)
    ]


def draw(curves: dict[str, list[dict]], file: Path) -> None:
    """Four panels, log scales; skipped with a sentence where matplotlib is not installed."""
    try:
        import matplotlib
    except ImportError:
        print("no picture: matplotlib is not installed")
        return
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), sharey=True, layout="constrained")
    for ax, (name, points) in zip(axes.flat, curves.items(), strict=True):
        ax.loglog([p[name] for p in points], [p["rate"] for p in points], "o-")
        ax.set_xlabel({"members": "population P", "rows": "training rows N"}.get(name, name))
        ax.set_ylabel("member-epochs / s")
        ax.set_xticks([p[name] for p in points], [f"{p[name]:g}" for p in points])
        ax.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        ax.yaxis.set_major_formatter("{x:g}")
        ax.grid(alpha=0.3, which="both")
    base = ", ".join(f"{k} {v}" for k, v in BASE.items())
    figure.suptitle(f"Engine speed around {base}", fontsize=10)
    figure.savefig(file, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="turns a point (3)")
    parser.add_argument("--output", type=Path, default=Path("runs/engine_curves.json"))
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    curves = {}
    for name, values in CURVES.items():
        curves[name] = curve(name, values, options.repeats)
        print(f"{name:>9}  member-epochs/s")
        for point in curves[name]:
            print(f"{point[name]:>9}  {point['rate']:.3g}", flush=True)
    options.output.write_text(json.dumps({"base": BASE, "curves": curves}, indent=1))
    draw(curves, options.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
