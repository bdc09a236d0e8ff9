"""What a source of images or features is: the protocol that a new one implements."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from evojax_prune.data.images import ImageDataset
from evojax_prune.data.table import FeatureTable

IMAGE_OPTIONS = frozenset({"backbone", "backbone_weights", "image_size", "extraction_batch"})
"""Options that every source of images reads: how its features are made."""


@dataclasses.dataclass(frozen=True)
class LoadOptions:
    """How a data set is loaded; each source reads some of these.

    Attributes:
        data_dir: where TensorFlow Datasets keeps its data; its own default if None.
        skip_unreadable: leave out files that are not images, instead of stopping at them.
        groups: regular expression that names the group of each image, searched in its path.
        download: let TensorFlow Datasets download and prepare what is not there.
    """

    data_dir: Path | None = None
    skip_unreadable: bool = False
    groups: str | None = None
    download: bool = True


class Source(Protocol):
    """Where images or features come from.

    A new source subclasses this and is registered with one line,
    ``evojax_prune.data.SOURCES["mine"] = Mine()``; ``--dataset`` then takes what it claims.

    Attributes:
        title: what its data sets are called in messages, such as ``"an image folder"``.
        reads: options of a run that it reads, by their names in a configuration: of
            ``backbone``, ``backbone_weights``, ``image_size``, ``extraction_batch`` (all four are
            :data:`IMAGE_OPTIONS`), ``data_dir``, ``skip_unreadable`` and ``groups``. Others are
            refused where they are given.
    """

    title: str
    reads: frozenset[str] = frozenset()

    def claims(self, dataset: str) -> bool:
        """Whether this source is meant by ``dataset``, what the user gave; never raises."""
        ...

    def load(self, dataset: str, options: LoadOptions) -> FeatureTable | ImageDataset:
        """The features, or the labelled images, of which nothing is decoded yet.

        Raises:
            UserError: the data cannot be used.
        """
        ...

    def identify(self, dataset: str, options: LoadOptions) -> dict[str, str] | None:
        """What ``ImageSplit.identity`` of each given split will be, without loading anything.

        By it, a run finds cached features before anything heavy is imported.

        Returns:
            Digest per given split; None where it is not known before loading, or for features.

        Raises:
            UserError: as :meth:`load`, as far as it shows without decoding.
        """
        return None

    def images(
        self,
        dataset: str,
        options: LoadOptions,
        split: str,
        rows: Sequence[int],
        paths: Sequence[str] | None,
    ) -> list[np.ndarray]:
        """A few images of a data set that was loaded before, for a report to show.

        Args:
            dataset: as for :meth:`load`.
            options: as for :meth:`load`.
            split: which given split.
            rows: numbers of its rows, in the order of :meth:`load`.
            paths: path of each of its rows, as ``ImageSplit.paths``; None without.

        Returns:
            ``uint8 [h, w, 3]`` of each.

        Raises:
            UserError: an image cannot be read.
        """
        loaded = self.load(dataset, options)
        if not isinstance(loaded, ImageDataset):
            raise TypeError(f"{self.title} gives features, of which there are no images")
        return loaded.splits[split].pick(rows)

    def display_name(self, dataset: str) -> str | None:
        """What to call the data set in tables; None for the name it was loaded with."""
        return None
