"""Padded widths: few enough that the compiled programs of a whole search are few."""

from __future__ import annotations

from evojax_prune.core.compaction import Active
from evojax_prune.core.head import HeadSpec

LEVELS = 4
"""A layer is padded to a quarter, a half, three quarters or the whole of its width."""


def _level(width: int, full: int) -> int:
    return max(1, -(-width * LEVELS // full))


def _width(level: int, full: int) -> int:
    return min(full, -(-full * level // LEVELS))


def bucket_widths(active: Active, head: HeadSpec, joint: bool) -> tuple[int, ...]:
    """Padded widths of the features and hidden layers of a member.

    Args:
        active: its active parts.
        head: the dense head.
        joint: every layer takes the level of the fullest one: fewer buckets, with more members.
    """
    full = head.widths[:-1]
    levels = [_level(width, most) for width, most in zip(active.widths, full, strict=True)]
    # a layer that nobody prunes stays whole and must not set the level of the others
    pruned = [lv for lv, w, most in zip(levels, active.widths, full, strict=True) if w < most]
    if joint and pruned:
        levels = [
            max(pruned) if w < most else LEVELS for w, most in zip(active.widths, full, strict=True)
        ]
    return tuple(_width(level, most) for level, most in zip(levels, full, strict=True))
