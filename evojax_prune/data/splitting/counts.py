"""Are there images enough to cut the splits from?"""

from __future__ import annotations

import numpy as np

from evojax_prune.core.errors import UserError


def check_class_counts(
    labels: np.ndarray, classes: tuple[str, ...], least: int, purpose: str
) -> None:
    """See that every class has enough images.

    Args:
        labels: ``int32 [n]`` in [0, C).
        classes: class names.
        least: images that each class needs.
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
            f"too few images of class {shown}{more}: each class needs at least {least} {purpose}"
        )
