"""Named data sets, through TensorFlow Datasets; TensorFlow itself is not needed to read them."""

from __future__ import annotations

import dataclasses
import itertools
import struct
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from evojax_prune.core.errors import UserError, said_of
from evojax_prune.data.decoding import UnreadableImageError, decode_image
from evojax_prune.data.files import is_file, is_folder
from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources.given import describe
from evojax_prune.data.sources.source import IMAGE_OPTIONS, LoadOptions, Source
from evojax_prune.data.sources.tfds_prepare import Keys, find_keys, import_tfds, prepare
from evojax_prune.data.sources.tfds_prepared import Prepared, find_prepared, is_name, is_prepared

_CHUNK = 64
"""Records read at once."""


class NamedDataset(Source):
    """Image classification data sets of TensorFlow Datasets."""

    title = "a TensorFlow Datasets name"
    reads = IMAGE_OPTIONS | {"data_dir", "groups"}

    def claims(self, dataset: str) -> bool:
        """``name``, ``name/config``, either with ``:version``; or a folder that is one of these."""
        path = Path(dataset).expanduser()
        return (is_name(dataset) and not is_file(path)) or (is_folder(path) and is_prepared(path))

    def identify(self, dataset: str, options: LoadOptions) -> dict[str, str] | None:
        """Digest of each given split; None where the data set is not prepared yet."""
        prepared = _on_disk(dataset, options.data_dir)
        if prepared is None:
            return None
        return {split: prepared.identity(split) for split in prepared.given}

    def load(self, dataset: str, options: LoadOptions) -> ImageDataset:
        """The images, downloaded and prepared first where they are not on disk."""
        prepared = _on_disk(dataset, options.data_dir)
        prepared = prepared or prepare(dataset, options.data_dir, options.download)
        builder = _builder(prepared)
        keys = find_keys(builder)
        classes = tuple(builder.info.features[keys.label].names)
        describe(prepared.given, [s["name"] for s in prepared.info["splits"]], prepared.name)
        splits = {
            split: _split(split, _Records(builder, prepared, parts, keys))
            for split, parts in prepared.given.items()
        }
        return ImageDataset(prepared.name, prepared.version, classes, splits)

    def images(
        self,
        dataset: str,
        options: LoadOptions,
        split: str,
        rows: Sequence[int],
        paths: Sequence[str] | None,
    ) -> list[np.ndarray]:
        """Of their records alone, where the format can tell where they begin."""
        prepared = _on_disk(dataset, options.data_dir)
        if prepared is None:
            raise UserError(f"{dataset} is no longer where it was prepared")
        builder = _builder(prepared)
        records = _Records(builder, prepared, prepared.given[split], find_keys(builder))
        found = dict(zip(sorted(set(rows)), records.items(set(rows)), strict=True))
        return [_decode(found[row]) for row in rows]


def _builder(prepared: Prepared) -> Any:
    try:
        return import_tfds().builder_from_directory(prepared.folder)
    except Exception as error:  # whatever its metadata make TensorFlow Datasets raise
        raise UserError(
            f"TensorFlow Datasets cannot open {prepared.folder} ({said_of(error)}): delete the "
            "folder and prepare the data set again"
        ) from error


def _on_disk(dataset: str, data_dir: Path | None) -> Prepared | None:
    if not is_name(dataset):
        raise UserError(
            f"{dataset} holds a data set of TensorFlow Datasets: name it and the folder above, such"
            " as --dataset cifar10 --data-dir DIR"
        )
    return find_prepared(dataset, data_dir)


@dataclasses.dataclass(frozen=True)
class _Records:
    """The records of one given split; iterating gives the place and bytes of each image."""

    builder: Any
    prepared: Prepared
    parts: tuple[str, ...]
    keys: Keys

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return self.items()

    def items(self, wanted: Set[int] | None = None) -> Iterator[tuple[str, bytes]]:
        """Place and bytes of each image, or of those in some rows."""
        numbers = itertools.count() if wanted is None else sorted(wanted)
        for i, (part, example) in zip(numbers, self.examples(wanted), strict=False):
            yield f"image {i} of {self.prepared.name} {part}", example[self.keys.image]

    def examples(self, wanted: Set[int] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
        """Part and content of each record as TensorFlow Datasets decodes it, images encoded.

        Args:
            wanted: numbers of the rows to read; all if None.
        """
        decoders = {self.keys.image: import_tfds().decode.SkipDecoding()}
        first = 0  # number of the part's first row
        try:
            for part in self.parts:
                if self.prepared.file_format == "tfrecord":
                    features = self.builder.info.features
                    for record in _tfrecords(self.prepared.shards(part)):
                        if wanted is None or first in wanted:
                            yield part, features.deserialize_example_np(record, decoders=decoders)
                        first += 1
                else:
                    source = self.builder.as_data_source(part, decoders=decoders)
                    rows = [i for i in range(len(source)) if wanted is None or first + i in wanted]
                    for start in range(0, len(rows), _CHUNK):
                        chunk = source.__getitems__(rows[start : start + _CHUNK])
                        yield from ((part, row) for row in chunk)
                    first += len(source)
        except (OSError, ValueError, RuntimeError, LookupError, NotImplementedError) as error:
            raise UserError(
                f"the records of {self.prepared.folder} cannot be read ({said_of(error)}): delete "
                "the folder and prepare the data set again"
            ) from error


def _tfrecords(shards: list[Path]) -> Iterator[bytes]:
    """The records of TFRecord files, which TensorFlow Datasets itself reads by TensorFlow only.

    A record is its length (8 bytes), a checksum of it (4), the data, and a checksum (4); the
    checksums are not looked at, since Python knows no CRC-32C.
    """
    for shard in shards:
        with open(shard, "rb") as file:
            while head := file.read(12):
                (length,) = struct.unpack("<Q", head[:8])
                record = file.read(length)
                if len(record) < length or len(file.read(4)) < 4:
                    raise ValueError(f"{shard.name} is truncated")
                yield record


def _split(split: str, records: _Records) -> ImageSplit:
    identity = records.prepared.identity(split)  # first, since it sees whether files are missing
    label, file = records.keys.label, records.keys.file
    found = [
        (example[label], f"{part}/{example[file].decode()}" if file else "")
        for part, example in records.examples()
    ]
    labels = np.array([number for number, _ in found], np.int32)
    if len(labels) == 0 or labels.min() < 0:
        raise UserError(
            f"split {'+'.join(records.parts)} of {records.prepared.name} has images without labels:"
            " save what you need as an image folder"
        )
    return ImageSplit(
        name=split,
        labels=labels,
        identity=identity,
        paths=tuple(path for _, path in found) if file else None,
        items=records,
        decode=_decode,
    )


def _decode(item: tuple[str, bytes]) -> np.ndarray:
    place, image = item
    try:
        return decode_image(image)
    except UnreadableImageError as error:
        raise UserError(f"{place} cannot be decoded: {error}") from error
