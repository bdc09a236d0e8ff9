"""Small populations for the engine's tests."""

from __future__ import annotations

import numpy as np

from evojax_prune.core.head import HeadSpec, head_spec
from evojax_prune.core.masks import Masks
from evojax_prune.core.mode import MODES
from evojax_prune.core.pruning import Pruning, decode
from evojax_prune.core.splits import FeatureSplits, Split


def make_splits(
    rows: int = 70, features: int = 40, classes: int = 3, test_rows: int = 1000, seed: int = 0
) -> FeatureSplits:
    """Overlapping Gaussian classes behind a ReLU, as backbone features look."""
    rng = np.random.default_rng(seed)
    centres = 0.5 * rng.standard_normal((classes, features))

    def draw(n: int) -> Split:
        y = rng.integers(0, classes, n).astype(np.int32)
        x = np.maximum(centres[y] + rng.standard_normal((n, features)), 0)
        return Split(x.astype(np.float32), y)

    names = tuple(f"class {c}" for c in range(classes))
    return FeatureSplits(draw(rows), draw(50), draw(test_rows), names)


def make_head(mode: str, splits: FeatureSplits, widths: tuple[int, ...] | None = None) -> HeadSpec:
    widths = widths or ((24,) if mode == "features" else (24, 16))
    return head_spec(mode, splits.train.x.shape[1], len(splits.classes), widths)


def make_masks(head: HeadSpec, mode: str, grain: str = "neurons", seed: int = 0) -> Masks:
    """All on, nearly all on, one bit on, all off."""
    rng = np.random.default_rng(seed)
    length = Pruning(head, MODES[mode], grain).genome_length
    genomes = np.stack(
        [
            np.ones(length, bool),
            rng.random(length) < 0.9,
            np.arange(length) == length // 2,
            np.zeros(length, bool),
        ]
    )
    return decode(genomes, head, mode, grain)


def way(words: str) -> dict[str, str | None]:
    """Arguments of ``fit_population`` for an engine and a form, as in ``"xla dual workers"``."""
    engine, _, form = words.partition(" ")
    return {"engine": engine, "form": form or None}
