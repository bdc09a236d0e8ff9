"""Runs to predict with: random heads in a folder, with or without a backbone, and photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.compact_head import CompactHead, compact_head, save_heads
from evojax_prune.core.head import head_spec, init_params
from evojax_prune.core.head_card import BackboneCard, DataCard, HeadCard, HeadMetrics
from evojax_prune.core.pruning import decode
from evojax_prune.core.scaling import Scale, Scaling

CLASSES = ("cat", "dog, or wolf", "élan")
METRICS = HeadMetrics(
    test_accuracy=0.9, test_interval=(0.8, 0.95), selection_accuracy=None, parameters=7
)


def card(features: int, scaling: Scale = "none", **changed: Any) -> HeadCard:
    """What a run with two hidden layers says of its head."""
    told = {
        "backbone": None,
        "features": features,
        "hidden": (12, 10),
        "scaling": scaling,
        "classes": CLASSES,
        "mode": "both",
        "grain": "neurons",
        "data": DataCard(name="pets", version="1", digest="0", train=3, selection=2, test=1),
        "metrics": {"pruned": METRICS, "dense": METRICS},
        "sentence": "Neither is better.",
        "written_by": "1",
    }
    return HeadCard.model_validate(told | changed)


def heads(
    features: int, scaling: Scale = "none", folds: int = 1, read: int | None = None
) -> tuple[CompactHead, ...]:
    """Random heads that read ``read`` random features, by default all."""
    rng = np.random.default_rng(features)
    spec = head_spec("both", features, len(CLASSES), (12, 10))
    masks = decode(rng.random((folds, 22)) < 0.7, spec, "both")
    x = rng.gamma(2, 1, (50, features)).astype(np.float32)
    x[:, 3] = 0.25  # a constant feature, which standard scaling turns to 0
    made = []
    for fold in range(folds):
        params = init_params(spec, fold)
        params["layer_0"]["kernel"] = params["layer_0"]["kernel"] * np.float32(4)
        head = compact_head(params, masks, fold)
        if read is not None:
            kept = np.sort(rng.choice(features, read, replace=False))
            (kernel, bias), *later = head.layers
            head = CompactHead(kept, ((kernel[kept], bias), *later))
        made.append(head.reading_raw(Scaling.fit(scaling, x)))
    return tuple(made)


def write_run(
    folder: Path,
    features: int = 20,
    scaling: Scale = "none",
    *,
    folds: int = 1,
    read: int | None = None,
    **changed: Any,
) -> Path:
    """A run's folder with only its ``head.safetensors``."""
    folder.mkdir()
    made = heads(features, scaling, folds, read)
    save_heads(folder / "head.safetensors", made, card(features, scaling, **changed))
    return folder


def backbone(name: str, image_size: int) -> BackboneCard:
    """The card of a backbone with its own weights."""
    from evojax_prune.features.extract import backbone_card

    return backbone_card(name, None, image_size)


def photographs(count: int) -> list[np.ndarray]:
    """Crops ``uint8 [h, w, 3]`` of scikit-learn's two photographs, of several sizes."""
    from sklearn.datasets import load_sample_images

    whole = load_sample_images().images
    rng = np.random.default_rng(0)
    crops = []
    for i in range(count):
        image = whole[i % 2]
        height, width = rng.integers(60, 300, 2)
        top, left = rng.integers(image.shape[0] - height), rng.integers(image.shape[1] - width)
        crops.append(np.ascontiguousarray(image[top : top + height, left : left + width]))
    return crops
