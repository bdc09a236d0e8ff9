"""Frozen networks that turn images into features.

Importing this package imports neither Flax nor Keras: :func:`load` does, when it is called.
"""

from evojax_prune.features.backbones.backbone import IMAGE_SIZES, Backbone, Extractor, checked_size
from evojax_prune.features.backbones.families import KERAS, LITE
from evojax_prune.features.backbones.registry import (
    BACKBONES,
    DEFAULT,
    available,
    find,
    load,
    register_backbone,
)

__all__ = [
    "BACKBONES",
    "DEFAULT",
    "IMAGE_SIZES",
    "KERAS",
    "LITE",
    "Backbone",
    "Extractor",
    "available",
    "checked_size",
    "find",
    "load",
    "register_backbone",
]
