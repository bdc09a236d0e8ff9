"""A folder of images: ``DIR/train/<class>/*`` with ``DIR/test/<class>/*``, or ``DIR/<class>/*``."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.data.decoding import DECODING, UnreadableImageError, check_header, decode_image
from evojax_prune.data.images import ImageDataset, ImageSplit
from evojax_prune.data.sources.listing import Listing, list_folder
from evojax_prune.data.stream import map_ahead

log = logging.getLogger("evojax_prune")


def identities(listing: Listing, skip_unreadable: bool) -> dict[str, str]:
    """Digest of each given split: the bytes of every file, its path below the folder, its label.

    Which files are skipped is not known before they are decoded, so that skipping is part of the
    digest: features cached with some images left out never serve a run which would stop at them.
    """
    return {
        split: _digest(listing, split, ["skip" if skip_unreadable else "all"])
        for split in listing.files
    }


def load_folder(root: Path, skip_unreadable: bool = False) -> ImageDataset:
    """The images of a folder.

    Args:
        root: the folder.
        skip_unreadable: decode everything once beforehand and leave out what cannot be decoded,
            instead of stopping at it.

    Raises:
        UserError: as :func:`list_folder`, or a file that is no image, which is named.
    """
    listing = list_folder(root)
    identity = identities(listing, skip_unreadable)
    if skip_unreadable:
        listing, skipped = _readable(listing)
    else:
        _check_headers(listing)
        skipped = ()
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


def _digest(listing: Listing, split: str, salt: Iterable[str]) -> str:
    paths = listing.files[split]
    digest = hashlib.sha256()
    for word in ("folder", DECODING, split, *salt, *listing.classes):
        digest.update(word.encode("utf-8", "surrogateescape") + b"\0")
    contents = map_ahead(partial(_file_digest, listing.root), paths)
    for path, label, content in zip(paths, listing.labels[split], contents, strict=True):
        digest.update(os.fsencode(path) + b"\0" + str(label).encode() + b"\0" + content)
    return digest.hexdigest()


def _file_digest(root: Path, path: str) -> bytes:
    try:
        with open(root / path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise UserError(f"cannot read {root / path}: {error.strerror}") from error


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
    """Why a file is no image, or None."""
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
