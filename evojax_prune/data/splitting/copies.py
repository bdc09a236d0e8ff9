"""Rows that occur on both sides of a cut."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from evojax_prune.core.splits import FeatureSplits

log = logging.getLogger("evojax_prune")


def warn_of_copies(splits: FeatureSplits) -> None:
    """Log how many selection and test rows are exact copies of rows that heads see before.

    Copies of one image have the same features, so that this finds them in every kind of data.
    """
    train, selection, test = (
        _digests(part.x) for part in (splits.train, splits.selection, splits.test)
    )
    seen = set(train)
    _warn(selection, seen, "selection images are exact copies of training images")
    if not splits.selected_on_test:
        seen |= set(selection)
        _warn(test, seen, "test images are exact copies of training or selection images")


def _digests(x: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x]


def _warn(rows: list[bytes], seen: set[bytes], what: str) -> None:
    if copies := sum(row in seen for row in rows):
        log.warning("%d of %d %s: scores on them flatter", copies, len(rows), what)
