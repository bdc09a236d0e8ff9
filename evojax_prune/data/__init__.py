"""From what the user has, images or features, to the train, selection and test splits."""

from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources.load import check_groups, dataset_kind, identify, load_images
from evojax_prune.data.splitting.groups import group_names
from evojax_prune.data.splitting.partition import make_splits
from evojax_prune.data.table import FeatureTable, load_features_file

__all__ = [
    "FeatureTable",
    "ImageDataset",
    "ImageSplit",
    "check_groups",
    "dataset_kind",
    "group_names",
    "identify",
    "load_features_file",
    "load_images",
    "make_splits",
]
