"""Layout of an image folder: which file is of which split and class."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np

from evojax_prune.core.errors import UserError, shortened
from evojax_prune.data.sources.given import assign_splits, canonical, describe, tell_once

_LAYOUTS = "lay the images out as DIR/train/<class>/* and DIR/test/<class>/*, or as DIR/<class>/*"

_SIDE_FILES = {"thumbs.db", "desktop.ini", "icon\r", "__macosx"}
"""Files and folders that systems leave among the images, in lower case; so are hidden ones."""


_IMAGES = {*(".bmp", ".gif", ".jpeg", ".jpg"), *(".png", ".tif", ".tiff", ".webp")}
"""Ends of the names of image files, to tell of those that lie beside the class folders."""


_Seen = set[tuple[int, int]]
"""Device and number of every folder that was listed."""


@dataclasses.dataclass(frozen=True)
class Listing:
    """The files of an image folder, none of them read yet.

    Attributes:
        root: the folder.
        classes: class names, sorted.
        files: for each given split, the path below ``root`` of every file, sorted.
        labels: for each given split, ``int32 [n]``.
    """

    root: Path
    classes: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    labels: dict[str, np.ndarray]

    def keep(self, split: str, rows: np.ndarray) -> Listing:
        """The listing with only some files, ``bool [n]``, of one split."""
        files = tuple(f for f, kept in zip(self.files[split], rows, strict=True) if kept)
        return dataclasses.replace(
            self,
            files=self.files | {split: files},
            labels=self.labels | {split: self.labels[split][rows]},
        )


def list_folder(root: Path) -> Listing:
    """Find the splits, classes and files of an image folder.

    Images may lie in folders below the class folder. Hidden files and what systems leave behind
    (``.DS_Store``, ``Thumbs.db``) are passed over; every other file is taken for an image.

    Raises:
        UserError: no such folder, no images, fewer than two classes, a class without files, or a
            test class that is not in the training folder.
    """
    seen: _Seen = set()
    try:
        found = {
            split: [_classes(root, part, seen) for part in parts]
            for split, parts in _parts(root).items()
        }
    except OSError as error:
        where = shortened(str(error.filename or root), 200)
        raise UserError(f"cannot read the image folder {where}: {error.strerror}") from error
    classes = tuple(sorted({name for part in next(iter(found.values())) for name in part}))
    if len(classes) < 2:
        raise UserError(f"{root} has {len(classes)} class folder, expected two or more: {_LAYOUTS}")
    rows = {split: _rows(root, parts, classes) for split, parts in found.items()}
    return Listing(
        root,
        classes,
        {split: tuple(path for path, _ in of) for split, of in rows.items()},
        {split: np.array([label for _, label in of], np.int32) for split, of in rows.items()},
    )


def _rows(
    root: Path, parts: list[dict[str, list[str]]], classes: tuple[str, ...]
) -> list[tuple[str, int]]:
    """Path and label of every file of one given split, sorted."""
    number = {name: i for i, name in enumerate(classes)}
    if strange := sorted({name for part in parts for name in part} - set(classes)):
        raise UserError(
            f"class {strange[0]!r} of the test folder in {root} is not in the training folder:"
            " remove it or add training images of it"
        )
    return sorted(
        (path, number[name]) for part in parts for name, paths in part.items() for path in paths
    )


def _entries(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _SIDE_FILES
    )


def _folders(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.is_dir()]


def _parts(root: Path) -> dict[str, tuple[str, ...]]:
    """Folders of class folders that make up each given split; ``""`` is the root itself.

    A folder called ``train`` marks the layout only when it holds folders, since it may as well be
    a class.
    """
    if not root.is_dir():
        raise UserError(f"there is no image folder {root}: check the path")
    names = [path.name for path in _folders(root)]
    if not any(canonical(name) == "train" and _folders(root / name) for name in names):
        return {"all": ("",)}
    assigned = assign_splits(name for name in names if canonical(name))
    if not assigned:
        raise UserError(
            f"{root} has several folders of one use ({', '.join(filter(canonical, names))}):"
            " keep one train, one test and at most one validation folder"
        )
    describe(assigned, names, str(root))
    return assigned


def _classes(root: Path, part: str, seen: _Seen) -> dict[str, list[str]]:
    """Paths below the root of each class folder's files."""
    folder = root / part
    classes = {path.name: _files(root, path, seen) for path in _folders(folder)}
    if not any(classes.values()):
        raise UserError(f"{folder} holds no class folders with images: {_LAYOUTS}")
    for name, paths in classes.items():
        if not paths:
            raise UserError(f"class folder {folder / name} holds no images: fill or delete it")
    stray = [path for path in _entries(folder) if path.is_file()]
    if not part:  # read-me files and lists of labels lie there, too
        stray = [path for path in stray if path.suffix.lower() in _IMAGES]
    if stray:
        what = "1 file" if len(stray) == 1 else f"{len(stray)} files"
        is_or_are = "is" if len(stray) == 1 else "are"
        tell_once(
            logging.WARNING, f"{folder}: {what} outside the class folders {is_or_are} not used"
        )
    return classes


def _files(root: Path, folder: Path, seen: _Seen) -> list[str]:
    """Paths below the root, with ``/``, of all files below a class folder."""
    files, waiting = [], [folder]
    while waiting:
        current = waiting.pop()
        status = current.stat()
        # Links in a circle would never end, and test images must not be training images.
        if (status.st_dev, status.st_ino) in seen:
            raise UserError(f"a link leads to {current} a second time: remove the link")
        seen.add((status.st_dev, status.st_ino))
        for path in _entries(current):
            if path.is_dir():
                waiting.append(path)
            else:
                files.append(path.relative_to(root).as_posix())
    return files
