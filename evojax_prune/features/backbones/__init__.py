"""Frozen ImageNet networks that turn images into features.

Importing this package imports neither Flax nor Keras: :func:`load` does, when it is called.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evojax_prune.features.backbones.registry import (
    DEFAULT,
    KERAS,
    LITE,
    available,
    canonical,
    network,
    weights_file,
    weights_id,
)

if TYPE_CHECKING:
    from evojax_prune.features.backbones.backbone import Backbone

__all__ = [
    "DEFAULT",
    "KERAS",
    "LITE",
    "available",
    "canonical",
    "load",
    "network",
    "weights_file",
    "weights_id",
]


def load(name: str, weights: Path | None = None, image_size: int | None = None) -> Backbone:
    """A backbone, ready to run.

    Args:
        name: one of :func:`available`; case, dashes and the like do not matter.
        weights: file with the weights; the ImageNet weights if not given.
        image_size: side of the square images, pixels; the backbone's own if not given.

    Raises:
        UserError: no such backbone; its weights are missing, damaged or of another network; or it
            cannot take images of this size.
    """
    name = canonical(name)
    known = network(name)
    file = weights_file(name, weights)
    size = image_size or known.image_size
    if file is not None and name in LITE:
        from evojax_prune.features.backbones import lite

        return lite.load(name, file, size)
    from evojax_prune.features.backbones import keras_networks

    return keras_networks.load(name, file, size)
