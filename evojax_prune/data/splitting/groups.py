"""Images that belong together (one hand, one patient, one film) and must stay in one split."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

import numpy as np

from evojax_prune.core.errors import UserError

log = logging.getLogger("evojax_prune")

_SHOWN = 5
_ALONE = 0.9
"""Part of the rows in groups of one row, above which grouping is hardly what was meant."""


def group_names(paths: Sequence[str], pattern: str) -> np.ndarray:
    r"""The group of each path.

    The pattern is searched in each path. Where it has a group called ``group``, what this matched
    names the group; where it took no part, the whole match does. Else all captures, joined, name
    it (one that took no part counts as empty), or the whole match where nothing is captured.

    Args:
        paths: path of each image below the data folder, with ``/``.
        pattern: regular expression, in Python's syntax.

    Returns:
        ``str [n]``.

    Raises:
        UserError: not a regular expression, or one that some or all paths do not match.

    Example:
        Both eyes of a patient, and every other file by itself:

        >>> paths = ["sick/12_left.png", "sick/12_right.png", "well/control.png"]
        >>> group_names(paths, r"(?P<group>\d+)_(left|right)|[^/]+$").tolist()
        ['12', '12', 'control.png']
    """
    try:
        search = re.compile(pattern).search
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(
            f"--groups {pattern!r} is not a regular expression: {error or 'too deeply nested'}"
        ) from error
    found = [search(path) for path in paths]
    unmatched = [path for path, match in zip(paths, found, strict=True) if match is None]
    if unmatched:
        misses = len(unmatched) < len(paths)
        verdict = f"does not match {len(unmatched)} of" if misses else "matches none of"
        raise UserError(
            f"--groups {pattern!r} {verdict} {len(paths)} image paths, expected a match in each"
            f" path below the data folder, such as {unmatched[0]!r}"
        )
    return np.array([_name(match) for match in found if match is not None], np.str_)


def tell_groups(groups: dict[str, np.ndarray]) -> None:
    """Log how many groups there are, and which are the largest; warn if they hardly group.

    Args:
        groups: for each given split the group of each row, ``str [n]``.
    """
    names, sizes = np.unique(np.concatenate(list(groups.values())), return_counts=True)
    largest = np.argsort(-sizes, kind="stable")[:_SHOWN]
    shown = ", ".join(f"{str(names[i])!r} ({sizes[i]})" for i in largest)
    log.info("%d rows in %d groups, largest: %s", sizes.sum(), len(names), shown)
    if (alone := int((sizes == 1).sum())) > _ALONE * sizes.sum():
        log.warning(
            "%d of %d rows are a group of their own, so that the groups keep little together: are"
            " they what was meant? Several captures of a pattern are joined, unless one is named"
            " (?P<group>...)",
            alone,
            sizes.sum(),
        )


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
        f"{g!r} ({np.sum(train == g)} training and {np.sum(test == g)} test examples)"
        for g in shared[:_SHOWN].tolist()
    ]
    more = f" and {len(shared) - _SHOWN} more" if len(shared) > _SHOWN else ""
    message = (
        f"the given train and test splits share {len(shared)} groups, with"
        f" {np.isin(train, shared).sum()} training and {np.isin(test, shared).sum()} test examples:"
        f" {', '.join(counts)}{more}"
    )
    if not allowed:
        raise UserError(
            f"{message}; test scores would flatter: move these examples, or go on with"
            " --allow-group-overlap"
        )
    log.warning("%s", message)


def _name(match: re.Match[str]) -> str:
    if "group" in match.re.groupindex:
        return match[0] if match["group"] is None else match["group"]
    return "".join(part or "" for part in match.groups()) if match.re.groups else match[0]
