"""A folder of images: ``DIR/train/<class>/*`` with ``DIR/test/<class>/*``, or ``DIR/<class>/*``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.data.decoding import DECODING, UnreadableImageError, check_header, decode_image
from evojax_prune.data.files import is_folder, open_file
from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources.listing import Listing, list_folder
from evojax_prune.data.sources.source import IMAGE_OPTIONS, LoadOptions, Source
from evojax_prune.data.sources.tfds_prepared import is_prepared
from evojax_prune.data.stream import map_ahead

log = logging.getLogger("evojax_prune")


class ImageFolder(Source):
    """A folder whose class folders hold image files."""

    title = "an image folder"
    reads = IMAGE_OPTIONS | {"skip_unreadable", "groups"}

    def claims(self, dataset: str) -> bool:
        """A folder, unless TensorFlow Datasets keeps its data there."""
        path = Path(dataset).expanduser()
        return is_folder(path) and not is_prepared(path)

    def display_name(self, dataset: str) -> str:
        """The folder's own name: equal images share cached features, whatever they are called."""
        return Path(dataset).expanduser().resolve().name

    def identify(self, dataset: str, options: LoadOptions) -> dict[str, str]:
        """Digest of each given split: the bytes, path below the folder and label of every file."""
        return _identities(list_folder(Path(dataset).expanduser()), options.skip_unreadable)

    def load(self, dataset: str, options: LoadOptions) -> ImageDataset:
        """The images of the folder.

        With ``options.skip_unreadable`` everything is decoded once beforehand, and what cannot be
        decoded is left out; else a file that is not an image is named and refused.
        """
        root = Path(dataset).expanduser()
        listing = list_folder(root)
        identity = _identities(listing, options.skip_unreadable)
        skipped: tuple[str, ...] = ()
        if options.skip_unreadable:
            listing, skipped = _readable(listing)
        else:
            _check_headers(listing)
        splits = {
            split: ImageSplit(
                name=split,
                labels=listing.labels[split],
                identity=identity[split],
                paths=paths,
                items=paths,
                decode=partial(_decode_named, root),
            )
            for split, paths in listing.files.items()
        }
        version = hashlib.sha256("".join(sorted(identity.values())).encode()).hexdigest()[:12]
        return ImageDataset(root.resolve().name, version, listing.classes, splits, skipped)

    def images(
        self,
        dataset: str,
        options: LoadOptions,
        split: str,
        rows: Sequence[int],
        paths: Sequence[str] | None,
    ) -> list[np.ndarray]:
        """Of the paths that were noted, so that no other file is looked at."""
        if paths is None:
            return super().images(dataset, options, split, rows, paths)
        root = Path(dataset).expanduser()
        return [_decode_named(root, paths[row]) for row in rows]


def _identities(listing: Listing, skip_unreadable: bool) -> dict[str, str]:
    """Digest of each given split.

    Which files are skipped is not known before they are decoded, so that skipping is part of the
    digest: features cached with some images left out never serve a run which would stop at them.
    """
    return {split: _digest(listing, split, skip_unreadable) for split in listing.files}


def _digest(listing: Listing, split: str, skip_unreadable: bool) -> str:
    paths = listing.files[split]
    digest = hashlib.sha256()
    salt = "skip" if skip_unreadable else "all"
    for word in ("folder", DECODING, split, salt, *listing.classes):
        digest.update(word.encode("utf-8", "surrogateescape") + b"\0")
    contents = map_ahead(partial(_file_digest, listing.root, skip_unreadable), paths)
    for path, label, content in zip(paths, listing.labels[split], contents, strict=True):
        digest.update(os.fsencode(path) + b"\0" + str(label).encode() + b"\0" + content)
    return digest.hexdigest()


def _file_digest(root: Path, skip_unreadable: bool, path: str) -> bytes:
    try:
        with open_file(root / path) as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        if skip_unreadable:
            return bytes(32)  # of what will be left out
        raise UserError(_unreadable([(path, str(error.strerror))], root)) from error


def _decode_named(root: Path, path: str) -> np.ndarray:
    try:
        return decode_image(root / path)
    except UnreadableImageError as error:
        raise UserError(_unreadable([(path, str(error))], root)) from error


def _unreadable(bad: list[tuple[str, str]], root: Path) -> str:
    path, reason = bad[0]
    others = f", nor can {len(bad) - 1} other files" if len(bad) > 1 else ""
    return (
        f"{root / path} cannot be read as an image ({reason}){others}:"
        " mend or delete it, or go on without it with --skip-unreadable"
    )


def _reason(root: Path, decode: bool, path: str) -> str | None:
    """Why a file cannot be used as an image, or None."""
    try:
        if decode:
            decode_image(root / path)
        else:
            check_header(root / path)
    except UnreadableImageError as error:
        return str(error)
    return None


def _check_headers(listing: Listing) -> None:
    paths = [path for files in listing.files.values() for path in files]
    reasons = map_ahead(partial(_reason, listing.root, False), paths)
    bad = [(path, why) for path, why in zip(paths, reasons, strict=True) if why is not None]
    if bad:
        raise UserError(_unreadable(bad, listing.root))


def _readable(listing: Listing) -> tuple[Listing, tuple[str, ...]]:
    """The listing without what cannot be decoded, and what was left out."""
    skipped: list[str] = []
    for split, paths in listing.files.items():
        reasons = list(map_ahead(partial(_reason, listing.root, True), paths))
        listing = listing.keep(split, np.array([why is None for why in reasons], bool))
        skipped += [path for path, why in zip(paths, reasons, strict=True) if why is not None]
    if skipped:
        log.warning("%d unreadable files left out: %s", len(skipped), _shortened(skipped))
    return listing, tuple(skipped)


def _shortened(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
