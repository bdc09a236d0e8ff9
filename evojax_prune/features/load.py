"""From what the user calls a data set to the features of its splits."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune import data
from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable, ImageDataset, ImageSplit, LoadOptions
from evojax_prune.features import backbones, cache
from evojax_prune.features import extract as extraction
from evojax_prune.features.backbones import Extractor
from evojax_prune.features.cache import CacheEntry, Key
from evojax_prune.features.progress import counting

_DEFAULTS: dict[str, Any] = {
    "data_dir": None,
    "backbone": backbones.DEFAULT,
    "backbone_weights": None,
    "image_size": None,
    "skip_unreadable": False,
    "groups": None,
    "extraction_batch": None,
}
"""Options that a source may read, and what they are where nothing was asked for."""


class NotExtractedError(Exception):
    """The cache does not have the features of a data set.

    Attributes:
        images: of which they are to be made.
    """

    def __init__(self, images: ImageDataset):
        super().__init__(f"the features of {images.name} are not extracted yet")
        self.images = images


def load_table(
    dataset: str,
    *,
    data_dir: Path | None = None,
    backbone: str = backbones.DEFAULT,
    backbone_weights: Path | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    groups: str | None = None,
    extraction_batch: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
    extract: bool = True,
) -> FeatureTable:
    """Features of a data set: from its source, from the cache, or else by the backbone.

    With the features cached, neither the backbone nor Keras nor TensorFlow Datasets is imported.

    Args:
        dataset: features file (``.npz``), image folder, ``digits``, a TensorFlow Datasets name, or
            what another source of :data:`evojax_prune.data.SOURCES` claims.
        data_dir: where TensorFlow Datasets keeps its data.
        backbone: a name of :func:`evojax_prune.features.backbones.available`.
        backbone_weights: file with its weights; its own if not given.
        image_size: side of the images that it sees, pixels; its own if not given.
        skip_unreadable: leave out files that are not images, instead of stopping at them.
        groups: regular expression that names each image's group, searched in its path; see
            :func:`evojax_prune.data.group_names`.
        extraction_batch: images per step of extraction; chosen if not given.
        cache_dir: where features are kept; see :func:`evojax_prune.features.cache.folder`.
        progress: show progress bars.
        extract: False looks no further than the cache.

    Raises:
        NotExtractedError: a backbone would have to run, but ``extract`` is false.
        UserError: data, backbone, weights or groups pattern that cannot be used, or an option that
            the data set's source does not read.
    """
    check_options(
        dataset,
        data_dir=data_dir,
        backbone=backbone,
        backbone_weights=backbone_weights,
        image_size=image_size,
        skip_unreadable=skip_unreadable,
        groups=groups,
        extraction_batch=extraction_batch,
    )
    extraction.checked_batch("--extraction-batch", extraction_batch)
    source = data.find_source(dataset)
    options = LoadOptions(data_dir, skip_unreadable, groups)
    if "backbone" not in source.reads:
        table = data.load(dataset, options)
        if not isinstance(table, FeatureTable):
            raise TypeError(f"{source.title} gives images, but its `reads` has no backbone")
    else:
        recipe = _Recipe(backbone, backbone_weights, image_size)
        folder = cache.folder(cache_dir)
        entries = _all_cached(folder, recipe, dataset, options)
        if entries is None:
            images = data.load(dataset, options)
            if isinstance(images, FeatureTable):
                raise TypeError(f"{source.title} gives features, but its `reads` has a backbone")
            if not extract:
                raise NotExtractedError(images)
            entries = {
                name: _entry(folder, recipe, images, split, extraction_batch, progress)
                for name, split in images.splits.items()
            }
        table = _table(entries, source.display_name(dataset), recipe.name, groups)
        decode = functools.partial(_images, dataset, options, table.names)
        table = dataclasses.replace(table, images=decode)
    return table


def content_key(dataset: str, **given: Any) -> dict[str, str]:
    """Digests of all that the rows of a data set follow from, with no image decoded.

    Args:
        dataset: as for :func:`load_table`.
        given: options of that function, but the last three.

    Returns:
        A hex digest per given split.

    Raises:
        UserError: as :func:`load_table`, as far as it shows without the images.
    """
    check_options(dataset, **given)
    asked = _DEFAULTS | given
    source = data.find_source(dataset)
    options = LoadOptions(asked["data_dir"], asked["skip_unreadable"], asked["groups"])
    if "backbone" in source.reads:
        recipe = _Recipe(asked["backbone"], asked["backbone_weights"], asked["image_size"])
        identities = data.identify(dataset, options)
        if identities is None:
            images = data.load(dataset, options)
            assert isinstance(images, ImageDataset), f"{source.title} gives features"
            identities = {name: split.identity for name, split in images.splits.items()}
        return {name: cache.key_digest(recipe.key(i)) for name, i in identities.items()}
    table = data.load(dataset, options)
    assert isinstance(table, FeatureTable), f"{source.title} gives images"
    return {name: _rows_digest(table, name) for name in table.x}


def _rows_digest(table: FeatureTable, split: str) -> str:
    """Hex digest of one split's rows."""
    content = hashlib.sha256("\0".join(table.classes).encode())
    arrays = [table.x[split], table.y[split]]
    if table.groups is not None:
        arrays.append(table.groups[split])
    for array in arrays:
        content.update(f"{array.dtype.str} {array.shape}".encode())
        content.update(np.ascontiguousarray(array).data if array.size else b"")
    return content.hexdigest()


def check_options(dataset: str, **given: object) -> None:
    """Refuse options that were given but are not read for a data set.

    Args:
        dataset: as for :func:`load_table`.
        given: options of a run by their names in a configuration; those that no source reads, and
            those that have their defaults, do not matter.

    Raises:
        UserError: unknown data set, or an option that its source does not read.
    """
    source = data.find_source(dataset)
    for name, default in _DEFAULTS.items():
        if name not in source.reads and given.get(name, default) != default:
            flag = f"--{name.replace('_', '-')}"
            instead = ": give the groups in the file" if name == "groups" else ""
            raise UserError(
                f"{flag} does nothing with {source.title}, such as {dataset}: leave it out{instead}"
            )


class _Recipe:
    """A backbone and all that its features follow from but the images; loaded when first run."""

    def __init__(self, name: str, weights: Path | None, image_size: int | None) -> None:
        self.backbone = backbones.find(name)
        self.name = self.backbone.name
        self.weights = weights
        self.image_size = backbones.checked_size(self.backbone, image_size)
        self._key: Key = {
            "backbone": self.name,
            "weights": self.backbone.weights_id(weights),
            "image_size": self.image_size,
            "preprocessing": f"{extraction.RESIZING}, {self.backbone.preprocessing}",
        }

    def key(self, identity: str) -> Key:
        """What the features of a split follow from."""
        return {"data": identity, **self._key}

    @functools.cached_property
    def net(self) -> Extractor:
        """The backbone, ready to run."""
        return backbones.load(self.name, self.weights, self.image_size)


def _all_cached(
    folder: Path, recipe: _Recipe, dataset: str, options: LoadOptions
) -> dict[str, CacheEntry] | None:
    """The entries of all splits, if the cache has them; nothing heavy is imported to see that."""
    entries = {}
    for split, identity in (data.identify(dataset, options) or {}).items():
        entry = cache.read(folder, recipe.key(identity))
        if entry is None or (options.groups is not None and entry.paths is None):
            return None
        entries[split] = entry
    return entries or None


def _entry(
    folder: Path,
    recipe: _Recipe,
    images: ImageDataset,
    split: ImageSplit,
    batch_size: int | None,
    progress: bool,
) -> CacheEntry:
    """One split's features, from the cache or made now."""
    key = recipe.key(split.identity)
    if (cached := cache.read(folder, key)) is not None:
        return cached
    with cache.locked(folder, key):  # of several runs one extracts, and the others wait for it
        if (cached := cache.read(folder, key)) is not None:
            return cached
        net = recipe.net
        source = split.images(functools.partial(extraction.resized, size=net.image_size))
        with counting(f"Features of {split.name}", len(split), shown=progress) as advance:
            features = extraction.run(
                net, source, len(split), batch_size=batch_size, advance=advance
            )
        entry = CacheEntry(
            features, split.labels, split.paths, images.classes, images.name, images.version
        )
        cache.write(folder, key, entry)
    return entry


def _images(
    dataset: str,
    options: LoadOptions,
    names: Mapping[str, Sequence[str]] | None,
    split: str,
    rows: Sequence[int],
) -> list[np.ndarray]:
    """Some images of a split, decoded anew: what ``FeatureTable.images`` is made of."""
    paths = None if names is None else names[split]
    return data.find_source(dataset).images(dataset, options, split, rows, paths)


def _table(
    entries: dict[str, CacheEntry], name: str | None, backbone: str, groups: str | None
) -> FeatureTable:
    first = next(iter(entries.values()))
    name = name or first.name
    names = {split: entry.paths for split, entry in entries.items() if entry.paths is not None}
    return FeatureTable(
        name=name,
        version=first.version,
        classes=first.classes,
        x={split: entry.features for split, entry in entries.items()},
        y={split: entry.labels for split, entry in entries.items()},
        groups=None
        if groups is None
        else {split: data.group_names(e.paths or (), groups) for split, e in entries.items()},
        source=f"{backbone} on {name} {first.version}",
        names=names if len(names) == len(entries) else None,
    )
