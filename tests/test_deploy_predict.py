"""A run as a classifier: the run's own predictions, of anything; and refusals in one sentence."""

from __future__ import annotations

from pathlib import Path

import deploy_cases
import numpy as np
import pytest

from evojax_prune.features.backbones import BACKBONES, register_backbone

NAME, SIZE = "three-means", 16


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> str:
    """A backbone of six features: mean and spread of each colour."""
    monkeypatch.setattr("evojax_prune.features.backbones.registry.BACKBONES", dict(BACKBONES))
    monkeypatch.setitem(BACKBONES, NAME, None)  # type: ignore[arg-type]
    monkeypatch.delitem(BACKBONES, NAME)

    def function(images: np.ndarray) -> np.ndarray:
        x = images.astype(np.float32) / 64
        return np.concatenate([x.mean((1, 2)), x.std((1, 2))], 1)

    register_backbone(NAME, function, image_size=SIZE, version="1")
    monkeypatch.setitem(BACKBONES, NAME, __import__("evojax_prune").features.backbones.find(NAME))
    return NAME


@pytest.fixture
def run(tmp_path: Path, means: str) -> Path:
    return deploy_cases.write_run(
        tmp_path / "run", 6, "standard", backbone=deploy_cases.backbone(means, SIZE)
    )
