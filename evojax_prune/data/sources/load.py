"""From what the user calls a data set to its images, and to its identity before it is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.data.images import ImageDataset
from evojax_prune.data.sources import digits, folder, tfds
from evojax_prune.data.sources import tfds_prepared as prepared
from evojax_prune.data.sources.listing import list_folder
from evojax_prune.data.splitting.counts import check_class_counts
from evojax_prune.data.splitting.groups import group_names

Kind = Literal["digits", "features", "folder", "tfds"]


def dataset_kind(dataset: str) -> Kind:
    """What a data set's name stands for: the digits, a features file, a folder, or a TFDS name.

    A folder of the name comes before a TensorFlow Datasets name, unless it is where TensorFlow
    Datasets keeps the data.

    Raises:
        UserError: a path where there is no folder.
    """
    if dataset == "digits":
        return "digits"
    if dataset.lower().endswith(".npz"):
        return "features"
    path = Path(dataset).expanduser()
    tfds_made = path.is_dir() and prepared.is_prepared(path)
    if path.is_dir() and not tfds_made:
        return "folder"
    if path.is_file():
        raise UserError(
            f"{dataset} is a file, expected an image folder, a features file (.npz), digits, or a"
            " TensorFlow Datasets name"
        )
    if prepared.is_name(dataset):
        return "tfds"
    if tfds_made:
        raise UserError(
            f"{dataset} holds a data set of TensorFlow Datasets: name it and the folder above, such"
            " as --dataset cifar10 --data-dir DIR"
        )
    raise UserError(f"there is no image folder {dataset}: check the path")


def identify(
    dataset: str, data_dir: Path | None = None, *, skip_unreadable: bool = False
) -> dict[str, str] | None:
    """Digest of the content of each given split, without decoding, TensorFlow Datasets or Keras.

    Args:
        dataset: as for :func:`load_images`.
        data_dir: as for :func:`load_images`.
        skip_unreadable: as for :func:`load_images`.

    Returns:
        For each given split what ``ImageSplit.identity`` will be; None where that is unknown before
        loading, since the data set has to be prepared first.

    Raises:
        UserError: as :func:`load_images`, as far as it shows without decoding.
    """
    kind = dataset_kind(dataset)
    if kind == "digits":
        return digits.identities()
    if kind == "folder":
        return folder.identities(list_folder(Path(dataset).expanduser()), skip_unreadable)
    if kind == "tfds":
        return tfds.identities(dataset, data_dir)
    raise ValueError(f"{dataset} holds features, not images: use load_features_file")


def load_images(
    dataset: str,
    data_dir: Path | None = None,
    *,
    skip_unreadable: bool = False,
    download: bool = True,
    groups: str | None = None,
) -> ImageDataset:
    """Images of a data set, none of them decoded yet.

    Args:
        dataset: ``digits``, an image folder, or a TensorFlow Datasets name such as ``cifar10``,
            ``cifar10:3.0.2`` or ``imagenet_resized/32x32``.
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
        skip_unreadable: leave files out that are no images, instead of stopping at them.
        download: let TensorFlow Datasets download and prepare what is not there.
        groups: regular expression that will name the groups, only checked here: better now than
            after the features have been computed.

    Raises:
        UserError: no such data set, a layout or files that cannot be used, a class with one image,
            a groups pattern that does not match.
    """
    kind = dataset_kind(dataset)
    if kind == "digits":
        data = digits.load_digits()
    elif kind == "folder":
        data = folder.load_folder(Path(dataset).expanduser(), skip_unreadable)
    elif kind == "tfds":
        data = tfds.load(dataset, data_dir, download)
    else:
        raise ValueError(f"{dataset} holds features, not images: use load_features_file")
    for name, split in data.splits.items():
        if name != "test":
            _check_trainable(name, split.labels, data.classes)
    if groups is not None:
        check_groups(data, groups)
    return data


def check_groups(data: ImageDataset, pattern: str) -> None:
    """See that a groups pattern names the group of every image.

    Raises:
        UserError: it does not, or the images have no names to search.
    """
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
