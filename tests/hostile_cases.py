"""Small tables, settings that prune them in no time, and files that are not what they should be."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.cli import main as command
from evojax_prune.report.result import Result

SEARCH = (
    *("--hidden", "4", "--search-protocol.epochs", "1", "--final-protocol.epochs", "1"),
    *("--population", "6", "--evaluations", "18", "--finalists", "1", "--objectives", "accuracy"),
    *("--strategy", "generational", "--init", "random"),  # compiles faster than the default
)
DENSE = ("--method", "sensitivity", "--keep", "0.5", "--hidden", "8")

NINES = "9" * 5000

Make = Callable[[Path], object]
"""Makes something at a path."""

Refused = Callable[..., None]
"""The fixture: the words of a command, and what it must say."""


def below(folder: Path) -> set[str]:
    return {os.path.join(a, name) for a, b, c in os.walk(folder) for name in (*b, *c)}


def blobs(rows: int = 30, scale: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Three classes that 3 of 12 features tell apart without a doubt."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 3
    x = rng.normal(size=(rows, 12))
    x[:, :3] += 6 * np.eye(3)[y]
    return (scale * x).astype(np.float32), y


X, Y = blobs()


def saved(path: Path, **changed: Any) -> Path:
    """A features file with some arrays changed; without those that are None."""
    arrays = {"x_train": X, "y_train": Y} | changed
    np.savez(path, allow_pickle=True, **{k: v for k, v in arrays.items() if v is not None})
    return path


def npy(
    shape: str = "(30, 12)", descr: str = "<f4", head: bytes | None = None, version: int = 1
) -> bytes:
    """A member that says of itself what it likes."""
    head = head or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}".encode()
    head = head + b" " * (-(11 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(head)) + head + bytes(1440)


def members(**contents: bytes) -> Make:
    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name.replace("__", "."), content)

    return make


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def link(target: str) -> Make:
    return lambda path: path.symlink_to(target)


def pruned(here: Path, *words: str, **changed: Any) -> Result:
    """Prune a small table; its result."""
    file, output = saved(here / "t.npz", **changed), here / "run"
    assert command.main(["--dataset", str(file), "--output", str(output), *words]) == 0
    return Result.model_validate_json((output / "result.json").read_text())
