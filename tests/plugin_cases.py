"""Plugins that tests write, and a table for runs with them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evojax_prune.data import SOURCES
from evojax_prune.engine import OPTIMIZERS
from evojax_prune.features import BACKBONES
from evojax_prune.methods import METHODS
from evojax_prune.objectives import OBJECTIVES
from evojax_prune.report.writers import WRITERS
from evojax_prune.run.trackers import TRACKERS

QUICK = (
    *("--hidden", "8", "--population", "6", "--evaluations", "12", "--finalists", "2"),
    *("--search-protocol.epochs", "1", "--final-protocol.epochs", "3"),
)


@contextlib.contextmanager
def own_registries() -> Iterator[None]:
    """What is registered within is forgotten after it."""
    known = (METHODS, OBJECTIVES, OPTIMIZERS, SOURCES, BACKBONES, TRACKERS, WRITERS)
    before = [dict(registry) for registry in known]
    try:
        yield
    finally:
        for registry, content in zip(known, before, strict=True):
            registry.clear()
            registry.update(content)


def plugin(folder: Path, name: str, text: str) -> Path:
    file = folder / f"{name}.py"
    file.write_text(text)
    return file


def write_table(folder: Path) -> Path:
    """Three classes, as a features file and as lines of text."""
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = rng.normal(size=(90, 12)) + 1.5 * np.eye(3, 12)[y]
    np.savez(folder / "table.npz", x_train=x, y_train=y)
    np.savetxt(folder / "table.lines", np.column_stack([x, y]))
    return folder / "table.npz"
