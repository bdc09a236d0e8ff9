"""From what the user calls a data set to the features of its splits."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from evojax_prune import data
from evojax_prune.core.errors import UserError
from evojax_prune.data import FeatureTable, ImageDataset, ImageSplit
from evojax_prune.features import backbones, cache, extract
from evojax_prune.features.cache import Entry, Key
from evojax_prune.features.progress import counting

if TYPE_CHECKING:
    from evojax_prune.features.backbones.backbone import Backbone


def load_table(
    dataset: str,
    *,
    data_dir: Path | None = None,
    backbone: str = backbones.DEFAULT,
    backbone_weights: Path | None = None,
    image_size: int | None = None,
    skip_unreadable: bool = False,
    groups: str | None = None,
    batch_size: int | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> FeatureTable:
    """Features of a data set: from a features file, from the cache, or else by the backbone.

    With the features cached, neither the backbone nor Keras nor TensorFlow Datasets is imported.

    Args:
        dataset: features file (``.npz``), image folder, ``digits`` or a TensorFlow Datasets name.
        data_dir: where TensorFlow Datasets keeps its data.
        backbone: a name of :func:`evojax_prune.features.backbones.available`.
        backbone_weights: file with its weights; the ImageNet weights if not given.
        image_size: side of the images that it sees, pixels; its own if not given.
        skip_unreadable: leave files out that are no images, instead of stopping at them.
        groups: regular expression that names each image's group, searched in its path.
        batch_size: images a step of extraction; chosen if not given.
        cache_dir: where features are kept; see :func:`evojax_prune.features.cache.folder`.
        progress: show progress bars.

    Raises:
        UserError: data, backbone, weights or groups pattern that cannot be used.
    """
    if data.dataset_kind(dataset) == "features":
        if groups is not None:
            raise UserError(
                f"--groups searches file names, which the features file {dataset} does not have: "
                "give the groups in it, as groups_train and groups_test"
            )
        return data.load_features_file(Path(dataset).expanduser())
    recipe = _Recipe(backbone, backbone_weights, image_size)
    folder = cache.folder(cache_dir)
    entries = _all_cached(folder, recipe, dataset, data_dir, skip_unreadable, groups)
    if entries is None:
        images = data.load_images(dataset, data_dir, skip_unreadable=skip_unreadable, groups=groups)
        entries = {
            name: _entry(folder, recipe, images, split, batch_size, progress)
            for name, split in images.splits.items()
        }
    return _table(entries, _shown_name(dataset), recipe.name, groups)


class _Recipe:
    """A backbone and all that its features follow from but the images; loaded when first run."""

    def __init__(self, backbone: str, weights: Path | None, image_size: int | None) -> None:
        self.name = backbones.canonical(backbone)
        self.weights = weights
        known = backbones.network(self.name)
        self.image_size = image_size or known.image_size
        self._key: Key = {
            "backbone": self.name,
            "weights": backbones.weights_id(self.name, weights),
            "image_size": self.image_size,
            "preprocessing": f"{extract.RESIZING}, {known.preprocessing}",
        }

    def key(self, identity: str) -> Key:
        """What the features of a split follow from."""
        return {"data": identity, **self._key}

    @functools.cached_property
    def net(self) -> Backbone:
        """The backbone."""
        return backbones.load(self.name, self.weights, self.image_size)


def _all_cached(
    folder: Path,
    recipe: _Recipe,
    dataset: str,
    data_dir: Path | None,
    skip_unreadable: bool,
    groups: str | None,
) -> dict[str, Entry] | None:
    """The entries of all splits, if the cache has them; nothing heavy is imported to see that."""
    identities = data.identify(dataset, data_dir, skip_unreadable=skip_unreadable) or {}
    entries = {}
    for split, identity in identities.items():
        entry = cache.read(folder, recipe.key(identity))
        if entry is None or (groups is not None and entry.paths is None):
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
) -> Entry:
    """One split's features, from the cache or made now."""
    key = recipe.key(split.identity)
    cached = cache.read(folder, key)
    if cached is not None:
        return cached
    net = recipe.net
    source = split.images(functools.partial(extract.resized, size=net.image_size))
    with counting(f"Features of {split.name}", len(split), shown=progress) as advance:
        features = extract.run(net, source, len(split), batch_size=batch_size, advance=advance)
    entry = Entry(features, split.labels, split.paths, images.classes, images.name, images.version)
    cache.write(folder, key, entry)
    return entry


def _shown_name(dataset: str) -> str | None:
    """A folder's own name: equal images share their cached features, whatever they are called."""
    if data.dataset_kind(dataset) != "folder":
        return None
    return Path(dataset).expanduser().resolve().name


def _table(
    entries: dict[str, Entry], name: str | None, backbone: str, groups: str | None
) -> FeatureTable:
    first = next(iter(entries.values()))
    name = name or first.name
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
    )
