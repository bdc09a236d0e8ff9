"""The paper's protocol as its authors' code runs it, against ``--protocol paper`` here.

    python -m experiments.end_to_end --dataset DIR [--backbone resnet50 --image-size 300]

The authors' way, for every evaluation: all images through the backbone again, then one Keras
``fit``. A few batches and a few epochs of it are timed and the rest multiplied: images times the
median time of one, plus, head by head, the epochs that it really trained (early stopping is the
same here) times the median time of one. Ours is a whole run of the main command with an empty
feature cache, on the evaluations asked for, scaled to the paper's number: features once, and the
measured time of an evaluation for each, twice: once in the search, once among the random masks.
Random backbone weights do where there is no network: they take the same time, but heads on such
features may stop earlier than on real ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.head import head_spec
from evojax_prune.core.mode import MODES
from evojax_prune.core.protocol import Protocol
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.search.strategies import options as genetics
from experiments.contenders import Case, keras_fit
from experiments.engine_speed import CLASSES, make_splits

BATCH = 32


def keras_network(name: str) -> Callable[..., Any]:
    """A network of ``keras.applications`` by its name in lower case."""
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    # Modules have such names too.
    found = vars(keras.applications).items()
    networks = {n.lower(): f for n, f in found if callable(f)}
    if name not in networks:
        sys.exit(f"error: unknown network {name}, expected one of {', '.join(sorted(networks))}")
    return networks[name]


def seconds_an_image(backbone: str, size: int, batches: int) -> tuple[float, int]:
    """Median time of an image through a Keras backbone by ``predict``, and its features."""
    shape = (size, size, 3)
    network = keras_network(backbone)
    model = network(weights=None, include_top=False, pooling="avg", input_shape=shape)
    images = np.random.default_rng(0).random((BATCH, *shape), np.float32)
    times = []
    for _ in range(batches + 1):
        started = time.perf_counter()
        model.predict(images, batch_size=BATCH, verbose=0)
        times.append((time.perf_counter() - started) / BATCH)
    return statistics.median(times[1:]), model.output_shape[-1]


def seconds_an_epoch(mode: str, features: int, rows: int) -> float:
    """Time of an epoch of Keras's ``fit``, compiled, at density one half."""
    splits, head = make_splits(rows, features), head_spec(mode, features, CLASSES)
    genomes = np.random.default_rng(0).random((1, Pruning(head, MODES[mode]).genome_length)) < 0.5
    times = []
    for epochs in (2, 6):
        case = Case(splits, head, decode(genomes, head, mode), Protocol(epochs=epochs, patience=0))
        run = keras_fit(case)
        run(1)
        started = time.perf_counter()
        run(1)
        times.append(time.perf_counter() - started)
    return (times[1] - times[0]) / 4


def save_weights(backbone: str, size: int, file: Path) -> None:
    """Random weights in a file, for a machine that cannot download the real ones."""
    model = keras_network(backbone)(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    model.save_weights(file)


def run_ours(options: argparse.Namespace, folder: Path) -> dict:
    """A whole run of the main command with an empty cache: its seconds and its evaluations."""
    command = [sys.executable, "-m", "evojax_prune.run", "--protocol", "paper"]
    command += ["--dataset", options.dataset, "--backbone", options.backbone]
    command += ["--mode", options.mode, "--evaluations", str(options.evaluations)]
    command += ["--population", str(min(options.evaluations, genetics.PAPER["population"]))]
    command += ["--image-size", str(options.image_size), "--output", str(folder / "run")]
    if options.backbone_weights is None:
        options.backbone_weights = folder / "random.weights.h5"
        save_weights(options.backbone, options.image_size, options.backbone_weights)
    if options.backbone_weights is not None:
        command += ["--backbone-weights", str(options.backbone_weights)]
    started = time.perf_counter()
    env = {**os.environ, "EVOJAX_PRUNE_CACHE": str(folder / "cache")}
    subprocess.run(command, env=env, check=True)
    wall = time.perf_counter() - started
    with (folder / "run" / "evaluations.csv").open() as file:
        epochs = [int(row["epochs"]) for row in csv.DictReader(file)]
    result = json.loads((folder / "run" / "result.json").read_text())
    return {"wall": wall, "epochs": epochs, "result": result}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", required=True, help="image folder with train/ and test/")
    parser.add_argument("--backbone", default="resnet50", help="a keras.applications network")
    parser.add_argument("--backbone-weights", type=Path, help="by default random ones")
    parser.add_argument("--image-size", type=int, default=300, help="pixels (300, as RPS has it)")
    parser.add_argument("--mode", default="both")
    parser.add_argument("--evaluations", type=int, default=30, help="evaluations really run (30)")
    parser.add_argument("--of", type=int, default=300, help="evaluations of the paper (300)")
    parser.add_argument("--batches", type=int, default=3, help="backbone batches timed (3)")
    parser.add_argument("--output", type=Path, default=Path("runs/end_to_end.json"))
    options = parser.parse_args()
    keras_network(options.backbone)
    with tempfile.TemporaryDirectory() as folder:
        ours = run_ours(options, Path(folder))
    data, search = ours["result"]["dataset"], ours["result"]["search"]
    images = data["train"] + data["test"]
    image, features = seconds_an_image(options.backbone, options.image_size, options.batches)
    epoch = seconds_an_epoch(options.mode, features, data["train"])
    mean_epochs = statistics.mean(ours["epochs"])
    theirs = options.of * (image * images + epoch * mean_epochs)
    evaluation = search["wall_seconds"] / len(ours["epochs"])
    # A whole run also trains as many random masks as the search has evaluations.
    whole = ours["wall"] + 2 * evaluation * (options.of - len(ours["epochs"]))
    figures = {
        "images": images,
        "mean epochs of a head": mean_epochs,
        "authors: backbone, seconds an evaluation": image * images,
        "authors: fit, seconds an evaluation": epoch * mean_epochs,
        f"authors: {options.of} evaluations, hours (multiplied)": theirs / 3600,
        f"ours: run of {len(ours['epochs'])} evaluations, seconds (measured)": ours["wall"],
        "ours: seconds an evaluation (measured)": evaluation,
        f"ours: {options.of} evaluations, hours (multiplied)": whole / 3600,
        "ratio": theirs / whole,
    }
    for name, value in figures.items():
        print(f"{name:>60}  {value:.4g}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    settings = {k: str(v) for k, v in vars(options).items()}
    options.output.write_text(json.dumps({"settings": settings, "figures": figures}, indent=1))


if __name__ == "__main__":
    main()
