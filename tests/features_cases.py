"""Images that are extracted in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evojax_prune import data
from evojax_prune.features import backbones, load_table
from evojax_prune.features.backbones import Extractor

SIZE = 16


def insects(root: Path) -> Path:
    """A small image folder: two classes, five training and three test images of each."""
    random = np.random.default_rng(0)
    for split, count in (("train", 5), ("test", 3)):
        for name in ("ants", "bees"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 256, (12, 20, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{split[0]}0{i % 2}-{i}.png")
    return root


def quick_backbones(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A quick backbone for every name; the names that were loaded."""
    names: list[str] = []

    def load(name: str, weights: Path | None, image_size: int) -> Extractor:
        names.append(name)
        return Extractor(name, image_size, 3, lambda x: x.mean((1, 2)).astype(np.float32))

    monkeypatch.setattr(backbones, "load", load)
    return names


def table(folder: Path | str, **options: Any) -> data.FeatureTable:
    return load_table(str(folder), image_size=SIZE, **options)
