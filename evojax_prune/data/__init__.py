"""From what the user has, images or features, to the train, selection and test splits."""

from evojax_prune.core.scaling import Scaling, scale_splits
from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources import SOURCES, find_source, identify, load
from evojax_prune.data.sources.arrays import table_of
from evojax_prune.data.sources.source import IMAGE_OPTIONS, LoadOptions, Source
from evojax_prune.data.splitting.groups import group_names
from evojax_prune.data.splitting.partition import ResampledSplits, make_splits
from evojax_prune.data.splitting.resampling import Resampler
from evojax_prune.data.splitting.shares import with_shares
from evojax_prune.data.table import FeatureTable

__all__ = [
    "IMAGE_OPTIONS",
    "SOURCES",
    "FeatureTable",
    "ImageDataset",
    "ImageSplit",
    "LoadOptions",
    "ResampledSplits",
    "Resampler",
    "Scaling",
    "Source",
    "find_source",
    "group_names",
    "identify",
    "load",
    "make_splits",
    "scale_splits",
    "table_of",
    "with_shares",
]
