"""Features and labels of every given split."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.splits import Given


@dataclasses.dataclass(frozen=True)
class FeatureTable:
    """Features and labels of each given split.

    Attributes:
        name: what to call the data set in tables.
        version: the data set's own version, or the head of a digest of its content.
        classes: class names, C of them.
        x: for each given split features ``float32 [n, F]``; the splits are ``{"train", "test"}``,
            ``{"all"}`` (one folder: a test split is cut by seed), or ``{"train"}`` (arrays or a
            features file without a test split: likewise).
        y: for each given split labels ``int32 [n]`` in [0, C).
        groups: for each given split the group of each row, ``str [n]``; None without groups.
        source: where the features come from, such as ``"efficientnet-lite0 on cifar10 3.0.2"``.
        names: for each given split a name of each row, such as its image's path; None without.
        images: decodes images ``uint8 [h, w, 3]`` of a given split, some rows by their numbers;
            None where the features were not made of images.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    groups: dict[str, np.ndarray] | None
    source: str
    names: dict[str, tuple[str, ...]] | None = None
    images: Callable[[str, Sequence[int]], list[np.ndarray]] | None = None

    def given(self, split: str) -> Given:
        """What is known of the rows of a given split besides features and labels."""
        return Given(
            name=split,
            names=None if self.names is None else self.names[split],
            groups=None if self.groups is None else self.groups[split],
            images=None if self.images is None else functools.partial(self.images, split),
        )


def check_rows(x: np.ndarray, y: np.ndarray, classes: int) -> None:
    """See that features and labels of one split can be what :class:`FeatureTable` says.

    Args:
        x: features.
        y: labels.
        classes: how many there are.

    Raises:
        ValueError: they cannot.
    """
    if x.ndim != 2 or y.shape != (len(x),) or x.dtype != np.float32 or y.dtype.kind not in "iu":
        raise ValueError(
            f"features are {x.dtype} {list(x.shape)} and labels {y.dtype} {list(y.shape)}, "
            "expected float32 [n, F] and integers [n]"
        )
    if not np.isfinite(x).all():
        raise ValueError("features are NaN or infinite")
    check_labels(y, classes)


def check_labels(y: np.ndarray, classes: int) -> None:
    """See that every label is that of a class.

    Raises:
        ValueError: one is not.
    """
    if len(y) and not 0 <= y.min() <= y.max() < classes:
        raise ValueError(f"labels are {y.min()} to {y.max()}, expected 0 to {classes - 1}")
