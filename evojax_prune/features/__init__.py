"""Images become features once: extraction by a backbone, and the cache on disk."""

from evojax_prune.features.backbones import BACKBONES, register_backbone
from evojax_prune.features.extract import extract_features
from evojax_prune.features.load import (
    NotExtractedError,
    check_options,
    content_key,
    load_table,
)

__all__ = [
    "BACKBONES",
    "NotExtractedError",
    "check_options",
    "content_key",
    "extract_features",
    "load_table",
    "register_backbone",
]
