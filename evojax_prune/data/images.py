"""Labelled images of which nothing is decoded yet."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from evojax_prune.data.stream import map_ahead

Transform = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageSplit:
    """One split as the data were given, before train, selection and test are cut.

    Attributes:
        name: ``"train"``, ``"test"``, or ``"all"`` (no test split was given: cut by seed later).
        labels: ``int32 [n]`` in [0, C).
        identity: hex digest of the content: images, labels, class names, way of decoding.
        paths: path below the folder of each image, with ``/``, for groups; None where the images
            have no names.
        items: what each image is decoded from; may be iterated over more than once.
        decode: makes ``uint8 [h, w, 3]`` of one item; called in threads.
    """

    name: str
    labels: np.ndarray
    identity: str
    paths: tuple[str, ...] | None
    items: Iterable[Any] = dataclasses.field(repr=False)
    decode: Callable[[Any], np.ndarray] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, transform: Transform | None = None) -> Iterator[np.ndarray]:
        """The images ``uint8 [h, w, 3]``, in the order of the labels, decoded a few ahead.

        Args:
            transform: applied to each image in the thread that decoded it, such as a resize.

        Raises:
            UserError: an image that cannot be read, when its turn comes.
        """

        def work(item: Any) -> np.ndarray:
            image = self.decode(item)
            return image if transform is None else transform(image)

        return map_ahead(work, self.items)

    def pick(self, rows: Sequence[int]) -> list[np.ndarray]:
        """The images ``uint8 [h, w, 3]`` of some rows, by their numbers; no other is decoded.

        Raises:
            UserError: an image that cannot be read.
        """
        if hasattr(self.items, "__getitem__"):
            return [self.decode(self.items[row]) for row in rows]
        wanted, last = set(rows), max(rows, default=-1)
        found = {
            row: item
            for row, item in enumerate(itertools.islice(self.items, last + 1))
            if row in wanted
        }
        return [self.decode(found[row]) for row in rows]


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """Labelled images.

    Attributes:
        name: what to call the data set in tables.
        version: the data set's own version, or for a folder the head of its digest.
        classes: class names, C of them.
        splits: the given splits, ``{"train", "test"}`` or ``{"all"}``.
        skipped: paths of unreadable files that were left out.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    splits: dict[str, ImageSplit]
    skipped: tuple[str, ...] = ()
