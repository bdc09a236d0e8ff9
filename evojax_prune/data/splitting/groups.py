"""Images that belong together (one hand, one patient, one film) and must stay in one split."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.errors import UserError

log = logging.getLogger("evojax_prune")

_SHOWN = 5


def group_names(paths: Sequence[str], pattern: str) -> np.ndarray:
    """The group of each path.

    The pattern is searched in the path; its captures, joined, name the group (a capture that took
    no part counts as empty), or the whole match where it captures nothing.

    Args:
        paths: path of each image below the data folder, with ``/``.
        pattern: regular expression, in Python's syntax.

    Returns:
        ``str [n]``.

    Raises:
        UserError: not a regular expression, or one that some or all paths do not match.
    """
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UserError(f"groups pattern {pattern!r} is no regular expression: {error}") from error
    found = [search(path) for path in paths]
    unmatched = [path for path, match in zip(paths, found, strict=True) if match is None]
    if unmatched:
        misses = len(unmatched) < len(paths)
        verdict = f"does not match {len(unmatched)} of" if misses else "matches nothing in"
        raise UserError(
            f"groups pattern {pattern!r} {verdict} {len(paths)} image paths, expected a match in"
            f" each path below the data folder, such as {unmatched[0]!r}"
        )
    return np.array([_name(match) for match in found if match is not None], np.str_)


def check_overlap(train: np.ndarray, test: np.ndarray, allowed: bool) -> None:
    """See that the given train and test splits share no group.

    Args:
        train: group of each training image, ``str [n]``.
        test: group of each test image, ``str [m]``.
        allowed: only log what is shared.

    Raises:
        UserError: groups are shared and that is not allowed.
    """
    shared = np.intersect1d(train, test)
    if not len(shared):
        return
    counts = [
        f"{g!r} ({np.sum(train == g)} training and {np.sum(test == g)} test images)"
        for g in shared[:_SHOWN].tolist()
    ]
    more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
    message = (
        f"the given train and test splits share {len(shared)} groups, with"
        f" {np.isin(train, shared).sum()} training and {np.isin(test, shared).sum()} test images:"
        f" {', '.join(counts)}{more}"
    )
    if not allowed:
        raise UserError(
            f"{message}; test scores would flatter: move these images, or go on with"
            " --allow-group-overlap"
        )
    log.warning("%s", message)


def _name(match: re.Match[str]) -> str:
    return "".join(part or "" for part in match.groups()) if match.re.groups else match[0]
