"""Where images and features come from, one file per source."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from evojax_prune.core.class_names import check_class_names
from evojax_prune.core.errors import UserError
from evojax_prune.data.files import is_file
from evojax_prune.data.images import ImageDataset
from evojax_prune.data.sources.digits import Digits
from evojax_prune.data.sources.folder import ImageFolder
from evojax_prune.data.sources.npz import FeaturesFile
from evojax_prune.data.sources.source import LoadOptions, Source
from evojax_prune.data.sources.tfds import NamedDataset
from evojax_prune.data.splitting.checks import check_class_counts
from evojax_prune.data.splitting.groups import group_names
from evojax_prune.data.table import FeatureTable, check_labels, check_rows

SOURCES: dict[str, Source] = {
    "tfds": NamedDataset(),
    "folder": ImageFolder(),
    "npz": FeaturesFile(),
    "digits": Digits(),
}
"""All sources. The last one is asked first, so that a new one comes before the built-in ones."""


def find_source(dataset: str) -> Source:
    """The source that is meant by what the user calls a data set.

    Raises:
        UserError: no source claims it.
    """
    for source in reversed(SOURCES.values()):
        if source.claims(dataset):
            return source
    path = Path(dataset).expanduser()
    try:
        os.stat(path)
    except PermissionError as error:
        raise UserError(f"cannot read the data set {path}: {error.strerror}") from None
    except (OSError, ValueError):  # not there, or no path
        pass
    what = "is a file" if is_file(path) else "is not there"
    titles = [source.title for source in reversed(SOURCES.values())]
    raise UserError(
        f"the data set {dataset[:200]!r} {what}, expected {', '.join(titles[:-1])} or {titles[-1]}:"
        " check the path or the name"
    )


def identify(dataset: str, options: LoadOptions | None = None) -> dict[str, str] | None:
    """Digest of the content of each given split; see :meth:`Source.identify`."""
    return find_source(dataset).identify(dataset, options or LoadOptions())


def load(dataset: str, options: LoadOptions | None = None) -> FeatureTable | ImageDataset:
    """A data set's features, or its images, none of them decoded yet.

    Args:
        dataset: ``digits``, an image folder, a features file (``.npz``), a TensorFlow Datasets name
            such as ``cifar10``, ``cifar10:3.0.2`` or ``imagenet_resized/32x32``, or what another
            source claims.
        options: how it is loaded. A groups pattern is checked here, before features are computed.

    Raises:
        UserError: unknown data set, a layout or files that cannot be used, a class with too few
            images, a groups pattern that does not match.
    """
    options = options or LoadOptions()
    source = find_source(dataset)
    data = source.load(dataset, options)
    if not isinstance(data, FeatureTable | ImageDataset):
        raise UserError(
            f"the source of {dataset} ({source.title}) gives {type(data).__name__}, expected a "
            "FeatureTable or an ImageDataset: mend its plugin"
        )
    check_class_names(data.classes, data.name)
    try:
        if isinstance(data, FeatureTable):
            for name, x in data.x.items():
                check_rows(x, data.y[name], len(data.classes))
        else:
            for split in data.splits.values():
                check_labels(split.labels, len(data.classes))
    except ValueError as error:
        raise UserError(f"the source of {dataset} ({source.title}): {error}") from None
    if isinstance(data, ImageDataset):
        for name, split in data.splits.items():
            if name != "test":
                _check_trainable(name, split.labels, data.classes)
        if options.groups is not None:
            _check_groups(data, options.groups)
    return data


def _check_groups(data: ImageDataset, pattern: str) -> None:
    """See that a groups pattern names the group of every image."""
    for split in data.splits.values():
        if split.paths is None:
            raise UserError(
                f"--groups needs file names, which the images of {data.name} do not have: leave it"
                " out, or save the images as a folder"
            )
        group_names(split.paths, pattern)


def _check_trainable(name: str, labels: np.ndarray, classes: tuple[str, ...]) -> None:
    purpose = "in train and selection" if name == "train" else "in train, selection and test"
    check_class_counts(labels, classes, 2 if name == "train" else 3, f"to be {purpose}")
