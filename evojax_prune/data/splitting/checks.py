"""What is looked at before and after a cut: examples of each class, and rows on both sides."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from evojax_prune.core.errors import UserError
from evojax_prune.core.splits import FeatureSplits

log = logging.getLogger("evojax_prune")


def check_class_counts(
    labels: np.ndarray, classes: tuple[str, ...], least: int, purpose: str
) -> None:
    """See that every class has enough examples.

    Args:
        labels: ``int32 [n]`` in [0, C).
        classes: class names.
        least: examples that each class needs.
        purpose: what they are needed for, as the sentence ends.

    Raises:
        UserError: naming the classes that have too few.
    """
    counts = np.bincount(labels, minlength=len(classes))
    few = np.flatnonzero(counts < least)
    if len(few):
        shown = ", ".join(f"{classes[i]!r} ({counts[i]})" for i in few[:5])
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        raise UserError(
            f"too few examples of class {shown}{more}: each class needs at least {least} {purpose}"
        )


def warn_of_copies(splits: FeatureSplits) -> None:
    """Log how many selection and test rows are exact copies of rows that heads see before.

    Copies of one image have the same features, so that this finds them in every kind of data.
    """
    train, selection, test = (
        _digests(part.x) for part in (splits.train, splits.selection, splits.test)
    )
    seen = set(train)
    _warn(selection, seen, "selection examples are exact copies of training examples")
    if not splits.selected_on_test:
        seen |= set(selection)
        _warn(test, seen, "test examples are exact copies of training or selection examples")


def _digests(x: np.ndarray) -> list[bytes]:
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x]


def _warn(rows: list[bytes], seen: set[bytes], what: str) -> None:
    if copies := sum(row in seen for row in rows):
        log.warning("%d of %d %s: scores on them flatter", copies, len(rows), what)
