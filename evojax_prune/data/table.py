"""Features and labels of every given split."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.errors import UserError


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
    """

    name: str
    version: str
    classes: tuple[str, ...]
    x: dict[str, np.ndarray]
    y: dict[str, np.ndarray]
    groups: dict[str, np.ndarray] | None
    source: str


def check_class_names(names: Sequence[str], where: str) -> None:
    """See that tables and file names can tell the classes apart.

    Args:
        names: class names.
        where: whose they are, as the sentence begins.

    Raises:
        UserError: a name is empty or occurs twice.
    """
    if blank := [i for i, name in enumerate(names) if not name.strip()]:
        raise UserError(f"{where}: the name of class {blank[0]} is empty, name every class")
    name, count = collections.Counter(names).most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{where}: {count} classes are named {name!r}, name every class differently"
        )
