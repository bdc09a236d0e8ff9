"""Images become features once: extraction by a backbone, and the cache on disk."""

from evojax_prune.features.extract import extract_features
from evojax_prune.features.load import load_table

__all__ = ["extract_features", "load_table"]
