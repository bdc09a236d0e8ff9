"""A table that is small enough to be quick, and runs of the main command on it."""

from __future__ import annotations

import csv
import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from evojax_prune.cli import main as command
from evojax_prune.methods import search as searching
from evojax_prune.report.result import Result
from evojax_prune.search import Evaluation

FILES = {
    "best_mask.npz",
    "config.yaml",
    "convergence.png",
    "evaluations.csv",
    "front.csv",
    "front.png",
    "head.safetensors",
    "report.html",
    "result.json",
}
TRAINING = (
    *("--protocol", "holdout"),
    *("--hidden", "12", "--search-protocol.epochs", "2", "--final-protocol.epochs", "6"),
    *("--final-protocol.learning-rate", "0.02"),
)
SIZES = ("--population", "6", "--evaluations", "14", "--finalists", "2")
QUICK = (*TRAINING, *SIZES)


TWO_LAYERS = ("--hidden", "12", "10")


def blobs(rows: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that 4 of 20 features tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 20))
    x[:, :4] += 1.3 * np.eye(3, 4)[y] + shift
    return x.astype(np.float32), y


def write_table(path: Path) -> Path:
    """Of three classes; the test rows are shifted a little."""
    x, y = blobs(120, 0)
    x_test, y_test = blobs(60, 1, shift=0.3)
    np.savez(path, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return path


Run = Callable[..., Result]
"""The fixture: flags, and the name of the run's folder."""


def run_on(table: Path) -> Run:
    """What runs the command on a table, beside it, and returns what that wrote."""

    def run(*args: str, name: str = "results") -> Result:
        output = table.parent / name
        quick = TRAINING if "sensitivity" in args and "--method" in args else QUICK
        status = command.main(["--dataset", str(table), "--output", str(output), *quick, *args])
        assert status == 0
        assert not output.with_name(f"{name}.partial").exists()
        return Result.model_validate_json((output / "result.json").read_text())

    return run


def environment() -> dict[str, str]:
    """For a process of its own: this test's cache folder, and the package wherever it starts."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def numbers(result: Result) -> dict[str, object]:
    """A result without its times."""
    plain = result.model_dump()
    for name in ("wall_seconds", "compile_seconds", "engine", "paths", "resumed"):
        plain["search"].pop(name)
    plain.pop("wall_seconds")
    return plain


def evaluations(folder: Path) -> list[dict[str, str]]:
    with (folder / "evaluations.csv").open() as file:
        return list(csv.DictReader(file))


def predict(head: dict[str, np.ndarray], features: np.ndarray, prefix: str = "") -> np.ndarray:
    """The recipe of the README, word for word but for the prefix."""
    x = features[:, head[f"{prefix}features"]]
    layers = sum(name.startswith(prefix) and name.endswith(".kernel") for name in head)
    for i in range(layers):
        x = x @ head[f"{prefix}layer_{i}.kernel"]
        if f"{prefix}layer_{i}.bias" in head:
            x = x + head[f"{prefix}layer_{i}.bias"]
        if i < layers - 1:
            x = np.maximum(x, 0)
    return x.argmax(1)


def interrupted_after(
    calls: int, number: signal.Signals | None = None
) -> type[searching.Evaluator]:
    """An evaluator in whose last call an interrupt or a signal comes."""

    class Interrupted(searching.Evaluator):
        left = calls

        def __call__(self, genomes: np.ndarray, occasion: int | None = None) -> Evaluation:
            if not self.left:
                if number is None:
                    raise KeyboardInterrupt
                signal.raise_signal(number)
            self.left -= 1
            return super().__call__(genomes, occasion)

    return Interrupted


def pictures(folder: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{i}.png")
    return folder


def saved(path: Path, **arrays: np.ndarray) -> Path:
    x, y = blobs(30, 0)
    np.savez(path, **({"x_train": x, "y_train": y} | arrays))
    return path
