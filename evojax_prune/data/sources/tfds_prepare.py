"""TensorFlow Datasets at work: finding a data set by its name, downloading and preparing it."""

from __future__ import annotations

import dataclasses
import difflib
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError, described, said_of
from evojax_prune.data.sources.tfds_prepared import Prepared, data_root, read_prepared

_FILE_KEYS = ("image/filename", "filename", "file_name", "image/id", "image_id", "id")
"""Features that name the image's file, by which groups can be told apart."""


@dataclasses.dataclass(frozen=True)
class Keys:
    """Features of a data set: the image, its class, and the name of its file, if it has one."""

    image: str
    label: str
    file: str | None


def import_tfds() -> ModuleType:
    """TensorFlow Datasets, imported now.

    Raises:
        UserError: it is not installed.
    """
    try:
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            "named data sets need TensorFlow Datasets, which cannot be imported "
            f"({said_of(error)}): pip install tensorflow-datasets array-record importlib-resources"
        ) from error
    return tensorflow_datasets


def prepare(dataset: str, data_dir: Path | None, download: bool) -> Prepared:
    """Download a data set and write it as array_record files, which read without TensorFlow.

    Raises:
        UserError: no such data set, no images with classes in it, or any way in which downloading
            or preparing failed, with the way to do it by hand.
    """
    root = data_root(data_dir)
    builder = _builder(dataset, root)
    find_keys(builder)
    if not download:
        raise UserError(f"{dataset} is not in {root}: prepare it there, or allow the download")
    _check_network(builder, root)
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # each data set's own code runs here
        raise UserError(_failure(builder, root, error)) from error
    return read_prepared(Path(builder.data_dir))


def find_keys(builder: Any) -> Keys:
    """Which features of a data set are the image, the class and the file's name.

    The data set's supervised pair if that is an image and a class; else its only ones, or those
    called ``image`` and ``label``.

    Raises:
        UserError: it has no image or no class.
    """
    kinds = import_tfds().features
    features = dict(builder.info.features.items())
    images = [
        key
        for key, feature in features.items()
        if isinstance(feature, kinds.Image) and not isinstance(feature, kinds.LabeledImage)
    ]
    labels = [key for key, feature in features.items() if isinstance(feature, kinds.ClassLabel)]
    names = [key for key, feature in features.items() if isinstance(feature, kinds.Text)]
    pair = builder.info.supervised_keys or ()
    image = _choose(images, pair, "image")
    label = _choose(labels, pair, "label")
    if image is None or label is None:
        raise UserError(
            f"{builder.name} has no image with one class to learn (its features:"
            f" {', '.join(features)}): only image classification data sets can be used"
        )
    pixels = np.dtype(features[image].np_dtype)
    if pixels not in (np.uint8, np.uint16):
        raise UserError(
            f"{builder.name} has images of {pixels} pixels,"
            " expected 8 or 16 bits: save it as an image folder"
        )
    file = next((key for key in _FILE_KEYS if key in names), None)
    return Keys(image, label, file)


def _choose(candidates: list[str], pair: tuple[Any, ...], usual: str) -> str | None:
    for key in (*pair, usual):
        if key in candidates:
            return str(key)
    return candidates[0] if len(candidates) == 1 else None


def _builder(dataset: str, root: Path) -> Any:
    tfds = import_tfds()
    try:
        return tfds.builder(dataset, data_dir=root)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise UserError(_unknown(dataset)) from error
    except Exception as error:  # the data set's own code
        if _lacks_tensorflow(error):
            raise UserError(_tensorflow_needed(dataset)) from error
        raise UserError(f"TensorFlow Datasets refuses {dataset!r}: {said_of(error)}") from error


def _unknown(dataset: str) -> str:
    names = ["digits", *import_tfds().list_builders(with_community_datasets=False)]
    words = dataset.lower().split(":")[0].split("/")
    near = [n for word in words for n in difflib.get_close_matches(word, names, n=5)]
    near += [n for n in names if words[-1] in n and n not in near]
    hint = f"near it are {', '.join(near[:5])}" if near else "see tensorflow.org/datasets/catalog"
    return f"{dataset!r} is neither a folder nor a data set that TensorFlow Datasets knows ({hint})"


def _check_network(builder: Any, root: Path) -> None:
    """Stop at once where no host can be reached, rather than after minutes of retries.

    Only asked where nothing was downloaded before (by hand, perhaps) and no proxy is set, which
    would find the hosts itself.
    """
    downloads = root / "downloads"
    fetched = (p for p in downloads.rglob("*") if p.is_file() and ".tmp." not in str(p))
    if urllib.request.getproxies() or any(fetched):
        return
    for host in {urllib.parse.urlparse(url).hostname for url in builder.url_infos or ()}:
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise UserError(_failure(builder, root, error)) from error


def _failure(builder: Any, root: Path, error: Exception) -> str:
    if _lacks_tensorflow(error):
        return _tensorflow_needed(builder.name)
    return (
        f"{builder.name} is not in {root} and TensorFlow Datasets could not prepare it"
        f" ({described(error)}): {_by_hand(builder, root)}"
    )


def _by_hand(builder: Any, root: Path) -> str:
    manual = root / "downloads" / "manual"
    folder = "or unpack the images into a folder DIR/<class>/* and run with --dataset DIR"
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS:
        asked = " ".join(builder.MANUAL_DOWNLOAD_INSTRUCTIONS.split())
        return f"it has to be downloaded by hand into {manual} ({asked}), {folder}"
    files = [
        f"{url} as {manual / info.filename}"
        for url, info in (builder.url_infos or {}).items()
        if info.filename
    ]
    if not files:
        return f"check the network, {folder}"
    return f"check the network, or download by hand {' and '.join(files[:3])}, {folder}"


def _tensorflow_needed(name: str) -> str:
    return (
        f"{name} can only be prepared by TensorFlow, which is not installed: pip install"
        " tensorflow and run again (reading the prepared data set needs it no more), or save the"
        " images as a folder DIR/<class>/* and run with --dataset DIR"
    )


def _lacks_tensorflow(error: BaseException) -> bool:
    return any(
        isinstance(e, ImportError) and (e.name or "").split(".")[0] == "tensorflow"
        for e in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
