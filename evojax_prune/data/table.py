"""Features and labels of every given split."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np

from evojax_prune.core.errors import UserError, shortened
from evojax_prune.core.splits import Given

LONGEST_CLASS = 1000
"""Characters of a class name."""


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


def check_class_names(names: Sequence[str], where: str) -> None:
    """See that tables and file names can tell the classes apart.

    Args:
        names: class names.
        where: whose they are, as the sentence begins.

    Raises:
        UserError: a name is empty, occurs twice, or cannot be written into a result.
    """
    if blank := [i for i, name in enumerate(names) if not name.strip()]:
        raise UserError(f"{where}: the name of class {blank[0]} is empty, name every class")
    for name in names:
        if len(name) > LONGEST_CLASS or not _is_text(name):
            raise UserError(
                f"{where}: {shortened(ascii(name))} cannot be a class name, give it one of at most "
                f"{LONGEST_CLASS:,} characters of UTF-8"
            )
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{where}: {count} classes are named {name!r}, name every class differently"
        )


def _is_text(name: str) -> bool:
    """Whether it can be written as UTF-8, which the name of a folder need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
